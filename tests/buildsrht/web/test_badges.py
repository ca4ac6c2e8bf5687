"""Badges and the sign of a job: what they say, to whom, and for how long."""

from xml.etree import ElementTree

import pytest

from buildsrht.models import JobStatus, Visibility
from buildsrht.services.jobs import update_job
from buildsrht.web import drawing
from tests.contrast import contrast

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def read(client):
    """What a badge says: `read("/~owner.svg")`."""

    def read(path: str, **query: str) -> str:
        response = client.get(path, query_string=query)
        assert response.status_code == 200
        assert response.content_type == "image/svg+xml; charset=utf-8"
        return title_of(response.data)

    return read


def title_of(svg: bytes) -> str:
    return ElementTree.fromstring(svg).findtext(f"{SVG}title") or ""


# --- what it says -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["success", "failed", "timeout"])
def test_it_says_how_the_newest_job_came_out(make_job, read, status):
    make_job("success", visibility=Visibility.PUBLIC)
    make_job(status, visibility=Visibility.PUBLIC)
    assert read("/~owner.svg") == f"builds: {status}"


@pytest.mark.parametrize("status", ["pending", "queued", "running", "cancelled"])
def test_jobs_that_say_nothing_are_passed_over(make_job, read, status):
    make_job("failed", visibility=Visibility.PUBLIC)
    make_job(status, visibility=Visibility.PUBLIC)
    assert read("/~owner.svg") == "builds: failed"


@pytest.mark.parametrize("visibility", [Visibility.UNLISTED, Visibility.PRIVATE])
@pytest.mark.parametrize("status", ["success", "failed", "timeout", "cancelled"])
def test_what_is_not_public_changes_nothing_for_anybody(
    browse, client, client_of, make_job, owner, admin, visibility, status
):
    make_job("success", visibility=Visibility.PUBLIC, tags=["app"])
    before = client.get("/~owner/app.svg").data
    for _ in range(2):
        make_job("failed" if status == "success" else status, visibility=visibility, tags=["app"])

    askers = [client, client_of(owner), *(browse(user).client for user in (owner, admin))]
    assert {asker.get("/~owner/app.svg").data for asker in askers} == {before}


@pytest.mark.usefixtures("uncounted")
def test_a_user_with_hidden_jobs_only_looks_like_nobody(client, make_job):
    make_job("success", visibility=Visibility.PRIVATE)
    make_job("success", visibility=Visibility.UNLISTED)
    hidden, absent = client.get("/~owner.svg"), client.get("/~nobody.svg")
    assert hidden.data == absent.data
    assert dict(hidden.headers) == dict(absent.headers)
    assert title_of(hidden.data) == "builds: unknown"


def test_a_job_that_is_hidden_is_out_of_the_badge_at_once(backend, owner, make_job, read):
    job = make_job("failed", visibility=Visibility.PUBLIC)
    assert read("/~owner.svg") == "builds: failed"
    update_job(backend, job.id, owner, visibility=Visibility.PRIVATE)
    assert read("/~owner.svg") == "builds: unknown"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/~owner.svg", "timeout"),
        ("/~owner/app.svg", "failed"),
        ("/~owner/app/linux.svg", "success"),
        ("/~owner/app/linux/arm.svg", "success"),
        ("/~owner/linux.svg", "unknown"),
        ("/~owner/ap.svg", "unknown"),
        ("/~owner/app/.svg", "unknown"),
        ("/~owner/v1.0.svg", "timeout"),
        ("/~stranger/app.svg", "unknown"),
    ],
)
def test_a_path_of_tags_is_all_that_begins_with_it(make_job, stranger, read, path, said):
    make_job("success", visibility=Visibility.PUBLIC, tags=["app", "linux", "arm"])
    make_job("failed", visibility=Visibility.PUBLIC, tags=["app", "bsd"])
    make_job("timeout", visibility=Visibility.PUBLIC, tags=["v1.0"])
    assert read(path) == f"builds: {said}"


