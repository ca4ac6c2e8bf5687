"""`submit`: a manifest on standard input becomes a job."""

import pytest

from buildsrht.models import JobStatus, Visibility

MANIFEST = b"image: debian/trixie\ntasks:\n- build: |\n\tmake\n\tmake check\n"


def test_a_manifest_becomes_a_job_of_that_user_and_its_address_is_printed(
    ssh, backend, fetch, owner
):
    done = ssh("submit", input=b"image: debian/trixie\ntasks:\n- build: make\n")

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{backend.config.web.origin}/~owner/job/1\n"
    job = fetch(1)
    assert (job.owner_id, job.status, job.image) == (owner.id, JobStatus.QUEUED, "debian/trixie")
    assert backend.queue.enqueued_ids() == {1}


def test_a_tab_becomes_four_spaces(ssh, fetch):
    assert ssh("submit", input=MANIFEST).returncode == 0

    assert fetch(1).manifest == MANIFEST.decode().replace("\t", "    ")


def test_options_say_note_tags_and_visibility(ssh, fetch):
    options = ["-n", "'a note'", "-t", "Project/main", "-t", "x_1", "-v", "private"]

    assert ssh("submit", *options, input=MANIFEST).returncode == 0

    job = fetch(1)
    assert (job.note, job.visibility) == ("a note", Visibility.PRIVATE)
    assert job.tags == ["Project", "main", "x_1"]


@pytest.mark.parametrize(
    ("words", "manifest", "reason"),
    [
        ([], b"image: debian/trixie\n", "tasks"),
        ([], b"image: plan9\ntasks: [{a: make}]\n", "'plan9' is none of"),
        ([], b"", "manifest"),
        ([], b"\xff\xfe", "manifest: not UTF-8 at byte 0"),
        ([], b"#" * (1024 * 1024 + 1), "a manifest may have at most 1048576 bytes"),
        (["-t", "'a b'"], MANIFEST, "tags: 'a b' must be"),
        (["-t", "a//b"], MANIFEST, "tags: '' must be"),
        (["-v", "secret"], MANIFEST, "visibility: 'secret' is none of"),
        (["-n", "x" * 5000], MANIFEST, "note: at most 4096 characters"),
        (["-x"], MANIFEST, "submit: No such option '-x'"),
        (["-n"], MANIFEST, "submit: Option '-n' requires an argument."),
        (["more"], MANIFEST, "submit: Got unexpected extra argument"),
        (["'open"], MANIFEST, "submit: No closing quotation"),
    ],
)
def test_what_is_no_good_is_refused_with_the_reason_and_nothing_is_stored(
    ssh, row_counts, words, manifest, reason
):
    before = row_counts()

    done = ssh("submit", *words, input=manifest)

    assert (done.returncode, done.stdout) == (1, b"")
    assert reason in done.stderr.decode()
    assert row_counts() == before


def test_what_is_typed_is_no_manifest(ssh):
    with ssh.screen("submit") as screen:
        screen.wait_for(b"submit reads a manifest from standard input, which is no terminal")

        assert screen.end() == 1
