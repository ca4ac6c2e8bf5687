"""Post a webhook: signed, to an address that may be asked, and done within ten seconds.

An answer of 2xx means that the receiver has it, 410 that it never wants it again, and everything
else, or no answer, that it is worth another attempt. Redirects are followed where HTTP keeps the
method and the body, which is 307 and 308.

Knows nothing of jobs: it is given a body.
"""

import base64
import secrets
import ssl
import time
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import unquote
from uuid import UUID

import httpcore
import httpx

from buildsrht.backend import Backend
from buildsrht.courier.addresses import ForbiddenAddress, GuardedNetwork, UnknownHost
from buildsrht.keys import Keys
from buildsrht.services.triggers import BODY_BYTES, Attempt, Verdict

ATTEMPT_SECONDS = 10
REDIRECTS = 3
GONE = 410
NONCE_BYTES = 8
HTTP_ERRORS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


def post(backend: Backend, url: str, event: str, delivery: UUID, body: bytes) -> Attempt:
    """Attempt a delivery. Raises OperatorError when it cannot be signed."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "buildsrht",
        "X-Webhook-Event": event,
        "X-Webhook-Delivery": str(delivery),
        **signature(backend.keys, body),
    }
    deadline = time.monotonic() + ATTEMPT_SECONDS
    network = GuardedNetwork(backend.config.courier.allow, deadline)
    context = ssl.create_default_context()
    with httpcore.ConnectionPool(ssl_context=context, network_backend=network) as pool:
        attempt = _follow(pool, url, headers, body)
    return replace(attempt, request_headers={**headers}, request_body=body.decode())


def signature(keys: Keys, body: bytes) -> dict[str, str]:
    """Headers that show that a body is ours. The nonce differs each time, also when the same
    delivery is tried again: receivers refuse one that they have seen."""
    nonce = secrets.token_hex(NONCE_BYTES)
    signed = keys.sign(body + nonce.encode())
    return {
        "X-Payload-Nonce": nonce,
        "X-Payload-Signature": base64.b64encode(signed).decode(),
    }


def _follow(
    pool: httpcore.ConnectionPool, url: str, headers: dict[str, str], body: bytes
) -> Attempt:
    try:
        target = httpx.URL(url)
        for _ in range(1 + REDIRECTS):
            attempt, location = _post_once(pool, target, headers, body)
            if location is None:
                return attempt
            target = _redirected(target, location)
        return replace(attempt, error=f"more than {REDIRECTS} redirects")
    except ForbiddenAddress as error:
        return Attempt(Verdict.NEVER, str(error))
    except UnknownHost as error:
        return Attempt(Verdict.AGAIN, str(error))
    except httpx.InvalidURL as error:
        return Attempt(Verdict.NEVER, f"not a URL: {error}")
    except HTTP_ERRORS as error:
        return Attempt(Verdict.AGAIN, str(error) or type(error).__name__)


def _post_once(
    pool: httpcore.ConnectionPool, url: httpx.URL, headers: dict[str, str], body: bytes
) -> tuple[Attempt, str | None]:
    """One request, and where it is redirected to, if it is."""
    target = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )
    sent: list[tuple[bytes | str, bytes | str]] = [
        ("Host", url.netloc),
        *headers.items(),
        *_authorization(url).items(),
    ]
    with pool.stream("POST", target, headers=sent, content=body) as response:
        answered = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers
        }
        said = _beginning(response.iter_stream()).decode(errors="replace")
    verdict, error = _judge(response.status)
    attempt = Attempt(
        verdict,
        error,
        response_status=response.status,
        response_headers=answered,
        response_body=said,
    )
    location = {name.lower(): value for name, value in answered.items()}.get("location")
    return attempt, location if response.status in (307, 308) else None


def _judge(status: int) -> tuple[Verdict, str | None]:
    if 200 <= status < 300:
        return Verdict.DELIVERED, None
    verdict = Verdict.NEVER if status == GONE else Verdict.AGAIN
    return verdict, f"answered with status {status}"


def _authorization(url: httpx.URL) -> dict[str, str]:
    """Of an address such as https://user:password@host/."""
    if not url.userinfo:
        return {}
    words = unquote(url.userinfo.decode()).encode()
    return {"Authorization": f"Basic {base64.b64encode(words).decode()}"}


def _beginning(parts: Iterable[bytes]) -> bytes:
    """As much of an answer's body as is kept, and as arrives in time: its status has been said."""
    said = b""
    try:
        for part in parts:
            said += part
            if len(said) >= BODY_BYTES:
                break
    except HTTP_ERRORS:
        pass
    return said[:BODY_BYTES]


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads. What is sent encrypted is not sent on in the clear."""
    try:
        target = url.join(location)
    except httpx.InvalidURL as error:
        raise httpcore.ProtocolError(f"redirected to what is not a URL: {error}") from error
    if target.scheme not in ("http", "https") or (url.scheme == "https" != target.scheme):
        raise httpcore.ProtocolError(f"redirected from {url.scheme} to {target.scheme}")
    return target
