"""Reports as the forges send them, cut down to what is read and a little around it."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GONE = "0" * 40
REPOSITORY = "https://forge.example.org/ada/hello.git"
FORK = "https://forge.example.org/eve/hello.git"
SOURCEHUT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SOURCEHUT_PUBLIC_KEY = base64.b64encode(
    SOURCEHUT_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
).decode()
NONCE = "0011223344556677"


# --- bodies -----------------------------------------------------------------------------------


def github_push(ref: str = "refs/heads/main", commit: str = COMMIT, **more: Any) -> dict[str, Any]:
    """Gitea's is the same in what is read."""
    return {
        "ref": ref,
        "before": "f" * len(commit),
        "after": commit,
        "deleted": commit.strip("0") == "",
        "repository": {"full_name": "ada/hello", "clone_url": "https://evil.example.org/x.git"},
        "pusher": {"name": "ada"},
        **more,
    }


def github_request(
    action: str = "opened", head: str | None = FORK, commit: str = COMMIT, number: int = 12
) -> dict[str, Any]:
    return {
        "action": action,
        "number": number,
        "pull_request": {
            "number": number,
            "title": "Better",
            "head": {"sha": commit, "ref": "x", "repo": head and {"clone_url": head}},
            "base": {"ref": "main"},
        },
        "repository": {"full_name": "ada/hello"},
    }


def gitlab_push(
    ref: str = "refs/heads/main", commit: str | None = COMMIT, kind: str = "push"
) -> dict[str, Any]:
    return {
        "object_kind": kind,
        "ref": ref,
        "after": commit or GONE,
        "checkout_sha": commit,
        "project": {"path_with_namespace": "ada/hello"},
    }


def gitlab_request(
    action: str = "open", head: str | None = FORK, commit: str = COMMIT, **more: Any
) -> dict[str, Any]:
    return {
        "object_kind": "merge_request",
        "project": {"path_with_namespace": "ada/hello"},
        "object_attributes": {
            "action": action,
            "iid": 12,
            "last_commit": {"id": commit},
            "source": head and {"git_http_url": head},
            **more,
        },
    }


def sourcehut_push(*updates: tuple[str, str | None]) -> dict[str, Any]:
    found = updates or (("refs/heads/main", COMMIT),)
    return {
        "data": {
            "webhook": {
                "uuid": "5c8b1d02-6f4c-4b76-9c1e-1f2d3c4b5a69",
                "event": "GIT_POST_RECEIVE",
                "date": "2025-01-31T12:00:00Z",
                "updates": [
                    {"ref": {"name": ref}, "old": None, "new": new and {"id": new}}
                    for ref, new in found
                ],
            }
        }
    }


def sourcehut_legacy_push(**more: Any) -> dict[str, Any]:
    return {
        "push": "5c8b1d02-6f4c-4b76-9c1e-1f2d3c4b5a69",
        "pusher": {"name": "ada"},
        "refs": [{"name": "refs/heads/main", "old": None, "new": {"id": COMMIT}}],
        **more,
    }


# --- their proofs -----------------------------------------------------------------------------


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def hexdigest(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github_headers(secret: str, body: bytes, event: str = "push") -> dict[str, str]:
    return {
        "x-github-event": event,
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": f"sha256={hexdigest(secret, body)}",
    }


def gitea_headers(secret: str, body: bytes, event: str = "push") -> dict[str, str]:
    return {
        "x-gitea-event": event,
        "x-github-event": event,
        "x-gitea-signature": hexdigest(secret, body),
        "x-hub-signature-256": f"sha256={hexdigest(secret, body)}",
    }


def gitlab_headers(secret: str, body: bytes, event: str = "Push Hook") -> dict[str, str]:
    return {"x-gitlab-event": event, "x-gitlab-token": secret, "idempotency-key": "first"}


def gitlab_signed_headers(
    secret: str, body: bytes, event: str = "Push Hook", at: float | None = None
) -> dict[str, str]:
    sent = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"first.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "x-gitlab-event": event,
        "webhook-id": "first",
        "webhook-timestamp": sent,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def sourcehut_headers(
    key: Ed25519PrivateKey, body: bytes, nonce: str = NONCE, event: str = "GIT_POST_RECEIVE"
) -> dict[str, str]:
    signature = key.sign(body + nonce.encode())
    return {
        "x-webhook-event": event,
        "x-payload-nonce": nonce,
        "x-payload-signature": base64.b64encode(signature).decode(),
    }
