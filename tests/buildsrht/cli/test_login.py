"""Logging in from a terminal, against the real OAuth server and a user who agrees or not."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select, update

from buildsrht import device_flow
from buildsrht.client import Client, ServerAway
from buildsrht.models import DeviceCode, OAuthGrant, Token
from buildsrht.services import devices
from tests.buildsrht.cli.program import environment

ALL_SCOPES = ["profile:write", "jobs:write", "logs:read", "secrets:write"]


@pytest.fixture
def user_code(backend):
    """The code that a program shows."""

    def user_code():
        with backend.transaction() as session:
            return session.scalars(select(DeviceCode.user_code).order_by(-DeviceCode.id)).first()

    return user_code


@pytest.fixture
def meanwhile(monkeypatch):
    """Do these things, one in each pause of a program that waits. Returns how long it paused."""

    def meanwhile(*actions):
        left, pauses = list(actions), []

        def sleep(seconds):
            pauses.append(seconds)
            if left:
                left.pop(0)()

        clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
        monkeypatch.setattr(device_flow, "time", clock)
        return pauses

    return meanwhile


@pytest.fixture
def log_in(command, server, backend, owner, user_code, meanwhile):
    """Log in as the owner, who agrees at once."""

    def log_in(*arguments):
        meanwhile(lambda: devices.approve(backend, owner, user_code()))
        done = command("login", *(arguments or [server]))
        assert done.status == 0, done.err
        return done

    return log_in


@pytest.fixture
def credentials(tmp_path):
    return tmp_path / "config/buildsrht/credentials.json"


@pytest.fixture
def expire(credentials):
    """Have all access tokens be over, as far as this machine knows."""

    def expire():
        stored = json.loads(credentials.read_text())
        for login in stored["servers"].values():
            login["expires"] = 0
        credentials.write_text(json.dumps(stored))

    return expire


# login


def test_login_shows_an_address_and_a_code_and_ends_when_the_user_has_agreed(
    log_in, server, user_code, command
):
    done = log_in()

    code = devices.shown(user_code())
    first, second, last = done.err.splitlines()
    assert first.startswith("Open http")
    assert first.endswith(f"/oauth2/device and enter the code {code}")
    assert code in second
    assert last == f"This machine may use {server} now, until `buildsrht logout`."
    assert command("whoami") == (0, f"~owner at {server}\n", "")


def test_it_asks_for_what_all_commands_need_and_no_more(log_in, backend):
    log_in()

    with backend.transaction() as session:
        assert sorted(session.scalars(select(Token)).one().scopes) == sorted(ALL_SCOPES)


def test_it_may_ask_for_less(log_in, server, command, tmp_path):
    log_in("--scopes", "jobs:read profile:read", server)
    manifest = tmp_path / "build.yml"
    manifest.write_text("image: debian/trixie\ntasks:\n- build: make\n")

    done = command("submit", manifest)

    assert done.status == 1
    assert "jobs:write" in done.err


def test_scopes_that_do_not_exist_are_refused(command, server):
    done = command("login", "--scopes", "everything", server)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("buildsrht: the scopes are missing, or unknown")


def test_the_tokens_are_for_their_owner_alone(log_in, credentials):
    log_in()

    assert credentials.stat().st_mode & 0o777 == 0o600
    assert credentials.parent.stat().st_mode & 0o077 == 0
    assert [path.name for path in credentials.parent.iterdir() if path.suffix == ".part"] == []


def test_a_user_who_does_not_agree_ends_it(command, server, backend, user_code, meanwhile):
    meanwhile(lambda: devices.deny(backend, user_code()))

    done = command("login", server)

    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("buildsrht: ")
    assert "Traceback" not in done.err


def test_a_code_that_expires_ends_it(command, server, backend, meanwhile):
    def expire():
        with backend.transaction() as session:
            session.execute(update(DeviceCode).values(expires=DeviceCode.created))

    meanwhile(expire)

    assert command("login", server).status == 1


def test_it_waits_longer_when_it_is_told_to(command, server, backend, owner, user_code, meanwhile):
    pauses = meanwhile(
        lambda: None,
        lambda: None,  # the pauses take no time: this one is too short
        lambda: devices.approve(backend, owner, user_code()),
    )

    assert command("login", server).status == 0
    assert pauses == [5, 5, 10]


def test_a_server_that_goes_away_for_a_moment_is_asked_again(
    command, server, backend, owner, user_code, meanwhile, monkeypatch
):
    ask, asked = Client.post_form, []

    def post_form(*arguments):
        asked.append(arguments)
        if len(asked) == 2:
            raise ServerAway("restarted")
        return ask(*arguments)

    monkeypatch.setattr(Client, "post_form", post_form)
    pauses = meanwhile(lambda: None, lambda: devices.approve(backend, owner, user_code()))

    assert command("login", server).status == 0
    assert pauses == [5, 10]


def test_a_server_that_is_not_there_is_one_sentence(command):
    done = command("login", "http://127.0.0.1:1")

    assert done == (1, "", "buildsrht: http://127.0.0.1:1: [Errno 111] Connection refused\n")


SAID = {"device_code": "x", "user_code": "x", "verification_uri": "x", "expires_in": 900}


@pytest.mark.parametrize(
    "said",
    [
        {"hello": "world"},
        {**SAID, "expires_in": "long"},
        {**SAID, "interval": None},
        {**SAID, "interval": -1},
        {**SAID, "interval": float("inf")},
    ],
)
def test_a_server_that_is_something_else_is_one_sentence(command, server, monkeypatch, said):
    monkeypatch.setattr(Client, "post_form", lambda *_: said)

    done = command("login", server)

    assert done == (1, "", f"buildsrht: {server}: answered, but not as an OAuth server does\n")


def test_an_address_that_is_none_is_refused(command):
    assert command("login", "builds.example.org") == (
        1,
        "",
        'buildsrht: URL: expected http://host or https://host, got "builds.example.org"\n',
    )


# Which server, and as whom


def test_the_server_of_the_latest_login_is_used(log_in, server, command, credentials):
    log_in()
    stored = json.loads(credentials.read_text())
    older = {"http://127.0.0.1:1": stored["servers"][server]}
    credentials.write_text(json.dumps({"servers": older | stored["servers"]}))

    assert command("whoami").out == f"~owner at {server}\n"


def test_an_address_in_the_environment_chooses_among_logins(log_in, server, command, monkeypatch):
    log_in()
    monkeypatch.setenv("BUILDSRHT_URL", "http://127.0.0.1:1")

    done = command("whoami")

    assert done.status == 1
    assert "`buildsrht login http://127.0.0.1:1`" in done.err


def test_a_token_in_the_environment_wins(log_in, server, command, monkeypatch, token, stranger):
    log_in()
    monkeypatch.setenv("BUILDSRHT_URL", server)
    monkeypatch.setenv("BUILDSRHT_TOKEN", token(stranger))

    assert command("whoami").out == f"~stranger at {server}\n"


def test_a_token_in_the_environment_is_not_sent_where_somebody_logged_in(
    log_in, command, monkeypatch, token, stranger
):
    log_in()
    monkeypatch.setenv("BUILDSRHT_TOKEN", token(stranger))
    monkeypatch.setattr("buildsrht.cli.connection.DEFAULT_URL", "http://127.0.0.1:1")

    done = command("whoami")

    assert done.err.startswith("buildsrht: http://127.0.0.1:1: ")


def test_who_logs_in_beside_a_token_is_told_which_one_wins(log_in, monkeypatch):
    monkeypatch.setenv("BUILDSRHT_TOKEN", "old")

    assert log_in().err.endswith("BUILDSRHT_TOKEN is set, though, and wins.\n")


# Renewal


def test_a_login_that_has_expired_is_renewed(log_in, expire, command, credentials):
    log_in()
    expire()
    before = credentials.read_text()

    assert command("whoami").status == 0
    assert command("whoami").status == 0
    assert credentials.read_text() != before


def test_several_commands_at_once_renew_it_once(log_in, expire, server, tmp_path):
    log_in()
    expire()
    variables = environment(XDG_CONFIG_HOME=str(tmp_path / "config"))
    asking = [
        subprocess.Popen(
            [sys.executable, "-m", "buildsrht", "whoami"],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(4)
    ]

    # A refresh token that is used twice ends the whole login.
    assert [process.communicate()[0] for process in asking] == [
        f"~owner at {server}\n".encode()
    ] * 4


def test_a_login_that_was_revoked_says_what_to_do(log_in, expire, server, command, backend):
    log_in()
    expire()
    with backend.transaction() as session:
        session.execute(update(OAuthGrant).values(revoked=func.now()))

    done = command("whoami")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"buildsrht: the login to {server} is over (")
    assert f"`buildsrht login {server}` begins another" in done.err


def test_credentials_that_are_damaged_are_one_sentence(log_in, command, credentials):
    log_in()
    credentials.write_text('{"servers": ')

    done = command("whoami")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"buildsrht: {credentials}: is not what `buildsrht login` writes;")


# logout


def test_logout_gives_the_tokens_back(log_in, server, command, client, credentials):
    log_in()
    login = json.loads(credentials.read_text())["servers"][server]

    assert command("logout") == (0, "", "")

    header = {"Authorization": f"Bearer {login['access_token']}"}
    assert client.get("/api/jobs", headers=header).status_code == 401
    assert login["access_token"] not in credentials.read_text()
    assert command("whoami").status == 1


def test_logging_in_again_gives_the_old_tokens_back(log_in, server, client, credentials):
    log_in()
    login = json.loads(credentials.read_text())["servers"][server]
    log_in()

    header = {"Authorization": f"Bearer {login['access_token']}"}
    assert client.get("/api/jobs", headers=header).status_code == 401


def test_logout_without_a_login_is_refused(command, server):
    assert command("logout", server) == (1, "", f"buildsrht: not logged in to {server}\n")
