"""`buildsrht delivery`: what triggers sent, for an operator and through him for its owner."""

import json
import re

import pytest

from buildsrht.models import Delivery
from buildsrht.services import triggers
from buildsrht.services.triggers import Attempt, Verdict
from tests.buildsrht.cli.program import environment, start


@pytest.fixture
def on_server(command, backend, monkeypatch):
    """Run a command with the configuration of the servers that run for the tests."""
    monkeypatch.setenv("VAR", str(backend.config.var))
    return command


@pytest.fixture
def told(backend, make_job):
    """Job 1 with a webhook that was answered, and a mail that waits."""
    text = {
        "image": "debian/trixie",
        "tasks": [{"build": "x"}],
        "triggers": [
            {
                "action": "webhook",
                "condition": "always",
                "url": "https://ada:swordfish@example.org/hook",
            },
            {"action": "email", "condition": "always", "to": "ada@example.org"},
        ],
    }
    make_job("success", manifest=json.dumps(text))
    errand = triggers.claim(backend, 1)
    attempt = Attempt(
        Verdict.NEVER,
        "answered with status 410",
        request_headers={"Content-Type": "application/json"},
        request_body='{"id": 1}',
        response_status=410,
        response_headers={"Server": "x"},
        response_body="gone\nfor \x1b[31mgood",
    )
    triggers.settle(backend, errand.delivery, attempt)


def test_list_prints_what_became_of_each(on_server, told):
    webhook = "1\tjob 1\tabandoned\t1\thttps://***@example.org/hook\tanswered with status 410\n"
    mail = "2\tjob 1\twaiting\t\tada@example.org\t\n"
    assert on_server("delivery", "list", "--user", "owner") == (0, mail + webhook, "")
    assert on_server("delivery", "list", "--user", "owner", "--job", "1").out == mail + webhook
    assert on_server("delivery", "list", "--user", "owner", "--job", "2").out == ""


def test_list_knows_nobody_else(on_server, told, stranger):
    assert on_server("delivery", "list", "--user", "stranger").out == ""
    assert on_server("delivery", "list", "--user", "nobody") == (
        1,
        "",
        "buildsrht: there is no user 'nobody'\n",
    )


def test_show_prints_the_last_attempt_and_no_control_character(on_server, told):
    done = on_server("delivery", "show", "1")
    assert done.status == 0
    assert re.sub(r"\([0-9a-f-]{36}\)", "(uuid)", done.out) == (
        "delivery: 1 (uuid)\n"
        "of: job 1\n"
        "to: webhook https://***@example.org/hook\n"
        "status: abandoned\n"
        "attempts: 1\n"
        "error: answered with status 410\n"
        "answer: 410\n"
        "\n"
        "sent:\n"
        "  Content-Type: application/json\n"
        '  {"id": 1}\n'
        "\n"
        "came back:\n"
        "  Server: x\n"
        "  gone\n"
        "  for \ufffd[31mgood\n"
    )


def test_show_says_when_the_next_attempt_is(on_server, told):
    out = on_server("delivery", "show", "2").out
    assert re.search(r"^next attempt: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", out, re.MULTILINE)


def test_replay_prints_the_new_delivery(on_server, told, backend):
    assert on_server("delivery", "replay", "1") == (0, "3\n", "")
    with backend.transaction() as session:
        assert session.get_one(Delivery, 3).replay_of == 1
    assert "replay of: 1\n" in on_server("delivery", "show", "3").out


def test_replay_refuses_what_is_still_tried(on_server, told):
    said = "buildsrht: delivery 2 is still waiting, and tried by itself\n"
    assert on_server("delivery", "replay", "2") == (1, "", said)


@pytest.mark.parametrize("verb", ["show", "replay"])
def test_what_is_not_there_is_one_sentence(on_server, backend, verb):
    said = "buildsrht: there is no delivery 9\n"
    assert on_server("delivery", verb, "9") == (1, "", said)
    assert on_server("delivery", verb, str(2**40)).status == 1


def test_a_courier_without_keys_says_how_to_make_them(backend, tmp_path):
    config = tmp_path / "config.ini"
    config.write_text(f"[keys]\npath = {tmp_path}\n")
    env = environment(VAR=str(backend.config.var), BUILDSRHT_CONFIG=str(config))
    with start("courier", env=env) as process:
        said = process.stderr.read().decode()
    assert process.returncode == 1
    missing = f"{tmp_path}/webhooks: No such file or directory"
    assert said == f"buildsrht: {missing}; `buildsrht keys init` makes it\n"
