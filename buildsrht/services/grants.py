"""What users allow programs: asked for, given, turned into tokens, taken back.

A grant is one decision of one user about one program. It is turned into tokens by something that is
good once: an authorization code, the code of a device, a refresh token. What is good once and comes
a second time has been copied, and nobody can tell which of the two was the thief: then the grant is
revoked, and with it all that ever came of it. Of two at the same moment both are refused, or the
tokens of the one that was first die with the grant.

Knows neither HTTP nor how programs prove who they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import Conflict, Forbidden, NotFound
from buildsrht.models import (
    AuthorizationCode,
    DeviceCode,
    OAuthGrant,
    RefreshToken,
    Token,
    User,
    Webhook,
)
from buildsrht.services.clients import Program, lock_client, program_of
from buildsrht.services.opaque import digest_of, new_text
from buildsrht.services.scopes import is_within
from buildsrht.services.tokens import PREFIX
from buildsrht.services.users import is_suspended

CODE_PREFIX = "bsrht_code_"
REFRESH_PREFIX = "bsrht_refresh_"

CODE_SECONDS = 60
# How long it is on record that a code was used, so that one that comes a second time is noticed.
# Of refresh tokens it is until they would have expired.
RECORD = timedelta(days=1)

# What is looked for by its text, and what is used up.
Known = TypeVar("Known", AuthorizationCode, RefreshToken)
Once = AuthorizationCode | DeviceCode | RefreshToken


@dataclass(frozen=True)
class Issued:
    """New tokens, shown this once."""

    access_token: str
    refresh_token: str
    scopes: tuple[str, ...]
    seconds: int


# --- given ------------------------------------------------------------------------------------


def give(session: Session, user: User, program: Program, scopes: Iterable[str]) -> OAuthGrant:
    """The user has allowed the program these scopes. Raises NotFound if it was deleted since."""
    if program.row_id is not None:
        lock_client(session, program.row_id)
    grant = OAuthGrant(user_id=user.id, client_id=program.row_id, scopes=list(scopes))
    session.add(grant)
    session.flush()
    return grant


def authorize(
    backend: Backend,
    user: User,
    program: Program,
    scopes: Iterable[str],
    redirect_uri: str,
    challenge: str,
) -> str:
    """The user has allowed the program these scopes: a code that it can exchange for tokens, within
    a moment, if it knows what `challenge` is the SHA-256 of."""
    text = new_text(CODE_PREFIX)
    with backend.transaction() as session:
        grant = give(session, user, program, scopes)
        session.add(
            AuthorizationCode(
                hash=digest_of(text),
                grant_id=grant.id,
                redirect_uri=redirect_uri,
                challenge=challenge,
                expires=datetime.now(UTC) + timedelta(seconds=CODE_SECONDS),
            )
        )
    return text


# --- turned into tokens -----------------------------------------------------------------------


def find_code(backend: Backend, text: str) -> AuthorizationCode | None:
    """An authorization code that is good. One that was used revokes its grant."""
    return _find_once(backend, AuthorizationCode, text)


def find_refresh_token(backend: Backend, text: str) -> RefreshToken | None:
    """Likewise."""
    return _find_once(backend, RefreshToken, text)


def _find_once(backend: Backend, kind: type[Known], text: str) -> Known | None:
    with backend.transaction() as session:
        found = session.scalar(select(kind).where(kind.hash == digest_of(text)))
        if found is None:
            return None
        if found.used is not None:
            _revoke(session, found.grant_id)
            return None
        is_over = found.expires <= datetime.now(UTC)
        is_closed = found.grant.revoked is not None or is_suspended(found.grant.user)
        return None if is_over or is_closed else found


def issue(backend: Backend, once: Once, scopes: Iterable[str] = ()) -> Issued:
    """Tokens in exchange for a code or a refresh token, which is used up by that.

    The access token has these scopes; without any, those of the grant. Raises Conflict if somebody
    else has used it up meanwhile, and the grant is revoked; Forbidden for more than was granted.
    """
    seconds = backend.config.oauth.access_lifetime
    with backend.transaction() as session:
        # First of all, as its client's deletion does: that waits, or is seen here.
        kept = {"read": True, "key_share": True, "of": OAuthGrant}
        grant = session.get(OAuthGrant, once.grant_id, with_for_update=kept)
        if grant is None:
            raise Conflict("the grant is gone")
        wanted = tuple(scopes) or tuple(grant.scopes)
        if not is_within(wanted, grant.scopes):
            raise Forbidden("these scopes are more than what was granted")
        won = _use_up(session, once)
        if not won:
            _revoke(session, grant.id)
        else:
            issued = Issued(new_text(PREFIX), new_text(REFRESH_PREFIX), wanted, seconds)
            _keep(session, grant, issued, backend.config.oauth.refresh_lifetime)
    if not won:
        raise Conflict("this was used already: the grant is revoked")
    return issued


def _use_up(session: Session, once: Once) -> bool:
    kind = type(once)
    used = session.execute(
        update(kind)
        .where(kind.id == once.id, kind.used.is_(None))
        .values(used=func.now())
        .returning(kind.id)
        .execution_options(synchronize_session=False)
    )
    return used.first() is not None


def _keep(session: Session, grant: OAuthGrant, issued: Issued, refresh_seconds: int) -> None:
    now = datetime.now(UTC)
    session.add_all(
        (
            Token(
                user_id=grant.user_id,
                grant_id=grant.id,
                hash=digest_of(issued.access_token),
                scopes=list(issued.scopes),
                comment=program_of(grant.client).name,
                expires=now + timedelta(seconds=issued.seconds),
            ),
            RefreshToken(
                hash=digest_of(issued.refresh_token),
                grant_id=grant.id,
                expires=now + timedelta(seconds=refresh_seconds),
            ),
        )
    )


def revoke_for_reuse(backend: Backend, once: Once) -> None:
    """This was good once, and has come again."""
    with backend.transaction() as session:
        _revoke(session, once.grant_id)


# --- looked at, taken back --------------------------------------------------------------------


def list_grants(session: Session, user: User) -> Sequence[OAuthGrant]:
    """What a user allows programs now, newest first: grants of which something can still come."""
    is_open = [
        select(kind.id)
        .where(kind.grant_id == OAuthGrant.id, kind.expires > func.now(), *unused)
        .exists()
        for kind, unused in (
            (RefreshToken, [RefreshToken.used.is_(None)]),
            (AuthorizationCode, [AuthorizationCode.used.is_(None)]),
            (Token, [Token.revoked.is_(None)]),
            (DeviceCode, [DeviceCode.used.is_(None)]),
        )
    ]
    return session.scalars(
        select(OAuthGrant)
        .where(OAuthGrant.user_id == user.id, OAuthGrant.revoked.is_(None), or_(*is_open))
        .order_by(OAuthGrant.id.desc())
    ).all()


def revoke_own_grant(backend: Backend, user: User, grant_id: int) -> None:
    """The program has nothing from this grant any more. To revoke it twice is no error."""
    with backend.transaction() as session:
        grant = session.get(OAuthGrant, grant_id)
        if grant is None or grant.user_id != user.id:
            raise NotFound("you have given no such grant")
        _revoke(session, grant_id)


def find_issued(session: Session, text: str) -> Token | RefreshToken | None:
    """A program's access or refresh token, good or not."""
    digest = digest_of(text)
    return session.scalar(
        select(Token).where(Token.hash == digest, Token.grant_id.is_not(None))
    ) or session.scalar(select(RefreshToken).where(RefreshToken.hash == digest))


