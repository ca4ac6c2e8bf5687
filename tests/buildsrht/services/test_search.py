"""Searches: who finds what, by which words, and that pages neither repeat nor lose a job."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from buildsrht.errors import BadInput
from buildsrht.models import Job, JobStatus, TaskStatus, Visibility
from buildsrht.services import search
from tests.build_host import BuildHost


@pytest.fixture
def find(backend):
    """The numbers of the jobs on one page."""

    def find(query="", viewer=None, **options) -> list[int]:
        with backend.transaction() as session:
            found = search.search(session, viewer, query, catalogue=backend.catalogue, **options)
        return [job.id for job in found.jobs]

    return find


@pytest.fixture
def change(backend):
    """Put into a job's row what no build host of a test would."""

    def change(job, **values) -> None:
        with backend.transaction() as session:
            session.execute(update(Job).where(Job.id == job.id).values(values))

    return change


# --- who finds what -------------------------------------------------------------------------------


@pytest.fixture
def of_each_kind(make_job, owner, stranger) -> dict[tuple[str, str], int]:
    """A job of each visibility, of the owner and of a stranger."""
    return {
        (user.name, visibility.value): make_job(user=user, visibility=visibility).id
        for user in (owner, stranger)
        for visibility in Visibility
    }


SEEN = {
    # Who looks, and whose jobs alone, if it is somebody's page.
    ("nobody", None): {("owner", "public"), ("stranger", "public")},
    ("nobody", "owner"): {("owner", "public")},
    ("stranger", "owner"): {("owner", "public")},
    ("owner", None): {
        ("owner", "public"),
        ("owner", "unlisted"),
        ("owner", "private"),
        ("stranger", "public"),
    },
    ("owner", "owner"): {("owner", "public"), ("owner", "unlisted"), ("owner", "private")},
    ("admin", "owner"): {("owner", "public"), ("owner", "unlisted"), ("owner", "private")},
    ("admin", None): {
        (name, visibility.value) for name in ("owner", "stranger") for visibility in Visibility
    },
}
ALL_WORDS = ("", "image:debian/trixie", "!status:failed", "task:build", "!hidden", "manifest:make")


@pytest.mark.parametrize("query", ALL_WORDS)
@pytest.mark.parametrize(("viewer", "whose"), SEEN)
def test_jobs_are_found_by_those_who_may_and_by_nobody_else(
    find, of_each_kind, owner, stranger, admin, viewer, whose, query
):
    people = {"nobody": None, "owner": owner, "stranger": stranger, "admin": admin, None: None}

    found = find(query, people[viewer], owner=people[whose])

    expected = {of_each_kind[kind] for kind in SEEN[viewer, whose]}
    assert found == sorted(expected, reverse=True)


def test_nobody_can_search_their_way_into_what_is_hidden(find, make_job, stranger):
    job = make_job("failed", note="the hidden plan", tags=["hidden"], visibility=Visibility.PRIVATE)

    for query in ("hidden", "tags:hidden", "owner:owner", "status:failed", f"!tags:other{job.id}"):
        assert find(query, stranger) == []


# --- by which words -------------------------------------------------------------------------------


@pytest.fixture
def many(make_job, change, backend, owner, stranger) -> dict[str, int]:
    """Jobs that differ in all by which they can be found, and their names for here."""
    shared = {"visibility": Visibility.PUBLIC}
    made = {
        "fixed": make_job("success", note="Fix the 100% Parser", tags=["web", "main"], **shared),
        "broken": make_job("failed", note="break_the parser", tags=["web"], **shared),
        "silent": make_job("running", tags=["docs", "web", "main"], **shared),
        "older": make_job(
            "timeout", user=stranger, manifest="image: debian/bookworm\nshell: true\n", **shared
        ),
        "waits": make_job(manifest="image: debian/trixie\ntasks:\n- deploy: rsync\n", **shared),
    }
    host = make_job(**shared)
    work = BuildHost(backend, host.id)
    work.start("build")
    work.end("build", "failed")
    work.finish("failed")
    change(made["older"], created=datetime(2026, 1, 31, 23, 59, tzinfo=UTC))
    change(made["fixed"], runner="build-2")
    return {name: job.id for name, job in {**made, "tasks": host}.items()}


