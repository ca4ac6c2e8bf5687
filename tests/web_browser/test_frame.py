"""What every page has around its content: the menu, copy buttons, and paper."""

import pytest
from playwright.sync_api import expect

from buildsrht.models import SecretKind
from buildsrht.services import secrets
from buildsrht.services.secrets import NewSecret

A_FILE = NewSecret(SecretKind.FILE, b"hidden", path="~/.netrc", mode="600")


@pytest.fixture
def page(open_window, owner):
    window = open_window(owner)
    window.open("/account")
    return window.page


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_the_menu_opens_and_closes(open_window, owner, scripts):
    window = open_window(owner, narrow=True, scripts=scripts)
    window.open("/account")
    tokens = window.page.get_by_role("link", name="Tokens")
    for shows in (True, False):
        window.page.locator("summary", has_text="~owner").click()
        expect(tokens).to_be_visible(visible=shows)
    assert not window.scrolls_sideways


def test_a_menu_closes_when_somebody_goes_on_beside_it(page):
    page.locator("summary", has_text="~owner").click()
    page.get_by_role("heading", name="Your account").click()
    expect(page.get_by_role("link", name="Tokens")).to_be_hidden()


def test_escape_closes_the_menu_and_goes_back_to_it(page):
    summary = page.locator("summary", has_text="~owner")
    summary.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Tokens")).to_be_hidden()
    expect(summary).to_be_focused()


def test_who_comes_by_keys_may_go_to_the_content_at_once(page):
    page.goto("/oauth2/clients")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_the_page_that_one_is_on_says_so(page):
    page.goto("/submit")
    here = page.locator("body > header [aria-current=page]")
    expect(here).to_have_text("Submit")


def test_a_copy_button_copies(page, live, owner):
    kept = secrets.create_secret(live, owner.name, A_FILE)
    page.goto("/secrets")
    page.get_by_role("button", name=f"Copy the UUID of {kept.uuid}").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(kept.uuid)


def test_where_nothing_can_be_copied_there_is_no_button_for_it(open_window, live, owner):
    secrets.create_secret(live, owner.name, A_FILE)
    window = open_window(owner)
    # As over plain HTTP from another machine.
    window.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    window.open("/secrets")
    expect(window.page.get_by_text("Copy", exact=True)).to_be_hidden()


def test_paper_shows_the_content_alone(page):
    page.emulate_media(media="print")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    expect(page.locator("body > header")).to_be_hidden()
    expect(page.locator("body > footer")).to_be_hidden()
