#!/usr/bin/python3
"""The guest's end of the channel: runs commands and moves files for the build host.

Started by the guest's init system, it owns one virtio port, takes one request at a time and
answers it. It needs nothing but Python's standard library and a Unix; it knows nothing of jobs.

The protocol, both ways: frames of one byte kind, four bytes length (big endian) and that many
bytes. The first three kinds are requests, a JSON object each.

    RUN    {argv, user, env, terminal}   ->  DATA*  END {status}
    WRITE  {path, user, mode}  DATA* END ->         END {}
    READ   {path, user, limit}           ->  DATA*  END {size}
    BECOME {name, machine_id, mac,
            entropy, time}               ->         END {}
    HELLO  {nonce}                       ->         HELLO {nonce, version}

Any request may be answered END {error} instead, with what the guest's system said. A relative
path starts at the user's home. Two frames come unasked. HELLO, once, when the agent starts: a build
host that hears it in the middle of an answer knows that the first agent is gone. BYE, in the middle
of an answer, when the guest's init system stops the agent, because it is shutting down.
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
VERSION = 1
HEADER = struct.Struct(">cI")
CHUNK = 64 * 1024
PIPE_HOLDS = 1024 * 1024
RUN, WRITE, READ, BECOME, DATA, END, HELLO, BYE = (bytes([kind]) for kind in b"RWGIDEHB")
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
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    os.set_blocking(output, False)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGTERM, ignore)
    try:
        child = os.fork()
        if child == 0:
            become(account, argv, env, slave, terminal)
        os.close(slave)
        status = relay(port, output, child, wake_reader)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for descriptor in (output, wake_reader, wake_writer):
            os.close(descriptor)
    port.send_json(END, status=status)


def make_transparent(terminal):
    """Bytes leave the terminal as they were written: no carriage return before each newline."""
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))


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


def read_output(output):
    """What is there now, up to a chunk; None if there is nothing yet, and no bytes when its last
    writer is gone. A terminal hands it out in small pieces, each of which would be a message."""
    data = b""
    while len(data) < CHUNK:
        try:
            piece = os.read(output, CHUNK - len(data))
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


def become(account, argv, env, output, terminal):
    """In the child: turn into the command. Never returns."""
    try:
        os.setsid()
        if terminal:
            fcntl.ioctl(output, termios.TIOCSCTTY, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        allow_out_of_memory_kill()
        drop_to(account)
        os.chdir(account.pw_dir)
        os.execvpe(argv[0], argv, {**login_environment(account), **env})
    except OSError as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
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


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else PORT
    # Once only: a virtio port cannot be opened a second time.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, ignore)
    serve(Port(descriptor))


if __name__ == "__main__":
    main()
