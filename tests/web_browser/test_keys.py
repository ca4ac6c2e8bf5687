"""Keys: single ones and sequences, the list of them, and how to be rid of them."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect


@pytest.fixture
def page(open_window, owner):
    window = open_window(owner)
    window.open("/account")
    return window.page


@pytest.fixture
def help_(page):
    return page.get_by_role("dialog", name="Keys")


def test_two_keys_go_where_a_link_goes(page):
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("/submit$"))


def test_while_somebody_types_keys_are_text(page, help_):
    page.goto("/oauth2/clients")
    page.get_by_label("Name").focus()
    page.keyboard.type("gj?")
    expect(page.get_by_label("Name")).to_have_value("gj?")
    expect(help_).to_have_count(0)
    expect(page).to_have_url(re.compile("/oauth2/clients$"))


def test_a_slash_goes_to_the_search_and_marks_what_is_in_it(page, help_):
    page.goto("/~owner?search=old")
    page.keyboard.press("/")
    page.keyboard.type("new?")
    expect(page.get_by_role("searchbox")).to_have_value("new?")
    expect(help_).to_have_count(0)


@pytest.mark.parametrize("modifier", ["Control", "Alt", "Meta"])
def test_keys_of_the_browser_stay_the_browsers(page, help_, modifier):
    page.evaluate("() => addEventListener('keydown', e => document.title = e.defaultPrevented)")
    page.keyboard.press(f"{modifier}+?")
    expect(page).to_have_title("false")
    expect(help_).to_have_count(0)


def test_a_question_mark_lists_all_keys_and_escape_closes(page, help_):
    page.keyboard.press("?")
    expect(help_).to_be_visible()
    for words in ("This list", "Home", "Submit", "Your jobs"):
        expect(help_.get_by_role("definition").filter(has_text=words)).to_be_visible()
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
def test_the_list_is_for_everybody(open_window, owner, dark, narrow):
    window = open_window(owner, dark=dark, narrow=narrow, still=True)
    window.open("/account")
    window.page.keyboard.press("?")
    expect(window.page.get_by_role("dialog", name="Keys")).to_be_visible()
    found = Axe().run(window.page)
    assert found.violations_count == 0, found.generate_report()
    assert not window.scrolls_sideways


def test_while_the_list_is_open_keys_do_nothing(page, help_):
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(help_).to_be_visible()
    expect(page).to_have_url(re.compile("/account$"))


def test_they_can_be_switched_off_and_on_again_from_the_footer(page, help_):
    page.keyboard.press("?")
    help_.get_by_label("These keys work in this browser").uncheck()
    help_.get_by_role("button", name="Close").click()
    page.reload()
    page.keyboard.press("?")
    expect(help_).to_have_count(0)
    page.get_by_role("button", name="Keys").click()
    help_.get_by_label("These keys work in this browser").check()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(help_).to_be_visible()


def test_without_a_script_there_is_no_button_that_does_nothing(open_window, owner):
    window = open_window(owner, scripts=False)
    window.open("/account")
    expect(window.page.get_by_role("button", name="Keys")).to_have_count(0)
