"""Jobs that are deleted: what goes with them, what stays, and when."""

import pytest
from sqlalchemy import select, text

from buildsrht.errors import Conflict, Forbidden, NotFound
from buildsrht.logs import LogName
from buildsrht.models import JobGroup, Tree, Visibility
from buildsrht.services import deletion, groups, jobs, trees, triggers
from buildsrht.services.deletion import delete_job, erase_deleted
from buildsrht.storage import StorageError
from tests.archives import archive

FINAL = ("success", "failed", "timeout", "cancelled")


@pytest.fixture
def full_job(make_job, write_log, keep_artifact):
    """One that is over and has left something everywhere."""

    def make(**fields):
        job = make_job("failed", **fields)
        write_log(job, None, b"setup\n", seal=True)
        write_log(job, "build", b"made\n", seal=True)
        keep_artifact(job)
        return job

    return make


@pytest.fixture
def stored(backend):
    def keys():
        return [key for kind in deletion.KINDS for key in backend.storage.keys(f"{kind}/")]

    return keys


# --- what goes ----------------------------------------------------------------------------------


def test_nothing_of_a_job_is_left_but_bytes_for_the_janitor(
    backend, owner, full_job, row_counts, stored
):
    before = row_counts()
    job = full_job()

    delete_job(backend, owner, job.id)

    assert row_counts() == {**before, "erasure": 2}
    with backend.transaction() as session, pytest.raises(NotFound):
        jobs.require_job(session, job.id, owner)
    assert stored()

    assert erase_deleted(backend) == 2
    assert stored() == []
    assert row_counts() == before


def test_another_job_whose_number_begins_alike_keeps_its_bytes(backend, owner, full_job, stored):
    first, *_, other = [full_job() for _ in range(10)]
    assert str(other.id).startswith(str(first.id))
    of_others = [key for key in stored() if f"/{first.id}/" not in key]

    delete_job(backend, owner, first.id)
    erase_deleted(backend)

    assert stored() == of_others


def test_what_a_writer_that_was_killed_had_begun_goes_too(backend, owner, full_job, config):
    job = full_job()
    begun = config.storage.path / f"artifacts/{job.id}/0123456789abcdef#1"
    begun.write_bytes(b"half")

    delete_job(backend, owner, job.id)
    erase_deleted(backend)

    assert not begun.exists()


def test_lines_that_were_never_sealed_go(backend, owner, make_job, write_log):
    job = make_job("failed")
    write_log(job, "build", b"said\n")

    delete_job(backend, owner, job.id)

    assert backend.logs.live_view(jobs.log_name(job, "build")).size == 0


def test_what_its_triggers_owe_is_not_sent(backend, owner, make_job, row_counts):
    triggers_ = "triggers: [{action: webhook, condition: always, url: 'https://example.org'}]\n"
    job = make_job("failed", manifest=f"image: debian\ntasks: [build: make]\n{triggers_}")
    assert row_counts()["delivery"] == 1

    delete_job(backend, owner, job.id)

    assert triggers.claim_next(backend) is None


# --- its group and its tree ---------------------------------------------------------------------


def test_a_group_goes_with_the_last_of_its_jobs(backend, owner, make_job):
    first, second = make_job("pending"), make_job("pending")
    groups.create_group(backend, owner, [first.id, second.id], None, [], execute=False)
    groups.cancel_group(backend, 1, owner)

    left = []
    for job in (first, second):
        delete_job(backend, owner, job.id)
        with backend.transaction() as session:
            left.append(len(session.scalars(select(JobGroup)).all()))

    assert left == [1, 0]


def test_a_tree_goes_with_the_last_job_that_names_it(backend, owner, make_job):
    tree = trees.keep_tree(backend, owner, "project", [archive({"main.c": b"int main;"})])
    first, second = (make_job("cancelled", tree_id=tree.id) for _ in range(2))

    left = []
    for job in (first, second):
        delete_job(backend, owner, job.id)
        trees.expire_trees(backend)
        with backend.transaction() as session:
            left.append(len(session.scalars(select(Tree)).all()))

    assert left == [1, 0]
    assert backend.storage.keys("trees/") == []


