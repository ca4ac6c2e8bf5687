"""What people do with the pages all day, in a real browser; jobs run before their eyes."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from buildsrht.services.accounts import set_password

PASSWORD = "correct horse battery"
MANIFEST = "image: debian/trixie\ntasks:\n- build: make\n- test: make check\n"
# More than any page has of what the key Tab stops at.
STOPS = 60

everywhere = pytest.mark.parametrize(
    "options", [{}, {"narrow": True}, {"scripts": False}], ids=["wide", "narrow", "no-scripts"]
)


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


# --- in and out -----------------------------------------------------------------------------------


def test_somebody_signs_in_and_out(open_window, live, owner):
    set_password(live, owner.name, PASSWORD)
    window = open_window()
    page = window.page
    window.open("/account")
    sign_in(page, owner.name)
    expect(page).to_have_url(f"{live.config.web.origin}/account")
    page.locator("summary", has_text="~owner").click()
    button(page, "Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


# --- a job ----------------------------------------------------------------------------------------


def status(page: Page) -> Locator:
    """That of the job whose page it is."""
    return page.locator("h1 .status")


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_a_job_is_submitted_watched_cancelled_and_submitted_again(
    open_window, owner, build_host, narrow
):
    window = open_window(owner, narrow=narrow)
    page = window.page
    window.open("/submit")
    page.get_by_label("Manifest").fill(MANIFEST)
    button(page, "Submit").click()
    expect(page).to_have_url(re.compile("/~owner/job/1$"))
    expect(status(page)).to_have_text("queued")

    host = build_host(1)
    expect(status(page)).to_have_text("running")
    host.start("build")
    for line in ("first", "second"):
        host.write("build", f"the {line} line\n")
        expect(page.get_by_text(f"the {line} line")).to_be_visible()
    assert not window.scrolls_sideways

    button(page, "Cancel").click()
    host.finish()
    expect(page).to_have_url(re.compile("/~owner/job/1$"))
    expect(status(page)).to_have_text("cancelled")
    expect(button(page, "Cancel")).to_have_count(0)

    page.get_by_role("link", name="Submit again").click()
    expect(page.get_by_label("Manifest")).to_have_value(MANIFEST)
    button(page, "Submit").click()
    expect(page).to_have_url(re.compile("/~owner/job/2$"))


def test_a_job_that_succeeds_before_ones_eyes_has_made_something(
    open_window, owner, make_job, build_host
):
    job = make_job("queued")
    window = open_window(owner)
    page = window.page
    window.open(f"/~owner/job/{job.id}")
    host = build_host(job.id)
    for task in ("build", "test"):
        host.start(task)
        host.write(task, f"{task} is done\n")
        host.end(task)
    host.keep("/home/build/made.txt", b"precious\n")
    host.finish()
    expect(status(page)).to_have_text("success")
    expect(page.get_by_text("test is done")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="made.txt").click()
    assert download.value.path().read_bytes() == b"precious\n"


def test_without_scripts_a_job_is_followed_by_loading_its_page(open_window, owner, build_host):
    window = open_window(owner, scripts=False)
    page = window.page
    window.open("/submit")
    page.get_by_label("Manifest").fill(MANIFEST)
    button(page, "Submit").click()
    expect(status(page)).to_have_text("queued")
    host = build_host(1)
    host.start("build")
    host.write("build", "the first line\n")
    page.reload()
    expect(status(page)).to_have_text("running")
    expect(page.get_by_text("the first line")).to_be_visible()
    button(page, "Cancel").click()
    host.finish()
    page.reload()
    expect(status(page)).to_have_text("cancelled")


# --- secrets --------------------------------------------------------------------------------------


@everywhere
def test_a_secret_is_added_and_deleted(open_window, owner, options):
    window = open_window(owner, **options)
    page = window.page
    window.open("/secrets")
    page.get_by_label("Kind").select_option("file")
    page.get_by_label("Name").fill("netrc")
    page.get_by_label("Path, of a file").fill("~/.netrc")
    page.get_by_label("What is in it").fill("machine example.org")
    button(page, "Keep it").click()
    card = page.locator(".card", has=page.get_by_role("heading", name="netrc"))
    expect(card).to_contain_text("~/.netrc")
    expect(page.locator("body")).not_to_contain_text("machine example.org")
    card.locator("summary", has_text="Delete").click()
    card.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)


# --- search ---------------------------------------------------------------------------------------


@everywhere
def test_jobs_are_found(open_window, owner, make_job, options):
    for state, note in (("failed", "fix the parser"), ("success", "fix the lexer")):
        make_job(state, note=note, tags=["compiler"])
    make_job("failed", note="write docs", tags=["docs"])
    window = open_window(owner, **options)
    page = window.page
    window.open("/~owner")
    jobs = page.locator(".jobs .title")
    expect(jobs).to_have_count(3)
    page.get_by_label("Search these jobs").fill("status:failed fix")
    button(page, "Search").click()
    expect(page).to_have_url(re.compile(r"/~owner\?search=status%3Afailed\+fix$"))
    expect(jobs).to_have_text(["#1 fix the parser"])
    page.get_by_role("link", name="compiler").click()
    expect(page).to_have_url(re.compile("/~owner/compiler$"))
    expect(jobs).to_have_text(["#2 fix the lexer", "#1 fix the parser"])


# --- by keyboard alone ----------------------------------------------------------------------------


def tab_to(page: Page, wanted: Locator) -> None:
    """By the key Tab, as often as it takes; each stop on the way has to be seen."""
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count():
            assert is_outlined(focused), focused.evaluate("element => element.outerHTML")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is not reached")


def is_outlined(focused: Locator) -> bool:
    outline: str = focused.evaluate("element => getComputedStyle(element).outlineStyle")
    return outline != "none"


def test_somebody_signs_in_and_submits_cancels_and_finds_a_job_by_keyboard_alone(
    open_window, live, owner, fetch
):
    set_password(live, owner.name, PASSWORD)
    window = open_window()
    page = window.page
    window.open("/login?return_to=/secrets")
    tab_to(page, page.get_by_label("Name"))
    page.keyboard.type(owner.name)
    tab_to(page, page.get_by_label("Password"))
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Secrets", exact=True)).to_be_visible()

    tab_to(page, page.get_by_role("link", name="Submit"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Manifest"))
    page.keyboard.type(MANIFEST)
    tab_to(page, page.get_by_label("Note"))
    page.keyboard.type("by hand")
    tab_to(page, button(page, "Submit"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/~owner/job/1$"))
    assert fetch(1).manifest == MANIFEST
    tab_to(page, button(page, "Cancel"))
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("cancelled")

    tab_to(page, page.get_by_role("link", name="Your jobs"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Search these jobs"))
    page.keyboard.type("hand")
    page.keyboard.press("Enter")
    expect(page.locator(".jobs .title")).to_have_text(["#1 by hand"])