def find_living(session: Session, grant_id: int) -> OAuthGrant | None:
    """A grant that was not revoked."""
    grant = session.get(OAuthGrant, grant_id)
    return grant if grant and grant.revoked is None else None


def grant_of(session: Session, issued: Token | RefreshToken) -> OAuthGrant:
    return session.get_one(OAuthGrant, issued.grant_id)


def client_id_of(backend: Backend, token: Token) -> int | None:
    """The client that has this token; None for this service's own program, and for people."""
    if token.grant_id is None:
        return None
    with backend.transaction() as session:
        return grant_of(session, token).client_id


def is_good(issued: Token | RefreshToken, grant: OAuthGrant) -> bool:
    spent = issued.revoked if isinstance(issued, Token) else issued.used
    is_closed = grant.revoked is not None or is_suspended(grant.user)
    return not is_closed and spent is None and issued.expires > datetime.now(UTC)


def give_back(backend: Backend, issued: Token | RefreshToken) -> None:
    """A program does not need a token any more; with a refresh token goes the whole grant."""
    with backend.transaction() as session:
        if isinstance(issued, RefreshToken):
            _revoke(session, issued.grant_id)
        else:
            session.execute(
                update(Token)
                .where(Token.id == issued.id)
                .values(revoked=func.coalesce(Token.revoked, func.now()))
            )


def _revoke(session: Session, grant_id: int | None) -> None:
    """Every look for a token of the grant sees this. Nor is the program told anything more."""
    session.execute(
        update(OAuthGrant)
        .where(OAuthGrant.id == grant_id, OAuthGrant.revoked.is_(None))
        .values(revoked=func.now())
        .execution_options(synchronize_session=False)
    )
    _drop_webhooks(session)


def _drop_webhooks(session: Session) -> None:
    """Those of programs that the user lets act for them no longer, in any grant."""
    lives = (
        select(OAuthGrant.id)
        .where(
            OAuthGrant.user_id == Webhook.owner_id,
            OAuthGrant.client_id == Webhook.client_id,
            OAuthGrant.revoked.is_(None),
        )
        .exists()
    )
    session.execute(
        delete(Webhook)
        .where(Webhook.client_id.is_not(None), ~lives)
        .execution_options(synchronize_session=False)
    )


def remove_old_grants(backend: Backend) -> None:
    """Forget what has expired, and grants of which nothing is left."""
    with backend.transaction() as session:
        session.execute(delete(RefreshToken).where(RefreshToken.expires <= func.now()))
        for kind in (AuthorizationCode, DeviceCode):
            session.execute(delete(kind).where(kind.expires <= func.now() - RECORD))
        session.execute(
            delete(Token).where(Token.grant_id.is_not(None), Token.expires <= func.now())
        )
        nothing_is_left = [
            ~select(kind.id).where(kind.grant_id == OAuthGrant.id).exists()
            for kind in (AuthorizationCode, DeviceCode, RefreshToken, Token)
        ]
        session.execute(delete(OAuthGrant).where(*nothing_is_left))
        _drop_webhooks(session)
