#!/usr/bin/python3
"""The guest's end of the channel: runs commands and moves files for the build host.

Started by the guest's init system, it owns one virtio port, takes one request at a time and
answers it; only sessions, which are for people, run side by side. It needs nothing but Python's
standard library and a Unix; it knows nothing of jobs.

The protocol, both ways: frames of one byte kind, four bytes length (big endian) and that many
bytes. The first seven kinds are requests, a JSON object each.

    RUN    {argv, user, env, terminal}   ->  DATA*  END {status}
    WRITE  {path, user, mode}  DATA* END ->         END {}
    READ   {path, user, limit}           ->  DATA*  END {size}
    BECOME {name, machine_id, mac,
            entropy, time}               ->         END {}
    WAKE   {entropy, time}               ->         END {}
    ATTEND {}                            ->         END {}, and then sessions
    HELLO  {nonce}                       ->         HELLO {nonce, version}

Any request may be answered END {error} instead, with what the guest's system said. A relative
path starts at the user's home. Two frames come unasked. HELLO, once, when the agent starts: a build
host that hears it in the middle of an answer knows that the first agent is gone. BYE, in the middle
of an answer, when the guest's init system stops the agent, because it is shutting down.

Between ATTEND and QUIT the frames are those of sessions. Each but QUIT begins with the four bytes
of the session's number, which the build host chooses, and never twice.

    OPEN    {argv, user, env, terminal}  ->  (OUTPUT | ERRORS | CREDIT)*  CLOSED {status | error}
    INPUT   bytes                            no argv is a login shell; a terminal is {term, columns,
    EOF                                      rows}, or null for three pipes
    SIZE    {columns, rows}
    SIGNAL  {signal}                         its name, such as INT
    CREDIT  four bytes
    HANG_UP
    QUIT                                 ->  QUIT, when every session is hung up and closed

Either side sends WINDOW bytes of one session, and then as many as the other says, by CREDIT, that
it has done with. So no session holds up another, and no buffer grows beyond a window.
"""

import errno
import fcntl
import json
import os
import pty
import pwd
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time as clock

PORT = "/dev/virtio-ports/org.buildsrht.agent"
VERSION = 2
HEADER = struct.Struct(">cI")
CHUNK = 64 * 1024
PIPE_HOLDS = 1024 * 1024
RUN, WRITE, READ, BECOME, DATA, END, HELLO, BYE = (bytes([kind]) for kind in b"RWGIDEHB")
WAKE, ATTEND = b"A", b"S"
OPEN, INPUT, EOF, SIZE, SIGNAL, CREDIT, HANG_UP, QUIT = (bytes([kind]) for kind in b"OIFZSAKQ")
OUTPUT, ERRORS, CLOSED = (bytes([kind]) for kind in b"DXE")
NUMBER = struct.Struct(">I")
WINDOW = 256 * 1024
MOST_SESSIONS = 64
SSH = "/etc/ssh"
RENEW_HOST_KEYS = "/usr/lib/buildsrht/renew-host-keys"
# linux/random.h, linux/sockios.h, linux/if_arp.h
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
SIOCSIFHWADDR = 0x8924
ETHERNET = 1
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


