"""Hand a message to the operator's mail server.

Every recipient is answered for: accepted, refused for good (5xx), or not now (4xx). Those who
have it do not get it again when the others are tried again. It is with the server as soon as that
has said so; what it does then, its own log knows.

A server that does not let us in, or does not know our sender, is the operator's to mend: that is
tried again, for as long as a delivery is.

Knows nothing of jobs.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from buildsrht.config import Mail
from buildsrht.courier.letter import Letter
from buildsrht.errors import OperatorError
from buildsrht.services.triggers import Attempt, Verdict

ANSWER_SECONDS = 20
# All of it together, however slowly the server talks.
SESSION_SECONDS = 60
COMPLETED = 250


class Reply(NamedTuple):
    """What a server says: a code of three digits, and words."""

    code: int
    words: str

    @property
    def is_yes(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_final(self) -> bool:
        """Whether asking again makes no sense."""
        return self.is_yes or self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.words}"


def send(config: Mail, letter: Letter, before: Mapping[str, str] | None) -> Attempt:
    """Attempt a delivery. `before` is what the last attempt has recorded of each recipient."""
    sent: dict[str, Any] = {
        "request_headers": dict(letter.message.items()),
        "request_body": letter.message.get_content(),
    }
    if not config.host:
        return Attempt(Verdict.NEVER, "this server sends no mail: [mail] host is empty", **sent)
    replies = {address: _read(said) for address, said in (before or {}).items()}
    left = [
        address
        for address in letter.recipients
        if address not in replies or not replies[address].is_final
    ]
    try:
        with _session(config) as server:
            replies |= _transfer(server, config.sender, left, letter.as_bytes())
    except (smtplib.SMTPException, OSError) as error:
        said = f"mail server {config.host}: {_explain(error)}"
        return Attempt(Verdict.AGAIN, said, **sent, response_headers=_written(replies))
    return Attempt(
        _judge(replies),
        _refusals(replies),
        **sent,
        response_status=max(reply.code for reply in replies.values()),
        response_headers=_written(replies),
    )


def greet(config: Mail) -> None:
    """See that the server lets us in, and send nothing. Raises OperatorError if it does not."""
    try:
        with _session(config) as server:
            server.ehlo_or_helo_if_needed()
    except (smtplib.SMTPException, OSError) as error:
        raise OperatorError(f"mail server {config.host}: {_explain(error)}") from error


def _transfer(
    server: smtplib.SMTP, sender: str, recipients: list[str], data: bytes
) -> dict[str, Reply]:
    """One message to several recipients; what the server says to each."""
    server.ehlo_or_helo_if_needed()
    code, words = server.mail(sender)
    if code != COMPLETED:
        raise smtplib.SMTPSenderRefused(code, words, sender)
    replies = {address: _reply(*server.rcpt(address)) for address in recipients}
    if any(reply.is_yes for reply in replies.values()):
        end = _send_data(server, data)
        replies = {address: end if reply.is_yes else reply for address, reply in replies.items()}
    return replies


def _send_data(server: smtplib.SMTP, data: bytes) -> Reply:
    try:
        return _reply(*server.data(data))
    except smtplib.SMTPDataError as error:
        return _reply(error.smtp_code, error.smtp_error)


def _judge(replies: Mapping[str, Reply]) -> Verdict:
    if not all(reply.is_final for reply in replies.values()):
        return Verdict.AGAIN
    is_with_anybody = any(reply.is_yes for reply in replies.values())
    return Verdict.DELIVERED if is_with_anybody else Verdict.NEVER


def _refusals(replies: Mapping[str, Reply]) -> str | None:
    refused = [f"{address}: {reply}" for address, reply in replies.items() if not reply.is_yes]
    return "; ".join(refused) or None


@contextmanager
def _session(config: Mail) -> Iterator[smtplib.SMTP]:
    """A connection over which mail may be sent, until the block ends."""
    context = ssl.create_default_context(cafile=config.authorities)
    name = socket.gethostname()  # By itself smtplib would ask a resolver for it.
    if config.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            config.host, config.port, name, timeout=ANSWER_SECONDS, context=context
        )
    else:
        server = smtplib.SMTP(config.host, config.port, name, timeout=ANSWER_SECONDS)
    try:
        with _cut_off(server):
            if config.security == "starttls":
                server.starttls(context=context)
            if config.user:
                server.login(config.user, _password(config))
            yield server
            # The message is with the server by now, whatever it says to this.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
    finally:
        server.close()


@contextmanager
def _cut_off(server: smtplib.SMTP) -> Iterator[None]:
    """Hang up after SESSION_SECONDS. smtplib has a limit for one answer, and none for them all."""

    def hang_up() -> None:
        with suppress(OSError):
            if server.sock:
                server.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(SESSION_SECONDS, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _password(config: Mail) -> str:
    if config.password_file is None:
        raise OperatorError("[mail] password_file: needed with [mail] user")
    try:
        # As smtplib sends no other.
        return config.password_file.read_text(encoding="ascii").rstrip("\r\n")
    except OSError as error:
        raise OperatorError(f"[mail] password_file: {error}") from error
    except UnicodeDecodeError:
        raise OperatorError("[mail] password_file: a password of ASCII only can be sent") from None


def _reply(code: int, words: bytes | str) -> Reply:
    text = words if isinstance(words, str) else words.decode(errors="replace")
    return Reply(code, " ".join(text.split()))


def _written(replies: Mapping[str, Reply]) -> dict[str, str]:
    return {address: str(reply) for address, reply in replies.items()}


def _read(written: str) -> Reply:
    code, _, words = written.partition(" ")
    return Reply(int(code), words)


def _explain(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return str(_reply(error.smtp_code, error.smtp_error))
    return str(error) or type(error).__name__
