"""That a window complains when there is reason to: or else no test here could fail for it."""

import pytest

from tests.web_browser.window import Window

ELEMENT = "(tag, given) => document.body.append(Object.assign(document.createElement(tag), given))"


@pytest.fixture
def window(open_window) -> Window:
    window = open_window()
    window.open("/login")
    assert window.complaints == []
    return window


@pytest.mark.parametrize(
    ("event", "script", "complaint"),
    [
        ("console", "console.error('no good')", "no good"),
        ("console", "console.warn('be careful')", "be careful"),
        ("pageerror", "setTimeout(() => nobody.knows())", "nobody is not defined"),
        ("console", f"({ELEMENT})('script', {{textContent: '1'}})", "Content Security Policy"),
        ("console", "document.body.setAttribute('style', 'top: 0')", "Content Security Policy"),
        ("console", f"({ELEMENT})('img', {{src: 'http://[::1]:9/'}})", "Content Security Policy"),
        ("console", "fetch('/no/such/page')", "404"),
    ],
    ids=["error", "warning", "exception", "inline-script", "inline-style", "foreign", "absent"],
)
def test_a_window_complains(window, event, script, complaint):
    with window.page.expect_event(event):
        window.page.evaluate(f"() => {{ {script} }}")
    assert any(complaint in said for said in window.complaints)
    window.complaints.clear()


def test_a_request_to_another_place_is_a_complaint_also_where_it_is_allowed(window):
    window.page.route("http://elsewhere.example/", lambda route: route.fulfill(body="there"))
    window.page.goto("http://elsewhere.example/")
    [said] = window.complaints
    assert "elsewhere.example" in said
    window.complaints.clear()


def test_a_page_that_was_refused_is_none(window):
    assert window.open("/no/such/page").status == 404
    assert window.complaints == []


def test_what_is_too_wide_is_seen(window):
    assert not window.scrolls_sideways
    window.page.evaluate(f"({ELEMENT})('pre', {{textContent: 'x'.repeat(1000)}})")
    assert window.scrolls_sideways
