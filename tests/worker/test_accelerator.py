"""KVM is used where a guest booted on it, and nowhere else."""

import json
from contextlib import contextmanager

import pytest

from tests.worker.conftest import IMAGE, replace_in
from worker import accelerator
from worker.accelerator import choose_accelerator
from worker.errors import BootTimeout
from worker.images import BuiltImage, require_built


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


@pytest.mark.vm
def test_the_verdict_on_this_host_is_one_on_which_guests_do_boot(host_config, real_machine):
    """`real_machine` was started with the verdict, so it is true by the time we are here."""
    image = require_built(host_config, IMAGE, "amd64")
    assert choose_accelerator(host_config, image) in ("kvm", "tcg")
    assert real_machine.guest.run(["true"], lambda data: None) == 0
