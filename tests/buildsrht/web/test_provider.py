"""Sign-in by an OpenID Connect provider: what it has signed for us, for this browser, now and once;
and nothing less."""

import time
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import select

from buildsrht.app import create_app
from buildsrht.models import User
from buildsrht.services import accounts, identities, sign_ins
from tests.browser import Browser
from tests.buildsrht.web import openid_provider


@pytest.fixture
def provider():
    with openid_provider.running() as provider:
        yield provider


@pytest.fixture
def make_app(backend, provider, tmp_path):
    """Our application, which knows the provider: `make_app(create_accounts=True)`."""
    secret = tmp_path / "secret"
    secret.write_text(openid_provider.SECRET + "\n")

    def make(**settings):
        oidc = replace(
            backend.config.oidc,
            **{
                "issuer": provider.issuer,
                "client_id": openid_provider.CLIENT_ID,
                "client_secret_file": secret,
                "name": "Example Org",
                **settings,
            },
        )
        return create_app(replace(backend, config=replace(backend.config, oidc=oidc)))

    return make


@pytest.fixture
def ours(make_app):
    return make_app(create_accounts=True)


@pytest.fixture
def browser(ours):
    """With nobody signed in."""
    return Browser(ours)


def through_provider(address):
    """What the provider has the browser go back to, as a path of ours."""
    came_to = urlsplit(httpx.get(address).headers["Location"])
    return f"{came_to.path}?{came_to.query}"


def sign_in(browser, path="/oauth2/grants"):
    browser.open(f"/login?return_to={path}")
    page = browser.open(f"/login/provider?return_to={path}")
    return browser.open(through_provider(page.headers["Location"]))


def whose(browser):
    """Who is signed in, by their page."""
    browser.open("/account")
    return None if browser.path.startswith("/login") else browser.text.split("~")[1].split()[0]


def find(backend, name):
    with backend.transaction() as session:
        return session.scalar(select(User).where(User.name == name))


def test_somebody_whom_the_provider_knows_gets_an_account_and_in_again(backend, ours, browser):
    assert "Sign in by Example Org" in browser.open("/login").text
    sign_in(browser)
    assert browser.path == "/oauth2/grants"
    assert whose(browser) == "ada"

    again = Browser(ours)
    sign_in(again)

    assert whose(again) == "ada"
    with backend.transaction() as session:
        assert session.scalars(select(User.name)).all() == ["ada"]
        assert find(backend, "ada").password is None


def test_one_goes_on_where_one_wanted_to_go(browser):
    sign_in(browser, "/oauth2/clients")

    assert browser.path == "/oauth2/clients"


@pytest.mark.parametrize("goal", ["https://evil.example.org/", "//evil.example.org", "/\\evil"])
def test_and_never_to_another_place(browser, goal):
    sign_in(browser, goal)

    assert browser.path == "/"


# --- what the provider has signed -----------------------------------------------------------------

OTHER = RSAKey.generate_key(2048, {"kid": "first"})


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": ["builds", "another"]},
        {"aud": ["builds", "another"], "azp": "another"},
        {"azp": "another"},
        {"iss": "https://another.example.org"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": 4102444800},
        {"nbf": 4102444800},
        {"sub": ""},
        {"sub": None},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
        {"at_hash": "another"},
    ],
)
def test_what_is_signed_for_something_else_opens_nothing(provider, browser, row_counts, claims):
    provider.claims |= claims

    page = sign_in(browser)

    assert page.status_code == 403
    assert whose(browser) is None
    assert row_counts()["user"] == 0


def test_what_another_has_signed_opens_nothing(provider, browser):
    provider.signing_key = OTHER

    assert sign_in(browser).status_code == 403
    assert whose(browser) is None


@pytest.mark.filterwarnings("ignore:JWS algorithm")
@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_what_anybody_could_have_signed_opens_nothing(provider, browser, algorithm):
    provider.algorithm = algorithm
    provider.signing_key = OctKey.import_key(openid_provider.SECRET, {"kid": "first"})

    assert sign_in(browser).status_code == 403
    assert whose(browser) is None


def test_of_a_provider_that_has_no_keys_nothing_is_believed(provider, browser, row_counts):
    provider.metadata = {"jwks_uri": f"{provider.issuer}/.well-known/openid-configuration"}

    assert sign_in(browser).status_code == 403
    assert whose(browser) is None
    assert row_counts()["user"] == 0


