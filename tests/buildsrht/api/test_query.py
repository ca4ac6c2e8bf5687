"""`POST /query`: GraphQL over HTTP, from the token to the shape of an answer, and its files."""

import gzip
import io
import json
import tarfile
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from buildsrht import serving
from buildsrht.services.tokens import revoke_token

SUBMIT = """
mutation ($manifest: String!, $tree: Upload, $directory: String) {
  submit(manifest: $manifest, tree: $tree, treeDirectory: $directory, execute: false) { id }
}
"""
KEEP = """
mutation ($secret: SecretInput!) {
  createSecret(secret: $secret) { __typename ... on SecretFile { path mode } }
}
"""


def ask(client, query, **request):
    return client.post("/query", json={"query": query, **request})


def send(client, operations, places, **files):
    """A request with files, as a form."""
    form = {"operations": json.dumps(operations), "map": json.dumps(places)}
    for name, data in files.items():
        form[name.removeprefix("f")] = (io.BytesIO(data), "some.file")
    return client.post("/query", data=form, content_type="multipart/form-data")


def codes(response):
    return {error["extensions"]["code"] for error in response.json["errors"]}


def test_a_query_is_answered(client_of, owner):
    response = ask(client_of(owner), "{ version { major settings { sshUser } } me { username } }")

    assert response.status_code == 200
    assert response.json == {
        "data": {
            "version": {"major": 1, "settings": {"sshUser": "builds"}},
            "me": {"username": "owner"},
        }
    }


def test_what_goes_wrong_inside_of_a_request_is_in_its_answer(client_of, owner):
    response = ask(client_of(owner, "JOBS:RO"), "{ me { username } }")

    assert response.status_code == 200
    assert response.json == {
        "data": None,
        "errors": [
            {
                "message": "Query.me needs a token with PROFILE:RO",
                "path": ["me"],
                "locations": [{"line": 1, "column": 3}],
                "extensions": {"code": "FORBIDDEN", "grant": "PROFILE:RO"},
            }
        ],
    }


def test_a_text_that_is_no_query_is_answered_like_any(client_of, owner):
    response = ask(client_of(owner), "{ nope")

    assert response.status_code == 200
    assert "data" not in response.json
    assert codes(response) == {"BAD_QUERY"}


def test_an_operation_and_variables_are_used(client_of, owner, make_job):
    make_job()
    response = ask(
        client_of(owner),
        "query a($id: Int!) { job(id: $id) { id } } query b { version { major } }",
        operationName="a",
        variables={"id": 1},
    )
    assert response.json == {"data": {"job": {"id": 1}}}


# --- tokens -----------------------------------------------------------------------------------


@pytest.fixture
def revoked(backend, owner, token):
    text = token(owner)
    revoke_token(backend, text)
    return text


@pytest.mark.parametrize("header", [None, "Bearer nope", "Bearer {revoked}", "Basic x", "Bearer"])
def test_whoever_brings_no_good_token_is_told_so_as_graphql_tells_it(client, revoked, header):
    headers = {"Authorization": header.format(revoked=revoked)} if header else {}
    response = client.post("/query", json={"query": "{ version { major } }"}, headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert codes(response) == {"UNAUTHORIZED"}


def test_a_token_comes_before_everything_else(client):
    response = client.post("/query", data=b"{" * 2**21, content_type="multipart/form-data")
    assert response.status_code == 401


# --- what is no request -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"[]",
        b'[{"query": "{ version { major } }"}]',
        b'"{ version { major } }"',
        b"{}",
        b'{"query": null}',
        b'{"query": 1}',
        b'{"query": "{ version { major } }", "variables": []}',
        b'{"query": "{ version { major } }", "variables": "{}"}',
        b'{"query": "{ version { major } }", "operationName": 1}',
        b'{"query": "{ version { major } }", "variables": {"x": NaN}}',
        b'{"query": "{ version { major } }", "variables": {"x": ' + b"9" * 5000 + b"}}",
        b'{"query": "{ version { major } }", "variables": {"x": ' + b"[" * 5000,
        b'{"query": "\xff"}',
    ],
)
def test_what_is_no_request_is_refused(client_of, owner, body):
    response = client_of(owner).post("/query", data=body, content_type="application/json")

    assert response.status_code == 400
    assert codes(response) == {"BAD_REQUEST"}


def test_json_null_is_as_good_as_nothing(client_of, owner):
    response = ask(
        client_of(owner), "{ version { major } }", variables=None, operationName=None, extensions={}
    )
    assert response.json == {"data": {"version": {"major": 1}}}


