"""The page of a job, as it goes on, and its logs: however long, folded, searched, followed."""

import re
import time

import pytest
from playwright.sync_api import Locator, Page, expect

from buildsrht.marks import Marker
from buildsrht.models import Job
from buildsrht.services.jobs import log_name
from tests.build_host import BuildHost
from tests.web_browser.window import MILLISECONDS, Window

MILLION = 1_000_000
BLOCK = 1000
NOON = 1_790_000_000_000
COMMANDS = "+ configure\nchecking\nyes\n+ make\ncc a.c\na.c:1: error: no\n+ make check\nok\n"

# Of the box of a log.
IN_SIGHT = """box => {
    const { top, bottom } = box.getBoundingClientRect();
    return [...box.querySelectorAll("[id]")]
        .filter((row) => {
            const here = row.getBoundingClientRect();
            return here.top >= top - 1 && here.bottom <= bottom + 1;
        })
        .map((row) => Number(row.id.split("-L")[1]));
}"""


@pytest.fixture
def window(open_window, owner) -> Window:
    return open_window(owner)


@pytest.fixture
def page(window) -> Page:
    return window.page


@pytest.fixture
def running(make_job, build_host) -> BuildHost:
    """The build host of job 1, which runs its first task, `build`."""
    host = build_host(make_job().id)
    host.start("build")
    return host


@pytest.fixture
def seal_log(live):
    """A finished log of a task, with these pieces, a second after each other."""

    def seal(job: Job, task: str, pieces: list[bytes]) -> None:
        marker = Marker()
        marks = [marker.mark(piece, NOON + 1000 * at) for at, piece in enumerate(pieces)]
        with live.transaction() as session:
            name = log_name(job, task)
            live.logs.seal(session, name, job.attempt, iter(pieces), b"".join(marks))

    return seal


def open_job(window: Window, query: str = "", job_id: int = 1) -> Page:
    window.open(f"/~owner/job/{job_id}{query}")
    return window.page


def log_of(page: Page, task: str = "build") -> Locator:
    return page.locator(f"#task-{task} .log")


def line(page: Page, number: int, task: str = "build") -> Locator:
    return page.locator(f"#task-{task}-L{number}")


def tool(page: Page, name: str) -> Locator:
    return page.locator(f"#tools [data-does={name}]")


def status(page: Page) -> Locator:
    return page.locator("h1 .status")


def numbers(first: int, last: int) -> str:
    return "".join(f"line {number}\n" for number in range(first, last + 1))


def expect_in_box(page: Page, number: int, task: str = "build") -> None:
    """This line is there, and within the box of its log, which scripts have taken over."""
    expect(log_of(page, task)).to_have_class(re.compile(r"\blive\b"))
    expect(line(page, number, task)).not_to_be_empty()
    page.wait_for_function(
        """([name, number]) => {
            const row = document.getElementById(`${name}-L${number}`);
            const box = row?.closest(".log").getBoundingClientRect();
            const { top, bottom } = row?.getBoundingClientRect() ?? {};
            return box && top >= box.top && bottom <= box.bottom + 1;
        }""",
        arg=[f"task-{task}", number],
    )


def scroll(log: Locator, share: float) -> None:
    """Drag the bar of a log there."""
    log.evaluate("(box, share) => { box.scrollTop = share * box.scrollHeight }", share)


def in_sight(log: Locator) -> list[int]:
    """The numbers of the lines that are."""
    found: list[int] = log.evaluate(IN_SIGHT)
    return found


# --- while it goes on -----------------------------------------------------------------------------


def test_what_happens_to_a_job_is_seen_without_loading_it_again(window, make_job, build_host):
    make_job()
    page = open_job(window)
    expect(status(page)).to_have_text("queued")
    page.evaluate("document.body.dataset.same = 'yes'")

    host = build_host(1)
    expect(status(page)).to_have_text("running")
    host.start("build")
    expect(page.locator("#state-task-build")).to_contain_text("running")
    host.write("build", "the first line\n")
    expect(line(page, 1)).to_contain_text("the first line")
    host.write("build", "half a ")
    expect(line(page, 2)).to_contain_text("half a")
    host.write("build", "line\n")
    expect(line(page, 2)).to_contain_text("half a line")
    host.end("build")
    expect(page.locator("#state-task-build")).to_contain_text("success")
    host.start("test")
    host.write("test", "more of it\n")
    expect(line(page, 1, "test")).to_contain_text("more of it")
    host.end("test")
    host.keep("/home/build/made.txt", b"made")
    expect(page.get_by_role("link", name="made.txt")).to_be_visible()
    host.finish()
    expect(status(page)).to_have_text("success")
    expect(page).to_have_title(re.compile("^#1 success"))
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.locator("figure.phases")).to_contain_text("ending")
    assert page.evaluate("document.body.dataset.same") == "yes"


