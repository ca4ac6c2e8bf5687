"""A job from claim to end, on a fake guest: real servers, real processes, no machine."""

import io
import json
import random
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from buildsrht.models import Artifact, Fault, Job, JobStatus, TaskStatus, Tree
from buildsrht.services import history, jobs, runs, trees
from tests.archives import archive
from tests.heard import lines_of
from tests.worker.fakes import fake_boot, perform, work_horse
from tests.worker.outcome import (
    Outcome,
    assert_nothing_is_left,
    outcome_of,
    read_log,
    sealed_logs,
)
from tests.worker.repositories import git, make_repository
from worker import janitor, machines, steps
from worker.errors import GuestLost, ImageMissing, RunnerError
from worker.packages import JobFailed

MIB = 1024 * 1024


def manifest_of(**keys) -> str:
    """JSON is YAML, so a test can write its manifest as Python."""
    tasks = [{name: script} for name, script in keys.pop("tasks", {"build": "true"}).items()]
    return json.dumps({"image": "debian/trixie", **keys, "tasks": tasks})


@pytest.fixture
def run_manifest(backend, make_job) -> Callable[..., Outcome]:
    """Run a job with these manifest keys to its end."""

    def run(boot=fake_boot, backend=backend, tree_id=None, **keys) -> Outcome:
        job = make_job(manifest=manifest_of(**keys), tree_id=tree_id)
        perform(backend, job.id, boot)
        assert_nothing_is_left(backend)
        return outcome_of(backend, job.id)

    return run


def limited(backend, section, **options):
    config = backend.config
    changed = replace(config, **{section: replace(getattr(config, section), **options)})
    return replace(backend, config=changed)


# --- tasks ----------------------------------------------------------------------------------------


def test_a_job_whose_tasks_all_succeed_is_a_success(run_manifest):
    outcome = run_manifest(tasks={"one": "echo first", "two": "echo second"})
    assert outcome.status == JobStatus.SUCCESS
    assert outcome.tasks == {"one": "success", "two": "success"}
    assert outcome.logs == {"one": "+ echo first\nfirst\n", "two": "+ echo second\nsecond\n"}


def test_the_first_task_that_fails_fails_the_job_and_leaves_the_rest_pending(run_manifest):
    outcome = run_manifest(tasks={"good": "true", "bad": "exit 3", "never": "true"})
    assert outcome.status == JobStatus.FAILED
    assert outcome.tasks == {"good": "success", "bad": "failed", "never": "pending"}
    assert "task bad: exit status 3" in outcome.setup_log
    assert outcome.logs["never"] == ""


def test_any_failing_command_fails_its_task(run_manifest):
    outcome = run_manifest(tasks={"build": "false\necho not reached"})
    assert outcome.status == JobStatus.FAILED
    assert "not reached" not in outcome.logs["build"]


def test_complete_build_ends_the_job_as_a_success_and_skips_the_rest(run_manifest):
    script = "echo before\ncomplete-build\necho after"
    outcome = run_manifest(tasks={"one": script, "two": "false", "three": "false"})
    assert outcome.status == JobStatus.SUCCESS
    assert outcome.tasks == {"one": "success", "two": "skipped", "three": "skipped"}
    assert "\nafter" not in outcome.logs["one"]


def test_tasks_share_the_home_directory_and_are_kept_as_scripts_there(run_manifest):
    outcome = run_manifest(
        tasks={"write": "echo kept >file", "read": "cat file; test -x .tasks/write"}
    )
    assert outcome.status == JobStatus.SUCCESS
    assert "kept" in outcome.logs["read"]


def test_a_job_that_only_keeps_a_shell_needs_no_tasks(run_manifest):
    assert run_manifest(shell=True, tasks={}).status == JobStatus.SUCCESS


# --- environment ----------------------------------------------------------------------------------


