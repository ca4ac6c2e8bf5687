"""What people do with the pages all day, in a real browser; jobs run before their eyes."""

import pytest
from playwright.sync_api import Locator, Page, expect

from buildsrht.services.accounts import set_password

PASSWORD = "correct horse battery"


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


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_secret_is_added_and_deleted(open_window, owner, scripts):
    window = open_window(owner, scripts=scripts)
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
