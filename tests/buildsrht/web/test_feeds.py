"""RSS and cc.xml: what programs learn of a user's public jobs."""

from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

import pytest

from buildsrht.models import Visibility

ATOM = "{http://www.w3.org/2005/Atom}"
KINDS = ("rss", "cc")


@pytest.fixture
def feed(client):
    """The root of a feed: `feed("/~owner/rss.xml")`."""

    def read(path: str):
        response = client.get(path)
        assert response.status_code == 200
        return ElementTree.fromstring(response.data)

    return read


def titles(rss) -> list[str]:
    return [item.findtext("title") for item in rss.iter("item")]


def projects(tray) -> dict[str, dict[str, str]]:
    return {project.attrib["name"]: project.attrib for project in tray.iter("Project")}


# --- who learns what --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("visibility", [Visibility.UNLISTED, Visibility.PRIVATE])
@pytest.mark.parametrize("status", ["queued", "running", "success", "failed", "cancelled"])
def test_what_is_not_public_changes_nothing_for_anybody(
    browse, client, client_of, make_job, owner, admin, kind, visibility, status
):
    make_job("success", visibility=Visibility.PUBLIC, tags=["app"])
    paths = [f"/~owner/{kind}.xml", f"/~owner/app/{kind}.xml"]
    before = [client.get(path).data for path in paths]
    make_job(status, visibility=visibility, tags=["app"])
    make_job(status, visibility=visibility, tags=["covert"], note="covert")

    for asker in (client, client_of(owner), browse(owner).client, browse(admin).client):
        assert [asker.get(path).data for path in paths] == before


@pytest.mark.parametrize("kind", KINDS)
def test_tags_of_hidden_jobs_are_like_tags_that_nobody_has(client, make_job, kind):
    make_job("success", visibility=Visibility.PRIVATE, tags=["covert"])
    hidden, absent = (client.get(f"/~owner/{tag}/{kind}.xml") for tag in ("covert", "absent"))
    assert hidden.status_code == absent.status_code == 200
    assert hidden.text.replace("covert", "absent") == absent.text


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_has_no_feed(client, kind):
    for path in (f"/~nobody/{kind}.xml", f"/~nobody/app/{kind}.xml"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("page", ["/~owner", "/~owner/app", "/~owner/app/linux"])
def test_pages_say_where_it_is(browse, owner, page):
    browser = browse()
    html = browser.open(page).text
    alternate = 'rel="alternate" type="application/rss+xml" title="How jobs ended"'
    assert f'<link {alternate} href="{page}/rss.xml">' in html
    for address in (f"{page}.svg", f"{page}/rss.xml", f"{page}/cc.xml"):
        assert address in browser.links
        assert browser.client.get(address).status_code == 200


# --- RSS --------------------------------------------------------------------------------------


def test_it_has_the_public_jobs_that_are_over_newest_first(feed, make_job):
    for status in ("success", "failed", "timeout", "cancelled", "running", "queued", "pending"):
        make_job(status, visibility=Visibility.PUBLIC, tags=["app", "linux"])
    make_job("success", visibility=Visibility.PUBLIC)
    assert titles(feed("/~owner/rss.xml")) == [
        "#8 · success",
        "#4 · app/linux · cancelled",
        "#3 · app/linux · timeout",
        "#2 · app/linux · failed",
        "#1 · app/linux · success",
    ]


def test_a_path_of_tags_has_what_begins_with_it(feed, make_job):
    make_job("success", visibility=Visibility.PUBLIC, tags=["app", "linux"])
    make_job("success", visibility=Visibility.PUBLIC, tags=["app"])
    make_job("success", visibility=Visibility.PUBLIC, tags=["linux"])
    assert titles(feed("/~owner/app/rss.xml")) == ["#2 · app · success", "#1 · app/linux · success"]
    assert titles(feed("/~owner/app/linux/rss.xml")) == ["#1 · app/linux · success"]


def test_a_channel_says_where_it_is(feed, owner):
    channel = feed("/~owner/app/rss.xml").find("channel")
    page = "http://127.0.0.1:5002/~owner/app"
    assert channel.findtext("title") == "Jobs of ~owner/app"
    assert channel.findtext("link") == page
    assert channel.findtext("description")
    assert channel.find(f"{ATOM}link").attrib == {
        "href": f"{page}/rss.xml",
        "rel": "self",
        "type": "application/rss+xml",
    }


def test_an_item_is_a_job_for_good(feed, fetch, make_job):
    job = make_job("failed", visibility=Visibility.PUBLIC, tags=["app", "linux"])
    item = feed("/~owner/rss.xml").find("channel/item")
    page = f"http://127.0.0.1:5002/~owner/job/{job.id}"
    assert item.findtext("link") == item.findtext("guid") == page
    assert item.find("guid").attrib == {"isPermaLink": "true"}
    assert [each.text for each in item.findall("category")] == ["app", "linux"]
    ended = fetch(job.id).finished.replace(microsecond=0)
    assert parsedate_to_datetime(item.findtext("pubDate")) == ended


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        ("a & b <script>alert(1)</script>", "a &amp; b &lt;script&gt;alert(1)&lt;/script&gt;"),
        ("]]><item>", "]]&gt;&lt;item&gt;"),
        ("bell \x07 escape \x1b[1m \ufffe", "bell \ufffd escape \ufffd[1m \ufffd"),
        ("caf\u00e9 \U0001f680", "caf\u00e9 \U0001f680"),
    ],
)
def test_a_note_is_text_whatever_is_in_it(feed, make_job, note, shown):
    make_job("success", visibility=Visibility.PUBLIC, note=note)
    items = list(feed("/~owner/rss.xml").iter("item"))
    assert [item.findtext("description") for item in items] == [shown]