class Port:
    """The channel, as frames.

    It waits by itself: a virtio port that may block spins until the build host has taken each
    piece, which on a busy one takes longer than all the rest.
    """

    def __init__(self, descriptor):
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor

    def receive(self):
        kind, length = HEADER.unpack(self._read(HEADER.size))
        return kind, self._read(length)

    def _read(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                piece = os.read(self.descriptor, length - len(data))
            except BlockingIOError:
                select.select([self.descriptor], [], [])
                continue
            if not piece:
                raise EOFError("the build host hung up")
            data += piece
        return bytes(data)

    def send(self, kind, payload=b""):
        view = memoryview(HEADER.pack(kind, len(payload)) + payload)
        while view:
            try:
                view = view[os.write(self.descriptor, view) :]
            except BlockingIOError:
                select.select([], [self.descriptor], [])

    def send_json(self, kind, **fields):
        self.send(kind, json.dumps(fields).encode())


def serve(port):
    """Answer requests until the build host hangs up."""
    requests = {RUN: run, WRITE: write, READ: read, BECOME: become_unlike, HELLO: hello}
    requests |= {WAKE: wake, ATTEND: attend}
    port.send_json(HELLO, nonce=None, version=VERSION)
    while True:
        kind, payload = port.receive()
        try:
            requests[kind](port, **json.loads(payload))
        except (OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            port.send_json(END, error=describe(error))


def describe(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def hello(port, nonce):
    port.send_json(HELLO, nonce=nonce, version=VERSION)


# --- commands -----------------------------------------------------------------------------------


def run(port, argv, user, env, terminal):
    """Run a command as a fresh login of `user`; its output is one stream.

    The answer ends when the command itself does. What it left running in the background keeps
    running, but its later output goes nowhere, as after any logout.
    """
    account = pwd.getpwnam(user)
    output, slave = pty.openpty() if terminal else os.pipe()
    if terminal:
        make_transparent(slave)
    os.set_blocking(output, False)
    null = os.open(os.devnull, os.O_RDONLY)
    signals = listen_for_signals()
    try:
        child = os.fork()
        if child == 0:
            become(account, argv[0], argv, env, (null, slave, slave), slave if terminal else None)
        os.close(slave)
        status = relay(port, output, child, signals[0])
    finally:
        stop_listening(signals)
        for descriptor in (output, null):
            os.close(descriptor)
    port.send_json(END, status=status)


def listen_for_signals():
    """A pipe out of which comes the number of each signal that arrives."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, ignore)
    return reader, writer


def stop_listening(signals):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    for descriptor in signals:
        os.close(descriptor)


def make_transparent(terminal):
    """Bytes leave the terminal as they were written: no carriage return before each newline."""
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    set_size(terminal, columns=80, rows=24)


def set_size(terminal, columns, rows):
    """Whoever has it in the foreground is told of a change."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def relay(port, output, child, wake_reader):
    """Pass output on until the child has ended and what it wrote has been sent."""
    status = None
    while status is None:
        ready, _, _ = select.select([output, wake_reader], [], [])
        if output in ready:
            data = read_output(output)
            if data:
                port.send(DATA, data)
            elif data is not None:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if wake_reader in ready:
            if signal.SIGTERM in os.read(wake_reader, CHUNK):
                port.send(BYE)
                sys.exit(0)
            pid, ended = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(ended) if pid else None
    # Something left in the background may write for ever: take what a terminal or a pipe can
    # hold, and no more.
    for _ in range(PIPE_HOLDS // CHUNK + 1):
        if not select.select([output], [], [], 0)[0]:
            break
        port.send(DATA, read_output(output) or b"")
    return status


def ignore(number, frame):
    """A handler must exist for the wake-up descriptor to be written to; that is all it is for."""


def read_output(output, limit=CHUNK):
    """What is there now, up to a limit; None if there is nothing yet, and no bytes when its last
    writer is gone. A terminal hands it out in small pieces, each of which would be a message."""
    data = b""
    while len(data) < limit:
        try:
            piece = os.read(output, limit - len(data))
        except BlockingIOError:
            return data or None
        except OSError as error:
            # What Linux answers for a terminal whose last user is gone.
            if error.errno == errno.EIO:
                break
            raise
        if not piece:
            break
        data += piece
    return data


def become(account, program, argv, env, streams, terminal):
    """In the child: turn into the command, with these three streams. Never returns."""
    try:
        os.setsid()
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for target, source in enumerate(streams):
            os.dup2(source, target)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        allow_out_of_memory_kill()
        drop_to(account)
        os.chdir(account.pw_dir)
        os.execvpe(program, argv, {**login_environment(account), **env})
    except OSError as error:
        os.write(2, f"{program}: {error}\n".encode())
    finally:
        os._exit(127)


def allow_out_of_memory_kill():
    """The agent is spared when memory runs out; what it starts is not."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    except OSError:
        pass


def drop_to(account):
    if os.getuid() == account.pw_uid:
        return
    # Asked for each time, so that a group added by one command counts in the next.
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def login_environment(account):
    return {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell,
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }


# --- identity -------------------------------------------------------------------------------------
#
# Every job waits for this, and an emulated processor runs each line for the first time: bytes and
# system calls, no text layer, no patterns.


def become_unlike(port, name, machine_id, mac, entropy, time):
    """Be a machine of one's own: many may continue the same snapshot, at any later time."""
    reseed(bytes.fromhex(entropy))
    clock.clock_settime(clock.CLOCK_REALTIME, time)
    rename(name.encode())
    put("/etc/machine-id", machine_id.encode() + b"\n")
    change_address(bytes.fromhex(mac))
    if has_host_keys():
        subprocess.run([RENEW_HOST_KEYS], check=True)
    port.send_json(END)


def wake(port, entropy, time):
    """The same machine as before, later."""
    reseed(bytes.fromhex(entropy))
    clock.clock_settime(clock.CLOCK_REALTIME, time)
    port.send_json(END)


def reseed(entropy):
    """Feed the kernel's random numbers, which two machines would otherwise share; random(4)."""
    device = os.open("/dev/random", os.O_WRONLY)
    try:
        header = struct.pack("ii", 8 * len(entropy), len(entropy))
        fcntl.ioctl(device, RNDADDENTROPY, header + entropy)
        fcntl.ioctl(device, RNDRESEEDCRNG)
    finally:
        os.close(device)


def rename(name):
    """The name that hosts(5) knows too, as sudo looks it up."""
    hosts = get("/etc/hosts")
    put("/etc/hosts", hosts.replace(socket.gethostname().encode(), name))
    put("/etc/hostname", name + b"\n")
    socket.sethostname(name)


def get(path):
    """What is in a small file."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, CHUNK)
    finally:
        os.close(file)


def put(path, data):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(file, data)
    finally:
        os.close(file)


def change_address(mac):
    """Of the first network card; netdevice(7)."""
    request = struct.pack("16sH6s8x", b"eth0", ETHERNET, mac)
    any_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        fcntl.ioctl(any_socket, SIOCSIFHWADDR, request)
    finally:
        any_socket.close()


def has_host_keys():
    return os.path.isdir(SSH) and any(name.startswith("ssh_host_") for name in os.listdir(SSH))


# --- files --------------------------------------------------------------------------------------


def write(port, path, user, mode):
    """Make `path` a file of `user`, creating its directories. Takes all the data even when it
    cannot be written, so that the next frame is the next request."""
    target, problem = None, None
    account = pwd.getpwnam(user)
    try:
        path = os.path.join(account.pw_dir, path)
        make_directories(os.path.dirname(path), account)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(target, mode)
        os.fchown(target, account.pw_uid, account.pw_gid)
    except OSError as error:
        problem = error
    while True:
        kind, data = port.receive()
        if kind == END:
            break
        try:
            view = memoryview(data)
            while view and problem is None:
                view = view[os.write(target, view) :]
        except OSError as error:
            problem = error
    if target is not None:
        os.close(target)
    if problem:
        raise problem
    port.send_json(END)


def make_directories(path, account):
    if os.path.isdir(path):
        return
    make_directories(os.path.dirname(path), account)
    os.mkdir(path)
    os.chown(path, account.pw_uid, account.pw_gid)


def read(port, path, user, limit):
    """Send a regular file of at most `limit` bytes."""
    path = os.path.join(pwd.getpwnam(user).pw_dir, path)
    # A named pipe would block the open for ever, so ask before opening.
    if not os.path.isfile(path):
        os.stat(path)
        raise ValueError(f"{path}: is not a regular file")
    size = 0
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise ValueError(f"{path}: is larger than {limit} bytes")
        while data := file.read(min(CHUNK, limit - size)):
            size += len(data)
            port.send(DATA, data)
    port.send_json(END, size=size)


# --- sessions -------------------------------------------------------------------------------------


class Session:
    """A command or login shell of somebody's, with a terminal or three pipes.

    What came in and was not taken yet is in `waiting`; `credit` is how much of its output the
    build host would still take.
    """

    def __init__(self, number, argv, user, env, terminal):
        account = pwd.getpwnam(user)
        shell = account.pw_shell or "/bin/sh"
        # A dash before its name is what makes a shell a login shell.
        login = [f"-{os.path.basename(shell)}"]
        program, argv = (shell, login) if argv is None else (argv[0], argv)
        self.number = number
        self.status = None
        self.credit = WINDOW
        self.left = PIPE_HOLDS
        self.waiting = bytearray()
        self.is_at_end = False
        self.has_terminal = terminal is not None
        streams, slave = self._open_terminal(terminal) if terminal else self._open_pipes()
        env = {**env, "TERM": terminal["term"]} if terminal else env
        self.child = os.fork()
        if self.child == 0:
            become(account, program, argv, env, streams, slave)
        for descriptor in set(streams):
            os.close(descriptor)
        for descriptor in (self.input, *self.outputs):
            os.set_blocking(descriptor, False)

    def _open_terminal(self, terminal):
        self.input, slave = pty.openpty()
        set_size(slave, terminal["columns"], terminal["rows"])
        self.outputs = {self.input: OUTPUT}
        return (slave, slave, slave), slave

    def _open_pipes(self):
        stdin, self.input = os.pipe()
        output, stdout = os.pipe()
        errors, stderr = os.pipe()
        self.outputs = {output: OUTPUT, errors: ERRORS}
        return (stdin, stdout, stderr), None

    def feed(self):
        """Pass on what waits, as far as it is taken; returns how many bytes that were."""
        before = len(self.waiting)
        try:
            while self.waiting:
                del self.waiting[: os.write(self.input, self.waiting)]
        except BlockingIOError:
            pass
        except OSError:
            # Nobody will ever read it.
            self.waiting.clear()
        taken = before - len(self.waiting)
        if self.is_at_end and not self.waiting:
            self._end_input()
        return taken

    def _end_input(self):
        self.is_at_end = False
        if not self.has_terminal:
            os.close(self.input)
            self.input = None
        else:
            # As if somebody had typed it.
            self.waiting += termios.tcgetattr(self.input)[6][termios.VEOF]

    def send_output(self, port, descriptor):
        """Pass on what is there, as far as the build host takes it."""
        limit = min(CHUNK, self.credit, self.left)
        data = read_output(descriptor, limit)
        if data:
            port.send(self.outputs[descriptor], NUMBER.pack(self.number) + data)
            self.credit -= len(data)
            if self.status is not None:
                self.left -= len(data)
        elif data is not None:
            del self.outputs[descriptor]
            if descriptor != self.input:
                os.close(descriptor)

    def is_drained(self, port):
        """After its end: whether everything that it wrote is sent. Something that it left in the
        background may write for ever, so no more than a terminal or a pipe can hold."""
        while self.outputs and self.left:
            ready, _, _ = select.select(list(self.outputs), [], [], 0)
            if not ready:
                break
            if not self.credit:
                return False
            self.send_output(port, ready[0])
        return True

    def signal(self, number):
        if self.status is None:
            foreground = os.tcgetpgrp(self.input) if self.has_terminal else 0
            self._kill(foreground or self.child, number)

    def hang_up(self):
        if self.status is None:
            for number in (signal.SIGHUP, signal.SIGCONT):
                self._kill(self.child, number)
        self.close()

    def _kill(self, group, number):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            # It has not become the leader of its group yet.
            os.kill(self.child, number)

    def close(self):
        for descriptor in {self.input, *self.outputs} - {None}:
            os.close(descriptor)


def attend(port):
    """Serve sessions until the build host has had enough of them."""
    port.send_json(END)
    sessions = {}
    hung_up = []
    signals = listen_for_signals()
    try:
        while serve_sessions(port, sessions, hung_up, signals[0]):
            pass
    finally:
        stop_listening(signals)
    port.send(QUIT)


def serve_sessions(port, sessions, hung_up, signals):
    """One round: wait for whatever comes next, and deal with it. False when that was the end."""
    outputs = {d: each for each in sessions.values() if each.credit for d in each.outputs}
    inputs = {each.input: each for each in sessions.values() if each.waiting}
    ready, writable, _ = select.select([port.descriptor, signals, *outputs], list(inputs), [])
    if signals in ready:
        if signal.SIGTERM in os.read(signals, CHUNK):
            port.send(BYE)
            sys.exit(0)
        hung_up[:] = [child for child in hung_up if ended(child) is None]
    for descriptor in writable:
        give_credit(port, inputs[descriptor])
    for descriptor in ready:
        # What it said on the other one, a moment ago, may have used up its credit.
        if descriptor in outputs and outputs[descriptor].credit:
            outputs[descriptor].send_output(port, descriptor)
    close_ended(port, sessions)
    if port.descriptor not in ready:
        return True
    return handle_frame(port, sessions, hung_up)


def ended(child):
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def give_credit(port, session):
    taken = session.feed()
    if taken:
        port.send(CREDIT, NUMBER.pack(session.number) + NUMBER.pack(taken))


def close_ended(port, sessions):
    for session in list(sessions.values()):
        if session.status is None:
            session.status = ended(session.child)
        if session.status is not None and session.is_drained(port):
            session.close()
            del sessions[session.number]
            send_closed(port, session.number, status=session.status)


def send_closed(port, number, **how):
    port.send(CLOSED, NUMBER.pack(number) + json.dumps(how).encode())


def handle_frame(port, sessions, hung_up):
    """False when it is the last one."""
    kind, payload = port.receive()
    if kind == QUIT:
        for number in list(sessions):
            hang_up(port, sessions, hung_up, number)
        return False
    (number,), payload = NUMBER.unpack(payload[:4]), payload[4:]
    if kind == OPEN:
        open_session(port, sessions, number, json.loads(payload))
    # One that has just ended is spoken to in vain.
    elif number in sessions:
        if kind == HANG_UP:
            hang_up(port, sessions, hung_up, number)
        else:
            tell_session(port, sessions[number], kind, payload)
    return True


def open_session(port, sessions, number, request):
    try:
        if len(sessions) == MOST_SESSIONS:
            raise ValueError(f"at most {MOST_SESSIONS} sessions at once")
        sessions[number] = Session(number, **request)
    except (OSError, LookupError, TypeError, ValueError) as error:
        send_closed(port, number, error=describe(error))


def hang_up(port, sessions, hung_up, number):
    session = sessions.pop(number)
    session.hang_up()
    if session.status is None:
        hung_up.append(session.child)
    send_closed(port, number, error="hung up")


def tell_session(port, session, kind, payload):
    if kind in (INPUT, EOF):
        if session.input is not None:
            session.waiting += payload
            session.is_at_end = kind == EOF
            give_credit(port, session)
    elif kind == CREDIT:
        session.credit += NUMBER.unpack(payload)[0]
    elif kind == SIZE and session.has_terminal:
        set_size(session.input, **json.loads(payload))
    elif kind == SIGNAL:
        number = getattr(signal, f"SIG{json.loads(payload)['signal']}", None)
        if isinstance(number, signal.Signals):
            session.signal(number)


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else PORT
    # Once only: a virtio port cannot be opened a second time.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, ignore)
    serve(Port(descriptor))


if __name__ == "__main__":
    main()
