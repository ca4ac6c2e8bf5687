"""One window of a browser, and what it has to complain about.

A complaint is anything that a person would find in the browser's console, and any request to a
place that is not ours. A page that was asked for and refused, a 404 say, is no complaint of its
own: that is for the test to say.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

from buildsrht.backend import Backend
from buildsrht.browsing import SIGN_IN
from buildsrht.models import User
from buildsrht.services import sign_ins

WIDE = (1280, 800)
NARROW = (360, 740)
# For whatever is waited for. So long only because machines that test may be busy.
MILLISECONDS = 30_000
OF_NOBODY = ("data:", "blob:", "about:")


class Window:
    """`page` is Playwright's; paths are of the service."""

    def __init__(
        self,
        browser: Browser,
        origin: str,
        *,
        dark: bool = False,
        narrow: bool = False,
        scripts: bool = True,
        still: bool = False,
    ):
        width, height = NARROW if narrow else WIDE
        self._context = browser.new_context(
            base_url=origin,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce" if still else "no-preference",
            locale="en-GB",
            timezone_id="Etc/UTC",
            permissions=["clipboard-read", "clipboard-write"],
        )
        self._context.set_default_timeout(MILLISECONDS)
        self._origin = origin
        self._refused: set[str] = set()
        self.complaints: list[str] = []
        self.responses: list[Response] = []
        self.page: Page = self._context.new_page()
        self._listen(self.page)

    def open(self, path: str) -> Response:
        """Load a page, and all that belongs to it."""
        response = self.page.goto(path, wait_until="load")
        assert response
        return response

    def set_cookie(self, name: str, value: str) -> None:
        self._context.add_cookies([{"name": name, "value": value, "url": self._origin}])

    def resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def picture(self, path: Path) -> None:
        self.page.screenshot(path=path, full_page=True)

    def close(self) -> None:
        self._context.close()

    @property
    def scrolls_sideways(self) -> bool:
        """Whether the page, and not only a part of it, is wider than its window."""
        root = "document.documentElement"
        wider: bool = self.page.evaluate(f"{root}.scrollWidth > {root}.clientWidth")
        return wider

    def _listen(self, page: Page) -> None:
        page.on("request", self._note_request)
        page.on("response", self._note_response)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self._origin}/", *OF_NOBODY)):
            self.complaints.append(f"{self.page.url}: asks {request.url}")

    def _note_response(self, response: Response) -> None:
        self.responses.append(response)
        if response.request.is_navigation_request() and response.status >= 400:
            self._refused.add(response.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        place: Any = message.location
        if message.type in ("error", "warning") and place["url"] not in self._refused:
            self.complaints.append(f"{self.page.url}: {message.text} ({place['url']})")


@contextmanager
def windows_at(chromium: Browser, backend: Backend) -> Iterator[Callable[..., Window]]:
    """Windows of a service with this backend, which have nothing to complain about in the end."""
    windows: list[Window] = []

    def make(user: User | None = None, **options) -> Window:
        window = Window(chromium, backend.config.web.origin, **options)
        windows.append(window)
        if user:
            window.set_cookie(SIGN_IN, sign_ins.begin(backend, user))
        return window

    yield make
    for window in windows:
        window.close()
    assert [complaint for window in windows for complaint in window.complaints] == []
