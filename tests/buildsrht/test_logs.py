"""Logs keep every byte that was acknowledged, whatever becomes of Redis."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis
from sqlalchemy import event, exc, select, text
from sqlalchemy.orm import Session

from buildsrht import logs as log_module
from buildsrht.backend import open_redis
from buildsrht.logs import LogName, Logs, LogWriter, Sealed, spool_chunks
from buildsrht.models import Log

SETUP = LogName(1, None)


@pytest.fixture
def view(backend, make_job):
    """The setup log of job 1 as a reader finds it now."""
    make_job("running")

    def look(name=SETUP):
        with backend.transaction() as session:
            return backend.logs.view(session, name)

    return look


@pytest.fixture
def writer(backend, tmp_path):
    return LogWriter(backend.logs, SETUP, 1, tmp_path / "spool")


@pytest.fixture
def seal(backend):
    def put(*chunks, name=SETUP):
        with backend.transaction() as session:
            backend.logs.seal(session, name, 1, iter(chunks))

    return put


def content(log):
    return b"".join(log.read(0, log.size))


# --- who seals it -----------------------------------------------------------------------------


def test_what_a_process_that_was_given_up_stores_late_is_nobodys_log(backend, view):
    """It hung in the middle of its upload; a janitor has sealed the log meanwhile."""
    its_own = Logs(backend.redis, backend.storage, backend.engine)
    session = Session(backend.engine)
    pid = session.scalar(text("SELECT pg_backend_pid()"))

    def give_up():
        with backend.transaction() as janitors:
            janitors.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
            assert backend.logs.seal(janitors, SETUP, 1, iter([b"lost"]))

    def chunks():
        yield b"begun, "
        # The library lets nobody store anything while it asks for more of something else.
        janitor.submit(give_up).result()
        yield b"and gone on with"

    with ThreadPoolExecutor(1) as janitor, pytest.raises(exc.DBAPIError):
        its_own.seal(session, SETUP, 1, chunks())
    session.invalidate()

    assert (view().sealed, content(view())) == (True, b"lost")


def test_a_log_that_was_sealed_by_an_older_version_is_found(backend, view, seal):
    seal(b"old")
    with backend.transaction() as session:
        row = session.scalars(select(Log)).one()
        for key, older in zip(Sealed.of(row), ("logs/1/setup", "logs/1/setup.marks"), strict=True):
            backend.storage.put(older, [backend.storage.read_all(key)])
            backend.storage.delete(key)
        row.writer = None

    assert (view().sealed, content(view())) == (True, b"old")


# --- while it grows ---------------------------------------------------------------------------


def test_a_disk_that_takes_only_a_part_gets_the_rest(view, writer):
    disk = writer._file
    writer._file = SimpleNamespace(write=lambda data: disk.write(data[:3]), close=disk.close)

    writer.write(b"0123456789")

    assert writer.spool.read_bytes() == b"0123456789"
    assert writer.size == 10


def test_a_log_that_nobody_wrote_is_empty_and_not_sealed(view):
    assert (view().size, view().sealed, content(view())) == (0, False, b"")


def test_readers_see_what_was_written_at_once(view, writer):
    writer.write(b"one\n")
    writer.write(b"")
    writer.write(b"two\n")

    assert (view().sealed, content(view())) == (False, b"one\ntwo\n")


@pytest.mark.parametrize(("start", "end"), [(0, 10), (0, 4), (3, 9), (9, 10), (5, 5)])
def test_any_range_can_be_read(view, writer, monkeypatch, start, end):
    monkeypatch.setattr(log_module, "CHUNK", 4)
    writer.write(b"0123456789")

    assert b"".join(view().read(start, end)) == b"0123456789"[start:end]


def test_logs_do_not_mix(backend, view, writer, tmp_path):
    writer.write(b"setup")
    LogWriter(backend.logs, LogName(1, 1), 1, tmp_path / "other").write(b"task")

    assert content(view()) == b"setup"
    assert content(view(LogName(1, 1))) == b"task"


def test_a_live_log_does_not_stay_in_redis_for_ever(backend, writer):
    writer.write(b"one")

    assert 0 < backend.redis.ttl(SETUP.live_key) <= log_module.LIVE_SECONDS


# --- while Redis is wiped or away -------------------------------------------------------------


def test_a_wiped_redis_loses_no_byte(backend, view, writer):
    writer.write(b"one\n")
    backend.redis.flushall()

    writer.write(b"two\n")

    assert content(view()) == b"one\ntwo\n"


def test_nobody_reads_the_rest_of_a_log_in_the_place_of_its_beginning(
    backend, view, writer, monkeypatch
):
    writer.write(b"one\n")
    backend.redis.flushall()
    seen = []
    replace = backend.logs.replace
    monkeypatch.setattr(
        backend.logs, "replace", lambda *log: (seen.append(view().size), replace(*log))
    )

    writer.write(b"two\n")

    assert seen == [0]
    assert content(view()) == b"one\ntwo\n"


def test_what_redis_missed_while_it_was_away_comes_with_the_next_bytes(
    backend, view, tmp_path, writer
):
    writer.write(b"one\n")
    away = Logs(open_redis(f"unix://{tmp_path}/nobody.sock"), backend.storage, backend.engine)
    LogWriter(away, SETUP, 1, writer.spool).write(b"two\n")
    assert content(view()) == b"one\n"

    LogWriter(backend.logs, SETUP, 1, writer.spool).write(b"three\n")

    assert content(view()) == b"one\ntwo\nthree\n"


def test_a_write_that_redis_took_twice_is_put_right(backend, view, writer):
    backend.logs.append(SETUP, 1, 0, b"one\n")  # an answer was lost, and the client sent it again

    writer.write(b"one\n")

    assert content(view()) == b"one\n"


def test_a_writer_that_was_restarted_goes_on_where_it_was(backend, view, writer):
    writer.write(b"one\n")
    writer.close()

    again = LogWriter(backend.logs, SETUP, 1, writer.spool)
    again.write(b"two\n")

    assert again.size == 8
    assert content(view()) == b"one\ntwo\n"


# --- sealed -----------------------------------------------------------------------------------


def test_a_sealed_log_is_the_same_log(backend, view, writer):
    writer.write(b"one\ntwo\n")
    before = content(view())

    with backend.transaction() as session:
        backend.logs.seal(session, SETUP, 1, spool_chunks(writer.spool))
    backend.logs.drop_live(SETUP)

    assert (view().sealed, view().size, content(view())) == (True, 8, before)
    assert not backend.redis.exists(SETUP.live_key)


def test_a_run_that_was_given_up_and_does_not_know_leaves_nothing_in_redis(backend, writer, seal):
    seal(b"ended by another")
    backend.logs.drop_live(SETUP)

    writer.write(b"still at it\n")

    assert not backend.redis.exists(SETUP.live_key, SETUP.live_marks_key)
    assert backend.redis.ttl(SETUP.fence_key) > 0


def test_a_sealed_log_stays_as_it_is(view, seal):
    seal(b"first")
    digest = view().sha256
    seal(b"second")

    assert (content(view()), view().sha256) == (b"first", digest)


def test_of_two_that_seal_at_once_one_decides_for_storage_and_for_the_digest(view, seal):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: seal(b"%d" % number * 1000), range(16)))

    log = view()
    assert log.size == len(content(log))
    assert log.sha256 == hashlib.sha256(content(log)).digest()


def test_a_seal_that_fails_leaves_the_log_as_it_was(backend, view, writer, seal):
    writer.write(b"one")

    def breaks_off():
        yield b"o"
        raise OSError("the spool's disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        seal_from(backend, breaks_off())
    assert (view().sealed, content(view())) == (False, b"one")

    seal(b"one")
    assert (view().sealed, content(view())) == (True, b"one")


def seal_from(backend, chunks):
    with backend.transaction() as session:
        backend.logs.seal(session, SETUP, 1, chunks)


def test_a_log_that_is_sealed_while_it_is_read_is_read_to_its_end(
    backend, view, writer, seal, monkeypatch
):
    monkeypatch.setattr(log_module, "CHUNK", 4)
    writer.write(b"0123456789")
    reading = view().read(0, 10)
    begun = next(reading)

    seal(b"0123456789")
    backend.logs.drop_live(SETUP)

    assert begun + b"".join(reading) == b"0123456789"


class SealsBetween(Redis):
    """A Redis whose log is sealed and dropped while a reader asks for its length."""

    def strlen(self, name):
        self.seal(b"0123456789")
        self.delete(name)
        return super().strlen(name)


def test_a_log_that_is_sealed_while_it_is_looked_for_is_found(backend, view, writer, seal, servers):
    writer.write(b"0123456789")
    redis = SealsBetween.from_url(servers.redis.url)
    redis.seal = seal
    logs = Logs(redis, backend.storage, backend.engine)

    with backend.transaction() as session:
        log = logs.view(session, SETUP)

    assert (log.sealed, content(log)) == (True, b"0123456789")


def test_many_logs_of_a_job_are_found_with_as_few_questions_as_one(backend, make_job, seal):
    tasks = "".join(f"- t{number}: x\n" for number in range(40))
    job = make_job("running", manifest=f"image: debian/trixie\ntasks:\n{tasks}")
    names = [LogName(job.id, None), *(LogName(job.id, task.id) for task in job.tasks)]
    for number, name in enumerate(names[:30]):
        seal(b"x" * number, name=name)
    backend.logs.append(names[30], 1, 0, b"live")
    asked = []

    with backend.transaction() as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: asked.append(1))
        views = backend.logs.views(session, names)

    assert [view.size for view in views] == [*range(30), 4, *[0] * 10]
    assert [view.sealed for view in views] == [True] * 30 + [False] * 11
    assert b"".join(views[29].read(0, 29)) == b"x" * 29
    assert len(asked) == 2


def test_sealed_logs_are_read_without_redis(backend, view, seal, tmp_path):
    seal(b"one")
    away = replace(
        backend,
        logs=Logs(open_redis(f"unix://{tmp_path}/no.sock"), backend.storage, backend.engine),
    )

    with away.transaction() as session:
        assert content(away.logs.view(session, SETUP)) == b"one"


# --- marks ------------------------------------------------------------------------------------


def times(log):
    marks = log.marks()
    return [marks.time_at(offset) for offset in range(log.size)]


@pytest.fixture
def clock(monkeypatch):
    """Set it to so many milliseconds."""
    return lambda time: monkeypatch.setattr(log_module.time, "time_ns", lambda: time * 1_000_000)


def test_what_was_written_when_is_known_at_once_and_for_ever(backend, view, writer, clock):
    for time, data in ((1000, b"one\n"), (2000, b"tw"), (2500, b"o")):
        clock(time)
        writer.write(data)
    expected = [1000] * 4 + [2000] * 2 + [2500]
    assert times(view()) == expected

    with backend.transaction() as session:
        chunks = spool_chunks(writer.spool)
        backend.logs.seal(session, SETUP, 1, chunks, log_module.spool_marks(writer.spool))
    backend.logs.drop_live(SETUP)

    assert times(view()) == expected
    assert view().lines == 2
    assert backend.redis.keys("buildsrht:log:*") == []


def test_marks_that_redis_has_lost_are_put_back(backend, view, writer, clock):
    clock(1000)
    writer.write(b"one\n")
    backend.redis.flushdb()
    clock(2000)

    writer.write(b"two\n")

    assert times(view()) == [1000] * 4 + [2000] * 4


def test_a_writer_that_goes_on_with_a_spool_goes_on_with_its_lines(backend, view, writer, clock):
    clock(1000)
    writer.write(b"one\ntwo\n")
    writer.close()
    clock(2000)

    LogWriter(backend.logs, SETUP, 1, writer.spool).write(b"three\n")

    assert view().marks().before_line(4) == (8, 2)


def test_a_log_that_is_older_than_marks_has_none(backend, view, seal):
    seal(b"one\n", b"two")
    [marks] = [key for key in backend.storage.keys("logs/1/") if key.endswith(".marks")]
    backend.storage.delete(marks)

    assert times(view()) == [None] * 7
    assert log_module.spool_marks(Path("no/such/spool")) == b""


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [((), 0), ((b"",), 0), ((b"a",), 1), ((b"a\n",), 1), ((b"a\n", b"b", b""), 2)],
    ids=["none", "empty", "open", "ended", "both"],
)
def test_the_last_line_counts_without_its_end_too(view, seal, chunks, lines):
    seal(*chunks)

    assert view().lines == lines
