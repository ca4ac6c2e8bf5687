"""`/artifacts`: downloads that can be resumed, and never run."""

import hashlib
import re

import pytest
from sqlalchemy import func, update

from buildsrht.models import Artifact
from buildsrht.services import artifacts, retention

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def url(client_of, owner, make_job, keep_artifact):
    """Where `DATA`, kept as the file of this name, is to be had."""

    def keep(name="out.bin", data=DATA):
        keep_artifact(make_job("success"), f"/home/build/{name}", data)
        [listed] = client_of(owner).get("/api/jobs/1/artifacts").json["results"]
        return listed["url"].removeprefix("http://127.0.0.1:5002")

    return keep


def test_a_download_is_what_was_kept(client, url):
    response = client.get(url())

    assert (response.status_code, response.data) == (200, DATA)
    assert response.content_length == len(DATA)
    assert response.headers["ETag"] == f'"{DIGEST}"'


def test_no_browser_takes_it_for_a_page(client, url):
    response = client.get(url("index.html", b"<script>alert(1)</script>"))

    assert response.content_type == "application/octet-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["Content-Disposition"].startswith("attachment; ")


@pytest.mark.usefixtures("uncounted")
def test_head_says_what_get_would_say(client, url):
    path = url()

    told = client.head(path)

    assert told.headers == client.get(path).headers
    assert told.data == b""


def test_an_empty_file_is_a_file(client, url):
    response = client.get(url(data=b""))

    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
        ('a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
        ("a b;c.txt", "attachment; filename=\"a b;c.txt\"; filename*=UTF-8''a%20b%3Bc.txt"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("ä\U0001f600", "attachment; filename=\"__\"; filename*=UTF-8''%C3%A4%F0%9F%98%80"),
        ("?#&=+", "attachment; filename=\"?#&=+\"; filename*=UTF-8''%3F%23%26%3D%2B"),
        ("a\r\nb: c", "attachment; filename=\"a__b: c\"; filename*=UTF-8''a%0D%0Ab%3A%20c"),
    ],
)
def test_any_name_survives_and_none_escapes_its_header(client, url, name, disposition):
    response = client.get(url(name))

    assert response.data == DATA
    assert response.headers["Content-Disposition"] == disposition


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=10000-", 10000, 10239), ("bytes=5-9", 5, 9), ("bytes=-7", 10233, 10239)],
)
def test_a_download_can_be_resumed(client, url, wanted, first, last):
    response = client.get(url(), headers={"Range": wanted, "If-Range": f'"{DIGEST}"'})

    assert (response.status_code, response.data) == (206, DATA[first : last + 1])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/10240"


def test_a_range_beyond_the_end_is_a_416_with_the_size(client, url):
    response = client.get(url(), headers={"Range": "bytes=10240-"})

    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */10240"
    assert response.json["errors"]


def test_a_file_that_the_client_has_is_not_sent_again(client, url):
    response = client.get(url(), headers={"If-None-Match": f'"{DIGEST}"'})

    assert (response.status_code, response.data) == (304, b"")


@pytest.mark.parametrize(
    ("part", "other"), [("/1/", "/2/"), ("/[0-9a-f]{16}/", "/0123456789abcdef/"), ("out", "in")]
)
def test_each_part_of_the_url_has_to_be_right(client, url, part, other):
    path, changes = re.subn(part, other, url())
    assert changes == 1

    response = client.get(path)

    assert response.status_code == 404
    assert response.json == {"errors": [{"reason": "there is no such artifact"}]}


# --- when its time is over --------------------------------------------------------------------


@pytest.fixture
def let_time_pass(backend):
    """Make every artifact's time be over."""

    def expire():
        with backend.transaction() as session:
            session.execute(update(Artifact).values(expires=func.now()))

    return expire


def test_an_expired_artifact_is_gone(client, url, let_time_pass):
    path = url()
    let_time_pass()

    response = client.get(path)

    assert response.status_code == 410
    assert response.json["errors"][0]["reason"].startswith("out.bin was kept until 20")


def test_an_artifact_whose_bytes_were_removed_is_gone_and_still_listed(
    client, client_of, owner, backend, url, let_time_pass
):
    path = url()
    let_time_pass()
    retention.remove_expired(backend)

    assert client.get(path).status_code == 410
    [listed] = client_of(owner).get("/api/jobs/1/artifacts").json["results"]
    assert listed["deleted"].endswith("+00:00")
    assert listed["url"].endswith(path)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_bytes_that_are_missing_from_storage_are_our_fault_and_told_so(
    client, backend, url, caplog, method
):
    path = url()
    with backend.transaction() as session:
        backend.storage.delete(artifacts.storage_key(session.get_one(Artifact, 1)))

    response = client.open(path, method=method)

    assert response.status_code == 500
    assert "in the database and not in storage" in caplog.text
    if method == "GET":
        reason = "its bytes are missing from storage"
        assert response.json == {"errors": [{"reason": reason}]}
