"""Build hosts, as administrators see and move them."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.models import Runner, User
from buildsrht.services import accounts, runners
from tests.build_host import claim

FACTS = {
    "images": [{"name": "debian/trixie", "arch": "amd64"}],
    "labels": ["gpu"],
    "slots": {"all": 2, "busy": 0, "paused": 0},
    "disk": {"free": 3, "reserve": 4},
}
ALL = "{ runners { name state health reasons { code text } labels images } }"
MOVE = 'mutation ($to: RunnerState!) { moveRunner(name: "host-1", state: $to) { state } }'


@pytest.fixture
def admin(backend) -> User:
    return accounts.create_user(backend, "root", None, admin=True)


def test_an_administrator_sees_each_host_and_how_it_is(find, backend, admin):
    runners.report(backend, "host-1", FACTS)
    assert find(ALL, user=admin)["runners"] == [
        {
            "name": "host-1",
            "state": "ACTIVE",
            "health": "FAILING",
            "reasons": [{"code": "DISK_SHORT", "text": "Its disk is short: it takes no job."}],
            "labels": ["gpu"],
            "images": ["debian/trixie:amd64"],
        }
    ]


def test_an_administrator_moves_hosts(find, backend, admin):
    runners.report(backend, "host-1", FACTS)
    for state in ("DRAINING", "ACTIVE", "RETIRED"):
        assert find(MOVE, user=admin, to=state)["moveRunner"] == {"state": state}


def test_an_administrator_enrols_and_forgets_hosts(find, backend, admin):
    enrol = 'mutation { enrolRunner(name: "host-2", draining: true) { name state } }'
    assert find(enrol, user=admin)["enrolRunner"] == {"name": "host-2", "state": "DRAINING"}
    runners.report(backend, "host-1", FACTS)
    find(MOVE, user=admin, to="RETIRED")
    with backend.transaction() as session:
        session.execute(update(Runner).values(seen=func.now() - timedelta(hours=1)))
    left = find("mutation { pruneRunners { name } }", user=admin)["pruneRunners"]
    assert left == [{"name": "host-2"}]


def test_what_is_refused_is_said(fail, backend, admin, make_job):
    runners.report(backend, "host-1", FACTS)
    claim(backend, make_job("queued").id, "host-1")
    refused = fail(MOVE, user=admin, to="RETIRED")
    assert "a job runs on host-1: drain it" in refused["message"]


def test_a_program_that_an_administrator_let_in_has_none(backend, admin):
    runners.report(backend, "host-1", FACTS)
    program = Asker(admin, ("JOBS:RW",), client_id=1)
    [refused] = execute(backend, program, Request(MOVE, {"to": "RETIRED"}))["errors"]
    assert refused["extensions"]["code"] == "FORBIDDEN"
    with backend.transaction() as session:
        (host,) = runners.list_runners(session)
    assert host.state == "active"


@pytest.mark.parametrize(
    "asked",
    [
        ALL,
        'mutation { enrolRunner(name: "host-2") { name } }',
        'mutation { moveRunner(name: "host-1", state: RETIRED) { name } }',
        "mutation { pruneRunners { name } }",
    ],
)
def test_for_others_there_are_none(fail, backend, asked):
    runners.report(backend, "host-1", FACTS)
    assert fail(asked)["extensions"]["code"] == "FORBIDDEN"
    with backend.transaction() as session:
        (host,) = runners.list_runners(session)
    assert host.state == "active"
