"""The walk that every user makes, with the whole service and a real machine: sign in, submit by the
form, watch the log, have what was made; and see why a job failed."""

import os
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from buildsrht import config as settings
from tests.web_browser.window import Window
from tests.whole_service import WholeService, whole_service
from tests.worker.conftest import IMAGE

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]

PASSWORD = "correct horse battery"
# Until a job is over, on a machine that emulates its guests.
JOB_MILLISECONDS = 600_000
GOOD = f"""\
image: {IMAGE}
artifacts: [made.txt]
tasks:
- build: |
    for step in 1 2 3 4 5; do echo "step $step"; sleep 1; done
    echo precious >made.txt
- test: grep precious made.txt
"""
FAILS = f"image: {IMAGE}\ntasks:\n- build: echo going; exit 7\n- test: 'true'\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[WholeService]:
    var = tmp_path_factory.mktemp("pages")
    images, cpus = settings.load().images.path, max(1, (os.cpu_count() or 1) // 2)
    text = f"[images]\npath = {images}\n[worker]\ncount = 1\ncpus = {cpus}\n"
    with whole_service(var, text) as service:
        service.command("user", "create", "ada")
        service.command("user", "password", "ada", input=f"{PASSWORD}\n")
        yield service


@pytest.fixture
def page(chromium: Browser, service: WholeService) -> Iterator[Page]:
    """A page of somebody who has just signed in."""
    window = Window(chromium, service.url)
    window.open("/login?return_to=/submit")
    window.page.get_by_label("Name").fill("ada")
    window.page.get_by_label("Password").fill(PASSWORD)
    window.page.get_by_role("button", name="Sign in").click()
    yield window.page
    window.close()
    assert window.complaints == []


@pytest.fixture
def submit(page: Page) -> Callable[[str], None]:
    """By the form, which leads to the page of the job."""

    def submit(manifest: str) -> None:
        page.get_by_label("Manifest").fill(manifest)
        page.get_by_role("button", name="Submit").click()
        expect(page).to_have_url(re.compile(r"/~ada/job/\d+$"))

    return submit


def test_a_job_is_submitted_watched_and_has_made_something(page, submit):
    submit(GOOD)
    expect(page.get_by_text("step 2", exact=True)).to_be_visible(timeout=JOB_MILLISECONDS)
    expect(page.locator("h1 .status")).to_have_text("running")
    expect(page.locator("h1 .status")).to_have_text("success", timeout=JOB_MILLISECONDS)
    with page.expect_download() as download:
        page.get_by_role("link", name="made.txt").click()
    assert download.value.path().read_bytes() == b"precious\n"


def test_a_job_that_fails_says_where(page, submit):
    submit(FAILS)
    expect(page.locator("h1 .status")).to_have_text("failed", timeout=JOB_MILLISECONDS)
    expect(page.get_by_text("exit status 7").first).to_be_visible()
