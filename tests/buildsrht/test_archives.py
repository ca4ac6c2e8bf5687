"""Which bytes can become a working tree; hostile ones cost little and are refused in a sentence."""

import gzip
import io
import random
import tarfile
import time
import tracemalloc

import pytest

from buildsrht import archives
from buildsrht.archives import problems_of
from tests.archives import archive, packed

MIB = 1024 * 1024
GOOD = archive(
    {"src/main.c": b"int main;" * 1000, "a" * 300: b"long", "Ünïcode": b"", "dir/": None}
)


def problems(data: bytes, most: int = 64 * MIB) -> list[str]:
    return problems_of([data[:100], data[100:]], most)


def test_a_good_archive_has_none():
    assert problems(GOOD) == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_common_form_of_tar_is_understood(form, tmp_path):
    (tmp_path / "deep" / ("d" * 90)).mkdir(parents=True)
    (tmp_path / "deep" / ("d" * 90) / "file").write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to("deep")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form) as made:
        made.add(tmp_path, arcname=".")
    assert problems(out.getvalue()) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends too early"),
        (b"PK\3\4 a zip file", "is no gzip file, or a damaged one: "),
        (gzip.compress(b"no tar" * 200), "is no tar archive compressed with gzip: "),
        (gzip.compress(b""), "is no tar archive compressed with gzip: "),
        (gzip.compress(b"\0" * 1024), "holds nothing"),
        (GOOD[:-20], "ends too early"),
        (GOOD[:-8] + b"\0" * 8, "is no gzip file, or a damaged one: "),
        (GOOD + b"more", "goes on behind its end"),
        (GOOD + GOOD, "goes on behind its end"),
    ],
)
def test_what_is_none_is_refused_in_a_sentence(data, reason):
    [problem] = problems(data)
    assert problem.startswith(reason)


def test_an_archive_that_breaks_off_or_is_damaged_inside_is_refused():
    plain = bytearray(gzip.decompress(archive({"a": b"x" * 2000, "b": b"y"})))
    cut = gzip.compress(plain[:1500])
    assert problems(cut) == ["is no tar archive compressed with gzip: unexpected end of data"]
    plain[512 + 2048 + 10] ^= 0xFF
    assert problems(gzip.compress(plain)) == ["is broken behind 'a'"]


def test_only_so_many_problems_are_said():
    many = packed(*(tarfile.TarInfo(f"/{number}") for number in range(100)))
    assert len(problems(many)) == archives.MOST_PROBLEMS


def test_an_archive_with_more_members_than_anybody_has_is_refused(monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    many = packed(*(tarfile.TarInfo(str(number)) for number in range(11)))
    assert problems(many) == ["has more than 10 members"]


def test_a_size_below_zero_does_not_go_round_for_ever():
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024 in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    [problem] = problems(gzip.compress(bytes(header) + b"\0" * 1024))
    assert "negative" in problem


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, len(records)
    return header.tobuf(tarfile.USTAR_FORMAT) + records + b"\0" * (-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %s=%s\n" % (length, key, value)


PAIRS = [record(b"%d" % number, b"v" * 5000) for number in range(9)]
FILE = tarfile.TarInfo("a").tobuf()
END = b"\0" * 1024


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (pax(record(b"path", b"x" * MIB)) + FILE + END, "has a member with a header of more"),
        (pax(record(b"a", b"b")) * 5000 + FILE + END, "has a member with a header of more"),
        (
            b"".join(
                pax(record(b"k%d" % number, b"v" * 1000), tarfile.XGLTYPE) + FILE
                for number in range(200)
            )
            + END,
            "has too many headers",
        ),
        ((pax(b"".join(PAIRS)) + FILE) * 2000 + END, "has too many headers"),
        (FILE + END + b"\0" * 129 * MIB, "may have 134,217,728 bytes unpacked, and has more"),
    ],
)
def test_what_would_fill_the_memory_is_refused(plain, reason):
    data = gzip.compress(plain)
    tracemalloc.start()
    try:
        [problem] = problems(data, 128 * MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem.startswith(reason)
    assert peak < 4 * MIB


def test_a_small_archive_of_a_large_one_is_read_in_little_time():
    member = tarfile.TarInfo("zeros")
    member.size = 10**12
    data = gzip.compress(member.tobuf() + b"\0" * 100 * MIB, 9)
    begin = time.monotonic()
    [problem] = problems_of([data], 64 * MIB)
    assert problem == "may have 67,108,864 bytes unpacked, and has more"
    assert time.monotonic() - begin < 10


def test_no_damage_makes_it_fall_over():
    randomly = random.Random(5)
    plain = gzip.decompress(GOOD)
    for _ in range(300):
        damaged = bytearray(plain)
        for _ in range(randomly.randrange(1, 30)):
            damaged[randomly.randrange(len(damaged))] = randomly.randrange(256)
        assert isinstance(problems(gzip.compress(damaged, 1)), list)
