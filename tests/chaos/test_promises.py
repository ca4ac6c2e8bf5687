"""What is too slow for what docs/recovery.md promises."""

import pytest

from chaos.promises import too_slow
from chaos.report import Blow


@pytest.mark.parametrize(
    "blow",
    [
        Blow("horse killed", 1, 29.9, 4.9),
        Blow("Redis flushed", 0, None, 0.0),
        Blow("everything killed", 4, 20.0, 11.0, hits_all=True),
    ],
)
def test_what_is_seen_to_in_time_breaks_no_promise(blow):
    assert list(too_slow([blow])) == []


@pytest.mark.parametrize(
    ("blow", "said"),
    [
        (Blow("horse killed", 1, None, 0.0), "not seen to within 30 s"),
        (Blow("horse killed", 1, 30.1, 0.0), "not seen to within 30 s"),
        (Blow("Redis killed", 0, None, 5.1), "the queue stood still for 5.1 s"),
    ],
)
def test_what_takes_longer_is_told(blow, said):
    [problem] = too_slow([blow])
    assert problem.startswith(blow.fault)
    assert problem.endswith(said)
