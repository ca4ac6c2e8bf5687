"""Lists in pages: 25 rows, from a cursor that is good for one list."""

import pytest
from asyncssh import generate_private_key

from buildsrht.graphql.pages import PAGE, read_page
from buildsrht.models import Visibility
from buildsrht.services.ssh_keys import add_key

JOBS = "query ($after: Cursor) { jobs(cursor: $after) { results { id } cursor } }"


def walk(find, query, path, **options):
    """The ids of each page of a list, from the first to the last."""
    after = None
    while True:
        page = find(query, after=after, **options)
        for step in path:
            page = page[step]
        yield [row["id"] for row in page["results"]]
        after = page["cursor"]
        if after is None:
            return


def test_pages_come_newest_first_and_end_with_null(find, make_job):
    for _ in range(2 * PAGE + 1):
        make_job()
    pages = list(walk(find, JOBS, ["jobs"]))

    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert [each for page in pages for each in page] == list(range(2 * PAGE + 1, 0, -1))


def test_a_full_page_with_nothing_behind_it_is_the_last(find, make_job):
    for _ in range(PAGE):
        make_job()
    assert [len(page) for page in walk(find, JOBS, ["jobs"])] == [PAGE]


def test_new_jobs_shift_no_page(find, make_job):
    for _ in range(PAGE + 2):
        make_job()
    after = find(JOBS)["jobs"]["cursor"]
    make_job()

    assert find(JOBS, after=after)["jobs"]["results"] == [{"id": 2}, {"id": 1}]


def test_an_empty_list_is_one_empty_page(find):
    assert find(JOBS)["jobs"] == {"results": [], "cursor": None}


def test_keys_and_secrets_come_in_pages_too(backend, find, owner):
    for _ in range(PAGE + 1):
        key = generate_private_key("ssh-ed25519").export_public_key().decode()
        add_key(backend, owner.name, key)
        find('mutation { createSecret(secret: {type: FILE, material: "x", path: "x"}) { id } }')
    keys = "query ($after: Cursor) { me { sshKeys(cursor: $after) { results { id } cursor } } }"
    secrets = "query ($after: Cursor) { secrets(cursor: $after) { results { id } cursor } }"
    everything = [list(range(1, PAGE + 1)), [PAGE + 1]]

    assert list(walk(find, keys, ["me", "sshKeys"])) == everything
    assert list(walk(find, secrets, ["secrets"])) == everything


def test_an_empty_cursor_is_none(find):
    assert find(JOBS, after="")["jobs"]["cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "2", "\u00fc", "am9iczoxOg", "Zm9v", "=" * 50])
def test_what_is_no_cursor_is_refused(fail, cursor):
    error = fail(JOBS, after=cursor)
    assert error["extensions"] == {"code": "BAD_INPUT", "field": "cursor"}


def test_a_cursor_is_good_for_its_own_list(find, fail, make_job, stranger):
    for _ in range(PAGE + 1):
        make_job(visibility=Visibility.PUBLIC)
    after = find(JOBS)["jobs"]["cursor"]

    assert fail(JOBS, after=after, user=stranger)["extensions"]["field"] == "cursor"
    secrets = "query ($after: Cursor) { secrets(cursor: $after) { cursor } }"
    assert fail(secrets, after=after)["extensions"]["field"] == "cursor"
    # Whoever's jobs they are, it is one list.
    query = "query ($after: Cursor) { me { jobs(cursor: $after) { results { id } } } }"
    assert find(query, after=after)["me"]["jobs"]["results"] == [{"id": 1}]


@pytest.mark.parametrize("cursor", [1, True, ["x"], {"x": 1}])
def test_a_cursor_is_a_string(fail, cursor):
    assert fail(JOBS, after=cursor)["extensions"] == {"code": "BAD_QUERY"}


def test_a_list_is_asked_for_one_row_more_than_it_shows():
    asked = []

    def fetch(start, count):
        asked.append((start, count))
        return []

    read_page("things", None, fetch)
    assert asked == [(None, PAGE + 1)]
