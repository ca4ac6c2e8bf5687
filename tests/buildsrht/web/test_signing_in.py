"""To sign in and out, and what keeps others from doing either."""

import re
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError

from buildsrht import serving
from buildsrht.app import create_app
from buildsrht.services import accounts
from tests.browser import Browser

PASSWORD = "correct horse battery"
COOKIE = "buildsrht"


@pytest.fixture
def ada(backend):
    user = accounts.create_user(backend, "ada")
    accounts.set_password(backend, "ada", PASSWORD)
    return user


@pytest.fixture
def sign_in(browse, ada):
    """A browser that has tried to sign in: `sign_in(password="wrong").page`."""

    def sign_in(browser=None, path="/login", **fields):
        browser = browser or browse()
        browser.open(path)
        browser.send("/login", **{"name": "ada", "password": PASSWORD, **fields})
        return browser

    return sign_in


def cookie_of(browser, name=COOKIE):
    cookie = browser.client.get_cookie(name)
    return cookie and cookie.value


def test_who_knows_the_password_is_in_until_they_sign_out(sign_in):
    browser = sign_in()
    assert (browser.path, browser.page.status_code) == ("/", 200)
    assert "~ada" in browser.text
    text = cookie_of(browser)

    browser.send("/logout")

    assert browser.path == "/login"
    assert cookie_of(browser) is None
    browser.client.set_cookie(COOKIE, text)
    browser.open("/oauth2/grants")
    assert browser.path.startswith("/login")


@pytest.mark.parametrize(
    "fields",
    [
        *({"password": "wrong"}, {"password": ""}, {"name": "bob"}, {"name": ""}),
        *({"name": "ada\0"}, {"name": "~ada"}, {"name": "<b>"}, {"password": "x" * 5000}),
    ],
)
def test_nobody_else_is_and_all_are_told_the_same(sign_in, fields):
    browser = sign_in(**fields)

    assert browser.page.status_code == 401
    assert "There is no account with this name and this password." in browser.text
    assert cookie_of(browser) is None
    assert "<b>" not in browser.page.text


def test_the_cookie_is_for_this_service_alone(browse, ada):
    browser = browse()
    browser.open("/login")
    fields = browser.form("/login").fields | {"name": "ada", "password": PASSWORD}

    page = browser.client.post("/login", data=fields)

    cookie = next(each for each in page.headers.getlist("Set-Cookie") if each.startswith(COOKIE))
    attributes = cookie.split("; ")[1:]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    assert "Max-Age=2592000" in attributes
    assert not [each for each in attributes if each.startswith("Domain")]


def test_behind_https_it_goes_nowhere_else(backend, ada):
    web = replace(backend.config.web, origin="https://builds.example.org")
    app = create_app(replace(backend, config=replace(backend.config, web=web)))
    client = app.test_client()
    client.environ_base["wsgi.url_scheme"] = "https"
    browser = Browser(app, client)
    base = "https://localhost"

    page = client.get("/login", base_url=base)
    [nobody] = page.headers.getlist("Set-Cookie")
    assert nobody.startswith("__Host-buildsrht-nobody=")
    browser.path, browser.page = "/login", page
    fields = browser.form("/login").fields | {"name": "ada", "password": PASSWORD}
    page = client.post("/login", data=fields, base_url=base)

    signed_in, _ = page.headers.getlist("Set-Cookie")
    assert signed_in.startswith("__Host-buildsrht=")
    assert "Secure" in signed_in.split("; ")
    assert "Secure" in nobody.split("; ")


def test_each_sign_in_has_a_cookie_of_its_own(browse, sign_in, app):
    """What somebody has put into the browser before is worth nothing afterwards."""
    browser = browse()
    browser.client.set_cookie(COOKIE, "chosen-by-somebody-else")

    sign_in(browser)

    assert cookie_of(browser) != "chosen-by-somebody-else"
    other = Browser(app)
    other.client.set_cookie(COOKIE, "chosen-by-somebody-else")
    other.open("/oauth2/grants")
    assert other.path.startswith("/login")


def test_who_signs_in_again_leaves_the_session_before(browse, sign_in, app, owner):
    browser = browse(owner)
    old = cookie_of(browser)
    browser.open("/oauth2/grants")
    word = browser.form("/logout").fields["csrf"]

    browser.client.post("/login", data={"csrf": word, "name": "ada", "password": PASSWORD})

    browser.open("/oauth2/grants")
    assert "~ada" in browser.text
    other = Browser(app)
    other.client.set_cookie(COOKIE, old)
    other.open("/oauth2/grants")
    assert other.path.startswith("/login")


def test_a_new_password_signs_out_everywhere(backend, sign_in):
    browser = sign_in()

    accounts.set_password(backend, "ada", "another one, quite")

    browser.open("/oauth2/grants")
    assert browser.path.startswith("/login")


# --- where to go on -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "goal",
    ["/oauth2/grants", "/oauth2/device?user_code=BCDF-GHJK", "/oauth2/clients?x=https://x.example"],
)
def test_one_goes_on_where_one_wanted_to_go(sign_in, goal):
    assert sign_in(path=f"/login?return_to={goal}").path == goal


