"""Somebody outside the service who notes which task of which job has begun, and how often.

Each script says so by itself, over the network, before it does anything else: so what the witness
knows owes nothing to the database or the logs.
"""

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PORT = 7000


class Witness:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()

    def note(self, said: str) -> None:
        with self._lock:
            self._begun[said] += 1

    @property
    def begun(self) -> Counter[str]:
        """How often `job task` was said to begin."""
        with self._lock:
            return Counter(self._begun)


@contextmanager
def listening(address: str) -> Iterator[Witness]:
    witness = Witness()

    class Handler(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            said = self.rfile.readline(200)
            # Whoever is killed before that has told of no task.
            if said.endswith(b"\n"):
                witness.note(said.decode(errors="replace").strip())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((address, PORT), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield witness
        server.shutdown()
