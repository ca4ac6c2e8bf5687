"""What the webhook of a trigger says of a job or a group: the JSON that receivers were promised.

Keys may be added, never renamed or removed. It is the same for every attempt at a delivery, for
nothing here changes after the end.
"""

import json
from typing import Any

from buildsrht import urls
from buildsrht.config import Config
from buildsrht.models import Job, JobGroup, User
from buildsrht.services.triggers import Errand


def body_of(config: Config, errand: Errand) -> bytes:
    if errand.group is None:
        said = describe_job(config, errand.jobs[0])
    else:
        said = _describe_group(config, errand.group, errand)
    return json.dumps(said, ensure_ascii=False).encode()


def describe_job(config: Config, job: Job) -> dict[str, Any]:
    origin = config.web.origin
    return {
        "id": job.id,
        "status": job.status,
        "setup_log": urls.setup_log(origin, job.id),
        "note": job.note,
        "runner": job.runner,
        "owner": _describe_user(job.owner),
        "tasks": [
            {
                "name": task.name,
                "status": task.status,
                "log": urls.task_log(origin, job.id, task.name),
            }
            for task in job.tasks
        ],
        "tags": "/".join(job.tags) or None,
        "url": job_url(config, job),
        "fault": job.fault,
    }


def _describe_group(config: Config, group: JobGroup, errand: Errand) -> dict[str, Any]:
    return {
        "id": group.id,
        "status": errand.status,
        "note": group.note,
        "owner": _describe_user(group.owner),
        "jobs": [describe_job(config, job) for job in errand.jobs],
    }


def _describe_user(user: User) -> dict[str, str]:
    return {"canonical_name": user.canonical_name, "name": user.name}


def job_url(config: Config, job: Job) -> str:
    return urls.job_page(config.web.origin, job.owner.name, job.id)
