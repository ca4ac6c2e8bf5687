"""The real agent, run on this host for a fake guest: same protocol, same code, no machine.

Arguments: the channel's file descriptor, the fake guest's home directory, and the directory of
its stand-ins for the commands that an image brings.
"""

import importlib.util
import os
import pwd
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

AGENT = Path(__file__).parents[2] / "images" / "agent.py"
IMAGE_COMMANDS = "/usr/lib/buildsrht/"


def load_agent():
    spec = importlib.util.spec_from_file_location("agent", AGENT)
    agent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent)
    return agent


def fake_accounts(home):
    """Every user of the fake guest is us, with the fake guest's home."""
    me = pwd.getpwuid(os.getuid())

    def getpwnam(name):
        if name not in ("build", "root"):
            raise KeyError(f"getpwnam(): name not found: {name!r}")
        return SimpleNamespace(
            pw_name=name, pw_uid=me.pw_uid, pw_gid=me.pw_gid, pw_dir=home, pw_shell="/bin/bash"
        )

    return SimpleNamespace(getpwnam=getpwnam)


def main():
    descriptor, home, commands = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    # As the real one, which opens its port itself.
    os.set_inheritable(descriptor, False)
    agent = load_agent()
    agent.pwd = fake_accounts(home)
    execute = os.execvpe

    def execute_stand_in(program, argv, env):
        program = program.replace(IMAGE_COMMANDS, f"{commands}/")
        execute(program, argv, env)

    agent.os.execvpe = execute_stand_in
    # The clock and the random numbers are this host's.
    agent.wake = lambda port, entropy, time: port.send_json(agent.END)
    signal.signal(signal.SIGCHLD, agent.ignore)
    agent.serve(agent.Port(descriptor))


if __name__ == "__main__":
    main()
