"""A bucket of a real S3 server: how it is configured, and what happens when the server is away."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from buildsrht import bucket, storage
from buildsrht.errors import OperatorError
from buildsrht.storage import StorageError, open_storage
from tests.cut_link import link_to
from tests.s3_server import SECRET_KEY, STRANGER_KEY, s3_server

PART = storage.WRITE_PART
DATA = bytes(range(256)) * (3 * PART // 256)


@pytest.fixture
def chosen(s3, tmp_path):
    """What the operator of this test has configured."""
    return s3.settings(tmp_path, tmp_path.name)


@pytest.fixture
def impatient(monkeypatch):
    for name in ("READ_PATIENCE", "WRITE_PATIENCE"):
        monkeypatch.setattr(bucket, name, timedelta(seconds=1))


def whole(kept, key, size):
    return b"".join(kept.read(key, 0, size))


# configuration


def test_everything_that_is_missing_is_said_at_once(chosen):
    with pytest.raises(OperatorError) as refusal:
        open_storage(replace(chosen, access_key="", secret_key_file=None))

    assert str(refusal.value) == (
        "[storage] access_key: needed with [storage] url; "
        "[storage] secret_key_file: needed with [storage] url"
    )


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_names_its_file(chosen, tmp_path, content):
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(OperatorError, match=r"^\[storage\] secret_key_file: "):
        open_storage(replace(chosen, secret_key_file=path))


def test_a_bucket_that_is_ours_is_usable(chosen):
    storage.require_usable(chosen)


def test_a_bucket_that_is_missing_is_said_at_start(chosen):
    with pytest.raises(OperatorError, match=r"\[storage\] url: s3://nobodys/: no such bucket"):
        storage.require_usable(replace(chosen, url="s3://nobodys/"))


@pytest.mark.parametrize("wrong", ["key", "secret", "rights"])
def test_credentials_that_are_refused_are_said_at_start(chosen, wrong):
    if wrong == "secret":
        chosen.secret_key_file.write_text("another")
    else:
        other = {"key": "builds:nobody", "rights": STRANGER_KEY}[wrong]
        chosen = replace(chosen, access_key=other)

    with pytest.raises(
        OperatorError, match=r"access_key, secret_key_file: .* refuses them"
    ) as said:
        storage.require_usable(chosen)

    assert SECRET_KEY not in str(said.value)


def test_a_server_that_is_away_is_no_reason_not_to_start(chosen, caplog):
    storage.require_usable(replace(chosen, endpoint="http://127.0.0.1:1"))

    assert f"storage does not answer: {chosen.url}/" in caplog.text


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None])
def test_a_server_that_is_in_trouble_is_asked_once_at_start(chosen, caplog, monkeypatch, answer):
    monkeypatch.setattr(storage, "START_SECONDS", 0.2)
    with asked(answer) as (endpoint, times):
        storage.require_usable(replace(chosen, endpoint=endpoint))

    assert times() == 1
    assert f"storage does not answer: {chosen.url}/" in caplog.text


@contextmanager
def asked(answer: bytes | None):
    """The address of a server that says this to whoever asks, or says nothing and stays; and how
    often it was asked."""
    asking = []

    def serve(listener):
        with suppress(OSError):
            while True:
                asking.append(listener.accept()[0])
                asking[-1].recv(65536)
                if answer is not None:
                    asking[-1].sendall(answer)
                    asking[-1].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", lambda: len(asking)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for each in asking:
        each.close()


# what is said


def test_an_error_names_bucket_and_key_in_one_line_and_nothing_that_was_signed(chosen):
    chosen.secret_key_file.write_text("another")
    kept = open_storage(chosen)

    with pytest.raises(StorageError) as refusal:
        kept.put("jobs/1/key", [b"data"])

    said = str(refusal.value)
    assert said.startswith(f"{chosen.url}/jobs/1/key: ")
    assert said.endswith("(SignatureDoesNotMatch)")
    assert "\n" not in said
    assert "AWS4" not in said


def test_what_the_environment_says_to_other_programs_of_buckets_is_not_meant_for_us(
    chosen, monkeypatch
):
    others = {
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_SESSION_TOKEN": "anothers",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    kept = open_storage(chosen)
    kept.put("key", [b"data"])

    assert kept.read_all("key") == b"data"
    assert {name: os.environ.get(name) for name in others} == others


def test_without_its_bucket_no_key_is_said_to_be_gone(chosen):
    kept = open_storage(replace(chosen, url="s3://nobodys"))

    for use in (lambda: kept.read_all("key"), lambda: kept.put("key", [b""])):
        with pytest.raises(StorageError, match=r"s3://nobodys/key: .*NoSuchBucket"):
            use()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stays_away_is_an_error_in_time(chosen):
    kept = open_storage(replace(chosen, endpoint="http://127.0.0.1:1"))

    for use in (
        lambda: kept.put("key", [b"data"]),
        lambda: kept.read("key", 0, 1),
        lambda: kept.keys("jobs/"),
        lambda: kept.delete("key"),
        lambda: kept.discard_unfinished("jobs/"),
    ):
        with pytest.raises(StorageError, match=r"s3://builds/.*"):
            use()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_nothing_is_an_error_in_time(chosen, monkeypatch):
    for name in ("READ_SECONDS", "WRITE_SECONDS"):
        monkeypatch.setattr(bucket, name, 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = "http://{}:{}".format(*mute.getsockname())
        kept = open_storage(replace(chosen, endpoint=endpoint))
        for use in (lambda: kept.put("key", [b"data"]), lambda: kept.read("key", 0, 1)):
            with pytest.raises(StorageError, match=r"s3://builds/.*/key: "):
                use()


# reading


def test_who_replaces_an_object_while_it_is_read_ends_the_reading(chosen):
    kept = open_storage(chosen)
    kept.put("key", [b"a" * 3 * bucket.READ_PIECE])
    pieces = kept.read("key", 0, 3 * bucket.READ_PIECE)
    next(pieces)

    kept.put("key", [b"b" * 3 * bucket.READ_PIECE])

    with pytest.raises(StorageError, match="key: "):
        list(pieces)


# links that break


def test_an_upload_goes_on_where_its_link_broke(s3, chosen):
    with link_to(s3.address) as link:
        kept = open_storage(replace(chosen, endpoint=link.endpoint))
        # In the middle of the first part, and again in the middle of another.
        link.cut_after += [PART // 2, PART // 2]
        stored = kept.put("key", [DATA])
        assert link.cuts == 2

    assert stored == (len(DATA), hashlib.sha256(DATA).digest())
    assert whole(open_storage(chosen), "key", len(DATA)) == DATA
    assert s3.unfinished(chosen.url.rpartition("/")[2]) == []


def test_an_upload_goes_on_when_the_server_was_started_anew(tmp_path):
    with s3_server(tmp_path / "swift") as server:
        server.make_bucket("builds")
        chosen = server.settings(tmp_path, "restarted")
        kept = open_storage(chosen)
        is_away = threading.Event()

        def chunks():
            # More than is buffered, so that something has been sent.
            yield DATA + DATA
            server.stop()
            is_away.set()
            yield DATA

        def put():
            results.append(kept.put("key", chunks()))

        results = []
        writer = threading.Thread(target=put)
        writer.start()
        assert is_away.wait(60)
        # The daemons die with the thread that starts them, so it is not the writer's.
        server.start()
        writer.join(90)

        assert results == [(3 * len(DATA), hashlib.sha256(DATA * 3).digest())]
        assert whole(kept, "key", 3 * len(DATA)) == DATA * 3
        assert server.unfinished("restarted") == []


# processes

FORKS = """
import os, sys
from buildsrht import config, storage
settings = config.load().storage
storage.require_usable(settings)
child = os.fork()
if child == 0:
    storage.open_storage(settings).put("key", [b"from the child"])
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_who_has_seen_at_start_that_it_is_usable_may_fork(chosen, tmp_path):
    names = ("url", "endpoint", "access_key", "secret_key_file")
    options = "".join(f"{name} = {getattr(chosen, name)}\n" for name in names)
    (tmp_path / "config.ini").write_text(f"[storage]\n{options}")

    subprocess.run(
        [sys.executable, "-c", FORKS],
        env={**os.environ, "BUILDSRHT_CONFIG": str(tmp_path / "config.ini")},
        check=True,
        timeout=60,
    )

    assert open_storage(chosen).read_all("key") == b"from the child"
