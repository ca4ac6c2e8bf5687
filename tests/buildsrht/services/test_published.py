"""What badges and feeds ask of the database: as little for many jobs as for few."""

import pytest
from sqlalchemy import event, text

from buildsrht.services import published

JOBS = 12_000
# Public are a third, of which a quarter was cancelled. Of old ones there are none among the newest.
MANY = f"""
INSERT INTO job (owner_id, manifest, image, arch, tags, visibility, secrets, status, finished)
SELECT :owner, '', 'debian/trixie', 'amd64',
    CASE WHEN i < {JOBS} / 2 THEN '{{old,part}}' WHEN i % 5 = 0 THEN '{{}}'
         ELSE array['new-' || i % 19, 'part'] END,
    (array['public', 'unlisted', 'private'])[1 + i % 3], false,
    (array['success', 'failed', 'timeout', 'cancelled'])[1 + i / 3 % 4], now()
FROM generate_series(1, {JOBS}) i
"""
# Twenty-one first tags, for each of which fifty jobs are read, besides those that were cancelled.
MOST_ROWS = 21 * 50 * 2


@pytest.fixture
def many_jobs(backend, owner):
    with backend.transaction() as session:
        session.execute(text(MANY), {"owner": owner.id})
        session.execute(text("ANALYZE job"))


@pytest.fixture
def rows_read(backend):
    """Of how many rows a function of the service makes its answer."""

    def count(ask) -> int:
        statements = []
        with backend.transaction() as session:
            connection = session.connection()

            @event.listens_for(connection, "before_cursor_execute")
            def note(connection, cursor, statement, parameters, *_):
                statements.append((statement, parameters))

            assert ask(session)
            event.remove(connection, "before_cursor_execute", note)
            return sum(read(connection, *statement) for statement in statements)

    def read(connection, statement, parameters) -> int:
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        (explained,) = connection.exec_driver_sql(explain, parameters).scalar_one()
        return rows_of(explained["Plan"])

    return count


def rows_of(plan) -> int:
    own = 0
    if "Scan" in plan["Node Type"]:
        each = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = each * plan["Actual Loops"]
    return own + sum(map(rows_of, plan.get("Plans", ())))


def test_many_jobs_are_no_more_work_than_few(many_jobs, owner, rows_read):
    asked = {
        "outcome": lambda session: published.outcome(session, owner.name, ()),
        "old outcome": lambda session: published.outcome(session, owner.name, ("old",)),
        "outcome of two": lambda session: published.outcome(session, owner.name, ("new-1", "part")),
        "newest": lambda session: published.newest(session, owner, (), 50),
        "newest of a path": lambda session: published.newest(session, owner, ("old", "part"), 50),
        "projects": lambda session: published.projects(session, owner, ()),
        "old projects": lambda session: published.projects(session, owner, ("old",)),
    }
    rows = {what: rows_read(ask) for what, ask in asked.items()}
    assert {what: count for what, count in rows.items() if count > MOST_ROWS} == {}


def test_every_first_tag_is_found(many_jobs, backend, owner):
    with backend.transaction() as session:
        found = {tuple(each.tags) for each in published.projects(session, owner, ())}
    assert found == {(), ("old", "part"), *((f"new-{number}", "part") for number in range(19))}


def test_a_project_is_forgotten_when_others_took_its_place(backend, owner, make_job, monkeypatch):
    monkeypatch.setattr(published, "JOBS_OF_PROJECTS", 2)
    for tags in (["app", "once"], ["app"], ["app"], ["other", "once"]):
        make_job("success", visibility="public", tags=tags)
    with backend.transaction() as session:
        found = [each.tags for each in published.projects(session, owner, ())]
    assert found == [["app"], ["other", "once"]]
