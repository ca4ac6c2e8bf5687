"""What a job's watchers are told: everything, once, and in the order in which it happened."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import delete

from buildsrht.api import render
from buildsrht.errors import BadInput, NotFound
from buildsrht.logs import LogName
from buildsrht.models import Job, JobEvent, Visibility
from buildsrht.services import jobs, stream
from buildsrht.services.stream import Cursor, follow, read_cursor
from tests.build_host import BuildHost

# The examples of one test all go to one database.
SHARED = HealthCheck.function_scoped_fixture
START = Cursor()


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch):
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0)


@pytest.fixture
def watch(backend, owner):
    """What a watcher of job 1 is told, until there is no more for now."""

    def start(after=START, *, viewer=owner, job_id=1, **options):
        return Watcher(backend, job_id, viewer, after, **options)

    return start


class Watcher:
    """Knows the cursor of the last event that it was told."""

    def __init__(self, backend, job_id, viewer, after=START, **options):
        self._backend = backend
        self._happenings = follow(backend, job_id, viewer, after, **options)
        self.cursor = after

    def catch_up(self):
        """Everything that is new."""
        told = []
        for each in self._happenings:
            if each is None:
                break
            told.append(each)
            self.cursor = each.cursor
        return [self._in_short(each.what) for each in told]

    def ends(self):
        return next(self._happenings, "ended") == "ended"

    def _in_short(self, what):
        name, data = render.happening(self._backend.config, what)
        dropped = ("date", "cause", "url", "offset", "size" if name == "log" else "")
        return name, *(value for key, value in data.items() if key not in dropped)


@pytest.fixture
def host(backend, make_job):
    make_job("queued")
    return BuildHost(backend, 1)


@pytest.fixture
def finished(host):
    """Job 1, which is over: what a watcher is told of it, in short."""
    host.write(None, "Starting.\n")
    host.start("build")
    host.write("build", "compiling\n")
    host.end("build")
    host.start("test")
    host.write("test", "1 test\n")
    host.end("test", "failed")
    host.keep("/home/build/out.txt", b"made")
    host.write(None, "Kept.\n")
    host.finish("failed")
    return [
        ("status", "queued"),
        ("status", "running"),
        ("log", None, "Starting.\nKept.\n"),
        ("task", "build", "running"),
        ("log", "build", "compiling\n"),
        ("task", "build", "success"),
        ("task", "test", "running"),
        ("log", "test", "1 test\n"),
        ("task", "test", "failed"),
        ("artifact", "out.txt", "/home/build/out.txt", 4),
        ("status", "failed"),
        ("end", "failed"),
    ]


# --- the order ------------------------------------------------------------------------------------


def test_who_comes_after_the_end_is_told_everything_and_then_no_more(finished, watch):
    watcher = watch()

    assert watcher.catch_up() == finished
    assert watcher.ends()


def test_who_watches_is_told_each_thing_when_it_happens(backend, make_job, watch):
    make_job("queued")
    watcher = watch()
    assert watcher.catch_up() == [("status", "queued")]

    host = BuildHost(backend, 1)
    assert watcher.catch_up() == [("status", "running")]
    host.write(None, "Starting.\n")
    assert watcher.catch_up() == [("log", None, "Starting.\n")]
    host.start("build")
    assert watcher.catch_up() == [("task", "build", "running")]
    host.write("build", "one\n")
    assert watcher.catch_up() == [("log", "build", "one\n")]
    assert watcher.catch_up() == []
    host.write("build", "two\n")
    host.end("build")
    assert watcher.catch_up() == [("log", "build", "two\n"), ("task", "build", "success")]
    host.write(None, "Between.\n")
    assert watcher.catch_up() == [("log", None, "Between.\n")]
    host.keep("/home/build/out.txt", b"made")
    assert watcher.catch_up() == [("artifact", "out.txt", "/home/build/out.txt", 4)]
    host.start("test")
    host.write("test", "cut")
    host.finish("timeout")
    assert watcher.catch_up() == [
        ("task", "test", "running"),
        ("log", "test", "cut"),
        ("status", "timeout"),
        ("task", "test", "failed"),
        ("end", "timeout"),
    ]
    assert watcher.ends()


def test_a_task_that_was_skipped_has_no_log(host, watch):
    host.start("build")
    host.end("build")
    host.skip("test")
    host.finish()

    told = watch().catch_up()

    assert ("task", "test", "skipped") in told
    assert [each for each in told if each[:2] == ("log", "test")] == []


def test_a_job_that_is_cancelled_before_it_runs_just_ends(make_job, backend, owner, watch):
    make_job("pending")
    jobs.cancel(backend, 1, owner)

    assert watch().catch_up() == [
        ("status", "pending"),
        ("status", "cancelled"),
        ("end", "cancelled"),
    ]


def test_changes_of_its_settings_are_not_told(make_job, backend, owner, watch):
    make_job("pending")
    watcher = watch()
    watcher.catch_up()

    jobs.update_job(backend, 1, owner, note="urgent")

    assert watcher.catch_up() == []


def test_of_a_job_that_is_older_than_events_there_are_logs_artifacts_and_the_end(
    finished, watch, backend
):
    with backend.transaction() as session:
        session.execute(delete(JobEvent))

    assert watch().catch_up() == [
        each for each in finished if each[0] in ("log", "artifact", "end")
    ]


# --- coming back ----------------------------------------------------------------------------------


def test_who_comes_back_at_any_event_is_told_exactly_what_comes_after_it(
    finished, watch, backend, owner
):
    cursors = [cursor for _, cursor in told(backend, owner, START)]

    assert len(cursors) == len(finished)
    for number, cursor in enumerate(cursors, start=1):
        assert watch(cursor).catch_up() == finished[number:]


BYTES = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=40),
    st.sampled_from([b"\xe2\x82", b"\xf0\x9f\x98\x80" * 9, b"\r\n\n", b"a" * 64]),
)


@given(setup=BYTES, logs=st.lists(BYTES, max_size=3), ends=st.booleans(), data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[SHARED])
def test_whatever_is_in_logs_nothing_is_lost_and_nothing_comes_twice(
    backend, owner, make_job, setup, logs, ends, data
):
    names = [f"task-{number}" for number, _ in enumerate(logs)]
    tasks = "".join(f"- {name}: make\n" for name in [*names, "last"])
    job = make_job("queued", manifest=f"image: debian/trixie\ntasks:\n{tasks}")
    host = BuildHost(backend, job.id)
    host.write(None, setup)
    for name, said in zip(names, logs, strict=True):
        host.start(name)
        host.write(name, said)
        if ends or name != names[-1]:
            host.end(name)
    host.finish("failed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PART", 7)
        whole = told(backend, owner, START, job.id)
        cut = data.draw(st.integers(1, len(whole)))
        assert told(backend, owner, whole[cut - 1][1], job.id) == whole[cut:]
    for name, said in [(None, setup), *zip(names, logs, strict=True)]:
        parts = [grew for (kind, grew), _ in whole if kind == "log" and grew["task"] == name]
        assert "".join(part["text"] for part in parts) == said.decode(errors="replace")
        ends_at = [part["size"] for part in parts]
        assert [part["offset"] for part in parts] == [0, *ends_at][: len(parts)]
        assert [0, *ends_at][-1] == len(said)
        assert all(part["size"] - part["offset"] <= 7 for part in parts)


def told(backend, viewer, after, job_id=1):
    happenings = [each for each in follow(backend, job_id, viewer, after) if each]
    return [(render.happening(backend.config, each.what), each.cursor) for each in happenings]


@given(steps=st.lists(st.tuples(BYTES, st.booleans()), min_size=1, max_size=6))
@settings(max_examples=12, deadline=None, suppress_health_check=[SHARED])
def test_who_comes_and_goes_while_a_log_grows_reads_it_whole(backend, owner, make_job, steps):
    job = make_job("queued")
    host = BuildHost(backend, job.id)
    host.start("build")
    watcher = Watcher(backend, job.id, owner)
    read = watcher.catch_up()
    for said, comes_anew in steps:
        host.write("build", said)
        if comes_anew:
            watcher = Watcher(backend, job.id, owner, watcher.cursor)
        read += watcher.catch_up()
    host.end("build")
    host.finish()
    read += watcher.catch_up()

    assert "".join(each[2] for each in read if each[0] == "log") == b"".join(
        said for said, _ in steps
    ).decode(errors="replace")
    assert [each for each in read if each[0] != "log"] == [
        ("status", "queued"),
        ("status", "running"),
        ("task", "build", "running"),
        ("task", "build", "success"),
        ("status", "success"),
        ("end", "success"),
    ]


def test_a_cursor_is_a_text_that_can_be_read_again():
    cursor = Cursor(event=12, artifact=3, setup=100, tasks=2, offset=50, over=1)

    assert str(cursor) == "12-3-100-2-50-1"
    assert read_cursor(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1-2-3-4-5", "1-2-3-4-5-2", "a-2-3-4-5-0", "-1-2-3-4-5-0", "1-2-3-4-5-0 "),
        *("٣-2-3-4-5-0", f"{10**18}-2-3-4-5-0"),
    ],
)
def test_another_text_is_none(text):
    with pytest.raises(BadInput):
        read_cursor(text)


def test_a_cursor_of_a_job_with_more_tasks_is_refused(make_job, backend, owner):
    make_job("queued")

    with pytest.raises(BadInput):
        follow(backend, 1, owner, Cursor(tasks=3))


# --- less of it -----------------------------------------------------------------------------------


def test_without_logs_all_else_is_told(finished, watch):
    assert watch(logs=False).catch_up() == [each for each in finished if each[0] != "log"]


def test_without_text_a_log_is_only_said_to_grow(host, watch, monkeypatch):
    monkeypatch.setattr(stream, "PART", 4)
    host.write(None, "x" * 10)
    watcher = watch(text=False)

    assert watcher.catch_up()[-1] == ("log", None)
    assert watcher.cursor.setup == 10
    assert watch(watcher.cursor).catch_up() == []


def test_characters_are_told_whole(host, watch):
    watcher = watch()
    watcher.catch_up()

    host.write(None, "€".encode()[:2])
    assert watcher.catch_up() == []
    host.write(None, "€".encode()[2:] + b"\xff.")
    assert watcher.catch_up() == [("log", None, "€\ufffd.")]


# --- trouble --------------------------------------------------------------------------------------


def test_a_job_that_is_hidden_is_as_absent_as_ever(make_job, watch, stranger):
    make_job("queued", visibility=Visibility.PRIVATE)

    for viewer in (stranger, None):
        with pytest.raises(NotFound):
            watch(viewer=viewer)


def test_who_may_not_see_it_any_more_is_told_no_more(host, watch, backend, owner, stranger):
    watchers = [watch(viewer=stranger), watch(viewer=owner)]
    for watcher in watchers:
        watcher.catch_up()

    jobs.update_job(backend, 1, owner, visibility=Visibility.PRIVATE)

    assert [watcher.ends() for watcher in watchers] == [True, False]


def test_a_job_that_is_deleted_is_told_no_more(host, watch, backend):
    watcher = watch()
    watcher.catch_up()

    with backend.transaction() as session:
        session.execute(delete(Job))

    assert watcher.ends()


def test_a_log_that_goes_out_of_redis_goes_on_when_it_is_back(host, watch, backend):
    host.write(None, "Starting.\n")
    watcher = watch()
    watcher.catch_up()

    backend.redis.flushdb()
    assert watcher.catch_up() == []
    host.write(None, "Going on.\n")

    assert watcher.catch_up() == [("log", None, "Going on.\n")]


def test_a_log_that_is_missing_from_storage_holds_up_nothing_else(finished, watch, backend):
    for key in backend.storage.keys("logs/1/"):
        if key.startswith(LogName(1, None).home):
            backend.storage.delete(key)

    told = watch().catch_up()

    assert [each for each in told if each[1:2] != (None,)] == [
        each for each in finished if each[1:2] != (None,)
    ]


def test_an_outage_is_the_caller_s(host, watch, backend, monkeypatch):
    def away(*_):
        raise RedisConnectionError("away")

    watcher = watch()
    watcher.catch_up()
    monkeypatch.setattr(type(backend.logs), "live_view", away)

    with pytest.raises(RedisConnectionError):
        watcher.catch_up()


def test_no_transaction_is_held_between_two_looks(host, watch, backend):
    watcher = watch()
    watcher.catch_up()

    assert backend.engine.pool.checkedout() == 0
