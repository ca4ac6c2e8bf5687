"""The language of searches: what a line of text becomes, and what is said of a wrong one."""

from datetime import UTC, datetime, timedelta

import pytest

from buildsrht.errors import BadInput
from buildsrht.models import JobStatus, TaskStatus
from buildsrht.services.search_terms import CHARACTERS, TERMS, TaskTerm, Term, parse

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

READ = {
    "": (),
    "  \t ": (),
    "parser": (Term("note", "parser"),),
    "fix  parser ": (Term("note", "fix"), Term("note", "parser")),
    '"fix  the parser"': (Term("note", "fix  the parser"),),
    '"one"two': (Term("note", "one"), Term("note", "two")),
    'say"so': (Term("note", 'say"so'),),
    "100%": (Term("note", "100%"),),
    '"https://example.org"': (Term("note", "https://example.org"),),
    "!wip": (Term("note", "wip", True),),
    '!"in progress"': (Term("note", "in progress", True),),
    "wow!": (Term("note", "wow!"),),
    "note:status:x": (Term("note", "status:x"),),
    "status:failed": (Term("status", JobStatus.FAILED),),
    "STATUS:Failed": (Term("status", JobStatus.FAILED),),
    "!status:success": (Term("status", JobStatus.SUCCESS, True),),
    'status:"failed"': (Term("status", JobStatus.FAILED),),
    "image:debian/bookworm": (Term("image", "debian/bookworm"),),
    "tags:a": (Term("tags", ("a",)),),
    "tags:a/B": (Term("tags", ("a", "B")),),
    "tags:/a/": (Term("tags", ("a",)),),
    "owner:~ada": (Term("owner", "ada"),),
    "owner:ada": (Term("owner", "ada"),),
    "runner:build-1.example.org": (Term("runner", "build-1.example.org"),),
    "since:2026-11-01": (Term("since", datetime(2026, 11, 1, tzinfo=UTC)),),
    "before:2h": (Term("before", NOW - timedelta(hours=2)),),
    "since:3d": (Term("since", NOW - timedelta(days=3)),),
    "since:1w": (Term("since", NOW - timedelta(weeks=1)),),
    "!since:1w": (Term("before", NOW - timedelta(weeks=1)),),
    "!before:1w": (Term("since", NOW - timedelta(weeks=1)),),
    "task:build": (Term("task", TaskTerm("build", None)),),
    "task:build=failed": (Term("task", TaskTerm("build", TaskStatus.FAILED)),),
    'manifest:"apt install"': (Term("manifest", "apt install"),),
    "pinned:yes !pinned:no": (Term("pinned", True), Term("pinned", False, True)),
    "status:failed tags:a !wip": (
        Term("status", JobStatus.FAILED),
        Term("tags", ("a",)),
        Term("note", "wip", True),
    ),
}

REFUSED = {
    "colour:red": "colour:red: there is no key 'colour', only note, status, image",
    "https://example.org": 'put it into "quotation marks"',
    "status:broken": "status:broken: 'broken' is none of pending, queued",
    "status:": "status:: nothing is asked for",
    '""': '"": nothing is asked for',
    "!": "!: nothing is asked for",
    'fix "the parser': '"the parser: the quotation mark is never closed',
    "tags:a//b": "tags:a//b: '' cannot be a tag",
    "tags:café": "'café' cannot be a tag",
    "owner:~Ada": "owner:~Ada: a name must be 1 to 63 of a-z",
    "since:yesterday": "'yesterday' is neither a day, as 2026-11-01, nor so long ago",
    "since:2026-11-31": "'2026-11-31' is neither a day",
    "before:3m": "'3m' is neither a day",
    "task:Build": "'Build' cannot be a task",
    "task:build=broken": "'broken' is none of pending, running, success, failed, skipped",
    "note:\0": "NUL",
    "x" * (CHARACTERS + 1): f"at most {CHARACTERS} characters, got {CHARACTERS + 1}",
    "x " * (TERMS + 1): f"at most {TERMS} terms, got {TERMS + 1}",
}


@pytest.mark.parametrize("text", READ)
def test_a_line_becomes_terms(text):
    assert parse(text, NOW) == READ[text]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:20]))
def test_what_is_no_search_is_refused_with_the_reason(text):
    with pytest.raises(BadInput) as refused:
        parse(text, NOW)

    [problem] = refused.value.errors
    assert problem.field == "search"
    assert REFUSED[text] in problem.reason


def test_every_problem_is_told_at_once():
    with pytest.raises(BadInput) as refused:
        parse("status:broken fix colour:red since:later", NOW)

    assert [problem.reason.split(":")[0] for problem in refused.value.errors] == [
        "status",
        "colour",
        "since",
    ]
