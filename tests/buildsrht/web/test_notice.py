"""The notice on top of every page."""

import pytest
from sqlalchemy import event

from buildsrht.services import notices
from buildsrht.web import notice as pages


@pytest.fixture
def say(backend, admin, monkeypatch):
    """Set a notice, after which no process waits before it looks."""
    monkeypatch.setattr(pages, "SECONDS", 0)
    return lambda text: notices.set_notice(backend, admin, text, None)


@pytest.mark.parametrize("path", ["/", "/login", "/account", "/~nobody", "/there/is/no/such/page"])
def test_everybody_reads_it_on_every_page_until_it_is_ended(
    backend, browse, admin, owner, say, path
):
    notice = say("Down at noon.")
    for browser in (browse(), browse(owner)):
        browser.open(path, headers={"Accept": "text/html"})
        assert "Down at noon." in browser.text

    notices.end_notice(backend, admin, notice.id)

    assert "Down at noon." not in browser.open(path, headers={"Accept": "text/html"}).text


def test_it_is_text_and_its_links_are_links(browse, say):
    say("<b>See</b> https://example.org/?a=1&b=<2> or javascript:alert(1)")

    html = browse().open("/").text

    assert "&lt;b&gt;See&lt;/b&gt;" in html
    assert 'href="https://example.org/?a=1&amp;b=' in html
    assert "<b>See" not in html
    assert 'href="javascript' not in html


def test_a_page_does_not_ask_for_it_each_time(backend, browse):
    asked = []
    browser = browse()

    def note(_connection, _cursor, statement, *_):
        asked.append(statement)

    event.listen(backend.engine, "before_cursor_execute", note)
    try:
        for _ in range(3):
            browser.open("/login")
    finally:
        event.remove(backend.engine, "before_cursor_execute", note)

    assert len([each for each in asked if "FROM notice" in each]) == 1
