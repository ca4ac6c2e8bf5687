"""Searches among a million jobs: which indexes they use, and how little they read.

What is asserted are plans, not times: which indexes are read, and how often a page of the database
is looked at. The jobs are as random as a hash of their numbers, and the same each time.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, make_url
from sqlalchemy.orm import Session

from buildsrht import database
from buildsrht.config import Database
from buildsrht.models import User
from buildsrht.services import overview, search

pytestmark = pytest.mark.slow

JOBS = 1_000_000
USERS = 100
# Nearly all stay below a tenth of this. By its index, job after job, a million would be two hundred
# times as much.
PAGES_READ = 5000

# Made without triggers and before the costly index: that is for each row what takes long.
FILL = f"""
SET session_replication_role = replica;
SET maintenance_work_mem = '256MB';
DROP INDEX job_note;

CREATE FUNCTION pick(i integer, salt integer, choices integer) RETURNS integer IMMUTABLE
    RETURN (hashint4extended(i, salt) & 1048575) % choices;

INSERT INTO "user" (name) SELECT 'user' || i FROM generate_series(1, {USERS}) i;

INSERT INTO job (owner_id, created, manifest, image, arch, note, tags, visibility, secrets, status,
                 queued, started, finished, runner, lease_expires)
SELECT
    1 + pick(i, 1, {USERS}),
    timestamptz '2026-01-01' + i * interval '30 seconds',
    'image: debian/trixie',
    CASE WHEN pick(i, 2, 5000) = 0 THEN 'netbsd/9.x'
         ELSE (ARRAY['debian/trixie', 'debian/bookworm', 'alpine/edge'])[1 + pick(i, 3, 3)] END,
    'amd64',
    CASE WHEN pick(i, 4, 10) > 0 THEN
        'Fix ' || (ARRAY['parser', 'writer'])[1 + pick(i, 5, 2)]
        || ' of ' || to_hex(i * 7919::bigint)
    END,
    ARRAY['project' || pick(i, 6, 500), (ARRAY['main', 'patches'])[1 + pick(i, 7, 2)]],
    (ARRAY['public', 'private', 'unlisted', 'unlisted', 'unlisted'])[1 + pick(i, 8, 5)],
    true,
    status, now(), now(),
    CASE WHEN status NOT IN ('queued', 'running') THEN now() END,
    'host-' || pick(i, 9, 8), now()
FROM generate_series(1, {JOBS}) i, LATERAL (SELECT
    CASE WHEN i > {JOBS} - 20 THEN 'queued'
         WHEN i > {JOBS} - 40 THEN 'running'
         WHEN pick(i, 10, 20000) = 0 THEN 'timeout'
         WHEN pick(i, 11, 8) = 0 THEN 'failed'
         ELSE 'success' END AS status) AS s;

INSERT INTO task (job_id, position, name, status)
SELECT i, 0, CASE WHEN pick(i, 12, 5000) = 0 THEN 'deploy' ELSE 'build' END, 'success'
FROM generate_series(1, {JOBS}) i;