def test_a_provider_may_begin_to_use_another_key(provider, ours, monkeypatch):
    monkeypatch.setattr("buildsrht.oauth.provider.FRESH_SECONDS", 0)
    sign_in(Browser(ours))
    provider.key = provider.signing_key = RSAKey.generate_key(2048, {"kid": "second"})

    browser = Browser(ours)
    sign_in(browser)

    assert whose(browser) == "ada"


def test_the_clocks_may_differ_a_little(provider, browser):
    provider.claims |= {"exp": int(time.time()) - 5, "iat": int(time.time()) + 5}
    sign_in(browser)

    assert whose(browser) == "ada"


# --- for this browser, once -----------------------------------------------------------------------


@pytest.fixture
def answer(browser):
    """What the provider answers with to this browser."""
    page = browser.open("/login/provider")
    return through_provider(page.headers["Location"])


def test_an_answer_is_good_once(ours, browser, answer):
    browser.open(answer)
    assert whose(browser) == "ada"
    browser.open("/account")
    browser.send("/logout")

    assert browser.open(answer).status_code == 403
    assert whose(browser) is None


def test_an_answer_is_good_in_the_browser_in_which_it_was_asked_for(ours, answer, row_counts):
    """Or a link would sign its victim in as whoever has sent it."""
    victim = Browser(ours)
    victim.open("/login")

    assert victim.open(answer).status_code == 403
    assert whose(victim) is None
    assert row_counts()["user"] == 0


def test_what_was_remembered_is_recalled_once(backend):
    """Also in a browser in which nothing has changed since."""
    identities.remember(backend, "state", {"nonce": "x"})

    assert [identities.recall(backend, "state") for _ in range(2)] == [{"nonce": "x"}, None]


@pytest.mark.parametrize("state", ["", "unknown", "\0", "ä"])
def test_an_answer_that_nobody_asked_for_is_refused(browser, state):
    browser.open("/login")

    page = browser.open("/login/provider/callback", query_string={"code": "x", "state": state})

    assert page.status_code == 403


def test_an_answer_of_another_provider_is_refused(browser, answer):
    assert browser.open(f"{answer}&iss=https://another.example.org").status_code == 403


def test_an_answer_that_came_too_late_is_refused(backend, browser, answer):
    backend.redis.flushdb()

    assert browser.open(answer).status_code == 403


def test_a_code_that_was_changed_on_the_way_is_refused(browser, answer):
    assert browser.open(answer.replace("code=", "code=x")).status_code == 403


def test_whoever_the_provider_does_not_let_in_is_not_in(provider, browser):
    provider.denies = True

    assert sign_in(browser).status_code == 403
    assert whose(browser) is None


# --- whose account --------------------------------------------------------------------------------


def test_an_account_is_never_opened_by_a_name_or_an_email_address(
    backend, provider, browser, row_counts
):
    accounts.create_user(backend, "ada", "ada@example.org")
    provider.claims |= {"email": "ada@example.org", "email_verified": True}

    page = sign_in(browser)

    assert page.status_code == 400
    assert "'ada' is somebody's already" in browser.text
    assert whose(browser) is None
    assert row_counts()["identity"] == 0


@pytest.mark.parametrize(
    ("claims", "name", "email"),
    [
        ({}, "ada", None),
        ({"preferred_username": "Ada.Lovelace@example.org"}, "ada-lovelace-example-org", None),
        ({"email": "a@example.org", "email_verified": True}, "ada", "a@example.org"),
        ({"email": "a@example.org", "email_verified": False}, "ada", None),
        ({"email": "a@example.org", "email_verified": "true"}, "ada", None),
        ({"email": "A@Taken.example.org", "email_verified": True}, "ada", None),
        ({"email": "no address", "email_verified": True}, "ada", None),
    ],
)
def test_an_account_is_made_of_what_the_provider_says(
    backend, provider, browser, claims, name, email
):
    accounts.create_user(backend, "other", "a@taken.example.org")
    provider.claims |= claims

    sign_in(browser)

    assert whose(browser) == name
    assert find(backend, name).email == email


@pytest.mark.parametrize("name", [None, "", "1", 7, ["ada"], "x" * 64, "ädä"])
def test_who_has_a_name_that_none_may_have_gets_no_account(provider, browser, row_counts, name):
    provider.claims |= {"preferred_username": name}

    page = sign_in(browser)

    assert page.status_code == 400
    assert row_counts()["user"] == 0


def test_without_leave_nobody_unknown_gets_an_account(make_app, row_counts):
    browser = Browser(make_app(create_accounts=False))

    assert sign_in(browser).status_code == 403
    assert row_counts()["user"] == 0


