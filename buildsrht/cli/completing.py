"""What the shell may offer for an argument: asked of the server in a hurry.

A server that is slow, away or unwilling offers nothing, and says nothing: somebody is typing.
"""

from itertools import islice
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from buildsrht.errors import BuildsError

if TYPE_CHECKING:
    from buildsrht.client import Job

SECONDS = 1.5
MOST = 50


def job_ids(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    return [
        CompletionItem(str(job["id"]), help=_summary(job))
        for job in _latest_jobs()
        if str(job["id"]).startswith(typed)
    ]


def tags(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    known = {job["tags"] for job in _latest_jobs() if job["tags"]}
    return [CompletionItem(each) for each in sorted(known) if each.startswith(typed)]


def tasks(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Of the job whose number stands before."""
    names = [
        task["name"]
        for job in _latest_jobs()
        if job["id"] == context.params.get("job_id")
        for task in job["tasks"]
    ]
    return [CompletionItem(name) for name in names if name.startswith(typed)]


def _summary(job: "Job") -> str:
    return " ".join(filter(None, [job["status"], job["tags"], _first_line(job["note"])]))


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0].strip()


def _latest_jobs() -> list["Job"]:
    import httpx

    from buildsrht.cli.connection import connect

    try:
        with connect(httpx.Timeout(SECONDS)) as client:
            return list(islice(client.jobs(), MOST))
    except (BuildsError, OSError):
        return []
