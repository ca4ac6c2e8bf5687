"""How fast output reaches a person: from a guest's write to what a browser has painted of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Error, Page, sync_playwright

from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary, percentile
from bench.logs import LINES, LOG_SECONDS, TALK
from bench.manifests import manifest
from bench.place import Place
from bench.service import OWNER, Service, running
from bench.trivial import warm_up

CHROMIUM = "/usr/bin/chromium"
# Its sandbox refuses root; and a container may have next to nothing in /dev/shm.
OPTIONS = [*(["--no-sandbox"] if os.geteuid() == 0 else []), "--disable-dev-shm-usage"]
WINDOW = {"width": 1280, "height": 1000}
# The page is there before the first line is.
TALK_LATER = f"set +x; sleep 10; {TALK}"
# When each line was painted first, by the clock of this host: what runs after the callback of a
# frame runs when the frame has been painted. Text that is not shown is not in `innerText`.
WATCH = r"""() => {
    window.painted = {};
    const look = () => {
        const now = (performance.timeOrigin + performance.now()) / 1000;
        for (const [line] of document.body.innerText.matchAll(/\b\d{10}\.\d{6}\b/g)) {
            window.painted[line] ??= now;
        }
    };
    new MutationObserver(() => requestAnimationFrame(() => setTimeout(look))).observe(
        document.body, {subtree: true, childList: true, characterData: true});
}"""
ALL_PAINTED = f"() => Object.keys(window.painted).length >= {LINES}"
PAINT_MILLISECONDS = 10_000


def measure(place: Place) -> Figures:
    with running(place, "pixels") as service, _page(service) as page:
        warm_up(service)
        service.await_rest()
        delays = _delays(service, page)
    return Figures(
        seconds={
            "line_to_pixels": Summary.of(delays),
            "line_to_pixels_p95": Summary.of([percentile(delays, 95)]),
        }
    )


@contextmanager
def _page(service: Service) -> Iterator[Page]:
    try:
        with sync_playwright() as playwright:
            options = {"executable_path": CHROMIUM, "args": OPTIONS}
            with playwright.chromium.launch(**options) as browser:
                yield browser.new_page(base_url=service.origin, viewport=WINDOW)
    except Error as error:
        raise MeasurementFailed(f"the browser: {error}") from error


def _delays(service: Service, page: Page) -> list[float]:
    """Of each line, from the guest's time in it to our time when it was painted. See bench.logs for
    the clocks."""
    with service.client() as client:
        job = client.submit(manifest(TALK_LATER))
        page.goto(f"/~{OWNER}/job/{job.id}")
        page.evaluate(WATCH)
        client.await_success(job, LOG_SECONDS, pause=0.5)
    try:
        page.wait_for_function(ALL_PAINTED, timeout=PAINT_MILLISECONDS)
    finally:
        painted = page.evaluate("window.painted")
    if len(painted) != LINES:
        raise MeasurementFailed(f"job {job.id}: {len(painted)} lines of {LINES} were painted")
    return [moment - float(line) for line, moment in painted.items()]
