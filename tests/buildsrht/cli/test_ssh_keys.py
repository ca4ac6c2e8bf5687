"""`buildsrht ssh-key`."""

import asyncssh
import pytest

KEY = asyncssh.generate_private_key("ssh-ed25519", comment="ann@laptop")
LINE = KEY.export_public_key().decode()


@pytest.fixture
def ssh_key(command, backend, monkeypatch):
    monkeypatch.setenv("VAR", str(backend.config.var))
    return lambda *arguments: command("ssh-key", *arguments)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "id.pub"
    path.write_text(LINE)
    return path


def test_a_key_in_a_file_is_registered_listed_and_removed(ssh_key, file):
    fingerprint = KEY.get_fingerprint()

    assert ssh_key("add", "--user", "ann", file) == (0, f"{fingerprint}\n", "")
    assert ssh_key("list").out == f"ann\t{fingerprint}\tnever\tann@laptop\n"
    assert ssh_key("list", "--user", "ben").out == ""
    assert ssh_key("remove", fingerprint) == (0, "", "")
    assert ssh_key("list").out == ""


def test_a_key_may_come_on_standard_input(ssh_key, file, monkeypatch):
    with file.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)

        assert ssh_key("add", "--user", "ann").out == f"{KEY.get_fingerprint()}\n"


def test_what_is_no_key_is_refused_in_one_sentence(ssh_key, tmp_path):
    private, binary = tmp_path / "id", tmp_path / "binary"
    private.write_bytes(KEY.export_private_key())
    binary.write_bytes(b"\xff\xfe")

    assert ssh_key("add", "--user", "ann", private).err.startswith("buildsrht: key: is a private")
    assert ssh_key("add", "--user", "ann", binary).err == (
        "buildsrht: key: is not text at byte 0\n"
    )
    assert ssh_key("list").out == ""


def test_a_key_that_is_not_there_cannot_be_removed(ssh_key):
    done = ssh_key("remove", "SHA256:nothing")

    assert done == (1, "", "buildsrht: there is no ssh key SHA256:nothing\n")
