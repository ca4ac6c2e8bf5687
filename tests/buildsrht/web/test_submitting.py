"""Submitting a job by the form: filled in, checked, sent twice, and once more."""

import pytest

from buildsrht.models import Job, Visibility
from buildsrht.services import trees
from tests.archives import archive

GOOD = "image: debian/trixie\ntasks:\n- build: make\n"
BAD = "image: debian/trixie\ntasks:\n- b uild: make\n- test:\n"


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


@pytest.fixture
def submit(browser):
    """Fill in the form and send it: `submit(tags="a/b")`."""

    def send(path="/submit", **fields):
        browser.open(path)
        return browser.send(path, **{"manifest": GOOD, **fields})

    return send


@pytest.fixture
def jobs_of(backend):
    def read():
        with backend.transaction() as session:
            return session.query(Job).order_by(Job.id).all()

    return read


# --- a new one ------------------------------------------------------------------------------------


def test_a_job_is_submitted_as_the_form_says_and_its_page_is_next(browser, submit, jobs_of):
    submit(note="what it is *for*", tags="hello/Main", visibility="private")

    [job] = jobs_of()
    assert browser.path == f"/~owner/job/{job.id}"
    assert (job.manifest, job.note, job.tags) == (GOOD, "what it is *for*", ["hello", "Main"])
    assert (job.visibility, job.secrets, job.status) == ("private", True, "queued")


def test_an_empty_form_asks_for_the_usual(browser):
    browser.open("/submit")

    fields = browser.form("/submit").fields
    assert {
        name: fields[name] for name in ("manifest", "note", "tags", "visibility", "secrets")
    } == {
        "manifest": "",
        "note": "",
        "tags": "",
        "visibility": "unlisted",
        "secrets": "on",
    }


def test_a_job_can_be_held_back_and_go_without_secrets(browser, jobs_of):
    browser.open("/submit")
    browser.send("/submit", "start=later", manifest=GOOD, secrets=None)

    [job] = jobs_of()
    assert (job.status, job.secrets, job.note, job.tags) == ("pending", False, None, [])


def test_lines_end_as_they_were_typed_and_not_as_forms_end_them(submit, jobs_of):
    submit(manifest="\n" + GOOD.replace("\n", "\r\n"), note="two\r\nlines")

    [job] = jobs_of()
    assert (job.manifest, job.note) == ("\n" + GOOD, "two\nlines")


@pytest.mark.parametrize(
    ("typed", "tags"),
    [("", []), (" / ", []), ("a", ["a"]), ("/a/b/", ["a", "b"]), ("a / b", ["a", "b"])],
)
def test_tags_are_a_path(submit, jobs_of, typed, tags):
    submit(tags=typed)

    assert [job.tags for job in jobs_of()] == [tags]


def test_a_form_that_is_sent_twice_makes_one_job(browser, jobs_of):
    browser.open("/submit")
    fields = {**browser.form("/submit").fields, "manifest": GOOD}

    places = [browser.client.post("/submit", data=fields).location for _ in range(2)]

    [job] = jobs_of()
    assert places == [f"/~owner/job/{job.id}"] * 2


def test_each_view_of_the_form_makes_another(submit, jobs_of):
    submit()
    submit()

    assert len(jobs_of()) == 2


def test_a_form_that_was_changed_after_it_made_a_job_makes_another_when_sent_again(
    browser, jobs_of
):
    browser.open("/submit")
    fields = {**browser.form("/submit").fields, "manifest": GOOD}
    browser.client.post("/submit", data=fields)

    page = browser.send("/submit", **{**fields, "note": "changed"})
    assert page.status_code == 400
    assert "This form was used for job 1, which was different. Send it again" in browser.text
    assert len(jobs_of()) == 1

    browser.send("/submit")
    assert [job.note for job in jobs_of()] == [None, "changed"]


# --- what is wrong --------------------------------------------------------------------------------


