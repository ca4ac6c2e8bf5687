"""The documentation is held to the program: examples are run, references and links looked up."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from flask import Flask

from buildsrht import cli, config, manifest
from buildsrht.backend import Backend
from buildsrht.models import JobStatus, TaskStatus, Visibility
from buildsrht.services.scopes import SCOPES
from tests.live_server import live_server
from tests.worker.fakes import fake_boot, perform

ROOT = Path(__file__).parent.parent
API = ROOT / "docs/api.md"
CLIENTS = ROOT / "docs/clients.md"
GRAPHQL = ROOT / "docs/graphql.md"
MANIFEST = ROOT / "docs/manifest.md"
OAUTH = ROOT / "docs/oauth.md"
OPERATING = ROOT / "docs/operating.md"
SECURITY = ROOT / "docs/security.md"
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))

# The build host of the examples.
RUNNER = "build-1"
COMMAND_SECONDS = 60


# --- reading a page -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the text right before it."""

    language: str
    text: str
    before: str


FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```\n", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[Block]:
    text, found, end = page.read_text(), [], 0
    for match in FENCE.finditer(text):
        found.append(Block(match[2], dedent(match[3]), text[end : match.start()]))
        end = match.end()
    return found


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", page.read_text())


# --- promises -------------------------------------------------------------------------------------


def test_every_test_that_a_promise_names_is_there():
    tests = {
        name
        for source in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", source.read_text(), re.MULTILINE)
    }
    named = re.findall(r"`(test_\w+)`", SECURITY.read_text())
    assert len(named) > 20
    assert [name for name in named if name not in tests] == []


# --- the examples of the API reference ------------------------------------------------------------

# What differs from one run to the next. All else in an answer is as the page shows it: a database
# that was empty numbers the same jobs the same way.
VARYING = (
    (re.compile(r"http://127\.0\.0\.1:\d+"), "ORIGIN"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"), "TIME"),
    (re.compile(r"(/artifacts/\d+)/[0-9a-f]{16}/"), r"\1/SECRET/"),
    (re.compile(r"\b\d+\.\d s\b"), "SECONDS"),
)
# A comment in the page: at this point of its story a build host runs a job.
RUN = re.compile(r"<!-- run (\d+) -->")


@pytest.fixture
def live(backend: Backend) -> Iterator[Backend]:
    """The backend of a server that answers on its origin."""
    with live_server(backend, RUNNER) as live:
        yield live


@pytest.fixture
def run_commands(live: Backend, token, make_user, tmp_path: Path) -> Callable[[str], str]:
    """Run a block of commands as its reader does, and return what it prints."""
    directory = tmp_path / "reader"
    directory.mkdir()
    environment = {
        "BUILDSRHT_URL": live.config.web.origin,
        "BUILDSRHT_TOKEN": token(make_user("ada")),
        "HOME": str(directory),
        # Our command is where this Python is.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def same_for_every_run(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text.replace("\r\n", "\n")


def as_shown(answer: str, block: Block) -> bool:
    """Whether an answer is what the page shows of it.

    JSON may be laid out differently, and "..." in it stands for anything. Of the header of an HTTP
    answer a page shows only some fields.
    """
    answer, shown = same_for_every_run(answer), same_for_every_run(block.text)
    if block.language == "json":
        return matches(json.loads(answer), json.loads(shown))
    if block.language == "http":
        head, _, body = answer.partition("\n\n")
        shown_head, _, shown_body = shown.partition("\n\n")
        return (
            set(shown_head.splitlines()) <= set(head.splitlines())
            and body.strip() == shown_body.strip()
        )
    return answer == shown


def matches(came: object, shown: object) -> bool:
    match shown:
        case "...":
            return True
        case dict():
            return (
                isinstance(came, dict)
                and came.keys() == shown.keys()
                and all(matches(came[key], shown[key]) for key in shown)
            )
        case list():
            return (
                isinstance(came, list)
                and len(came) == len(shown)
                and all(map(matches, came, shown))
            )
    return came == shown


@pytest.mark.parametrize("page", [API, CLIENTS, GRAPHQL, OAUTH], ids=lambda path: path.name)
def test_every_example_of_a_reference_does_what_the_page_shows(live, run_commands, page):
    page = blocks(page)
    for block, shown in zip(page, [*page[1:], None], strict=True):
        for job_id in RUN.findall(block.before):
            perform(live, int(job_id), fake_boot)
        if block.language != "sh":
            continue
        answer = run_commands(block.text)
        if shown and shown.language != "sh" and not as_shown(answer, shown):
            pytest.fail(f"{block.text}\nis shown to be answered\n{shown.text}\nand was\n{answer}")


@pytest.mark.parametrize(
    ("language", "answer", "shown"),
    [
        ("text", "one\n", "two\n"),
        ("json", '{"id": 1, "new": 2}', '{"id": 1}'),
        ("json", '{"jobs": [1, 2]}', '{"jobs": [1]}'),
        ("http", "HTTP/1.1 200 OK\r\n\r\nbody", "HTTP/1.1 404 NOT FOUND\n\nbody"),
        ("http", "HTTP/1.1 200 OK\r\nETag: 1\r\n\r\nbody", "HTTP/1.1 200 OK\nETag: 2\n\nbody"),
    ],
)
def test_a_page_that_shows_something_else_is_noticed(language, answer, shown):
    assert not as_shown(answer, Block(language, shown, before=""))


def test_what_the_readme_submits_is_accepted(live, run_commands):
    commands = [
        line
        for block in blocks(ROOT / "README.md")
        for line in block.text.splitlines()
        if line.startswith("curl ")
    ]
    assert commands
    for command in commands:
        assert json.loads(run_commands(command))["status"] == "queued"


# --- the API reference is complete ----------------------------------------------------------------


def test_every_route_is_documented_and_every_documented_route_exists(app: Flask):
    documented = re.findall(r"^### `([A-Z]+) ([^ `]+)`$", API.read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(routes(app))


def routes(app: Flask) -> list[tuple[str, str]]:
    """Each route as the page writes it: `GET /api/jobs/:id`. HEAD and OPTIONS go without saying."""
    return [
        (method, re.sub(r"<(?:\w+:)?(?:job_|group_)?(\w+)>", r":\1", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or ()) - {"HEAD", "OPTIONS"}
    ]


@pytest.mark.parametrize("word", [*JobStatus, *TaskStatus, *Visibility, *SCOPES])
def test_every_word_that_a_field_may_hold_is_documented(word):
    assert f"`{word}`" in API.read_text()


# --- manifests ------------------------------------------------------------------------------------


def test_every_manifest_that_the_page_shows_is_good():
    shown = [block.text for block in blocks(MANIFEST) if block.language == "yaml"]
    assert shown
    for text in shown:
        manifest.parse(as_whole(text))


def as_whole(text: str) -> str:
    """The page shows some keys alone, and says that they are part of a manifest."""
    if not re.search("^image:", text, re.MULTILINE):
        text = f"image: debian/stable\n{text}"
    if not re.search("^tasks:", text, re.MULTILINE):
        text = f"{text}tasks:\n- build: make\n"
    return text


def test_every_key_of_a_manifest_is_documented():
    documented = set(re.findall(r"^\| `([a-z]+)` \|", MANIFEST.read_text(), re.MULTILINE))
    assert set(manifest.Manifest.__dataclass_fields__) - {"grants"} <= documented


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_good_manifest(example: Path):
    manifest.parse(example.read_text())


# --- operation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "page"), [("Use a server", CLIENTS), ("Operate a server", OPERATING)]
)
def test_every_command_is_documented(part, page):
    documented = re.findall(r"`buildsrht ([a-z -]+)", page.read_text())
    known = commands({command.name: command for command in cli.commands.parts[part]})
    assert [name for name in known if not any(is_command(name, each) for each in documented)] == []


def is_command(name: str, documented: str) -> bool:
    return documented == name or documented.startswith(f"{name} ")


def commands(named) -> Iterator[str]:
    for name, command in named.items():
        if hasattr(command, "commands"):
            yield from (f"{name} {sub}" for sub in commands(command.commands))
        else:
            yield name


def test_every_configuration_that_the_page_shows_is_good(tmp_path: Path):
    shown = [block.text for block in blocks(OPERATING) if block.language == "ini"]
    assert shown
    for text in shown:
        (tmp_path / "config.ini").write_text(text)
        config.load({"BUILDSRHT_CONFIG": str(tmp_path / "config.ini")})


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_option_that_a_page_speaks_of_exists(page: Path):
    known = {
        f"[{name}] {option}" for name, kind in config.SECTIONS.items() for option in options(kind)
    }
    spoken_of = set(re.findall(r"`(\[[a-z]+\] [a-z_]+)", page.read_text()))
    assert spoken_of - known == set()


def options(kind: type) -> list[str]:
    return list(kind.__dataclass_fields__)


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