def test_variables_reach_the_tasks_as_they_were_written(run_manifest):
    environment = {"TEXT": 'it\'s "$HOME"\n', "NUMBER": 7, "YES": True, "EMPTY": None}
    script = 'printf "%s|" "$TEXT" "$NUMBER" "$YES" "$EMPTY" >out; bash -c \'test "$NUMBER" = 7\''
    outcome = run_manifest(environment=environment, tasks={"build": script}, artifacts=["out"])
    assert outcome.artifacts == {"out": b'it\'s "$HOME"\n|7|true||'}


def test_a_list_becomes_an_array_that_is_not_exported(run_manifest):
    script = 'test "${#LIST[@]}" = 2 && test "${LIST[1]}" = "b c" && bash -c \'test -z "$LIST"\''
    outcome = run_manifest(environment={"LIST": ["a", "b c"]}, tasks={"build": script})
    assert outcome.status == JobStatus.SUCCESS


def test_what_is_always_set_cannot_be_overridden(run_manifest, backend):
    environment = {"CI_NAME": "mine", "JOB_ID": "0", "JOB_URL": "nowhere"}
    outcome = run_manifest(
        environment=environment,
        tasks={"build": 'echo "$CI_NAME $JOB_ID $JOB_URL" >out'},
        artifacts=["out"],
    )
    origin = backend.config.web.origin
    assert outcome.artifacts["out"] == f"sourcehut 1 {origin}/~owner/job/1\n".encode()


# --- repositories, packages, sources --------------------------------------------------------------


def test_repositories_come_before_packages_and_packages_before_sources(
    run_manifest, repository, local_submodules
):
    outcome = run_manifest(
        repositories={"extra": "url trixie main"},
        packages=["gcc", "make"],
        sources=[f"code::file://{repository}"],
        tasks={"build": "cat installed repositories; ls code"},
    )
    assert outcome.status == JobStatus.SUCCESS
    said = [outcome.setup_log.index(word) for word in ("added extra", "installed gcc", "Cloning")]
    assert said == sorted(said)
    assert "added extra as url trixie main" in outcome.logs["build"]


def test_a_package_that_cannot_be_installed_fails_the_job_before_any_task(run_manifest):
    outcome = run_manifest(packages=["no-such-package"])
    assert (outcome.status, outcome.tasks) == (JobStatus.FAILED, {"build": "pending"})
    assert "no package no-such-package\n\npackages: exit status 100" in outcome.setup_log


def test_a_repository_that_cannot_be_added_fails_the_job(run_manifest):
    outcome = run_manifest(repositories={"broken": "bad"})
    assert outcome.status == JobStatus.FAILED
    assert "repository broken: exit status 1" in outcome.setup_log


@pytest.fixture
def repository(tmp_path):
    """A git repository: a tag, a branch, a ref that no clone brings, and a submodule."""
    path = tmp_path / "project"
    library = make_repository(tmp_path / "library", {"lib.c": "library\n"})
    make_repository(path, {"main.c": "first\n"})
    git(path, "tag", "v1")
    git(path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    (path / "main.c").write_text("second\n")
    git(path, "commit", "-qam", "second")
    git(path, "checkout", "-q", "--detach")
    (path / "main.c").write_text("proposed\n")
    git(path, "commit", "-qam", "proposed")
    git(path, "update-ref", "refs/pull/1/head", "HEAD")
    git(path, "checkout", "-q", "main")
    return path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("file://{0}", "project/main.c second"),
        ("elsewhere/deep::file://{0}", "elsewhere/deep/main.c second"),
        ("file://{0}#v1", "project/main.c first"),
        ("git+file://{0}#refs/pull/1/head", "project/main.c proposed"),
    ],
)
def test_a_source_is_cloned_into_its_directory_at_its_ref(
    run_manifest, repository, local_submodules, source, expected
):
    path, content = expected.split()
    script = f'test "$(cat {path})" = {content}'
    outcome = run_manifest(sources=[source.format(repository)], tasks={"build": script})
    assert outcome.status == JobStatus.SUCCESS, outcome


def test_submodules_are_cloned_too(run_manifest, repository, local_submodules):
    outcome = run_manifest(
        sources=[f"file://{repository}"], tasks={"build": "cat project/lib/lib.c"}
    )
    assert "library" in outcome.logs["build"]


