"""What Prometheus gets, read by its own parser."""

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from buildsrht.app import create_app
from buildsrht.queue import Slots
from buildsrht.services import runners, tallies


@pytest.fixture
def scrape(client, backend, monkeypatch):
    """What a sample with these labels is at; None if there is none."""
    monkeypatch.setattr(tallies, "SETTLED", timedelta())

    def ask():
        tallies.gather(backend)
        response = client.get("/metrics")
        assert response.status_code == 200
        samples = [
            sample
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        ]

        def value(name, **labels):
            found = [each.value for each in samples if (each.name, each.labels) == (name, labels)]
            assert len(found) <= 1
            return found[0] if found else None

        return value

    return ask


def test_a_service_in_which_nothing_happened_says_so(scrape):
    found = scrape()
    assert found("buildsrht_builds_submitted_total") == 0
    assert found("buildsrht_builds_running") == 0
    assert found("buildsrht_leases_lost_total") == 0
    assert found("buildsrht_triggers_webhooks_failed_total") == 0


def test_it_tells_what_was_and_what_is(scrape, make_job, backend, monkeypatch):
    for status in ("success", "success", "failed", "running", "queued", "queued", "queued"):
        make_job(status)
    runners.report(backend, "host-1", {})
    monkeypatch.setattr(type(backend.queue), "slots", lambda _: Slots(4, 1, 2))
    found = scrape()
    assert found("buildsrht_builds_submitted_total") == 7
    assert found("buildsrht_builds_ended_total", status="success", fault="") == 2
    assert found("buildsrht_image_runs_total", image="debian/trixie", arch="amd64") == 4
    assert found("buildsrht_builds_running") == 1
    assert found("buildsrht_builds_queued", image="debian/trixie", arch="amd64") == 3
    assert 0 <= found("buildsrht_queue_oldest_seconds") < 60
    assert found("buildsrht_runners", state="active", heard="yes") == 1
    assert found("buildsrht_build_workers") == 4
    assert found("buildsrht_slots_busy") == 1
    assert found("buildsrht_slots_paused") == 2


def test_a_histogram_has_all_buckets_each_with_what_is_below_it(scrape, make_job):
    make_job("success")
    found = scrape()
    name, success = "buildsrht_build_duration", {"status": "success"}
    bounds = [str(float(bound)) for bound in tallies.BUCKETS[tallies.RAN]] + ["+Inf"]
    assert [found(f"{name}_bucket", le=bound, **success) for bound in bounds] == [1] * len(bounds)
    assert found(f"{name}_count", **success) == 1
    assert 0 < found(f"{name}_sum", **success) < 60


def test_deliveries_are_told_by_how_they_went_and_webhooks_as_elsewhere(scrape, backend):
    with backend.transaction() as session:
        tallies.add(session, tallies.DELIVERIES, "webhook", "delivered", by=5)
        tallies.add(session, tallies.DELIVERIES, "webhook", "waiting", by=2)
        tallies.add(session, tallies.DELIVERIES, "email", "abandoned")
    found = scrape()
    assert found("buildsrht_triggers_executed_total", action="email", outcome="abandoned") == 1
    assert found("buildsrht_triggers_webhooks_total") == 7
    assert found("buildsrht_triggers_webhooks_failed_total") == 2


def test_without_redis_what_only_it_knows_is_missing(scrape, backend, monkeypatch):
    monkeypatch.setattr("buildsrht.services.census.slots_now", lambda _: None)
    found = scrape()
    assert found("buildsrht_build_workers") is None
    assert found("buildsrht_builds_running") == 0


def test_who_asks_for_openmetrics_gets_it(client):
    kind = "application/openmetrics-text; version=1.0.0"
    response = client.get("/metrics", headers={"Accept": kind})
    assert response.content_type.startswith(kind)
    assert response.text.endswith("# EOF\n")


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "10.0.0.1"])
def test_who_is_elsewhere_gets_none(client, address):
    response = client.get("/metrics", environ_base={"REMOTE_ADDR": address})
    assert response.status_code == 403
    assert response.json == {
        "errors": [{"reason": f"metrics are not for {address}, which is not in [web] metrics"}]
    }


def test_the_operator_says_who_gets_them(backend):
    web = replace(backend.config.web, metrics=())
    config = replace(backend.config, web=web)
    nobody = create_app(replace(backend, config=config)).test_client()
    assert nobody.get("/metrics").status_code == 403
