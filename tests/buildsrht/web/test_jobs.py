"""The page of a job, without a script: what it shows to whom, and what is done there."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from buildsrht.models import (
    Artifact,
    Fault,
    Job,
    JobStatus,
    KeptMachine,
    Log,
    TaskStatus,
    Visibility,
)
from buildsrht.services import phases, runs
from buildsrht.web import job_logs
from buildsrht.web.markdown import render
from tests.build_host import BuildHost, claim, finish


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


@pytest.fixture
def open_job(browser):
    """The page of a job, as its owner sees it."""
    return lambda job, query="": browser.open(f"{path_of(job)}{query}")


@pytest.fixture
def host(backend):
    return lambda job: BuildHost(backend, job.id)


@pytest.fixture
def failed(make_job, host):
    """Job 1, whose task `build` has failed after 400 lines."""
    job = make_job(note="Fix *it*", tags=["hello", "main"], visibility=Visibility.PUBLIC)
    working = host(job)
    working.write(None, "Cloning.\n")
    working.start("build")
    working.write("build", "".join(f"line {number}\n" for number in range(1, 401)))
    working.end("build", "failed")
    working.finish("failed")
    return job


def path_of(job):
    return f"/~owner/job/{job.id}"


# --- who sees what ------------------------------------------------------------------------------


def test_everybody_sees_a_public_job_and_may_do_nothing_with_it(browse, failed):
    browser = browse()

    assert browser.open(path_of(failed)).status_code == 200
    assert "#1 failed" in browser.text
    assert [form.action for form in browser._read().forms] == [""]
    assert not any("/resubmit/" in link or "/settings/" in link for link in browser.links)


def test_somebody_else_may_submit_it_again(browse, stranger, failed):
    browser = browse(stranger)
    browser.open(path_of(failed))

    assert "/resubmit/1" in browser.links
    assert f"{path_of(failed)}/settings/details" not in browser.links


def test_a_private_job_is_as_absent_as_one_that_is_not_there(browse, stranger, make_job):
    make_job(visibility=Visibility.PRIVATE)
    for user in (None, stranger):
        browser = browse(user)
        answers = [browser.open(f"/~owner/job/{number}") for number in (1, 4711)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text.replace("job 1", "job 4711") == answers[1].text


@pytest.mark.parametrize("path", ["", "/settings/details"])
def test_a_job_is_found_under_its_owners_name_only(browser, make_job, path):
    make_job()

    assert browser.open(f"/~stranger/job/1{path}").status_code == 404


# --- what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_job_in_each_state(open_job, browser, make_job, status):
    answer = open_job(make_job(status, tags=["a", "b"], note="Hello"))

    assert answer.status_code == 200
    assert f"#1 {status}" in browser.text
    assert {"/~owner/a", "/~owner/a/b"} <= set(browser.links)
    assert "debian/trixie, amd64" in browser.text


def test_a_job_that_waits_says_why(open_job, browser, make_job):
    open_job(make_job("pending"))
    assert "waits until its owner starts it" in browser.text

    open_job(make_job())
    assert "No build host is there to take it" in browser.text


def test_what_a_job_did_when_is_drawn_and_said(backend, open_job, browser, make_job):
    run = claim(backend, make_job().id, "host-1")
    phases.begin(backend, run, phases.Name.SOURCES)

    answer = open_job(make_job())
    answer = browser.open("/~owner/job/1")

    assert "in the queue 0 s starting its machine 0 s sources 0 s" in browser.text
    assert answer.text.count("<rect ") == 4


def test_why_it_failed_is_on_top(open_job, browser, failed):
    answer = open_job(failed)

    top = answer.text[: answer.text.index('<h2 id="logs">')]
    assert "the end of build" in top
    assert ">line 400</span>" in top
    [link] = [link for link in browser.links if "#task-build-L" in link and "from=" in link]
    assert lines_of(open_job(failed, link), "task-build")[0] < 400
    assert f'id="{link.partition("#")[2]}"' in browser.page.text


def test_of_one_that_failed_before_its_tasks_it_is_the_setup(open_job, make_job, host):
    job = make_job()
    working = host(job)
    working.write(None, "packages: exit status 100\n")
    working.finish("failed")

    answer = open_job(job)

    assert "the end of the setup" in answer.text
    assert answer.text.count(">packages: exit status 100</span>") == 2


def test_of_one_long_line_there_is_all_that_is_ever_shown(open_job, make_job, host):
    job = make_job()
    working = host(job)
    working.start("build")
    working.write("build", "x" * 5000)
    working.end("build", "failed")
    working.finish("failed")

    assert open_job(job).text.count("x" * 4000) == 2


def test_whose_fault_it_was_is_said_and_it_is_run_again_by_a_click(
    backend, open_job, browser, make_job, fetch
):
    run = claim(backend, make_job().id, "host-1")
    finish(backend, run, JobStatus.FAILED, "The machine was lost.", Fault.SERVICE)

    open_job(fetch(1))
    assert "fault and not the build" in browser.text
    browser.send("/resubmit/1/as-it-is")

    assert (fetch(2).manifest, fetch(2).status) == (fetch(1).manifest, JobStatus.QUEUED)
    browser.open("/~owner")
    assert browser.text.count("fault and not the build") == 1


def test_of_the_builds_own_fault_nothing_is_said(backend, open_job, browser, make_job, fetch):
    run = claim(backend, make_job().id, "host-1")
    finish(backend, run, JobStatus.FAILED, "task build: exit status 1", Fault.BUILD)

    open_job(fetch(1))

    assert "fault" not in browser.text


def test_a_job_that_is_begun_again_says_why(backend, open_job, browser, make_job, fetch):
    claim(backend, make_job().id, "host-1")
    with backend.transaction() as session:
        session.execute(update(Job).values(lease_expires=datetime.now(UTC) - timedelta(days=1)))
    runs.expire_leases(backend)

    open_job(fetch(1))
    assert "The build host host-1 was lost." in browser.text

    claim(backend, 1, "host-2")
    open_job(fetch(1))
    assert "Attempt 2" in browser.text


def test_what_a_build_host_said_of_its_end_is_there(backend, open_job, browser, make_job):
    run = claim(backend, make_job().id, "host-1")
    finish(backend, run, JobStatus.FAILED, "task build: exit status 2")

    browser.open("/~owner/job/1")

    assert "task build: exit status 2" in browser.text


def test_artifacts_are_linked_until_they_are_gone(
    backend, open_job, browser, make_job, keep_artifact
):
    job = make_job("success")
    kept = keep_artifact(job)
    link = f"/artifacts/{job.id}/{kept.secret}/out.txt"
    open_job(job)
    assert link in browser.links
    assert "4 bytes, until" in browser.text
    assert browser.client.get(link).data == b"made"

    with backend.transaction() as session:
        session.execute(update(Artifact).values(expires=datetime.now(UTC) - timedelta(days=1)))
    open_job(job)
    assert link not in browser.links
    assert "out.txt was kept until" in browser.text


def test_the_name_of_an_artifact_turns_nothing_round(open_job, make_job, keep_artifact):
    job = make_job("success")
    keep_artifact(job, "/home/build/ex\u202egnp.sh")
    assert ">ex\ufffdgnp.sh</a>" in open_job(job).text


def test_only_its_owner_is_told_how_to_get_into_its_machine(
    backend, browse, owner, stranger, admin, make_job
):
    job = make_job("failed", visibility=Visibility.PUBLIC)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with backend.transaction() as session:
        session.add(
            KeptMachine(job_id=job.id, runner="host-1", expires=tomorrow, sealed_key=b"sealed")
        )
    seen = {}
    for user in (owner, stranger, admin, None):
        browser = browse(user)
        browser.open(path_of(job))
        assert "buildsrht logs --follow 1" in browser.text
        seen[user and user.name] = "connect 1" in browser.text
    assert seen == {"owner": True, "stranger": False, "admin": False, None: False}

    with backend.transaction() as session:
        session.execute(update(KeptMachine).values(ended=tomorrow, reason="x", sealed_key=None))
    browser = browse(owner)
    browser.open(path_of(job))
    assert "connect 1" not in browser.text


def test_a_manifest_is_shown_as_it_is_and_not_endless(open_job, browser, make_job, manifest):
    job = make_job(manifest=f"{manifest}# <script>alert(1)</script> \u202e {'x' * 9000}\n")

    answer = open_job(job)

    assert "# <script>alert(1)</script> \ufffd xxx" in browser.text
    assert "<script>alert" not in answer.text
    assert "characters more" in browser.text
    assert browser.client.get("/api/jobs/1/manifest").text == job.manifest


# --- logs ---------------------------------------------------------------------------------------


def lines_of(answer, name):
    """The numbers of those that are there."""
    rows = answer.text.split(f'id="{name}-L')[1:]
    return [int(row.partition('"')[0]) for row in rows]


def test_the_last_lines_of_logs_are_there_and_links_to_all_others(open_job, browser, failed):
    answer = open_job(failed)
    shown = lines_of(answer, "task-build")
    assert shown[-1] == 400
    assert 10 < len(shown) < 400
    assert lines_of(answer, "setup") == [1]
    assert "/query/log/1/build/log" in browser.links

    [earlier] = [link for link in browser.links if "from=1#" in link]
    answer = browser.open(f"{path_of(failed)}{earlier}")
    assert lines_of(answer, "task-build") == list(range(1, 401))


def test_a_long_log_is_walked_through_page_by_page(open_job, browser, make_job, host, monkeypatch):
    monkeypatch.setattr(job_logs, "LINES_OF_A_PAGE", 5)
    job = make_job()
    working = host(job)
    working.start("build")
    working.write("build", "".join(f"{number}\n" for number in range(1, 13)))

    walked = []
    link = "?task=build&from=1#task-build"
    while link:
        walked += lines_of(browser.open(f"{path_of(job)}{link}"), "task-build")
        later = [each for each in browser.links if each.startswith("?task=build&from=")]
        link = next((each for each in later if f"from={walked[-1] + 1}#" in each), None)
    assert walked == list(range(1, 13))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?task=nothing", 404),
        ("?task=build&from=many", 400),
        ("?from=-1", 400),
        ("?from=٣", 400),
        ("?from=" + "9" * 20, 400),
        ("?task=build&from=0", 200),
        ("?task=build&from=999999999999999", 200),
        ("?from=", 200),
        ("?only=everything", 200),
    ],
)
def test_only_lines_that_there_may_be_are_asked_for(open_job, make_job, query, status):
    assert open_job(make_job("running"), query).status_code == status


def test_what_a_script_asks_for_again_and_again_has_no_lines(open_job, browser, failed):
    answer = open_job(failed, "?only=state")

    assert "#1 failed" in browser.text
    assert "line 400" not in answer.text


def test_however_much_was_written_the_page_is_small(open_job, make_job, host):
    manifest = "image: debian\ntasks:\n" + "".join(f"- task-{n}: make\n" for n in range(20))
    job = make_job(manifest=manifest)
    working = host(job)
    for number in range(20):
        working.start(f"task-{number}")
        working.write(f"task-{number}", "".join(f"{'<' * 300}\n" for _ in range(300)))
        working.end(f"task-{number}", "failed" if number == 19 else "success")
    working.finish("failed")

    assert len(open_job(job).data) < 40_000


def test_a_log_that_is_gone_from_redis_for_a_moment_spoils_no_page(
    open_job, make_job, write_log, monkeypatch
):
    job = make_job("running")
    write_log(job, "build", b"said\n")

    def vanish(*_):
        raise FileNotFoundError

    monkeypatch.setattr(job_logs.log_lines, "read_lines", vanish)

    assert open_job(job).status_code == 200


def test_hostile_lines_do_nothing(open_job, make_job, write_log):
    job = make_job("running")
    write_log(job, "build", b"</span><script>alert(1)</script>\x1b]0;title\x07\xe2\x80\xae\n")

    answer = open_job(job)

    assert "&lt;/span&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text
    assert "\x1b" not in answer.text


# --- notes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("note", "html"),
    [
        ("Fix *it*", "<p>Fix <em>it</em></p>\n"),
        ("# Title", "<p><strong>Title</strong></p>\n"),
        ("<b onclick=x>b</b>", "<p>&lt;b onclick=x&gt;b&lt;/b&gt;</p>\n"),
        ("![a *cat*](https://example.org/cat.png)", "<p>a cat</p>\n"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("[x](data:text/html,y)", "<p>[x](data:text/html,y)</p>\n"),
        ("a \u202e b", "<p>a \ufffd b</p>\n"),
        (
            "[x](https://example.org)",
            '<p><a href="https://example.org" rel="nofollow noopener noreferrer">x</a></p>\n',
        ),
    ],
    ids=["markdown", "heading", "html", "picture", "javascript", "data", "bidi", "link"],
)
def test_notes_are_markdown_without_harm(note, html):
    assert render(note) == html


def test_the_note_is_on_the_page(open_job, failed):
    assert "Fix <em>it</em>" in open_job(failed).text


# --- start and cancel ---------------------------------------------------------------------------


def test_a_job_that_is_held_back_is_started(open_job, browser, make_job, fetch):
    job = make_job("pending")
    open_job(job)

    browser.send("/start/1")

    assert fetch(1).status == JobStatus.QUEUED
    assert browser.path == path_of(job)


def test_a_job_is_cancelled_on_its_page(open_job, browser, make_job, fetch):
    open_job(make_job("running"))

    browser.send("/cancel/1")

    assert fetch(1).cancel_requested
    assert "It is being cancelled." in browser.text
    with pytest.raises(StopIteration):
        browser.form("/cancel/1")


def test_a_link_to_cancel_asks_first(browser, make_job, fetch):
    make_job()
    browser.open("/cancel/1")
    assert fetch(1).status == JobStatus.QUEUED

    browser.send("/cancel/1")

    assert fetch(1).status == JobStatus.CANCELLED
    browser.open("/cancel/1")
    assert "It is over already" in browser.text


def test_what_is_over_is_not_cancelled(open_job, browser, make_job, fetch, backend):
    open_job(make_job("running"))
    with backend.transaction() as session:
        runs.end_job(session, 1, JobStatus.SUCCESS)

    answer = browser.send("/cancel/1")

    assert answer.status_code == 400
    assert "job 1 is already over: success" in browser.text


@pytest.mark.parametrize("path", ["/start/1", "/cancel/1"])
def test_another_site_starts_and_cancels_nothing(browser, make_job, fetch, path):
    make_job("pending")

    assert browser.client.post(path).status_code == 403
    assert fetch(1).status == JobStatus.PENDING


# --- settings -----------------------------------------------------------------------------------

SETTINGS = "/~owner/job/1/settings/details"
DELETE = "/~owner/job/1/settings/delete"
KEEP = "/~owner/job/1/settings/keep"


def test_visibility_tags_and_note_are_changed(browser, make_job, fetch):
    make_job(tags=["old"], note="Old")
    browser.open(SETTINGS)
    known = {"visibility": "unlisted", "tags": "old", "note": "Old"}
    assert known.items() <= browser.form(SETTINGS).fields.items()

    browser.send(SETTINGS, visibility="public", tags=" New/b ", note="")

    job = fetch(1)
    assert (job.visibility, job.tags, job.note) == (Visibility.PUBLIC, ["New", "b"], None)
    assert browser.path == "/~owner/job/1"


def test_every_problem_is_at_its_field_and_nothing_is_changed(browser, make_job, fetch):
    make_job(tags=["old"], note="Old")
    browser.open(SETTINGS)

    answer = browser.send(SETTINGS, visibility="secret", tags="a b", note="x" * 5000)

    assert answer.status_code == 400
    for field in ("visibility", "tags", "note"):
        assert f'id="{field}-fault"' in answer.text
    assert browser.form(SETTINGS).fields["tags"] == "a b"
    assert (fetch(1).tags, fetch(1).note) == (["old"], "Old")


def test_a_job_that_is_over_is_pinned_and_unpinned(browser, make_job, fetch):
    make_job("failed")
    browser.open(SETTINGS)
    browser.send(KEEP)
    assert fetch(1).pinned
    assert "It is pinned" in browser.text

    browser.send(KEEP)
    assert not fetch(1).pinned


def test_a_job_that_is_not_over_cannot_be_pinned(browser, make_job, fetch):
    make_job("running")
    browser.open(SETTINGS)
    assert KEEP not in browser.text


def test_why_a_job_is_not_pinned_is_on_the_page(browser, make_job, keep_artifact, backend, fetch):
    job = make_job("success")
    keep_artifact(job, "out.bin", b"x")
    with backend.transaction() as session:
        session.execute(update(Artifact).values(size=2**40))
    browser.open(SETTINGS)
    browser.send(KEEP)

    assert browser.page.status_code == 409
    assert "10.0 GiB is the most for one user" in browser.text
    assert not fetch(1).pinned


def test_that_logs_were_removed_is_said_in_their_place(browser, make_job, write_log, backend):
    job = make_job("success")
    for task in (None, "build"):
        write_log(job, task, b"what it said\n", seal=True)
    with backend.transaction() as session:
        session.execute(update(Log).values(removed=datetime(2026, 11, 1, tzinfo=UTC)))
    browser.open("/~owner/job/1")

    assert "They were removed on" in browser.text
    assert "2026-11-01" in browser.text
    assert "what it said" not in browser.text


def test_a_job_is_deleted_by_its_number_and_nothing_of_it_is_to_be_had(
    browser, make_job, write_log, keep_artifact, client_of, owner
):
    job = make_job("failed")
    for task in (None, "build"):
        write_log(job, task, b"said\n", seal=True)
    kept = keep_artifact(job)
    browser.open(SETTINGS)
    paths = [
        "/~owner/job/1",
        SETTINGS,
        "/~owner/job/1/icon.svg",
        "/cancel/1",
        "/resubmit/1",
        "/query/log/1/log",
        "/query/log/1/build/log",
        "/query/log/1/lines",
        "/query/log/1/build/commands",
        "/query/log/1/search?q=said",
        "/api/jobs/1",
        "/api/jobs/1/manifest",
        "/api/jobs/1/artifacts",
        "/api/jobs/1/events",
        f"/artifacts/1/{kept.secret}/out.txt",
    ]
    assert {browser.client.get(path).status_code for path in paths} == {200}

    browser.send(DELETE, confirm="1")

    assert browser.path == "/~owner"
    assert {browser.client.get(path).status_code for path in paths} == {404}
    answer = client_of(owner).post("/query", json={"query": "{ job(id: 1) { id } }"})
    assert answer.json["data"] == {"job": None}


@pytest.mark.parametrize("typed", ["", "2", "yes"])
def test_who_does_not_type_its_number_deletes_nothing(browser, make_job, row_counts, typed):
    make_job("failed")
    browser.open(SETTINGS)

    answer = browser.send(DELETE, confirm=typed)

    assert answer.status_code == 400
    assert 'id="confirm-fault"' in answer.text
    assert row_counts()["job"] == 1


def test_what_is_not_over_is_to_be_cancelled_first(browser, make_job, row_counts):
    make_job("running")
    browser.open(SETTINGS)
    assert "/cancel/1" in browser.links
    word = browser.form(SETTINGS).fields["csrf"]

    answer = browser.client.post(DELETE, data={"csrf": word, "confirm": "1"})

    assert answer.status_code == 400
    assert "cancel it first" in answer.text
    assert row_counts()["job"] == 1


def test_nobody_else_changes_or_deletes_it(browse, stranger, admin, make_job, row_counts):
    make_job("failed", visibility=Visibility.PUBLIC)

    assert browse(stranger).open(SETTINGS).status_code == 403
    assert browse().open(SETTINGS).status_code == 200
    assert browse(admin).open(SETTINGS).status_code == 200


def test_a_task_that_was_skipped_says_so(open_job, browser, make_job, host):
    job = make_job()
    working = host(job)
    working.start("build")
    working.end("build")
    working.skip("test")

    open_job(job)

    assert f"test {TaskStatus.SKIPPED}" in browser.text
    assert "It was skipped." in browser.text
