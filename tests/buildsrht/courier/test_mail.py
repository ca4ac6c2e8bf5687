"""Mail, handed to a real server: over TLS, with a login, and what its answers mean."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from buildsrht.courier import delivery
from buildsrht.courier import mail as mails
from tests.buildsrht.courier.conftest import email, webhook
from tests.mail_server import LOGIN, MailServer, OnFreePort


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, None)
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@pytest.fixture
def serve(certificate: Path) -> Iterator[Callable[..., tuple[MailServer, int]]]:
    """Start a mail server: `serve("starttls")`; returns it with its port."""
    with ExitStack() as running:

        def start(security: str = "none", **options) -> tuple[MailServer, int]:
            server = MailServer()
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            options |= {
                "starttls": {"tls_context": context, "require_starttls": True},
                "tls": {"ssl_context": context},
                "none": {},
            }[security]
            controller = OnFreePort(server, **options)
            controller.start()
            running.callback(controller.stop)
            return server, controller.port

        yield start


@pytest.fixture
def use(backend):
    """A backend whose operator uses this mail server: `use(port, security="tls")`."""

    def make(port: int, **options):
        fields = {"security": "none", "sender": "builds@example.net"} | options
        mail = replace(backend.config.mail, host="127.0.0.1", port=port, **fields)
        return replace(backend, config=replace(backend.config, mail=mail))

    return make


@pytest.fixture
def mailed(use, deliveries):
    """Let a courier with this mail server attempt what is due; returns the newest delivery."""

    def make(port: int, **options):
        delivery.perform(use(port, **options))
        return deliveries()[-1]

    return make


# --- sending --------------------------------------------------------------------------------------


def test_mail_arrives_as_it_was_composed(end_job, serve, mailed):
    server, port = serve()
    end_job(email("Ada <ada@example.org>", cc="bob@example.org"), note="with\n.\nlone dots")

    row = mailed(port)

    [sent] = server.sent
    message = message_from_bytes(sent.raw, policy=policy.default)
    assert (sent.sender, sent.recipients) == (
        "builds@example.net",
        ["ada@example.org", "bob@example.org"],
    )
    assert message["Subject"] == "[builds.sr.ht] build success"
    assert message["To"] == "Ada <ada@example.org>"
    assert message["Message-ID"] == f"<{row.uuid}@example.net>"
    assert "with\r\n.\r\nlone dots\r\n" in message.get_content()
    assert "_quiet" not in message.get_content()
    assert (row.status, row.error, row.response_status) == ("delivered", None, 250)


def test_what_was_sent_and_what_the_server_said_is_on_record(end_job, serve, mailed):
    _, port = serve()
    end_job(email())
    row = mailed(port)
    assert row.request_headers["Subject"] == "[builds.sr.ht] build success"
    assert row.request_body.startswith("Job #1: SUCCESS in ")
    assert row.response_headers == {"ada@example.org": "250 2.0.0 Queued as 4711"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_it_is_encrypted_and_the_certificate_is_checked(
    end_job, serve, mailed, make_due, certificate, security
):
    server, port = serve(security)
    end_job(email())

    row = mailed(port, security=security)
    assert (row.status, server.sent) == ("waiting", [])
    assert "certificate verify failed" in row.error

    make_due()
    assert mailed(port, security=security, authorities=certificate).status == "delivered"
    assert server.were_encrypted == [True]


def test_a_server_that_offers_no_encryption_gets_nothing(end_job, serve, mailed):
    server, port = serve()
    end_job(email())
    row = mailed(port, security="starttls")
    assert (row.status, server.sent) == ("waiting", [])
    assert "STARTTLS" in row.error


def test_it_logs_in_with_the_password_of_the_file(end_job, serve, mailed, certificate, tmp_path):
    server, port = logged_in(serve)
    (tmp_path / "password").write_text(LOGIN[1] + "\n")
    end_job(email())
    options = {"user": LOGIN[0], "password_file": tmp_path / "password"}

    row = mailed(port, security="starttls", authorities=certificate, **options)

    assert row.status == "delivered", row.error
    assert server.logins == [tuple(word.encode() for word in LOGIN)]
    assert LOGIN[1] not in str(vars(row))


def logged_in(serve):
    servers = []
    server, port = serve(
        "starttls",
        auth_required=True,
        authenticator=lambda *given: servers[0].authenticate(*given),
    )
    servers.append(server)
    return server, port


def test_a_login_that_is_refused_is_for_the_operator_to_mend(
    end_job, serve, mailed, certificate, tmp_path
):
    _, port = logged_in(serve)
    (tmp_path / "password").write_text("wrong")
    end_job(email())
    options = {"user": LOGIN[0], "password_file": tmp_path / "password"}

    row = mailed(port, security="starttls", authorities=certificate, **options)

    assert row.status == "waiting"
    assert row.error.startswith("mail server 127.0.0.1: 535")
    assert "wrong" not in str(vars(row))


@pytest.mark.parametrize("name", [None, "missing", "binary", "german"])
def test_a_password_that_cannot_be_read_is_for_the_operator_to_mend(
    end_job, serve, mailed, tmp_path, caplog, name
):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "german").write_text("Schl\N{LATIN SMALL LETTER U WITH DIAERESIS}ssel")
    _, port = serve()
    end_job(email())
    row = mailed(port, user="builds", password_file=tmp_path / name if name else None)
    assert (row.status, row.error) == (
        "waiting",
        "this server is not set up for it; its operator knows more",
    )
    assert "[mail] password_file" in caplog.text


def test_where_no_mail_is_configured_it_is_abandoned_at_once(end_job, attempt):
    end_job(email())
    row = attempt()
    assert (row.status, row.attempts) == ("abandoned", 1)
    assert row.error == "this server sends no mail: [mail] host is empty"


def test_mail_to_nobody_is_abandoned_with_the_reason(end_job, serve, mailed):
    _, port = serve()
    end_job(email("nobody"))
    row = mailed(port)
    assert row.status == "abandoned"
    assert row.error.startswith("to: ")


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [("550 5.1.1 No such user", "abandoned"), ("450 4.2.0 Greylisted", "waiting")],
)
def test_a_recipient_may_be_refused_for_good_or_for_now(end_job, serve, mailed, answer, becomes):
    server, port = serve()
    server.answers["ada@example.org"] = answer
    end_job(email())
    row = mailed(port)
    assert (row.status, row.error) == (becomes, f"ada@example.org: {answer}")
    assert (row.response_status, server.sent) == (int(answer[:3]), [])


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [("554 5.7.1 Looks like spam", "abandoned"), ("452 4.3.1 Disk full", "waiting")],
)
def test_so_may_the_message(end_job, serve, mailed, answer, becomes):
    server, port = serve()
    server.to_data = answer
    end_job(email())
    row = mailed(port)
    assert (row.status, row.error) == (becomes, f"ada@example.org: {answer}")


def test_who_has_it_does_not_get_it_again_when_others_do(end_job, serve, mailed, make_due):
    server, port = serve()
    server.answers["bob@example.org"] = "450 4.2.0 Greylisted"
    server.answers["eve@example.org"] = "550 5.1.1 No such user"
    end_job(email("ada@example.org, bob@example.org, eve@example.org"))
    assert mailed(port).status == "waiting"
    del server.answers["bob@example.org"]
    make_due()

    row = mailed(port)

    assert [sent.recipients for sent in server.sent] == [["ada@example.org"], ["bob@example.org"]]
    assert row.status == "delivered"
    assert row.error == "eve@example.org: 550 5.1.1 No such user"
    first, second = (message_from_bytes(sent.raw) for sent in server.sent)
    assert first["Message-ID"] == second["Message-ID"]


def test_a_server_that_is_away_is_tried_again(end_job, mailed):
    end_job(email())
    row = mailed(1)
    assert row.status == "waiting"
    assert row.error.startswith("mail server 127.0.0.1: ")
    assert "Connection refused" in row.error


def test_a_server_that_never_comes_to_an_end_is_hung_up_on(end_job, serve, mailed, monkeypatch):
    server, port = serve()

    async def take_for_ever(*_):
        import asyncio

        await asyncio.sleep(30)

    server.handle_DATA = take_for_ever
    monkeypatch.setattr(mails, "SESSION_SECONDS", 0.5)
    end_job(email())
    assert mailed(port).status == "waiting"


def test_the_rules_for_webhooks_are_not_for_the_operators_mail_server(end_job, serve, use):
    server, port = serve()
    end_job(email(), webhook("http://127.0.0.1:1/"))
    chosen = use(port)
    courier = replace(chosen.config.courier, allow=())
    delivery.perform(replace(chosen, config=replace(chosen.config, courier=courier)))
    assert len(server.sent) == 1
