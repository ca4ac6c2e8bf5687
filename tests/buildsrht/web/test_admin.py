"""What administrators see and do on pages, and nobody else."""

import logging

import pytest
from sqlalchemy import select, update

from buildsrht.models import Job, User, Visibility
from buildsrht.services import accounts, runners
from buildsrht.services.administration import LAST
from buildsrht.web import admin as pages

FACTS = {
    "slots": {"all": 2, "busy": 1, "paused": 0},
    "disk": {"free": 3 * 2**30, "reserve": 4 * 2**30},
    "accelerator": "kvm",
    "images": [{"name": "debian/trixie", "arch": "amd64", "version": "0123-1", "built": 1.5}],
    "templates": [
        {
            "key": "aaaa",
            "image": "debian/trixie",
            "arch": "amd64",
            "size": 2**20,
            "made": 1_790_000_000,
            "used": 1_790_000_060.5,
        }
    ],
    "layers": [
        {
            "key": "bbbb",
            "image": "debian/trixie",
            "arch": "amd64",
            "packages": "gcc make",
            "size": 2**21,
            "made": 1_790_000_000,
            "used": 1_790_000_060.5,
        }
    ],
    "spares": 2,
    "kept": 3,
}


@pytest.fixture
def browser(browse, admin):
    return browse(admin)


@pytest.fixture
def is_admin(backend):
    def is_admin(name: str) -> bool:
        with backend.transaction() as session:
            return session.scalars(select(User.admin).where(User.name == name)).one()

    return is_admin


def text_of(browser, path: str) -> str:
    browser.open(path)
    assert browser.page.status_code == 200, browser.text
    return browser.text


# --- who sees them --------------------------------------------------------------------------------

PATHS = (
    *("/admin", "/admin/jobs", "/admin/hosts", "/admin/users", "/admin/users/owner"),
    "/admin/notice",
)


@pytest.mark.parametrize("path", PATHS)
def test_an_administrator_sees_them_and_for_others_they_are_not_there(browse, browser, owner, path):
    assert browser.open(path).status_code == 200
    for other in (browse(owner), browse()):
        assert other.open(path).status_code == 404
        hidden = other.text
        other.open("/there/is/no/such/page", headers={"Accept": "text/html"})
        assert hidden == other.text


def test_only_administrators_are_led_here(browse, browser, owner):
    browser.open("/")
    assert "/admin" in browser.links
    others = browse(owner)
    others.open("/")
    assert "/admin" not in others.links


# --- the queue, jobs and hosts --------------------------------------------------------------------


def test_the_overview_tells_of_the_queue_and_of_its_oldest_job(browser, make_job, backend):
    make_job("running")
    make_job("pending")
    young, old = make_job(), make_job()
    with backend.transaction() as session:
        session.execute(
            update(Job).where(Job.id == old.id).values(queued=young.queued.replace(year=2020))
        )

    text = text_of(browser, "/admin")

    assert "Running 1 Waiting 2 Waiting longest" in text
    assert f"#{old.id} of ~owner, queued 2020-" in text


def test_a_host_that_is_there_and_one_that_is_silent_are_told_apart(browser, backend):
    runners.report(backend, "host-1", FACTS)
    runners.report(backend, "host-2", FACTS)
    with backend.transaction() as session:
        silent = update(runners.Runner).where(runners.Runner.name == "host-2")
        session.execute(silent.values(seen=runners.func.now() - 2 * runners.SILENCE))

    text = text_of(browser, "/admin")

    assert "host-1 there , heard of just now 1 of 2 busy 3.0 GiB free" in text
    assert "host-2 silent since" in text


def test_too_little_disk_is_said(browser, backend):
    runners.report(backend, "host-1", FACTS)

    assert "too little : 4.0 GiB are to stay free" in text_of(browser, "/admin")


def test_all_that_a_host_has_is_on_its_card(browser, backend):
    runners.report(backend, "host-1", FACTS)

    text = text_of(browser, "/admin/hosts")

    for said in (
        "Guests run on KVM",
        "Spare machines 2 ready",
        "Kept machines 3",
        "debian/trixie amd64 1970-01-01 00:00 UTC 0123-1",
        "aaaa debian/trixie amd64 1.0 MiB 2026-09-21",
        "bbbb debian/trixie amd64 2.0 MiB 2026-09-21",
        "gcc make",
    ):
        assert said in text