@pytest.fixture
def local_submodules(monkeypatch, tmp_path):
    """Git refuses a submodule on the same disk, which only a test has."""
    configuration = tmp_path / "gitconfig"
    configuration.write_text('[protocol "file"]\n\tallow = always\n')
    script = steps.CLONE_GIT.replace(
        "set -e\n", f"set -e\nexport GIT_CONFIG_GLOBAL={configuration}\n"
    )
    monkeypatch.setitem(steps.CLONE, "git", script)


def test_a_source_that_cannot_be_cloned_fails_the_job_and_git_asks_nobody(run_manifest, tmp_path):
    outcome = run_manifest(sources=[f"file://{tmp_path}/absent"])
    assert outcome.status == JobStatus.FAILED
    assert "source absent: exit status 128" in outcome.setup_log


def test_what_each_source_was_is_on_record_and_in_the_log(
    run_manifest, repository, local_submodules, fetch
):
    outcome = run_manifest(sources=[f"file://{repository}", f"old/::file://{repository}#v1"])
    commits = [git(repository, "rev-parse", ref).strip() for ref in ("main", "v1")]
    assert fetch(1).plan["commits"] == dict(zip(["project", "old"], commits, strict=True))
    for commit in commits:
        assert f"At commit {commit}.\n" in outcome.setup_log


def test_what_logs_hide_the_plan_hides(run_manifest, repository, local_submodules, fetch):
    commit = git(repository, "rev-parse", "main").strip()

    @contextmanager
    def boot(wanted):
        wanted.logbook.mask([commit.encode()])
        with fake_boot(wanted) as machine:
            yield machine

    outcome = run_manifest(boot=boot, sources=[f"file://{repository}"])
    assert commit not in outcome.setup_log
    assert fetch(1).plan["commits"] == {"project": "***"}


def test_a_repository_without_a_commit_is_cloned_and_has_none_on_record(
    run_manifest, tmp_path, fetch
):
    git(tmp_path, "init", "-q", "empty")
    outcome = run_manifest(sources=[f"file://{tmp_path}/empty"])
    assert outcome.status == JobStatus.SUCCESS
    assert "commits" not in fetch(1).plan


def test_which_image_and_which_layer_a_job_got_is_on_record(run_manifest, fetch):
    run_manifest()
    plan = fetch(1).plan
    assert 0 <= plan.pop("up_seconds") < 60
    assert plan == {
        "image_version": "fake-1",
        "layer": None,
        "layer_is_new": False,
        "origin": "boot",
    }


def test_what_went_on_before_the_tasks_is_on_record(
    run_manifest, repository, local_submodules, fetch
):
    run_manifest(packages=["gcc"], sources=[f"code::file://{repository}"])
    plan = fetch(1).plan
    assert [name for name, _ in plan["phases"]] == ["packages", "sources"]
    times = [milliseconds for _, milliseconds in plan["phases"]]
    assert times == sorted(times)
    assert abs(times[-1] / 1000 - time.time()) < 600


def test_what_a_job_has_none_of_is_no_phase_of_it(run_manifest, fetch):
    run_manifest()
    assert "phases" not in fetch(1).plan


# --- a tree that was submitted ----------------------------------------------------------------


@pytest.fixture
def keep_tree(backend, owner):
    def keep(directory, files):
        return trees.keep_tree(backend, owner, directory, [archive(files)]).id

    return keep


def test_a_tree_is_there_in_place_of_the_source_with_its_directory_before_the_others(
    run_manifest, repository, local_submodules, keep_tree
):
    absent = f"file://{repository}/absent"
    outcome = run_manifest(
        tree_id=keep_tree("hello/", {"sub/main.c": b"from my disk", "sub/empty/": None}),
        sources=[f"./hello/::{absent}", f"hello/sub/lib::file://{repository}"],
        tasks={"build": "cat hello/sub/main.c; test -d hello/sub/empty; ls hello/sub/lib; ls -A"},
    )
    assert outcome.status == JobStatus.SUCCESS, outcome
    said = f"Unpacking the submitted tree into hello, in place of {absent}.\n"
    assert outcome.setup_log.index(said) < outcome.setup_log.index("Cloning into hello/sub/lib.")
    assert "Cloning into ./hello" not in outcome.setup_log
    assert "from my disk" in outcome.logs["build"]
    assert "tree-to-unpack" not in outcome.logs["build"]


