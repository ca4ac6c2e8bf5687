"""The units of contrib/systemd: what systemd says of them, and that they start what exists."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildsrht import config
from buildsrht.cli import commands

UNITS = Path(__file__).parents[2] / "contrib" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
OF_A_BUILD_HOST = {"worker", "janitor", "gateway"}
# How exposed systemd finds a unit, at most, from 0 to 10: those that need no privilege, and those
# that make user namespaces.
MOST_EXPOSED, MOST_EXPOSED_HOST = 2.0, 7.5

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def part(unit: Path) -> str:
    return unit.stem.removeprefix("buildsrht-")


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, of a checkout that is where this Python is."""
    program = tmp_path / "buildsrht"
    program.symlink_to(sys.executable)
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/srv/buildsrht/.venv/bin/buildsrht", str(program))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_each_part_of_the_service_has_a_unit():
    assert {part(unit) for unit in SERVICES} == {"web", *OF_A_BUILD_HOST, "courier"}


@pytest.mark.parametrize("unit", SERVICES, ids=part)
def test_a_unit_starts_a_command_that_there_is(unit):
    program, command, *rest = read(unit)["Service"]["ExecStart"].split()

    assert Path(program).name == "buildsrht"
    assert command in commands.commands
    assert (command, rest) == (part(unit), [])


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=part)
def test_systemd_has_nothing_to_say_against_a_unit(installed, unit):
    done = analyze("verify", "--man=no", installed / unit.name, installed / "buildsrht.target")

    assert (
        done.returncode,
        [line for line in done.stderr.splitlines() if "buildsrht" in line],
    ) == (
        0,
        [],
    )


@needs_systemd
def test_a_unit_that_starts_nothing_is_noticed(installed):
    broken = installed / "buildsrht-web.service"
    broken.write_text(broken.read_text().replace("ExecStart=", "ExecStart=/nonexistent"))

    assert analyze("verify", "--man=no", broken).returncode != 0


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=part)
def test_a_unit_exposes_no_more_than_it_has_to(unit):
    most = MOST_EXPOSED_HOST if part(unit) in OF_A_BUILD_HOST else MOST_EXPOSED

    done = analyze("security", "--offline=true", f"--threshold={int(most * 10)}", unit)

    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", SERVICES, ids=part)
def test_a_unit_comes_back_however_often_it_ends(unit):
    """While the database is away every start fails; systemd by itself gives up after five."""
    parsed = read(unit)

    assert parsed["Service"]["Restart"] == "always"
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize("unit", SERVICES, ids=part)
def test_a_unit_that_is_stopped_asks_its_main_process_alone(unit):
    service = read(unit)["Service"]

    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")


def test_a_worker_has_the_time_to_finish_its_jobs():
    stop = read(UNITS / "buildsrht-worker.service")["Service"]["TimeoutStopSec"]
    minutes = re.fullmatch(r"(\d+)min", stop)

    assert minutes
    assert int(minutes[1]) * 60 > config.load({}).worker.job_timeout


def test_a_worker_may_limit_its_guests_and_survives_one_that_is_killed():
    service = read(UNITS / "buildsrht-worker.service")["Service"]

    assert (service["Delegate"], service["OOMPolicy"]) == ("yes", "continue")


@pytest.mark.parametrize("unit", SERVICES, ids=part)
def test_the_configuration_is_where_the_page_says(unit):
    page = (UNITS.parents[1] / "docs" / "operating.md").read_text()
    path = read(unit)["Service"]["Environment"].removeprefix("BUILDSRHT_CONFIG=")

    assert f"`{path}`" in page
    assert f"{UNITS.name}/" in page
