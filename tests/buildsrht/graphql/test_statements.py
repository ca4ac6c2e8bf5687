"""A page of 25 jobs takes as many statements as one job does."""

from contextlib import contextmanager

import pytest
from sqlalchemy import event

PAGE_QUERY = """
{ jobs { results {
    id owner { canonicalName } group { id jobs { id } owner { canonicalName } }
    tasks { id name job { id } } artifacts { path url } secrets { uuid } log { fullURL }
} cursor } }
"""


@pytest.fixture
def counted(backend):
    """The statements that a block runs."""

    @contextmanager
    def count():
        statements = []

        def note(_connection, _cursor, statement, *_):
            statements.append(statement)

        event.listen(backend.engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(backend.engine, "before_cursor_execute", note)

    return count


@pytest.fixture
def jobs_with_all(find, make_job, manifest, keep_artifact):
    def make(number):
        find(
            "mutation ($name: String) { createSecret(secret:"
            ' {type: FILE, name: $name, material: "x", path: "x"}) { id } }',
            name=f"deploy{number}",
        )
        for _ in range(number):
            job = make_job("pending", manifest=f"{manifest}secrets: [deploy{number}]\n")
            keep_artifact(job)
            find(
                "mutation ($ids: [Int!]!) { createGroup(jobIds: $ids, execute: false) { id } }",
                ids=[job.id],
            )

    return make


def test_a_page_takes_as_many_statements_as_one_job(find, counted, jobs_with_all):
    jobs_with_all(1)
    with counted() as for_one:
        find(PAGE_QUERY)
    jobs_with_all(24)
    with counted() as for_all:
        found = find(PAGE_QUERY)

    assert len(found["jobs"]["results"]) == 25
    assert all(
        job["group"]["jobs"] and job["artifacts"] and job["secrets"]
        for job in found["jobs"]["results"]
    )
    assert len(for_all) == len(for_one), "\n".join(for_all)


def test_the_jobs_of_one_owner_are_looked_for_once(find, counted, make_job):
    query = "{ jobs { results { owner { ... on User { jobs { results { id } } } } } } }"
    make_job()
    with counted() as for_one:
        find(query)
    make_job()
    with counted() as for_all:
        find(query)

    assert len(for_all) == len(for_one)


def test_what_needs_no_row_asks_for_none(find, counted):
    with counted() as statements:
        find("{ version { major settings { sshUser } } __schema { queryType { name } } }")
    assert statements == []


def test_a_query_only_reads(find, counted, make_job):
    make_job()
    with counted() as statements:
        find("{ job(id: 1) { id } }")
    assert statements[0].startswith("SET TRANSACTION READ ONLY")