def test_where_no_stream_is_to_be_had_the_page_asks_now_and_then(open_window, owner, running):
    window = open_window(owner)
    page = window.page
    page.route("**/events**", lambda route: route.fulfill(status=204))
    open_job(window)
    running.write("build", "the first line\n")
    expect(line(page, 1)).to_contain_text("the first line")
    running.end("build", "failed")
    running.finish("failed")
    expect(status(page)).to_have_text("failed")


def test_a_job_is_cancelled_where_it_is_watched(window, running):
    page = open_job(window)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("It is being cancelled.")).to_be_visible()
    running.finish("cancelled")
    expect(status(page)).to_have_text("cancelled")


def test_nothing_that_is_read_moves_while_scripts_begin(window, running):
    running.write("build", numbers(1, 300))
    running.write(None, "Cloning.\n")
    page = window.page
    page.add_init_script(
        """globalThis.shift = 0;
        new PerformanceObserver((list) => {
            for (const each of list.getEntries()) globalThis.shift += each.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    open_job(window)
    expect_in_box(page, 300)
    assert page.evaluate("globalThis.shift") < 0.1


def test_however_long_its_logs_are_the_page_loads_fast(window, running):
    """All that a first visit loads, but for the lines that its script asks for."""
    for task in (None, "build"):
        running.write(task, "".join(f"\x1b[32m{'x' * 100}\x1b[0m\n" for _ in range(500)))
    running.end("build", "failed")
    running.finish("failed")
    open_job(window)
    answers = [each for each in window.responses if "/query/" not in each.url]
    weights = {each.url: len(each.body()) for each in answers}
    assert sum(weights.values()) < 60_000, weights


def test_where_it_failed_is_a_click_away(window, running):
    running.write("build", numbers(1, 1000))
    running.end("build", "failed")
    running.finish("failed")
    page = open_job(window)
    page.get_by_role("link", name="the end of build").click()
    expect(page.locator("#task-build .marked")).to_be_in_viewport()
    expect(page).to_have_url(re.compile(r"/job/1#task-build-L9\d\d$"))


# --- following ------------------------------------------------------------------------------------


def test_a_log_is_followed_until_its_reader_scrolls_up_and_from_when_they_come_back(
    window, running
):
    running.write("build", numbers(1, 500))
    page = open_job(window)
    log = log_of(page)
    expect_in_box(page, 500)
    running.write("build", numbers(501, 600))
    expect_in_box(page, 600)

    log.hover()
    page.mouse.wheel(0, -1000)
    expect(tool(page, "follow")).to_have_attribute("aria-pressed", "false")
    page.wait_for_function("() => !document.querySelector('#task-build-L600')")
    before = in_sight(log)
    running.write("build", numbers(601, 900))
    # It is counted, though nobody sees it.
    scrolls = "before => document.querySelector('#task-build .log').scrollHeight > before"
    page.wait_for_function(scrolls, arg=12_500)
    assert in_sight(log) == before

    tool(page, "follow").click()
    expect_in_box(page, 900)
    log.hover()
    page.mouse.wheel(0, -1000)
    expect(tool(page, "follow")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("f")
    running.write("build", numbers(901, 950))
    expect_in_box(page, 950)


def test_who_scrolls_to_the_end_follows_again(window, running):
    running.write("build", numbers(1, 500))
    page = open_job(window)
    expect_in_box(page, 500)
    log_of(page).hover()
    page.mouse.wheel(0, -1000)
    expect(tool(page, "follow")).to_have_attribute("aria-pressed", "false")
    scroll(log_of(page), 1)
    expect(tool(page, "follow")).to_have_attribute("aria-pressed", "true")
    running.write("build", numbers(501, 2600))
    expect_in_box(page, 2600)


# --- a million lines ------------------------------------------------------------------------------


@pytest.fixture
def million(make_job, seal_log) -> None:
    """Job 1 has a log of a million lines, 100 MB, with a command every 5000."""

    def row(number: int) -> bytes:
        return b"+ step %d\n" % number if number % 5000 == 1 else b"%07d %s\n" % (number, b"x" * 91)

    blocks = range(1, MILLION + 1, BLOCK)
    job = make_job("failed")
    seal_log(job, "build", [b"".join(map(row, range(at, at + BLOCK))) for at in blocks])


def test_a_million_lines_open_at_once_and_scroll(window, page, million):
    open_job(window)
    page.goto("about:blank")
    begun = time.monotonic()
    open_job(window)
    expect_in_box(page, MILLION)
    # A third of a second, on a machine that does nothing else.
    assert time.monotonic() - begun < MILLISECONDS / 1000
    log = log_of(page)
    for share, least, most in ((0.5, 499_000, 501_000), (0, 1, 100), (0.9999, 998_900, MILLION)):
        scroll(log, share)
        arrived = """([least, most]) => {
            const seen = (IN_SIGHT)(document.querySelector("#task-build .log"));
            return seen.length > 10 && least <= seen[0] && seen.at(-1) <= most;
        }"""
        page.wait_for_function(arrived.replace("IN_SIGHT", IN_SIGHT), arg=[least, most])
        expect(page.locator("#task-build .rows span:empty")).to_have_count(0)


def test_lines_move_by_pixels_under_a_hand(window, page, million):
    open_job(window, "#task-build-L500000")
    expect(line(page, 500_000)).to_be_in_viewport()
    log = log_of(page)
    log.hover()
    before = in_sight(log)[0]
    for moved in (10, 20, 30):
        page.mouse.wheel(0, 200)
        moves = """([before, moved]) => {
            const [first] = (IN_SIGHT)(document.querySelector("#task-build .log"));
            return Math.abs(first - before - moved) <= 1;
        }"""
        page.wait_for_function(moves.replace("IN_SIGHT", IN_SIGHT), arg=[before, moved])


@pytest.mark.parametrize(
    ("address", "marked"),
    [
        ("#task-build-L543210", [543_210]),
        ("#task-build-L543210-L543212", [543_210, 543_211, 543_212]),
        ("#task-build-543210", [543_210]),
        ("#task-build-L1", [1]),
        ("#task-build-L1000000", [MILLION]),
    ],
)
def test_an_address_leads_to_its_lines(window, page, million, address, marked):
    open_job(window, address)
    for number in marked:
        expect(line(page, number)).to_be_in_viewport()
        expect(line(page, number)).to_have_class("marked")
    expect(page.locator(".marked")).to_have_count(len(marked))


def test_a_far_line_is_found_by_a_search(window, page, million):
    open_job(window)
    page.get_by_role("searchbox").fill("0777777")
    page.keyboard.press("Enter")
    expect(page.locator("#tools output")).to_have_text("1 of 1")
    expect(line(page, 777_777)).to_be_in_viewport()


def test_of_a_long_log_only_commands_are_seen_if_one_wants(window, page, million):
    open_job(window, "#task-build-L500001")
    expect(line(page, 500_001)).to_be_in_viewport()
    page.keyboard.press("Shift+C")
    expect(line(page, 500_001).locator("i")).to_have_text("4999 lines")
    expect(line(page, 505_001).locator("i")).to_have_text("4999 lines")
    seen = in_sight(log_of(page))
    assert all(number % 5000 == 1 for number in seen)
    line(page, 500_001).locator("button").click()
    expect(line(page, 500_002)).to_be_in_viewport()
    page.keyboard.press("Shift+C")
    page.keyboard.press("Shift+C")
    expect(line(page, 505_001)).to_be_attached()


def test_a_long_log_wraps_and_still_ends(open_window, owner, million):
    window = open_window(owner, narrow=True)
    page = open_job(window)
    expect(line(page, MILLION)).to_be_attached()
    tool(page, "wrap").click()
    log = log_of(page)
    assert log.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert not window.scrolls_sideways
    scroll(log, 1)
    expect_in_box(page, MILLION)
    scroll(log, 0)
    expect_in_box(page, 1)
    tool(page, "wrap").click()
    expect_in_box(page, 1)


def test_the_command_on_top_is_folded_by_a_key(window, running):
    running.write("build", COMMANDS)
    page = open_job(window)
    log_of(page).focus()
    page.keyboard.press("c")
    expect(line(page, 2)).to_have_count(0)
    page.keyboard.press("c")
    expect(line(page, 2)).to_be_visible()


# --- lines ----------------------------------------------------------------------------------------


def test_a_line_and_several_have_addresses(window, running, live):
    running.write("build", COMMANDS)
    page = open_job(window)
    address = f"{live.config.web.origin}/~owner/job/1"
    line(page, 2).get_by_role("link").click()
    expect(page).to_have_url(f"{address}#task-build-L2")
    line(page, 4).get_by_role("link").click(modifiers=["Shift"])
    expect(page).to_have_url(f"{address}#task-build-L2-L4")
    expect(page.locator(".marked")).to_have_count(3)
    page.reload()
    expect(page.locator(".marked")).to_have_count(3)
    line(page, 1).get_by_role("link").click(modifiers=["Shift"])
    expect(page).to_have_url(f"{address}#task-build-L1-L2")


def test_keys_make_addresses_too(window, running, live):
    running.write("build", COMMANDS)
    page = open_job(window)
    expect(line(page, 8)).to_be_visible()
    log_of(page).focus()
    for key, lines in (("l", "L1"), ("]", "L1-L2"), ("]", "L1-L3"), ("[", "L1-L2")):
        page.keyboard.press(key)
        expect(page).to_have_url(f"{live.config.web.origin}/~owner/job/1#task-build-{lines}")


def test_times_are_those_of_the_clock_the_start_or_the_line_before_and_stay_so(
    window, make_job, seal_log
):
    seal_log(make_job("success"), "build", [b"one\n", b"two\n", b"three\n"])
    page = open_job(window)
    expect(line(page, 3)).to_be_visible()
    expect(page.locator("#task-build time")).to_have_count(0)
    for mode, said in (("clock", "14:13:22"), ("line", "1.00 s")):
        tool(page, "times").select_option(mode)
        expect(line(page, 3).locator("time")).to_have_text(said)
    page.reload()
    expect(line(page, 3).locator("time")).to_have_text("1.00 s")
    expect(line(page, 1).locator("time")).to_have_text("")
    page.keyboard.press("t")
    expect(page.locator("#task-build time")).to_have_count(0)


def test_the_output_of_a_command_is_folded_and_unfolded(window, running):
    running.write("build", COMMANDS)
    page = open_job(window)
    sign = page.get_by_role("button", name="The output of line 1")
    sign.click()
    expect(line(page, 2)).to_have_count(0)
    expect(line(page, 1)).to_contain_text("2 lines")
    expect(sign).to_have_attribute("aria-expanded", "false")
    expect(line(page, 5)).to_be_visible()
    sign.click()
    expect(line(page, 2)).to_be_visible()

    tool(page, "fold").click()
    expect(page.locator("#task-build .rows [id]")).to_have_count(3)
    running.write("build", "and more\n")
    expect(line(page, 7)).to_contain_text("2 lines")
    tool(page, "fold").click()
    expect(line(page, 9)).to_be_visible()


def test_what_is_folded_is_shown_to_whoever_is_led_there(window, running):
    running.write("build", COMMANDS)
    page = open_job(window)
    tool(page, "fold").click()
    expect(line(page, 6)).to_have_count(0)
    page.keyboard.press("e")
    expect(line(page, 6)).to_have_class("marked")


def test_a_task_is_folded_by_its_name(window, running):
    running.write("build", "said\n")
    page = open_job(window)
    summary = page.locator("#task-build summary")
    summary.click()
    expect(log_of(page)).to_be_hidden()
    running.write("build", "said more\n")
    summary.click()
    expect(line(page, 2)).to_be_visible()


def test_all_logs_are_searched_forwards_and_backwards(window, running):
    running.write(None, "needle in the setup\n")
    running.write("build", f"{numbers(1, 400)}a needle\nneedle\n")
    page = open_job(window)
    page.keyboard.press("/")
    page.keyboard.type("needle")
    page.keyboard.press("Enter")
    said = page.locator("#tools output")
    expect(said).to_have_text("1 of 3")
    expect(page.locator("#setup-L1")).to_have_class("marked")
    log_of(page).focus()
    for key, place, number in (("n", 2, 401), ("n", 3, 402), ("Shift+N", 2, 401)):
        page.keyboard.press(key)
        expect(said).to_have_text(f"{place} of 3")
        expect(line(page, number)).to_be_in_viewport()
        expect(line(page, number)).to_have_class("marked")
    page.get_by_role("searchbox").fill("nothing like it")
    page.keyboard.press("Enter")
    expect(said).to_have_text("Nothing found")


def test_the_first_error_is_a_key_away(window, running):
    running.write("build", numbers(1, 400) + COMMANDS + numbers(1, 400))
    page = open_job(window)
    page.keyboard.press("e")
    expect(line(page, 406)).to_be_in_viewport()
    expect(line(page, 406)).to_have_class("marked")
    expect(tool(page, "follow")).to_have_attribute("aria-pressed", "false")


def test_logs_are_walked_by_keys(window, running):
    page = open_job(window)
    log_of(page).focus()
    for key, name in (("j", "task-test"), ("k", "task-build"), ("k", "setup"), ("k", "setup")):
        page.keyboard.press(key)
        expect(page.locator(f"#{name} summary")).to_be_focused()


def test_hostile_lines_do_nothing(window, running):
    running.write(
        "build",
        "</span></div><script>document.title = 'taken'</script><img src=x onerror=alert(1)>\n"
        "\x1b]8;;javascript:alert(1)\x07here\x1b]8;;\x07 \u202egnp.exe\n"
        f'https://example.org/"><b>x</b> {"y" * 100_000}\n',
    )
    window.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page = open_job(window)
    expect(line(page, 3)).to_be_visible()
    assert page.locator("#task-build .rows :is(script, img, b)").count() == 0
    assert page.locator('#task-build .rows a[href^="javascript"]').count() == 0
    expect(page).to_have_title(re.compile("^#1 running"))
    assert not window.scrolls_sideways


# --- for everybody --------------------------------------------------------------------------------


def test_without_scripts_lines_are_reached_by_links(open_window, owner, running):
    running.write("build", numbers(1, 1200))
    window = open_window(owner, scripts=False)
    page = open_job(window)
    expect(line(page, 1200)).to_be_attached()
    expect(line(page, 600)).to_have_count(0)
    expect(page.locator("#tools")).to_be_hidden()
    page.locator("#task-build").get_by_role("link", name="Earlier lines").click()
    expect(line(page, 700)).to_be_attached()
    line(page, 700).get_by_role("link").focus()
    page.goto(f"{page.url.partition('#')[0]}#task-build-L700")
    expect(line(page, 700)).to_be_in_viewport()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_log_is_no_wider_than_a_phone(open_window, owner, running, dark):
    running.write("build", f"{'x' * 3000}\n")
    window = open_window(owner, narrow=True, dark=dark)
    page = open_job(window)
    expect(line(page, 1)).to_be_visible()
    assert not window.scrolls_sideways
    page.keyboard.press("w")
    expect(tool(page, "wrap")).to_have_attribute("aria-pressed", "true")
    assert log_of(page).evaluate("box => box.scrollWidth <= box.clientWidth")
    expect(page.get_by_role("button", name="Copy").first).to_be_visible()


def test_what_cannot_be_read_now_is_read_later(window, make_job, seal_log):
    seal_log(make_job("failed"), "build", [numbers(1, 5000).encode()])
    page = open_job(window)
    expect_in_box(page, 5000)
    page.route("**/lines?*", lambda route: route.abort())
    scroll(log_of(page), 0)
    expect(line(page, 1)).to_be_visible()
    page.unroute("**/lines?*")
    scroll(log_of(page), 0.01)
    expect(line(page, 30)).to_contain_text("line 30")
    window.complaints.clear()
