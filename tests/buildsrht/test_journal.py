"""What processes say of themselves: a line for each thing, and of a job it says which."""

import contextvars
import io
import json
import logging
import threading
from dataclasses import replace

import pytest

from buildsrht import config as settings
from buildsrht import journal

log = logging.getLogger("worker.somewhere")


@pytest.fixture
def said(monkeypatch):
    """Begin a journal in that way; what was said since is the answer of what this returns."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in journal.QUIET}

    def begin(**options):
        root.handlers.clear()
        heard = io.StringIO()
        monkeypatch.setattr("sys.stderr", heard)
        config = settings.load({})
        journal.begin(replace(config, journal=replace(config.journal, **options)), "janitor")
        return heard.getvalue

    yield begin
    root.handlers[:] = before
    root.setLevel(level)
    for name, was in quiet.items():
        logging.getLogger(name).setLevel(was)


def only(lines):
    (line,) = lines.splitlines()
    return json.loads(line)


def test_a_line_of_json_says_when_who_and_what(said):
    heard = said(format="json")
    log.warning("%d things\nare wrong", 3)
    line = only(heard())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "host": settings.load({}).worker.name,
        "part": "janitor",
        "logger": "worker.somewhere",
        "message": "3 things\nare wrong",
    }


def test_a_traceback_is_a_field_of_its_line(said):
    heard = said(format="json")
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("that failed")
    line = only(heard())
    assert line["error"].startswith("Traceback")
    assert line["error"].endswith("KeyError: 'lost'")


def test_what_is_said_in_a_block_is_about_its_subject_also_what_libraries_say(said):
    heard = said(format="json")
    with journal.about(request="r1"), journal.about(job=17, attempt=2):
        logging.getLogger("rq.worker").info("working")
    assert only(heard()).items() >= {"job": 17, "attempt": 2, "request": "r1"}.items()


def test_after_the_block_nothing_is_about_it(said):
    heard = said(format="json")
    with journal.about(job=17):
        pass
    log.info("on to something else")
    assert "job" not in only(heard())


def test_a_single_line_may_be_about_another_job(said):
    heard = said(format="json")
    with journal.about(job=17, attempt=2):
        log.info("seen", extra=journal.of_job(18))
    assert only(heard())["job"] == 18


def test_threads_with_the_context_of_a_block_are_about_its_subject(said):
    heard = said(format="json")
    with journal.about(job=17):
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(log.info, "from a thread")
        )
    thread.start()
    thread.join()
    assert only(heard())["job"] == 17


def test_text_says_so_too(said):
    heard = said(format="text")
    with journal.about(job=17, attempt=2):
        log.info("begun")
    log.info("idle")
    about_job, about_none = heard().splitlines()
    assert about_job.endswith(" worker.somewhere: job=17 attempt=2: begun")
    assert about_none.endswith(" worker.somewhere: idle")


def test_what_is_quoted_in_text_begins_no_line_of_its_own(said):
    heard = said(format="text")
    log.info("said: %s", "one\n2026-01-01 00:00:00,000 worker.run_job: job=1: forged\r\n")
    (line,) = heard().splitlines()
    assert line.endswith("forged\\r\\n")


def test_a_traceback_in_text_has_lines(said):
    heard = said(format="text")
    try:
        raise ValueError
    except ValueError:
        log.exception("broken")
    assert heard().splitlines()[-1] == "ValueError"


def test_what_is_less_than_the_level_is_not_told(said):
    heard = said(level="warning")
    log.info("so so")
    log.warning("bad")
    (line,) = heard().splitlines()
    assert line.endswith(": bad")


def test_libraries_that_tell_too_much_are_quiet(said):
    heard = said(level="info")
    logging.getLogger("asyncssh").info("somebody runs a command")
    logging.getLogger("asyncssh").warning("a problem")
    (line,) = heard().splitlines()
    assert line.endswith(": a problem")