def test_a_tree_needs_no_source_to_take_the_place_of(run_manifest, keep_tree):
    outcome = run_manifest(
        tree_id=keep_tree("deep/down", {"file": b"here"}), tasks={"build": "cat deep/down/file"}
    )
    assert "Unpacking the submitted tree into deep/down.\n" in outcome.setup_log
    assert "here" in outcome.logs["build"]


def test_a_tree_that_is_gone_fails_the_job_and_the_log_says_why(
    run_manifest, keep_tree, backend, make_job
):
    job = make_job(manifest=manifest_of(), tree_id=keep_tree("hello", {"a": b""}))
    with backend.transaction() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Tree).values(expires=past))
    trees.expire_trees(backend)
    perform(backend, job.id, fake_boot)
    outcome = outcome_of(backend, job.id)
    assert (outcome.status, outcome.tasks) == (JobStatus.FAILED, {"build": "pending"})
    assert f"tree hello: the tree was kept until {past:%Y-%m-%d}\n" in outcome.setup_log


def test_a_tree_that_does_not_unpack_fails_the_job(run_manifest, keep_tree):
    # Good by itself; the guest has a file where it needs a directory.
    outcome = run_manifest(tree_id=keep_tree(".buildenv", {"a": b""}))
    assert outcome.status == JobStatus.FAILED
    assert "tree .buildenv: exit status 1" in outcome.setup_log


def test_a_tree_is_never_held_in_memory_as_a_whole(backend, owner, make_job, tmp_path):
    noise = random.Random(5).randbytes(MIB)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as made:
        for number in range(60):
            member = tarfile.TarInfo(str(number))
            member.size = MIB
            made.addfile(member, io.BytesIO(noise))
    tree = trees.keep_tree(backend, owner, "large", [out.getvalue()])
    job = make_job(manifest=manifest_of(tasks={"build": "ls large | wc -l"}), tree_id=tree.id)
    with work_horse(backend, job.id, tmp_path) as horse:
        peak_kib = int(horse.stdout.read())
    assert peak_kib * 1024 < 200 * MIB
    assert "\n60\n" in outcome_of(backend, job.id).logs["build"]


# --- why a job ended --------------------------------------------------------------------------


def causes(backend):
    with backend.transaction() as session:
        job = session.get_one(Job, 1)
        return [each.cause for each in history.transitions_of(session, [job])[1]]


@pytest.mark.parametrize(
    ("keys", "cause"),
    [
        ({"tasks": {"build": "exit 3"}}, "task build: exit status 3"),
        ({"tasks": {"build": "kill -KILL $PPID"}}, "The machine was lost: it was only a fake."),
        ({"packages": ["no-such-package"]}, "packages: exit status 100"),
        ({"tasks": {"build": "true"}}, None),
    ],
)
def test_why_a_job_ended_is_with_its_end(run_manifest, backend, keys, cause):
    run_manifest(**keys)
    assert causes(backend)[-1] == cause


def test_a_time_limit_is_a_cause(run_manifest, backend):
    run_manifest(backend=limited(backend, "worker", job_timeout=1), tasks={"build": "sleep 300"})
    assert causes(backend)[-1] == "The job ran into its time limit."


def test_a_cause_is_one_line_masked_as_in_the_log_and_not_endless(run_manifest, backend):
    @contextmanager
    def boot(wanted):
        wanted.logbook.mask([b"correct horse battery"])
        raise JobFailed("said correct horse battery" + "x" * 1000 + "\nand its console")
        yield

    outcome = run_manifest(boot=boot)
    [cause] = causes(backend)[-1:]
    assert cause == "said ***" + "x" * 492
    assert cause in outcome.setup_log


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"tasks": {"build": "exit 3"}}, Fault.BUILD),
        ({"tasks": {"build": "kill -TERM $PPID; sleep 60"}}, Fault.BUILD),
        ({"tasks": {"build": "kill -KILL $PPID"}}, Fault.SERVICE),
        ({"packages": ["no-such-package"]}, Fault.BUILD),
        ({"tasks": {"build": "true"}}, None),
    ],
)
def test_whose_fault_it_was_is_on_record(run_manifest, fetch, keys, fault):
    run_manifest(**keys)
    assert fetch(1).fault == fault