FOUND = {
    "parser": "broken fixed",
    "PARSER fix": "fixed",
    '"the parser"': "broken",
    "100%": "fixed",
    "1%P": "",
    "k_t": "broken",
    "e_t": "",
    "!parser": "silent older waits tasks",
    "status:failed": "broken tasks",
    "!status:failed status:success": "fixed",
    "status:queued": "waits",
    "image:debian/bookworm": "older",
    "image:debian/oldstable": "older",
    "image:debian": "fixed broken silent older waits tasks",
    "image:deb": "",
    "!image:debian/trixie": "older",
    "tags:web": "fixed broken silent",
    "tags:web/main": "fixed silent",
    "tags:main/web": "",
    "tags:we": "",
    "!tags:web": "older waits tasks",
    "owner:~stranger": "older",
    "!owner:stranger": "fixed broken silent waits tasks",
    "runner:build-2": "fixed",
    "!runner:host-1": "fixed waits",
    "since:1h": "fixed broken silent waits tasks",
    "before:2026-02-01": "older",
    "!since:2026-02-01": "older",
    "since:2026-02-01 before:1h": "",
    "since:2026-01-31 before:2026-02-01": "older",
    "task:build": "fixed broken silent tasks",
    "task:build=failed": "tasks",
    "!task:build": "older waits",
    "manifest:RSYNC": "waits",
    "!manifest:make": "older waits",
    "status:failed tags:web": "broken",
}


@pytest.mark.parametrize("query", FOUND)
def test_what_is_found_is_all_for_which_every_term_holds(find, many, query):
    expected = {many[name] for name in FOUND[query].split()}

    assert find(query) == sorted(expected, reverse=True)


def test_a_path_of_tags_is_where_the_tags_of_a_job_begin(find, make_job, owner):
    path = make_job(tags=["web", "main"])
    longer = make_job(tags=["web", "main", "arm"])
    for tags in (["main", "web"], ["web"], [], ["docs", "web", "main"]):
        make_job(tags=tags)

    assert find("", owner, owner=owner, tag_path=["web", "main"]) == [longer.id, path.id]


def test_an_owner_who_is_not_there_is_named(find):
    with pytest.raises(BadInput, match="search: owner: there is no ~nobody"):
        find("owner:nobody !owner:nobody")


def test_what_would_take_too_long_is_refused_with_what_would_help(
    find, make_job, owner, monkeypatch
):
    make_job()
    monkeypatch.setattr(search, "PATIENCE", "1ms")
    monkeypatch.setattr(search, "_has_tags", lambda tags: search.func.pg_sleep(9).is_not(None))

    with pytest.raises(BadInput, match=r"search: takes too long .* ask for an owner:"):
        find("tags:web", owner)


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_who", ["nobody", "owner", "admin"])
def test_pages_neither_repeat_nor_lose_a_job_while_others_come(
    backend, make_job, owner, stranger, admin, as_who
):
    viewer = {"nobody": None, "owner": owner, "admin": admin}[as_who]
    there = [
        make_job(user=user, visibility=Visibility.PUBLIC).id
        for user in (owner, stranger, stranger, owner, owner, owner, stranger)
    ]
    pages, before = [], None
    while True:
        with backend.transaction() as session:
            found = search.search(session, viewer, "", before=before, count=2)
        pages.append([job.id for job in found.jobs])
        make_job(visibility=Visibility.PUBLIC)
        if found.next is None:
            break
        before = found.next

    assert [job_id for page in pages for job_id in page] == sorted(there, reverse=True)
    assert [len(page) for page in pages] == [2, 2, 2, 1]


def test_a_page_that_is_full_and_the_last_leads_nowhere(backend, make_job, owner):
    make_job(), make_job()

    with backend.transaction() as session:
        assert search.search(session, owner, "", count=2).next is None


def test_jobs_come_with_their_tasks_and_owners(backend, make_job, owner):
    make_job()

    with backend.transaction() as session:
        [job] = search.search(session, owner, "").jobs

    assert [task.status for task in job.tasks] == [TaskStatus.PENDING] * 2
    assert job.owner.name == "owner"
    assert job.status == JobStatus.QUEUED


@pytest.mark.parametrize("key", ["since", "before"])
def test_a_time_finds_jobs_that_got_their_numbers_in_another_order(
    find, make_job, change, monkeypatch, key
):
    now = datetime.now(UTC)
    jobs = [make_job(visibility=Visibility.PUBLIC) for _ in range(6)]
    minutes = (60, 50, 20, 30, 10, 5)
    for job, ago in zip(jobs, minutes, strict=True):
        change(job, created=now - timedelta(minutes=ago))
    monkeypatch.setattr(search, "NEIGHBOURS", 2)
    term = search.Term(key, now - timedelta(minutes=25))
    monkeypatch.setattr(search, "parse", lambda text, now: (term,))

    expected = [
        job.id for job, ago in zip(jobs, minutes, strict=True) if (ago < 25) == (key == "since")
    ]
    assert find() == expected[::-1]
