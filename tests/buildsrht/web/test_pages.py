"""The pages on which somebody looks after tokens, programs and clients."""

from html.parser import HTMLParser

import pytest

from buildsrht.services import grants, tokens
from buildsrht.services.clients import COMMAND_LINE

PAGES = (
    "/oauth2/personal-token",
    "/oauth2/grants",
    "/oauth2/clients",
    "/oauth2/device",
    "/account",
    "/submit",
    "/secrets",
    "/ssh-keys",
    "/webhooks",
    "/deliveries",
    "/hooks",
)


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


def secret_of(browser, prefix):
    """What is shown once."""
    [text] = [word for word in browser.text.split() if word.startswith(prefix)]
    return text


@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_signed_in_is_asked_to_and_sees_nothing(browse, path):
    page = browse().client.get(path)

    assert page.status_code == 303
    assert page.headers["Location"].startswith("/login?return_to=")


@pytest.mark.parametrize("path", [*PAGES, "/login", "/oauth2/authorize"])
def test_no_page_can_be_framed_kept_or_made_to_run_what_is_in_it(browser, path):
    page = browser.client.get(path)

    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"


class Outline(HTMLParser):
    """The elements of a page that can be got wrong."""

    VOID = ("meta", "link", "input", "br", "img")

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.labelled, self.named, self.headings = [], [], [], [], []
        self.in_script = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        has = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in has:
            self.ids.append(has["id"])
        if tag == "label" and "for" in has:
            self.labelled.append(has["for"])
        if tag in ("input", "select", "textarea") and has.get("type") not in ("hidden", "checkbox"):
            self.named.append(has.get("id"))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        assert "style" not in has
        assert not [name for name in has if name.startswith("on")]
        assert tag not in ("style", "iframe")
        self.in_script = tag == "script"
        assert not self.in_script or has["src"].startswith("/static/")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.in_script = False

    def handle_data(self, data):
        assert not self.in_script, data


@pytest.mark.parametrize("path", [*PAGES, "/login"])
def test_every_page_is_sound_and_every_field_has_a_label(browse, browser, path):
    page = (browse() if path == "/login" else browser).open(path)

    outline = Outline(page.text)

    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.headings.count("h1") == 1
    assert set(outline.named) == set(outline.labelled)


def test_the_style_sheet_is_there(client):
    page = client.get("/static/style.css")

    assert page.content_type.startswith("text/css")
    assert "prefers-color-scheme: dark" in page.text


def test_what_is_not_there_is_a_page_too(browser):
    page = browser.client.get("/static/../base.html")
    assert page.status_code == 404
    browser.open("/oauth2/grants")
    word = browser.form("/logout").fields["csrf"]
    page = browser.client.post("/oauth2/grants/7/revoke", data={"csrf": word})

    assert page.status_code == 404
    assert "That did not work" in page.text


# --- personal tokens ------------------------------------------------------------------------------


def test_a_token_is_made_shown_once_and_works(browser, client, backend):
    browser.open("/oauth2/personal-token")
    browser.send("/oauth2/personal-token", JOBS="RO", LOGS="", comment="laptop <3", days="7")
    text = secret_of(browser, "bsrht_")

    with backend.transaction() as session:
        token = tokens.find_token(session, text)
    assert (token.scopes, token.comment) == (["JOBS:RO", "PROFILE:RO"], "laptop <3")
    assert (token.expires - token.created).days in (6, 7)
    header = {"Authorization": f"Bearer {text}"}
    assert client.get("/api/jobs", headers=header).status_code == 200
    browser.open("/oauth2/personal-token")
    assert "laptop <3" in browser.text
    assert text not in browser.text