def test_a_time_limit_is_the_builds_own_fault(run_manifest, backend, fetch):
    run_manifest(backend=limited(backend, "worker", job_timeout=1), tasks={"build": "sleep 300"})
    assert (fetch(1).status, fetch(1).fault) == (JobStatus.TIMEOUT, Fault.BUILD)


# --- attempts -------------------------------------------------------------------------------------


def fails_at_first(error):
    """No machine for the first attempt, and one for all others."""
    attempts = []

    @contextmanager
    def boot(wanted):
        attempts.append(1)
        if len(attempts) == 1:
            raise error
        with fake_boot(wanted) as machine:
            yield machine

    return boot


@pytest.mark.parametrize("error", [RunnerError("no machine"), OSError("disk full")])
def test_a_job_that_we_could_not_begin_is_begun_again(backend, make_job, fetch, error):
    job = make_job(manifest=manifest_of(tasks={"build": "echo built >>log; cat log"}))
    boot = fails_at_first(error)

    perform(backend, job.id, boot)
    assert (fetch(1).status, fetch(1).attempt, fetch(1).fault) == (JobStatus.QUEUED, 1, None)
    perform(backend, job.id, boot)

    outcome = outcome_of(backend, job.id)
    assert (outcome.status, fetch(1).attempt) == (JobStatus.SUCCESS, 2)
    assert "\nThe job is begun again: attempt 2 of 3.\nJob 1 on " in outcome.setup_log
    assert outcome.setup_log.count("starting debian/trixie") == 2
    assert_nothing_is_left(backend)


def test_a_machine_that_is_killed_before_the_first_task_costs_an_attempt(backend, make_job, fetch):
    job = make_job(manifest=manifest_of(packages=["anything"]))

    @contextmanager
    def boot(wanted):
        with fake_boot(wanted) as machine:
            machine.kill()
            yield machine

    perform(backend, job.id, boot)
    assert fetch(1).status == JobStatus.QUEUED
    perform(backend, job.id, fake_boot)

    assert fetch(1).attempt == 2
    assert "The machine was lost: it was only a fake." in outcome_of(backend, job.id).setup_log


def test_a_job_that_runs_out_of_time_before_it_has_a_machine_is_not_to_blame(
    backend, make_job, fetch
):
    hurried = limited(backend, "worker", job_timeout=1, attempts=2)
    job = make_job()

    @contextmanager
    def boot_for_ever(wanted):
        killed = threading.Event()
        with wanted.guard(killed.set):
            assert killed.wait(30)
            raise GuestLost
        yield

    perform(hurried, job.id, boot_for_ever)
    assert fetch(1).status == JobStatus.QUEUED
    perform(hurried, job.id, boot_for_ever)
    assert (fetch(1).status, fetch(1).fault) == (JobStatus.TIMEOUT, Fault.SERVICE)


def test_a_database_that_is_away_for_long_before_the_first_task_costs_an_attempt(
    backend, make_job, fetch, monkeypatch
):
    hurried = limited(backend, "worker", patience=1)
    job = make_job(manifest=manifest_of())

    def away(*_):
        raise OperationalError("SELECT", {}, Exception("the database is away"))

    @contextmanager
    def boot_for_ever(wanted):
        killed = threading.Event()
        with wanted.guard(killed.set), monkeypatch.context() as patched:
            patched.setattr(runs, "check", away)
            assert killed.wait(30)
            raise GuestLost
        yield

    perform(hurried, job.id, boot_for_ever)
    assert fetch(1).status == JobStatus.QUEUED
    perform(backend, job.id, fake_boot)

    outcome = outcome_of(backend, job.id)
    assert (outcome.status, fetch(1).attempt) == (JobStatus.SUCCESS, 2)
    assert "not heard of in time.\nThe job is begun again" in outcome.setup_log


