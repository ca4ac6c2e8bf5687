"""A forge, a backend that may reach it, and hooks of its repository."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from buildsrht.backend import Backend
from buildsrht.config import Destination
from buildsrht.hooks.event import Event
from buildsrht.models import Forge as ForgeName
from buildsrht.models import Hook, Push
from buildsrht.services import hooks as hook_service
from buildsrht.services.hooks import NewHook
from tests.buildsrht.cli.program import environment
from tests.buildsrht.hooks.forge import Forge, serving
from tests.buildsrht.hooks.reports import SOURCEHUT_PUBLIC_KEY


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    """A forge with an empty repository, ada/hello."""
    with serving(tmp_path / "forge") as forge:
        forge.make()
        yield forge


@pytest.fixture
def reaching(backend: Backend, forge: Forge, tmp_path: Path) -> Backend:
    """A backend that may reach the forge, although that is on the loopback."""
    allowed = (Destination(IPv4Network("127.0.0.1/32"), forge.port),)
    courier = replace(backend.config.courier, allow=allowed)
    return replace(backend, config=replace(backend.config, courier=courier, var=tmp_path / "var"))


@pytest.fixture
def make_hook(backend: Backend, forge: Forge, owner) -> Callable[..., Hook]:
    """A hook of the owner's: `make_hook("gitlab", pull_requests=True)`."""

    def make(name: str = "github", **options) -> Hook:
        wanted = {"forge": ForgeName(name), "repository": forge.url, **options}
        if name == "sourcehut":
            wanted["public_key"] = SOURCEHUT_PUBLIC_KEY
        made, _ = hook_service.create_hook(backend, owner.name, NewHook(**wanted))
        return made

    return make


@pytest.fixture
def report(reaching: Backend) -> Callable[[Hook, Event], Push]:
    """Store what a forge has reported, as the API does."""
    seen = iter(range(100))

    def store(hook: Hook, event: Event) -> Push:
        return hook_service.receive(reaching, hook, f"report-{next(seen)}", event.as_json())

    return store


@pytest.fixture
def fetch_push(backend: Backend) -> Callable[[int], Push]:
    def fetch(push_id: int) -> Push:
        with backend.transaction() as session:
            return session.get_one(Push, push_id)

    return fetch


@pytest.fixture
def elsewhere(reaching: Backend, forge: Forge, tmp_path: Path) -> Mapping[str, str]:
    """The environment in which another process has the same backend."""
    config = reaching.config
    path = tmp_path / "config.ini"
    path.write_text(
        f"[database]\nurl = {config.database.url}\n[redis]\nurl = {config.redis.url}\n"
        f"[images]\nrecipes = {config.images.recipes}\n[keys]\npath = {config.keys.path}\n"
        f"[courier]\nallow = 127.0.0.1:{forge.port}\n"
    )
    return environment(VAR=str(config.var), BUILDSRHT_CONFIG=str(path))
