"""Users: who they are, and what others may know of them; their public keys and tokens."""

from typing import Any

from ariadne import InterfaceType, MutationType, ObjectType, QueryType

from buildsrht.graphql.context import Context
from buildsrht.graphql.pages import EMPTY, read_page
from buildsrht.models import SshKey, Token, User
from buildsrht.services import lists, ssh_keys, tokens
from buildsrht.services.scopes import AREAS, granted
from buildsrht.services.users import find_user

query = QueryType()
mutation = MutationType()
entity = InterfaceType("Entity", lambda *_: "User")
user = ObjectType("User")
ssh_key = ObjectType("PublicSSHKey")
token = ObjectType("OAuthPersonalToken")

user.set_alias("canonicalName", "canonical_name")
user.set_alias("username", "name")
ssh_key.set_alias("lastUsed", "last_used")
token.set_alias("issued", "created")


def bare_name(name: str) -> str:
    """A user may be called by their canonical name as well."""
    return name.removeprefix("~")


# --- users ------------------------------------------------------------------------------------


@query.field("me")
def resolve_me(_: Any, info: Any) -> User:
    context: Context = info.context
    # Read anew: whom the token of a job stands for is not all of its owner.
    return context.session.get_one(User, context.viewer.id)


@query.field("userByID")
def resolve_user_by_id(_: Any, info: Any, id: int) -> User | None:
    context: Context = info.context
    return context.session.get(User, id)


@query.field("userByName")
@query.field("user")
def resolve_user(_: Any, info: Any, username: str) -> User | None:
    context: Context = info.context
    return find_user(context.session, bare_name(username))


@user.field("email")
def resolve_email(row: User, info: Any) -> str:
    context: Context = info.context
    return (row.email or "") if row.id == context.viewer.id else ""


# --- public keys ------------------------------------------------------------------------------


@user.field("sshKeys")
def resolve_ssh_keys(row: User, info: Any, cursor: str | None = None) -> dict[str, Any]:
    context: Context = info.context
    return context.once(
        ("sshKeys", row.id, cursor),
        lambda: read_page(
            f"sshKeys:{row.id}",
            cursor,
            lambda start, count: lists.ssh_keys_of(context.session, row, start, count),
        ),
    )


@user.field("pgpKeys")
def resolve_pgp_keys(*_: Any, cursor: str | None = None) -> dict[str, Any]:
    return EMPTY


@query.field("sshKeyByFingerprint")
def resolve_ssh_key(_: Any, info: Any, fingerprint: str) -> SshKey | None:
    context: Context = info.context
    return ssh_keys.find_by_fingerprint(context.session, fingerprint)


@mutation.field("createSSHKey")
def create_ssh_key(_: Any, info: Any, key: str) -> SshKey:
    context: Context = info.context
    return ssh_keys.add_key(context.backend, context.viewer.name, key)


@mutation.field("deleteSSHKey")
def delete_ssh_key(_: Any, info: Any, id: int) -> SshKey:
    context: Context = info.context
    return ssh_keys.remove_own_key(context.backend, context.viewer, id)


# --- tokens -----------------------------------------------------------------------------------


@query.field("personalAccessTokens")
def resolve_tokens(_: Any, info: Any) -> Any:
    context: Context = info.context
    return tokens.list_tokens(context.session, context.viewer)


@mutation.field("revokePersonalAccessToken")
def revoke_token(_: Any, info: Any, id: int) -> Token:
    context: Context = info.context
    return tokens.revoke_own_token(context.backend, context.viewer, id)


@token.field("grants")
def resolve_grants(row: Token, _: Any) -> str:
    """The widest of each area: RW includes RO."""
    grants = granted(row.scopes)
    kinds = {area: kind for area in AREAS for kind in ("RO", "RW") if f"{area}:{kind}" in grants}
    return " ".join(f"{area}:{kind}" for area, kind in kinds.items())


BINDABLES = [query, mutation, entity, user, ssh_key, token]
