"""What `buildsrht login` left behind: for each server, a token and the way to the next one.

The file is its owner's alone, and is replaced as a whole, so that no reader finds half of it. A
refresh token is good once: of several commands that find a login expired, one renews it, and the
others wait for that.
"""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from buildsrht.errors import OperatorError

# A token that is about to expire would do so on its way.
MARGIN_SECONDS = 30


@dataclass(frozen=True)
class Login:
    access_token: str
    refresh_token: str | None
    expires: float  # seconds since the epoch, by the clock of this machine
    scope: str

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> "Login":
        """From what an OAuth server answers, just now, to a request for a token."""
        return cls(
            access_token=answer["access_token"],
            refresh_token=answer.get("refresh_token"),
            expires=time.time() + answer.get("expires_in", 0),
            scope=answer.get("scope", ""),
        )

    @property
    def is_fresh(self) -> bool:
        return time.time() < self.expires - MARGIN_SECONDS


class Logins:
    """The file, which need not exist."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def of_this_user(cls) -> "Logins":
        home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return cls(Path(home) / "buildsrht" / "credentials.json")

    def latest(self) -> str | None:
        """The server that was logged in to last, of those that were not left since."""
        return next(reversed(self._read()), None)

    def get(self, url: str) -> Login | None:
        return self._read().get(url)

    def keep(self, url: str, login: Login) -> None:
        """A server that was logged in to just now becomes the latest."""
        with self._locked():
            others = self._read()
            others.pop(url, None)
            self._write({**others, url: login})

    def forget(self, url: str) -> None:
        with self._locked():
            self._write({other: login for other, login in self._read().items() if other != url})

    def fresh(self, url: str, renew: Callable[[Login], Login]) -> Login:
        """The login to a server, renewed if it has expired."""
        login = self._require(url)
        if login.is_fresh:
            return login
        with self._locked():
            login = self._require(url)  # somebody else may have renewed it
            if not login.is_fresh:
                with _uninterrupted():
                    login = renew(login)
                    self._write({**self._read(), url: login})
        return login

    def _require(self, url: str) -> Login:
        login = self.get(url)
        if not login:
            raise OperatorError(f"not logged in to {url}; `buildsrht login {url}` does that")
        return login

    def _read(self) -> dict[str, Login]:
        try:
            stored = json.loads(self.path.read_bytes())
            return {url: Login(**login) for url, login in stored["servers"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise OperatorError(
                f"{self.path}: is not what `buildsrht login` writes; remove it, and log in again"
            ) from error

    def _write(self, logins: Mapping[str, Login]) -> None:
        stored = {"servers": {url: asdict(login) for url, login in logins.items()}}
        unfinished = self.path.with_name(f".{token_hex(8)}.part")
        try:
            with open(unfinished, "x", opener=_for_us_alone) as file:
                json.dump(stored, file, indent=2)
                file.flush()
                # What it replaces is worthless by now: the server has taken the old token back.
                os.fsync(file.fileno())
            unfinished.replace(self.path)
        finally:
            unfinished.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w", opener=_for_us_alone) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C takes effect behind this block. In it, it would lose what the server has given in
    exchange for what is worthless now."""
    if threading.current_thread() is not threading.main_thread():
        # It is the main thread that Ctrl-C interrupts.
        yield
        return
    # Not by a mask of signals, which is a thread's own: another thread would take it.
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
