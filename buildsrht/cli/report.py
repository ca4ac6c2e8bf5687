"""What a command that makes jobs prints of them, and its exit status."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from buildsrht.cli.options import exit_status, print_json, say
from buildsrht.client import Client, Job
from buildsrht.follow import follow, wait


class Report(NamedTuple):
    """Whether the command stays until its jobs are over, and for whom it prints."""

    following: bool
    waiting: bool
    as_json: bool

    def submitted(self, client: Client, job: Job) -> None:
        stays = self.following or self.waiting
        if self.as_json and not stays:
            print_json(job)
        else:
            click.echo(f"{client.url}/api/jobs/{job['id']}", err=stays)

    def ended(self, client: Client, jobs: Sequence[Job]) -> int:
        """The exit status; with nothing to stay for, 0 at once."""
        if not (self.following or self.waiting):
            return 0
        endings = []
        for job in jobs:
            endings.append(self._end(client, job["id"]))
            say(f"job {job['id']}: {endings[-1]}")
            if self.as_json:
                print_json(client.job(job["id"]))
        return exit_status(endings)

    def _end(self, client: Client, job_id: int) -> str:
        if not self.following:
            return wait(client, job_id)
        return follow(client, job_id, (sys.stderr if self.as_json else sys.stdout).buffer)
