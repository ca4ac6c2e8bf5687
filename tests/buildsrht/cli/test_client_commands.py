"""The commands of a client, against the real API."""

import json
import threading
import time

import pytest

from buildsrht.models import Visibility
from tests.build_host import claim, keep

MANIFEST = "image: debian/trixie\ntasks:\n- build: make\n"


@pytest.fixture
def manifest_file(tmp_path):
    path = tmp_path / "build.yml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def next_job(backend):
    """Wait for a job in the queue, and take it out."""

    def next_job():
        deadline = time.monotonic() + 10
        while not (waiting := backend.queue.enqueued_ids()):
            assert time.monotonic() < deadline, "no job came"
            time.sleep(0.01)
        [route] = backend.queue.routes()
        backend.queue.discard(route, min(waiting))
        return min(waiting)

    return next_job


@pytest.fixture
def at_work():
    """Run this beside the test, which waits for its end."""
    threads = []

    def at_work(work):
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield at_work
    for thread in threads:
        thread.join()


def build(host, status="success"):
    """A job that writes a little, now and then."""
    host.write(None, "boot\n")
    host.start("build")
    for line in range(20):
        host.write("build", f"line {line}\n")
        time.sleep(0.02)
    host.end("build", status)
    host.write(None, "bye\n")
    host.finish(status)


LINES = "".join(f"line {line}\n" for line in range(20))


# submit


def test_submit_prints_where_the_job_is(as_owner, server, manifest_file, fetch):
    done = as_owner("submit", manifest_file)

    assert done == (0, f"{server}/api/jobs/1\n", "")
    assert fetch(1).manifest == MANIFEST


def test_submit_passes_on_what_it_was_told(as_owner, manifest_file, fetch):
    options = ["--note", "a *note*", "--tags", "project/branch", "--visibility", "private"]

    as_owner("submit", manifest_file, *options, "--no-execute")

    job = fetch(1)
    assert (job.note, job.tags) == ("a *note*", ["project", "branch"])
    assert (job.visibility, job.status) == (Visibility.PRIVATE, "pending")


def test_submit_reads_standard_input(as_owner, fetch, monkeypatch, manifest_file):
    with manifest_file.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert as_owner("submit", "-").status == 0

    assert fetch(1).manifest == MANIFEST


def test_submit_prints_each_job_as_one_line_of_json(as_owner, manifest_file):
    done = as_owner("submit", manifest_file, manifest_file, "--json")

    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [1, 2]


def test_a_refused_manifest_is_one_sentence_that_names_the_file(as_owner, tmp_path, row_counts):
    bad = tmp_path / "bad.yml"
    bad.write_text("image: debian/trixie\ntasks: [{Build: make}, {test: 3}]\n")

    done = as_owner("submit", bad)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"buildsrht: {bad}: manifest: ")
    assert done.err.count("manifest: ") == 2
    assert row_counts()["job"] == 0


def test_a_file_that_is_no_text_is_refused_before_anything_is_submitted(
    as_owner, manifest_file, tmp_path, row_counts
):
    binary = tmp_path / "binary"
    binary.write_bytes(b"image: \xff")

    done = as_owner("submit", manifest_file, binary)

    assert done == (1, "", f"buildsrht: {binary}: not UTF-8 at byte 7\n")
    assert row_counts()["job"] == 0


# submit --follow


def test_follow_prints_logs_to_stdout_and_the_rest_to_stderr(
    as_owner, manifest_file, at_work, build_host, next_job
):
    at_work(lambda: build(build_host(next_job())))

    done = as_owner("submit", "--follow", manifest_file)

    assert done.status == 0
    assert done.out == f"boot\n{LINES}bye\n"
    assert done.err.splitlines()[1:] == ["== setup", "== task build", "== setup", "job 1: success"]


@pytest.mark.parametrize("how", ["--follow", "--wait"])
@pytest.mark.parametrize(
    ("status", "expected"), [("success", 0), ("failed", 1), ("timeout", 3), ("cancelled", 4)]
)
def test_the_exit_status_is_how_the_job_ended(
    as_owner, manifest_file, at_work, build_host, next_job, how, status, expected
):
    at_work(lambda: build_host(next_job()).finish(status))

    done = as_owner("submit", how, manifest_file)

    assert done.status == expected
    assert done.err.splitlines()[-1] == f"job 1: {status}"


def test_of_several_ends_the_smallest_number_that_is_not_0_counts(
    as_owner, manifest_file, at_work, build_host, next_job
):
    def work():
        for status in ("cancelled", "success", "timeout"):
            build_host(next_job()).finish(status)

    at_work(work)

    assert as_owner("submit", "--wait", *[manifest_file] * 3).status == 3