def test_a_host_that_says_little_is_shown_all_the_same(browser, backend):
    """As one of another version may."""
    runners.report(backend, "host-1", {"slots": None})

    assert "Slots not known Disk not known" in text_of(browser, "/admin/hosts")
    assert "not known" in text_of(browser, "/admin")


def test_how_a_host_is_and_why_is_on_its_card(browser, backend):
    runners.report(backend, "host-1", FACTS | {"labels": ["gpu", "large"]})

    text = text_of(browser, "/admin/hosts")

    assert "State active Health failing: Its disk is short: it takes no job. Labels gpu, large" in (
        text
    )


def test_a_host_is_drained_resumed_retired_and_forgotten(browser, backend):
    runners.report(backend, "host-1", FACTS)
    browser.open("/admin/hosts")
    for deed, state in (("drain", "draining"), ("resume", "active"), ("retire", "retired")):
        browser.send(f"/admin/hosts/host-1/{deed}")
        assert f"State {state}" in text_of(browser, "/admin/hosts")

    with backend.transaction() as session:
        silent = update(runners.Runner).values(seen=runners.func.now() - 2 * runners.SILENCE)
        session.execute(silent)
    browser.open("/admin/hosts")
    browser.send("/admin/hosts/prune")

    assert "host-1" not in text_of(browser, "/admin/hosts")


def test_a_host_with_jobs_is_not_retired_and_the_page_says_why(browser, backend, make_job):
    runners.report(backend, "host-1", FACTS)
    make_job("running")
    browser.open("/admin/hosts")
    browser.send("/admin/hosts/host-1/retire")

    assert browser.page.status_code == 409
    assert "a job runs on host-1: drain it, and retire it when they are over" in browser.text


def test_jobs_of_all_are_listed_and_searched_whoever_may_see_them(browser, make_job, stranger):
    hidden = make_job("success", visibility=Visibility.PRIVATE)
    other = make_job("failed", user=stranger)

    browser.open("/admin/jobs")
    assert {f"/~owner/job/{hidden.id}", f"/~stranger/job/{other.id}"} <= set(browser.links)

    browser.send("/admin/jobs", search="status:failed")
    assert f"/~owner/job/{hidden.id}" not in browser.links
    assert browser.open("/admin/jobs?search=status:none").status_code == 400


def test_an_administrator_cancels_the_job_of_another(browser, make_job, fetch):
    job = make_job("queued", visibility=Visibility.PRIVATE)

    browser.open(f"/cancel/{job.id}")
    browser.send(f"/cancel/{job.id}")

    assert fetch(job.id).status == "cancelled"


# --- users ----------------------------------------------------------------------------------------


def listed(browser) -> list[str]:
    start = "/admin/users/"
    return [link.removeprefix(start) for link in browser.links if link.startswith(start)]


def test_users_are_listed_by_name_a_page_at_a_time(browser, make_user, admin, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 2)
    for name in ("ada", "charles", "grace"):
        make_user(name)

    browser.open("/admin/users")
    assert listed(browser) == ["ada", "admin"]
    [further] = [link for link in browser.links if "from=" in link]
    browser.open(further)
    assert listed(browser) == ["charles", "grace"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ad", ["ada", "admin"]),
        ("ADA@", ["ada"]),
        ("lov_lace", []),
        ("%", []),
        ("nobody", []),
    ],
)
def test_users_are_found_by_a_part_of_name_or_address(browser, backend, text, found):
    accounts.create_user(backend, "ada", "Ada@Lovelace.example")
    accounts.create_user(backend, "grace", "grace@example.org")

    browser.open("/admin/users")
    browser.send("/admin/users", search=text)

    assert listed(browser) == found


def test_what_no_name_has_in_it_is_no_error_of_ours(browser):
    assert browser.open("/admin/users?search=%00").status_code == 400
    assert browser.open("/admin/users/nobody").status_code == 404


def test_somebody_is_made_an_administrator_and_one_no_longer(browser, owner, is_admin):
    browser.open("/admin/users/owner")
    browser.send("/admin/users/owner/appoint")
    assert is_admin("owner")
    assert "Administrator yes" in browser.text

    browser.send("/admin/users/owner/dismiss")
    assert not is_admin("owner")