# --- the label --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("nightly", "nightly"),
        ("", "builds"),
        ("  ", "builds"),
        ("caf\u00e9 \u6d4b\u8bd5", "caf\u00e9 \u6d4b\u8bd5"),
        ("</title><script>alert(1)</script>", "</title><script>alert(1)</script>"),
        ("\" onload='x'", "\" onload='x'"),
        ("&amp;]]>", "&amp;]]>"),
        ("a\0b\x1b[1mc\x7f\ufffe", "ab[1mc"),
        ("\u202egnissap", "gnissap"),
        ("x" * 500, "x" * 60),
    ],
)
def test_the_label_is_text_whatever_is_in_it(read, client, name, label):
    assert read("/~owner.svg", name=name) == f"{label}: unknown"
    drawn = ElementTree.fromstring(client.get("/~owner.svg", query_string={"name": name}).data)
    assert [each.text for each in drawn.iter(f"{SVG}text")] == [label, "unknown"]
    assert {each.tag for each in drawn.iter()} == {
        f"{SVG}{name}" for name in ("svg", "title", "rect", "path", "g", "text")
    }


# --- the drawing ------------------------------------------------------------------------------


def test_who_sees_no_picture_hears_it(client):
    drawn = ElementTree.fromstring(client.get("/~owner.svg").data)
    assert drawn.attrib["role"] == "img"
    assert drawn.attrib["aria-label"] == "builds: unknown"


def test_words_are_as_wide_as_they_are_said_to_be():
    assert drawing.text_width("iii") < drawing.text_width("nnn") < drawing.text_width("mmm")
    assert drawing.text_width("e\u0301") == drawing.text_width("e")
    assert drawing.text_width("\u6d4b") > drawing.text_width("m")


@pytest.mark.parametrize("label", ["i", "builds", "W" * 60])
@pytest.mark.parametrize("status", ["success", "unknown"])
def test_words_do_not_touch_each_other_or_the_edge(label, status):
    drawn = drawing.badge(label, status)
    words = [each.attrib for each in drawn.iter("text")]
    ends = [int(each["x"]) + int(each["textLength"]) for each in words]
    assert ends[0] < int(words[1]["x"]) - drawing.SIGN_WIDTH + 1
    assert ends[1] < int(drawn.attrib["width"])


@pytest.mark.parametrize("status", [*JobStatus, "unknown"])
def test_white_is_read_on_every_colour(status):
    colour, _ = drawing.SIGNS[status]
    assert contrast("#ffffff", colour) >= 4.5
    assert contrast("#ffffff", drawing.LABEL) >= 4.5


# --- caches -----------------------------------------------------------------------------------


def test_anybody_may_keep_it_for_half_a_minute(client, browse, owner):
    for asker in (client, browse(owner).client):
        headers = asker.get("/~owner.svg").headers
        assert headers["Cache-Control"] == "public, max-age=30"
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Vary" not in headers
        assert "Set-Cookie" not in headers


def test_what_is_unchanged_is_not_sent_again(client, make_job):
    first = client.get("/~owner.svg")
    again = {"If-None-Match": first.headers["ETag"]}
    same = client.get("/~owner.svg", headers=again)
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["Cache-Control"] == "public, max-age=30"

    make_job("success", visibility=Visibility.PUBLIC)
    assert client.get("/~owner.svg", headers=again).status_code == 200


def test_each_address_has_an_answer_of_its_own(client):
    tags = {client.get(path).headers["ETag"] for path in ("/~owner.svg", "/~owner.svg?name=other")}
    assert len(tags) == 2


# --- the sign of a job ------------------------------------------------------------------------


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_has_a_sign_for_its_status(client, make_job, status):
    job = make_job(status)
    response = client.get(f"/~owner/job/{job.id}/icon.svg")
    assert title_of(response.data) == status
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in response.headers["Vary"]


def test_the_sign_of_a_private_job_is_for_whom_the_job_is(
    client, browse, make_job, owner, stranger, admin
):
    job = make_job(visibility=Visibility.PRIVATE)
    path = f"/~owner/job/{job.id}/icon.svg"
    askers = [client, *(browse(user).client for user in (stranger, owner, admin))]
    assert [asker.get(path).status_code for asker in askers] == [404, 404, 200, 200]


def test_a_job_is_where_its_owner_is(client, make_job, stranger):
    job = make_job("success")
    assert client.get(f"/~stranger/job/{job.id}/icon.svg").status_code == 404