def test_wait_prints_no_logs(as_owner, server, manifest_file, at_work, build_host, next_job):
    at_work(lambda: build(build_host(next_job())))

    done = as_owner("submit", "--wait", manifest_file)

    assert (done.status, done.out) == (0, "")
    assert done.err.splitlines() == [f"{server}/api/jobs/1", "job 1: success"]


def test_follow_waits_for_every_job_and_fails_if_one_does(
    as_owner, manifest_file, at_work, build_host, next_job
):
    def work():
        build_host(next_job()).finish("failed")
        build_host(next_job()).finish("success")

    at_work(work)
    done = as_owner("submit", "--follow", manifest_file, manifest_file)

    assert done.status == 1
    assert done.err.splitlines()[-2:] == ["job 1: failed", "job 2: success"]


def test_follow_with_json_leaves_stdout_to_the_finished_job(
    as_owner, manifest_file, at_work, build_host, next_job
):
    at_work(lambda: build(build_host(next_job())))

    done = as_owner("submit", "--follow", "--json", manifest_file)

    assert json.loads(done.out)["status"] == "success"
    assert LINES in done.err


# show, start, cancel


def test_show_prints_a_job_for_people_or_for_programs(as_owner, make_job):
    make_job("running", manifest=MANIFEST, note="hello", tags=["a", "b"])

    shown = as_owner("show", 1).out.splitlines()

    assert shown[:4] == ["job 1: running", "note: hello", "tags: a/b", "runner: host-1"]
    assert shown[-1].split()[:2] == ["build", "pending"]
    assert json.loads(as_owner("show", 1, "--json").out)["tags"] == "a/b"


def test_show_says_why_a_job_waits(as_owner, make_job):
    make_job("pending")

    assert as_owner("show", 1).out.splitlines()[:2] == [
        "job 1: pending",
        "It was submitted to be held back, and waits until its owner starts it.",
    ]


def test_a_job_that_was_held_back_is_started(as_owner, make_job, fetch):
    make_job("pending")

    assert as_owner("start", 1) == (0, "", "")
    assert fetch(1).status == "queued"


def test_a_job_is_cancelled(as_owner, make_job, fetch):
    make_job("queued")

    assert as_owner("cancel", 1) == (0, "", "")
    assert fetch(1).status == "cancelled"


@pytest.mark.parametrize("name", ["start", "cancel"])
def test_a_job_that_is_over_can_be_neither_started_nor_cancelled(as_owner, make_job, name):
    make_job("success")

    done = as_owner(name, 1)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("buildsrht: job 1 is already ")


def test_a_job_that_does_not_exist_is_one_sentence(as_owner):
    assert as_owner("show", 7) == (1, "", "buildsrht: there is no job 7\n")


# logs


def test_logs_prints_all_that_there_is_and_ends(as_owner, make_job, build_host):
    host = build_host(make_job("queued", manifest=MANIFEST).id)
    host.write(None, "boot\n")
    host.start("build")
    host.write("build", "half a li")

    assert as_owner("logs", 1) == (0, "boot\nhalf a li", "== setup\n== task build\n")
    assert as_owner("logs", 1, "build").out == "half a li"


def test_logs_can_follow_a_job_to_its_end(as_owner, make_job, build_host, at_work):
    host = build_host(make_job("queued", manifest=MANIFEST).id)
    at_work(lambda: build(host, "failed"))

    assert as_owner("logs", 1, "build", "--follow") == (0, LINES, "== task build\n")


# artifacts


@pytest.fixture
def with_artifact(backend, make_job):
    run = claim(backend, make_job("queued").id, "host-1")
    keep(backend, run, "out/greeting.txt", [b"hel", b"lo"])


def test_artifacts_are_listed(as_owner, with_artifact):
    size, name, url = as_owner("artifacts", 1).out.split()

    assert (size, name) == ("5", "greeting.txt")
    assert url.endswith("/greeting.txt")


def test_artifacts_are_downloaded(as_owner, with_artifact, tmp_path):
    done = as_owner("artifacts", 1, "--download", tmp_path / "new")

    assert done == (0, f"{tmp_path}/new/greeting.txt\n", "")
    assert (tmp_path / "new" / "greeting.txt").read_text() == "hello"


def test_a_directory_that_cannot_be_written_is_one_sentence(as_owner, with_artifact, tmp_path):
    (tmp_path / "file").touch()

    done = as_owner("artifacts", 1, "--download", tmp_path / "file" / "below")

    assert done == (1, "", f"buildsrht: {tmp_path}/file/below: Not a directory\n")
