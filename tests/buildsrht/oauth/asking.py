"""What a program asks with, and how it reads the answers."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

REDIRECT_URI = "https://app.example.org/back"
VERIFIER = "a-verifier-of-forty-three-characters-or-more"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().strip("=")


def answer_of(page):
    """What the program reads in the address that the browser is sent to, and that address."""
    place, _, query = page.headers["Location"].partition("?")
    assert page.status_code == 302
    assert not urlsplit(place).fragment
    return {name: value for name, [value] in parse_qs(query).items()}, place


def error_of(response):
    assert response.status_code in (400, 401), response.text
    assert response.headers["Cache-Control"] == "no-store"
    return response.json["error"]
