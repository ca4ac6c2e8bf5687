"""What an operator's check says of a build host."""

from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht.checks import Verdict
from buildsrht.checks.looking import Room, Trouble
from worker import checks
from worker.checks import Host, Image

WELL = Host(
    missing=(),
    rooms={"[worker] path": Room(Path("/work"), 2**40, writable=True)},
    accelerator="kvm",
    kvm_is_there=True,
    kvm_is_open=True,
    images=(Image("debian/trixie", "amd64", is_built=True, is_fresh=True),),
    network=None,
    unlimited=None,
    slots=2,
)


@pytest.fixture
def judged(config):
    """The findings that are not good, of a host that differs from one that is well."""

    def judge(**facts):
        findings = checks.judge(config, replace(WELL, **facts))
        return [each for each in findings if each.verdict != Verdict.GOOD]

    return judge


def test_a_host_that_is_well_has_nothing_but_good_findings(judged):
    assert judged() == []


@pytest.mark.parametrize(
    ("facts", "verdict", "said"),
    [
        ({"missing": ["nft"]}, Verdict.BAD, "nft (Debian's nftables)"),
        ({"images": ()}, Verdict.BAD, "`buildsrht image build`"),
        (
            {"images": (Image("debian/sid", "amd64", is_built=False, is_fresh=False),)},
            Verdict.BAD,
            "`buildsrht image build debian/sid --arch amd64`",
        ),
        (
            {"images": (Image("debian/sid", "amd64", is_built=True, is_fresh=False),)},
            Verdict.DOUBTFUL,
            "older than its recipe",
        ),
        ({"network": Trouble("no network: Operation not permitted")}, Verdict.BAD, "not permitted"),
        ({"unlimited": "no such controller"}, Verdict.DOUBTFUL, "no such controller"),
        (
            {"accelerator": "tcg", "kvm_is_open": False},
            Verdict.DOUBTFUL,
            "is it in the group kvm?",
        ),
        (
            {"accelerator": "tcg", "kvm_is_open": False, "kvm_is_there": False},
            Verdict.DOUBTFUL,
            "there is no /dev/kvm",
        ),
        (
            {"rooms": {"[worker] path": Room(Path("/work"), 2**20, writable=True)}},
            Verdict.BAD,
            "1.0 MiB free, and 4.0 GiB are needed",
        ),
    ],
)
def test_what_a_host_lacks_is_told_with_its_remedy(judged, facts, verdict, said):
    (finding,) = judged(**facts)

    assert finding.verdict == verdict
    assert said in finding.said


def test_an_accelerator_that_the_operator_insists_on_must_be_there(config):
    insisting = replace(config, worker=replace(config.worker, accelerator="kvm"))
    host = replace(WELL, kvm_is_open=False)

    assert checks._accelerator(insisting, host).verdict == Verdict.BAD


def test_this_host_has_what_the_tests_of_a_build_host_need(config):
    """Really looked at: programs, directories, and a network for a guest."""
    found = {each.what: each for each in checks.check(config)}

    assert found["programs"].verdict == Verdict.GOOD
    assert found["[worker] path"].said.startswith(str(config.worker.path))
    assert found["guests' network"].verdict == Verdict.GOOD
    # No test has built an image there.
    assert found["images"].verdict == Verdict.BAD
