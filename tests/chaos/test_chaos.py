"""Faults of some kinds on purpose, on real build hosts; `make chaos` has the others, and more."""

import os
import subprocess
import sys

import pytest

FAULTS = (
    "work horse killed",
    "QEMU killed",
    "worker killed",
    "janitor killed",
    "Redis flushed",
    "bucket killed",
    "PostgreSQL killed",
    "link cut for 5 s",
    "build host killed",
)
RUN_SECONDS = 1200


@pytest.mark.vm
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are made by root only")
def test_whatever_is_killed_or_cut_off_no_job_is_lost_and_nothing_runs_twice():
    only = [argument for fault in FAULTS for argument in ("--only", fault)]
    size = ["--jobs", "16", "--faults", str(len(FAULTS)), "--seed", "7"]
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *size, *only],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert "Nothing was lost." in done.stdout
