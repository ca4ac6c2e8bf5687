"""`@access`: every field that has it needs that grant, and RW includes RO."""

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_required_argument,
    is_required_input_field,
)

from buildsrht.graphql.schema import SCHEMA
from buildsrht.services.scopes import AREAS

SAMPLES = {"Int": "1", "String": '"x"', "Boolean": "true"}


def value_of(kind) -> str:
    """Something that validates where this type is wanted."""
    kind = get_nullable_type(kind)
    if is_list_type(kind):
        return f"[{value_of(kind.of_type)}]"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        needed = {name: f for name, f in kind.fields.items() if is_required_input_field(f)}
        return "{" + ", ".join(f"{name}: {value_of(f.type)}" for name, f in needed.items()) + "}"
    return SAMPLES[kind.name]


def call_of(name, field) -> str:
    needed = {arg: a for arg, a in field.args.items() if is_required_argument(a)}
    arguments = ", ".join(f"{arg}: {value_of(a.type)}" for arg, a in needed.items())
    selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    return name + (f"({arguments})" if arguments else "") + selection


def grant_of(field) -> str | None:
    for directive in field.ast_node.directives or ():
        if directive.name.value == "access":
            given = {each.name.value: each.value.value for each in directive.arguments}
            return f"{given['scope']}:{given['kind']}"
    return None


def guarded():
    for operation, root in (("query", SCHEMA.query_type), ("mutation", SCHEMA.mutation_type)):
        for name, field in root.fields.items():
            if grant := grant_of(field):
                yield pytest.param(operation, name, call_of(name, field), grant, id=name)


@pytest.mark.parametrize(("operation", "name", "call", "grant"), list(guarded()))
def test_a_field_needs_its_grant(fail, row_counts, operation, name, call, grant):
    area, kind = grant.split(":")
    others = [f"{other}:RW" for other in AREAS if other != area]
    too_little = [f"{area}:RO"] if kind == "RW" else []
    before = row_counts()

    error = fail(f"{operation} {{ {call} }}", grants=others + too_little)

    place = f"{operation.capitalize()}.{name}"
    assert error["message"] == f"{place} needs a token with {grant}"
    assert error["extensions"] == {"code": "FORBIDDEN", "grant": grant}
    assert error["path"] == [name]
    assert row_counts() == before


def test_only_what_tells_nothing_of_anybody_needs_no_grant():
    roots = (SCHEMA.query_type, SCHEMA.mutation_type)
    free = [name for root in roots for name, field in root.fields.items() if not grant_of(field)]
    assert free == ["version", "webhook"]


@pytest.mark.parametrize(
    ("field", "grant"),
    [
        ("owner { canonicalName }", "PROFILE:RO"),
        ("log { fullURL }", "LOGS:RO"),
        ("tasks { log { last128KiB } }", "LOGS:RO"),
        ("secrets { uuid }", "SECRETS:RO"),
    ],
)
def test_fields_of_a_job_need_theirs(ask, make_job, field, grant):
    make_job()
    query = f"{{ job(id: 1) {{ id {field} }} }}"

    refused = ask(query, grants=["JOBS:RW"])
    assert {error["extensions"]["grant"] for error in refused["errors"]} == {grant}
    assert "errors" not in ask(query, grants=["JOBS:RO", grant])


def test_what_one_field_lacks_the_others_have(ask, make_job):
    make_job()
    response = ask("{ job(id: 1) { id log { fullURL } } }", grants=["JOBS:RO"])

    assert response["data"] == {"job": {"id": 1, "log": None}}
    assert response["errors"][0]["path"] == ["job", "log"]
    assert response["errors"][0]["locations"] == [{"line": 1, "column": 19}]


def test_rw_includes_ro(find):
    assert find("{ me { username } }", grants=["PROFILE:RW"])


def test_legacy_scopes_have_their_grants(ask, find, make_job):
    make_job()
    assert find("{ job(id: 1) { log { fullURL } } }", grants=["jobs:read"])
    assert ask("{ me { id } }", grants=["jobs:write"])["errors"]
