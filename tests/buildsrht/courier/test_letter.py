"""The email of a delivery: what it says, and that nothing which users write bends it."""

import email
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import policy
from uuid import UUID

import pytest

from buildsrht.courier import letter
from buildsrht.courier.letter import BadAddress
from buildsrht.models import Delivery, Fault, Job, JobGroup, JobStatus, Task, TaskStatus, User
from buildsrht.services.triggers import Errand

BEGAN = datetime(2024, 5, 4, 12, tzinfo=UTC)
ENDED = BEGAN + timedelta(minutes=1, seconds=5)
USER = User(id=1, name="ada")
UUID_OF_DELIVERY = UUID("00000000-0000-4000-8000-000000000001")
TASKS = {"build": "success", "_hidden": "success", "test": "failed", "deploy": "pending"}


def job(number=7, status="failed", tags=(), note=None, began=BEGAN, **tasks):
    return Job(
        id=number,
        owner=USER,
        status=JobStatus(status),
        tags=list(tags),
        note=note,
        started=began,
        finished=ENDED,
        tasks=[
            Task(name=name, status=TaskStatus(state)) for name, state in (tasks or TASKS).items()
        ],
    )


@pytest.fixture
def compose(config):
    """The letter of a delivery, as its reader's program takes it apart."""

    def make(*jobs, group=None, **trigger):
        settings = replace(config, mail=replace(config.mail, sender="builds@example.net"))
        errand = Errand(
            Delivery(
                uuid=UUID_OF_DELIVERY,
                created=ENDED,
                trigger={"action": "email", "condition": "always", "to": "ada@example.org"}
                | trigger,
            ),
            jobs or [job()],
            group,
        )
        made = letter.compose(settings, errand)
        message = email.message_from_bytes(made.as_bytes(), policy=policy.default)
        message.recipients = made.recipients
        message.raw = made.as_bytes()
        message.said = message.get_content().replace("\r\n", "\n")
        return message

    return make


HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
}


# --- what it says ---------------------------------------------------------------------------------


def test_it_says_how_the_job_ended(compose, config):
    message = compose(job(tags=["tool", "main"], note="Fix **it**\n\nplease"))

    assert message["Subject"] == "[tool/main] build failed"
    assert message.said == (
        "tool/main #7: FAILED in 1m 5s\n"
        "\n"
        "Fix **it**\n\nplease\n"
        "\n"
        f"{config.web.origin}/~ada/job/7\n"
        "\n"
        "\N{CHECK MARK} build\n"
        "\N{BALLOT X} test\n"
        "- deploy\n"
    )


def test_it_says_when_that_was_our_fault(compose):
    lost = job()
    lost.fault = Fault.SERVICE
    said = compose(lost).said
    assert "1m 5s\n\nIt was this service's fault and not the build's. Its log says" in said


def test_a_job_without_tags_and_note_does_without(compose, config):
    message = compose(job(status="success", build="success"))
    assert message["Subject"] == "[builds.sr.ht] build success"
    assert message.said == (
        f"Job #7: SUCCESS in 1m 5s\n\n{config.web.origin}/~ada/job/7\n\n\N{CHECK MARK} build\n"
    )


def test_a_job_that_never_ran_says_so(compose):
    assert compose(job(status="cancelled", began=None)).said.startswith(
        "Job #7: CANCELLED before it started\n"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (0.4, "0s"), (59, "59s"), (60, "1m"), (3600, "1h"), (90061, "25h 1m 1s")],
)
def test_a_duration_is_for_people(compose, seconds, said):
    began = ENDED - timedelta(seconds=seconds)
    assert f"SUCCESS in {said}\n" in compose(job(status="success", began=began)).said


def test_a_group_is_told_of_in_one_message(compose, config):
    origin = config.web.origin
    group = JobGroup(id=3, owner=USER, note="All of it")
    members = [job(7, "success", ["tool"]), job(8, "timeout", ["tool"]), job(9, "cancelled")]

    message = compose(*members, group=group)

    assert message["Subject"] == "[builds.sr.ht] builds failed"
    assert message.said == (
        "Group #3: FAILED in 1m 5s\n\nAll of it\n\n"
        f"\N{CHECK MARK} tool #7: SUCCESS in 1m 5s\n{origin}/~ada/job/7\n\n"
        f"\N{BALLOT X} tool #8: TIMEOUT in 1m 5s\n{origin}/~ada/job/8\n\n"
        f"- Job #9: CANCELLED in 1m 5s\n{origin}/~ada/job/9\n"
    )
    assert compose(*members[:2], group=group)["Subject"] == "[tool] builds failed"


def test_its_headers_are_those_and_no_others(compose):
    message = compose()
    assert set(message.keys()) == HEADERS
    assert message["From"] == "builds@example.net"
    assert message["To"] == "ada@example.org"
    assert message["Date"].datetime == ENDED
    assert message["Message-ID"] == f"<{UUID_OF_DELIVERY}@example.net>"
    assert message["Auto-Submitted"] == "auto-generated"


