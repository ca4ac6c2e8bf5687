"""Compose the email that says how a job or a group ended, and the one with a way back in.

What is in them comes from users: addresses, tags, notes, message ids. Nothing of that can add a
header, a recipient or a part: addresses are taken apart and put together again, a message id has to
be one, and the rest is in a body that is encoded as a whole. Two attempts at a delivery make the
same message, with the same Message-ID.

Knows nothing of how a message is sent.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import NamedTuple
from uuid import UUID, uuid4

from buildsrht.config import Config
from buildsrht.courier.payload import job_url
from buildsrht.errors import BuildsError
from buildsrht.models import Fault, Job, JobGroup, User
from buildsrht.services.triggers import Errand

SUBJECT_WITHOUT_TAGS = "builds.sr.ht"
# By the status of a job or a task; all others get a dash.
MARKS: dict[str, str] = {
    "success": "\N{CHECK MARK}",
    "failed": "\N{BALLOT X}",
    "timeout": "\N{BALLOT X}",
}
DASH = "-"
# At 78 characters Python would fold a message id, which breaks it. RFC 5322 permits 998.
HEADERS = policy.SMTP.clone(max_line_length=998)
ADDRESS = re.compile(r"[!#$%&'*+/=?^_`{|}~.0-9A-Za-z-]{1,64}@[0-9A-Za-z.-]{1,253}")
MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")
RESET = """\
Somebody has asked for a new password for {name} at {origin}

To set one, open this within an hour, once:

{link}

If it was not you, leave it: the password that you have stays as it is.
"""
OURS = "It was this service's fault and not the build's. Its log says what happened."
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class BadAddress(BuildsError):
    """What a trigger gives as an address is none."""


class Letter(NamedTuple):
    """A message, and the bare address of everybody who gets it."""

    message: EmailMessage
    recipients: list[str]

    def as_bytes(self) -> bytes:
        return self.message.as_bytes(policy=HEADERS)


def compose(config: Config, errand: Errand) -> Letter:
    """The message of a delivery. Raises BadAddress when it cannot be addressed."""
    trigger, uuid = errand.delivery.trigger, errand.delivery.uuid
    to = _addresses("to", trigger["to"])
    cc = _addresses("cc", trigger["cc"]) if trigger.get("cc") else []
    message = _begun(config, to, _subject(errand), errand.delivery.created, uuid)
    if cc:
        message["Cc"] = cc
    if answered := MESSAGE_ID.findall(trigger.get("in_reply_to") or ""):
        message["In-Reply-To"] = answered[0]
        message["References"] = " ".join(answered)
    message.set_content(_body(config, errand), cte="quoted-printable")
    return Letter(message, list(dict.fromkeys(address.addr_spec for address in [*to, *cc])))


def compose_reset(config: Config, user: User, text: str) -> Letter:
    """The message that lets somebody set a new password by this text. Raises BadAddress."""
    to = _addresses("email", user.email or "")
    name, origin = user.canonical_name, config.web.origin
    message = _begun(config, to, f"A new password for {name}", datetime.now(UTC), uuid4())
    link = f"{origin}/reset/{text}"
    message.set_content(RESET.format(name=name, origin=origin, link=link), cte="quoted-printable")
    return Letter(message, [address.addr_spec for address in to])


def _begun(
    config: Config, to: list[Address], subject: str, date: datetime, uuid: UUID
) -> EmailMessage:
    message = EmailMessage(policy.SMTP)
    message["From"] = config.mail.sender
    message["To"] = to
    message["Subject"] = CONTROL.sub(" ", subject)
    message["Date"] = date
    message["Message-ID"] = f"<{uuid}@{config.mail.sender.partition('@')[2]}>"
    # No vacation notice is to answer this (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    return message


def _addresses(name: str, text: str) -> list[Address]:
    parsing = EmailMessage(policy.SMTP)
    try:
        parsing["To"] = text
        parsed = parsing["To"].addresses
    # What the library makes of hostile text is not only errors of its own.
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        parsed = ()
    if not parsed:
        raise BadAddress(f"{name}: {text!r} cannot be understood as addresses")
    return [_rebuilt(name, address) for address in parsed]


def _rebuilt(name: str, parsed: Address) -> Address:
    """An address of nothing but what one may have: the parser decodes encoded words, in which
    there may be anything."""
    try:
        domain = parsed.domain.encode("idna").decode("ascii")
    except UnicodeError:
        domain = parsed.domain
    bare = f"{parsed.username}@{domain}"
    if not ADDRESS.fullmatch(bare):
        raise BadAddress(f"{name}: {bare!r} is no address that mail can be sent to")
    return Address(CONTROL.sub(" ", parsed.display_name).strip(), parsed.username, domain)


def _subject(errand: Errand) -> str:
    tags = {"/".join(job.tags) for job in errand.jobs}
    about = tags.pop() if len(tags) == 1 else ""
    noun = "build" if errand.group is None else "builds"
    return f"[{about or SUBJECT_WITHOUT_TAGS}] {noun} {errand.status}"


def _body(config: Config, errand: Errand) -> str:
    if errand.group is None:
        lines = _about_job(config, errand.jobs[0])
    else:
        lines = _about_group(config, errand, errand.group)
    return "\n\n".join(part for part in lines if part) + "\n"


def _about_job(config: Config, job: Job) -> list[str]:
    tasks = [task for task in job.tasks if not task.name.startswith("_")]
    return [
        _headline(job),
        OURS if job.fault == Fault.SERVICE else "",
        job.note or "",
        job_url(config, job),
        "\n".join(f"{MARKS.get(task.status, DASH)} {task.name}" for task in tasks),
    ]


def _about_group(config: Config, errand: Errand, group: JobGroup) -> list[str]:
    took = _duration((job.started for job in errand.jobs), (job.finished for job in errand.jobs))
    return [
        f"Group #{group.id}: {errand.status.upper()}{took}",
        group.note or "",
        *(
            f"{MARKS.get(job.status, DASH)} {_headline(job)}\n{job_url(config, job)}"
            for job in errand.jobs
        ),
    ]


def _headline(job: Job) -> str:
    took = _duration([job.started], [job.finished])
    return f"{'/'.join(job.tags) or 'Job'} #{job.id}: {job.status.upper()}{took}"


def _duration(started: Iterable[datetime | None], finished: Iterable[datetime | None]) -> str:
    """`` in 1m 5s``, from the first start to the last end."""
    starts = [moment for moment in started if moment]
    ends = [moment for moment in finished if moment]
    if not (starts and ends):
        return " before it started"
    seconds = max(0, round((max(ends) - min(starts)).total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    parts = [(hours, "h"), (minutes, "m"), (seconds % 60, "s")]
    shown: Sequence[str] = [f"{number}{unit}" for number, unit in parts if number]
    return f" in {' '.join(shown) or '0s'}"
