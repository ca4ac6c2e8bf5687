"""Whatever is sent, the REST interface does what its description says.

Schemathesis makes requests out of the document that the service hands out: ones that fit, ones at
the edges of what fits, and ones that do not. They are the same each time.
"""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)

from tests.contract.conftest import HOOK, SECRET, Served
from tests.contract.described import description

EXAMPLES = 15
CONFIG = SchemathesisConfig(
    projects=ProjectsConfig(
        default=ProjectConfig(
            generation=GenerationConfig(
                max_examples=EXAMPLES,
                deterministic=True,
                database="none",
                # The token is ours to send, and keys that nobody knows are ignored.
                with_security_parameters=False,
                allow_extra_parameters=False,
            ),
            # A request that fits may be refused all the same: there is no such job, or it is over.
            checks=ChecksConfig(
                positive_data_acceptance=PositiveDataAcceptanceConfig(enabled=False)
            ),
        )
    )
)

# Almost nothing that could stand there leads anywhere. Half of the time something shall be there.
THERE = {
    "job_id": {"type": "integer", "minimum": 1, "maximum": 12},
    "group_id": {"type": "integer", "minimum": 1, "maximum": 4},
    "task": {"enum": ["build", "test", "none"]},
    "secret": {"enum": [SECRET, "0" * 16]},
    "name": {"enum": ["out.txt"]},
    "uuid": {"enum": [str(HOOK)]},
}
MANIFESTS = [
    "image: debian/trixie\ntasks:\n- build: make\n",
    "image: debian\narch: arm64\nshell: true\nsecrets: [deploy]\noauth: builds.sr.ht/JOBS:RO\n",
]


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """With what there is in the service of these tests."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    parameter["schema"] = THERE[parameter["name"]]
    schemas = document["components"]["schemas"]
    schemas["Submission"]["properties"]["manifest"] = {"enum": MANIFESTS}
    schemas["NewGroup"]["properties"]["jobs"]["items"] = {"enum": [1, 8, 9, 10]}
    return document


SERVED = Served()
REST = schemathesis.openapi.from_dict(narrowed(description()), config=CONFIG)
REST.app = SERVED


@pytest.fixture
def headers(app, world, token):
    with SERVED.serving(app):
        yield {"Authorization": f"Bearer {token(world.owner)}", **world.forge_headers}


@REST.parametrize()
# The requests of one operation all go to one service, as those of clients do.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_answer_is_one_that_is_described(case, headers):
    # That no build host is there is what it has to say, and no error of the server that says it.
    excluded = [not_a_server_error] if case.path == "/health" else []
    case.call_and_validate(headers=headers, excluded_checks=excluded)
