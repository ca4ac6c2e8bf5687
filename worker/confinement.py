"""What a process that runs a stranger's machine may still do on this host: as little as possible.

It becomes a user that owns nothing here and is nobody else's, with no capability, no way to get
one, and no environment; it may write only to what it was handed as an open file, and only so much.

Knows nothing of the program that it confines.
"""

import os
from collections.abc import Sequence
from pathlib import Path

# Users that no system hands out: systemd leaves this range free, see its page UIDS-GIDS.
UNUSED_USERS = 1_879_048_192
# What user namespaces of ordinary users have, see subuid(5): their own, and a block of this size.
BLOCK = 65_536
NICENESS = 5


def own_namespace() -> list[str]:
    """The options of unshare(1) that make us root where we are not, with other users to become."""
    if os.geteuid() == 0:
        return []
    return ["--user", "--map-root-user", "--map-auto"]


def user_number() -> int:
    """The user that a machine of this process runs as, no other process's on this host.

    In the smaller block of an ordinary user two may share one, if their pids differ by its size.
    """
    if os.geteuid() == 0:
        return UNUSED_USERS + os.getpid()
    return 1 + os.getpid() % (BLOCK - 1)


def confined(command: Sequence[str], file_size: int, device: Path | None = None) -> list[str]:
    """`command` for a root (of a namespace) that gives up everything but the use of `device`. No
    file of its may grow beyond `file_size` bytes."""
    user = user_number()
    return [
        # This host's own processes go first: they bring the guest's output to its readers.
        *("nice", "-n", str(NICENESS)),
        *("prlimit", "--core=0", f"--fsize={file_size}", "--"),
        *("setpriv", f"--reuid={user}", f"--regid={user}", _groups(device)),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"),
        # Again, as a change of user makes the kernel forget it.
        *("--pdeathsig=KILL", "--"),
        *command,
    ]


def _groups(device: Path | None) -> str:
    if device is None:
        return "--clear-groups"
    if os.geteuid() == 0:
        return f"--groups={device.stat().st_gid}"
    # The group has no number in our namespace, so it can only be kept, with all others of ours.
    return "--keep-groups"


def is_ours(pid: int) -> bool:
    """Whether a process runs as we do, or as a user that we let machines run as. Raises
    FileNotFoundError when it is gone."""
    uid = os.stat(f"/proc/{pid}").st_uid
    if os.geteuid() == 0:
        return uid == 0 or uid >= UNUSED_USERS
    return _may_signal(pid)


def _may_signal(pid: int) -> bool:
    """The kernel lets us end our own processes, and those in namespaces that we made."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
