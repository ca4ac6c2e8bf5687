"""Webhooks and deliveries on their pages."""

import json

import pytest
from sqlalchemy import select, update

from buildsrht.models import Delivery, DeliveryStatus, Webhook
from buildsrht.services import triggers, webhooks
from buildsrht.services.triggers import Attempt, Verdict
from buildsrht.web import forms
from buildsrht.web.shown import harmless
from buildsrht.web.webhooks import Person

URL = "https://ada:xyzzy@example.org/hook"
QUERY = "{ webhook { uuid event date } }"


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


@pytest.fixture
def add(browser):
    def send(**fields):
        browser.open("/webhooks")
        return browser.send("/webhooks", **{"url": URL, **fields})

    return send


@pytest.fixture
def all_webhooks(backend):
    def read():
        with backend.transaction() as session:
            return session.scalars(select(Webhook).order_by(Webhook.id)).all()

    return read


@pytest.fixture
def make_webhook(backend, owner):
    def make(user=owner, url=URL):
        events = ["JOB_CREATED", "JOB_UPDATED"]
        return webhooks.create_webhook(
            backend, Person(user), url, events, QUERY, lambda query: None
        )

    return make


# --- webhooks -------------------------------------------------------------------------------------


def test_a_webhook_is_added_as_the_form_says(browser, add, all_webhooks):
    add(query=QUERY, JOB_UPDATED=None, LOGS=None, PROFILE="on")

    [webhook] = all_webhooks()
    assert (webhook.url, webhook.events, webhook.query) == (URL, ["JOB_CREATED"], QUERY)
    assert webhook.scopes == ["JOBS:RO", "PROFILE:RO"]
    assert browser.path == f"/webhooks/{webhook.id}"
    assert "https://***@example.org/hook" in browser.text
    assert "xyzzy" not in browser.page.text


def test_what_the_form_offers_works_as_it_is(add, all_webhooks):
    add()

    [webhook] = all_webhooks()
    assert webhook.events == ["JOB_CREATED", "JOB_UPDATED"]
    assert webhook.scopes == ["JOBS:RO", "LOGS:RO"]
    assert "... on JobEvent" in webhook.query


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"url": "example.org"}, "url", "must begin with https://"),
        ({"JOB_CREATED": None, "JOB_UPDATED": None}, "events", "needs at least one of"),
        ({"query": "{ webhook { nonsense } }"}, "query", "Cannot query field"),
        ({"query": "mutation { start(jobID: 1) { id } }"}, "query", "and no mutation"),
        ({"query": "{"}, "query", "Syntax Error"),
    ],
    ids=["url", "events", "field", "mutation", "syntax"],
)
def test_what_cannot_be_is_refused_at_its_field_and_still_there(
    browser, add, row_counts, fields, field, reason
):
    page = add(**fields)

    assert page.status_code == 400
    assert f'id="{field}-fault"' in page.text
    assert reason in browser.text
    typed = browser.form("/webhooks").fields
    assert {**typed, **{name: value for name, value in fields.items() if value}} == typed
    assert row_counts()["webhook"] == 0


def test_there_is_an_end_to_how_many(browser, add, monkeypatch):
    monkeypatch.setattr(webhooks, "MOST", 1)

    assert [add().status_code, add().status_code] == [200, 400]
    assert "you have 1 webhooks" in browser.text


def test_a_sample_is_what_would_be_sent(browser, make_webhook, make_job):
    webhook = make_webhook()
    make_job()

    browser.open(f"/webhooks/{webhook.id}?sample=JOB_CREATED")

    assert '"event": "JOB_CREATED"' in browser.text


def test_what_is_no_event_has_no_sample(browser, make_webhook):
    page = browser.open(f"/webhooks/{make_webhook().id}?sample=JOB_LOST")

    assert page.status_code == 200
    assert "Of the latest such event" not in browser.text


def test_a_webhook_is_deleted_by_whose_it_is(browser, browse, stranger, make_webhook, all_webhooks):
    webhook = make_webhook()
    other = browse(stranger)
    other.open("/webhooks")
    assert "example.org" not in other.text
    word = other.form("/logout").fields["csrf"]
    delete = f"/webhooks/{webhook.id}/delete"
    assert other.client.post(delete, data={"csrf": word}).status_code == 404
    assert len(all_webhooks()) == 1

    browser.open(f"/webhooks/{webhook.id}")
    browser.send(delete)

    assert all_webhooks() == []
    assert browser.path == "/webhooks"


# --- deliveries -----------------------------------------------------------------------------------

HOSTILE = {"\u202e<b>": "\0\x1b]0;x\a", "nested": {"a": 1}}


@pytest.fixture
def settle(backend):
    """One attempt of a delivery."""

    def attempt(delivery_id, verdict=Verdict.DELIVERED, **said):
        errand = triggers.claim(backend, delivery_id)
        said = {"response_status": 200, **said}
        triggers.settle(backend, errand.delivery, Attempt(verdict, **said))

    return attempt


