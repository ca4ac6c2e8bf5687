"""The two texts that a build sees, as texts. tests/worker/test_run_job.py runs them."""

import subprocess

import pytest

from buildsrht import manifest as manifests
from worker.environment import build_environment, task_script

MINIMAL = "image: debian/trixie\ntasks: [{build: 'true'}]\n"


def environment_of(text, **always):
    return build_environment(manifests.parse(MINIMAL + text), always)


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("A: text", "export A=text"),
        ("A: it's", """export A='it'"'"'s'"""),
        ("A: $(rm -rf /)", "export A='$(rm -rf /)'"),
        ("A: 1.10", "export A=1.10"),
        ("A: null", "export A=''"),
        ("A: [x, 'y z', '']", "A=(x 'y z' '')"),
    ],
)
def test_a_variable_is_quoted_for_the_shell(written, line):
    assert line in environment_of(f"environment: {{{written}}}").splitlines()


def test_what_is_always_set_comes_last_and_so_wins():
    lines = environment_of("environment: {JOB_ID: mine}", JOB_ID="7").splitlines()
    assert lines.index("export JOB_ID=mine") < lines.index("export JOB_ID=7")


def test_a_task_is_traced_and_stops_at_the_first_failure():
    [task] = manifests.parse(MINIMAL).tasks
    assert task_script(task) == "#!/usr/bin/env bash\n. ~/.buildenv\nset -xe\ntrue\n"


def test_both_are_correct_shell(tmp_path):
    environment = tmp_path / "environment"
    environment.write_text(environment_of("environment: {A: \"x\\ny\", B: ['(', ')']}"))
    assert subprocess.run(["bash", "-n", environment], check=False).returncode == 0
