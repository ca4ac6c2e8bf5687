"""What a client may ask for: `connect`, `tail` and `submit`.

Who came as a job's number means that job's machine, whatever they ask for: scp and sftp have no
place for a command of ours.
"""

import asyncio
import re
import shlex
import time
from collections.abc import Sequence
from typing import Any

import click

from buildsrht import urls
from buildsrht.errors import BadInput, BuildsError, FieldError, Forbidden, Gone
from buildsrht.models import Job, JobStatus, KeptMachine, User
from buildsrht.services import jobs, kept
from worker.gateway.service import Service, Visitor
from worker.gateway.session import END_OF_INPUT, INPUT, Ending, Request, Session
from worker.gateway.tail import AWAY, LogTail, Look
from worker.gateway.visit import visit

FAILED = 1
# As ssh itself does, so that it is no status of a command in the machine.
NOT_CONNECTED = 255
POLL_SECONDS = 0.3
PATIENCE_SECONDS = 30
PAUSE_SECONDS = 1
TAB = "    "
JOB = re.compile(r"#?[1-9][0-9]{0,9}")
WAITING = (JobStatus.PENDING, JobStatus.QUEUED)

# As ssh does: one text for the user's own shell.
COMMAND = ("sh", "-c", 'exec "${SHELL:-sh}" -c "$1"', "sh")
SFTP_SERVERS = (
    *("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server"),
    *("/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server", "/usr/lib/sftp-server"),
)
FIRST_OF = (
    'for program; do [ -x "$program" ] && exec "$program"; done; '
    'echo "there is no sftp-server in this machine" >&2; exit 127'
)
SFTP = ("sh", "-c", FIRST_OF, "sh", *SFTP_SERVERS)


async def serve(service: Service, visitor: Visitor, session: Session) -> Ending:
    """Do what the client asks for; how it ended."""
    if visitor.job_id is not None:
        argv = _argv(session.request)
        return await connect(service, visitor, session, visitor.job_id, argv)
    if session.request.sftp:
        raise _misuse("for sftp and scp, give the number of the job as the user: sftp 123@HOST")
    word, text = _split(session.request.command or "")
    if word == "connect":
        job_id, command = _split(text)
        argv = _argv(Request(command or None))
        return await connect(service, visitor, session, _number(job_id), argv)
    if word == "tail":
        return await tail(service, visitor, session, _number(text))
    if word == "submit":
        return await submit(service, visitor, session, text)
    greeting = f"no command {word}" if word else f"Hello {visitor.user.canonical_name}"
    raise _misuse(f"{greeting}; there are: connect JOB [COMMAND...], tail JOB, submit < MANIFEST")


def describe(visitor: Visitor, request: Request) -> str:
    """What somebody asks for, for the log of the gateway: no command, which may hold a password."""
    if visitor.job_id is not None:
        return f"{'sftp' if request.sftp else 'connect'} {visitor.job_id}"
    word, text = _split(request.command or "")
    number, _ = _split(text)
    if word in ("connect", "tail") and JOB.fullmatch(number):
        return f"{word} {number}"
    return word if word == "submit" else "nothing that there is"


def _split(text: str) -> tuple[str, str]:
    """The first word, and all that follows it as it was written."""
    word, rest = (*text.split(maxsplit=1), "", "")[:2]
    return word, rest


def _number(text: str) -> int:
    if not JOB.fullmatch(text):
        raise _misuse(f"expected the number of a job, got {text[:32]!r}")
    return int(text.removeprefix("#"))


def _argv(request: Request) -> Sequence[str] | None:
    if request.sftp:
        return SFTP
    return None if request.command is None else (*COMMAND, request.command)


def _misuse(reason: str) -> BadInput:
    return BadInput([FieldError(None, reason)])


# --- connect ----------------------------------------------------------------------------------


async def connect(
    service: Service,
    visitor: Visitor,
    session: Session,
    job_id: int,
    argv: Sequence[str] | None,
) -> Ending:
    """Run a command, or a shell, in the machine of a job; first its logs, if it is not over.

    The logs go to standard error, so that what comes on standard output is the command's.
    """
    try:
        job = await service.ask(_require_own_job, service, job_id, visitor.user)
        if not job.status.is_final:
            await _follow(service, visitor, session, job_id, error=True)
        machine = await service.ask(_require_machine, service, job_id)
        if session.terminal:
            until = f"{machine.expires:%Y-%m-%d %H:%M} UTC"
            await session.say(
                f"Waking the machine of job {job_id}, which is kept until {until} ..."
            )
        keeper = await service.wake(job_id)
        return await visit(session, keeper, argv)
    except BuildsError as error:
        await session.say(str(error))
        return NOT_CONNECTED


