"""HTTP: the legacy API that docs/ freezes, GraphQL, logs and artifacts as files, and health.

Thin on purpose: a view finds out who asks, reads what they ask for, calls one service and renders
what it returns. There are no rules and no queries here.

    fields      what a request says, with all its problems at once
    render      rows as JSON
    errors      errors as JSON
    ranges      bytes, whole or in part
    schemas     what objects look like
    description all of it as an OpenAPI document
    context     the Backend that serves this request
"""

from flask import Flask

from buildsrht.api import (
    artifacts,
    context,
    description,
    errors,
    groups,
    health,
    hooks,
    jobs,
    logs,
    query,
)
from buildsrht.backend import Backend


def install(app: Flask, backend: Backend) -> None:
    context.install(app, backend)
    errors.install(app)
    for part in (jobs, groups, logs, artifacts, hooks, health, query, description):
        app.register_blueprint(part.routes)
