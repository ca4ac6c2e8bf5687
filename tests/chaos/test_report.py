"""What a run of faults found, as people read it."""

import json

from chaos.report import Blow, Report


def report(**found):
    blows = [
        Blow("horse killed", 1, 1.0, 0.5),
        Blow("horse killed", 2, 3.0, 0.0),
        Blow("Redis flushed", 0, None, 2.25),
    ]
    ended = {"success": 7, "failed": 2}
    return Report(seed=5, jobs=9, seconds=61.4, blows=blows, ended=ended, begun_again=1, **found)


def test_each_kind_of_fault_has_a_row_with_its_median_and_its_worst():
    lines = list(report().lines())
    assert "| horse killed | 2 | 3 | 2.0 s | 3.0 s | 0.2 s | 0.5 s |" in lines
    assert "| Redis flushed | 1 | 0 | - | - | 2.2 s | 2.2 s |" in lines


def test_it_says_how_the_jobs_ended_and_that_nothing_was_lost():
    lines = list(report().lines())
    assert lines[:3] == [
        "seed 5: 9 jobs, 3 faults, 61 s",
        "2 failed, 7 success",
        "1 were begun again by themselves",
    ]
    assert lines[-1] == "Nothing was lost."


def test_every_broken_promise_is_told():
    lines = list(report(broken=["job 3 is still running"]).lines())
    assert lines[-2:] == ["BROKEN: job 3 is still running", "1 promises broken."]


def test_it_is_saved_as_json(tmp_path):
    report().save(tmp_path / "build/chaos.json")
    saved = json.loads((tmp_path / "build/chaos.json").read_text())
    assert (saved["seed"], saved["blows"][0]["fault"]) == (5, "horse killed")