@pytest.fixture
def signed_in(ours, backend):
    """A browser in which this user has signed in by a password."""

    def signed_in(user):
        browser = Browser(ours)
        browser.client.set_cookie("buildsrht", sign_ins.begin(backend, user))
        browser.open("/account")
        return browser

    return signed_in


def connect(browser):
    browser.send("/account/connect")
    [address] = [link for link in browser._read().links if "/authorize?" in link]
    return through_provider(address)


def test_who_is_signed_in_connects_their_account_and_disconnects_it(
    ours, backend, owner, signed_in
):
    accounts.set_password(backend, "owner", "correct horse battery")
    mine = signed_in(find(backend, "owner"))
    mine.open(connect(mine))
    assert "subject-1" in mine.text

    browser = Browser(ours)
    sign_in(browser)
    assert whose(browser) == "owner"

    mine.open("/account")
    mine.send("/account/identities/1/remove")
    assert "subject-1" not in mine.text
    assert whose(browser) is None  # or else they would be in for as long as their cookie is good
    again = Browser(ours)
    sign_in(again)
    assert whose(again) == "ada"


def test_the_only_way_in_stays(ours, browser, backend):
    sign_in(browser)
    browser.open("/account")

    assert browser.send("/account/identities/1/remove").status_code == 400

    accounts.set_password(backend, "ada", "correct horse battery")
    sign_in(browser)
    browser.open("/account")
    assert browser.send("/account/identities/1/remove").status_code == 200


def test_another_site_cannot_have_an_account_connected(signed_in, owner):
    browser = signed_in(owner)

    assert browser.send("/account/connect", csrf="x").status_code == 403


def test_who_has_changed_places_meanwhile_connects_nothing(
    ours, owner, stranger, signed_in, backend, row_counts
):
    browser = signed_in(owner)
    answer = connect(browser)
    browser.client.set_cookie("buildsrht", sign_ins.begin(backend, stranger))

    assert browser.open(answer).status_code == 403
    assert row_counts()["identity"] == 0


def test_one_identity_opens_one_account(owner, stranger, signed_in, backend, provider):
    identities.bind(backend, owner, provider.issuer, "subject-1")
    browser = signed_in(stranger)

    page = browser.open(connect(browser))

    assert page.status_code == 400
    with backend.transaction() as session:
        found = identities.find_by_identity(session, provider.issuer, "subject-1")
        assert found.name == "owner"
        assert identities.find_by_identity(session, "https://other.example", "subject-1") is None


def test_nobody_disconnects_somebody_else(
    owner, stranger, signed_in, backend, provider, row_counts
):
    identities.bind(backend, owner, provider.issuer, "subject-1")
    identities.bind(backend, stranger, provider.issuer, "subject-2")
    accounts.set_password(backend, "stranger", "correct horse battery")
    browser = signed_in(find(backend, "stranger"))
    word = browser.form("/logout").fields["csrf"]

    page = browser.client.post("/account/identities/1/remove", data={"csrf": word})

    assert page.status_code == 404
    assert row_counts()["identity"] == 2


def test_sign_ins_that_nobody_ends_are_bounded(backend, provider, ours, browser):
    """Each is kept for a while, for somebody who may never come back."""
    limit = identities.REQUESTS.attempts

    asked = [browser.client.get("/login/provider").status_code for _ in range(limit + 3)]

    assert asked == [303] * limit + [429] * 3
    assert len(backend.redis.keys("provider:*")) == limit


# --- without one ----------------------------------------------------------------------------------


def test_a_provider_that_is_away_is_said_to_be(provider, make_app):
    browser = Browser(make_app(issuer="http://127.0.0.1:1"))

    assert browser.open("/login/provider").status_code == 503
    assert "the provider does not answer" in browser.text
    assert browser.open("/login").status_code == 200


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.example.org"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": 7},
    ],
)
def test_a_provider_that_is_another_than_agreed_is_not_asked(provider, browser, metadata):
    provider.metadata = metadata

    assert browser.open("/login/provider").status_code == 503


def test_a_provider_that_goes_away_on_the_way(provider, browser):
    provider.metadata = {"token_endpoint": "http://127.0.0.1:1/token"}

    assert sign_in(browser).status_code == 503
    assert whose(browser) is None


def test_without_a_provider_there_is_no_such_page(browse):
    browser = browse()

    assert browser.open("/login/provider").status_code == 404
    assert browser.open("/login/provider/callback?state=x").status_code == 404
    assert "Sign in by" not in browser.open("/login").text