def test_every_problem_is_told_at_its_place_and_nothing_that_was_typed_is_lost(
    browser, submit, row_counts
):
    before = row_counts()
    page = submit(
        manifest=BAD,
        note="x" * 5000,
        tags="a//é",
        visibility="secret",
        secrets=None,
    )

    assert page.status_code == 400
    assert row_counts() == before
    fields = browser.form("/submit").fields
    assert (fields["manifest"], fields["note"], fields["tags"]) == (BAD, "x" * 5000, "a//é")
    assert "secrets" not in fields
    assert "Nothing was submitted." in browser.text
    assert "Line 3, column 3 tasks[0] : 'b uild' may use" in browser.text
    assert "Line 4, column" in browser.text
    for name in ("note", "tags", "visibility"):
        assert f'id="{name}-fault"' in page.text
        assert f'aria-invalid="true" aria-describedby="{name}-fault' in page.text


def test_a_problem_is_marked_in_its_line(submit):
    page = submit(manifest=BAD)

    assert "<code>- <mark>b</mark> uild: make</code>" in page.text


def test_what_is_typed_is_text_and_never_markup(submit):
    page = submit(manifest="</textarea><b>", note="</textarea><b>", tags='"><b>')

    assert "<b>" not in page.text


def test_a_problem_of_the_whole_text_has_no_line(browser, submit):
    assert submit(manifest="#" * 16_384).status_code == 400

    assert "must be under 16,384 characters" in browser.text
    assert "Line" not in browser.text


def test_a_form_with_a_nul_in_it_is_refused(submit, row_counts):
    for name in ("manifest", "note", "tags"):
        assert submit(**{name: "a\0b"}).status_code == 400
    assert row_counts()["job"] == 0


def test_what_is_wrong_is_told_while_it_is_typed(browser, row_counts):
    browser.open("/submit")
    word = browser.form("/submit").fields["csrf"]

    def problems(manifest):
        answer = browser.client.post("/submit/check", data={"csrf": word, "manifest": manifest})
        assert answer.status_code == 200
        return answer.json["problems"]

    assert problems(GOOD) == []
    first, second = problems(BAD.replace("\n", "\r\n"))
    assert (first["line"], first["column"], first["path"]) == (3, 3, "tasks[0]")
    assert first["reason"].startswith("'b uild' may use")
    assert second["line"] == 4
    assert [each["line"] for each in problems("#" * 16_384)] == [None]
    assert row_counts()["job"] == 0


# --- by a link ------------------------------------------------------------------------------------


def test_a_link_fills_in_the_form_and_gives_it_no_secrets(browser):
    browser.open(
        "/submit",
        query_string={
            "manifest": "image: x\r\n",
            "note": "a <b>",
            "tags": "a/b",
            "visibility": "public",
            "secrets": "on",
        },
    )

    fields = browser.form("/submit").fields
    assert (fields["manifest"], fields["note"]) == ("image: x\n", "a <b>")
    assert (fields["tags"], fields["visibility"]) == ("a/b", "public")
    assert "secrets" not in fields
    assert "A link has filled in this form." in browser.text


def test_a_link_that_says_nonsense_asks_for_the_usual(browser):
    browser.open("/submit?visibility=everybody&note=x")

    assert browser.form("/submit").fields["visibility"] == "unlisted"


def test_who_is_not_signed_in_comes_back_to_what_the_link_said(browse):
    page = browse().client.get("/submit?note=a+b")

    assert page.location == "/login?return_to=%2Fsubmit%3Fnote%3Da%2Bb"


# --- once more ------------------------------------------------------------------------------------


def test_a_job_of_ones_own_comes_again_as_it_is(browser, make_job, jobs_of):
    job = make_job("failed", note="why", tags=["a", "b"], visibility=Visibility.PRIVATE)
    browser.open(f"/resubmit/{job.id}")
    browser.send(f"/resubmit/{job.id}/as-it-is")

    new = jobs_of()[-1]
    assert browser.path == f"/~owner/job/{new.id}"
    assert (new.manifest, new.tags, new.visibility) == (job.manifest, ["a", "b"], "private")
    assert (new.status, new.secrets) == ("queued", True)
    assert f"#{job.id}" in new.note


def test_as_it_is_too_it_can_be_held_back_and_two_clicks_are_one_job(browser, make_job, jobs_of):
    job = make_job()
    action = f"/resubmit/{job.id}/as-it-is"
    browser.open(f"/resubmit/{job.id}")
    fields = {**browser.form(action).fields, "start": "later"}

    for _ in range(2):
        browser.client.post(action, data=fields)

    assert [each.status for each in jobs_of()] == ["queued", "pending"]