def test_what_another_attempt_would_meet_as_well_is_told_at_once(run_manifest, fetch):
    outcome = run_manifest(boot=fails_at_first(ImageMissing("not built here")))
    assert (outcome.status, fetch(1).fault) == (JobStatus.FAILED, Fault.SERVICE)
    assert outcome.setup_log.endswith("\nnot built here\n")


def test_a_work_horse_that_is_killed_before_the_first_task_costs_an_attempt(
    backend, make_job, fetch, tmp_path
):
    # It takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        job = make_job(manifest=manifest_of(sources=[f"http://127.0.0.1:{port}/nothing"]))
        with work_horse(backend, job.id, tmp_path) as horse:
            wait_until(lambda: b"The machine is up" in read_log(backend, job.id))
            horse.kill()

    janitor.sweep_host(backend)
    assert fetch(1).status == JobStatus.QUEUED
    perform(backend, job.id, fails_at_first(ImageMissing("not built here")))

    log = outcome_of(backend, job.id).setup_log
    runner = backend.config.worker.name
    assert f"\nThe process that ran this job on {runner} died.\nThe job is begun again" in log
    assert log.endswith("not built here\n")
    assert_nothing_is_left(backend)


# --- artifacts ------------------------------------------------------------------------------------


def test_artifacts_are_kept_in_the_order_of_the_manifest_with_size_and_digest(run_manifest):
    outcome = run_manifest(
        tasks={"build": "mkdir out; printf abc >out/a; : >b"}, artifacts=["out/a", "b"]
    )
    assert list(outcome.artifacts.items()) == [("a", b"abc"), ("b", b"")]
    assert "Kept artifact out/a: 3 bytes, SHA-256 ba7816bf" in outcome.setup_log


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        ("true", "No such file or directory"),
        ("mkdir out", "not a regular file"),
        ("head -c 2000 /dev/zero >out", "larger than 1000 bytes"),
    ],
)
def test_an_artifact_that_cannot_be_kept_fails_the_job_and_its_log_names_the_path(
    run_manifest, backend, prepare, reason
):
    outcome = run_manifest(
        backend=limited(backend, "limits", artifact=1000),
        tasks={"build": prepare},
        artifacts=["out"],
    )
    assert (outcome.status, outcome.artifacts) == (JobStatus.FAILED, {})
    assert "artifact out: " in outcome.setup_log
    assert reason in outcome.setup_log


def test_an_artifact_is_never_held_in_memory_as_a_whole(backend, make_job, tmp_path):
    script = f"truncate -s {300 * MIB} large"
    job = make_job(manifest=manifest_of(tasks={"build": script}, artifacts=["large"]))
    with work_horse(backend, job.id, tmp_path) as horse:
        peak_kib = int(horse.stdout.read())
    assert peak_kib * 1024 < 200 * MIB
    with backend.transaction() as session:
        assert session.scalar(select(Artifact.size)) == 300 * MIB


def test_a_job_that_failed_keeps_no_artifacts(run_manifest):
    outcome = run_manifest(tasks={"build": "echo x >out; false"}, artifacts=["out"])
    assert outcome.artifacts == {}


# --- logs -----------------------------------------------------------------------------------------


def test_every_log_that_was_begun_is_sealed(run_manifest, backend):
    run_manifest(tasks={"one": "true", "two": "false", "three": "true"})
    assert sealed_logs(backend, 1) == 3  # setup, one, two


def test_output_beyond_the_limit_is_cut_the_log_says_so_and_the_job_fails(run_manifest, backend):
    outcome = run_manifest(
        backend=limited(backend, "limits", log=100_000), tasks={"build": "yes", "never": "true"}
    )
    assert outcome.status == JobStatus.FAILED
    assert outcome.tasks == {"build": "failed", "never": "pending"}
    assert len(outcome.logs["build"]) < 100_200
    assert outcome.logs["build"].endswith(
        "\nThe job wrote more than the 100000 bytes that it may; its log is cut here.\n"
    )


