"""Is it the forge that says so? Every forge has a proof of its own, over the bytes of the body.

`verify()` also tells by what name a report is known, so that one which is sent twice builds once.
Where the forge's own name for it is not covered by the signature, that is a digest of the body:
somebody who has got hold of a genuine report must not be able to build it again under a new name.

Comparisons take the same time whatever is compared.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from buildsrht.errors import Unauthorized
from buildsrht.models import Forge
from buildsrht.services.hooks import SIGNING_KEY

# Names are in lower case.
Headers = Mapping[str, str]

# How far the clock of a GitLab that signs may be from ours.
CLOCK_SECONDS = 300
_NONCE = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[!-~]{1,128}")


def verify(forge: Forge, secret: str, headers: Headers, body: bytes) -> str:
    """The name of the report, or Unauthorized."""
    return _PROOFS[forge](secret, headers, body)


def _github(secret: str, headers: Headers, body: bytes) -> str:
    _require_digest(secret, body, [headers.get("x-hub-signature-256", "").removeprefix("sha256=")])
    return _digest(body)


def _gitea(secret: str, headers: Headers, body: bytes) -> str:
    """Gitea and Forgejo sign under several names. Of those that are there none may be wrong."""
    names = ("x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256")
    given = [headers[name].removeprefix("sha256=") for name in names if name in headers]
    _require_digest(secret, body, given)
    return _digest(body)


def _gitlab(secret: str, headers: Headers, body: bytes) -> str:
    """A GitLab that knows how to sign does (Standard Webhooks); others send the secret itself."""
    if "webhook-signature" in headers:
        return _gitlab_signed(secret, headers, body)
    given = headers.get("x-gitlab-token", "")
    if not hmac.compare_digest(given.encode(), secret.encode()):
        raise Unauthorized("X-Gitlab-Token is not the secret of this hook")
    name = headers.get("idempotency-key", "")
    return name if _NAME.fullmatch(name) else _digest(body)


def _gitlab_signed(secret: str, headers: Headers, body: bytes) -> str:
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix(SIGNING_KEY))
    message = f"{name}.{sent}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, message, "sha256"))
    # Several, while the forge changes its key.
    given = headers["webhook-signature"].encode().split()
    if not any(hmac.compare_digest(each, expected) for each in given):
        raise Unauthorized("webhook-signature is not made with the secret of this hook")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > CLOCK_SECONDS:
        raise Unauthorized(f"webhook-timestamp is more than {CLOCK_SECONDS} seconds from now")
    return name if _NAME.fullmatch(name) else _digest(body)


def _sourcehut(public_key: str, headers: Headers, body: bytes) -> str:
    nonce = headers.get("x-payload-nonce", "")
    # Of one length: else bytes could be moved between the body and a nonce that then is a new one.
    if not _NONCE.fullmatch(nonce):
        raise Unauthorized("X-Payload-Nonce must be 16 of 0-9 and a-f")
    try:
        signature = base64.b64decode(headers.get("x-payload-signature", ""), validate=True)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        key.verify(signature, body + nonce.encode())
    except (ValueError, InvalidSignature):
        raise Unauthorized("X-Payload-Signature is not made with the key of this hook") from None
    return nonce


def _require_digest(secret: str, body: bytes, given: list[str]) -> None:
    expected = hmac.new(secret.encode(), body, "sha256").hexdigest().encode()
    if not given or not all(hmac.compare_digest(each.encode(), expected) for each in given):
        raise Unauthorized("the signature is missing, or not made with the secret of this hook")


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


_PROOFS: dict[Forge, Callable[[str, Headers, bytes], str]] = {
    Forge.GITHUB: _github,
    Forge.GITLAB: _gitlab,
    Forge.GITEA: _gitea,
    Forge.SOURCEHUT: _sourcehut,
}
