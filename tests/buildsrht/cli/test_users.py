"""The commands about accounts."""

import pytest

from buildsrht.services import accounts


@pytest.fixture
def on_server(command, backend, monkeypatch):
    """Run a command with the configuration of the servers that run for the tests."""
    monkeypatch.setenv("VAR", str(backend.config.var))
    return command


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """Put this on standard input."""

    def typed(data):
        (tmp_path / "stdin").write_bytes(data)
        monkeypatch.setattr("sys.stdin", (tmp_path / "stdin").open(encoding="utf-8"))

    return typed


def test_an_account_is_made_and_opened_by_its_password(on_server, backend, typed):
    assert on_server("user", "create", "ada", "--email", "ada@example.org") == (0, "", "")
    typed("correct hörse battery\n".encode())
    assert on_server("user", "password", "ada") == (0, "", "")

    assert accounts.find_by_password(backend, "ada", "correct hörse battery").name == "ada"


def test_the_list_says_who_is_who(on_server, typed):
    on_server("user", "create", "bob", "--admin")
    on_server("user", "create", "ada", "--email", "ada@example.org")
    typed(b"correct horse battery")
    on_server("user", "password", "bob")

    assert on_server("user", "list").out.splitlines() == [
        "ada\tada@example.org\tuser\tno password",
        "bob\t\tadmin\tpassword",
    ]


def test_an_account_is_suspended_and_restored(on_server, typed):
    on_server("user", "create", "ada")

    assert on_server("user", "suspend", "ada") == (0, "", "")
    assert on_server("user", "list").out == "ada\t\tuser\tsuspended\n"

    assert on_server("user", "restore", "ada") == (0, "", "")
    assert on_server("user", "list").out == "ada\t\tuser\tno password\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"short\n", "buildsrht: password: must have 10 to 1024 characters\n"),
        (b"", "buildsrht: password: must have 10 to 1024 characters\n"),
        (b"\xff\xfe not text at all\n", "buildsrht: password: is not text\n"),
    ],
)
def test_a_password_that_cannot_be_is_one_sentence(on_server, typed, data, said):
    on_server("user", "create", "ada")
    typed(data)

    assert on_server("user", "password", "ada") == (1, "", said)


def test_mistakes_are_one_sentence(on_server, typed):
    on_server("user", "create", "ada")
    assert (
        on_server("user", "create", "ada").err == "buildsrht: name: 'ada' is somebody's already\n"
    )
    typed(b"correct horse battery\n")
    assert on_server("user", "password", "bob").err == "buildsrht: there is no user 'bob'\n"


def test_tokens_are_listed_and_revoked_by_number(on_server, backend, token, owner, client_of):
    client = client_of(owner, "jobs:read")
    token(owner, "JOBS:RW", "LOGS:RO", comment="laptop", days=7)

    lines = on_server("token", "list", "--user", "owner").out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["2", "JOBS:RW LOGS:RO"],
        ["1", "jobs:read"],
    ]
    assert lines[0].endswith("\tlaptop")

    assert on_server("token", "revoke", "--user", "owner", "--id", 1) == (0, "", "")
    assert client.get("/api/jobs").status_code == 401
    assert len(on_server("token", "list", "--user", "owner").out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--user", "owner"], 2, "either TOKEN, or both --user and --id"),
        (["--id", "1"], 2, "either TOKEN, or both --user and --id"),
        (["bsrht_x", "--user", "owner", "--id", "1"], 2, "either TOKEN"),
        (["--user", "owner", "--id", "7"], 1, "there is no token 7 of ~owner"),
        (["--user", "stranger", "--id", "1"], 1, "there is no token 1 of ~stranger"),
        (["--user", "nobody", "--id", "1"], 1, "there is no user 'nobody'"),
    ],
)
def test_a_number_needs_its_user(on_server, token, owner, stranger, arguments, status, said):
    token(owner)

    done = on_server("token", "revoke", *arguments)

    assert done.status == status
    assert said in done.err
