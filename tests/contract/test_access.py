"""Who may do what: every route and every field, for everybody who may ask.

The two tables are complete: what is in the application or in the schema and not in them fails a
test, and so does what is in them only.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import schemathesis
from graphql import GraphQLObjectType
from schemathesis import checks
from sqlalchemy import update
from werkzeug.test import TestResponse

from buildsrht.api.description import ANY, PATHS, TOKEN
from buildsrht.graphql.schema import SCHEMA
from buildsrht.models import SignIn, Token, User, Visibility
from buildsrht.services import clients, grants, groups, identities, sign_ins, ssh_keys, tokens
from buildsrht.services.scopes import NEEDED, SCOPES, granted
from tests.buildsrht.hooks.reports import REPOSITORY
from tests.buildsrht.oauth.asking import CHALLENGE, REDIRECT_URI
from tests.contract.conftest import (
    FINGERPRINT,
    HOOK,
    KEPT,
    OTHER_KEY,
    PUBLIC_KEY,
    SECRET,
    WEBHOOK_QUERY,
)
from tests.contract.described import description

SHELL = "image: debian\nshell: true\n"

ASKERS = ("anonymous", "stranger", "under_scoped", "expired", "revoked", "owner")
# What is somebody's has this number, and what is not there at all the other.
THERE, ABSENT = 1, 4711

checks.load_all_checks()
CHECKS = checks.CHECKS.get_by_names(
    ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)


class Row(NamedTuple):
    """How one route is asked, and the status for each asker, in the order of ASKERS."""

    way: str
    statuses: tuple[int, int, int, int, int, int]
    json: Any = None
    form: dict[str, str] | None = None
    query: dict[str, str] | None = None


# What the askers bring, by the way in:
#
#             stranger           under_scoped          expired         revoked
#   token     all scopes         all but the needed    expired         revoked
#   cookie    signed in          a token instead       expired         signed out
#   client    another client     a wrong secret        deleted client  a secret since renewed
#   forge     tokens prove nothing there; the owner's request is signed
#   open      the same as with tokens, which nobody looks at
#
# Jobs, groups and all else are the owner's, and private. A stranger may submit, which is a job of
# their own, and is told of the owner's what is told of nothing: 404, and 400 where it is in a body.
ROUTES = {
    ("GET", "/api/jobs"): Row("token", (401, 200, 403, 401, 401, 200)),
    ("POST", "/api/jobs"): Row("token", (401, 200, 403, 401, 401, 200), json={"manifest": SHELL}),
    ("GET", "/api/jobs/<int:job_id>"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("GET", "/api/jobs/<int:job_id>/artifacts"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("GET", "/api/jobs/<int:job_id>/manifest"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("GET", "/api/jobs/<int:job_id>/events"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("POST", "/api/jobs/<int:job_id>/start"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("POST", "/api/jobs/<int:job_id>/cancel"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("POST", "/api/job-group"): Row(
        "token", (401, 400, 403, 401, 401, 200), json={"jobs": [THERE]}
    ),
    ("GET", "/api/job-group/<int:group_id>"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("POST", "/api/job-group/<int:group_id>/start"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("POST", "/api/job-group/<int:group_id>/cancel"): Row("token", (401, 404, 403, 401, 401, 200)),
    ("GET", "/query/log/<int:job_id>/log"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("GET", "/query/log/<int:job_id>/<task>/log"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("GET", "/query/log/<int:job_id>/lines"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("GET", "/query/log/<int:job_id>/<task>/lines"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("GET", "/query/log/<int:job_id>/commands"): Row("token", (404, 404, 403, 401, 401, 200)),
    ("GET", "/query/log/<int:job_id>/<task>/commands"): Row(
        "token", (404, 404, 403, 401, 401, 200)
    ),
    ("GET", "/query/log/<int:job_id>/search"): Row(
        "token", (404, 404, 403, 401, 401, 200), query={"q": "hello"}
    ),
    ("GET", "/artifacts/<int:job_id>/<secret>/<name>"): Row(
        "token", (404, 404, 403, 401, 401, 200)
    ),
    # What a token needs here, each field says: see FIELDS.
    ("POST", "/query"): Row(
        "token", (401, 200, 200, 401, 401, 200), json={"query": "{ version { major } }"}
    ),
    ("POST", "/hooks/<uuid:uuid>"): Row("forge", (401, 401, 401, 401, 401, 200), json={}),
    ("GET", "/healthz"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/metrics"): Row("open", (200, 200, 200, 200, 200, 200)),
    # No build host is there.
    ("GET", "/health"): Row("open", (503, 503, 503, 503, 503, 503)),
    ("GET", "/api/openapi.json"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/.well-known/oauth-authorization-server"): Row("open", (200, 200, 200, 200, 200, 200)),
    # Everybody sees these, and on them what they may find.
    ("GET", "/"): Row("cookie", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>"): Row("cookie", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/<path:tags>"): Row("cookie", (200, 200, 200, 200, 200, 200)),
    # What is told outside the pages is told to all alike, of public jobs only.
    ("GET", "/~<owner>.svg"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/<path:tags>.svg"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/rss.xml"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/<path:tags>/rss.xml"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/cc.xml"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/<path:tags>/cc.xml"): Row("open", (200, 200, 200, 200, 200, 200)),
    ("GET", "/~<owner>/job/<int:job_id>/icon.svg"): Row("cookie", (404, 404, 404, 404, 404, 200)),
    ("GET", "/static/<path:filename>"): Row("open", (200, 200, 200, 200, 200, 200)),
    # 303 leads to the page to sign in, and from there to the usual page who has signed in.
    ("GET", "/login"): Row("cookie", (200, 303, 200, 200, 200, 303)),
    ("POST", "/login"): Row(
        "cookie", (401, 401, 401, 401, 401, 401), form={"name": "owner", "password": "guessed"}
    ),
    # Nobody registers until the operator lets them, nor forgets a password where no mail is sent.
    **{
        (method, rule): Row("cookie", (404, 404, 404, 404, 404, 404))
        for rule in ("/register", "/forgot", "/reset/<text>")
        for method in ("GET", "POST")
    },
    # There is no provider until the operator names one.
    ("GET", "/login/provider"): Row("cookie", (404, 404, 404, 404, 404, 404)),
    ("GET", "/login/provider/callback"): Row("cookie", (404, 404, 404, 404, 404, 404)),
    ("POST", "/account/connect"): Row("cookie", (303, 404, 303, 303, 303, 404)),
    ("GET", "/account"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    # To be signed in is not to know the password.
    ("POST", "/account/password"): Row(
        "cookie", (303, 403, 303, 303, 303, 403), form={"password": "guessed"}
    ),
    ("POST", "/account/email"): Row(
        "cookie", (303, 403, 303, 303, 303, 403), form={"current": "guessed"}
    ),
    ("POST", "/account/identities/<int:identity_id>/remove"): Row(
        "cookie", (303, 404, 303, 303, 303, 303)
    ),
    ("POST", "/logout"): Row("cookie", (303, 303, 303, 303, 303, 303)),
    ("GET", "/submit"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    # 303 leads to the new job's page, too.
    ("POST", "/submit"): Row(
        "cookie", (303, 303, 303, 303, 303, 303), form={"manifest": SHELL, "visibility": "private"}
    ),
    ("POST", "/submit/check"): Row(
        "cookie", (303, 200, 303, 303, 303, 200), form={"manifest": SHELL}
    ),
    ("GET", "/resubmit/<int:job_id>"): Row("cookie", (303, 404, 303, 303, 303, 200)),
    ("POST", "/resubmit/<int:job_id>"): Row(
        "cookie", (303, 404, 303, 303, 303, 303), form={"manifest": SHELL, "visibility": "private"}
    ),
    ("POST", "/resubmit/<int:job_id>/as-it-is"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/~<owner>/job/<int:job_id>"): Row("cookie", (404, 404, 404, 404, 404, 200)),
    ("GET", "/~<owner>/job/<int:job_id>/settings/details"): Row(
        "cookie", (303, 404, 303, 303, 303, 200)
    ),
    ("POST", "/~<owner>/job/<int:job_id>/settings/details"): Row(
        "cookie", (303, 404, 303, 303, 303, 303), form={"visibility": "private"}
    ),
    # It is not over.
    ("POST", "/~<owner>/job/<int:job_id>/settings/keep"): Row(
        "cookie", (303, 404, 303, 303, 303, 409)
    ),
    ("POST", "/~<owner>/job/<int:job_id>/settings/delete"): Row(
        "cookie", (303, 404, 303, 303, 303, 400), form={"confirm": "1"}
    ),
    ("GET", "/cancel/<int:job_id>"): Row("cookie", (303, 404, 303, 303, 303, 200)),
    ("POST", "/cancel/<int:job_id>"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("POST", "/start/<int:job_id>"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/secrets"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("POST", "/secrets"): Row(
        "cookie",
        (303, 303, 303, 303, 303, 303),
        form={"kind": "file", "path": "~/x", "material": "x"},
    ),
    ("POST", "/secrets/<uuid:secret_uuid>/share"): Row(
        "cookie", (303, 404, 303, 303, 303, 200), form={"user": "stranger"}
    ),
    ("POST", "/secrets/<uuid:secret_uuid>/delete"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/ssh-keys"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    # By then the key is the stranger's.
    ("POST", "/ssh-keys"): Row("cookie", (303, 303, 303, 303, 303, 400), form={"key": OTHER_KEY}),
    ("POST", "/ssh-keys/<int:key_id>/delete"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/webhooks"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("POST", "/webhooks"): Row(
        "cookie",
        (303, 303, 303, 303, 303, 303),
        form={"url": "https://example.org", "JOB_CREATED": "on", "query": WEBHOOK_QUERY},
    ),
    ("GET", "/webhooks/<int:webhook_id>"): Row("cookie", (303, 404, 303, 303, 303, 200)),
    ("POST", "/webhooks/<int:webhook_id>/delete"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/deliveries"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("GET", "/deliveries/<int:delivery_id>"): Row("cookie", (303, 404, 303, 303, 303, 200)),
    # It is still tried by itself.
    ("POST", "/deliveries/<int:delivery_id>/replay"): Row("cookie", (303, 404, 303, 303, 303, 400)),
    ("GET", "/hooks"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("POST", "/hooks"): Row(
        "cookie",
        (303, 200, 303, 303, 303, 200),
        form={"forge": "github", "repository": REPOSITORY, "visibility": "private"},
    ),
    # Where forges report to, people look.
    ("GET", "/hooks/<uuid:uuid>/pushes"): Row("cookie", (303, 404, 303, 303, 303, 200)),
    ("POST", "/hooks/<uuid:uuid>/change"): Row(
        "cookie", (303, 404, 303, 303, 303, 303), form={"visibility": "private"}
    ),
    ("POST", "/hooks/<uuid:uuid>/secret"): Row("cookie", (303, 404, 303, 303, 303, 200)),
    ("POST", "/hooks/<uuid:uuid>/delete"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/oauth2/clients"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("POST", "/oauth2/clients"): Row(
        "cookie",
        (303, 200, 303, 303, 303, 200),
        form={"name": "Dashboard", "redirect_uris": REDIRECT_URI},
    ),
    ("POST", "/oauth2/clients/<int:client_id>/secret"): Row(
        "cookie", (303, 404, 303, 303, 303, 200)
    ),
    ("POST", "/oauth2/clients/<int:client_id>/delete"): Row(
        "cookie", (303, 404, 303, 303, 303, 303)
    ),
    ("GET", "/oauth2/device"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    # Whoever has the code of a device may decide. There is no device with this one.
    ("POST", "/oauth2/device"): Row(
        "cookie", (303, 404, 303, 303, 303, 404), form={"user_code": "BCDF-GHJK"}
    ),
    ("GET", "/oauth2/grants"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("POST", "/oauth2/grants/<int:grant_id>/revoke"): Row("cookie", (303, 404, 303, 303, 303, 303)),
    ("GET", "/oauth2/personal-token"): Row("cookie", (303, 200, 303, 303, 303, 200)),
    ("POST", "/oauth2/personal-token"): Row(
        "cookie", (303, 200, 303, 303, 303, 200), form={"JOBS": "RO", "days": "1"}
    ),
    ("POST", "/oauth2/personal-token/<int:token_id>/revoke"): Row(
        "cookie", (303, 404, 303, 303, 303, 303)
    ),
    # Everybody who is signed in may let a program act for them. 302 is an answer to the program.
    ("GET", "/oauth2/authorize"): Row(
        "cookie", (303, 200, 303, 303, 303, 200), query={"client_id": "..."}
    ),
    ("POST", "/oauth2/authorize"): Row(
        "cookie",
        (303, 302, 303, 303, 303, 302),
        form={"decision": "allow"},
        query={"client_id": "..."},
    ),
    # None of these administers the service, and for whoever does not there is nothing here.
    **dict.fromkeys(
        [
            ("GET", "/admin"),
            ("GET", "/admin/jobs"),
            ("GET", "/admin/hosts"),
            ("POST", "/admin/hosts/<name>/drain"),
            ("POST", "/admin/hosts/<name>/resume"),
            ("POST", "/admin/hosts/<name>/retire"),
            ("POST", "/admin/hosts/prune"),
            ("GET", "/admin/users"),
            ("GET", "/admin/users/<owner>"),
            ("POST", "/admin/users/<owner>/appoint"),
            ("POST", "/admin/users/<owner>/dismiss"),
            ("POST", "/admin/users/<owner>/sign-out"),
            ("POST", "/admin/users/<owner>/suspend"),
            ("POST", "/admin/users/<owner>/restore"),
            ("GET", "/admin/notice"),
            ("POST", "/admin/notice"),
            ("POST", "/admin/notice/end"),
        ],
        Row("cookie", (404, 404, 404, 404, 404, 404)),
    ),
    # Another client's tokens are as unknown as any text.
    ("POST", "/oauth2/access-token"): Row(
        "client",
        (401, 400, 401, 401, 401, 200),
        form={"grant_type": "refresh_token", "refresh_token": "..."},
    ),
    ("POST", "/oauth2/device-authorization"): Row(
        "client", (401, 200, 401, 401, 401, 200), form={"scope": "jobs:read"}
    ),
    ("POST", "/oauth2/introspect"): Row(
        "client", (401, 200, 401, 401, 401, 200), form={"token": "..."}
    ),
    ("POST", "/oauth2/revoke"): Row(
        "client", (401, 200, 401, 401, 401, 200), form={"token": "..."}
    ),
}
FORM = ("cookie", "POST")
WHERE = "tests/contract/test_access.py"


# --- what there is --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    client_id: str
    secret: str
    refresh_token: str


@pytest.fixture
def place(backend, owner, stranger, make_job, write_log, make_artifact, make_secret, make_webhook):
    """One of everything, all of it the owner's and private, each with the number THERE."""
    make_webhook()
    job = make_job("pending", visibility=Visibility.PRIVATE)
    write_log(job, None, b"setting up\n")
    write_log(job, "build", b"building\n")
    make_artifact(job)
    make_secret()
    ssh_keys.add_key(backend, owner.name, PUBLIC_KEY)
    member = make_job("pending", visibility=Visibility.PRIVATE)
    groups.create_group(backend, owner, [member.id], None, [], execute=False)
    # Two ways in for each: who has no other may not give one up.
    for subject, user in enumerate((owner, owner, stranger, stranger)):
        identities.bind(backend, user, "https://provider.example.org", str(subject))