@pytest.fixture
def told(make_webhook, make_job):
    """A webhook that is owed a delivery."""
    webhook = make_webhook()
    make_job()
    return webhook


def test_what_was_told_is_listed_with_how_it_went(browser, told, settle):
    settle(1, Verdict.NEVER, response_status=410, error="answered with status 410")

    for path in ("/deliveries", f"/webhooks/{told.id}"):
        browser.open(path)
        assert "abandoned" in browser.text
        assert "410" in browser.text
        assert "/deliveries/1" in browser.links
        assert "xyzzy" not in browser.page.text


def test_a_delivery_shows_what_was_sent_and_what_came_back_and_does_nothing_else(
    browser, told, settle
):
    settle(
        1,
        error="no \u202e good",
        request_headers={"X-Webhook-Event": "JOB_CREATED"},
        request_body='{"data": {"webhook": {"uuid": "u"}}}',
        response_headers={"Server": "</pre><script>"},
        response_body=json.dumps(HOSTILE, ensure_ascii=False),
    )

    page = browser.open("/deliveries/1")

    for said in (
        "X-Webhook-Event: JOB_CREATED",
        "&#34;webhook&#34;: {\n      &#34;uuid&#34;: &#34;u&#34;\n    }",
        "Server: &lt;/pre&gt;&lt;script&gt;",
        "&#34;\N{REPLACEMENT CHARACTER}&lt;b&gt;&#34;",
        "no \N{REPLACEMENT CHARACTER} good",
        "What came back: 200",
    ):
        assert said in page.text
    assert not {"\u202e", "\x1b", "\a"} & set(page.text)


@pytest.mark.parametrize("body", ["{", "[" * 100_000, "plain\r\ntext", "\x00\x85\u2066"])
def test_an_answer_may_be_anything(browser, told, settle, body):
    settle(1, response_headers={"Content-Type": "text/html"}, response_body=body)

    assert browser.open("/deliveries/1").status_code == 200


def test_an_answer_that_is_wide_and_deep_makes_no_page_of_spaces(browser, told, settle):
    body = "[" * 400 + ",".join(["0"] * 30_000) + "]" * 400
    settle(1, response_body=body)

    assert len(browser.open("/deliveries/1").text) < 2 * len(body)


def test_only_what_does_nothing_is_shown():
    assert harmless("a b\tc\r\nd\u00a0é\U0001f600") == "a b\tc\nd\u00a0é\U0001f600"
    for char in "\0\r\x1b\x7f\x85\u200b\u200f\u202e\u2028\u2066\ufeff":
        assert harmless(f"a{char}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_what_is_over_is_told_again(browser, told, settle, backend):
    settle(1)
    browser.open("/deliveries/1")

    browser.send("/deliveries/1/replay")

    assert browser.path == "/deliveries/2"
    assert "after delivery 1" in browser.text
    assert "waiting" in browser.text
    with backend.transaction() as session:
        assert session.get_one(Delivery, 2).replay_of == 1


def test_what_is_still_tried_has_no_such_button(browser, told):
    page = browser.open("/deliveries/1")

    assert "/replay" not in page.text
    assert "Next attempt" in browser.text


def test_deliveries_are_their_owners(browse, stranger, told, settle, row_counts):
    settle(1)
    other = browse(stranger)
    other.open("/deliveries")
    assert "/deliveries/1" not in other.links
    word = other.form("/logout").fields["csrf"]
    before = row_counts()

    assert other.client.get("/deliveries/1").status_code == 404
    assert other.client.post("/deliveries/1/replay", data={"csrf": word}).status_code == 404
    assert row_counts() == before


def test_deliveries_of_one_job_and_page_after_page(browser, told, make_job, monkeypatch):
    monkeypatch.setattr(forms, "PAGE", 2)
    for _ in range(4):
        make_job()
    shown = []
    path = "/deliveries"
    while path:
        browser.open(path)
        shown.append([each for each in browser.links if each.startswith("/deliveries/")])
        path = next((each for each in browser.links if "from=" in each), None)
    assert [len(each) for each in shown] == [2, 2, 1]
    assert shown[-1] == ["/deliveries/1"]

    browser.open("/deliveries?job=2")
    assert [each for each in browser.links if each.startswith("/deliveries/")] == ["/deliveries/2"]


@pytest.mark.parametrize("job", ["x", "9" * 12, "9" * 40, "-1"])
def test_what_is_no_job_has_no_deliveries(browser, told, job):
    assert browser.open(f"/deliveries?job={job}").status_code == 404


def test_what_triggers_send_is_there_as_well(browser, make_job, backend):
    make_job(
        "failed",
        manifest="image: debian/trixie\nshell: true\n"
        "triggers:\n- {action: email, condition: always, to: ada@example.org}\n",
    )
    with backend.transaction() as session:
        session.execute(update(Delivery).values(status=DeliveryStatus.ABANDONED))

    browser.open("/deliveries")
    assert "ada@example.org" in browser.text
    browser.open("/deliveries/1")
    assert "Email to ada@example.org" in browser.text
