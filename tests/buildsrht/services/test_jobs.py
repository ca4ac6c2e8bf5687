"""What users do with jobs beyond the REST interface: change one, submit one once more, lint."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from buildsrht.errors import BadInput, Forbidden, NotFound
from buildsrht.manifest import ManifestError
from buildsrht.models import EventKind, Job, JobEvent, Tree, Visibility
from buildsrht.services import jobs, trees
from buildsrht.services.scopes import EVERYTHING, granted
from tests.archives import archive

MANY = """\
image: debian/trixie
secrets: [deploy]
oauth: builds.sr.ht/JOBS:RO
triggers:
- {action: webhook, condition: always, url: 'https://example.org/hook'}
tasks:
- build: make
"""


@pytest.fixture
def settings_events(backend):
    def count(job):
        with backend.transaction() as session:
            kinds = session.scalars(select(JobEvent.kind).where(JobEvent.job_id == job.id)).all()
        return kinds.count(EventKind.SETTINGS)

    return count


# --- change ---------------------------------------------------------------------------------------


def test_a_job_is_changed_in_what_is_given_and_in_nothing_else(
    make_job, backend, owner, fetch, settings_events
):
    job = make_job("success", note="old", tags=["a"])
    returned = jobs.update_job(backend, job.id, owner, tags=["B", "c.d"])
    assert (returned.tags, returned.note, returned.visibility) == (
        *(["B", "c.d"], "old", Visibility.UNLISTED),
    )
    jobs.update_job(backend, job.id, owner, visibility=Visibility.PUBLIC, note="new")
    changed = fetch(job.id)
    assert (changed.tags, changed.note, changed.visibility) == (
        *(["B", "c.d"], "new", Visibility.PUBLIC),
    )
    assert (changed.status, changed.finished) == (job.status, job.finished)
    assert changed.updated > job.updated
    assert settings_events(job) == 2


def test_an_empty_note_removes_it_and_no_tags_remove_all(make_job, backend, owner, fetch):
    job = make_job(note="old", tags=["a"])
    jobs.update_job(backend, job.id, owner, note="", tags=[])
    assert (fetch(job.id).note, fetch(job.id).tags) == (None, [])


def test_changes_at_the_same_time_all_hold(make_job, backend, owner, fetch, settings_events):
    job = make_job()
    changes = [{"note": "new"}, {"tags": ["new"]}, {"visibility": Visibility.PUBLIC}]
    with ThreadPoolExecutor() as pool:
        for change in changes:
            pool.submit(jobs.update_job, backend, job.id, owner, **change)
    changed = fetch(job.id)
    assert (changed.note, changed.tags, changed.visibility) == ("new", ["new"], Visibility.PUBLIC)
    assert settings_events(job) == 3


def test_what_changes_nothing_is_no_event(make_job, backend, owner, fetch, settings_events):
    job = make_job(tags=["a"])
    jobs.update_job(backend, job.id, owner)
    jobs.update_job(backend, job.id, owner, note="", tags=["a"], visibility=Visibility.UNLISTED)
    assert settings_events(job) == 0
    assert fetch(job.id).updated == job.updated


def test_all_problems_of_a_change_are_told_and_nothing_is_changed(
    make_job, backend, owner, row_counts, fetch
):
    job, before = make_job(), row_counts()
    with pytest.raises(BadInput) as refused:
        jobs.update_job(
            backend,
            job.id,
            owner,
            visibility=Visibility.PRIVATE,
            tags=["fine", "not fine"],
            note="x" * 4097,
        )
    assert [error.field for error in refused.value.errors] == ["tags", "note"]
    assert fetch(job.id).visibility == Visibility.UNLISTED
    assert row_counts() == before


def test_only_who_may_operate_a_job_may_change_it(make_job, backend, stranger, admin, fetch):
    public, private = (make_job(visibility=Visibility(word)) for word in ("public", "private"))
    with pytest.raises(Forbidden):
        jobs.update_job(backend, public.id, stranger, note="mine")
    for job_id in (private.id, private.id + 1, 2**40):
        with pytest.raises(NotFound):
            jobs.update_job(backend, job_id, stranger, note="mine")
    jobs.update_job(backend, public.id, admin, note="for all to see")
    assert fetch(public.id).note == "for all to see"


def test_what_a_job_left_is_hidden_as_soon_as_it_is_private(
    make_job, backend, owner, stranger, client, client_of, write_log, keep_artifact
):
    job = make_job("success", visibility=Visibility.PUBLIC)
    write_log(job, None, b"said", seal=True)
    artifact = keep_artifact(job)
    addresses = [
        f"/query/log/{job.id}/log",
        f"/artifacts/{job.id}/{artifact.secret}/{artifact.name}",
        f"/api/jobs/{job.id}/manifest",
    ]
    assert [client.get(each).status_code for each in addresses] == [200] * 3
    jobs.update_job(backend, job.id, owner, visibility=Visibility.PRIVATE)
    for asker in (client, client_of(stranger)):
        assert [asker.get(each).status_code for each in addresses] == [404] * 3
    assert [client_of(owner).get(each).status_code for each in addresses] == [200] * 3


# --- once more ------------------------------------------------------------------------------------


@pytest.fixture
def resubmit(backend, owner):
    def again(job, viewer=owner, *, may_use_secrets=True, grantable=EVERYTHING, **options):
        return jobs.resubmit(
            backend,
            viewer,
            job.id,
            may_use_secrets=may_use_secrets,
            grantable=grantable,
            **options,
        )

    return again


def test_ones_own_job_comes_again_as_it_was_but_for_its_note(make_job, resubmit, backend, owner):
    tree = trees.keep_tree(backend, owner, "hello", [archive({"a": b""})])
    job = make_job(
        "failed",
        manifest=MANY,
        tags=["a", "b"],
        visibility=Visibility.PRIVATE,
        note="what it was for",
        tree_id=tree.id,
    )
    new = resubmit(job)
    assert (new.id, new.status, new.owner_id) == (job.id + 1, "queued", owner.id)
    for name in ("manifest", "image", "tags", "visibility", "secrets", "triggers", "tree_id"):
        assert getattr(new, name) == getattr(job, name), name
    origin = backend.config.web.origin
    assert new.note == f"Resubmission of [#{job.id}]({origin}/~owner/job/{job.id})"


def test_a_note_can_be_given_and_the_new_job_be_held_back(make_job, resubmit):
    new = resubmit(make_job(), note="with luck", execute=False)
    assert (new.note, new.status) == ("with luck", "pending")


def test_the_same_request_to_submit_again_makes_one_job(make_job, resubmit):
    job = make_job()

    first, second = (resubmit(job, idempotency_key="twice") for _ in range(2))

    assert first.id == second.id == job.id + 1


def test_anothers_job_comes_without_secrets_and_triggers_under_ones_own_name(
    make_job, resubmit, stranger
):
    job = make_job(manifest=MANY, visibility=Visibility.PUBLIC)
    new = resubmit(job, stranger, may_use_secrets=False, grantable=frozenset())
    assert (new.owner_id, new.secrets, new.triggers) == (stranger.id, False, [])
    assert new.manifest == job.manifest
    assert f"/~owner/job/{job.id}" in new.note


def test_anothers_job_with_a_tree_does_not_come_again(
    make_job, resubmit, backend, owner, stranger, admin, row_counts
):
    tree = trees.keep_tree(backend, owner, "hello", [archive({"a": b""})])
    job = make_job(tree_id=tree.id, visibility=Visibility.PUBLIC)
    before = row_counts()
    for viewer in (stranger, admin):
        with pytest.raises(Forbidden, match="a tree, which ~owner only may use"):
            resubmit(job, viewer)
    assert row_counts() == before


def test_a_tree_that_is_gone_is_missed(make_job, resubmit, backend, owner):
    tree = trees.keep_tree(backend, owner, "hello", [archive({"a": b""})])
    job = make_job(tree_id=tree.id)
    with backend.transaction() as session:
        session.execute(update(Tree).values(expires=Tree.created))
    with pytest.raises(BadInput) as refused:
        resubmit(job)
    assert refused.value.errors[0].field == "tree"


def test_a_job_that_one_may_not_see_does_not_come_again(make_job, resubmit, stranger):
    with pytest.raises(NotFound):
        resubmit(make_job(visibility=Visibility.PRIVATE), stranger)


def test_an_image_that_is_gone_is_refused(make_job, resubmit, backend):
    job = make_job()
    with backend.transaction() as session:
        text = job.manifest.replace("trixie", "potato")
        session.execute(update(Job).values(manifest=text))
    with pytest.raises(BadInput, match="'debian/potato' is none of"):
        resubmit(job)


def test_a_token_that_may_not_use_secrets_cannot_have_them_used_once_more(make_job, resubmit):
    with pytest.raises(Forbidden, match="SECRETS:RO"):
        resubmit(make_job(manifest=MANY), may_use_secrets=False)
    assert resubmit(make_job(), may_use_secrets=False).secrets is False
    assert resubmit(make_job(manifest=MANY, secrets=False), may_use_secrets=False).id


def test_a_token_hands_on_no_more_than_it_has_in_a_resubmission_either(make_job, resubmit):
    job = make_job(manifest=MANY.replace("JOBS:RO", "PROFILE:RW"))
    with pytest.raises(Forbidden, match="PROFILE:RW"):
        resubmit(job, grantable=granted(["jobs:write"]))


# --- lint -----------------------------------------------------------------------------------------


def problems(backend, text):
    found = jobs.lint(backend.catalogue, text)
    return [(each.path, each.line, each.column, each.reason.partition(" of ")[0]) for each in found]


def test_a_good_manifest_has_no_problem(backend, manifest):
    assert problems(backend, manifest) == []


def test_all_problems_are_told_with_their_places_whoever_finds_them(backend, row_counts):
    before = row_counts()
    text = (
        "image: debian/potato\n"
        "oauth: git.sr.ht/REPOSITORIES:RO builds.sr.ht/JOBS:RO\n"
        "packages: gcc\n"
        "tasks:\n"
        "- Build: make\n"
    )
    assert problems(backend, text) == [
        ("image", 1, 8, "'debian/potato' is none"),
        ("oauth", 2, 8, "git.sr.ht/REPOSITORIES is none"),
        ("packages", 3, 11, "must be a list"),
        ("tasks[0]", 5, 3, "'Build' may use a-z, 0-9, _ and - only"),
    ]
    assert row_counts() == before


def test_an_architecture_that_the_image_is_not_built_for_has_its_place(backend):
    text = "image: debian/bookworm\narch: arm64\nshell: true\n"
    assert problems(backend, text) == [
        ("arch", 2, 7, "debian/bookworm is built for amd64, not 'arm64'")
    ]


@pytest.mark.parametrize(
    "text", ["", "[", "5", "image:\n", "- a", "image: [x]\narch: {}\noauth: 1"]
)
def test_whatever_it_is_given_lint_tells_what_submit_would(backend, text):
    assert jobs.lint(backend.catalogue, text)
    with pytest.raises(ManifestError) as refused:
        jobs.read_manifest(backend.catalogue, text)
    assert refused.value.problems == jobs.lint(backend.catalogue, text)
