"""Users: who they are, and what others may know of them."""

from typing import Any

from ariadne import InterfaceType, ObjectType, QueryType

from buildsrht.graphql.context import Context
from buildsrht.models import User

query = QueryType()
user = ObjectType("User")
entity = InterfaceType("Entity", lambda *_: "User")

user.set_alias("canonicalName", "canonical_name")
user.set_alias("username", "name")


@query.field("me")
def resolve_me(_: Any, info: Any) -> User:
    context: Context = info.context
    # The asker of a job's token has no email; what is in the database has.
    return context.session.get_one(User, context.viewer.id)


@user.field("email")
def resolve_email(row: User, info: Any) -> str:
    context: Context = info.context
    return (row.email or "") if row.id == context.viewer.id else ""


BINDABLES = [query, user, entity]
