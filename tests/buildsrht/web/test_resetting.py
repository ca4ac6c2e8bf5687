"""Who has forgotten a password gets mail, and in; nobody else learns anything."""

import re
from dataclasses import replace
from email import message_from_bytes, policy
from logging import ERROR

import pytest
from sqlalchemy import text as sql

from buildsrht import serving
from buildsrht.courier import reset
from buildsrht.queue import RESETS
from buildsrht.services import accounts, administration, password_resets, sign_ins
from tests.mail_server import MailServer, OnFreePort

OLD, NEW = "correct horse battery", "another one, quite"
LINK = re.compile(r"http://[^\s/]+(/reset/[\w-]+)")


@pytest.fixture
def ada(backend):
    accounts.create_user(backend, "ada", "Ada@example.org")
    return accounts.set_password(backend, "ada", OLD)


@pytest.fixture
def server():
    """A mail server that runs."""
    server = MailServer()
    controller = OnFreePort(server)
    controller.start()
    server.port = controller.port
    yield server
    controller.stop()


@pytest.fixture
def mailing(app, backend, server):
    """The backend of a service that has this mail server."""
    fields = {"host": "127.0.0.1", "security": "none", "sender": "builds@example.net"}
    mail = replace(backend.config.mail, port=server.port, **fields)
    mailing = replace(backend, config=replace(backend.config, mail=mail))
    serving.install(app, mailing)
    return mailing


@pytest.fixture
def couriers(mailing):
    """Let couriers do what is in their queue, and return whom it was for."""

    def work() -> list[int]:
        wanted = sorted(mailing.resets.enqueued_ids())
        for user_id in wanted:
            reset.perform(mailing, user_id)
            mailing.resets.discard(user_id)
        return wanted

    return work


@pytest.fixture
def ask(browse, couriers, server):
    """Ask for mail; returns the path that the newest one has, if any came."""

    def ask(who: str, browser=None) -> str | None:
        browser = browser or browse()
        before = len(server.sent)
        browser.open("/forgot")
        assert browser.send("/forgot", who=who).status_code == 200
        couriers()
        return path_in(server) if len(server.sent) > before else None

    return ask


def path_in(server) -> str:
    message = message_from_bytes(server.sent[-1].raw, policy=policy.default)
    return LINK.search(message.get_content())[1]


def set_new(browser, path: str, new: str = NEW, again: str | None = None):
    browser.open(path)
    return browser.send(path, new=new, again=new if again is None else again)


# --- the way back in ------------------------------------------------------------------------------


def test_who_has_forgotten_a_password_gets_mail_and_in(backend, browse, ada, ask, server):
    browser = browse()
    browser.open("/login")
    assert "/forgot" in browser.links

    path = ask("ada", browser)
    set_new(browser, path)

    assert (browser.path, browser.page.status_code) == ("/account", 200)
    assert "~ada" in browser.text
    assert accounts.find_by_password(backend, "ada", NEW)
    assert not accounts.find_by_password(backend, "ada", OLD)
    assert server.sent[-1].recipients == ["Ada@example.org"]


@pytest.mark.parametrize("who", ["ada", "~ada", " ada ", "ada@example.org", "ADA@EXAMPLE.ORG"])
def test_a_name_and_an_address_say_whose_it_is(ada, ask, who):
    assert ask(who)


def test_whoever_was_signed_in_is_signed_out(browse, ada, ask):
    elsewhere = browse(ada)

    set_new(browse(), ask("ada"))

    elsewhere.open("/account")
    assert elsewhere.path.startswith("/login")


def test_the_mail_says_what_it_is_about_and_nobody_answers_it(ada, ask, server, mailing):
    ask("ada")

    message = message_from_bytes(server.sent[-1].raw, policy=policy.default)
    assert message["Subject"] == "A new password for ~ada"
    assert message["To"] == "Ada@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert f"{mailing.config.web.origin}/reset/" in message.get_content()


def test_a_link_is_good_once(browse, backend, ada, ask):
    path = ask("ada")
    set_new(browse(), path)

    late = browse()
    assert late.open(path).status_code == 404
    assert "not good any more" in late.text
    with pytest.raises(password_resets.NotFound):
        accounts.reset_password(backend, path.removeprefix("/reset/"), OLD)
    assert accounts.find_by_password(backend, "ada", NEW)


def test_and_for_an_hour(browse, backend, ada, ask):
    path = ask("ada")
    with backend.transaction() as session:
        session.execute(sql("UPDATE password_reset SET expires = expires - interval '59 min'"))
    assert browse().open(path).status_code == 200
    with backend.transaction() as session:
        session.execute(sql("UPDATE password_reset SET expires = expires - interval '1 min'"))
    assert browse().open(path).status_code == 404


def test_each_mail_that_was_asked_for_is_good_until_one_is_used(browse, ada, ask):
    first, second = ask("ada"), ask("ada")

    set_new(browse(), first)

    assert browse().open(second).status_code == 404


@pytest.mark.parametrize("change", ["password", "address", "suspension"])
def test_what_was_sent_before_a_change_is_good_for_nothing(
    backend, browse, ada, admin, ask, change
):
    path = ask("ada")

    match change:
        case "password":
            accounts.set_password(backend, "ada", NEW)
        case "address":
            accounts.set_email(backend, "ada", "countess@example.org")
        case "suspension":
            administration.suspend(backend, admin, "ada")

    assert browse().open(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"new": "short", "again": "short"}, "must have 10 to 1024 characters"),
        ({"new": NEW, "again": NEW + "x"}, "is not the same"),
        ({"new": "", "again": ""}, "must have 10 to 1024 characters"),
    ],
)
def test_a_mistake_uses_nothing_up(backend, browse, ada, ask, fields, said):
    path, browser = ask("ada"), browse()

    refused = set_new(browser, path, **fields)

    assert refused.status_code == 400
    assert said in browser.text
    assert accounts.find_by_password(backend, "ada", OLD)
    assert set_new(browser, path).status_code == 200


