"""Following a job: each byte of its logs once, in order, whatever happens on the way.

Time here goes by only while we sleep, and each sleep brings the server's next moment.
"""

import io
from dataclasses import dataclass, field
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsrht import follow
from buildsrht.client import UNFINISHED, Refused, ServerAway
from buildsrht.models import JobStatus


@dataclass
class Moment:
    """What the server says for a while. A log is complete when its text ends in a full stop."""

    status: str = "running"
    logs: dict[str, bytes] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    away: bool = False
    cut_after: int | None = None

    @property
    def runner(self):
        return "host-1" if self.logs else None


class Server:
    """Stands in for Client, and for the clock."""

    def __init__(self, *moments: Moment):
        self._moments = iter(moments)
        self.now = next(self._moments)
        self.clock = 0.0
        self.reads: list[str] = []

    def monotonic(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds
        self.now = next(self._moments, self.now)

    def job(self, job_id):
        self._answer()
        tasks = [{"name": n, "status": s, "log": n} for n, s in self.now.tasks.items()]
        job = {"id": job_id, "status": self.now.status, "runner": self.now.runner}
        return job | {"setup_log": "setup", "tasks": tasks}

    def read_log(self, url, offset, write):
        self._answer()
        self.reads.append(url)
        text = self.now.logs.get(url, b"")
        if self.now.cut_after is not None:
            write(text[offset : offset + self.now.cut_after])
            raise ServerAway("cut")
        write(text[offset:])
        return text.endswith(b".")

    def _answer(self):
        if self.now.away:
            raise ServerAway("http://server: connection refused")


class Watched(NamedTuple):
    """How following ended: the job's status, what was printed, and which logs were read."""

    status: str
    printed: bytes
    reads: list[str]


def watch(*moments, task=None):
    """Follow a job through these moments; the last one lasts for ever."""
    server, out = Server(*moments), io.BytesIO()
    with mock.patch.object(follow, "time", server):
        status = follow.follow(server, 1, out, task)
    return Watched(status, out.getvalue(), server.reads)


def headings(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("==")]


# What is printed


def test_logs_are_printed_as_they_grow_each_below_its_heading(capsys):
    watched = watch(
        Moment("queued"),
        Moment(logs={"setup": b"boo"}),
        Moment(logs={"setup": b"boot\n"}, tasks={"build": "pending"}),
        Moment(logs={"setup": b"boot\n", "build": b"make\n"}, tasks={"build": "running"}),
        Moment(
            "success",
            logs={"setup": b"boot\nbye.", "build": b"make\nmade."},
            tasks={"build": "success"},
        ),
    )

    assert watched.status == "success"
    assert watched.printed == b"boot\nmake\nmade.bye."
    assert headings(capsys) == ["== setup", "== task build", "== setup"]


def test_a_job_that_is_over_is_printed_in_the_order_of_its_tasks(capsys):
    watched = watch(
        Moment(
            "failed",
            logs={"setup": b"a.", "build": b"b.", "test": b"c."},
            tasks={"build": "success", "test": "failed"},
        )
    )

    assert watched.printed == b"a.b.c."
    assert headings(capsys) == ["== setup", "== task build", "== task test"]


def test_only_the_log_of_one_task_if_that_is_asked_for():
    moment = Moment("success", logs={"setup": b"a.", "build": b"b."}, tasks={"build": "success"})

    assert watch(moment, task="build").printed == b"b."


def test_a_task_that_the_job_does_not_have_is_refused():
    with pytest.raises(Refused, match="job 1 has no task deploy, only build, test"):
        watch(Moment(tasks={"build": "pending", "test": "pending"}), task="deploy")


def test_logs_that_nobody_has_started_are_not_read():
    never_ran = Moment("cancelled", tasks={"build": "pending"})
    one_skipped = Moment("success", logs={"setup": b"."}, tasks={"build": "skipped"})

    assert watch(never_ran).reads == []
    assert watch(one_skipped).reads == ["setup"]


def test_a_log_that_is_complete_is_not_read_again():
    done = {"setup": b"."}

    assert watch(Moment(logs=done), Moment(logs=done), Moment("success", logs=done)).reads == [
        "setup"
    ]


# The end


def test_a_job_is_over_when_the_server_says_so():
    assert set(UNFINISHED) == {status for status in JobStatus if not status.is_final}


def test_bytes_written_between_the_last_read_and_the_end_are_printed():
    watched = watch(Moment(logs={"setup": b"a"}), Moment("failed", logs={"setup": b"abc."}))

    assert watched.printed == b"abc."


def test_logs_that_are_completed_after_the_end_are_waited_for():
    watched = watch(
        Moment("cancelled", logs={"setup": b"a"}),
        Moment("cancelled", logs={"setup": b"ab"}),
        Moment("cancelled", logs={"setup": b"abc."}),
    )

    assert watched.printed == b"abc."


def test_a_log_that_is_never_completed_is_given_up_with_a_warning(capsys):
    watched = watch(Moment("failed", logs={"setup": b"a"}))

    assert (watched.status, watched.printed) == ("failed", b"a")
    assert "the log of setup may lack its end" in capsys.readouterr().err


# Hiccups


def test_a_server_that_goes_away_for_a_while_costs_nothing(capsys):
    watched = watch(
        Moment(logs={"setup": b"a"}),
        *[Moment(away=True)] * 5,
        Moment("success", logs={"setup": b"abc."}),
    )

    assert (watched.status, watched.printed) == ("success", b"abc.")
    assert capsys.readouterr().err.count("connection refused; trying again") == 1


def test_a_server_that_stays_away_is_given_up():
    with pytest.raises(ServerAway):
        watch(Moment(logs={"setup": b"a"}), Moment(away=True))


def test_a_server_that_never_answered_is_given_up_at_once():
    server = Server(Moment(away=True))
    with mock.patch.object(follow, "time", server), pytest.raises(ServerAway):
        follow.follow(server, 1, io.BytesIO())

    assert server.clock == 0


def test_a_connection_that_breaks_is_no_matter_as_long_as_bytes_come():
    text = bytes(range(100))
    breaking = [Moment("success", logs={"setup": text}, cut_after=1)] * 90

    watched = watch(*breaking, Moment("success", logs={"setup": text + b"."}))

    assert watched.printed == text + b"."


BREAKS = st.lists(st.tuples(st.binary(max_size=3), st.sampled_from([None, 0, 1, 2])), max_size=8)


@given(BREAKS)
def test_however_a_log_grows_and_breaks_off_every_byte_comes_once_and_in_order(pieces):
    written, moments = b"", [Moment(logs={"setup": b""})]
    for piece, cut_after in pieces:
        written += piece.replace(b".", b"")
        moments.append(Moment(logs={"setup": written}, cut_after=cut_after))
    moments.append(Moment("success", logs={"setup": written + b"."}))

    assert watch(*moments).printed == written + b"."
