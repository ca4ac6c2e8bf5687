"""Jobs in lists: the first page, users' and tags', searches, and how jobs went lately."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from buildsrht.models import Job, Visibility
from buildsrht.web import listing, rows
from tests.build_host import BuildHost

PUBLIC = {"visibility": Visibility.PUBLIC}


def listed(browser) -> list[int]:
    """The numbers of the jobs on the page, in its order, each once for each row."""
    numbers = (re.fullmatch(r"/~\w+/job/(\d+)", link) for link in browser.links)
    return [int(number[1]) for number in numbers if number]


def headings(browser) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", browser.page.text)


@pytest.fixture
def as_many_as(monkeypatch):
    return lambda count: monkeypatch.setattr(listing, "PAGE", count)


# --- the first page -------------------------------------------------------------------------------


def test_who_is_not_signed_in_learns_what_this_is_and_sees_public_jobs(browse, make_job):
    shown = make_job("success", note="Hello", **PUBLIC)
    make_job("success", note="Hidden")

    browser = browse()
    browser.open("/")

    assert listed(browser) == [shown.id]
    assert "/login" in browser.links
    assert "buildsrht submit" in browser.text
    assert "Hidden" not in browser.text


def test_who_has_signed_in_sees_what_is_under_way_and_then_the_rest(browse, make_job, owner):
    ended = make_job("success")
    pending, running, queued = (make_job(status) for status in ("pending", "running", "queued"))

    browser = browse(owner)
    browser.open("/")

    assert listed(browser) == [running.id, queued.id, pending.id, ended.id]
    assert headings(browser) == ["Under way", "Recent"]


def test_what_does_not_fit_under_way_is_among_the_rest(browse, make_job, owner, monkeypatch):
    monkeypatch.setattr(listing, "UNDER_WAY", 1)
    first, second = make_job(), make_job()

    browser = browse(owner)
    browser.open("/")

    assert listed(browser) == [second.id, first.id]


def test_each_reason_why_a_job_waits_is_on_the_page(browse, make_job, owner):
    make_job("pending"), make_job(), make_job()

    text = browse_text(browse(owner), "/")

    assert "waits until its owner starts it" in text
    assert "1 of its owner's jobs is before it." in text
    assert text.count("No build host is there to take it") == 2


def test_the_queue_is_said_to_be_what_it_is(browse, make_job, owner):
    make_job("running"), make_job(), make_job()

    text = browse_text(browse(owner), "/")

    assert "The queue: 1 job runs, 2 wait; no build host is there to take them." in text


def test_who_has_no_jobs_is_told_how_to_begin(browse, owner):
    browser = browse(owner)
    browser.open("/")

    assert "You have no jobs yet." in browser.text
    assert "/submit" in browser.links
    assert browse_text(browse(), "/").count("There are none yet.") == 1


def test_one_comes_here_after_signing_in(browse, owner):
    browser = browse(owner)
    browser.open("/login")

    assert browser.path == "/"


def browse_text(browser, path: str) -> str:
    browser.open(path)
    return browser.text


# --- users and tags -------------------------------------------------------------------------------


def test_a_page_of_a_user_has_what_its_viewer_may_find(browse, make_job, owner, stranger, admin):
    public = make_job(**PUBLIC).id
    unlisted = make_job().id
    private = make_job(visibility=Visibility.PRIVATE).id
    make_job(user=stranger, **PUBLIC)

    seen = {}
    for name, viewer in (("nobody", None), ("stranger", stranger), ("own", owner), ("all", admin)):
        browser = browse(viewer)
        browser.open("/~owner")
        seen[name] = listed(browser)

    everything = [private, unlisted, public]
    assert seen == {"nobody": [public], "stranger": [public], "own": everything, "all": everything}


def test_a_path_of_tags_has_its_jobs_and_a_way_up(browse, make_job, owner):
    job = make_job(tags=["web", "main"], **PUBLIC)
    make_job(tags=["main"], **PUBLIC)

    browser = browse()
    browser.open("/~owner/web/main")

    assert listed(browser) == [job.id]
    assert {"/~owner", "/~owner/web", "/~owner/web/main"} <= set(browser.links)


@pytest.mark.parametrize("path", ["/~nobody", "/~nobody/tag", "/~owner/a%20b", "/~owner/caf%C3%A9"])
def test_what_cannot_be_is_not_found(browse, owner, path):
    assert browse().open(path).status_code == 404


def test_tags_of_hidden_jobs_look_like_those_that_nobody_uses(browse, make_job, owner):
    make_job("failed", tags=["secret"], visibility=Visibility.PRIVATE)
    browser = browse()

    hidden, absent = (browser.open(f"/~owner/{tag}").text for tag in ("secret", "absent"))

    assert hidden.replace("secret", "absent") == absent


# --- rows -----------------------------------------------------------------------------------------


def test_a_row_has_what_there_is_to_know_of_a_job(browse, make_job, backend):
    job = make_job(note="Fix *the* parser\n\nAll of it", tags=["web", "main"], **PUBLIC)
    host = BuildHost(backend, job.id)
    host.start("build")
    host.end("build", "failed")
    host.finish("failed")

    browser = browse()
    browser.open("/")

    for said in ("failed", f"#{job.id}", "Fix the parser", "~owner / web / main", "debian/trixie"):
        assert said in browser.text, said
    assert "All of it" not in browser.text
    assert 'aria-label="Tasks: build failed, test pending"' in browser.page.text
    assert {"/~owner", "/~owner/web", "/~owner/web/main"} <= set(browser.links)


def test_what_somebody_wrote_is_text_on_the_page(browse, make_job):
    make_job(note='<script>alert(1)</script> "><img src=x onerror=alert(2)>', **PUBLIC)

    page = browse().open("/?search=%22%3Cscript%3Ealert%22").text

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "<img" not in page


NOTES = {
    None: "",
    "": "",
    "plain": "plain",
    "first\nsecond": "first",
    "\n\n  first": "first",
    "# A *heading*": "A heading",
    "[a **link**](https://example.org/) and `code`": "a link and code",
    "<b>html</b>": "<b>html</b>",
    "    indented\n    code": "indented",
    "- one\n- two": "one",
    "x" * 200: "x" * 160 + "…",
    "turned \u202e around": "turned \N{REPLACEMENT CHARACTER} around",
}


@pytest.mark.parametrize("note", NOTES)
def test_of_a_note_its_first_line_is_shown_without_markup(note):
    assert rows.first_line(note) == NOTES[note]


DURATIONS = {
    None: "",
    0: "0 s",
    -3: "0 s",
    59.6: "1 min",
    61: "1 min 1 s",
    3599: "59 min 59 s",
    3600: "1 h",
    3660: "1 h 1 min",
    86400 * 2 + 3600: "2 d 1 h",
}


@pytest.mark.parametrize("seconds", DURATIONS)
def test_a_duration_is_said_in_two_units(seconds):
    assert rows.duration(seconds) == DURATIONS[seconds]


AGES = {
    timedelta(seconds=-5): "just now",
    timedelta(seconds=59): "just now",
    timedelta(minutes=59): "59 min ago",
    timedelta(hours=23): "23 h ago",
    timedelta(days=1): "2026-11-21",
}


@pytest.mark.parametrize("age", AGES)
def test_of_a_time_it_is_said_how_long_ago_that_was(age):
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    assert rows.ago(now - age, now) == AGES[age]


# --- searches and pages ---------------------------------------------------------------------------


def test_a_search_is_in_the_address_and_in_the_field(browse, make_job):
    job = make_job("failed", **PUBLIC)
    make_job("success", **PUBLIC)
    browser = browse()
    browser.open("/")

    browser.send("/", search="status:failed")

    assert listed(browser) == [job.id]
    assert browser.form("/").fields["search"] == "status:failed"
    assert browser.open("/?search=status%3Afailed").status_code == 200
    assert listed(browser) == [job.id]


def test_whoever_is_signed_in_searches_public_jobs_too(browse, make_job, owner, stranger):
    theirs = make_job("failed", user=stranger, **PUBLIC)
    own = make_job("failed")
    make_job("failed", user=stranger)
    browser = browse(owner)

    browser.open("/?search=status:failed")

    assert listed(browser) == [own.id, theirs.id]


@pytest.mark.parametrize("path", ["/", "/~owner", "/~owner/web"])
@pytest.mark.parametrize("signed_in", [True, False])
def test_a_search_that_is_none_is_refused_with_every_problem(browse, owner, path, signed_in):
    browser = browse(owner if signed_in else None)

    page = browser.open(f"{path}?search=colour:red+%22fix+it%22+status:no")

    assert page.status_code == 400
    assert browser.form(path).fields["search"] == 'colour:red "fix it" status:no'
    assert "there is no key 'colour'" in browser.text
    assert "'no' is none of pending" in browser.text
    assert 'aria-invalid="true"' in page.text


@pytest.mark.parametrize("before", ["x", "-1", "1.5", "9" * 11, "²"])
def test_a_page_begins_at_a_number_or_is_refused(browse, before):
    page = browse().open("/", query_string={"before": before})

    assert page.status_code == 400
    assert "before must be the number of a job" in page.text


@pytest.mark.parametrize("query", [{"before": "9" * 10}, {"before": "0"}, {"search": "\0"}])
def test_odd_numbers_and_texts_are_no_accident(browse, query):
    assert browse().open("/", query_string=query).status_code in (200, 400)


def test_pages_lead_from_one_to_the_next_and_back(browse, make_job, as_many_as):
    as_many_as(2)
    jobs = [make_job(note="a & b", **PUBLIC).id for _ in range(5)]
    browser = browse()
    browser.open("/~owner?search=%22a %26%22")
    seen = [listed(browser)]

    while older := [link for link in browser.links if "before=" in link]:
        browser.open(older[0])
        seen.append(listed(browser))

    assert seen == [jobs[:2:-1], jobs[2:0:-1], jobs[:1]]
    assert browser.form("/~owner").fields["search"] == '"a &"'
    newest = [link for link in browser.links if link.startswith("/~owner?search=")]
    browser.open(newest[0])
    assert listed(browser) == jobs[:2:-1]


@pytest.mark.parametrize("path", ["/", "/~owner"])
def test_a_search_that_finds_nothing_leads_back(browse, make_job, owner, path):
    make_job(**PUBLIC)

    for viewer in (None, owner):
        browser = browse(viewer)
        browser.open(f"{path}?search=absent")
        assert browser.page.status_code == 200
        assert listed(browser) == []
        assert browser.links.count(path) >= 1
        assert "There is no" in browser.text


# --- how jobs went --------------------------------------------------------------------------------


@pytest.fixture
def end(make_job, backend):
    def end(status: str, seconds: int) -> Job:
        job = make_job(status, tags=["web"], **PUBLIC)
        finished = datetime.now(UTC)
        started = finished - timedelta(seconds=seconds)
        with backend.transaction() as session:
            times = {"started": started, "finished": finished}
            session.execute(update(Job).where(Job.id == job.id).values(times))
        return job

    return end


@pytest.mark.parametrize("path", ["/~owner", "/~owner/web"])
def test_how_jobs_went_is_a_picture_and_words(browse, end, path):
    jobs = [
        end(status, seconds)
        for status, seconds in (("success", 30), ("failed", 90), ("timeout", 120), ("cancelled", 5))
    ]

    page = browse().open(path).text

    for job, said in zip(jobs, ("30 s", "1 min 30 s", "2 min", "5 s"), strict=True):
        assert f"<title>#{job.id}: {job.status}, {said}</title>" in page
        assert f'<a href="/~owner/job/{job.id}" tabindex="-1">' in page
    assert "1 of the last 3 succeeded (33 %); the middle one of these took 1 min 30 s." in page


def test_bars_differ_in_shape_and_are_as_high_as_jobs_took_long():
    ended = [
        rows.Ended(number, status, seconds)
        for number, (status, seconds) in enumerate(
            [*((status, 60.0) for status in rows.SHAPES), (rows.JobStatus.SUCCESS, None)]
        )
    ]

    bars = list(rows.bars(rows.Trend(ended), 60))

    shapes = [re.sub(r"[\d.]+", "", bar.path) for bar in bars]
    assert len(set(shapes)) == 4
    assert [bar.words for bar in bars][::4] == ["#0: success, 1 min", "#4: success"]
    assert bars[0].path.startswith("M551 64")
    assert (bars[0].path, bars[-1].path) == ("M551 64V6h7V64z", "M591 64V58h7V64z")


def test_there_is_no_picture_of_nothing_nor_of_a_search(browse, end):
    assert "<figure" not in browse().open("/~owner").text

    end("success", 1)

    assert "<figure" in browse().open("/~owner").text
    assert "<figure" not in browse().open("/~owner?search=status:success").text


def test_cancelled_jobs_say_nothing_of_success(browse, end):
    end("cancelled", 1)

    assert "The last one was cancelled." in browse().open("/~owner").text
