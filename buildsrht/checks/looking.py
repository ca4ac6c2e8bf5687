"""Try what the configuration names, with the code that the service itself uses for it.

Each function says what it met, as facts; what failed is a `Trouble`, in the words of whoever
failed. None judges, and none raises for what an operator can mend.
"""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from buildsrht import catalogue, database, keys
from buildsrht.backend import open_redis
from buildsrht.config import Config
from buildsrht.courier import mail
from buildsrht.errors import BuildsError, OperatorError
from buildsrht.services import sealing
from buildsrht.storage import StorageError, open_storage

PROBE = b"What an operator's check has written, and removes.\n"


@dataclass(frozen=True)
class Trouble:
    """What went wrong, as whoever was asked has said it."""

    said: str


@dataclass(frozen=True)
class KeyFacts:
    """How many keys open secrets, and what of the database none of them opens. `tried` is how many
    values were, and None if the database is away."""

    count: int
    tried: int | None
    unopened: tuple[str, ...] = ()


@dataclass(frozen=True)
class Room:
    """A directory, and the free bytes where it is or would be made."""

    path: Path
    free: int
    writable: bool


Facts = TypeVar("Facts")


def look(at: Callable[[], Facts]) -> Facts | Trouble:
    """What it finds, or why it finds nothing."""
    try:
        return at()
    except (BuildsError, SQLAlchemyError, RedisError, StorageError, OSError) as error:
        return Trouble(str(error).partition("\n")[0] or type(error).__name__)


def at_database(config: Config) -> database.State | Trouble:
    return look(lambda: database.look(config))


def at_redis(config: Config) -> str | Trouble:
    """Its release."""

    def ask() -> str:
        with closing(open_redis(config.redis.url)) as redis:
            return str(redis.info("server")["redis_version"])

    return look(ask)


def at_storage(config: Config) -> bytes | Trouble:
    """What is read of a probe that was written; it is removed again."""

    def probe() -> bytes:
        storage, key = open_storage(config.storage), f"check-{token_hex(8)}"
        storage.check()
        storage.put(key, [PROBE])
        try:
            return storage.read_all(key)
        finally:
            storage.delete(key)

    return look(probe)


def at_keys(config: Config) -> KeyFacts | Trouble:
    """Whether each can be used, and whether they open what is in the database."""

    def use() -> KeyFacts:
        held = keys.Keys(config.keys.path)
        held.seal(b"", "check")
        held.sign(b"")
        held.ssh_host_key.read_bytes()
        opens = _try_samples(config, held)
        unopened = [context for context, does in (opens or {}).items() if not does]
        count = keys.count_secrets_keys(config.keys.path)
        return KeyFacts(count, None if opens is None else len(opens), tuple(unopened))

    return look(use)


def _try_samples(config: Config, held: keys.Keys) -> dict[str, bool] | None:
    try:
        with database.connected(config) as connection, Session(connection) as session:
            return sealing.try_samples(session, held)
    except (OperatorError, SQLAlchemyError):
        # The database has a finding of its own.
        return None


def at_mail(config: Config) -> Trouble | None:
    """None if the server lets us in."""
    return look(lambda: mail.greet(config.mail))


def at_recipes(config: Config) -> int | Trouble:
    """How many images there are recipes of."""
    return look(lambda: len(catalogue.load(config.images.recipes).images))


def at_directory(path: Path) -> Room | Trouble:
    def measure() -> Room:
        place = _existing(path)
        return Room(path, shutil.disk_usage(place).free, _is_writable(place))

    return look(measure)


def are_on_one_disk(one: Path, other: Path) -> bool:
    """Whether what fills one leaves less room for the other."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _is_writable(place: Path) -> bool:
    # Not os.access(): root and read-only mounts make fools of it.
    probe = place / f".check-{token_hex(8)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True
