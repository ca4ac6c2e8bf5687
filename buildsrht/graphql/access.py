"""`@access` in the schema: whose token lacks the grant gets an error in place of the field."""

from typing import Any

from ariadne import SchemaDirectiveVisitor
from graphql import GraphQLField, GraphQLInterfaceType, GraphQLObjectType, default_field_resolver

from buildsrht.errors import Forbidden
from buildsrht.graphql.context import Context


class GrantMissing(Forbidden):
    """A good token, for something else. `field` is the argument that needs more, if one does."""

    def __init__(self, reason: str, grant: str, field: str | None = None):
        super().__init__(reason)
        self.grant = grant
        self.field = field


class AccessDirective(SchemaDirectiveVisitor):
    def visit_field_definition(
        self, field: GraphQLField, object_type: GraphQLObjectType | GraphQLInterfaceType
    ) -> GraphQLField:
        grant = f"{self.args['scope']}:{self.args['kind']}"
        resolve = field.resolve or default_field_resolver

        def guarded(source: Any, info: Any, **args: Any) -> Any:
            context: Context = info.context
            if grant not in context.asker.grants:
                place = f"{object_type.name}.{info.field_name}"
                raise GrantMissing(f"{place} needs a token with {grant}", grant)
            return resolve(source, info, **args)

        field.resolve = guarded
        return field
