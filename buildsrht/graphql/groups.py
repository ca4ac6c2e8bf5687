"""Groups of jobs: made, started, and what of them their owner and others find."""

from collections.abc import Collection
from typing import Any

from ariadne import EnumType, InterfaceType, MutationType, ObjectType, QueryType

from buildsrht.errors import BadInput, FieldError
from buildsrht.graphql.context import Context
from buildsrht.models import Job, JobGroup
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
    created = group_service.create_group(
        context.backend,
        context.viewer,
        jobIds,
        check_note(note) if note else None,
        group_service.check_triggers(_as_written(triggers or [])),
        execute is not False,
    )
    return context.session.get_one(JobGroup, created.id)


def _as_written(triggers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Triggers as a manifest has them. Raises BadInput for each that lacks what its type needs."""
    problems = []
    written = []
    for index, given in enumerate(triggers):
        kind, names = given["type"], EMAIL if given["type"] == "email" else WEBHOOK
        details = given.get(kind)
        if details is None:
            reason = f"[{index}] is of type {kind.upper()} and needs `{kind}`"
            problems.append(FieldError("triggers", reason))
            continue
        said = {name: details[key] for key, name in names.items() if details.get(key) is not None}
        written.append({"action": kind, "condition": given["condition"], **said})
    if problems:
        raise BadInput(problems)
    return written


@mutation.field("startGroup")
def start_group(_: Any, info: Any, groupId: int) -> JobGroup:
    context: Context = info.context
    group_service.start_group(context.backend, groupId, context.viewer)
    return context.session.get_one(JobGroup, groupId)


BINDABLES = [query, mutation, group, trigger, email_trigger, condition, trigger_type]