def blames(browser, field: str) -> bool:
    """Whether the page says what is wrong with a field: beside it, or by its name."""
    return f'id="{field}-fault"' in browser.page.text or f"{field} :" in browser.text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"JOBS": "", "LOGS": "", "PROFILE": ""}, "scopes"),
        ({"JOBS": "RX"}, "scopes"),
        ({"days": "0"}, "days"),
        ({"days": "3651"}, "days"),
        ({"days": "-1"}, "days"),
        ({"days": "9" * 4000}, "days"),
        ({"days": "٣"}, "days"),
        ({"days": "soon"}, "days"),
        ({"comment": "x" * 256}, "comment"),
        ({"comment": "two\nlines"}, "comment"),
        ({"comment": "a\0b"}, "comment"),
    ],
)
def test_a_token_that_cannot_be_is_refused_by_name(browser, row_counts, fields, field):
    browser.open("/oauth2/personal-token")
    page = browser.send("/oauth2/personal-token", **fields)

    assert page.status_code == 400
    assert blames(browser, field)
    assert row_counts()["token"] == 0


def test_a_token_is_revoked_by_its_owner_only(browser, browse, stranger, token, owner, client_of):
    client = client_of(owner)
    browser.open("/oauth2/personal-token")
    other = browse(stranger)
    other.open("/oauth2/personal-token")
    assert other.page.text.count("/revoke") == 0
    word = other.form("/logout").fields["csrf"]

    assert (
        other.client.post("/oauth2/personal-token/1/revoke", data={"csrf": word}).status_code == 404
    )
    assert client.get("/api/jobs").status_code == 200
    assert browser.send("/oauth2/personal-token/1/revoke").status_code == 200

    assert client.get("/api/jobs").status_code == 401
    assert "None that is good." in browser.text


def test_tokens_of_programs_are_not_among_them(backend, browser, owner):
    with backend.transaction() as session:
        grant = grants.give(session, owner, COMMAND_LINE, ["jobs:read"])
        token = tokens.Token(
            user_id=owner.id,
            grant_id=grant.id,
            hash=b"x" * 32,
            scopes=["jobs:read"],
            expires=tokens.datetime.now(tokens.UTC) + tokens.timedelta(hours=1),
        )
        session.add(token)
    browser.open("/oauth2/personal-token")
    word = browser.form("/logout").fields["csrf"]

    assert "None that is good." in browser.text
    revoked = browser.client.post(f"/oauth2/personal-token/{token.id}/revoke", data={"csrf": word})
    assert revoked.status_code == 404


def test_there_is_an_end_to_how_many(backend, browser, token, owner, monkeypatch):
    monkeypatch.setattr(tokens, "TOKENS_OF_A_USER", 1)
    token(owner)
    browser.open("/oauth2/personal-token")

    assert browser.send("/oauth2/personal-token").status_code == 400


# --- clients --------------------------------------------------------------------------------------


@pytest.fixture
def register(browser):
    def register(**fields):
        browser.open("/oauth2/clients")
        filled = {"name": "Dashboard", "redirect_uris": "https://app.example.org/back", **fields}
        return browser.send("/oauth2/clients", **filled)

    return register


def test_a_public_client_is_registered_and_has_no_secret(browser, register):
    assert register().status_code == 200

    assert "has none: a public client" in browser.text
    assert "bsrht_client_" not in browser.text
    assert browser.text.count("https://app.example.org/back") == 1


