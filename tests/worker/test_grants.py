"""The token that a manifest asks for by `oauth`: in the build, in its log, and afterwards.

The guest is a fake one, whose programs reach this host's loopback; the last test's is real.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select
from werkzeug.serving import make_server

from buildsrht.models import JobStatus, Token
from buildsrht.services import runs
from tests.build_host import finish
from tests.worker.fakes import fake_boot, perform
from tests.worker.outcome import Outcome, assert_nothing_is_left, outcome_of
from worker import janitor, machines

WITHHELD = "No token for oauth: the job was submitted without secrets.\n"


def manifest_of(script: str, oauth: str = "builds.sr.ht/JOBS:RO", **keys) -> str:
    tasks = [{"ask": script}]
    return json.dumps({"image": "debian/trixie", "oauth": oauth, "tasks": tasks, **keys})


@pytest.fixture
def origin(app) -> Iterator[str]:
    """The address of the service itself, over HTTP."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with serving(server):
        yield f"http://127.0.0.1:{server.port}"


@contextmanager
def serving(server) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def run_job(backend, make_job, origin) -> Callable[..., Outcome]:
    """Run a job with this script and these manifest keys: `run_job("acurl ...", secrets=False)`."""

    def run(script: str, *, secrets: bool = True, **keys) -> Outcome:
        job = make_job(manifest=manifest_of(script, **keys), secrets=secrets)
        web = replace(backend.config.web, origin=origin)
        perform(replace(backend, config=replace(backend.config, web=web)), job.id, fake_boot)
        assert_nothing_is_left(backend)
        return outcome_of(backend, job.id)

    return run


@pytest.fixture
def found(run_job) -> Callable[..., str]:
    """What a script prints in a build that succeeds. It goes through a file, as logs hide much."""

    def look(script: str, **keys) -> str:
        outcome = run_job(f"( {script} ) >out", artifacts=["out"], **keys)
        assert outcome.status == JobStatus.SUCCESS, outcome
        return outcome.artifacts["out"].decode()

    return look


# --- what it is good for --------------------------------------------------------------------------


def test_a_build_asks_the_service_as_its_owner(found, origin):
    assert json.loads(found(f"acurl -sS --fail {origin}/api/jobs/1"))["status"] == "running"


@pytest.mark.parametrize(
    ("oauth", "answers"),
    [
        ("builds.sr.ht/JOBS:RO", "200 403 403"),
        ("buildsrht/JOBS:RW", "200 400 403"),
        ("builds.sr.ht/LOGS:RO", "403 403 200"),
        ("builds.sr.ht/JOBS builds.sr.ht/LOGS", "200 403 200"),
    ],
)
def test_it_opens_what_was_asked_for_and_nothing_else(found, origin, oauth, answers):
    ask = "acurl -sS -o /dev/null -w '%{http_code} '"
    script = f"""
    {ask} {origin}/api/jobs
    {ask} {origin}/api/jobs --json '{{}}'
    {ask} {origin}/query/log/1/log
    """
    assert found(script, oauth=oauth).split() == answers.split()