@pytest.mark.parametrize(
    "goal",
    [
        *("https://evil.example.org/", "//evil.example.org/", "///evil.example.org/"),
        *("/\\evil.example.org/", "\\\\evil.example.org/", "http:evil", "javascript:alert(1)"),
        *("/\t/evil.example.org/", "/\n/evil.example.org", " //evil.example.org/", ""),
        *("evil.example.org", "/%0d%0aSet-Cookie:x\r\n", "/ä", "\0", "?x", "/\x0b/x"),
        *("//[", "http://[", "//[evil]", "https://[::1"),
    ],
)
def test_and_never_to_another_place(sign_in, app, goal):
    browser = sign_in(path="/login", return_to=goal)
    assert browser.path == "/"

    page = browser.client.get("/login", query_string={"return_to": goal})
    assert page.headers["Location"] == "/"


# --- forms of other sites -------------------------------------------------------------------------


@pytest.mark.parametrize("word", [None, "", "x", "ä", "0" * 64])
def test_another_site_cannot_sign_anybody_in(app, ada, word):
    form = {"name": "ada", "password": PASSWORD}
    if word is not None:
        form["csrf"] = word

    page = app.test_client().post("/login", data=form)

    assert page.status_code == 403
    assert "Set-Cookie" not in page.headers or COOKIE + "=" not in page.headers["Set-Cookie"]


def test_the_word_of_one_browser_is_nothing_to_another(browse, app, ada):
    browser = browse()
    browser.open("/login")
    fields = browser.form("/login").fields | {"name": "ada", "password": PASSWORD}
    other = app.test_client()
    other.get("/login")

    assert other.post("/login", data=fields).status_code == 403


ID = "5dc4d3a4-52ab-4a2f-9c0d-6a3b5e3c8a11"


def test_no_form_of_any_page_can_be_sent_without_its_word(app, browse, owner, row_counts):
    """Every address that takes a form, also those that are yet to come."""
    browser = browse(owner)
    before = row_counts()
    forms = [
        re.sub("<[a-z]*:?[a-z_]+>", lambda name: ID if "uuid" in name[0] else "1", rule.rule)
        for rule in app.url_map.iter_rules()
        if "POST" in (rule.methods or ()) and rule.endpoint.startswith("web.")
    ]
    assert len(forms) > 7

    for address in forms:
        assert browser.client.post(address, data={"csrf": "x"}).status_code == 403, address
    assert row_counts() == before


# --- guessing -------------------------------------------------------------------------------------


def test_a_password_cannot_be_guessed(sign_in, app):
    for _ in range(accounts.BY_NAME.attempts):
        assert sign_in(password="wrong").page.status_code == 401

    refused = sign_in()

    assert refused.page.status_code == 429
    assert 0 < int(refused.page.headers["Retry-After"]) <= accounts.BY_NAME.seconds
    assert cookie_of(refused) is None


def test_a_name_that_is_nobodys_is_limited_like_one_that_is(sign_in):
    statuses = [
        sign_in(name="nobody").page.status_code for _ in range(accounts.BY_NAME.attempts + 1)
    ]

    assert statuses == [401] * accounts.BY_NAME.attempts + [429]


def test_many_names_cannot_be_tried_from_one_place(backend, sign_in, monkeypatch):
    limit = replace(accounts.BY_PLACE, attempts=3)
    monkeypatch.setattr(accounts, "BY_PLACE", limit)

    statuses = [sign_in(name=f"user{number}").page.status_code for number in range(4)]

    assert statuses == [401, 401, 401, 429]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        (0, "192.0.2.{}", 429),
        (1, "192.0.2.{}", 401),
        (1, "192.0.2.{}, 192.0.2.1", 429),
        (2, "203.0.113.1, 192.0.2.{}, 192.0.2.1", 401),
        (1, "2001:db8::{}", 429),
        (1, "2001:db8:0:{}::1", 401),
        (1, "nonsense{}", 429),
    ],
)
def test_who_is_behind_a_proxy_is_told_apart_if_there_is_one(
    backend, ada, monkeypatch, proxies, forwarded, status
):
    monkeypatch.setattr(accounts, "BY_PLACE", replace(accounts.BY_PLACE, attempts=2))
    web = replace(backend.config.web, proxies=proxies)
    app = create_app(replace(backend, config=replace(backend.config, web=web)))

    for number in range(3):
        browser = Browser(app)
        browser.client.environ_base["HTTP_X_FORWARDED_FOR"] = forwarded.format(number)
        browser.open("/login")
        page = browser.send("/login", name=f"user{number}", password="wrong")

    assert page.status_code == status


def test_without_redis_nobody_signs_in_and_who_is_in_stays(
    app, backend, browse, sign_in, owner, monkeypatch
):
    inside = browse(owner)

    class Away:
        def pipeline(self):
            raise ConnectionError("away")

    serving.install(app, replace(backend, redis=Away()))

    refused = sign_in()
    assert (refused.page.status_code, cookie_of(refused)) == (503, None)
    assert refused.page.headers["Retry-After"]
    assert inside.open("/oauth2/grants").status_code == 200
