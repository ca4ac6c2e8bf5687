"""Secrets, tokens, keys and webhooks of a user, over the network."""

import json

import asyncssh
import pytest

from buildsrht.services import secrets as secret_service
from tests.build_host import claim


@pytest.fixture(scope="module")
def private_key():
    return asyncssh.generate_private_key("ssh-ed25519", comment="laptop")


@pytest.fixture
def key_file(private_key, tmp_path):
    path = tmp_path / "id_ed25519"
    path.write_bytes(private_key.export_private_key())
    return path


@pytest.fixture
def public_key_file(private_key, tmp_path):
    path = tmp_path / "id_ed25519.pub"
    path.write_bytes(private_key.export_public_key())
    return path


@pytest.fixture
def netrc(tmp_path):
    path = tmp_path / "netrc"
    path.write_text("machine example.org password xyzzy\n")
    return path


def rows(done):
    assert done.status == 0, done.err
    return [line.split("\t") for line in done.out.splitlines()]


def objects(done):
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


# secrets


def test_a_secret_is_kept_listed_and_forgotten(as_owner, key_file, netrc):
    [[key]] = rows(as_owner("secrets", "create", "--kind", "ssh-key", "--name", "deploy", key_file))
    file = ("--kind", "file", "--path", "~/.netrc", "--mode", "640", netrc)
    [[other]] = rows(as_owner("secrets", "create", *file))

    assert sorted(rows(as_owner("secrets", "list"))) == sorted(
        [[key, "ssh-key", "deploy", "", ""], [other, "file", "", "~/.netrc 640", ""]]
    )
    assert as_owner("secrets", "delete", key) == (0, "", "")
    assert [row[0] for row in rows(as_owner("secrets", "list"))] == [other]


def test_what_is_in_a_secret_arrives_as_it_was(as_owner, netrc, backend, make_job, monkeypatch):
    with netrc.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        [[uuid]] = rows(as_owner("secrets", "create", "--kind", "file", "--path", "a"))

    run = claim(backend, make_job("queued").id, "host-1")
    [material] = secret_service.grant_secrets(backend, run, [uuid]).materials
    assert material.data == netrc.read_bytes()


def test_what_is_in_a_secret_is_never_printed(as_owner, netrc):
    created = as_owner("secrets", "create", "--kind", "file", "--path", "a", "--json", netrc)

    listed = as_owner("secrets", "list", "--json")

    assert objects(created) == objects(listed)
    assert "xyzzy" not in created.out + listed.out


def test_a_key_that_is_none_is_refused(as_owner, netrc, row_counts):
    done = as_owner("secrets", "create", "--kind", "ssh-key", netrc)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("buildsrht: ")
    assert row_counts()["secret"] == 0


def test_a_secret_is_shared(as_owner, key_file, stranger, token, monkeypatch):
    [[uuid]] = rows(as_owner("secrets", "create", "--kind", "ssh-key", key_file))

    assert as_owner("secrets", "share", uuid, "stranger") == (0, "", "")

    monkeypatch.setenv("BUILDSRHT_TOKEN", token(stranger))
    assert rows(as_owner("secrets", "list")) == [[uuid, "ssh-key", "", "", "~owner"]]


def test_a_secret_that_is_not_there_is_one_sentence(as_owner):
    done = as_owner("secrets", "delete", "00000000-0000-0000-0000-000000000000")

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)


def test_all_of_a_long_list_is_printed(as_owner, netrc, backend, owner):
    for number in range(60):
        new = secret_service.NewSecret(
            secret_service.SecretKind.FILE, b"text", f"name-{number}", "~/.netrc", "600"
        )
        secret_service.create_secret(backend, owner.name, new)

    assert len(rows(as_owner("secrets", "list"))) == 60


# tokens


def test_tokens_are_listed_without_their_texts_and_revoked(as_owner, token, owner):
    text = token(owner, "jobs:read", comment="the laptop")

    listed = as_owner("tokens", "list")
    [row] = [row for row in rows(listed) if row[-1] == "the laptop"]
    assert "JOBS:RO" in row[2]
    assert text not in listed.out

    assert as_owner("tokens", "revoke", row[0]) == (0, "", "")
    assert "the laptop" not in as_owner("tokens", "list").out


def test_a_token_of_somebody_else_cannot_be_revoked(as_owner, token, stranger):
    token(stranger)

    done = as_owner("tokens", "revoke", 99)

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)


# ssh-keys


def test_a_public_key_is_registered_listed_and_removed(as_owner, public_key_file, private_key):
    assert rows(as_owner("ssh-keys", "add", public_key_file)) == [[private_key.get_fingerprint()]]

    [[number, fingerprint, used, comment]] = rows(as_owner("ssh-keys", "list"))
    assert (fingerprint, used, comment) == (private_key.get_fingerprint(), "never", "laptop")

    assert as_owner("ssh-keys", "delete", number) == (0, "", "")
    assert rows(as_owner("ssh-keys", "list")) == []
    assert as_owner("ssh-keys", "delete", number).status == 1


# webhooks


def test_a_webhook_is_made_listed_and_forgotten(as_owner, tmp_path):
    query = tmp_path / "query.graphql"
    query.write_text("query { webhook { uuid event ... on JobEvent { job { id } } } }")
    url = "https://example.org/hook"

    [[number]] = rows(as_owner("webhooks", "create", "--event", "created", url, query))

    assert rows(as_owner("webhooks", "list")) == [[number, url, "JOB_CREATED"]]
    assert as_owner("webhooks", "delete", number) == (0, "", "")
    assert rows(as_owner("webhooks", "list")) == []


def test_a_webhook_is_for_all_events_unless_told_otherwise(as_owner, tmp_path):
    query = tmp_path / "query.graphql"
    query.write_text("query { webhook { uuid } }")

    [webhook] = objects(as_owner("webhooks", "create", "https://example.org", query, "--json"))

    assert webhook["events"] == ["JOB_CREATED", "JOB_UPDATED"]


def test_a_query_that_a_webhook_may_not_have_is_refused(as_owner, tmp_path):
    query = tmp_path / "query.graphql"
    query.write_text("mutation { cancel(jobId: 1) { id } }")

    done = as_owner("webhooks", "create", "https://example.org", query)

    assert done.status == 1
    assert done.err.startswith("buildsrht: query: ")
