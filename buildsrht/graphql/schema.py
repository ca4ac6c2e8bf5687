"""The schema with its resolvers. Each subject is a module with a list of BINDABLES."""

from pathlib import Path

from ariadne import load_schema_from_path, make_executable_schema

from buildsrht.graphql import (
    about,
    facts,
    groups,
    jobs,
    people,
    runners,
    scalars,
    secrets,
    submitting,
    webhooks,
)
from buildsrht.graphql.access import AccessDirective

SUBJECTS = (scalars, about, people, jobs, facts, submitting, groups, secrets, webhooks, runners)

SCHEMA = make_executable_schema(
    load_schema_from_path(str(Path(__file__).with_name("schema.graphqls"))),
    *(bindable for subject in SUBJECTS for bindable in subject.BINDABLES),
    # Only those of its methods are called that are there.
    directives={"access": AccessDirective},  # type: ignore[type-abstract]
)