def test_a_confidential_one_has_a_secret_that_is_shown_once(browser, register):
    register(confidential="on")
    first = secret_of(browser, "bsrht_client_")
    browser.open("/oauth2/clients")
    assert first not in browser.text

    browser.send("/oauth2/clients/1/secret")

    second = secret_of(browser, "bsrht_client_")
    assert second != first


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"description": "x" * 1025}, "description"),
        ({"description": "a\0b"}, "description"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "https://a b/"}, "url"),
        *[
            ({"redirect_uris": uri}, "redirect_uris")
            for uri in (
                *("http://app.example.org/", "https://", "https:///x", "app.example.org", "/back"),
                *("https://a@app.example.org/", "https://app.example.org/#x", "javascript:x"),
                *("https://app.example.org\\@x/", "myapp:/back", "https://app.example.org:x/"),
                *(
                    "https://äpp.example.org/",
                    "http://127.0.0.1.example.org/",
                    "http://127.0.0.1:/",
                ),
                *(
                    "http://127.0.0.2/",
                    "https://app.example.org/" + "x" * 512,
                    "HTTPS://x.example/",
                ),
                *("https://app.example.org:0/", "https://[::1/", 'https://x.example/"', "\0"),
                *("https://x.example;sandbox", "https://x,y/", "https://*/", "https://x%2ey/"),
            )
        ],
        (
            {"redirect_uris": "\n".join(f"https://x.example/{n}" for n in range(11))},
            "redirect_uris",
        ),
    ],
)
def test_a_client_that_cannot_be_is_refused_by_name(browser, register, row_counts, fields, field):
    assert register(**fields).status_code == 400

    assert blames(browser, field)
    assert row_counts()["oauth_client"] == 0


def test_what_was_typed_is_still_there_after_a_mistake(browser, register):
    register(name="Dash <board>", redirect_uris="http://x.example/")

    fields = browser.form("/oauth2/clients").fields
    assert fields["name"] == "Dash <board>"
    assert fields["redirect_uris"] == "http://x.example/"


def test_nobody_else_changes_a_client(browser, browse, stranger, register, row_counts):
    register(confidential="on")
    other = browse(stranger)
    other.open("/oauth2/clients")
    word = other.form("/logout").fields["csrf"]

    for what in ("secret", "delete"):
        answer = other.client.post(f"/oauth2/clients/1/{what}", data={"csrf": word})
        assert answer.status_code == 404
    assert row_counts()["oauth_client"] == 1

    browser.open("/oauth2/clients")
    browser.send("/oauth2/clients/1/delete")
    assert row_counts()["oauth_client"] == 0


def test_a_user_registers_so_many_and_no_more(register, monkeypatch):
    monkeypatch.setattr("buildsrht.services.clients.CLIENTS_OF_A_USER", 2)

    assert [register().status_code for _ in range(3)] == [200, 200, 400]


# --- programs -------------------------------------------------------------------------------------


@pytest.fixture
def given(backend, owner):
    with backend.transaction() as session:
        grant = grants.give(session, owner, COMMAND_LINE, ["jobs:read"])
        code = grants.DeviceCode(
            hash=b"x" * 32,
            user_code="BCDFGHJK",
            scopes=["jobs:read"],
            grant_id=grant.id,
            expires=grants.datetime.now(grants.UTC) + grants.timedelta(minutes=15),
        )
        session.add(code)
    return grants.issue(backend, code)


def test_what_a_program_was_allowed_is_listed_in_words_and_taken_back(browser, given, client):
    header = {"Authorization": f"Bearer {given.access_token}"}
    assert client.get("/api/jobs", headers=header).status_code == 200
    browser.open("/oauth2/grants")
    assert "buildsrht command line" in browser.text
    assert "see your jobs" in browser.text

    browser.send("/oauth2/grants/1/revoke")

    assert "None." in browser.text
    assert client.get("/api/jobs", headers=header).status_code == 401


def test_nobody_else_takes_it_back(browse, stranger, given, client):
    other = browse(stranger)
    other.open("/oauth2/grants")
    assert "None." in other.text
    word = other.form("/logout").fields["csrf"]

    assert other.client.post("/oauth2/grants/1/revoke", data={"csrf": word}).status_code == 404

    header = {"Authorization": f"Bearer {given.access_token}"}
    assert client.get("/api/jobs", headers=header).status_code == 200


def test_a_token_opens_no_page(client, given, token, owner):
    """What only a person may do is done where a person has signed in."""
    for text in (given.access_token, token(owner)):
        header = {"Authorization": f"Bearer {text}"}
        for path in PAGES:
            assert client.get(path, headers=header).status_code == 303
