"""`buildsrht up` runs its services as one: they come together and they go together."""

import os
import signal
import subprocess
import sys

import pytest

from buildsrht import processes
from buildsrht.up import Service, run, stop_requests

ASK_US_TO_STOP = 'kill -TERM "$PPID"'
RUN_FOREVER = "while :; do sleep 0.01; done"


def service(name, script, **options):
    return Service(name, ["sh", "-c", script], **options)


def run_until_stopped(*services, grace_seconds=10):
    with stop_requests() as stop_requested:
        return run(services, stop_requested, grace_seconds)


def process_number(path):
    return int(path.read_text())


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_requested_stop_ends_every_service_and_is_a_success(tmp_path, name):
    pid = tmp_path / "pid"

    status = run_until_stopped(
        service("web", f"echo $$ > {pid}.new; mv {pid}.new {pid}; {RUN_FOREVER}"),
        service("worker", f'until [ -e {pid} ]; do :; done; kill -{name} "$PPID"; {RUN_FOREVER}'),
    )

    assert status == 0
    assert processes.has_ended(process_number(pid))


def test_a_stop_requested_before_the_start_is_honoured():
    with stop_requests() as stop_requested:
        os.kill(os.getpid(), signal.SIGTERM)
        assert run([service("web", RUN_FOREVER)], stop_requested) == 0


def test_a_service_that_ends_by_itself_is_named_and_ends_the_rest(tmp_path, capfd):
    pid = tmp_path / "pid"

    status = run_until_stopped(
        service("web", f"echo $$ > {pid}.new; mv {pid}.new {pid}; {RUN_FOREVER}"),
        service("worker", f"until [ -e {pid} ]; do :; done; exit 3"),
    )

    assert status == 1
    assert capfd.readouterr().err == "worker ended by itself (exit status 3); stopping the rest\n"
    assert processes.has_ended(process_number(pid))


def test_a_program_that_cannot_be_started_is_named(capfd):
    missing = Service("worker", ["no-such-program"])

    assert run_until_stopped(service("web", RUN_FOREVER), missing) == 1
    assert "worker ended by itself" in capfd.readouterr().err


def test_services_stop_in_reverse_order(tmp_path):
    stopped = tmp_path / "stopped"

    def says_when_stopped(name):
        trap = f"trap 'echo {name} >> {stopped}; exit' TERM"
        return service(name, f"{trap}; touch {tmp_path}/{name}; {RUN_FOREVER}")

    everyone_runs = f"[ -e {tmp_path}/web ] && [ -e {tmp_path}/worker ]"
    run_until_stopped(
        says_when_stopped("web"),
        says_when_stopped("worker"),
        service("last", f"until {everyone_runs}; do :; done; {ASK_US_TO_STOP}; {RUN_FOREVER}"),
    )

    assert stopped.read_text() == "worker\nweb\n"


def test_a_service_that_will_not_stop_is_killed_after_its_grace():
    stubborn = service("worker", f"trap '' TERM; {ASK_US_TO_STOP}; {RUN_FOREVER}")

    assert run_until_stopped(stubborn, grace_seconds=0.1) == 0


def test_asking_twice_interrupts_nothing(tmp_path):
    done = tmp_path / "done"
    asks_again = f"trap '{ASK_US_TO_STOP}; touch {done}; exit' TERM"

    status = run_until_stopped(service("web", f"{asks_again}; {ASK_US_TO_STOP}; {RUN_FOREVER}"))

    assert status == 0
    assert done.exists()


def test_a_service_sees_the_environment_it_is_given(tmp_path):
    seen = tmp_path / "seen"
    given = {"PATH": os.environ["PATH"], "PORT": "5099"}

    run_until_stopped(service("web", f"env > {seen}; {ASK_US_TO_STOP}; {RUN_FOREVER}", env=given))

    assert "PORT=5099\n" in seen.read_text()
    assert "HOME=" not in seen.read_text()


RUNS_A_SERVICE = """
from buildsrht.up import Service, run, stop_requests

with stop_requests() as stop_requested:
    run([Service("web", ["sh", "-c", "trap '' TERM; echo $$; exec sleep 600"])], stop_requested)
"""


def test_services_die_when_we_are_killed():
    owner = subprocess.Popen([sys.executable, "-c", RUNS_A_SERVICE], stdout=subprocess.PIPE)
    web = int(owner.stdout.readline())

    owner.kill()
    owner.wait()

    assert processes.has_ended(web, wait_seconds=10)
