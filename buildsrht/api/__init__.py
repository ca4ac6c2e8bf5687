"""HTTP: the legacy API that docs/ freezes, GraphQL, logs and artifacts, health and metrics.

Thin on purpose: a view finds out who asks, reads what they ask for, calls one service and renders
what it returns. There are no rules and no queries here.

    fields      what a request says, with all its problems at once
    render      rows as JSON
    errors      errors as JSON
    ranges      bytes, whole or in part
    schemas     what objects look like
    description all of it as an OpenAPI document
"""

from flask import Flask

from buildsrht.api import (
    artifacts,
    description,
    errors,
    events,
    groups,
    health,
    hooks,
    jobs,
    log_lines,
    logs,
    metrics,
    query,
)
from buildsrht.config import Config


def install(app: Flask, config: Config) -> None:
    errors.install(app)
    events.install(app, config)
    for part in (
        *(jobs, events, groups, logs, log_lines, artifacts),
        *(hooks, health, metrics, query, description),
    ):
        app.register_blueprint(part.routes)
