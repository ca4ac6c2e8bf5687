"""`buildsrht check`, as an operator runs it."""

import subprocess

import pytest

from tests.buildsrht.cli.program import environment, start


def checked(backend, *parts: str) -> tuple[int, list[str]]:
    config = backend.config.var / "check.ini"
    config.write_text(f"[images]\nrecipes = {backend.config.images.recipes}\n")
    variables = environment(VAR=str(backend.config.var), BUILDSRHT_CONFIG=str(config))
    with start("check", *parts, env=variables, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode().splitlines()


def test_a_machine_of_the_web_service_that_is_well_ends_with_0(backend):
    status, lines = checked(backend, "web")

    assert status == 0
    assert all(line.startswith("ok ") for line in lines)
    assert not any("guests" in line for line in lines)


def test_a_build_host_without_images_ends_with_1_and_says_all_the_same_what_is_well(backend):
    status, lines = checked(backend, "worker", "janitor")

    assert status == 1
    assert [line for line in lines if line.startswith("problem")] == [
        "problem  images: none is built here, so no job runs: `buildsrht image build`"
    ]
    assert "ok       guests' network: one was made and removed" in lines


def test_a_part_that_there_is_not_is_refused(command):
    done = command("check", "ftp")

    assert done.status == 2
    assert "'ftp' is not one of 'web', 'worker'" in done.err


@pytest.mark.parametrize("section", ["[database]\nurl = mysql://x", "[wrong]"])
def test_a_configuration_that_cannot_be_read_is_told_before_anything_is_tried(
    command, monkeypatch, tmp_path, section
):
    (tmp_path / "config.ini").write_text(section)
    monkeypatch.setenv("BUILDSRHT_CONFIG", str(tmp_path / "config.ini"))

    done = command("check")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"buildsrht: {tmp_path}/config.ini: ")
