"""A real browser, Debian's Chromium, against a server that listens on a real port.

The browser is started once in each process of a run; each test has windows of its own, with no
cookies, in `open_window`. Whatever a window does, it may not complain: see `Window`. Jobs are run
by tests.build_host.BuildHost, which does what the test says: so a page that lives is seen in every
state, without a machine.

Playwright keeps the loop of asyncio of its thread running, and nothing else may use one beside it.
So the browser belongs to the tests of this directory alone, and is gone when they are over.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from socket import create_server

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect, sync_playwright

from buildsrht import serving
from buildsrht.backend import Backend
from tests.build_host import BuildHost
from tests.live_server import served
from tests.web_browser.window import MILLISECONDS, Window, windows_at

CHROMIUM = "/usr/bin/chromium"
# Its sandbox refuses root; and a container may have next to nothing in /dev/shm.
AS_ROOT = ["--no-sandbox"] if os.geteuid() == 0 else []
OPTIONS = [*AS_ROOT, "--disable-dev-shm-usage"]
START_MILLISECONDS = 120_000


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=OPTIONS, timeout=START_MILLISECONDS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def origin(connected_app: Flask) -> Iterator[str]:
    """Where the application of all tests answers, with the backend that was installed last."""
    with closing(create_server(("127.0.0.1", 0))) as listener, served(connected_app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def live(connected_app: Flask, backend: Backend, origin: str) -> Backend:
    """The backend of the server that answers on its origin."""
    config = replace(backend.config, web=replace(backend.config.web, origin=origin))
    live = replace(backend, config=config)
    serving.install(connected_app, live)
    return live


@pytest.fixture
def open_window(chromium: Browser, live: Backend) -> Iterator[Callable[..., Window]]:
    """A window in which this user has signed in, or nobody: `open_window(owner, narrow=True)`."""
    with windows_at(chromium, live) as make:
        yield make


@pytest.fixture
def build_host(live: Backend) -> Callable[[int], BuildHost]:
    """Whoever takes this job, and then does as it is told."""
    return lambda job_id: BuildHost(live, job_id)
