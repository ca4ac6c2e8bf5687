"""A real mail server, for what tests have sent."""

from dataclasses import dataclass, field
from socket import create_server
from typing import NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

LOGIN = ("builds", "pass word")


class Sent(NamedTuple):
    sender: str
    recipients: list[str]
    raw: bytes


@dataclass
class MailServer:
    """Takes mail, unless told what else to answer to a recipient or to the message."""

    answers: dict[str, str] = field(default_factory=dict)
    to_data: str = "250 2.0.0 Queued as 4711"
    sent: list[Sent] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    were_encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):
        if self.to_data.startswith("250"):
            self.sent.append(
                Sent(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content)
            )
            self.were_encrypted.append(
                session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None
            )
        return self.to_data

    def authenticate(self, server, session, envelope, mechanism, given):
        pair = (given.login, given.password)
        self.logins.append(pair)
        is_known = pair == tuple(word.encode() for word in LOGIN)
        return AuthResult(success=is_known, handled=is_known)


class OnFreePort(Controller):
    """aiosmtpd can only be told a port."""

    def __init__(self, *arguments, **options):
        self._listener = create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        super().__init__(*arguments, hostname="127.0.0.1", port=port, **options)

    def _create_server(self):
        return self.loop.create_server(
            self._factory_invoker, sock=self._listener, ssl=self.ssl_context
        )