@pytest.fixture
def program(backend, owner) -> Program:
    """A program that the owner has registered, and has let act for them."""
    client, secret = _register(backend, owner)
    code = grants.authorize(
        backend, owner, clients.program_of(client), ["jobs:read"], REDIRECT_URI, CHALLENGE
    )
    issued = grants.issue(backend, grants.find_code(backend, code))
    return Program(str(client.uuid), secret, issued.refresh_token)


def _register(backend, user):
    return clients.register_client(
        backend, user, name="Dashboard", redirect_uris=[REDIRECT_URI], confidential=True
    )


@pytest.fixture
def forge_headers(make_hook):
    return {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": make_hook()}


# --- who asks -------------------------------------------------------------------------------------


@pytest.fixture
def token_of(backend, token, owner, stranger):
    """What an asker brings to a route that needs `scope`."""

    def find(asker: str, scope: str) -> str | None:
        match asker:
            case "anonymous":
                return None
            case "stranger":
                return token(stranger)
            case "under_scoped":
                return token(owner, *all_but(scope))
        text = token(owner)
        if asker == "revoked":
            tokens.revoke_token(backend, text)
        if asker == "expired":
            with backend.transaction() as session:
                newest = tokens.find_token(session, text)
                session.execute(
                    update(Token).where(Token.id == newest.id).values(expires=datetime.now(UTC))
                )
        return text

    return find


def all_but(scope: str) -> list[str]:
    """Every scope that does not open what this one opens."""
    if scope == ANY:
        return ["profile:read"]
    return [each for each in SCOPES if NEEDED[scope] not in granted([each])]


@pytest.fixture
def cookie_of(backend, owner, stranger):
    def find(asker: str) -> str | None:
        if asker in ("anonymous", "under_scoped"):
            return None
        user: User = stranger if asker == "stranger" else owner
        text = sign_ins.begin(backend, user)
        if asker == "revoked":
            sign_ins.end(backend, text)
        if asker == "expired":
            with backend.transaction() as session:
                session.execute(
                    update(SignIn)
                    .where(SignIn.user_id == owner.id)
                    .values(expires=datetime.now(UTC))
                )
        return text

    return find


@pytest.fixture
def credentials_of(backend, owner, stranger, program):
    """A client's name and secret."""

    def find(asker: str) -> tuple[str, str] | None:
        match asker:
            case "anonymous":
                return None
            case "owner":
                return program.client_id, program.secret
            case "under_scoped":
                return program.client_id, program.secret + "x"
        client, secret = _register(backend, stranger)
        if asker == "revoked":
            clients.new_client_secret(backend, stranger, client.id)
        if asker == "expired":
            clients.delete_client(backend, stranger, client.id)
        return str(client.uuid), secret

    return find


# --- asking ---------------------------------------------------------------------------------------


@pytest.fixture
def ask(app, place, program, forge_headers, token, owner, token_of, cookie_of, credentials_of):
    """The answer to an asker: `ask("stranger", "GET", "/api/jobs/<int:job_id>")`."""

    def ask(asker: str, method: str, rule: str, number: int = THERE):
        row = ROUTES[method, rule]
        client = app.test_client()
        sent: dict[str, Any] = {"query_string": filled(row.query), "headers": {}}
        if row.json is not None:
            sent["json"] = row.json
        else:
            sent["data"] = filled(row.form)
        match row.way:
            case "token" | "open":
                sent["headers"] = bearer(token_of(asker, scope_of(method, rule)))
            case "forge":
                sent["headers"] = (
                    forge_headers if asker == "owner" else bearer(token_of(asker, ANY))
                )
            case "client":
                sent["auth"] = credentials_of(asker)
            case "cookie":
                if asker == "under_scoped":
                    sent["headers"] = bearer(token(owner))
                if cookie := cookie_of(asker):
                    client.set_cookie("buildsrht", cookie)
                if method == "POST":
                    sent["data"] = {**(sent["data"] or {}), "csrf": form_word(client)}
        answer = client.open(path_of(rule, number), method=method, **sent)
        insist_on_described(method, rule, answer)
        return answer

    def filled(fields: dict[str, str] | None) -> dict[str, str] | None:
        values = {
            "client_id": program.client_id,
            "refresh_token": program.refresh_token,
            "token": program.refresh_token,
        }
        if fields and "client_id" in fields:
            fields = {
                **fields,
                "response_type": "code",
                "redirect_uri": REDIRECT_URI,
                "scope": "jobs:read",
                "code_challenge": CHALLENGE,
                "code_challenge_method": "S256",
            }
        return fields and {
            name: values[name] if value == "..." else value for name, value in fields.items()
        }

    return ask


REST = schemathesis.openapi.from_dict(description())


def insist_on_described(method: str, rule: str, answer: TestResponse) -> None:
    """The status and the body are ones that the description has, if it has the route."""
    path = described_path(rule)
    if method.lower() in PATHS.get(path, ()):
        named = dict.fromkeys(re.findall(r"{(\w+)}", path), str(THERE))
        REST[path][method].Case(path_parameters=named).validate_response(answer, checks=CHECKS)


def bearer(text: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"} if text else {}


def path_of(rule: str, number: int) -> str:
    texts = {
        "task": "build",
        "secret": SECRET,
        "secret_uuid": str(KEPT),
        "name": "out.txt",
        "uuid": str(HOOK),
        "filename": "style.css",
        "owner": "owner",
        "tags": "project/part",
    }
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: texts.get(found[1], str(number)), rule)


def described_path(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def scope_of(method: str, rule: str) -> str:
    """What the description says that a route needs."""
    described = PATHS.get(described_path(rule), {}).get(method.lower(), {})
    scopes = [scope for each in described.get("security", ()) for scope in each.get(TOKEN, ())]
    return scopes[0] if scopes else ANY


def form_word(client) -> str:
    """What a page has put into the forms of this browser."""
    for page in ("/login", "/oauth2/grants"):
        found = re.search(r'name="csrf" value="(\w+)"', client.get(page).text)
        if found:
            return found[1]
    raise AssertionError("no page has a form")


# --- routes ---------------------------------------------------------------------------------------


def test_every_route_is_in_the_table_and_nothing_else(app):
    found = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert found - ROUTES.keys() == set(), f"say in ROUTES of {WHERE} who may ask for these"
    assert ROUTES.keys() - found == set(), f"these are gone: take them out of ROUTES of {WHERE}"


@pytest.mark.parametrize(("method", "rule"), ROUTES)
def test_each_route_answers_each_asker_as_the_table_has_it(ask, method, rule):
    statuses = {asker: ask(asker, method, rule).status_code for asker in ASKERS}

    assert statuses == dict(zip(ASKERS, ROUTES[method, rule].statuses, strict=True))


HIDDEN = [
    (asker, method, rule)
    for (method, rule), row in ROUTES.items()
    for asker, status in zip(ASKERS, row.statuses, strict=True)
    if "<int:" in rule and status == 404
]


@pytest.mark.parametrize(("asker", "method", "rule"), HIDDEN)
def test_what_is_hidden_is_answered_like_what_is_not_there(ask, asker, method, rule):
    hidden = ask(asker, method, rule)
    absent = ask(asker, method, rule, ABSENT)

    assert (hidden.status_code, without_words(hidden)) == (
        absent.status_code,
        without_words(absent),
    )


def test_pages_take_only_forms_that_they_have_made(app, place, cookie_of, row_counts):
    rules = [rule for (method, rule), row in ROUTES.items() if (row.way, method) == FORM]
    client = app.test_client()
    client.set_cookie("buildsrht", cookie_of("owner"))
    before = row_counts()

    statuses = {
        rule: client.post(path_of(rule, THERE), data={"csrf": "0" * 64}).status_code
        for rule in rules
    }

    assert statuses == dict.fromkeys(rules, 403)
    assert row_counts() == before


@pytest.mark.parametrize(
    ("asker", "as_who"), [("owner", "owner"), ("stranger", "stranger"), ("expired", "anonymous")]
)
def test_to_be_signed_in_lets_read_what_a_token_lets_and_change_nothing(
    app, place, cookie_of, row_counts, asker, as_who
):
    asked = {key: row for key, row in ROUTES.items() if row.way == "token"}
    client = app.test_client()
    client.set_cookie("buildsrht", cookie_of(asker))
    before = row_counts()

    statuses = {
        (method, rule): client.open(
            path_of(rule, THERE), method=method, json=row.json, query_string=row.query
        ).status_code
        for (method, rule), row in asked.items()
    }

    assert statuses == {
        (method, rule): row.statuses[ASKERS.index(as_who if method == "GET" else "anonymous")]
        for (method, rule), row in asked.items()
    }
    assert row_counts() == before


def test_what_depends_on_who_is_signed_in_is_kept_for_nobody_else(app, place, cookie_of):
    rules = [
        rule for (method, rule), row in ROUTES.items() if (row.way, method) == ("token", "GET")
    ]
    signed_in = app.test_client()
    signed_in.set_cookie("buildsrht", cookie_of("owner"))

    for client in (signed_in, app.test_client()):
        for rule in rules:
            headers = client.get(path_of(rule, THERE)).headers
            assert "Cookie" in headers["Vary"], rule
            assert {"private", "no-store"} & set(headers["Cache-Control"].split(", ")), rule
            assert headers["X-Content-Type-Options"] == "nosniff", rule
            assert "Access-Control-Allow-Origin" not in headers, rule
    for rule in rules:
        headers = signed_in.get(path_of(rule, THERE)).headers
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", rule


@pytest.mark.parametrize("asker", ["anonymous", "stranger"])
def test_head_tells_nobody_more_than_get(app, place, token_of, asker):
    headers = bearer(token_of(asker, ANY))
    client = app.test_client()

    def answers(method):
        found = {}
        for asked, rule in ROUTES:
            if asked == "GET":
                answer = client.open(path_of(rule, THERE), method=method, headers=headers)
                found[rule] = answer.status_code, answer.headers.get("ETag")
        return found

    assert answers("HEAD") == answers("GET")


def without_words(answer) -> str:
    """Without the number that was asked for, and without the words of forms."""
    text = re.sub(r'name="csrf" value="\w+"', "", answer.text)
    return re.sub(rf"\b({THERE}|{ABSENT})\b", "N", text)


# --- fields of GraphQL ----------------------------------------------------------------------------

# How each field of Query and Mutation is asked, and what it says to a stranger who has all grants:
# `their own`, or one of the codes, or `null`, which is what is said of something that is not there.
OWN = "their own"
FIELDS = {
    "Query.version": ("", OWN),
    "Query.me": ("", OWN),
    "Query.userByID": ("id: 1", OWN),
    "Query.userByName": ('username: "owner"', OWN),
    "Query.user": ('username: "owner"', OWN),
    "Query.jobs": ("", OWN),
    "Query.job": ("id: 1", None),
    "Query.jobGroup": ("id: 1", None),
    "Query.secrets": ("", OWN),
    "Query.userWebhooks": ("", OWN),
    "Query.userWebhook": ("id: 1", None),
    # Nobody may ask for it here: only the query of a webhook has one.
    "Query.webhook": ("", "BAD_INPUT"),
    "Query.personalAccessTokens": ("", OWN),
    "Query.sshKeyByFingerprint": (f'fingerprint: "{FINGERPRINT}"', OWN),
    "Query.lint": ('manifest: ""', OWN),
    # Neither of them administers the service.
    "Query.runners": ("", "FORBIDDEN"),
    "Mutation.enrolRunner": ('name: "host-9"', "FORBIDDEN"),
    "Mutation.moveRunner": ('name: "host-1", state: DRAINING', "FORBIDDEN"),
    "Mutation.pruneRunners": ("", "FORBIDDEN"),
    "Mutation.submit": ('manifest: "image: debian\\nshell: true\\n"', OWN),
    "Mutation.resubmit": ("jobId: 1", "NOT_FOUND"),
    "Mutation.start": ("jobID: 1", "NOT_FOUND"),
    "Mutation.cancel": ("jobId: 1", "NOT_FOUND"),
    "Mutation.update": ("jobId: 1, visibility: PUBLIC", "NOT_FOUND"),
    "Mutation.pin": ("jobId: 1", "NOT_FOUND"),
    "Mutation.createGroup": ("jobIds: [1]", "BAD_INPUT"),
    "Mutation.startGroup": ("groupId: 1", "NOT_FOUND"),
    "Mutation.shareSecret": (f'uuid: "{KEPT}", user: "stranger"', "NOT_FOUND"),
    "Mutation.createSecret": (
        'secret: {type: FILE, material: "x", path: "/home/build/x"}',
        OWN,
    ),
    "Mutation.deleteSecret": (f'uuid: "{KEPT}"', "NOT_FOUND"),
    "Mutation.createUserWebhook": (
        f'config: {{url: "https://example.org", events: [JOB_CREATED], query: "{WEBHOOK_QUERY}"}}',
        OWN,
    ),
    "Mutation.deleteUserWebhook": ("id: 1", "NOT_FOUND"),
    "Mutation.createSSHKey": (f'key: "{OTHER_KEY}"', OWN),
    "Mutation.deleteSSHKey": ("id: 1", "NOT_FOUND"),
    "Mutation.revokePersonalAccessToken": ("id: 1", "NOT_FOUND"),
}
REFUSED_TO_OWNERS = {
    "Query.webhook": "BAD_INPUT",
    # It is not over.
    "Mutation.pin": "CONFLICT",
    **dict.fromkeys(
        [
            "Query.runners",
            *(f"Mutation.{name}" for name in ("enrolRunner", "moveRunner", "pruneRunners")),
        ],
        "FORBIDDEN",
    ),
    # By then the key is the stranger's.
    "Mutation.createSSHKey": "BAD_INPUT",
}
# Those that any token may ask for.
FREE = {"Query.version", "Query.webhook"}
ROOTS = {"Query": SCHEMA.query_type, "Mutation": SCHEMA.mutation_type}


def grant_of(field: str) -> str | None:
    """What the schema says that a field needs."""
    kind, name = field.split(".")
    for directive in SCHEMA.get_type(kind).fields[name].ast_node.directives or ():
        if directive.name.value == "access":
            return ":".join(argument.value.value for argument in directive.arguments)
    return None


def query_for(field: str) -> str:
    kind, name = field.split(".")
    arguments = FIELDS[field][0]
    asked = f"{name}({arguments})" if arguments else name
    return f"{kind.lower()} {{ {asked} {{ __typename }} }}"


@pytest.fixture
def ask_graphql(app, place):
    def ask(text: str | None, query: str):
        answer = app.test_client().post("/query", json={"query": query}, headers=bearer(text))
        return answer.status_code, answer.json

    return ask


def outcome(response: dict[str, Any], field: str) -> str | None:
    """In the words of the table."""
    if "errors" in response:
        return response["errors"][0]["extensions"]["code"]
    return None if response["data"][field.split(".")[1]] is None else OWN


def test_every_field_is_in_the_table_and_nothing_else():
    found = {f"{kind}.{name}" for kind, root in ROOTS.items() for name in root.fields}
    assert found - FIELDS.keys() == set(), f"say in FIELDS of {WHERE} what a stranger is told"
    assert FIELDS.keys() - found == set(), f"these are gone: take them out of FIELDS of {WHERE}"
    assert {field for field in found if grant_of(field) is None} == FREE


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_says_to_each_asker_what_the_table_has(ask_graphql, token_of, row_counts, field):
    query, needed = query_for(field), grant_of(field)
    before = row_counts()

    for asker in ("anonymous", "expired", "revoked"):
        status, response = ask_graphql(token_of(asker, ANY), query)
        assert (status, outcome(response, field)) == (401, "UNAUTHORIZED")
    if needed:
        status, response = ask_graphql(token_of("under_scoped", needed), query)
        assert (status, outcome(response, field)) == (200, "FORBIDDEN")
        assert needed in response["errors"][0]["message"]
    assert {**row_counts(), "token": before["token"]} == before

    status, response = ask_graphql(token_of("stranger", ANY), query)
    assert (status, outcome(response, field)) == (200, FIELDS[field][1])

    status, response = ask_graphql(token_of("owner", ANY), query)
    assert (status, outcome(response, field)) == (200, REFUSED_TO_OWNERS.get(field, OWN))


# What a token needs for fields of other types, wherever they are reached without that grant.
INNER = {
    "Job.owner": "{ job(id: 1) { owner { __typename } } }",
    "Job.log": "{ job(id: 1) { log { __typename } } }",
    "Job.secrets": "{ job(id: 1) { secrets { __typename } } }",
    "Task.log": "{ job(id: 1) { tasks { log { __typename } } } }",
    "JobGroup.owner": "{ jobGroup(id: 1) { owner { __typename } } }",
    "User.jobs": "{ me { jobs { __typename } } }",
}
# Whoever gets there has that grant already: what leads there needs the same.
BEHIND_THE_SAME = {"User.sshKeys", "User.pgpKeys", "PublicSSHKey.user", "PublicPGPKey.user"}


def test_every_guarded_field_of_an_object_is_in_the_table():
    guarded = {
        f"{kind}.{name}"
        for kind, node in SCHEMA.type_map.items()
        if isinstance(node, GraphQLObjectType) and kind not in (*ROOTS, "__Type")
        for name, field in node.fields.items()
        if field.ast_node and grant_of(f"{kind}.{name}")
    }
    assert guarded == INNER.keys() | BEHIND_THE_SAME, f"say in INNER of {WHERE} how it is asked"
    assert {grant_of(field) for field in BEHIND_THE_SAME} == {"PROFILE:RO"}


@pytest.mark.parametrize("field", INNER)
def test_a_guarded_field_is_closed_where_the_object_is_open(ask_graphql, token_of, field):
    needed = grant_of(field)

    _, response = ask_graphql(token_of("under_scoped", needed), INNER[field])

    assert [error["extensions"]["code"] for error in response["errors"]] == ["FORBIDDEN"] * len(
        response["errors"]
    )
    assert all(needed in error["message"] for error in response["errors"])
    assert "errors" not in ask_graphql(token_of("owner", ANY), INNER[field])[1]
