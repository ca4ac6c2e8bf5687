"""Where on the web things are: every address that is handed out is made here.

All are absolute, and what they lead to never moves. Pure text; the path of each is what the routes
of buildsrht.api and the pages serve.
"""

from collections.abc import Sequence
from urllib.parse import quote


def job_page(origin: str, owner: str, job_id: int) -> str:
    """What people look at; builds know it as JOB_URL. `owner` is a user's bare name."""
    return f"{origin}/~{owner}/job/{job_id}"


def jobs_page(origin: str, owner: str, tags: Sequence[str] = ()) -> str:
    """A user's jobs, or those whose tags begin with these. Feeds are below it."""
    return "/".join([f"{origin}/~{owner}", *(quote(tag, safe="") for tag in tags)])


def setup_log(origin: str, job_id: int) -> str:
    return f"{origin}/query/log/{job_id}/log"


def task_log(origin: str, job_id: int, task: str) -> str:
    return f"{origin}/query/log/{job_id}/{task}/log"


def artifact(origin: str, job_id: int, secret: str, name: str) -> str:
    return f"{origin}/artifacts/{job_id}/{secret}/{quote(name, safe='')}"


def device_page(origin: str) -> str:
    """Where a user types the short code that a program without a browser shows."""
    return f"{origin}/oauth2/device"
