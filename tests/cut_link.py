"""A link to a server that can break: a small relay, for tests of what then happens."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

READ = 65536


@dataclass
class Link:
    """Passes on what it is sent. `cut_after` says after how many bytes towards the server a
    connection is reset; each number is used once, and without any the link holds."""

    server: tuple[str, int]
    listener: socket.socket
    cut_after: list[int] = field(default_factory=list)
    cuts: int = 0
    # Whether whoever connects is hung up on.
    is_down: bool = False
    open: set[socket.socket] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        return "http://{}:{}".format(*self.listener.getsockname())

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client:
            if self.is_down:
                return
            try:
                upstream = socket.create_connection(self.server, timeout=5)
            except OSError:
                return
            upstream.settimeout(None)
            with upstream:
                self.open |= {client, upstream}
                threading.Thread(target=_pass, args=(upstream, client), daemon=True).start()
                self._pass_until_cut(client, upstream)
                self.open -= {client, upstream}

    def _pass_until_cut(self, client: socket.socket, upstream: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := client.recv(READ):
                passed += len(data)
                if self.cut_after and passed > self.cut_after[0]:
                    self.cut_after.pop(0)
                    self.cuts += 1
                    break
                upstream.sendall(data)
        for end in (client, upstream):
            _end(end)


@contextmanager
def link_to(server: tuple[str, int]) -> Iterator[Link]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(server, listener)
        serving = threading.Thread(target=link.serve)
        serving.start()
        try:
            yield link
        finally:
            # Wakes who waits for the next connection, which closing does not.
            listener.shutdown(socket.SHUT_RDWR)
            serving.join(timeout=10)
            for end in list(link.open):
                _end(end)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(READ):
            target.sendall(data)
    _end(target)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