def test_a_feed_ends_somewhere(feed, backend, make_job, monkeypatch):
    monkeypatch.setattr("buildsrht.web.feeds.ITEMS", 2)
    for _ in range(3):
        make_job("success", visibility=Visibility.PUBLIC)
    assert titles(feed("/~owner/rss.xml")) == ["#3 · success", "#2 · success"]


# --- cc.xml -----------------------------------------------------------------------------------


def test_each_list_of_tags_is_a_project(feed, fetch, make_job):
    jobs = {
        "~owner": make_job("timeout", visibility=Visibility.PUBLIC),
        "~owner/app": make_job("success", visibility=Visibility.PUBLIC, tags=["app"]),
        "~owner/app/bsd": make_job("failed", visibility=Visibility.PUBLIC, tags=["app", "bsd"]),
    }
    make_job("cancelled", visibility=Visibility.PUBLIC, tags=["app"])
    make_job("running", visibility=Visibility.PUBLIC, tags=["app", "bsd"])
    make_job("running", visibility=Visibility.PUBLIC, tags=["fresh"])

    def project(name, status, activity="Sleeping"):
        return {
            "name": name,
            "activity": activity,
            "lastBuildStatus": status,
            "lastBuildLabel": str(jobs[name].id),
            "lastBuildTime": fetch(jobs[name].id).finished.isoformat(timespec="seconds"),
            "webUrl": f"http://127.0.0.1:5002/{name}",
        }

    app = project("~owner/app", "Success")
    bsd = project("~owner/app/bsd", "Failure", "Building")
    assert feed("/~owner/cc.xml").tag == "Projects"
    assert projects(feed("/~owner/cc.xml")) == {
        "~owner": project("~owner", "Exception"),
        "~owner/app": app,
        "~owner/app/bsd": bsd,
    }
    assert projects(feed("/~owner/app/cc.xml")) == {"~owner/app": app, "~owner/app/bsd": bsd}
    assert projects(feed("/~owner/app/bsd/cc.xml")) == {"~owner/app/bsd": bsd}


def test_a_project_is_its_newest_job(feed, make_job):
    for status in ("success", "failed"):
        make_job(status, visibility=Visibility.PUBLIC, tags=["app"])
    found = projects(feed("/~owner/cc.xml"))
    assert {name: each["lastBuildStatus"] for name, each in found.items()} == {
        "~owner/app": "Failure"
    }


def test_others_jobs_are_others(feed, make_job, stranger):
    make_job("success", visibility=Visibility.PUBLIC, tags=["app"], user=stranger)
    make_job("running", visibility=Visibility.PUBLIC, tags=["app"], user=stranger)
    make_job("success", visibility=Visibility.PUBLIC, tags=["app"])
    assert titles(feed("/~owner/rss.xml")) == ["#3 · app · success"]
    assert [each["activity"] for each in projects(feed("/~owner/cc.xml")).values()] == ["Sleeping"]


# --- caches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content_type"), [("rss", "application/rss+xml"), ("cc", "application/xml")]
)
def test_readers_that_ask_again_are_told_that_nothing_is_new(
    client, browse, owner, make_job, kind, content_type
):
    path = f"/~owner/{kind}.xml"
    first = client.get(path)
    assert first.content_type == f"{content_type}; charset=utf-8"
    assert first.headers["Cache-Control"] == "public, max-age=30"
    assert "Set-Cookie" not in first.headers
    assert "Vary" not in browse(owner).client.get(path).headers
    again = {"If-None-Match": first.headers["ETag"]}
    assert client.get(path, headers=again).status_code == 304

    make_job("success", visibility=Visibility.PUBLIC)
    assert client.get(path, headers=again).status_code == 200