CREATE INDEX job_note ON job USING gin (note gin_trgm_ops);
"""

SEARCHES = (
    "",
    "parser",
    "78d598",
    "nowhere",
    "!parser",
    "status:failed",
    "status:timeout",
    "status:running",
    "status:cancelled",
    "!status:success",
    "image:debian/trixie",
    "image:debian",
    "image:netbsd",
    "image:plan9",
    "tags:main",
    "tags:project7",
    "tags:project7/main",
    "tags:nowhere",
    "owner:user7",
    "runner:host-7",
    "runner:nowhere",
    "since:2026-12-01",
    "before:2026-02-01",
    "before:2025-12-01",
    "since:2026-03-01 before:2026-03-02",
    "task:build",
    "task:deploy",
    "task:nowhere",
    "task:deploy=failed",
    "manifest:trixie",
    "status:failed tags:project7 parser",
    "owner:user7 status:timeout",
)
VIEWERS = ("nobody", "somebody", "their own page", "another's page", "an administrator")


@pytest.fixture(scope="module")
def million(servers) -> Iterator[Engine]:
    """A database of its own: to delete so many rows from the one of all tests takes too long."""
    url = make_url(servers.database.url)
    whole = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with whole.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE million")
    try:
        engine = create_engine(url.set(database="million"), poolclass=NullPool)
        there = engine.url.render_as_string(hide_password=False)
        database.init(replace(servers, database=Database(there)))
        with engine.begin() as connection:
            connection.exec_driver_sql(FILL, execution_options={"no_parameters": True})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
        yield engine
    finally:
        with whole.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE million")


@pytest.fixture
def plans_of(million):
    """The plan of each statement that reads jobs, once it has run."""

    def plans_of(read) -> list[dict]:
        asked = []

        def note(connection, cursor, statement, parameters, context, executemany):
            if "FROM job" in statement:
                asked.append((statement, parameters))

        event.listen(million, "before_cursor_execute", note)
        with Session(million) as session:
            read(session)
            event.remove(million, "before_cursor_execute", note)
            return [
                session.connection()
                .exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
                .scalar_one()[0]["Plan"]
                for statement, parameters in asked
            ]

    return plans_of


def nodes(plan: dict) -> Iterator[dict]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def pages_read(plan: dict) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def whole_tables(plan: dict) -> set[str]:
    """Those that are read from one end to the other."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}


def as_viewer(session: Session, viewer: str) -> dict:
    somebody, other = (session.get_one(User, id) for id in (7, 8))
    return {
        "nobody": {"viewer": None},
        "somebody": {"viewer": somebody},
        "their own page": {"viewer": somebody, "owner": somebody},
        "another's page": {"viewer": somebody, "owner": other},
        "an administrator": {"viewer": User(id=9, name="user9", admin=True)},
    }[viewer]


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize("query", SEARCHES)
def test_a_search_reads_little_of_a_million_jobs(plans_of, query, viewer):
    def read(session):
        search.search(session, query=query, **as_viewer(session, viewer))

    [plan] = plans_of(read)

    assert pages_read(plan) < PAGES_READ
    assert whole_tables(plan) <= {"user"}


@pytest.mark.parametrize("before", [500_000, 60])
def test_a_page_far_down_reads_no_more_than_the_first(plans_of, before):
    def read(session):
        search.search(session, query="", before=before, **as_viewer(session, "somebody"))

    [plan] = plans_of(read)

    assert pages_read(plan) < PAGES_READ


@pytest.mark.parametrize("path", [[], ["project7"], ["project7", "main"], ["nowhere"]])
@pytest.mark.parametrize("viewer", ["their own page", "another's page"])
def test_lists_of_tags_and_trends_read_little_too(plans_of, path, viewer):
    def read(session):
        people = as_viewer(session, viewer)
        search.search(session, query="", tag_path=path, **people)
        overview.trend(session, people["viewer"], people["owner"], path)

    for plan in plans_of(read):
        assert pages_read(plan) < PAGES_READ


def test_what_is_under_way_is_read_from_a_small_index(plans_of):
    [plan] = plans_of(lambda session: overview.under_way(session, session.get_one(User, 7)))

    assert pages_read(plan) < 100


WORDS = {
    "78d598": "job_note",
    "status:timeout": "job_status",
    "image:netbsd": "job_image",
    "tags:nowhere": "job_tags",
    "runner:nowhere": "job_runner",
    "before:2026-02-01": "job_created",
    "task:deploy": "task_name",
    "": "job_public",
}


@pytest.mark.parametrize("query", WORDS)
def test_each_index_is_there_for_something(plans_of, query):
    [plan] = plans_of(lambda session: search.search(session, None, query))

    assert WORDS[query] in {node.get("Index Name") for node in nodes(plan)}
