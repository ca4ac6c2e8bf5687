"""Users' webhooks: made, listed, deleted, and what they were told; and `webhook`, which is what
their queries ask for."""

from functools import partial
from typing import Any

from ariadne import InterfaceType, MutationType, ObjectType, QueryType

from buildsrht.errors import BadInput, FieldError, Forbidden, NotFound
from buildsrht.events import webhook_event
from buildsrht.graphql.answers import answer
from buildsrht.graphql.context import Context
from buildsrht.graphql.engine import check_webhook_query
from buildsrht.graphql.pages import read_page
from buildsrht.models import Delivery, OAuthClient, Webhook
from buildsrht.services import webhooks as webhook_service
from buildsrht.services.webhooks import Payload

# Types of answers that are text, besides text/*.
JSON = "application/json"
SUFFIX_OF_JSON = "+json"

query = QueryType()
mutation = MutationType()
subscription = InterfaceType("WebhookSubscription", lambda *_: "UserWebhookSubscription")
user_subscription = ObjectType("UserWebhookSubscription")
delivery = ObjectType("WebhookDelivery")
payload = InterfaceType("WebhookPayload", lambda *_: "JobEvent")
client = ObjectType("OAuthClient")

delivery.set_alias("date", "created")
delivery.set_alias("responseStatus", "response_status")


# --- webhooks ---------------------------------------------------------------------------------


@query.field("userWebhooks")
def resolve_webhooks(_: Any, info: Any, cursor: str | None = None) -> dict[str, Any]:
    context: Context = info.context
    webhook_service.insist_on_person(context.session, context.asker)
    return read_page(
        "webhooks",
        cursor,
        lambda start, count: webhook_service.list_webhooks(
            context.session, context.asker, start, count
        ),
    )


@query.field("userWebhook")
def resolve_webhook(_: Any, info: Any, id: int) -> Webhook | None:
    context: Context = info.context
    webhook_service.insist_on_person(context.session, context.asker)
    try:
        return webhook_service.require_webhook(context.session, context.asker, id)
    except NotFound:
        return None


@mutation.field("createUserWebhook")
def create_webhook(_: Any, info: Any, config: dict[str, Any]) -> Webhook:
    context: Context = info.context
    return webhook_service.create_webhook(
        context.backend,
        context.asker,
        config["url"],
        config["events"],
        config["query"],
        partial(check_webhook_query, info.schema),
    )


@mutation.field("deleteUserWebhook")
def delete_webhook(_: Any, info: Any, id: int) -> Webhook:
    context: Context = info.context
    return webhook_service.delete_webhook(context.backend, context.asker, id)


@user_subscription.field("sample")
def resolve_sample(row: Webhook, info: Any, event: str) -> str:
    context: Context = info.context
    if context.payload is not None:
        raise Forbidden("the query of a webhook may not ask for samples, its own among them")
    webhook_service.insist_on_grants(row, context.asker)
    return answer(info.schema, context.backend, webhook_service.sample(context.backend, row, event))


# --- deliveries -------------------------------------------------------------------------------


@user_subscription.field("deliveries")
def resolve_deliveries(row: Webhook, info: Any, cursor: str | None = None) -> dict[str, Any]:
    context: Context = info.context
    return read_page(
        f"deliveries:{row.id}",
        cursor,
        lambda start, count: webhook_service.list_deliveries(context.session, row.id, start, count),
    )


@delivery.field("event")
def resolve_event(row: Delivery, _: Any) -> str:
    return webhook_event(_of_webhook(row.event).kind)


@delivery.field("subscription")
def resolve_subscription(row: Delivery, _: Any) -> Webhook:
    return _of_webhook(row.webhook)


@delivery.field("requestBody")
def resolve_request_body(row: Delivery, info: Any) -> str:
    context: Context = info.context
    webhook_service.insist_on_grants(_of_webhook(row.webhook), context.asker)
    return row.payload or ""


@delivery.field("responseBody")
def resolve_response_body(row: Delivery, _: Any) -> str | None:
    return row.response_body if _is_text(row.response_headers or {}) else None


@delivery.field("responseHeaders")
def resolve_response_headers(row: Delivery, _: Any) -> str | None:
    if row.response_headers is None:
        return None
    return "".join(f"{name}: {value}\r\n" for name, value in row.response_headers.items())


def _of_webhook(found: Any) -> Any:
    """What every delivery to a webhook has, and those of triggers have not."""
    assert found is not None
    return found


def _is_text(headers: dict[str, str]) -> bool:
    named = {name.lower(): value for name, value in headers.items()}
    kind = named.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind == JSON or kind.endswith(SUFFIX_OF_JSON)


# --- what queries of webhooks ask for ---------------------------------------------------------


@query.field("webhook")
def resolve_payload(_: Any, info: Any) -> Payload:
    context: Context = info.context
    if context.payload is None:
        reason = "only the query of a webhook may ask for it, when it is told of an event"
        raise BadInput([FieldError("webhook", reason)])
    found: Payload = context.payload
    return found


@payload.field("uuid")
@delivery.field("uuid")
@client.field("uuid")
def resolve_uuid(row: Payload | Delivery | OAuthClient, _: Any) -> str:
    return str(row.uuid)


BINDABLES = [query, mutation, subscription, user_subscription, delivery, payload, client]