def test_it_answers_the_mail_that_it_is_in_reply_to(compose):
    message = compose(in_reply_to="<20240504.patch-1@lists.example.org>", cc="dev@example.org")
    assert message["In-Reply-To"] == "<20240504.patch-1@lists.example.org>"
    assert message["References"] == "<20240504.patch-1@lists.example.org>"
    assert message["Cc"] == "dev@example.org"
    assert message.recipients == ["ada@example.org", "dev@example.org"]


def test_a_long_message_id_stays_in_one_piece(compose):
    identity = f"<{'x' * 200}@example.org>"
    assert f"\r\nIn-Reply-To: {identity}\r\n".encode() in compose(in_reply_to=identity).raw


@pytest.mark.parametrize("text", ["nonsense", "<a b@c>", "<é@example.org>", "<>", "a@b"])
def test_what_is_no_message_id_is_left_out(compose, text):
    assert set(compose(in_reply_to=text).keys()) == HEADERS


def test_two_attempts_make_the_same_message(compose):
    assert compose().raw == compose().raw


# --- to whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "recipients"),
    [
        ("ada@example.org", ["ada@example.org"]),
        ("Ada <ada@example.org>", ["ada@example.org"]),
        ("<ada@example.org>", ["ada@example.org"]),
        ('"Lovelace, Ada" <ada@example.org>, b@example.org', ["ada@example.org", "b@example.org"]),
        ("ada@example.org, ada@example.org", ["ada@example.org"]),
        ("all: ada@example.org, b@example.org;", ["ada@example.org", "b@example.org"]),
        ("Ada \U0001f600 <ada@bücher.example>", ["ada@xn--bcher-kva.example"]),
        ("=?utf-8?q?Ad=C3=A4?= <a+b@example.org>", ["a+b@example.org"]),
    ],
)
def test_addresses_are_found_in_what_people_write(compose, to, recipients):
    assert compose(to=to).recipients == recipients


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "nobody",
        "Ada Lovelace",
        "ada@",
        "@example.org",
        "a b@example.org",
        "ada@[127.0.0.1]",
        "ä@example.org",
        '"a b"@example.org',
        "ada@example.org, nobody",
        "all: ;",
        "(" * 900,
        "<" * 900,
        "ada@" + "x" * 300,
    ],
)
@pytest.mark.parametrize("field", ["to", "cc"])
def test_what_is_no_address_is_refused_by_name(compose, field, text):
    with pytest.raises(BadAddress, match=rf"^{field}: "):
        compose(**{field: text})


HOSTILE = [
    "ada@example.org\nBcc: eve@example.org",
    "ada@example.org\r\nBcc: eve@example.org",
    "ada@example.org\rBcc: eve@example.org",
    "ada@example.org\r\n\r\nbody",
    "=?utf-8?q?a=0D=0ABcc:_eve=40example.org?= <ada@example.org>",
    "=?utf-8?b?YQ0KQmNjOiBldmVAZXhhbXBsZS5vcmc=?= <ada@example.org>",
    "=?utf-8?q?eve=40example.org=3E=2C?= <ada@example.org>",
    "=?utf-8?q?=0D=0A?= <ada@example.org>",
    '"Ada\\\r\nBcc: eve@example.org" <ada@example.org>',
    "Ada\x85Bcc: eve <ada@example.org>",
    "Ada\u2028Bcc: eve <ada@example.org>",
    "ada@example.org> RCPT TO:<eve@example.org",
    "ada@example.org\0",
    "ada@exa=?utf-8?q?=0A?=mple.org",
    "=?utf-8?q?ada=0AX?=@example.org",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("field", ["to", "cc", "in_reply_to"])
def test_no_address_adds_a_header_or_a_recipient(compose, field, hostile):
    try:
        message = compose(**{field: hostile})
    except BadAddress:
        return
    assert set(message.keys()) <= {*HEADERS, "Cc", "In-Reply-To", "References"}
    assert set(message.recipients) == {"ada@example.org"}
    head = message.raw.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")
    assert not {*b"\r\n\0"} & {*head}
    assert message.said.startswith("Job #7: FAILED")


@pytest.mark.parametrize(
    "text",
    [
        "a\nBcc: eve@example.org",
        "a\r\n\r\nb",
        "=?utf-8?q?a=0ABcc:_eve?=",
        "a\u2028b\x85c",
        "\N{SNOWMAN}" * 100,
        "x" * 3000,
    ],
)
def test_no_tag_or_note_adds_a_header(compose, text):
    message = compose(job(tags=[text], note=text))
    assert set(message.keys()) == HEADERS
    assert message["To"] == "ada@example.org"


def test_a_note_is_text_whatever_is_in_it(compose):
    note = "From here\n.\n..\nQUIT\r\n--=_boundary\nContent-Type: text/html\n\n<b>é</b>"
    message = compose(job(note=note))
    assert message.get_content_type() == "text/plain"
    assert not message.is_multipart()
    assert note.replace("\r\n", "\n") in message.said
    body = message.raw.partition(b"\r\n\r\n")[2]
    assert max(map(len, body.split(b"\r\n"))) <= 76
