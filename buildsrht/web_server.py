"""Serve the web application over HTTP, with gunicorn, until a signal ends it.

Each process opens its own backend after the fork: database connections and the storage's threads
do not survive one.
"""

import socket
import struct
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from buildsrht import catalogue
from buildsrht.api import events
from buildsrht.app import create_app
from buildsrht.backend import open_backend
from buildsrht.config import Config
from buildsrht.errors import OperatorError

BACKLOG = 1024
# How long a request may go on after we were asked to stop. Whoever follows a log comes again.
GRACE_SECONDS = 5
# How long a client may send or take nothing in the middle of a request. Each holds a thread.
STALL_SECONDS = 30


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, which end the process; says so when it has the port.

    Raises OperatorError if it cannot start.
    """
    # Read again by each process. Here a mistake is one sentence, there it would be a traceback.
    catalogue.load(config.images.recipes)
    listener = _listen(config.web.host, config.web.port)
    _Server(config, listener).run()


def _listen(host: str, port: int) -> socket.socket:
    # Not left to gunicorn, which would try a taken port for five seconds and then say it at length.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python appends the address, in its own notation.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise OperatorError(f"cannot listen on {host}:{port}: {reason}") from error
    # Connections inherit these, and gunicorn, which has no such limit, leaves them alone.
    for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        listener.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", STALL_SECONDS, 0))
    return listener


class _Server(BaseApplication):
    def __init__(self, config: Config, listener: socket.socket):
        self._config = config
        # gunicorn takes the number over, and closes it.
        self._address = f"fd://{listener.detach()}"
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": self._address,
            "worker_class": _Worker,
            "workers": self._config.web.processes,
            # A stream of events keeps its thread from everything else.
            "threads": self._config.web.threads + self._config.web.streams,
            "graceful_timeout": GRACE_SECONDS,
            "loglevel": "warning",
            "logger_class": _Journal,
            "control_socket_disable": True,
            "when_ready": self._say_where,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called in each process, after the fork."""
        return create_app(open_backend(self._config))

    def _say_where(self, arbiter: object) -> None:
        print(f"listening on {self._config.web.origin}", flush=True)


class _Journal(Logger):
    """What gunicorn says goes where all goes that this process says."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Worker(ThreadWorker):
    """Has its streams of events end when it is asked to stop, which by themselves would go on."""

    def handle_exit(self, *signal: Any) -> None:
        self._end_streams()
        super().handle_exit(*signal)

    def handle_quit(self, *signal: Any) -> None:
        self._end_streams()
        super().handle_quit(*signal)

    def _end_streams(self) -> None:
        # gunicorn gives it an application only after it has begun to listen to signals.
        app = getattr(self, "wsgi", None)
        if isinstance(app, Flask):
            events.end_all(app)
