"""What a manifest has come to mean: before anybody has taken the job, while it runs, and after."""

import json

import pytest

from buildsrht.errors import Conflict
from buildsrht.models import JobStatus
from buildsrht.services import plans, runs, trees
from buildsrht.services.plans import PlannedSource, PlannedStep
from tests.archives import archive
from tests.build_host import claim, finish
from tests.conftest import RUNNER
from worker import steps

EVERYTHING = {
    "image": "debian",
    "repositories": {"extra": "http://mirror.example.org/debian trixie main"},
    "packages": ["gcc", "make"],
    "sources": ["https://git.example.org/~ada/hello#v1", "./lib/::hg+https://hg.example.org/lib"],
    "secrets": ["deploy"],
    "oauth": "builds.sr.ht/JOBS:RO",
    "artifacts": ["hello/out"],
    "tasks": [{"build": "make"}, {"test": "make check"}],
}


@pytest.fixture
def plan_of(backend, fetch):
    def look(job):
        with backend.transaction() as session:
            return plans.plan_of(session, fetch(job.id))

    return look


@pytest.fixture
def make(make_job):
    def make(status="queued", secrets=True, tree_id=None, **keys):
        manifest = json.dumps({**EVERYTHING, **keys})
        return make_job(status, manifest=manifest, secrets=secrets, tree_id=tree_id)

    return make


def test_before_a_build_host_has_taken_a_job_its_plan_says_what_will_be_done(make, plan_of):
    assert plan_of(make("pending")) == (
        "debian/trixie",
        "amd64",
        None,
        None,
        [
            PlannedSource("hello", "https://git.example.org/~ada/hello", "v1", None),
            PlannedSource("lib", "https://hg.example.org/lib", None, None),
        ],
        [
            PlannedStep("send_files", None),
            PlannedStep("send_secrets", "deploy"),
            PlannedStep("send_token", "builds.sr.ht/JOBS:RO"),
            PlannedStep("prepare_packages", "extra gcc make"),
            PlannedStep("clone_sources", "hello"),
            PlannedStep("clone_sources", "lib"),
            PlannedStep("run_tasks", "build"),
            PlannedStep("run_tasks", "test"),
            PlannedStep("collect_artifacts", "hello/out"),
        ],
    )


def test_the_steps_are_those_of_the_build_host_under_its_names():
    assert list(plans.STEPS) == [step.__name__ for step in steps.STEPS]


def test_a_job_without_secrets_is_sent_none_and_no_token(make, plan_of):
    names = {step.name for step in plan_of(make(secrets=False)).steps}
    assert names.isdisjoint({"send_secrets", "send_token"})


def test_what_a_manifest_does_not_ask_for_is_no_step(make_job, plan_of):
    job = make_job(manifest="image: debian/trixie\nshell: true\n")
    assert [step.name for step in plan_of(job).steps] == ["send_files"]


def test_a_tree_is_unpacked_before_the_sources_and_in_place_of_its_directory(
    make, plan_of, backend, owner
):
    tree = trees.keep_tree(backend, owner, "hello/", [archive({"a": b""})])
    plan = plan_of(make(tree_id=tree.id))
    assert [source[:2] for source in plan.sources] == [
        ("hello", None),
        ("lib", "https://hg.example.org/lib"),
    ]
    kinds = ("unpack_tree", "clone_sources")
    assert [step for step in plan.steps if step.name in kinds] == [
        ("unpack_tree", "hello"),
        ("clone_sources", "lib"),
    ]


def test_the_build_host_adds_what_only_it_knows_fact_by_fact(make, plan_of, backend):
    job = make()
    run = claim(backend, job.id, RUNNER)
    runs.record_plan(backend, run, image_version="0123-456", layer="abc")
    assert plan_of(job)[2:4] == ("0123-456", "abc")
    runs.record_plan(backend, run, commits={"hello": "c" * 40})
    runs.record_plan(backend, run, commits={"hello": "c" * 40, "lib": "d" * 40})
    plan = plan_of(job)
    assert plan[2:4] == ("0123-456", "abc")
    assert [source.commit for source in plan.sources] == ["c" * 40, "d" * 40]


def test_a_build_host_that_lost_the_job_adds_nothing(make, fetch, backend):
    job = make()
    run = claim(backend, job.id, RUNNER)
    finish(backend, run, JobStatus.SUCCESS)
    with pytest.raises(Conflict):
        runs.record_plan(backend, run, layer="late")
    assert fetch(job.id).plan == {}


def test_of_a_manifest_that_today_would_be_refused_only_the_image_is_told(make, plan_of, backend):
    job = make()
    with backend.transaction() as session:
        session.merge(job).manifest = "tasks: of another time"
    assert plan_of(job) == ("debian/trixie", "amd64", None, None, [], [])
