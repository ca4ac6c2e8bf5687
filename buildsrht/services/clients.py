"""Programs that users may let act for them: registered by users, and this service's command line.

A program that can keep a secret has one, which is shown once and kept as its digest. Where a
browser is sent with an answer is compared to the letter; only the port of a loopback address may
differ, because a program on somebody's own machine takes the one that is free (RFC 8252).
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import OAuthClient, User
from buildsrht.services.opaque import digest_of, new_text
from buildsrht.services.users import lock_user

SECRET_PREFIX = "bsrht_client_"
NAME_CHARACTERS = 128
DESCRIPTION_CHARACTERS = 1024
URI_CHARACTERS = 512
REDIRECT_URIS = 10
CLIENTS_OF_A_USER = 32

# The characters of a URI, without those that programs disagree about: no space, quote or backslash.
URI = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&()*+,;=%-]+")
# A host that stands for itself, also in the header that names it to browsers.
HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]|localhost)(?=[:/?]|$)")
PORT = re.compile(r":[0-9]{1,5}(?=[/?]|$)")


@dataclass(frozen=True)
class Program:
    """Who asks to act for a user. `row_id` is the oauth_client's; the command line has none."""

    client_id: str
    row_id: int | None
    name: str
    owner: str | None = None
    description: str | None = None
    url: str | None = None
    redirect_uris: tuple[str, ...] = ()
    secret_hash: bytes | None = None

    @property
    def is_confidential(self) -> bool:
        return self.secret_hash is not None

    def has_secret(self, text: str) -> bool:
        return self.secret_hash is not None and hmac.compare_digest(
            self.secret_hash, digest_of(text)
        )

    def may_be_answered_at(self, uri: str) -> bool:
        return any(_is_same_place(uri, registered) for registered in self.redirect_uris)


COMMAND_LINE = Program("buildsrht-cli", None, "buildsrht command line")


def program_of(client: OAuthClient | None) -> Program:
    if client is None:
        return COMMAND_LINE
    return Program(
        client_id=str(client.uuid),
        row_id=client.id,
        name=client.name,
        owner=client.owner.canonical_name,
        description=client.description,
        url=client.url,
        redirect_uris=tuple(client.redirect_uris),
        secret_hash=client.secret_hash,
    )


def find_program(session: Session, client_id: str) -> Program | None:
    """By what it calls itself."""
    if client_id == COMMAND_LINE.client_id:
        return COMMAND_LINE
    # As it was given out, and not the other ways to write it: one program has one name.
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", client_id):
        return None
    client = session.scalar(select(OAuthClient).where(OAuthClient.uuid == UUID(client_id)))
    return program_of(client) if client else None


def lock_client(session: Session, row_id: int) -> None:
    """Until the end of the transaction nobody deletes it. Raises NotFound if somebody has."""
    found = select(OAuthClient.id).where(OAuthClient.id == row_id)
    if session.scalar(found.with_for_update(read=True, key_share=True)) is None:
        raise NotFound("this program is no longer registered")


def list_clients(session: Session, owner: User) -> Sequence[OAuthClient]:
    return session.scalars(
        select(OAuthClient).where(OAuthClient.owner_id == owner.id).order_by(OAuthClient.id.desc())
    ).all()


def register_client(
    backend: Backend,
    owner: User,
    *,
    name: str,
    redirect_uris: Iterable[str],
    description: str = "",
    url: str = "",
    confidential: bool = False,
) -> tuple[OAuthClient, str | None]:
    """A new program of this user, and its secret if it shall have one: shown this once."""
    uris = tuple(dict.fromkeys(redirect_uris))
    _check(name, description, url, uris)
    secret = new_text(SECRET_PREFIX) if confidential else None
    with backend.transaction() as session:
        lock_user(session, owner)
        of_owner = select(func.count(OAuthClient.id)).where(OAuthClient.owner_id == owner.id)
        if session.scalars(of_owner).one() >= CLIENTS_OF_A_USER:
            reason = f"you have {CLIENTS_OF_A_USER} already: delete one"
            raise BadInput([FieldError(None, reason)])
        client = OAuthClient(
            owner_id=owner.id,
            name=name,
            description=description or None,
            url=url or None,
            redirect_uris=list(uris),
            secret_hash=digest_of(secret) if secret else None,
        )
        session.add(client)
        session.flush()
        session.refresh(client)
    return client, secret