def _require_own_job(service: Service, job_id: int, user: User) -> Job:
    """The job, if it is this user's own: its machine may hold its owner's secrets, which are no
    administrator's."""
    with service.backend.transaction() as session:
        job = jobs.require_job(session, job_id, user)
        if job.owner_id != user.id:
            owner = job.owner.canonical_name
            raise Forbidden(f"job {job_id} belongs to {owner}, who alone may connect to it")
        return job


def _require_machine(service: Service, job_id: int) -> KeptMachine:
    machine = kept.find_machine(service.backend, job_id)
    if machine is None:
        raise Gone(f"job {job_id} is over, and its machine was not kept")
    if machine.ended:
        raise Gone(f"the machine of job {job_id} is gone: {machine.reason}")
    if machine.runner != service.backend.config.worker.name:
        raise Gone(
            f"the machine of job {job_id} is on the build host {machine.runner}: "
            "the end of the job's log says how to connect there"
        )
    return machine


# --- tail -------------------------------------------------------------------------------------


async def tail(service: Service, visitor: Visitor, session: Session, job_id: int) -> Ending:
    """Print the logs of a job until it is over; 0 if it succeeded."""
    status = await _follow(service, visitor, session, job_id, error=False)
    await session.say(f"job {job_id}: {status}")
    return 0 if status == JobStatus.SUCCESS else FAILED


async def _follow(
    service: Service, visitor: Visitor, session: Session, job_id: int, *, error: bool
) -> JobStatus:
    log = LogTail(service.backend, job_id, visitor.user)
    title = None
    look = await _look_patiently(service, log)
    if look.status in WAITING:
        await session.say(f"job {job_id} is {look.status}")
    while True:
        for piece in look.pieces:
            if piece.title != title:
                title = piece.title
                await session.say(f"== {title}")
            await session.show(piece.data, error=error)
        if look.complete:
            return look.status
        if not look.pieces:
            await asyncio.sleep(POLL_SECONDS)
        look = await _look_patiently(service, log)


async def _look_patiently(service: Service, log: LogTail) -> Look:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await service.ask(log.look)
        except AWAY:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


# --- submit -----------------------------------------------------------------------------------


@click.command("submit", add_help_option=False)
@click.option("-n", "--note")
@click.option("-t", "--tag", "--tags", "tags", multiple=True)
@click.option("-v", "--visibility", default="unlisted")
def submit_options() -> None:
    """Only its options are used."""


async def submit(service: Service, visitor: Visitor, session: Session, text: str) -> Ending:
    """Submit the manifest on standard input as a job, and print its address."""
    if session.terminal:
        raise _misuse("submit reads a manifest from standard input, which is no terminal: leave -t")
    options = _read_options(text)
    manifest = await _read_manifest(session, service.backend.config.limits.request)
    job = await service.ask(_submit, service, visitor.user, manifest, options)
    url = urls.job_page(service.backend.config.web.origin, visitor.user.name, job.id)
    await session.show(f"{url}\n".encode())
    return 0


def _read_options(text: str) -> dict[str, Any]:
    if "\0" in text:
        raise _misuse("submit: may not contain a NUL character")
    try:
        return submit_options.make_context("submit", shlex.split(text)).params
    except (click.UsageError, ValueError) as error:
        reason = error.format_message() if isinstance(error, click.UsageError) else error
        raise _misuse(f"submit: {reason}") from error


async def _read_manifest(session: Session, limit: int) -> str:
    data = bytearray()
    while True:
        kind, payload = await session.receive()
        if kind == END_OF_INPUT:
            break
        if kind == INPUT:
            data += payload
        if len(data) > limit:
            raise _misuse(f"a manifest may have at most {limit} bytes")
    try:
        return data.decode().replace("\t", TAB)
    except UnicodeDecodeError as error:
        raise BadInput([FieldError("manifest", f"not UTF-8 at byte {error.start}")]) from error


def _submit(service: Service, user: User, manifest: str, options: dict[str, Any]) -> Job:
    submission = jobs.Submission(
        plan=jobs.read_manifest(service.backend.catalogue, manifest),
        note=jobs.check_note(options["note"]) if options["note"] is not None else None,
        tags=jobs.check_tags(
            [tag for path in options["tags"] for tag in path.split("/")], any_case=True
        ),
        visibility=jobs.check_visibility(options["visibility"].lower()),
    )
    return jobs.submit(service.backend, user, submission)