def test_what_was_never_sent_opens_nothing(browse, ada, mailing):
    browser = browse()
    for path in ("/reset/x", "/reset/" + "x" * 43):
        assert browser.open(path).status_code == 404


def test_another_site_does_not_have_it_used(app, backend, browse, ada, ask):
    refused = browse().client.post(ask("ada"), data={"new": NEW, "again": NEW})

    assert refused.status_code == 403
    assert accounts.find_by_password(backend, "ada", OLD)


# --- who learns what ------------------------------------------------------------------------------


def test_nobody_learns_whether_there_is_an_account(browse, backend, ada, ask, mailing):
    accounts.create_user(backend, "without-address")
    accounts.set_password(backend, "without-address", OLD)
    pages = set()
    for who in ("ada", "nobody", "nobody@example.org", "without-address", "\u202e'%", "x" * 300):
        browser = browse()
        ask(who, browser)
        pages.add((browser.path, browser.text))

    assert len(pages) == 1


def test_for_nobody_there_is_an_entry_in_the_queue_too(browse, backend, ada, mailing, couriers):
    browser = browse()
    for who in ("ada", "nobody"):
        browser.open("/forgot")
        browser.send("/forgot", who=who)

    assert couriers() == [password_resets.NOBODY, ada.id]


def test_what_opens_an_account_is_nowhere_but_in_the_mail(browse, backend, ada, server, mailing):
    browser = browse()
    browser.open("/forgot")
    browser.send("/forgot", who="ada")
    entry = backend.redis.hgetall(f"rq:job:reset-{ada.id}")
    assert b"example.org" not in b"".join(entry.values())
    reset.perform(mailing, ada.id)

    text = path_in(server).removeprefix("/reset/")
    with backend.transaction() as session:
        rows = session.execute(sql("SELECT password_reset::text FROM password_reset")).all()
        deliveries = session.execute(sql("SELECT count(*) FROM delivery")).scalar_one()
    assert len(rows) == 1
    assert text not in str(rows)
    assert deliveries == 0
    for key in backend.redis.scan_iter():
        assert text.encode() not in (backend.redis.dump(key) or b"")


def test_who_has_no_password_comes_in_by_a_provider_and_gets_no_mail(backend, mailing, ask):
    accounts.create_user(backend, "ada", "ada@example.org")

    assert ask("ada") is None


def test_who_is_suspended_gets_no_mail(backend, ada, admin, ask):
    administration.suspend(backend, admin, "ada")

    assert ask("ada") is None


def test_an_account_gets_some_mail_an_hour_and_nobody_hears_of_it(browse, ada, ask, server):
    for _ in range(password_resets.BY_ACCOUNT.attempts):
        assert ask("ada")

    assert ask("ada@example.org") is None
    assert ask("ada") is None


def test_a_place_may_ask_for_some_mail_an_hour(browse, mailing):
    browser = browse()
    for _ in range(password_resets.BY_PLACE.attempts):
        browser.open("/forgot")
        assert browser.send("/forgot", who="nobody").status_code == 200

    browser.open("/forgot")
    assert browser.send("/forgot", who="nobody").status_code == 429


def test_a_service_that_sends_no_mail_has_no_such_pages(browse, backend, ada):
    browser = browse()
    browser.open("/login")

    assert "/forgot" not in browser.links
    assert browser.open("/forgot").status_code == 404


# --- mail that does not come ----------------------------------------------------------------------


def test_a_server_that_refuses_is_told_to_the_operator(browse, ada, ask, server, caplog):
    caplog.set_level(ERROR)
    server.to_data = "554 5.7.1 No"

    assert ask("ada") is None

    [said] = [record.getMessage() for record in caplog.records if "~ada" in record.getMessage()]
    assert "554 5.7.1 No" in said
    assert "/reset/" not in caplog.text


def test_an_address_that_is_none_is_told_to_the_operator(backend, ask, server, caplog):
    caplog.set_level(ERROR)
    accounts.create_user(backend, "ada", "ada\N{LATIN SMALL LETTER E WITH ACUTE}@example.org")
    accounts.set_password(backend, "ada", OLD)

    assert ask("ada") is None
    assert "no mail to ~ada" in caplog.text


def test_who_is_deleted_from_the_queue_asks_again(browse, backend, ada, ask):
    browser = browse()
    browser.open("/forgot")
    browser.send("/forgot", who="ada")
    backend.redis.delete(f"rq:queue:{RESETS}")

    assert ask("ada")


def test_expired_ones_are_removed_and_others_stay(backend, browse, ada, ask):
    ask("ada")
    path = ask("ada")
    with backend.transaction() as session:
        session.execute(sql("UPDATE password_reset SET expires = now() WHERE id = 1"))

    password_resets.remove_expired(backend)

    with backend.transaction() as session:
        assert session.scalars(sql("SELECT id FROM password_reset")).all() == [2]
    assert browse().open(path).status_code == 200


def test_nobody_signs_in_by_the_old_password_meanwhile(backend, ada, ask):
    """As with any new password: who was found by the old one comes too late."""
    path = ask("ada")
    found = accounts.find_by_password(backend, "ada", OLD)

    accounts.reset_password(backend, path.removeprefix("/reset/"), NEW)

    with pytest.raises(sign_ins.Conflict):
        sign_ins.begin(backend, found)
