"""What is accepted as a key or a file, and in what form it is kept."""

import resource
import subprocess
import zlib

import asyncssh
import pytest
from pysequoia import Tsk

from buildsrht.materials import (
    MOST_BYTES,
    MOST_PGP_BYTES,
    read_file,
    read_pgp_key,
    read_ssh_key,
)

SSH = asyncssh.generate_private_key("ssh-ed25519")
PGP = Tsk.generate("Ann <ann@example.org>")
ARMOURED = str(PGP).encode()
PUBLIC = str(PGP.extract_certificate()).encode()


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("ssh-ed25519", "openssh"),
        ("ssh-ed25519", "pkcs8-pem"),
        ("ecdsa-sha2-nistp256", "openssh"),
        ("ecdsa-sha2-nistp384", "pkcs1-pem"),
        ("ssh-rsa", "openssh"),
        ("ssh-rsa", "pkcs1-pem"),
    ],
)
def test_an_ssh_key_is_kept_as_it_is(kind, form):
    key = asyncssh.generate_private_key(kind).export_private_key(form)

    assert read_ssh_key(key) == key


def test_an_ssh_key_from_a_form_on_a_web_page_is_mended():
    key = SSH.export_private_key()

    assert read_ssh_key(key.replace(b"\n", b"\r\n").rstrip()) == key


@pytest.mark.parametrize("options", [[], ["-m", "PEM"], ["-m", "PKCS8"]])
def test_an_ssh_key_with_a_passphrase_is_refused_as_a_build_cannot_type_it(tmp_path, options):
    path = tmp_path / "id"
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "swordfish", *options]
    subprocess.run([*command, "-f", path], check=True)

    with pytest.raises(ValueError, match="protected by a passphrase, which no build can type"):
        read_ssh_key(path.read_bytes())


@pytest.mark.parametrize(
    "data",
    [
        SSH.export_private_key()[:-60],
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\n%\n-----END RSA PRIVATE KEY-----\n",
        ARMOURED,
        b"\xff\0",
    ],
)
def test_what_is_no_ssh_private_key_is_refused_without_quoting_it(data):
    with pytest.raises(ValueError, match="is not an ssh private key, or a damaged one") as refusal:
        read_ssh_key(data)
    assert refusal.value.__cause__ is None


def test_the_public_half_of_a_key_is_told_from_a_damaged_one():
    with pytest.raises(ValueError, match="is a public key; what a build needs is its private half"):
        read_ssh_key(SSH.export_public_key())


def test_a_private_key_of_another_trade_is_refused():
    key = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "x25519"], check=True, capture_output=True
    ).stdout

    with pytest.raises(ValueError, match="none that ssh can use"):
        read_ssh_key(key)


@pytest.mark.parametrize("key", [ARMOURED, bytes(PGP)], ids=["armoured", "binary"])
def test_a_pgp_key_is_kept_as_it_is(key):
    assert read_pgp_key(key) == key


def test_several_pgp_keys_may_come_together_if_one_is_private():
    other = bytes(Tsk.generate("Ben <ben@example.org>").extract_certificate())

    assert read_pgp_key(other + bytes(PGP)) == other + bytes(PGP)


def test_a_public_pgp_key_alone_is_refused():
    with pytest.raises(ValueError, match="has no private PGP key"):
        read_pgp_key(PUBLIC)


@pytest.mark.parametrize("data", [b"hello", ARMOURED[:300], SSH.export_private_key(), b"\xc5\x58"])
def test_what_is_no_pgp_key_is_refused(data):
    with pytest.raises(ValueError, match="is not a PGP key, or a damaged one"):
        read_pgp_key(data)


def packet(tag, body):
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body


def packed(body):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packet(8, b"\x01" + compressor.compress(body) + compressor.flush())


@pytest.mark.parametrize("key", [b"", bytes(PGP)], ids=["alone", "behind a key"])
def test_what_would_unpack_to_gigabytes_is_refused_unpacked(key):
    literal = packet(11, b"b\0\0\0\0\0" + bytes(50_000_000))
    bomb = key + packed(packed(literal))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(ValueError, match="is not a PGP key, or a damaged one"):
        read_pgp_key(bomb)

    assert len(bomb) < MOST_PGP_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 10_000


@pytest.mark.parametrize(
    ("uploaded", "kept"),
    [
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"no end", b"no end\n"),
        (b"a\n\n", b"a\n\n"),
        ("grün".encode(), "grün\n".encode()),
        (b"\0\r\n", b"\0\r\n"),
        (b"\xff\r\n", b"\xff\r\n"),
    ],
)
def test_a_file_that_is_text_has_line_feeds_and_one_at_its_end_any_other_is_kept_as_it_is(
    uploaded, kept
):
    assert read_file(uploaded) == kept


@pytest.mark.parametrize(
    ("read", "most"),
    [(read_file, MOST_BYTES), (read_ssh_key, MOST_BYTES), (read_pgp_key, MOST_PGP_BYTES)],
)
def test_what_is_empty_or_too_large_is_refused(read, most):
    with pytest.raises(ValueError, match="is empty"):
        read(b"")
    with pytest.raises(ValueError, match=f"has more than {most:,} bytes"):
        read(b"x" * (most + 1))


def test_a_file_may_have_every_byte_that_is_allowed():
    assert len(read_file(b"\0" * MOST_BYTES)) == MOST_BYTES
