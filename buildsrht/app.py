"""The web service, put together from its parts over one Backend.

The only place where they meet: routes, the resource protector, the answers to errors, and the
limits that hold for every request.
"""

from flask import Flask, abort, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound
from werkzeug.middleware.proxy_fix import ProxyFix

from buildsrht import api, bodies, browsing, oauth, serving, throttling, web
from buildsrht.api.errors import http_error
from buildsrht.backend import Backend
from buildsrht.slow_clients import SlowClients
from buildsrht.tracing import Traced
from buildsrht.web.errors import no_such_address


class _JSON(DefaultJSONProvider):
    compact = True
    sort_keys = False


def create_app(backend: Backend) -> Flask:
    """The WSGI application. Each process makes its own, like the backend."""
    app = Flask(__name__, static_folder=None)
    app.json = _JSON(app)
    app.config["MAX_CONTENT_LENGTH"] = backend.config.limits.request
    # A stream of events has a place of its own, and is not counted here.
    guarded = SlowClients(app.wsgi_app, share=max(1, backend.config.web.threads // 2))
    traced = Traced(guarded, told=backend.config.journal.requests)
    # Whom a proxy serves, and nothing else that one might say.
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        traced, x_for=backend.config.web.proxies, x_proto=0, x_host=0
    )
    app.before_request(_refuse_nul)
    bodies.install(app)
    serving.install(app, backend)
    browsing.install(app)
    throttling.install(app)
    oauth.install(app, backend)
    api.install(app, backend.config)
    web.install(app, backend)
    app.register_error_handler(404, _no_such_address)
    return app


def _no_such_address(error: NotFound) -> ResponseReturnValue:
    """Browsers say that they want a page, and programs do not."""
    wanted = request.accept_mimetypes.best_match(["application/json", "text/html"])
    if request.url_rule is None and wanted == "text/html":
        return no_such_address()
    return http_error(error)


def _refuse_nul() -> None:
    # PostgreSQL has no text with a NUL, and would not even take the question.
    if "\0" in request.path:
        abort(404)