def test_a_redis_that_is_wiped_while_the_job_runs_costs_no_byte(run_manifest, backend, tmp_path):
    tasks = {"build": f"seq 1 1000; redis-cli -s {socket_of(backend)} flushall; seq 1001 2000"}
    outcome = run_manifest(tasks=tasks)
    numbers = [line for line in outcome.logs["build"].splitlines() if line.isdecimal()]
    assert numbers == [str(n) for n in range(1, 2001)]


def socket_of(backend) -> str:
    return backend.redis.connection_pool.connection_kwargs["path"]


# --- what ends a job from outside -----------------------------------------------------------------


@contextmanager
def running_in_background(backend, job_id, boot=fake_boot):
    thread = threading.Thread(target=perform, args=(backend, job_id, boot))
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_cancel_while_a_task_runs_takes_effect_within_two_seconds(backend, make_job, owner):
    job = make_job(manifest=manifest_of(tasks={"build": "echo begun; sleep 300", "never": "true"}))
    with running_in_background(backend, job.id):
        wait_until(lambda: b"\nbegun" in read_log(backend, job.id, job.tasks[0].id))
        begin = time.monotonic()
        jobs.cancel(backend, job.id, owner)
        jobs.cancel(backend, job.id, owner)
        wait_until(lambda: outcome_of(backend, job.id).status == JobStatus.CANCELLED)
        assert time.monotonic() - begin < 2
    assert_nothing_is_left(backend)
    outcome = outcome_of(backend, job.id)
    assert outcome.tasks == {"build": TaskStatus.FAILED, "never": TaskStatus.PENDING}
    assert outcome.logs["build"].endswith("\nThe job was cancelled.\n")


@contextmanager
def boot_that_never_ends(wanted):
    """A machine that hangs in its kernel: only killing it ends the wait."""
    from worker.errors import BootTimeout

    killed = threading.Event()
    with wanted.guard(killed.set):
        assert killed.wait(30)
        raise BootTimeout("it was killed while it booted")
    yield


def test_a_cancel_while_the_machine_boots_takes_effect_within_two_seconds(
    backend, make_job, owner, fetch
):
    job = make_job()
    with running_in_background(backend, job.id, boot_that_never_ends):
        wait_until(lambda: fetch(job.id).status == JobStatus.RUNNING)
        begin = time.monotonic()
        jobs.cancel(backend, job.id, owner)
        wait_until(lambda: fetch(job.id).status == JobStatus.CANCELLED)
        assert time.monotonic() - begin < 2
    assert_nothing_is_left(backend)


def test_a_job_that_was_cancelled_while_queued_is_not_run(backend, make_job, owner, fetch):
    job = make_job()
    jobs.cancel(backend, job.id, owner)
    perform(backend, job.id, fake_boot)
    assert (fetch(job.id).status, fetch(job.id).runner) == (JobStatus.CANCELLED, None)


def test_a_job_that_is_queued_twice_runs_once(run_manifest, backend):
    run_manifest(tasks={"build": "echo once"})
    perform(backend, 1, fake_boot)
    assert outcome_of(backend, 1).logs["build"].count("\nonce") == 1


def test_a_job_beyond_its_time_limit_ends_as_timeout(run_manifest, backend):
    outcome = run_manifest(
        backend=limited(backend, "worker", job_timeout=2), tasks={"build": "sleep 300"}
    )
    assert (outcome.status, outcome.tasks) == (JobStatus.TIMEOUT, {"build": "failed"})
    assert outcome.logs["build"].endswith("\nThe job ran into its time limit.\n")


def test_a_host_that_lost_its_claim_stops_and_changes_nothing_more(backend, make_job, fetch):
    job = make_job(manifest=manifest_of(tasks={"build": "echo begun; sleep 300"}))
    with running_in_background(backend, job.id):
        wait_until(lambda: b"\nbegun" in read_log(backend, job.id, job.tasks[0].id))
        expire_lease(backend, job.id)
        assert runs.expire_leases(backend) == [job.id]
        ended = fetch(job.id)
    assert ended.status == JobStatus.FAILED
    assert fetch(job.id).updated == ended.updated
    assert_nothing_is_left(backend)


