"""A browser without scripts: it keeps cookies, follows redirects within the service, and sends
forms as they are on the page."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

REDIRECTS = 5


@dataclass
class Form:
    """What would be sent if nobody changed anything. A button is sent only if it is pressed."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self._select: str | None = None
        self._area: str | None = None
        self._in_button = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        form = self.forms[-1] if self.forms else Form("get", "")
        name = has.get("name")
        if tag == "form":
            self.forms.append(Form(has.get("method") or "get", has.get("action") or ""))
        elif tag == "a":
            self.links.append(has.get("href") or "")
        elif tag == "input" and name and _is_sent(has):
            form.fields[name] = has.get("value") or ("on" if "checked" in has else "")
        elif tag == "textarea" and name:
            form.fields[name] = ""
            self._area = name
        elif tag == "select":
            self._select = name
            form.fields[name or ""] = ""
        elif tag == "option" and "selected" in has:
            form.fields[self._select or ""] = has.get("value") or ""
        elif tag == "button":
            self._in_button = True
            form.buttons.append(f"{name}={has['value']}" if name else "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area:
            # HTML has it that the first line break is none.
            fields = self.forms[-1].fields
            fields[self._area] = fields[self._area].removeprefix("\n")
            self._area = None

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1].fields[self._area] += data
        self.text.append(data)


def _is_sent(has: dict[str, str | None]) -> bool:
    """Whether a field says anything as it is: a box that is not ticked and a file do not."""
    return has.get("type") not in ("checkbox", "file") or "checked" in has


class Browser:
    """Its methods return the page that it comes to; one at another address it does not load."""

    def __init__(self, app: Flask, client: FlaskClient | None = None):
        self.client: FlaskClient = client or app.test_client()
        self.page: TestResponse
        self.path = ""

    def open(self, path: str, **options: Any) -> TestResponse:
        return self._arrive(path, self.client.get(path, **options))

    def send(self, action: str, /, press: str = "", **fields: Any) -> TestResponse:
        """Send the form of this page that leads to `action`, with these fields changed; None is a
        box that is not ticked any more."""
        form = self.form(action)
        if press:
            assert press in form.buttons, form
            name, _, value = press.partition("=")
            fields[name] = value
        filled = {**form.fields, **fields}
        filled = {name: value for name, value in filled.items() if value is not None}
        target = form.action or self.path
        if form.method == "get":
            return self._arrive(target, self.client.get(target, query_string=filled))
        return self._arrive(target, self.client.post(target, data=filled))

    def form(self, action: str = "") -> Form:
        return next(form for form in self._read().forms if form.action == action)

    @property
    def links(self) -> list[str]:
        return self._read().links

    @property
    def text(self) -> str:
        """What a person reads."""
        return " ".join(" ".join(self._read().text).split())

    def _read(self) -> _Reader:
        return _Reader(self.page.text)

    def _arrive(self, path: str, response: TestResponse) -> TestResponse:
        for _ in range(REDIRECTS):
            self.path, self.page = path, response
            goal = response.headers.get("Location")
            if goal is None or urlsplit(goal).netloc:
                return response
            path, response = goal, self.client.get(goal)
        raise AssertionError(f"redirected again and again, the last time to {path}")
