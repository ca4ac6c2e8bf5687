"""What only this service tells of jobs: their events, transitions and plan, why they wait, what is
wrong with a manifest; and two verbs, to change a job and to submit it once more."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from ariadne import EnumType, MutationType, ObjectType, QueryType

from buildsrht.graphql.context import Context
from buildsrht.manifest import Problem
from buildsrht.models import EventKind, Job, JobEvent, Visibility
from buildsrht.services import history, plans, submitting, waiting
from buildsrht.services import jobs as job_service
from buildsrht.services.history import Transition
from buildsrht.services.plans import Plan
from buildsrht.services.scopes import may_use_secrets
from buildsrht.services.waiting import Reason, WaitCode

query = QueryType()
mutation = MutationType()
job = ObjectType("Job")
happening = ObjectType("JobHappening")
transition = ObjectType("JobTransition")
plan = ObjectType("JobPlan")

happening.set_alias("date", "created")
happening.set_alias("taskStatus", "task_status")
transition.set_alias("from", "came_from")
plan.set_alias("imageVersion", "image_version")


@job.field("events")
def resolve_events(row: Job, info: Any) -> list[JobEvent] | None:
    context: Context = info.context
    return context.together(_events_of, row, lambda each: each.id)


def _events_of(context: Context, job_ids: Collection[int]) -> dict[int, list[JobEvent]]:
    return history.events_of(context.session, job_ids)


@job.field("transitions")
def resolve_transitions(row: Job, info: Any) -> list[Transition] | None:
    context: Context = info.context
    return context.together(_transitions_of, row, lambda each: each)


def _transitions_of(context: Context, jobs: Collection[Job]) -> dict[Job, list[Transition]]:
    found = history.transitions_of(context.session, jobs)
    return {each: found[each.id] for each in jobs}


@job.field("plan")
def resolve_plan(row: Job, info: Any) -> Plan:
    context: Context = info.context
    return plans.plan_of(context.session, row)


@job.field("waitsFor")
def resolve_waits_for(row: Job, info: Any) -> list[Reason]:
    context: Context = info.context
    look_at_slots = partial(context.once, "slots", context.backend.queue.slots)
    return waiting.reasons(context.backend, row, look_at_slots)


@query.field("lint")
def resolve_lint(_: Any, info: Any, manifest: str) -> Sequence[Problem]:
    context: Context = info.context
    return job_service.lint(context.backend.catalogue, manifest)


@mutation.field("update")
def update(
    _: Any,
    info: Any,
    jobId: int,
    visibility: Visibility | None = None,
    tags: list[str] | None = None,
    note: str | None = None,
) -> Job:
    context: Context = info.context
    job_service.update_job(
        context.backend, jobId, context.viewer, visibility=visibility, tags=tags, note=note
    )
    return job_service.require_job(context.session, jobId, context.viewer)


@mutation.field("resubmit")
def resubmit(
    _: Any, info: Any, jobId: int, note: str | None = None, execute: bool | None = None
) -> Job:
    context: Context = info.context
    submitting.count(context.backend, context.viewer)
    new = job_service.resubmit(
        context.backend,
        context.viewer,
        jobId,
        note=note,
        execute=execute is not False,
        may_use_secrets=may_use_secrets(context.asker.scopes),
        grantable=context.asker.grants,
    )
    return job_service.require_job(context.session, new.id, context.viewer)


BINDABLES = [
    *(query, mutation, job, happening, transition, plan),
    EnumType("JobHappeningKind", EventKind),
    EnumType("WaitCode", WaitCode),
]
