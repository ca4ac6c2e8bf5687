"""What clients need to know of this service before anything else."""

from importlib.metadata import version
from typing import Any

from ariadne import ObjectType, QueryType

from buildsrht.config import Config
from buildsrht.graphql.context import Context

# Of the API: minor grows when something is added, patch when something is mended.
MAJOR, MINOR, PATCH = 1, 0, 0

query = QueryType()
settings = ObjectType("Settings")


@query.field("version")
def resolve_version(_: Any, info: Any) -> dict[str, Any]:
    context: Context = info.context
    return {
        "major": MAJOR,
        "minor": MINOR,
        "patch": PATCH,
        "settings": context.backend.config,
        "buildVersion": version("buildsrht"),
    }


@settings.field("sshUser")
def resolve_ssh_user(config: Config, _: Any) -> str:
    return config.ssh.user


@settings.field("sshHost")
def resolve_ssh_host(config: Config, _: Any) -> str:
    return config.ssh.name


@settings.field("sshPort")
def resolve_ssh_port(config: Config, _: Any) -> int | None:
    return config.ssh.port


@settings.field("treeLimit")
def resolve_tree_limit(config: Config, _: Any) -> int:
    return min(config.limits.tree, 2**31 - 1)


@settings.field("buildTimeout")
def resolve_build_timeout(config: Config, _: Any) -> str:
    """As Go writes it: 45m0s, 4h0m0s."""
    minutes, seconds = divmod(config.worker.job_timeout, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


BINDABLES = [query, settings]
