"""Whatever is sent to `POST /query`, the answer is one that its schema allows.

Schemathesis makes queries and mutations out of the schema, fitting ones and others, the same each
time. Every field of Query and of Mutation has a service of its own, which keeps what mutations do.
"""

import re
from pathlib import Path

import pytest
import schemathesis
from graphql import build_schema, parse
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    NotAServerErrorConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.graphql import nodes

from buildsrht.graphql import schema as served_schema
from tests.contract.conftest import HOOK, KEPT, OTHER_KEY, PUBLIC_KEY, WEBHOOK_QUERY, Served
from tests.contract.fitting import misfits

EXAMPLES = 15
SDL = Path(served_schema.__file__).with_name("schema.graphqls").read_text()
SCHEMA = build_schema(SDL)
# Whoever makes a request can do something about each of these; the others are our own fault.
CODES = {"BAD_QUERY", "BAD_INPUT", "CONFLICT", "FORBIDDEN", "GONE", "LIMIT", "NOT_FOUND"}
CONFIG = SchemathesisConfig(
    projects=ProjectsConfig(
        default=ProjectConfig(
            generation=GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none"),
            checks=ChecksConfig(
                # A query that fits may ask for too much.
                positive_data_acceptance=PositiveDataAcceptanceConfig(enabled=False),
                # For this check everything is one that has no code of Apollo's.
                not_a_server_error=NotAServerErrorConfig(enabled=False),
            ),
        )
    )
)

MOST = 12
# Almost nothing that an argument could be leads anywhere. Half of the time something shall be
# there. Where in the schema such an argument is, and what it is taken from:
THERE = {
    "Number": (
        r"(?<=\(id: )Int|(?<=\bjobId: )Int|(?<=\bjobID: )Int|(?<=\bgroupId: )Int",
        st.integers(1, MOST).map(nodes.Int),
    ),
    "Member": (r"(?<=jobIds: \[)Int", st.sampled_from([1, 10]).map(nodes.Int)),
    "Name": (
        r"(?<=\busername: )String(?=!\))|(?<=, user: )String",
        st.sampled_from(["owner", "~stranger", "nobody"]).map(nodes.String),
    ),
    "Uuid": (
        r"(?<=\(uuid: )String",
        st.sampled_from([str(KEPT), str(HOOK)]).map(nodes.String),
    ),
    "Manifest": (
        r"(?<=\bmanifest: )String(?=!\)|!\n    tags)",
        st.sampled_from(
            [
                "image: debian/trixie\ntasks:\n- build: make\n",
                "image: debian\nshell: true\nsecrets: [deploy]\noauth: builds.sr.ht/JOBS:RO\n",
                "image: nothing\ntasks: {}\n",
            ]
        ).map(nodes.String),
    ),
    "Tag": (
        r"(?<=\btags: \[)String",
        st.sampled_from(["a", "B.c", "", "no tag"]).map(nodes.String),
    ),
    "Key": (
        r"(?<=\(key: )String",
        st.sampled_from([PUBLIC_KEY, OTHER_KEY, ""]).map(nodes.String),
    ),
    "Address": (
        r"(?<=\burl: )String(?=!\n  \"At least)",
        st.sampled_from(["https://example.org", "example.org"]).map(nodes.String),
    ),
    "Events": (
        r"(?<=\bevents: )\[WebhookEvent!\](?=!\n  query: \w+!\n\})",
        st.sampled_from(["JOB_CREATED", "JOB_UPDATED"]).map(
            lambda event: nodes.List([nodes.Enum(event)])
        ),
    ),
    "Asked": (
        r"(?<=\n  query: )String(?=!\n\})",
        st.sampled_from([WEBHOOK_QUERY, "{ webhook }"]).map(nodes.String),
    ),
    # Without files, a tree has no place.
    "Upload": (None, st.just(nodes.Null)),
    "Place": (r"(?<=\btreeDirectory: )String", st.just(nodes.Null)),
    "Cursor": (None, st.sampled_from(["", "am9iczo5", "no"]).map(nodes.String)),
    "Time": (None, st.datetimes().map(lambda time: nodes.String(f"{time.isoformat()}Z"))),
}


def narrowed(sdl: str) -> str:
    """The schema as it holds for the service of these tests."""
    for name, (pattern, strategy) in THERE.items():
        schemathesis.graphql.scalar(name, strategy)
        if pattern:
            sdl, count = re.subn(pattern, name, sdl)
            assert count, f"{name} stands for nothing in the schema"
            sdl = f"scalar {name}\n{sdl}"
    return sdl


SERVED = Served()
GRAPHQL = schemathesis.graphql.from_file(narrowed(SDL), config=CONFIG)
GRAPHQL.app = SERVED
GRAPHQL.location = "/query"


@pytest.fixture
def headers(app, world, token):
    with SERVED.serving(app):
        # Others to revoke: this one is needed.
        texts = [token(world.owner) for _ in range(MOST)]
        yield {"Authorization": f"Bearer {texts[-1]}"}


@GRAPHQL.parametrize()
# The requests for one field all go to one service, as those of clients do.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_answer_is_one_that_the_schema_allows(case, headers):
    answer = case.call_and_validate(headers=headers)

    response = answer.json()
    codes = {error["extensions"]["code"] for error in response.get("errors", ())}
    assert answer.status_code in (200, 400)
    assert codes <= CODES, response
    if response.get("data"):
        assert misfits(SCHEMA, parse(case.body), response["data"]) == []


# --- that this can fail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"me": None},
        {"me": {}},
        {"me": {"id": "1", "bio": None, "jobs": {"results": []}}},
        {"me": {"id": 2**31, "bio": None, "jobs": {"results": []}}},
        {"me": {"id": 1, "bio": 5, "jobs": {"results": []}}},
        {"me": {"id": 1, "bio": None, "jobs": {"results": [None]}}},
        {"me": {"id": 1, "bio": None, "jobs": {"results": [{"status": "success"}]}}},
        {"me": {"id": 1, "bio": None, "jobs": {"results": []}, "more": 1}},
    ],
)
def test_data_that_does_not_fit_is_noticed(data):
    document = parse("{ me { id bio jobs { results { status } } } }")
    fitting = {"me": {"id": 1, "bio": None, "jobs": {"results": [{"status": "SUCCESS"}]}}}

    assert misfits(SCHEMA, document, fitting) == []
    assert misfits(SCHEMA, document, data)
