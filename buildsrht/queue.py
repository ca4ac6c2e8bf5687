"""The queue's sending side: a job's id goes in, and nothing else.

Redis is transport. The queue may lose entries (a wiped Redis) or hold one twice (two senders):
the database says what is queued, a claim decides who runs it, and `enqueued_ids` lets the
janitor find what is missing. Payloads are JSON: a pickle from a shared Redis would be code.
"""

import re

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

NAME = "buildsrht"
# Whatever else somebody puts into our queue is not a job.
OURS = re.compile(r"job-(\d{1,10})")
# By name: the web service never imports the worker.
RUN_JOB = "worker.run_job.run_job"
# The worker keeps the job's deadline itself. RQ's own limit only catches one that hangs, so it
# leaves time for the end of a job: sealing logs, and waiting for a busy disk.
GRACE_SECONDS = 600


class JobQueue:
    def __init__(self, redis: Redis, job_timeout: int):
        self._queue = Queue(
            NAME,
            connection=redis,
            serializer=JSONSerializer,
            default_timeout=job_timeout + GRACE_SECONDS,
        )

    def enqueue(self, job_id: int) -> None:
        # A batch of one: RQ sends a batch in one transaction, and a single entry in two.
        entry = Queue.prepare_data(
            RUN_JOB,
            (job_id,),
            job_id=_name(job_id),
            description=f"job {job_id}",
            result_ttl=0,
            failure_ttl=0,
        )
        self._queue.enqueue_many([entry])

    def discard(self, job_id: int) -> None:
        """Take a job out again, if it is still waiting here."""
        job = self._queue.fetch_job(_name(job_id))
        if job and self._queue.remove(job):
            job.delete(remove_from_queue=False)

    def enqueued_ids(self) -> set[int]:
        """The jobs that wait in Redis; a worker that takes one removes it before it claims it."""
        found = (OURS.fullmatch(name) for name in self._queue.job_ids)
        return {int(match[1]) for match in found if match}


def _name(job_id: int) -> str:
    return f"job-{job_id}"
