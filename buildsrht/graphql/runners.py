"""Build hosts: seen and moved by administrators."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from ariadne import EnumType, MutationType, ObjectType, QueryType

from buildsrht.backend import Backend
from buildsrht.errors import Forbidden, NotFound
from buildsrht.graphql.context import Context
from buildsrht.health import Health, Reason, Verdict, hosts
from buildsrht.models import RunnerState, User
from buildsrht.services import enrolment
from buildsrht.services.runners import Host

query = QueryType()
mutation = MutationType()
runner = ObjectType("Runner")
state = EnumType("RunnerState", RunnerState)
verdict = EnumType("HealthVerdict", Verdict)

MOVES: dict[RunnerState, Callable[[Backend, User, str], None]] = {
    RunnerState.ACTIVE: enrolment.resume,
    RunnerState.DRAINING: enrolment.drain,
    RunnerState.RETIRED: enrolment.retire,
}


class Seen(NamedTuple):
    """A build host as it is shown."""

    name: str
    state: RunnerState
    health: Verdict
    reasons: tuple[Reason, ...]
    seen: datetime
    labels: list[str]
    images: list[str]


@query.field("runners")
def resolve_runners(_: Any, info: Any) -> list[Seen]:
    context: Context = info.context
    _insist_on_administrator(context)
    return _all(context)


@mutation.field("enrolRunner")
def enrol_runner(_: Any, info: Any, name: str, draining: bool | None = None) -> Seen:
    context: Context = info.context
    _insist_on_administrator(context)
    enrolment.enrol(context.backend, name, draining=bool(draining))
    return _one(context, name)


@mutation.field("moveRunner")
def move_runner(_: Any, info: Any, name: str, state: RunnerState) -> Seen:
    context: Context = info.context
    _insist_on_administrator(context)
    MOVES[state](context.backend, context.viewer, name)
    return _one(context, name)


@mutation.field("pruneRunners")
def prune_runners(_: Any, info: Any) -> list[Seen]:
    context: Context = info.context
    _insist_on_administrator(context)
    enrolment.prune(context.backend, context.viewer)
    return _all(context)


def _insist_on_administrator(context: Context) -> None:
    if not context.viewer.admin:
        raise Forbidden("build hosts are for administrators")
    # Whoever let a program in was told of jobs, and not that it may stop the whole service.
    if context.asker.client_id is not None:
        raise Forbidden("build hosts are for administrators, and not for programs they let in")


def _all(context: Context) -> list[Seen]:
    return [_seen(host, health) for host, health in hosts.judged(context.session)]


def _one(context: Context, name: str) -> Seen:
    found = next((host for host in _all(context) if host.name == name), None)
    if found is None:
        raise NotFound(f"there is no build host {name}")
    return found


def _seen(host: Host, health: Health) -> Seen:
    images = [f"{image['name']}:{image['arch']}" for image in host.facts.get("images") or ()]
    labels = list(host.facts.get("labels") or ())
    return Seen(host.name, host.state, health.verdict, health.reasons, host.seen, labels, images)


BINDABLES = [query, mutation, runner, state, verdict]
