"""Logs for those who show them, over HTTP."""

import pytest

from buildsrht.api import log_lines
from buildsrht.logs import Logs
from buildsrht.models import TaskStatus
from buildsrht.services import runs
from tests.build_host import claim


@pytest.fixture
def job(make_job):
    return make_job("running")


def test_lines_come_with_what_is_needed_to_show_them(client, job, write_log):
    writer = write_log(job, "build", b"+ make\n<b>\n")

    answer = client.get(f"/query/log/{job.id}/build/lines")

    lines = answer.json["lines"]
    assert [line["html"] for line in lines] == ["+ make", "&lt;b&gt;"]
    assert [line["command"] for line in lines] == [True, False]
    assert all(isinstance(line["time"], int) for line in lines)
    known = {name: answer.json[name] for name in ("first", "total", "size", "complete")}
    assert known == {"first": 1, "total": 2, "size": writer.size, "complete": False}
    assert answer.headers["Cache-Control"] == "no-store"


def test_lines_of_a_finished_log_may_be_kept(client, job, write_log):
    write_log(job, None, b"one\ntwo\nthree\n", seal=True)

    answer = client.get(f"/query/log/{job.id}/lines?from=-2&count=1")

    assert (answer.json["first"], answer.json["lines"][0]["html"]) == (2, "two")
    assert (answer.json["total"], answer.json["complete"]) == (3, True)
    assert "immutable" in answer.headers["Cache-Control"]
    known = {"If-None-Match": answer.headers["ETag"]}
    again = client.get(f"/query/log/{job.id}/lines?from=-2&count=1", headers=known)
    other = client.get(f"/query/log/{job.id}/lines?from=-1&count=1", headers=known)
    assert (again.status_code, again.data, other.status_code) == (304, b"", 200)


def test_a_log_that_nobody_has_written_has_no_lines(client, job):
    answer = client.get(f"/query/log/{job.id}/build/lines")

    assert (answer.json["total"], answer.json["lines"]) == (0, [])


@pytest.mark.parametrize("what", ["build/lines", "build/commands", "search?q=one"])
def test_a_log_that_redis_loses_meanwhile_is_asked_for_again(
    client, backend, job, write_log, monkeypatch, what
):
    write_log(job, "build", b"+ one\ntwo\n")
    found = Logs.views

    def found_and_lost(*arguments):
        views = found(*arguments)
        backend.redis.flushdb()
        return views

    monkeypatch.setattr(Logs, "views", found_and_lost)
    answer = client.get(f"/query/log/{job.id}/{what}")

    assert answer.status_code == 503
    assert "try again in a moment" in answer.json["errors"][0]["reason"]
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "query",
    [
        *("from=one", "from=1.5", "from=-2001", "from=" + "9" * 17, "from=٣", "from="),
        *("count=0", "count=-1", "count=2001", "count=many"),
    ],
)
def test_which_lines_is_said_in_numbers(client, job, query):
    answer = client.get(f"/query/log/{job.id}/lines?{query}")

    assert answer.status_code == 400
    assert answer.json["errors"][0]["field"] == query.partition("=")[0]


def test_commands_of_a_log_are_found(client, job, write_log, monkeypatch):
    monkeypatch.setattr(log_lines, "COMMANDS", 2)
    write_log(job, "build", b"+ a\n1\n+ b\n2\n+ c\n")
    write_log(job, None, b"Cloning.\n", seal=True)

    answer = client.get(f"/query/log/{job.id}/build/commands")
    assert answer.json == {"commands": [1, 3], "more": True}
    answer = client.get(f"/query/log/{job.id}/commands")
    assert answer.json == {"commands": [], "more": False}
    assert "immutable" in answer.headers["Cache-Control"]


def test_all_logs_are_searched_in_their_order(client, job, write_log):
    write_log(job, None, b"made\n")
    write_log(job, "build", b"+ make\nnone\nMade & done\n", seal=True)

    found = client.get(f"/query/log/{job.id}/search?q=made").json

    assert found == {
        "matches": [
            {"task": None, "line": 1, "html": "made"},
            {"task": "build", "line": 3, "html": "Made &amp; done"},
        ],
        "more": False,
    }


def test_there_is_an_end_to_what_is_found(client, job, write_log):
    write_log(job, None, b"a\n" * log_lines.MATCHES)
    write_log(job, "build", b"a\n")

    found = client.get(f"/query/log/{job.id}/search?q=a").json

    assert (len(found["matches"]), found["more"]) == (log_lines.MATCHES, True)


def test_the_first_error_is_that_of_the_task_that_failed(
    client, backend, make_job, write_log, fetch
):
    run = claim(backend, make_job().id, "build-1")
    job = fetch(run.job_id)
    for task, ends in (("build", TaskStatus.SUCCESS), ("test", TaskStatus.FAILED)):
        for status in (TaskStatus.RUNNING, ends):
            runs.move_run_task(backend, run, run.task_ids[task], status)
    write_log(job, None, b"error: not this\n", seal=True)
    write_log(job, "build", b"error: nor this\n", seal=True)
    write_log(job, "test", b"one\nerror: this\n", seal=True)

    found = client.get(f"/query/log/{job.id}/search?errors=1").json

    assert found["matches"] == [{"task": "test", "line": 2, "html": "error: this"}]


@pytest.mark.parametrize("query", ["", "q=", "q=" + "x" * 201, "q=a%0Ab", "errors=2"])
def test_what_is_sought_has_to_be_said(client, job, query):
    assert client.get(f"/query/log/{job.id}/search?{query}").status_code == 400