def test_it_opens_nothing_when_the_job_is_over(found, client):
    token = found('echo "$OAUTH2_TOKEN"').strip()
    answer = client.get("/api/jobs", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_it_opens_nothing_when_the_job_was_cancelled(run_job, origin, tmp_path):
    script = f"""
    acurl -sS -o {tmp_path}/before -w '%{{http_code}}' {origin}/api/jobs >{tmp_path}/status
    acurl -sS --json '' {origin}/api/jobs/1/cancel
    acurl -sS -o {tmp_path}/after -w ' %{{http_code}}' {origin}/api/jobs >>{tmp_path}/status
    sleep 60
    """
    outcome = run_job(script, oauth="builds.sr.ht/JOBS:RW")
    assert outcome.status == JobStatus.CANCELLED
    assert (tmp_path / "status").read_text() == "200 401"


def test_the_janitor_removes_it(backend, found):
    found("true")
    janitor.sweep_service(backend)
    with backend.transaction() as session:
        assert session.scalars(select(Token)).all() == []


# --- where it is ----------------------------------------------------------------------------------


def test_it_is_in_the_environment_and_in_the_configuration_of_hut_for_its_user_only(found, origin):
    [modes, token, *config] = found(
        "stat -c %a .buildenv .config/hut/config | xargs; printenv OAUTH2_TOKEN; "
        "cat .config/hut/config",
        environment={"OAUTH2_TOKEN": "mine"},
    ).splitlines()
    assert modes == "600 600"
    assert token.startswith("bsrht_")
    assert config == [
        f'instance "{origin.removeprefix("http://")}" {{',
        f'    access-token "{token}"',
        "    builds {",
        f'        origin "{origin}"',
        "    }",
        "    meta {",
        f'        origin "{origin}"',
        "    }",
        "}",
    ]


def test_the_log_says_what_it_is_for_and_does_not_show_it(run_job, origin):
    script = f"""
    echo "$OAUTH2_TOKEN"
    printf %s "$OAUTH2_TOKEN" | base64
    curl -sS -o /dev/null -v --oauth2-bearer "$OAUTH2_TOKEN" {origin}/api/jobs
    acurl -sS -o /dev/null -v {origin}/api/jobs
    . ~/.buildenv
    cat ~/.buildenv ~/.config/hut/config
    base64 ~/.config/hut/config
    printenv OAUTH2_TOKEN >token
    """
    outcome = run_job(script, artifacts=["token"])
    token = outcome.artifacts["token"].decode().strip()
    said = "A token for JOBS:RO is in OAUTH2_TOKEN; it ends with the job.\n"
    assert said in outcome.setup_log
    log = outcome.logs["ask"]
    assert "+ echo ***\n***\n" in log
    assert "Authorization: Bearer ***" in log
    assert 'access-token "***"' in log
    for shown in (token, token.removeprefix("bsrht_")[-20:]):
        assert shown not in log


def test_without_secrets_there_is_none_and_the_log_says_so(run_job, row_counts):
    script = 'test -z "${OAUTH2_TOKEN+set}" && test ! -e .config/hut'
    outcome = run_job(script, secrets=False)
    assert outcome.status == JobStatus.SUCCESS
    assert WITHHELD in outcome.setup_log
    assert row_counts()["token"] == 0


def test_nobody_gets_one_who_does_not_ask(backend, make_job, row_counts):
    manifest = json.dumps(
        {"image": "debian/trixie", "tasks": [{"ask": 'test -z "${OAUTH2_TOKEN+set}"'}]}
    )
    perform(backend, make_job(manifest=manifest).id, fake_boot)
    outcome = outcome_of(backend, 1)
    assert outcome.status == JobStatus.SUCCESS
    assert "oauth" not in outcome.setup_log
    assert row_counts()["token"] == 0


def test_a_run_that_lost_its_job_gets_none(backend, make_job, row_counts):
    make_job(manifest=manifest_of("true"))

    @contextmanager
    def boot_too_long(wanted):
        run = runs.Run(1, 1, backend.config.worker.name, 1, "", "", "", "", True, {})
        finish(backend, run, JobStatus.FAILED)
        with fake_boot(wanted) as machine:
            yield machine

    perform(backend, 1, boot_too_long)
    assert row_counts()["token"] == 0


# --- acurl ----------------------------------------------------------------------------------------


class Spy(BaseHTTPRequestHandler):
    """Notes what was sent, and every command line of this host meanwhile."""

    def do_GET(self):
        self.server.authorization = self.headers["Authorization"]
        self.server.commands = b"\n".join(self._commands())
        self.send_response(204)
        self.end_headers()

    def _commands(self) -> Iterator[bytes]:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                yield path.read_bytes()
            except OSError:
                continue

    def log_message(self, *_):
        pass


def test_acurl_sends_the_token_and_has_it_in_no_command_line(found):
    with ThreadingHTTPServer(("127.0.0.1", 0), Spy) as spy, serving(spy):
        address = f"http://127.0.0.1:{spy.server_port}/"
        token = found(f'acurl -sS {address} && echo "$OAUTH2_TOKEN"').strip()
    assert spy.authorization == f"Bearer {token}"
    assert address.encode() in spy.commands
    assert token.encode() not in spy.commands


def test_acurl_is_not_traced_but_what_calls_it_is(run_job, origin):
    log = run_job(f"acurl -sS -o out {origin}/api/jobs\necho after").logs["ask"]
    assert log == f"+ acurl -sS -o out {origin}/api/jobs\n+ echo after\nafter\n"


def test_acurl_ends_as_curl_does(run_job):
    outcome = run_job("acurl -s nowhere://x || echo ended with $?\nacurl -s nowhere://x")
    assert "ended with 1\n" in outcome.logs["ask"]
    assert outcome.status == JobStatus.FAILED
    assert "task ask: exit status 1" in outcome.setup_log


def test_acurl_without_a_token_says_so(run_job):
    outcome = run_job("acurl https://example.org/", secrets=False)
    assert outcome.status == JobStatus.FAILED
    assert "OAUTH2_TOKEN: is not set: the manifest has no oauth" in outcome.logs["ask"]


# --- in a real machine ----------------------------------------------------------------------------

# Answers whatever is asked, and notes who asks for what.
SERVICE = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with open("requests", "a") as file:
            print(self.path, self.headers["Authorization"], file=file)
        answer = json.dumps({"data": {"me": {"canonicalName": "~owner"}}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)
http.server.HTTPServer(("127.0.0.1", 5002), Handler).serve_forever()
"""
START = """
nohup python3 service.py >service.log 2>&1 &
for try in $(seq 300); do
    ! (: </dev/tcp/127.0.0.1/5002) 2>refused || break
    sleep 0.1
done
"""
ASK = """
for service in builds meta; do
    echo 'query { me { canonicalName } }' | hut graphql $service
done
acurl -sS --json '{}' "$ORIGIN/query"
set +x
[ "$(sort -u requests)" = "/query Bearer $OAUTH2_TOKEN" ]
[ "$(wc -l <requests)" = 3 ]
set -x
stat -c '%U %a' ~/.buildenv ~/.config/hut/config
sudo cat ~build/.buildenv
"""


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_in_a_real_machine_hut_and_acurl_use_it(backend, host_config, make_job):
    web = replace(host_config.web, origin="http://127.0.0.1:5002")
    config = replace(
        backend.config, images=host_config.images, snapshots=host_config.snapshots, web=web
    )
    backend = replace(backend, config=config)
    serve = f"cat >service.py <<'END'{SERVICE}END{START}"
    manifest = {
        "image": "debian/trixie",
        "packages": ["hut"],
        "layers": False,
        "oauth": "builds.sr.ht/JOBS:RO builds.sr.ht/PROFILE:RO",
        "environment": {"ORIGIN": web.origin},
        "tasks": [{"serve": serve}, {"ask": ASK}],
    }
    perform(backend, make_job(manifest=json.dumps(manifest)).id, machines.start)
    outcome = outcome_of(backend, 1)
    assert outcome.status == JobStatus.SUCCESS, outcome
    log = outcome.logs["ask"]
    assert log.count('"~owner"') == 3
    assert "build 600\nbuild 600\n" in log
    assert "export OAUTH2_TOKEN=***\n" in log
    assert "bsrht_" not in log
    assert_nothing_is_left(backend)
