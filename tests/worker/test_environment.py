"""The texts that a build sees, as texts. tests/worker/test_run_job.py runs them."""

import subprocess

import pytest

from buildsrht import manifest as manifests
from worker.environment import always_set, build_environment, hut_config, task_script

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


@pytest.mark.parametrize("value", ["mine", "[mine, yours]"])
def test_what_is_always_set_is_so_whatever_the_manifest_says(tmp_path, value):
    environment = tmp_path / "environment"
    environment.write_text(environment_of(f"environment: {{JOB_ID: {value}}}", JOB_ID="7"))
    asked = ["bash", "-c", f". {environment} && printenv JOB_ID"]
    assert subprocess.run(asked, check=True, capture_output=True).stdout == b"7\n"


def test_a_token_is_a_variable_only_where_there_is_one():
    of_job = ("https://builds.example.org", "ann", 7)
    assert "OAUTH2_TOKEN" not in always_set(*of_job)
    assert always_set(*of_job, token="t") == {**always_set(*of_job), "OAUTH2_TOKEN": "t"}


def test_the_configuration_of_hut_is_quoted_and_its_instance_is_the_host():
    text = hut_config("https://builds.example.org:8443", 'a"b\\c')
    assert text.startswith('instance "builds.example.org:8443" {\n')
    assert '    access-token "a\\"b\\\\c"\n' in text


def test_a_task_is_traced_and_stops_at_the_first_failure():
    [task] = manifests.parse(MINIMAL).tasks
    assert task_script(task) == "#!/usr/bin/env bash\n. ~/.buildenv\nset -xe\ntrue\n"


def test_both_are_correct_shell(tmp_path):
    environment = tmp_path / "environment"
    environment.write_text(environment_of("environment: {A: \"x\\ny\", B: ['(', ')']}"))
    assert subprocess.run(["bash", "-n", environment], check=False).returncode == 0