def test_another_kind_of_body_is_refused(client_of, owner):
    response = client_of(owner).post("/query", data="{ me }", content_type="application/graphql")

    assert response.status_code == 415
    assert codes(response) == {"BAD_REQUEST"}


def test_a_request_that_is_too_large_is_refused(client_of, owner, backend):
    response = ask(client_of(owner), "#" * backend.config.limits.request)

    assert response.status_code == 413
    assert codes(response) == {"LIMIT"}


def test_a_database_that_is_away_is_told_of_as_graphql_tells_it(monkeypatch, client_of, owner):
    client = client_of(owner)

    def away(*_):
        raise OperationalError("SELECT ...", {}, Exception("no route to host"))

    monkeypatch.setattr("buildsrht.oauth.resources.find_token", away)
    response = ask(client, "{ version { major } }")

    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert codes(response) == {"UNAVAILABLE"}
    assert "route" not in response.text


# --- files ------------------------------------------------------------------------------------


@pytest.fixture
def archive():
    """A tar archive, compressed with gzip, that has one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("Makefile")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"all:"))
    return buffer.getvalue()


def test_a_tree_comes_with_a_job(client_of, owner, manifest, archive, fetch, row_counts):
    variables = {"manifest": manifest, "tree": None, "directory": "project"}
    response = send(
        client_of(owner),
        {"query": SUBMIT, "variables": variables},
        {"0": ["variables.tree"]},
        f0=archive,
    )

    assert response.json == {"data": {"submit": {"id": 1}}}
    assert fetch(1).tree_id
    assert row_counts()["tree"] == 1


@pytest.mark.parametrize(
    ("changes", "file", "field"),
    [
        ({"manifest": "nope"}, None, "manifest"),
        ({"directory": None}, None, "treeDirectory"),
        ({"directory": "/etc"}, None, "treeDirectory"),
        ({}, b"no archive", "tree"),
        ({}, gzip.compress(b"no archive either"), "tree"),
    ],
)
def test_a_tree_that_is_refused_leaves_nothing(
    client_of, owner, manifest, archive, row_counts, backend, changes, file, field
):
    client = client_of(owner)
    before = row_counts()
    variables = {"manifest": manifest, "tree": None, "directory": "project", **changes}

    response = send(
        client,
        {"query": SUBMIT, "variables": variables},
        {"0": ["variables.tree"]},
        f0=file or archive,
    )

    assert response.status_code == 200
    assert {error["extensions"]["field"] for error in response.json["errors"]} == {field}
    assert row_counts() == before
    assert backend.storage.keys("trees/") == []


def test_a_tree_goes_with_a_job_that_is_refused(
    client_of, owner, manifest, archive, row_counts, backend
):
    client = client_of(owner, "JOBS:RW", "SECRETS:RO")
    before = row_counts()
    variables = {
        "manifest": f"{manifest}oauth: builds.sr.ht/PROFILE:RW\n",
        "tree": None,
        "directory": "project",
    }
    response = send(
        client, {"query": SUBMIT, "variables": variables}, {"0": ["variables.tree"]}, f0=archive
    )

    assert codes(response) == {"FORBIDDEN"}
    assert row_counts() == before
    assert backend.storage.keys("trees/") == []


def test_files_have_a_limit_beside_that_of_the_request(
    app, backend, client_of, owner, manifest, archive
):
    limits = replace(backend.config.limits, request=4096, tree=20_000)
    serving.install(app, replace(backend, config=replace(backend.config, limits=limits)))
    client = client_of(owner)
    variables = {"manifest": manifest, "tree": None, "directory": "project"}

    def sent(variables, file):
        operations = {"query": SUBMIT, "variables": variables}
        return send(client, operations, {"0": ["variables.tree"]}, f0=file)

    # More than a request may have, and no archive; but not too much.
    assert codes(sent(variables, b"x" * 10_000)) == {"BAD_INPUT"}
    for too_large in (
        sent(variables, b"x" * 30_000),
        sent({**variables, "manifest": "#" * 10_000}, archive),
    ):
        assert too_large.status_code == 413
        assert codes(too_large) == {"LIMIT"}


def test_a_file_may_be_deep_inside_of_a_variable(client_of, owner):
    secret = {"type": "FILE", "path": "~/x", "mode": "640", "upload": None}
    response = send(
        client_of(owner),
        {"query": KEEP, "variables": {"secret": secret}},
        {"a": ["variables.secret.upload"]},
        fa=b"\x00\xff binary",
    )
    assert response.json == {
        "data": {"createSecret": {"__typename": "SecretFile", "path": "~/x", "mode": 416}}
    }


def test_one_file_may_have_several_places(client_of, owner, row_counts):
    query = """mutation ($a: SecretInput!, $b: SecretInput!) {
        a: createSecret(secret: $a) { id } b: createSecret(secret: $b) { id } }"""
    secret = {"type": "FILE", "path": "~/x", "upload": None}
    response = send(
        client_of(owner),
        {"query": query, "variables": {"a": secret, "b": secret}},
        {"0": ["variables.a.upload", "variables.b.upload"]},
        f0=b"same",
    )
    assert response.json == {"data": {"a": {"id": 1}, "b": {"id": 2}}}


def test_a_file_that_is_too_large_for_a_secret_is_refused(client_of, owner):
    secret = {"type": "PGP_KEY", "upload": None}
    response = send(
        client_of(owner),
        {"query": KEEP, "variables": {"secret": secret}},
        {"0": ["variables.secret.upload"]},
        f0=b"x" * 100_000,
    )
    assert [error["message"] for error in response.json["errors"]] == [
        "material: has more than 65,536 bytes"
    ]


PLACES = [
    {"0": ["variables.nope"]},
    {"0": ["variables.secret"]},
    {"0": ["variables.secret.type"]},
    {"0": ["variables.secret.upload.x"]},
    {"0": ["variables.secret.upload", "variables.secret.upload"]},
    {"0": ["variables.secret.__class__"]},
    {"0": ["variables.__proto__.upload"]},
    {"0": ["variables"]},
    {"0": ["query"]},
    {"0": ["operationName"]},
    {"0": ["variables.list.-1"]},
    {"0": ["variables.list.7"]},
    {"0": ["variables.list.\u0660"]},
    {"0": [""]},
    {"0": []},
    {"0": "variables.secret.upload"},
    {"0": [1]},
    {"0": None},
    {},
    {"0": ["variables.secret.upload"], "1": ["variables.list.0"]},
    {"1": ["variables.secret.upload"]},
]


@pytest.mark.parametrize("places", PLACES, ids=json.dumps)
def test_a_map_that_leads_nowhere_is_refused(client_of, owner, row_counts, places):
    client = client_of(owner)
    before = row_counts()
    variables = {"secret": {"type": "FILE", "path": "~/x", "upload": None}, "list": [None]}

    response = send(
        client, {"query": KEEP, "operationName": None, "variables": variables}, places, f0=b"x"
    )

    assert response.status_code == 400
    assert {error["extensions"]["field"] for error in response.json["errors"]} == {"map"}
    assert row_counts() == before


@pytest.mark.parametrize(
    "places",
    [{"0": ["nowhere"] * 1000}, {str(n): ["variables.tree"] for n in range(1, 1001)}],
    ids=["paths", "files"],
)
def test_of_a_map_that_is_wrong_often_the_first_is_told(client_of, owner, places):
    operations = {"query": "{ me { id } }", "variables": {"tree": None}}
    response = send(client_of(owner), operations, places, f0=b"x")

    assert response.status_code == 400
    assert len(response.json["errors"]) == 100


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"operations": "{}"},
        {"operations": "nope", "map": "{}"},
        {"operations": "[]", "map": "{}"},
        {"operations": '[{"query": "{ version { major } }"}]', "map": "{}"},
        {"operations": "{}", "map": "[]"},
        {"operations": "{}", "map": "{}"},
        {"operations": '{"query": "{ version { major } }", "variables": []}', "map": "{}"},
        {"operations": '{"query": "{ me { id } }"}', "map": '{"0": ["variables.x"]}', "0": "text"},
    ],
    ids=str,
)
def test_a_form_that_is_no_request_is_refused(client_of, owner, form):
    response = client_of(owner).post("/query", data=form, content_type="multipart/form-data")

    assert response.status_code == 400
    assert response.json["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


def test_a_form_without_files_is_a_request(client_of, owner):
    response = send(client_of(owner), {"query": "{ version { major } }"}, {})
    assert response.json == {"data": {"version": {"major": 1}}}


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\n", b"\x00" * 100, b"--x--\r\n"])
def test_a_form_that_is_cut_off_is_refused(client_of, owner, body):
    kind = "multipart/form-data; boundary=x"
    response = client_of(owner).post("/query", data=body, content_type=kind)
    assert response.status_code == 400


def test_a_form_with_many_parts_is_refused(client_of, owner):
    form = {f"part{n}": "x" for n in range(100)}
    response = client_of(owner).post("/query", data=form, content_type="multipart/form-data")
    assert response.status_code == 413
