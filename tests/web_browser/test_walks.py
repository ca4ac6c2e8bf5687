"""What people do with the pages all day, in a real browser."""

from playwright.sync_api import expect

from buildsrht.services.accounts import set_password

PASSWORD = "correct horse battery"


def test_somebody_signs_in_and_out(open_window, live, owner):
    set_password(live, owner.name, PASSWORD)
    window = open_window()
    page = window.page
    window.open("/account")
    page.get_by_label("Name").fill(owner.name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{live.config.web.origin}/account")
    page.locator("summary", has_text="~owner").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