# --- who may, and when --------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "queued", "running"])
def test_a_job_that_is_not_over_is_not_deleted(backend, owner, make_job, row_counts, status):
    job = make_job(status)
    before = row_counts()

    with pytest.raises(Conflict, match=f"job 1 is {status}: cancel it first"):
        delete_job(backend, owner, job.id)

    assert row_counts() == before


@pytest.mark.parametrize("status", FINAL)
def test_one_that_is_over_is(backend, owner, make_job, row_counts, status):
    delete_job(backend, owner, make_job(status).id)

    assert row_counts()["job"] == 0


@pytest.mark.parametrize(
    ("visibility", "error"), [(Visibility.PUBLIC, Forbidden), (Visibility.PRIVATE, NotFound)]
)
def test_nobody_deletes_jobs_of_others(backend, stranger, make_job, row_counts, visibility, error):
    job = make_job("failed", visibility=visibility)

    with pytest.raises(error):
        delete_job(backend, stranger, job.id)

    assert row_counts()["job"] == 1


def test_administrators_do(backend, admin, make_job, row_counts):
    delete_job(backend, admin, make_job("failed", visibility=Visibility.PRIVATE).id)

    assert row_counts()["job"] == 0


def test_a_job_is_deleted_once(backend, owner, make_job):
    job = make_job("failed")
    delete_job(backend, owner, job.id)

    with pytest.raises(NotFound):
        delete_job(backend, owner, job.id)


# --- the janitor --------------------------------------------------------------------------------


def test_what_cannot_be_erased_now_is_later_and_holds_up_nothing(
    backend, owner, full_job, stored, monkeypatch
):
    first, second = full_job(), full_job()
    delete_job(backend, owner, first.id)
    delete_job(backend, owner, second.id)
    delete = backend.storage.delete

    def refuse(key):
        if key.startswith(f"logs/{first.id}/"):
            raise StorageError("the disk is away")
        delete(key)

    monkeypatch.setattr(backend.storage, "delete", refuse)
    assert erase_deleted(backend) == 3
    assert {key.split("/")[1] for key in stored()} == {str(first.id)}

    monkeypatch.setattr(backend.storage, "delete", delete)
    assert erase_deleted(backend) == 1
    assert stored() == []


def test_storage_that_is_slow_takes_little_of_the_janitors_time(
    backend, owner, full_job, monkeypatch
):
    delete_job(backend, owner, full_job().id)
    monkeypatch.setattr(deletion, "MOST_SECONDS", 0)
    assert erase_deleted(backend) == 0
    monkeypatch.undo()
    assert erase_deleted(backend) == 2


def test_a_crash_between_bytes_and_row_costs_nothing(backend, owner, full_job, row_counts):
    job = full_job()
    delete_job(backend, owner, job.id)
    deletion.erase_strays(backend, job.id)

    assert erase_deleted(backend) == 2
    assert row_counts()["erasure"] == 0


def test_of_a_job_that_is_gone_no_log_is_kept(backend, owner, make_job, stored):
    """As a build host that was believed lost would want to."""
    job = make_job("failed")
    delete_job(backend, owner, job.id)
    erase_deleted(backend)

    with backend.transaction() as session:
        backend.logs.seal(session, LogName(job.id, None), job.attempt, iter([b"late\n"]))

    assert stored() == []


# --- how long it takes --------------------------------------------------------------------------


def test_whatever_refers_to_a_job_is_found_without_reading_all_there_is(backend):
    """Each key that goes with a row, or is emptied with it, is the first column of an index."""
    without = text("""
        SELECT c.conrelid::regclass::text, a.attname
        FROM pg_constraint c JOIN pg_attribute a
            ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND c.confdeltype IN ('c', 'n')
            AND c.confrelid IN ('job'::regclass, 'task'::regclass, 'job_event'::regclass,
                'job_group'::regclass, 'tree'::regclass, 'delivery'::regclass)
            AND NOT EXISTS (
                SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = a.attnum
                AND coalesce(pg_get_expr(i.indpred, i.indrelid), '') IN
                    ('', '(' || a.attname || ' IS NOT NULL)'))""")
    with backend.transaction() as session:
        assert session.execute(without).all() == []
