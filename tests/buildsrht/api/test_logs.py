"""`/query/log`: the log of a phase, whole or from where a follower left off."""

import hashlib
from dataclasses import replace

import pytest

from buildsrht import logs as log_module
from buildsrht.app import create_app
from buildsrht.backend import open_redis
from buildsrht.logs import Logs

TEXT = b"0123456789"
SETUP = "/query/log/1/log"
BUILD = "/query/log/1/build/log"
DIGEST = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def growing(make_job, write_log):
    """A running job whose build log has ten bytes so far."""
    return write_log(make_job("running"), "build", TEXT)


@pytest.fixture
def sealed(make_job, write_log):
    """A job whose build log came to its end after ten bytes."""
    return write_log(make_job("success"), "build", TEXT, seal=True)


def ask(client, path, wanted):
    return client.get(path, headers={"Range": wanted})


# --- all of it --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["growing", "sealed"])
def test_a_log_is_plain_text_and_no_browser_guesses_otherwise(client, request, state):
    request.getfixturevalue(state)

    response = client.get(BUILD)

    assert (response.status_code, response.data) == (200, TEXT)
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.content_length == len(TEXT)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Accept-Ranges"] == "bytes"


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("state", ["growing", "sealed"])
@pytest.mark.parametrize("wanted", [None, "bytes=3-5", "bytes=10-"])
def test_head_says_what_get_would_say(client, request, state, wanted):
    request.getfixturevalue(state)
    headers = {"Range": wanted} if wanted else {}

    got = client.get(BUILD, headers=headers)
    told = client.head(BUILD, headers=headers)

    assert (told.status_code, told.headers) == (got.status_code, got.headers)
    assert told.data == b""


def test_bytes_come_out_as_they_went_in(client, make_job, write_log):
    noise = bytes(range(256)) * 5
    write_log(make_job("running"), None, noise)

    assert client.get(SETUP).data == noise


@pytest.mark.parametrize("status", ["pending", "queued", "running", "success", "cancelled"])
@pytest.mark.parametrize("path", [SETUP, BUILD])
def test_a_log_that_nobody_has_written_is_empty_and_not_missing(client, make_job, status, path):
    make_job(status)

    response = client.get(path)

    assert (response.status_code, response.data) == (200, b"")


def test_a_log_grows(client, growing):
    client.get(BUILD)

    growing.write(b"more")

    assert client.get(BUILD).data == TEXT + b"more"


def test_only_a_sealed_log_is_complete_and_may_be_cached(client, growing, make_job, write_log):
    write_log(make_job("success"), "build", TEXT, seal=True)

    unfinished = client.get(BUILD).headers
    finished = client.get("/query/log/2/build/log").headers

    assert unfinished["X-Log-Complete"] == "false"
    assert unfinished["Cache-Control"] == "no-store"
    assert "ETag" not in unfinished
    assert finished["X-Log-Complete"] == "true"
    assert finished["Cache-Control"] == "private, max-age=31536000, immutable"
    assert finished["ETag"] == f'"{DIGEST}"'


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("known", [f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"])
def test_a_sealed_log_that_the_client_has_is_not_sent_again(client, known):
    response = client.get(BUILD, headers={"If-None-Match": known})

    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == f'"{DIGEST}"'


@pytest.mark.usefixtures("sealed")
def test_a_sealed_log_needs_no_redis(backend, tmp_path):
    away = open_redis(f"unix://{tmp_path}/nobody.sock")
    cut_off = replace(backend, redis=away, logs=Logs(away, backend.storage, backend.engine))

    response = create_app(cut_off).test_client().get(BUILD)

    assert (response.status_code, response.data) == (200, TEXT)


@pytest.mark.usefixtures("growing")
def test_a_growing_log_without_redis_is_a_503(backend, tmp_path):
    away = open_redis(f"unix://{tmp_path}/nobody.sock")
    cut_off = replace(backend, redis=away, logs=Logs(away, backend.storage, backend.engine))

    response = create_app(cut_off).test_client().get(BUILD)

    assert response.status_code == 503
    assert response.json["errors"]


# --- a part of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["growing", "sealed"])
@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-", 0, 9),
        ("bytes=3-", 3, 9),
        ("bytes=9-", 9, 9),
        ("bytes=3-5", 3, 5),
        ("bytes=0-0", 0, 0),
        ("bytes=3-99", 3, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-99", 0, 9),
        ("Bytes=3-5", 3, 5),
        ("bytes= 3-5 ", 3, 5),
    ],
)
def test_a_range_is_answered_with_its_bytes(client, request, state, wanted, first, last):
    request.getfixturevalue(state)

    response = ask(client, BUILD, wanted)

    assert response.status_code == 206
    assert response.data == TEXT[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/10"
    assert response.content_length == last + 1 - first


@pytest.mark.parametrize("state", ["growing", "sealed"])
@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=5-3",
        "bytes=-",
        "bytes=x-",
        "bytes=3",
        "bytes=+3-",
        "bytes=0-1,3-4",
        "bytes=" + "9" * 30 + "-",
        "bytes=\u0663-",
        "lines=1-",
        "",
    ],
)
def test_a_range_that_makes_no_sense_is_ignored(client, request, state, wanted):
    request.getfixturevalue(state)

    response = ask(client, BUILD, wanted)

    assert (response.status_code, response.data) == (200, TEXT)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=11-", "bytes=99-100", "bytes=-0"])
def test_the_end_of_a_growing_log_is_no_mistake(client, growing, wanted):
    response = ask(client, BUILD, wanted)

    assert (response.status_code, response.data) == (206, b"")
    assert response.headers["Content-Range"] == "bytes */10"


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=11-", "bytes=99-100", "bytes=-0"])
def test_beyond_the_end_of_a_sealed_log_there_will_never_be_anything(client, wanted):
    response = ask(client, BUILD, wanted)

    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */10"
    assert response.json["errors"]


@pytest.mark.parametrize("status", ["pending", "running", "success"])
@pytest.mark.parametrize("seal", [False, True])
def test_a_follower_may_begin_with_an_empty_log(client, make_job, write_log, status, seal):
    write_log(make_job(status), "build", b"", seal=seal)

    response = ask(client, BUILD, "bytes=0-")

    assert (response.status_code, response.data) == (206, b"")
    assert response.headers["Content-Range"] == "bytes 0-0/*"


def test_a_follower_that_remembers_its_last_byte_gets_everything_once(client, growing):
    """As hut does it: from the last byte it has, which it skips, until nothing more comes."""
    seen = ask(client, BUILD, "bytes=0-").data
    for more in (b"", b"a", b"", b"bc\nd"):
        growing.write(more)
        response = ask(client, BUILD, f"bytes={len(seen) - 1}-")
        assert response.status_code == 206
        seen += response.data[1:]

    assert seen == TEXT + b"abc\nd"


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(
    ("condition", "status"), [(f'"{DIGEST}"', 206), ('"other"', 200), (f'W/"{DIGEST}"', 200)]
)
def test_the_rest_of_something_else_is_not_sent(client, condition, status):
    response = client.get(BUILD, headers={"Range": "bytes=5-", "If-Range": condition})

    assert response.status_code == status


def test_a_long_log_is_streamed_in_pieces(client, make_job, write_log, monkeypatch):
    monkeypatch.setattr(log_module, "CHUNK", 4)
    write_log(make_job("running"), "build", TEXT)

    response = client.get(BUILD)

    assert list(response.iter_encoded()) == [b"0123", b"4567", b"89"]
