"""`GET /api/openapi.json`: complete, true to the routes, and fit for tools."""

import re
from itertools import chain

import schemathesis

from buildsrht.api.description import PATHS, describe
from buildsrht.models import JobStatus
from buildsrht.services.scopes import SCOPES

# Its routes are for people.
PAGES = "web"


def routes(app):
    """Each route for programs, as the document writes it."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.endpoint.split(".")[0] != PAGES
    }


def operations(document):
    return list(chain.from_iterable(path.values() for path in document["paths"].values()))


def test_it_is_there_for_everybody(client):
    answer = client.get("/api/openapi.json")

    assert answer.status_code == 200
    assert answer.json["servers"] == [{"url": "http://127.0.0.1:5002"}]
    assert answer.json["components"]["schemas"]["Job"]["properties"]["status"]["enum"] == [
        *JobStatus
    ]


def test_every_route_for_programs_is_described_and_every_described_route_exists(app):
    described = {(method.upper(), path) for path, methods in PATHS.items() for method in methods}
    assert described == routes(app)


def test_tools_take_it_for_an_openapi_document(client):
    schemathesis.openapi.from_dict(client.get("/api/openapi.json").json).validate()


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for operation in operations(describe("http://localhost"))]
    assert len(names) == len(set(names)) > 15


def test_every_scope_that_an_operation_needs_is_one_that_a_token_can_have():
    needed = {
        scope
        for operation in operations(describe("http://localhost"))
        for alternative in operation["security"]
        for scope in alternative.get("token", ())
    }
    assert needed
    assert needed <= set(SCOPES)