def test_a_job_is_edited_before_it_comes_again(browser, make_job, jobs_of):
    job = make_job("failed", note="why", tags=["a", "b"], visibility=Visibility.PRIVATE)
    action = f"/resubmit/{job.id}"
    browser.open(action)
    fields = browser.form(action).fields
    assert (fields["manifest"], fields["note"], fields["tags"]) == (job.manifest, "why", "a/b")
    assert (fields["visibility"], fields["secrets"]) == ("private", "on")

    browser.send(action, manifest=GOOD, tags="a/c")

    new = jobs_of()[-1]
    assert (new.manifest, new.note, new.tags) == (GOOD, "why", ["a", "c"])


def test_a_job_that_had_no_secrets_gets_none_unless_somebody_says_so(browser, make_job):
    job = make_job(secrets=False)
    browser.open(f"/resubmit/{job.id}")

    assert "secrets" not in browser.form(f"/resubmit/{job.id}").fields


def test_an_edited_one_that_is_refused_is_still_there(browser, make_job, jobs_of):
    job = make_job()
    browser.open(f"/resubmit/{job.id}")

    page = browser.send(f"/resubmit/{job.id}", manifest=BAD)

    assert page.status_code == 400
    assert browser.form(f"/resubmit/{job.id}").fields["manifest"] == BAD
    assert len(jobs_of()) == 1


TELLING = f"{GOOD}triggers:\n- action: email\n  condition: always\n  to: ada@example.org\n"


def test_anothers_job_comes_without_secrets_and_triggers_as_it_is(
    browse, stranger, make_job, jobs_of
):
    job = make_job(manifest=TELLING)
    other = browse(stranger)
    other.open(f"/resubmit/{job.id}")
    assert "none of your secrets, and its triggers are left out" in other.text

    other.send(f"/resubmit/{job.id}/as-it-is")

    new = jobs_of()[-1]
    assert (new.owner_id, new.secrets, new.triggers) == (stranger.id, False, [])


def test_of_anothers_job_that_is_edited_the_triggers_are_whoever_edits_it(
    browse, stranger, make_job, jobs_of
):
    job = make_job(manifest=TELLING)
    other = browse(stranger)
    other.open(f"/resubmit/{job.id}")
    assert "~owner wrote this manifest. Read it" in other.text
    assert "secrets" not in other.form(f"/resubmit/{job.id}").fields

    other.send(f"/resubmit/{job.id}")

    new = jobs_of()[-1]
    assert (new.owner_id, new.secrets, len(new.triggers)) == (stranger.id, False, 1)


@pytest.fixture
def with_tree(backend, owner, make_job):
    tree = trees.keep_tree(backend, owner, "hello", [archive({"a": b""})])
    return make_job(tree_id=tree.id)


@pytest.mark.parametrize("way", ["", "/as-it-is"])
def test_the_tree_of_ones_own_job_comes_along(browser, with_tree, jobs_of, way):
    browser.open(f"/resubmit/{with_tree.id}")
    browser.send(f"/resubmit/{with_tree.id}{way}")

    assert jobs_of()[-1].tree_id == with_tree.tree_id


def test_the_tree_of_anothers_job_does_not(browse, stranger, with_tree, jobs_of):
    other = browse(stranger)
    page = other.open(f"/resubmit/{with_tree.id}")
    assert "a working tree, which ~owner only may use" in other.text
    assert "/as-it-is" not in page.text

    other.send(f"/resubmit/{with_tree.id}")

    assert (jobs_of()[-1].owner_id, jobs_of()[-1].tree_id) == (stranger.id, None)


def test_a_manifest_that_would_be_refused_today_is_there_to_be_edited(
    browser, backend, make_job, monkeypatch
):
    job = make_job()
    browser.open(f"/resubmit/{job.id}")
    with backend.transaction() as session:
        session.get_one(Job, job.id).manifest = BAD

    page = browser.send(f"/resubmit/{job.id}/as-it-is")

    assert page.status_code == 400
    assert "Line 3, column 3" in browser.text
    assert browser.form(f"/resubmit/{job.id}").fields["manifest"] == BAD
