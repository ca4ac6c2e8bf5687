"""Clients of others, as their users have them, against a server that listens on a real port."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildsrht import config as settings
from buildsrht.backend import Backend
from buildsrht.models import User
from tests.clients.debian import Program, program
from tests.clients.hut import GRANTS, Hut, by_another_name, configuration
from tests.live_server import live_server

# The build host of the jobs that run.
RUNNER = "build-1"


@pytest.fixture(scope="session", params=["trixie", "sid"])
def hut_program(request) -> Program:
    """hut of each release of Debian that has one."""
    found = program(settings.load(), "hut", request.param)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f" (hut {found.version} of Debian {request.param}) ", end="")
    return found


@pytest.fixture
def live(backend: Backend) -> Iterator[Backend]:
    """The backend of a server that answers on its origin."""
    with live_server(backend, RUNNER) as live:
        yield live


@pytest.fixture
def hut_of(live: Backend, token, hut_program: Program, tmp_path: Path) -> Callable[..., Hut]:
    """hut with a token of this user: `hut_of(owner)("builds", "list")`."""

    def make(user: User, *scopes: str) -> Hut:
        origin = live.config.web.origin
        home = tmp_path / f"home-of-{user.name}"
        text = configuration(token(user, *(scopes or GRANTS)), origin, by_another_name(origin))
        return Hut(hut_program, home, text)

    return make


@pytest.fixture
def hut(hut_of, owner: User) -> Hut:
    return hut_of(owner)
