"""An operator's check against real servers: what is there, what is away, and what is not ours."""

from dataclasses import replace

import pytest

from buildsrht import database, keys
from buildsrht.checks import Finding, Verdict, service
from buildsrht.config import Config
from buildsrht.models import SecretKind
from buildsrht.services.secrets import NewSecret, create_secret
from tests.mail_server import LOGIN, MailServer, OnFreePort


@pytest.fixture
def found(backend):
    """What a check finds, by its name: `found(config)["redis"]`."""

    def find(config: Config = backend.config, *parts: str) -> dict[str, Finding]:
        return {each.what: each for each in service.check(config, parts or service.PARTS)}

    return find


def changed(config: Config, section: str, **options) -> Config:
    return replace(config, **{section: replace(getattr(config, section), **options)})


def test_a_service_that_is_well_has_nothing_but_good_findings(found):
    assert {finding.verdict for finding in found().values()} == {Verdict.GOOD}


def test_everything_that_is_wrong_is_found_at_once(found, config, tmp_path):
    (tmp_path / "file").touch()
    broken = changed(config, "database", url="postgresql+psycopg2://u@127.0.0.1:1/b")
    broken = changed(broken, "redis", url="redis://127.0.0.1:1/0")
    broken = changed(broken, "storage", path=tmp_path / "file" / "storage")
    broken = changed(broken, "keys", path=tmp_path / "keys")
    broken = changed(broken, "images", recipes=tmp_path)
    broken = changed(broken, "mail", host="127.0.0.1", port=1)

    problems = [each for each in found(broken).values() if each.verdict == Verdict.BAD]

    assert {each.what for each in problems} >= {
        *("database", "redis", "storage", "keys", "recipes", "mail"),
    }
    assert all("\n" not in each.said for each in problems)


def test_a_check_leaves_nothing_behind(found, config, row_counts, tmp_path):
    before = row_counts()

    found()

    assert row_counts() == before
    assert [path for path in config.storage.path.rglob("*") if path.is_file()] == []


def test_a_part_is_told_only_what_it_needs(found, config):
    no_mail = changed(config, "mail", host="127.0.0.1", port=1)

    assert "mail" not in found(no_mail, "web", "worker")
    assert found(no_mail, "courier")["mail"].verdict == Verdict.BAD


# database


@pytest.fixture
def older(backend):
    """The database, at the revision before ours."""

    def stamp(revision: str) -> None:
        with backend.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")

    stamp("0004")
    yield
    stamp(database.newest_revision())


def test_an_older_database_is_a_problem_with_its_remedy(found, older):
    finding = found()["database"]

    assert finding.verdict == Verdict.BAD
    assert "at revision 0004" in finding.said
    assert "`buildsrht db migrate`" in finding.said


# keys


@pytest.fixture
def a_secret(backend):
    create_secret(backend, "ann", NewSecret(SecretKind.FILE, b"plain", path="~/x"))


def test_the_keys_that_sealed_the_secrets_are_good(found, a_secret):
    assert found()["keys"] == (
        Verdict.GOOD,
        "keys",
        "readable; opened 1 of what is in the database",
    )


def test_the_keys_of_another_service_are_a_problem_that_names_what_they_do_not_open(
    found, a_secret, config, tmp_path
):
    keys.make_missing(tmp_path / "other")

    finding = found(changed(config, "keys", path=tmp_path / "other"))["keys"]

    assert finding.verdict == Verdict.BAD
    assert finding.said.startswith("no key here opens secret ")
    assert "restore [keys] path" in finding.said


@pytest.mark.parametrize("name", [keys.SECRETS, keys.WEBHOOKS, keys.SSH_HOST_KEY])
def test_a_key_that_is_missing_is_named(found, config, tmp_path, name):
    keys.make_missing(tmp_path / "keys")
    (tmp_path / "keys" / name).unlink()

    finding = found(changed(config, "keys", path=tmp_path / "keys"))["keys"]

    assert finding.verdict == Verdict.BAD
    assert str(tmp_path / "keys" / name) in finding.said


# mail


@pytest.fixture
def mail_server():
    server = MailServer()
    controller = OnFreePort(server, authenticator=server.authenticate, auth_require_tls=False)
    controller.start()
    yield server, controller.port
    controller.stop()


@pytest.mark.parametrize(
    ("password", "verdict"), [(LOGIN[1], Verdict.GOOD), ("wrong", Verdict.BAD)]
)
def test_the_mail_server_is_asked_to_let_us_in_and_gets_no_mail(
    found, config, mail_server, tmp_path, password, verdict
):
    server, port = mail_server
    (tmp_path / "password").write_text(password)
    login = {"user": LOGIN[0], "password_file": tmp_path / "password"}
    mailing = changed(config, "mail", host="127.0.0.1", port=port, security="none", **login)

    assert found(mailing)["mail"].verdict == verdict
    assert server.logins
    assert server.sent == []
