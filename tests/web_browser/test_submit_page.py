"""The manifest while it is being typed."""

import pytest
from playwright.sync_api import expect

from buildsrht.models import Job

GOOD = "image: debian/trixie\ntasks:\n- build: make\n"
BAD = "image: debian/trixie\ntasks:\n- b uild: make\n- test:\n"


@pytest.fixture
def page(open_window, owner):
    window = open_window(owner)
    window.open("/submit")
    return window.page


@pytest.fixture
def count_jobs(live):
    def count():
        with live.transaction() as session:
            return session.query(Job).count()

    return count


def test_problems_are_shown_at_their_lines_and_go_when_they_are_mended(page, count_jobs):
    manifest, state = page.get_by_label("Manifest"), page.get_by_role("status")
    marks = page.locator(".gutter span")
    faults = page.locator("#manifest-faults li")

    manifest.fill(BAD)

    expect(state).to_have_text("2 problems, the first in line 3")
    expect(marks).to_have_text(["✗ 3", "✗ 4"])
    expect(faults).to_have_count(2)
    expect(faults.first).to_contain_text("Line 3, column 3 tasks[0]: 'b uild'")
    expect(manifest).to_have_attribute("aria-invalid", "true")
    expect(manifest).to_have_accessible_description("2 problems, the first in line 3")

    manifest.fill(GOOD)

    expect(state).to_have_text("No problem")
    expect(marks).to_have_count(0)
    expect(faults).to_have_count(0)
    expect(manifest).to_have_attribute("aria-invalid", "false")
    assert count_jobs() == 0


def test_a_problem_leads_to_its_place(page):
    manifest = page.get_by_label("Manifest")
    manifest.fill(BAD)

    page.get_by_role("button", name="Line 3, column 3").click()

    expect(manifest).to_be_focused()
    assert manifest.evaluate("area => area.selectionStart") == BAD.index("b uild")


def test_each_line_has_its_number_beside_it(page):
    manifest, gutter = page.get_by_label("Manifest"), page.locator(".gutter")
    manifest.fill("#\n" * 200)
    expect(gutter).to_contain_text("201")

    manifest.evaluate("area => area.scrollTo(0, 1e6)")

    # As a function: the page's own policy refuses an expression that is asked for again and again.
    page.wait_for_function(
        """() => {
          const [text, numbers] = document.querySelectorAll('#manifest, .gutter');
          return text.scrollTop > 0 && Math.abs(text.scrollTop - numbers.scrollTop) < 3;
        }"""
    )


def test_the_tab_key_leaves_the_manifest(page):
    page.get_by_label("Manifest").fill(GOOD)
    page.get_by_label("Manifest").press("Tab")

    expect(page.get_by_label("Note")).to_be_focused()
    expect(page.get_by_label("Manifest")).to_have_value(GOOD)


def test_the_keyboard_submits(page, live, count_jobs):
    page.get_by_label("Manifest").fill(GOOD)
    page.get_by_label("Manifest").press("Control+Enter")

    page.wait_for_url(f"{live.config.web.origin}/~owner/job/1")
    assert count_jobs() == 1


def test_two_clicks_are_one_job(page, live, count_jobs):
    page.get_by_label("Manifest").fill(GOOD)
    page.get_by_role("button", name="Submit").dblclick()

    page.wait_for_url(f"{live.config.web.origin}/~owner/job/1")
    assert count_jobs() == 1


def test_when_there_is_no_answer_it_says_so_and_nothing_is_lost(page):
    """As somebody gets who was signed out meanwhile: a page in place of it."""
    page.route("**/submit/check", lambda route: route.fulfill(body="<!doctype html>"))
    page.get_by_label("Manifest").fill(BAD)

    expect(page.get_by_role("status")).to_have_text(
        "It cannot be checked now. Submitting checks it."
    )
    expect(page.get_by_label("Manifest")).to_have_value(BAD)


def test_without_a_script_the_same_is_said_when_it_is_submitted(open_window, owner, count_jobs):
    window = open_window(owner, scripts=False)
    window.open("/submit")
    page = window.page
    page.get_by_label("Manifest").fill(BAD)

    page.get_by_role("button", name="Submit").click()

    expect(page.get_by_text("Nothing was submitted.")).to_be_visible()
    expect(page.locator("#manifest-faults li").first).to_contain_text("Line 3, column 3")
    expect(page.locator("#manifest-faults mark").first).to_have_text("b")
    expect(page.get_by_label("Manifest")).to_have_value(BAD)
    assert count_jobs() == 0