def test_the_last_administrator_stays_one(browser, admin, is_admin):
    browser.open("/admin/users/admin")
    refused = browser.send("/admin/users/admin/dismiss")

    assert refused.status_code == 400
    assert LAST in browser.text
    assert is_admin("admin")


def test_one_who_is_suspended_is_no_administrator_to_leave_it_to(
    browser, backend, make_user, is_admin
):
    make_user("other", admin=True)
    with backend.transaction() as session:
        suspended = update(User).where(User.name == "other")
        session.execute(suspended.values(suspended=runners.func.now()))

    browser.open("/admin/users/admin")
    assert browser.send("/admin/users/admin/dismiss").status_code == 400
    assert is_admin("admin")

    browser.open("/admin/users/other")
    browser.send("/admin/users/other/dismiss")
    assert not is_admin("other")


def test_somebody_is_suspended_and_restored(browser, browse, owner):
    theirs = browse(owner)
    browser.open("/admin/users/owner")

    browser.send("/admin/users/owner/suspend")
    assert "Suspended since" in browser.text
    theirs.open("/account")
    assert theirs.path.startswith("/login")

    browser.send("/admin/users/owner/restore")
    assert "Suspended since" not in browser.text
    assert browse(owner).open("/account").status_code == 200


def test_the_last_administrator_is_not_suspended(browser, admin):
    browser.open("/admin/users/admin")
    refused = browser.send("/admin/users/admin/suspend")

    assert refused.status_code == 400
    assert LAST in browser.text
    assert browser.open("/admin").status_code == 200


def test_who_leaves_it_to_another_is_led_away(browser, make_user, is_admin):
    make_user("other", admin=True)

    browser.open("/admin/users/admin")
    browser.send("/admin/users/admin/dismiss")

    assert not is_admin("admin")
    assert (browser.path, browser.page.status_code) == ("/", 200)


def test_somebody_is_signed_out_everywhere(browser, browse, owner, backend):
    other = browse(owner)
    browser.open("/admin/users/owner")
    browser.send("/admin/users/owner/sign-out")

    assert other.open("/account").status_code == 200
    assert other.path.startswith("/login")
    assert browser.open("/admin").status_code == 200


def test_who_did_what_is_in_the_log(browser, owner, caplog):
    caplog.set_level(logging.WARNING)
    browser.open("/admin/users/owner")
    for deed in ("appoint", "dismiss", "sign-out"):
        browser.send(f"/admin/users/owner/{deed}")
        browser.open("/admin/users/owner")

    said = [each.getMessage() for each in caplog.records if "~owner" in each.getMessage()]
    assert said == [
        "~admin made ~owner an administrator",
        "~admin made ~owner an administrator no longer",
        "~admin signed ~owner out everywhere",
    ]


# --- the notice -----------------------------------------------------------------------------------


def test_a_notice_is_set_changed_and_taken_away(browser, client):
    browser.open("/admin/notice")
    browser.send("/admin/notice", text="Down at <b>noon</b>.")
    assert "This is on top of every page" in browser.text
    assert "Down at &lt;b&gt;noon" in browser.page.text

    browser.send("/admin/notice", text="Back at one.")
    assert "Back at one." in browser.text

    browser.send("/admin/notice/end")
    assert "Pages have no notice on top" in browser.text


@pytest.mark.parametrize("text", ["", " \n", "x" * 2001, "turned \u202e round"])
def test_what_is_no_notice_is_said_and_kept(browser, text):
    browser.open("/admin/notice")
    refused = browser.send("/admin/notice", text=text)

    assert refused.status_code == 400
    assert "must be 1 to 2000 printable characters" in browser.text
    assert browser.form("/admin/notice").fields["text"] == text
    assert "Pages have no notice on top" in browser.text


@pytest.mark.parametrize("action", ["/admin/notice", "/admin/notice/end"])
def test_who_has_not_seen_the_notice_that_is_there_changes_nothing(browser, browse, admin, action):
    browser.open("/admin/notice")
    browser.send("/admin/notice", text="Seen by both.")
    other = browse(admin)
    other.open("/admin/notice")
    other.send("/admin/notice", text="Said meanwhile.")

    refused = browser.send(action, text="Not seeing that.")

    assert refused.status_code == 409
    assert "look at it again" in browser.text
    assert "Said meanwhile." in browser.text
