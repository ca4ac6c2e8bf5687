"""`/metrics`: what Prometheus scrapes, for those whom the operator lets."""

from ipaddress import ip_address

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from prometheus_client.exposition import choose_encoder

from buildsrht.config import Config
from buildsrht.errors import Forbidden
from buildsrht.metrics import registry
from buildsrht.serving import current_backend

routes = Blueprint("metrics", __name__)


@routes.get("/metrics")
def metrics() -> ResponseReturnValue:
    backend = current_backend()
    _require_allowed(backend.config, request.remote_addr or "")
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry(backend)), content_type=content_type)


def _require_allowed(config: Config, address: str) -> None:
    try:
        asker = ip_address(address)
    except ValueError as error:
        raise Forbidden("metrics are for addresses in [web] metrics, and you have none") from error
    if not any(asker in network for network in config.web.metrics):
        raise Forbidden(f"metrics are not for {address}, which is not in [web] metrics")