def new_client_secret(backend: Backend, owner: User, client_id: int) -> str:
    """A new secret in place of the one before, which is worth nothing from now on."""
    secret = new_text(SECRET_PREFIX)
    with backend.transaction() as session:
        changed = session.scalar(
            update(OAuthClient)
            .where(_is_own(owner, client_id), OAuthClient.secret_hash.is_not(None))
            .values(secret_hash=digest_of(secret))
            .returning(OAuthClient.id)
        )
        if changed is None:
            raise NotFound("you have no such client with a secret")
    return secret


def delete_client(backend: Backend, owner: User, client_id: int) -> None:
    """It, what users have granted it, and all tokens and webhooks that came of that."""
    with backend.transaction() as session:
        own = delete(OAuthClient).where(_is_own(owner, client_id)).returning(OAuthClient.id)
        if session.scalar(own) is None:
            raise NotFound("you have no such client")


def _is_own(owner: User, client_id: int) -> ColumnElement[bool]:
    return and_(OAuthClient.id == client_id, OAuthClient.owner_id == owner.id)


# --- rules ------------------------------------------------------------------------------------


def _check(name: str, description: str, url: str, redirect_uris: Sequence[str]) -> None:
    """Raises BadInput with everything that is wrong."""
    problems = []
    if not (1 <= len(name) <= NAME_CHARACTERS and name.isprintable() and name == name.strip()):
        reason = f"must be one line of 1 to {NAME_CHARACTERS} characters"
        problems.append(FieldError("name", reason))
    if len(description) > DESCRIPTION_CHARACTERS or not description.isprintable():
        reason = f"must be one line of at most {DESCRIPTION_CHARACTERS} characters"
        problems.append(FieldError("description", reason))
    if url and not _is_web_address(url):
        problems.append(FieldError("url", f"{url!r} is no address such as https://example.org/"))
    # None at all is for a program that gets its leave by the device flow only.
    if len(redirect_uris) > REDIRECT_URIS:
        reason = f"at most {REDIRECT_URIS} addresses, got {len(redirect_uris)}"
        problems.append(FieldError("redirect_uris", reason))
    problems += [
        FieldError(
            "redirect_uris",
            f"{uri[:URI_CHARACTERS]!r} must be https://..., or http:// at 127.0.0.1, [::1] or "
            f"localhost, without a user name or fragment, of at most {URI_CHARACTERS} characters",
        )
        for uri in redirect_uris[:REDIRECT_URIS]
        if not (_is_web_address(uri) and (uri.startswith("https://") or LOOPBACK.match(uri)))
    ]
    if problems:
        raise BadInput(problems)


def _is_web_address(text: str) -> bool:
    """Whether every program that reads this text finds the same host in it."""
    if len(text) > URI_CHARACTERS or not URI.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    is_host = HOST.fullmatch(parts.netloc) is not None
    return text.startswith(("https://", "http://")) and is_host and port != 0


def _is_same_place(asked: str, registered: str) -> bool:
    if asked == registered:
        return True
    mine, theirs = LOOPBACK.match(registered), LOOPBACK.match(asked)
    if not mine or not theirs or mine[0] != theirs[0] or not _is_web_address(asked):
        return False
    return _without_port(asked, theirs.end()) == _without_port(registered, mine.end())


def _without_port(uri: str, host_end: int) -> str:
    return PORT.sub("", uri[host_end:], count=1) if PORT.match(uri, host_end) else uri[host_end:]
