"""Random texts that prove something: tokens, codes, the secrets of clients, cookies.

Each is shown once and kept as its SHA-256. It has 256 random bits, so that a slow password hash
would protect nothing.
"""

import hashlib
import secrets


def new_text(prefix: str = "") -> str:
    """A prefix lets people, and scanners of leaked secrets, see what a text is for."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
