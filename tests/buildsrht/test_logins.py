"""The file with a user's logins: nothing that a server gives is lost, and nobody else reads it."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from buildsrht.errors import OperatorError
from buildsrht.logins import Login, Logins

URL = "https://builds.example.org"
OLD = Login("old", "refresh", expires=0, scope="jobs:read")


def new() -> Login:
    return Login("new", "next", expires=time.time() + 3600, scope="jobs:read")


@pytest.fixture
def logins(tmp_path):
    return Logins(tmp_path / "buildsrht/credentials.json")


def test_what_was_kept_is_found_until_it_is_forgotten(logins):
    logins.keep(URL, OLD)

    assert logins.get(URL) == OLD
    logins.forget(URL)
    assert logins.get(URL) is None


def test_the_latest_is_the_one_that_was_kept_last_and_not_left_since(logins):
    assert logins.latest() is None
    for url in ("http://a", "http://b", "http://a"):
        logins.keep(url, OLD)
    assert logins.latest() == "http://a"
    logins.forget("http://a")
    assert logins.latest() == "http://b"


def test_renewal_does_not_make_a_server_the_latest(logins):
    logins.keep("http://a", OLD)
    logins.keep("http://b", OLD)

    logins.fresh("http://a", lambda _: new())

    assert logins.latest() == "http://b"


def test_a_login_that_is_good_is_not_renewed(logins):
    good = new()
    logins.keep(URL, good)

    assert logins.fresh(URL, lambda _: pytest.fail("renewed")) == good


def test_one_that_is_about_to_expire_is_renewed(logins):
    logins.keep(URL, replace(new(), expires=time.time() + 5))

    assert logins.fresh(URL, lambda _: new()).access_token == "new"
    assert logins.get(URL).access_token == "new"


def test_of_several_at_once_one_renews_and_the_others_wait(logins):
    logins.keep(URL, OLD)
    renewals, found = [], []

    def renew(old):
        renewals.append(old)
        time.sleep(0.05)  # long enough for the others to come
        return new()

    threads = [
        threading.Thread(target=lambda: found.append(logins.fresh(URL, renew).access_token))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert renewals == [OLD]
    assert found == ["new"] * 5


@pytest.fixture
def another_thread():
    """One that has nothing to do, and that signals may reach."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


def test_ctrl_c_in_the_middle_of_a_renewal_loses_nothing(logins, another_thread):
    logins.keep(URL, OLD)

    def renew(_):
        os.kill(os.getpid(), signal.SIGINT)
        return new()

    with pytest.raises(KeyboardInterrupt):
        logins.fresh(URL, renew)
    assert logins.get(URL).access_token == "new"


def test_a_renewal_that_fails_leaves_everything_as_it_was(logins):
    logins.keep(URL, OLD)

    with pytest.raises(OperatorError):
        logins.fresh(URL, _refuse)
    assert logins.get(URL) == OLD


def _refuse(_):
    raise OperatorError("no")


def test_nobody_else_can_read_it_and_nothing_is_left_beside_it(logins):
    before = os.umask(0)
    try:
        logins.keep(URL, OLD)
    finally:
        os.umask(before)

    assert {path.name for path in logins.path.parent.iterdir()} == {
        "credentials.json",
        "credentials.lock",
    }
    assert logins.path.stat().st_mode & 0o777 == 0o600
    assert logins.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"servers": {"a": {}}}', '{"servers": 1}'])
def test_a_file_that_somebody_else_wrote_is_refused_by_its_name(logins, text):
    logins.keep(URL, OLD)
    logins.path.write_text(text)

    with pytest.raises(OperatorError, match=r"credentials\.json: is not what `buildsrht login`"):
        logins.latest()
    assert logins.path.read_text() == text
