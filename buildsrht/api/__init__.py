"""The REST interface: the legacy API that docs/ freezes, logs and artifacts as files, and health.

Thin on purpose: a view finds out who asks, reads what they ask for, calls one service and renders
what it returns. There are no rules and no queries here.

    fields      what a request says, with all its problems at once
    render      rows as JSON
    errors      errors as JSON
    ranges      bytes, whole or in part
    context     the Backend that serves this request
"""

from flask import Flask

from buildsrht.api import artifacts, context, errors, groups, health, hooks, jobs, logs
from buildsrht.backend import Backend


def install(app: Flask, backend: Backend) -> None:
    context.install(app, backend)
    errors.install(app)
    for part in (jobs, groups, logs, artifacts, hooks, health):
        app.register_blueprint(part.routes)
