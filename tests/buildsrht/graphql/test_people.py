"""Users, their public keys, tokens and secrets; and what a service says of itself."""

from dataclasses import replace
from uuid import UUID

import pytest
from asyncssh import generate_private_key

from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.services.tokens import create_token

ALL = ("JOBS:RW", "PROFILE:RW", "LOGS:RW", "SECRETS:RW")


@pytest.fixture
def public_key():
    return generate_private_key("ssh-ed25519", comment="me@here").export_public_key().decode()


# --- users ------------------------------------------------------------------------------------


def test_everybody_is_found_by_id_and_by_name(find, owner, stranger):
    who = "{ id username canonicalName created updated url location bio }"
    found = find(
        f"""{{ me {who} byID: userByID(id: {stranger.id}) {who}
               byName: userByName(username: "stranger") {who}
               user(username: "~stranger") {who} }}"""
    )

    assert found["me"]["canonicalName"] == "~owner"
    assert found["byID"] == found["byName"] == found["user"]
    assert found["user"]["username"] == "stranger"
    assert found["user"]["bio"] is None


def test_whom_nobody_knows_is_null(find):
    found = find('{ userByID(id: 99) { id } userByName(username: "") { id } }')
    assert found == {"userByID": None, "userByName": None}


# --- public keys ------------------------------------------------------------------------------


def test_a_public_key_is_added_found_and_removed(find, public_key, stranger):
    add = "mutation ($key: String!) { createSSHKey(key: $key) { id fingerprint comment key } }"
    mine = "{ me { sshKeys { results { id lastUsed } } pgpKeys { results { id } cursor } } }"
    by_fingerprint = (
        "query ($it: String!) { sshKeyByFingerprint(fingerprint: $it) { user { username } } }"
    )
    remove = "mutation { deleteSSHKey(id: 1) { fingerprint } }"

    added = find(add, key=public_key)["createSSHKey"]
    assert added["comment"] == "me@here"
    assert public_key.startswith(added["key"])
    assert find(mine)["me"]["sshKeys"]["results"] == [{"id": 1, "lastUsed": None}]
    assert find(mine)["me"]["pgpKeys"] == {"results": [], "cursor": None}
    found = find(by_fingerprint, it=added["fingerprint"], user=stranger)
    assert found["sshKeyByFingerprint"] == {"user": {"username": "owner"}}
    assert find(remove)["deleteSSHKey"] == {"fingerprint": added["fingerprint"]}
    assert find(mine)["me"]["sshKeys"]["results"] == []
    assert find(by_fingerprint, it=added["fingerprint"])["sshKeyByFingerprint"] is None


def test_a_public_key_of_somebody_else_cannot_be_removed(find, fail, public_key, stranger):
    find("mutation ($key: String!) { createSSHKey(key: $key) { id } }", key=public_key)

    error = fail("mutation { deleteSSHKey(id: 1) { id } }", user=stranger)

    assert error["extensions"]["code"] == "NOT_FOUND"
    assert find("{ me { sshKeys { results { id } } } }")["me"]["sshKeys"]["results"]


# --- tokens -----------------------------------------------------------------------------------


def test_tokens_are_listed_with_their_widest_grants_and_revoked(backend, find, owner, stranger):
    create_token(backend, "owner", ["jobs:read", "PROFILE:RW"], comment="laptop")
    create_token(backend, "stranger", ["JOBS:RO"])
    listed = "{ personalAccessTokens { id comment grants issued expires } }"

    [token] = find(listed)["personalAccessTokens"]
    assert (token["comment"], token["grants"]) == ("laptop", "JOBS:RO LOGS:RO PROFILE:RW")
    revoke = f"mutation {{ revokePersonalAccessToken(id: {token['id']}) {{ id }} }}"
    assert find(revoke)["revokePersonalAccessToken"] == {"id": token["id"]}
    assert find(listed)["personalAccessTokens"] == []


def test_a_token_of_somebody_else_cannot_be_revoked(backend, find, fail, stranger):
    create_token(backend, "owner", ["JOBS:RO"])
    revoke = "mutation { revokePersonalAccessToken(id: 1) { id } }"

    assert fail(revoke, user=stranger)["extensions"]["code"] == "NOT_FOUND"
    assert find("{ personalAccessTokens { id } }")["personalAccessTokens"] == [{"id": 1}]


# --- secrets ----------------------------------------------------------------------------------

