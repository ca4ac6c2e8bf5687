"""`python -m chaos.servers postgres DIRECTORY`: one server, until it is killed or asked to end."""

import signal
import sys
import threading
from pathlib import Path

from buildsrht import embedded
from tests.s3_server import s3_server

SERVERS = {"postgres": embedded.postgres, "redis": embedded.redis, "bucket": s3_server}


def main() -> None:
    kind, directory = sys.argv[1:]
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with SERVERS[kind](Path(directory)):
        over.wait()


if __name__ == "__main__":
    main()
