"""What every part of the service needs, the parts being the processes of docs/architecture.md."""

from collections.abc import Callable, Collection, Iterator

from buildsrht import database
from buildsrht.checks import Finding, judging, looking
from buildsrht.config import Config

WEB, WORKER, JANITOR, COURIER, GATEWAY = PARTS = (
    *("web", "worker", "janitor", "courier", "gateway"),
)


def check(config: Config, parts: Collection[str]) -> Iterator[Finding]:
    """A finding for each thing that these parts need, as soon as it was looked at. What a build
    host needs besides is for the worker package to say."""
    for needed_by, finding in _checks(config):
        if needed_by & set(parts):
            yield from finding()


def _checks(config: Config) -> Iterator[tuple[set[str], Callable[[], Iterator[Finding]]]]:
    yield set(PARTS), lambda: _database(config)
    yield set(PARTS), lambda: iter([judging.redis(looking.at_redis(config))])
    yield set(PARTS), lambda: iter([judging.storage(looking.at_storage(config))])
    yield {WEB, WORKER, JANITOR}, lambda: _storage_room(config)
    yield set(PARTS), lambda: iter([judging.keys(looking.at_keys(config))])
    yield set(PARTS), lambda: iter([judging.recipes(looking.at_recipes(config))])
    yield {COURIER}, lambda: _mail(config)


def _database(config: Config) -> Iterator[Finding]:
    facts = looking.at_database(config)
    yield judging.database(facts, database.newest_revision())
    yield judging.clock(facts)


def _storage_room(config: Config) -> Iterator[Finding]:
    if config.storage.url:
        # How much a bucket has room for, its server does not say.
        return
    room = looking.at_directory(config.storage.path)
    yield judging.directory("[storage] path", room, config.limits.artifact)
    if config.storage.reserve is not None:
        shared = looking.are_on_one_disk(config.storage.path, config.worker.path)
        yield judging.reserve(config, shared=shared)


def _mail(config: Config) -> Iterator[Finding]:
    met = looking.at_mail(config) if config.mail.host else None
    yield judging.mail(config, met)