CREATE = """
mutation ($secret: SecretInput!) { createSecret(secret: $secret) {
  __typename id uuid name created fromUser { canonicalName } ... on SecretFile { path mode }
} }
"""
LIST = """
{ secrets { results {
  __typename uuid name fromUser { canonicalName } ... on SecretFile { path mode }
} } }
"""
FILE = {"type": "FILE", "name": "deploy", "material": "secret!", "path": "~/.netrc"}


def test_a_secret_is_kept_listed_shared_and_forgotten(find, stranger):
    created = find(CREATE, secret={**FILE, "mode": "400"})["createSecret"]
    uuid = created["uuid"]
    assert UUID(uuid)
    assert (created["__typename"], created["mode"]) == ("SecretFile", 0o400)
    assert created["fromUser"] is None

    share = 'mutation ($it: String!) { shareSecret(uuid: $it, user: "~stranger") { uuid } }'
    assert find(share, it=uuid)["shareSecret"] == {"uuid": uuid}
    assert find(LIST, user=stranger)["secrets"]["results"] == [
        {
            "__typename": "SecretFile",
            "uuid": uuid,
            "name": None,
            "fromUser": {"canonicalName": "~owner"},
            "path": "~/.netrc",
            "mode": 0o400,
        }
    ]

    forget = "mutation ($it: String!) { deleteSecret(uuid: $it) { name } }"
    assert find(forget, it=uuid)["deleteSecret"] == {"name": "deploy"}
    assert find(LIST)["secrets"]["results"] == []
    assert find(LIST, user=stranger)["secrets"]["results"]


def test_a_key_is_of_its_own_type(find):
    key = generate_private_key("ssh-ed25519").export_private_key().decode()
    created = find(CREATE, secret={"type": "SSH_KEY", "material": key})["createSecret"]
    assert created["__typename"] == "SSHKey"


@pytest.mark.parametrize(
    ("secret", "fields"),
    [
        ({"type": "FILE"}, ["path", "material"]),
        ({"type": "FILE", "name": "x", "path": "~/x", "material": ""}, ["name", "material"]),
        ({"type": "FILE", "path": "~/x", "material": "x", "mode": "999"}, ["mode"]),
        ({"type": "SSH_KEY", "material": "no key", "path": "x"}, ["path", "material"]),
        ({"type": "PGP_KEY", "material": "no key", "mode": "600"}, ["mode", "material"]),
    ],
)
def test_all_that_is_wrong_with_a_secret_is_told_at_once_and_none_of_it_quoted(
    ask, row_counts, secret, fields
):
    before = row_counts()
    errors = ask(CREATE, secret=secret)["errors"]

    assert [error["extensions"]["field"] for error in errors] == fields
    assert "no key" not in str(errors)
    assert row_counts() == before


def test_a_secret_cannot_be_shared_with_nobody_or_twice(find, fail, stranger):
    uuid = find(CREATE, secret=FILE)["createSecret"]["uuid"]
    share = "mutation ($it: String!, $who: String!) { shareSecret(uuid: $it, user: $who) { id } }"

    assert fail(share, it=uuid, who="nobody")["extensions"]["code"] == "NOT_FOUND"
    assert fail(share, it=uuid, who="owner")["extensions"]["code"] == "CONFLICT"
    assert find(share, it=uuid, who="stranger")
    assert fail(share, it=uuid, who="stranger")["extensions"]["code"] == "CONFLICT"


# --- the service ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"), [(30, "30s"), (2700, "45m0s"), (90, "1m30s"), (14405, "4h0m5s")]
)
def test_the_build_timeout_is_as_go_writes_it(backend, owner, seconds, shown):
    worker = replace(backend.config.worker, job_timeout=seconds)
    backend = replace(backend, config=replace(backend.config, worker=worker))
    query = "{ version { settings { buildTimeout } } }"

    response = execute(backend, Asker(owner, ALL), Request(query))

    assert response["data"]["version"]["settings"]["buildTimeout"] == shown


def test_the_service_says_what_clients_need(find, backend):
    version = find(
        """{ version { major minor patch deprecationDate buildVersion buildDate
                       settings { sshUser sshHost sshPort treeLimit } } }"""
    )["version"]

    assert version["buildVersion"]
    assert version["deprecationDate"] is version["buildDate"] is None
    assert version["settings"] == {
        "sshUser": backend.config.ssh.user,
        "sshHost": backend.config.ssh.name,
        "sshPort": backend.config.ssh.port,
        "treeLimit": backend.config.limits.tree,
    }
