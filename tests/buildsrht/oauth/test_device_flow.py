"""Programs without a browser: a short code for people, a long one for the program (RFC 8628)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from buildsrht.models import DeviceCode
from buildsrht.services import devices

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
CLI = "buildsrht-cli"


@pytest.fixture
def begin(client):
    def post(client_id=CLI, scope="jobs:read", **fields):
        form = {"client_id": client_id, "scope": scope, **fields}
        return client.post("/oauth2/device-authorization", data=form)

    return post


@pytest.fixture
def begun(begin):
    return begin().json


@pytest.fixture
def poll(client):
    """Ask for tokens, as a program does: `poll(begun)`."""

    def post(begun, client_id=CLI, **fields):
        form = {
            "grant_type": DEVICE_CODE,
            "client_id": client_id,
            "device_code": begun["device_code"],
            **fields,
        }
        return client.post("/oauth2/access-token", data=form)

    return post


@pytest.fixture
def decide(browse, owner):
    """The owner types the code and presses a button."""

    def decide(begun, answer, user=owner):
        browser = browse(user)
        browser.open("/oauth2/device")
        browser.send("/oauth2/device", user_code=begun["user_code"])
        return browser.send("/oauth2/device", press=f"decision={answer}")

    return decide


def later(backend, **changes):
    """As if time had passed."""
    with backend.transaction() as session:
        session.execute(update(DeviceCode).values(changes))


def error(response):
    assert response.status_code in (400, 401), response.text
    return response.json["error"]


def test_a_program_gets_tokens_when_its_user_has_typed_the_code(client, begin, poll, decide):
    begun = begin().json
    assert begun["verification_uri"].endswith("/oauth2/device")
    assert begun["verification_uri_complete"].endswith(f"?user_code={begun['user_code']}")
    assert (begun["expires_in"], begun["interval"]) == (900, 5)
    assert error(poll(begun)) == "authorization_pending"

    assert decide(begun, "allow").status_code == 200
    answer = poll(begun)

    assert answer.headers["Cache-Control"] == "no-store"
    tokens = answer.json
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "jobs:read")
    assert tokens["expires_in"] == 3600
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.get("/api/jobs", headers=header).status_code == 200
    assert client.post("/api/jobs", headers=header, json={}).status_code == 403


@pytest.mark.parametrize("code", ["{}", " {} ", "{lower}", "{bare}", "{bare} \n", "{spaced}"])
def test_the_code_may_be_typed_in_any_way(browse, owner, begun, code):
    shown = begun["user_code"]
    bare = shown.replace("-", "")
    typed = code.format(shown, lower=shown.lower(), bare=bare, spaced=" ".join(bare))

    page = browse(owner).open("/oauth2/device", query_string={"user_code": typed})

    assert page.status_code == 200
    assert shown in page.text


def test_the_code_has_no_vowels_and_nothing_that_looks_like_something_else(begin):
    for _ in range(20):
        code = begin().json["user_code"]
        assert len(code) == 9
        assert set(code) <= {*devices.ALPHABET, "-"}
    assert not {*"AEIOUY01"} & {*devices.ALPHABET}


def test_a_program_that_asks_too_often_has_to_ask_less_often(backend, begun, poll):
    assert error(poll(begun)) == "authorization_pending"
    assert error(poll(begun)) == "slow_down"
    later(backend, polled=func.now() - timedelta(seconds=6))
    assert error(poll(begun)) == "slow_down"
    later(backend, polled=func.now() - timedelta(seconds=16))
    assert error(poll(begun)) == "authorization_pending"


def test_a_program_that_is_refused_learns_it(begun, poll, decide, row_counts):
    decide(begun, "deny")

    assert error(poll(begun)) == "access_denied"
    assert row_counts()["oauth_grant"] == 0


def test_time_runs_out_for_the_program_and_for_the_user(
    backend, begun, poll, decide, browse, owner
):
    later(backend, expires=func.now())

    assert error(poll(begun)) == "expired_token"
    page = browse(owner).open(f"/oauth2/device?user_code={begun['user_code']}")
    assert page.status_code == 404


def test_a_code_that_was_allowed_and_not_fetched_in_time_is_over(backend, begun, poll, decide):
    decide(begun, "allow")
    later(backend, expires=func.now())

    assert error(poll(begun)) == "expired_token"


def test_tokens_are_given_once_and_a_second_time_ends_them(client, begun, poll, decide):
    decide(begun, "allow")
    token = poll(begun).json["access_token"]

    assert error(poll(begun)) == "invalid_grant"

    header = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/jobs", headers=header).status_code == 401


def test_of_many_that_ask_at_the_same_moment_one_at_most_has_tokens(app, begun, decide):
    decide(begun, "allow")
    form = {"grant_type": DEVICE_CODE, "client_id": CLI, "device_code": begun["device_code"]}

    def ask(_):
        return app.test_client().post("/oauth2/access-token", data=form)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


def test_a_code_is_decided_about_once(begun, decide, browse, owner, stranger):
    first, second = browse(owner), browse(stranger)
    for browser in (first, second):
        browser.open(f"/oauth2/device?user_code={begun['user_code']}")

    assert first.send("/oauth2/device", press="decision=allow").status_code == 200
    assert second.send("/oauth2/device", press="decision=allow").status_code == 404


@pytest.mark.parametrize("code", ["", "nonsense", "bsrht_device_unknown", "\0", "ä"])
def test_an_unknown_code_is_worth_nothing(begun, poll, code):
    assert error(poll({"device_code": code})) in ("invalid_grant", "invalid_request")


def test_the_short_code_is_not_the_long_one(begun, poll):
    assert error(poll({"device_code": begun["user_code"]})) == "invalid_grant"


def test_a_code_of_another_program_is_refused_and_stays_good(
    backend, owner, begun, poll, decide, register
):
    other, _ = register()
    decide(begun, "allow")

    assert error(poll(begun, client_id=str(other.uuid))) == "unauthorized_client"
    assert poll(begun).status_code == 200


@pytest.mark.parametrize("scope", ["", "fly", "jobs:read fly", "builds.sr.ht/FLY:RO", '"', "ä"])
def test_scopes_that_are_not_known_are_refused(begin, row_counts, scope):
    assert error(begin(scope=scope)) == "invalid_scope"
    assert row_counts()["device_code"] == 0


@pytest.mark.parametrize("client_id", ["", "nobody", "\0", "ä", "x" * 5000])
def test_a_program_that_nobody_registered_is_refused(begin, client_id):
    assert error(begin(client_id=client_id)) == "invalid_client"


def test_grants_of_the_originals_clients_are_understood(browse, owner, begin):
    begun = begin(scope="builds.sr.ht/JOBS:RW meta.sr.ht/PROFILE:RO").json

    page = browse(owner).open(f"/oauth2/device?user_code={begun['user_code']}")

    assert "submit, start, cancel and change jobs" in page.text
    assert "see who you are" in page.text


def test_programs_cannot_fill_the_database_from_one_address(begin):
    statuses = [begin().status_code for _ in range(devices.REQUESTS.attempts + 1)]

    assert statuses[-2:] == [200, 429]
    assert 0 < int(begin().headers["Retry-After"]) <= devices.REQUESTS.seconds


def test_short_codes_cannot_be_guessed(browse, owner, begun):
    browser = browse(owner)
    for _ in range(devices.GUESSES.attempts):
        assert browser.open("/oauth2/device?user_code=BBBB-BBBB").status_code == 404

    refused = browser.open(f"/oauth2/device?user_code={begun['user_code']}")

    assert refused.status_code == 429
    assert refused.headers["Retry-After"]


def test_the_page_says_who_asks_for_what_and_to_compare_the_code(browse, owner, begun):
    browser = browse(owner)
    browser.open(f"/oauth2/device?user_code={begun['user_code']}")

    assert begun["user_code"] in browser.text
    assert "buildsrht command line" in browser.text
    assert "see your jobs" in browser.text
    assert "if somebody has sent you this code" in browser.text


def test_who_is_not_signed_in_comes_back_to_the_code(browse, begun):
    browser = browse()
    browser.open(f"/oauth2/device?user_code={begun['user_code']}")

    assert browser.path.startswith("/login?return_to=")
    assert begun["user_code"] in browser.form("/login").fields["return_to"]
