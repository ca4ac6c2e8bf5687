"""The web service, put together from its parts over one Backend.

The only place where they meet: routes, the resource protector, the answers to errors, and the
limits that hold for every request.
"""

from flask import Flask, abort, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from buildsrht import api, browsing, oauth, serving, web
from buildsrht.backend import Backend


class _JSON(DefaultJSONProvider):
    compact = True
    sort_keys = False


def create_app(backend: Backend) -> Flask:
    """The WSGI application. Each process makes its own, like the backend."""
    app = Flask(__name__, static_folder=None)
    app.json = _JSON(app)
    app.config["MAX_CONTENT_LENGTH"] = backend.config.limits.request
    # Whom a proxy serves, and nothing else that one might say.
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        app.wsgi_app, x_for=backend.config.web.proxies, x_proto=0, x_host=0
    )
    app.before_request(_refuse_nul)
    serving.install(app, backend)
    browsing.install(app)
    oauth.install(app, backend)
    api.install(app)
    web.install(app, backend)
    return app


def _refuse_nul() -> None:
    # PostgreSQL has no text with a NUL, and would not even take the question.
    if "\0" in request.path:
        abort(404)