def expire_lease(backend, job_id):
    with backend.transaction() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires=past))


def test_a_lease_is_renewed_for_as_long_as_the_job_runs(backend, make_job, fetch):
    backend = limited(backend, "worker", lease=2)
    job = make_job(manifest=manifest_of(tasks={"build": "sleep 4"}))
    with running_in_background(backend, job.id) as thread:
        while thread.is_alive():
            assert runs.expire_leases(backend) == []
            thread.join(0.2)
    assert fetch(job.id).status == JobStatus.SUCCESS


def test_a_machine_that_dies_fails_the_job_and_the_log_says_why(run_manifest):
    outcome = run_manifest(tasks={"build": "kill -KILL $PPID"})
    assert (outcome.status, outcome.tasks) == (JobStatus.FAILED, {"build": "failed"})
    assert outcome.logs["build"].endswith("\nThe machine was lost: it was only a fake.\n")


def test_a_machine_that_shuts_down_fails_the_job_at_once(run_manifest):
    outcome = run_manifest(tasks={"build": "kill -TERM $PPID; sleep 60"})
    assert outcome.status == JobStatus.FAILED
    assert "The machine was lost: it was shut down from inside." in outcome.logs["build"]


def test_a_database_that_is_away_for_a_moment_costs_no_job_its_success(run_manifest, monkeypatch):
    away = {"finish": 1, "move_run_task": 1}

    def at_first_away(name, action):
        def act(*arguments):
            if away[name]:
                away[name] -= 1
                raise OperationalError("UPDATE", {}, Exception("the server was restarted"))
            return action(*arguments)

        return act

    for name in away:
        monkeypatch.setattr(runs, name, at_first_away(name, getattr(runs, name)))
    assert run_manifest().status == JobStatus.SUCCESS
    assert away == {"finish": 0, "move_run_task": 0}


def test_no_other_user_of_this_host_can_read_what_a_job_leaves_here(run_manifest, backend):
    run_manifest(tasks={"build": "echo secret >out"}, artifacts=["out"])
    for path in (backend.config.worker.path, backend.config.storage.path):
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_error_that_nobody_foresaw_fails_the_job_without_showing_its_insides(
    run_manifest, backend
):
    @contextmanager
    def boot(*_):
        raise RuntimeError("internal detail")
        yield

    outcome = run_manifest(boot=boot)
    assert outcome.status == JobStatus.FAILED
    assert "An internal error of the build host ended this job" in outcome.setup_log
    assert "internal detail" not in outcome.setup_log


def test_an_image_that_is_not_built_here_fails_the_job_and_says_what_the_operator_can_do(
    run_manifest,
):
    outcome = run_manifest(boot=machines.start)
    assert outcome.status == JobStatus.FAILED
    assert "buildsrht image build debian/trixie" in outcome.setup_log


# --- the journal ----------------------------------------------------------------------------------


def test_whatever_a_build_host_says_while_it_runs_a_job_is_about_that_job(run_manifest):
    with lines_of("worker", "buildsrht") as lines:
        run_manifest(tasks={"build": "true"})
    assert {line.message for line in lines} >= {
        "begun, with debian/trixie (amd64)",
        "ended: success",
    }
    assert all(line.about == {"job": 1, "attempt": 1} for line in lines)


def test_what_it_says_from_its_threads_is_so_too(run_manifest, monkeypatch):
    def fail(*_):
        raise OperationalError("", {}, Exception("no answer"))

    monkeypatch.setattr(runs, "check", fail)
    with lines_of("worker.watch") as lines:
        run_manifest(tasks={"build": "sleep 1"})
    assert lines
    assert all(line.message.startswith("the database does not answer: ") for line in lines)
    assert all(line.about == {"job": 1, "attempt": 1} for line in lines)
