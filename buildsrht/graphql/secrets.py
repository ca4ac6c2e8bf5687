"""Secrets: kept, listed, shared and forgotten. What is in them comes in and never goes out."""

from typing import Any
from uuid import UUID

from ariadne import EnumType, InterfaceType, MutationType, QueryType

from buildsrht import materials
from buildsrht.errors import BadInput, FieldError
from buildsrht.graphql.context import Context
from buildsrht.graphql.pages import read_page
from buildsrht.graphql.people import bare_name
from buildsrht.graphql.scalars import Upload
from buildsrht.models import Secret, SecretKind
from buildsrht.services import lists
from buildsrht.services import secrets as secret_service
from buildsrht.services.secrets import NewSecret

TYPES = {
    SecretKind.SSH_KEY: "SSHKey",
    SecretKind.PGP_KEY: "PGPKey",
    SecretKind.FILE: "SecretFile",
}

query = QueryType()
mutation = MutationType()
secret = InterfaceType("Secret", lambda row, *_: TYPES[row.kind])
secret_type = EnumType("SecretType", SecretKind)

secret.set_alias("fromUser", "from_user")


@query.field("secrets")
def resolve_secrets(_: Any, info: Any, cursor: str | None = None) -> dict[str, Any]:
    context: Context = info.context
    return read_page(
        f"secrets:{context.viewer.id}",
        cursor,
        lambda start, count: lists.secrets_of(context.session, context.viewer, start, count),
    )


@mutation.field("createSecret")
def create_secret(_: Any, info: Any, secret: dict[str, Any]) -> Secret | None:
    context: Context = info.context
    created = secret_service.create_secret(
        context.backend,
        context.viewer.name,
        NewSecret(
            kind=secret["type"],
            material=_material(secret.get("material"), secret.get("upload")),
            name=secret.get("name"),
            path=secret.get("path"),
            mode=secret.get("mode"),
        ),
    )
    return context.session.get(Secret, created.id)


def _material(text: str | None, upload: Upload | None) -> bytes:
    if text is not None and upload is not None:
        raise BadInput([FieldError("material", "and `upload` are the same in two ways: give one")])
    # One byte more than any may have, which says that it has too many.
    return upload.read(materials.MOST_PGP_BYTES + 1) if upload else (text or "").encode()


@mutation.field("shareSecret")
def share_secret(_: Any, info: Any, uuid: str, user: str) -> Secret | None:
    context: Context = info.context
    copy = secret_service.share_secret(
        context.backend, context.viewer.name, _uuid(uuid), bare_name(user)
    )
    return context.session.get(Secret, copy.id)


@mutation.field("deleteSecret")
def delete_secret(_: Any, info: Any, uuid: str) -> Secret:
    context: Context = info.context
    return secret_service.delete_secret(context.backend, context.viewer.name, _uuid(uuid))


def _uuid(text: str) -> UUID:
    found = secret_service.find_uuid(text)
    if found is None:
        raise BadInput([FieldError("uuid", "is not a UUID")])
    return found


BINDABLES = [query, mutation, secret, secret_type]
