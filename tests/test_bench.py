"""The benchmark's arithmetic and its table; what it measures, only a run can show."""

import os
import subprocess
import sys

import pytest

from bench import cost, processes
from bench.__main__ import PARTS, _part_names
from bench.figures import RATIOS, Figures, Summary, document, percentile
from bench.table import LEGEND, TARGETS, Target, number, render

HOST = {"accelerator": "tcg", "cpus": 2}


def measured(**medians: float) -> dict[str, Summary]:
    return {name: Summary.of([median]) for name, median in medians.items()}


def row(table: str, name: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(f"{name} ")]
    return line.split()


def test_a_summary_has_the_middle_the_ends_and_how_many():
    assert Summary.of([5.0, 1.0, 2.0]) == Summary(median=2.0, min=1.0, max=5.0, n=3)


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 10), (95, 19), (100, 20), (1, 1), (0, 1), (96, 20)]
)
def test_a_percentile_is_one_of_the_values(percent, expected):
    assert percentile(list(range(20, 0, -1)), percent) == expected


def test_a_ratio_divides_the_medians():
    seconds = {
        "submit_to_first_byte": Summary.of([0.1, 0.6, 9.0]),
        "clone_first_command": Summary.of([0.3]),
    }
    assert Figures(seconds=seconds).ratios == {"first_byte_vs_clone": pytest.approx(2.0)}


def test_what_was_not_measured_has_no_ratio():
    assert Figures(seconds=measured(submit_to_first_byte=1.0)).ratios == {}


def test_parts_add_up():
    figures = Figures(seconds=measured(log_20mb=3.0))
    figures.include(Figures(rates=measured(jobs_per_minute=70.0), notes={"endurance": {}}))
    assert (list(figures.seconds), list(figures.rates)) == (["log_20mb"], ["jobs_per_minute"])
    assert figures.notes == {"endurance": {}}


def test_the_results_name_every_figure_by_its_unit():
    figures = Figures(
        seconds=measured(submit_to_first_byte=0.5, cold_boot_ssh=25.0),
        rates=measured(jobs_per_minute=71.23456),
        memory_mb=measured(per_extra_vm=55.0),
        notes={"endurance": {"jobs": 200}},
    )
    one = {"n": 1}
    assert document(figures, HOST) == {
        "ratios": {"first_byte_vs_cold_boot": 0.02},
        "seconds": {
            "submit_to_first_byte": {"median": 0.5, "min": 0.5, "max": 0.5, **one},
            "cold_boot_ssh": {"median": 25.0, "min": 25.0, "max": 25.0, **one},
        },
        "rates": {"jobs_per_minute": {"median": 71.23, "min": 71.23, "max": 71.23, **one}},
        "memory_mb": {"per_extra_vm": {"median": 55.0, "min": 55.0, "max": 55.0, **one}},
        "endurance": {"jobs": 200},
        "host": HOST,
    }


@pytest.mark.parametrize(
    ("target", "value", "is_met"),
    [
        (Target(4), 4.0, True),
        (Target(4), 4.1, False),
        (Target(60, at_least=True), 60.0, True),
        (Target(60, at_least=True), 59.9, False),
    ],
)
def test_a_target_is_a_limit_that_may_be_touched(target, value, is_met):
    assert target.is_met(value) is is_met


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (100.4, "100"),
        (-25.43, "-25.4"),
        (0.1234, "0.123"),
        (0.01234, "0.0123"),
    ],
)
def test_numbers_are_short_and_plain(value, text):
    assert number(value) == text


def test_the_table_begins_with_the_ratios_and_says_which_limits_were_met():
    figures = Figures(
        seconds=measured(
            submit_to_first_byte=1.0, clone_first_command=0.2, layer_install=100.0, layer_hit=1.0
        ),
        memory_mb={"per_extra_vm": Summary.of([50.0, 55.0, 60.0])},
    )
    table = render(figures, HOST)
    assert table.splitlines()[1].split() == ["first_byte_vs_clone", "5", "<=", "4", "MISSED"]
    assert row(table, "layer_hit_speedup") == ["layer_hit_speedup", "100", ">=", "50", "met"]
    expected = ["per_extra_vm", "55", "50", "60", "3", "<=", "60", "met"]
    assert row(table, "per_extra_vm") == expected
    assert table.endswith("accelerator tcg, cpus 2")


def test_every_figure_that_must_be_shown_is_explained():
    assert set(TARGETS) <= {*LEGEND, *RATIOS}


def test_parts_are_chosen_by_name():
    assert _part_names("clone,memory") == ["clone", "memory"]
    with pytest.raises(Exception, match="no such part: memoy"):
        _part_names("clone,memoy")
    assert "endurance" not in PARTS


def test_what_is_measured_apart_is_measured_when_it_is_named():
    assert _part_names("cost,endurance") == ["cost", "endurance"]
    assert "cost" not in PARTS


def test_what_a_job_costs_is_counted_for_one(backend, monkeypatch):
    monkeypatch.setattr(cost, "MANY", 20)
    monkeypatch.setattr(cost, "WAITING", 4)

    counted = cost._rows_and_bytes(backend)

    # Submitted, queued and begun are events of the job, and so is its end; its task has two.
    assert counted["rows"] == {"job": 1, "job_event": 5, "log": 2, "task": 1}
    assert set(counted["database_bytes"]) <= set(counted["rows"])
    assert counted["storage_files"] == 4
    assert counted["redis_bytes_while_waiting"] > 0
    assert counted["wal_bytes"] > 0


def test_the_processor_time_of_children_that_are_over_counts():
    """Most of what a job costs is that of processes that do not outlive it."""
    before = processes.cpu_seconds(os.getpid())

    subprocess.run([sys.executable, "-c", "sum(range(30_000_000))"], check=True)

    assert processes.cpu_seconds(os.getpid()) > before
