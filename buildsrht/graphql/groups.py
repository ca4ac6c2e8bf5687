"""Groups of jobs: made, started, and what of them their owner and others find."""

from collections.abc import Collection
from typing import Any

from ariadne import EnumType, InterfaceType, MutationType, ObjectType, QueryType

from buildsrht.errors import BadInput, FieldError
from buildsrht.graphql.context import Context
from buildsrht.models import Job, JobGroup
from buildsrht.problems import Problems
from buildsrht.services import groups as group_service
from buildsrht.services.jobs import check_note

# An argument's name, and what it is called in a manifest.
EMAIL = {"to": "to", "cc": "cc", "inReplyTo": "in_reply_to"}
WEBHOOK = {"url": "url"}

query = QueryType()
mutation = MutationType()
group = ObjectType("JobGroup")
trigger = InterfaceType(
    "Trigger",
    lambda found, *_: "EmailTrigger" if found["action"] == "email" else "WebhookTrigger",
)
email_trigger = ObjectType("EmailTrigger")
condition = EnumType(
    "TriggerCondition", {"SUCCESS": "success", "FAILURE": "failure", "ALWAYS": "always"}
)
trigger_type = EnumType("TriggerType", {"EMAIL": "email", "WEBHOOK": "webhook"})

email_trigger.set_alias("inReplyTo", "in_reply_to")


def groups_of(
    context: Context, group_ids: Collection[int]
) -> dict[int, tuple[JobGroup, list[Job]]]:
    return group_service.find_groups(context.session, group_ids, context.viewer)


@query.field("jobGroup")
def resolve_group(_: Any, info: Any, id: int) -> JobGroup | None:
    context: Context = info.context
    found = groups_of(context, [id]).get(id)
    return found[0] if found else None


@group.field("jobs")
def resolve_jobs(row: JobGroup, info: Any) -> list[Job]:
    context: Context = info.context
    found = context.together(groups_of, row, lambda each: each.id)
    return found[1] if found else []


@group.field("triggers")
def resolve_triggers(row: JobGroup, info: Any) -> list[dict[str, Any]]:
    context: Context = info.context
    # Addresses of people, and of webhooks, which may have a password in them.
    return row.triggers if row.owner_id == context.viewer.id else []


@mutation.field("createGroup")
def create_group(
    _: Any,
    info: Any,
    jobIds: list[int],
    triggers: list[dict[str, Any]] | None = None,
    execute: bool | None = None,
    note: str | None = None,
) -> JobGroup:
    context: Context = info.context
    problems = Problems()
    written = problems.checked(triggers, _check_triggers)
    note = problems.checked(note, check_note)
    problems.insist()
    try:
        created = group_service.create_group(
            context.backend,
            context.viewer,
            jobIds,
            note or None,
            written or [],
            execute is not False,
        )
    except BadInput as bad:
        # The only one that is left for the service to find fault with.
        raise BadInput(FieldError("jobIds", reason) for _, reason in bad.errors) from None
    return context.session.get_one(JobGroup, created.id)


def _check_triggers(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Triggers as a manifest has them. Raises BadInput for each that lacks what its type needs."""
    bare = [
        FieldError(
            "triggers", f"[{index}] is of type {each['type'].upper()} and needs `{each['type']}`"
        )
        for index, each in enumerate(given)
        if each.get(each["type"]) is None
    ]
    if bare:
        raise BadInput(bare)
    written: list[dict[str, Any]] = group_service.check_triggers([_as_written(t) for t in given])
    return written


def _as_written(given: dict[str, Any]) -> dict[str, Any]:
    kind = given["type"]
    names = EMAIL if kind == "email" else WEBHOOK
    details = {
        name: given[kind][key] for key, name in names.items() if given[kind].get(key) is not None
    }
    return {"action": kind, "condition": given["condition"], **details}


@mutation.field("startGroup")
def start_group(_: Any, info: Any, groupId: int) -> JobGroup:
    context: Context = info.context
    group_service.start_group(context.backend, groupId, context.viewer)
    return context.session.get_one(JobGroup, groupId)


BINDABLES = [query, mutation, group, trigger, email_trigger, condition, trigger_type]
