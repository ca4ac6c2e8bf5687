"""What may follow what: the whole table, against the database that decides."""

import itertools

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from buildsrht.errors import Conflict
from buildsrht.models import Job, JobStatus, Task, TaskStatus
from buildsrht.status import move_job, move_task

FINAL = {"success", "failed", "timeout", "cancelled"}
JOB_MOVES = {
    ("pending", "queued"),
    ("pending", "cancelled"),
    ("queued", "running"),
    ("queued", "cancelled"),
    ("queued", "failed"),
    *[("running", status) for status in FINAL],
}
TASK_MOVES = {
    ("pending", "running"),
    ("pending", "skipped"),
    ("running", "success"),
    ("running", "failed"),
}
TASK_PATHS = {
    TaskStatus.PENDING: [],
    TaskStatus.RUNNING: [TaskStatus.RUNNING],
    TaskStatus.SUCCESS: [TaskStatus.RUNNING, TaskStatus.SUCCESS],
    TaskStatus.FAILED: [TaskStatus.RUNNING, TaskStatus.FAILED],
    TaskStatus.SKIPPED: [TaskStatus.SKIPPED],
}
CLAIMED = {"runner": "host-1", "lease_expires": func.now()}


@pytest.mark.parametrize(("before", "to"), list(itertools.product(JobStatus, repeat=2)))
def test_a_job_moves_only_as_the_table_says(backend, make_job, fetch, before, to):
    make_job(before)
    changes = CLAIMED if to == JobStatus.RUNNING else {}

    def move():
        with backend.transaction() as session:
            move_job(session, 1, to, **changes)

    if (before, to) in JOB_MOVES:
        move()
        assert fetch(1).status == to
    else:
        with pytest.raises(Conflict, match=f"job 1 cannot become {to} now"):
            move()
        assert fetch(1).status == before


@pytest.fixture
def make_task(backend, make_job):
    """Task 1 in this state."""

    def make(status):
        make_job("running")
        with backend.transaction() as session:
            for step in TASK_PATHS[status]:
                move_task(session, 1, step)

    return make


@pytest.mark.parametrize(("before", "to"), list(itertools.product(TaskStatus, repeat=2)))
def test_a_task_moves_only_as_the_table_says(backend, make_task, fetch, before, to):
    make_task(before)

    def move():
        with backend.transaction() as session:
            move_task(session, 1, to)

    if (before, to) in TASK_MOVES:
        move()
        assert fetch(1).tasks[0].status == to
    else:
        with pytest.raises(Conflict, match=f"task 1 cannot become {to} now"):
            move()
        assert fetch(1).tasks[0].status == before


def test_a_condition_narrows_the_move(backend, make_job, fetch):
    make_job("queued")

    with pytest.raises(Conflict), backend.transaction() as session:
        move_job(session, 1, JobStatus.CANCELLED, Job.runner == "host-1")

    assert fetch(1).status == JobStatus.QUEUED


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_job_has_an_end_when_its_status_is_final(make_job, status):
    assert (make_job(status).finished is not None) == (status in FINAL)


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "finished"},
        {"status": "running"},
        {"status": "success"},
        {"status": "queued", "finished": func.now()},
        {"visibility": "hidden"},
    ],
)
def test_the_database_refuses_what_cannot_be(backend, make_job, columns):
    make_job()
    with backend.transaction() as session:
        table = Job.__table__
        row = dict(session.execute(select(table)).mappings().one())
    del row["id"]

    with pytest.raises(IntegrityError), backend.transaction() as session:
        session.execute(insert(table).values(row | columns))


@pytest.mark.parametrize("name", ["Build", "", "a b", "x" * 129])
def test_the_database_refuses_a_task_that_cannot_be_named(backend, make_job, name):
    make_job()

    with pytest.raises(IntegrityError), backend.transaction() as session:
        session.add(Task(job_id=1, position=9, name=name, status=TaskStatus.PENDING))
