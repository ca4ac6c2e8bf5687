"""KVM is used where a guest booted on it, and nowhere else."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.worker.conftest import IMAGE, replace_in
from worker import accelerator
from worker.accelerator import choose_accelerator
from worker.errors import BootTimeout, RunnerError
from worker.images import BuiltImage, require_built
from worker.qemu import MACHINES


@pytest.fixture
def config(backend, tmp_path):
    (tmp_path / "images").mkdir()
    return replace_in(backend.config, "images", path=tmp_path / "images")


@pytest.fixture
def image(tmp_path):
    return BuiltImage("some/image", "amd64", tmp_path)


@pytest.fixture
def trials(monkeypatch, tmp_path):
    """A host with a KVM device, whose trial boots end as a test says; knows how many there were."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(accelerator, "KVM_DEVICE", device)
    verdicts = []

    def boots(config, image, guard):
        verdicts.append(True)
        return trials.boot

    trials = type("Trials", (), {"boot": True, "verdicts": verdicts})()
    monkeypatch.setattr(accelerator, "_kvm_boots", boots)
    return trials


@pytest.mark.parametrize(("boots", "chosen"), [(True, "kvm"), (False, "tcg")])
def test_a_trial_boot_decides_once_and_is_remembered(config, image, trials, boots, chosen):
    trials.boot = boots
    assert [choose_accelerator(config, image) for _ in range(3)] == [chosen] * 3
    assert len(trials.verdicts) == 1


def test_another_kernel_or_qemu_is_tried_anew(config, image, trials, monkeypatch):
    choose_accelerator(config, image)
    monkeypatch.setattr("platform.release", lambda: "another kernel")
    choose_accelerator(config, image)
    assert len(trials.verdicts) == 2


def test_a_trial_that_was_stopped_says_nothing_and_is_not_remembered(config, image, monkeypatch):
    @contextmanager
    def boot(*_, **__):
        raise BootTimeout("it was killed")
        yield

    @contextmanager
    def stopped(kill):
        kill()
        yield

    monkeypatch.setattr("worker.vm.boot", boot)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("os.access", lambda *_: True)
    with pytest.raises(BootTimeout):
        choose_accelerator(config, image, stopped)
    assert not (config.images.path / accelerator.REMEMBERED).exists()


@pytest.mark.parametrize("remembered", ["", "not JSON", "[]", json.dumps({"accelerator": "kvm"})])
def test_a_memory_that_says_nothing_useful_is_ignored(config, image, trials, remembered):
    (config.images.path / accelerator.REMEMBERED).write_text(remembered)
    trials.boot = False
    assert choose_accelerator(config, image) == "tcg"


def test_without_the_device_nothing_is_tried(config, image, trials, monkeypatch, tmp_path):
    monkeypatch.setattr(accelerator, "KVM_DEVICE", tmp_path / "absent")
    assert choose_accelerator(config, image) == "tcg"
    assert trials.verdicts == []


@pytest.mark.parametrize("word", ["kvm", "tcg"])
def test_the_operators_word_is_final(config, image, trials, word):
    assert choose_accelerator(replace_in(config, "worker", accelerator=word), image) == word
    assert trials.verdicts == []


# --- other processors -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["auto", "kvm", "tcg"])
def test_a_processor_that_is_not_the_host_s_is_emulated_whatever_the_operator_says(
    config, image, trials, word
):
    foreign = replace(image, arch="arm64")
    assert choose_accelerator(replace_in(config, "worker", accelerator=word), foreign) == "tcg"
    assert trials.verdicts == []


def test_on_a_host_of_that_processor_kvm_is_tried_for_it(config, image, trials, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert choose_accelerator(config, replace(image, arch="arm64")) == "kvm"
    assert choose_accelerator(config, image) == "tcg"
    assert len(trials.verdicts) == 1


def test_one_verdict_holds_for_all_names_of_a_processor(config, image, trials):
    for arch in ("amd64", "x86_64", "amd64"):
        assert choose_accelerator(config, replace(image, arch=arch)) == "kvm"
    assert len(trials.verdicts) == 1


def test_a_processor_for_which_there_is_no_machine_is_refused_with_those_there_are(config, image):
    with pytest.raises(RunnerError, match="s390x is none of the processors amd64, x86_64, arm64"):
        choose_accelerator(config, replace(image, arch="s390x"))


def test_a_qemu_that_is_not_installed_is_named(config, image, monkeypatch):
    absent = replace(MACHINES["arm64"], binary="qemu-system-absent")
    monkeypatch.setitem(MACHINES, "arm64", absent)
    with pytest.raises(RunnerError, match=r"some/image \(arm64\) needs qemu-system-absent"):
        choose_accelerator(config, replace(image, arch="arm64"))


@pytest.mark.vm
def test_the_verdict_on_this_host_is_one_on_which_guests_do_boot(host_config, real_machine):
    """`real_machine` was started with the verdict, so it is true by the time we are here."""
    image = require_built(host_config, IMAGE, "amd64")
    assert choose_accelerator(host_config, image) in ("kvm", "tcg")
    assert real_machine.guest.run(["true"], lambda data: None) == 0
