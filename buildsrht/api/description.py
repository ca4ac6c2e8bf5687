"""`GET /api/openapi.json`: what this service answers over HTTP, as an OpenAPI 3.1 document.

Routes for programs are here, pages for people are not. A test holds the document to the routes of
the application, both ways, and others hold the answers to it. `schemas` has the objects.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from buildsrht.api.log_lines import LINES as LINES_AT_ONCE
from buildsrht.api.schemas import (
    COMPONENTS,
    EVENT_ID,
    ID,
    KEY,
    SOUGHT,
    TEXT,
    Schema,
    described,
    reference,
)
from buildsrht.serving import current_backend

routes = Blueprint("description", __name__)

JSON = "application/json"
PLAIN = "text/plain"
EVENTS = "text/event-stream"
BYTES = "application/octet-stream"
FILES = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"
TOKEN = "token"
CLIENT = "client"
# In place of a scope: any token that is good.
ANY = "any"

# Why a request is refused, in words that hold for every operation.
REFUSALS = {
    400: "The request is wrong, or comes at the wrong time. Nothing was changed.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "A good token that lacks a scope, or somebody else's object.",
    404: "No such thing, or none that you may see: the two are answered alike.",
    410: "It was kept for its time, and then removed.",
    413: "The body is larger than the operator allows.",
    415: "The body is declared as something that is not taken here.",
    416: "The range begins behind the end.",
    429: "More requests than one client may make. `Retry-After` says when to come again.",
    503: "Database, queue or storage does not answer. `Retry-After` says when to try again.",
}

Operation = dict[str, Any]


@routes.get("/api/openapi.json")
def show() -> ResponseReturnValue:
    return describe(current_backend().config.web.origin)


def describe(origin: str) -> dict[str, Any]:
    """The document of a service whose users find it at `origin`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "buildsrht",
            "summary": "A CI job queue: every job runs in a fresh virtual machine.",
            "version": version("buildsrht"),
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": origin}],
        "paths": PATHS,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {
                TOKEN: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: token ...` means the same.",
                },
                CLIENT: {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The `client_id` of a program and its secret, if it has one; "
                    "both may be in the form instead.",
                },
            },
        },
    }


# --- operations -----------------------------------------------------------------------------------


def _operation(
    name: str,
    summary: str,
    answers: Mapping[int, Operation],
    *,
    scope: str | None = None,
    anonymous: bool = False,
    parameters: Sequence[Schema] = (),
    body: Mapping[str, Schema] | None = None,
    refusals: Sequence[int] = (),
    refused: str = "Errors",
    counted: bool = True,
) -> Operation:
    """One operation. With `anonymous` it needs no token, but takes one that has `scope`; forms are
    those of OAuth clients, which need no secret then. Unless it is `counted`, a client may ask for
    it as often as it likes."""
    statuses = {*refusals, *_refusals_of(scope), *_refusals_of_body(body or {})}
    if counted and 429 not in answers:
        statuses.add(429)
    operation = {
        "operationId": name,
        "summary": summary,
        "security": _security(scope, anonymous, is_form=FORM in (body or {})),
        "parameters": list(parameters),
        "responses": {
            **{str(status): answer for status, answer in answers.items()},
            **{str(status): _refusal(status, refused) for status in sorted(statuses)},
        },
    }
    if body:
        operation["requestBody"] = {"required": True, "content": _content(body)}
    return operation


def _refusals_of(scope: str | None) -> tuple[int, ...]:
    if scope is None:
        return ()
    return (401,) if scope == ANY else (401, 403)


def _refusals_of_body(body: Mapping[str, Schema]) -> tuple[int, ...]:
    if JSON in body:
        return 400, 413, 415
    return (413,) if body else ()


def _security(scope: str | None, anonymous: bool, is_form: bool) -> list[dict[str, list[str]]]:
    """Each of these will do; an empty one is no proof at all."""
    if is_form:
        proof: dict[str, list[str]] = {CLIENT: []}
    elif scope is None:
        return [{}]
    else:
        proof = {TOKEN: [] if scope == ANY else [scope]}
    return [{}, proof] if anonymous else [proof]


def _content(types: Mapping[str, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in types.items()}


def _answer(
    description: str, schema: Schema, media_type: str = JSON, **headers: Schema
) -> Operation:
    answer: Operation = {"description": description, "content": _content({media_type: schema})}
    if headers:
        answer["headers"] = {
            name.replace("_", "-"): {"schema": schema} for name, schema in headers.items()
        }
    return answer


def _refusal(status: int, shape: str, description: str | None = None) -> Operation:
    answer = _answer(description or REFUSALS[status], reference(shape))
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return answer


def _path_parameter(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _header(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _query_parameter(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


JOB_ID = _path_parameter("job_id", ID)
GROUP_ID = _path_parameter("group_id", ID)
START = _query_parameter(
    "start",
    {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    "`next` of the page before",
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key", KEY, "the same key with the same request makes no second job"
)
LAST_EVENT_ID = _query_parameter(
    "last_event_id",
    EVENT_ID,
    "the `id` of the last event that is known: only what comes after it is told",
)
TEXT_OF_LOGS = _query_parameter(
    "text", {"enum": ["yes", "no"]}, "`no` leaves what logs say out of their events"
)
LINES = {200: _answer("The lines.", reference("Lines"))}
COMMANDS = {200: _answer("The first of them.", reference("Commands"))}
WHICH_LINES = (
    _query_parameter(
        "from",
        {"type": "integer", "minimum": -LINES_AT_ONCE, "maximum": 2**53},
        "the first line; -5 for the last five",
    ),
    _query_parameter(
        "count", {"type": "integer", "minimum": 1, "maximum": LINES_AT_ONCE}, "how many"
    ),
)
WHAT_IS_SOUGHT = (
    _query_parameter("q", SOUGHT, "the text; in any case, if it has no upper case"),
    _query_parameter("errors", {"enum": ["1"]}, "in place of a text: the first error"),
)
DONE = {200: _answer("It was done.", reference("Nothing"))}
JOB = {200: _answer("The job.", reference("Job"))}
GROUP = {200: _answer("The group.", reference("Group"))}


def _file(media_type: str) -> dict[int, Operation]:
    """Bytes, whole or in part. HEAD is answered alike, without them."""
    content: Schema = {} if media_type == BYTES else {"type": "string"}
    tag: Schema = {"type": "string", "description": "only of what is complete"}
    return {
        200: _answer("All of it.", content, media_type, ETag=tag, Accept_Ranges={"const": "bytes"}),
        206: _answer(
            "A part of it; none, where nothing has come yet.",
            content,
            media_type,
            Content_Range={"type": "string"},
        ),
        304: {"description": "It is what `If-None-Match` names."},
    }


FILE_HEADERS = (
    _header("Range", {"type": "string"}, "`bytes=N-`, `bytes=N-M` or `bytes=-N`"),
    _header("If-None-Match", {"type": "string"}, "an `ETag`"),
    _header("If-Range", {"type": "string"}, "an `ETag`: all of it, if that is not it"),
)


def _form(needed: str, *others: str) -> dict[str, Schema]:
    """A form of an OAuth client."""
    names = (needed, *others, "client_id", "client_secret")
    return {
        FORM: {
            "type": "object",
            "required": [needed],
            "properties": {name: {"type": "string"} for name in names},
        }
    }


OAUTH_REFUSALS = {
    400: _answer("The request is wrong, or its code is.", reference("OAuthError")),
    401: _answer("The client did not prove who it is.", reference("OAuthError")),
    429: _refusal(429, "OAuthError"),
}


def _with_log_header(answers: dict[int, Operation]) -> dict[int, Operation]:
    complete = {"schema": {"enum": ["true", "false"]}}
    for status in (200, 206):
        answers[status]["headers"]["X-Log-Complete"] = complete
    return answers


# --- paths ----------------------------------------------------------------------------------------

PATHS: dict[str, dict[str, Operation]] = {
    "/api/jobs": {
        "get": _operation(
            "listJobs",
            "Your own jobs, newest first",
            {200: _answer("A page of jobs.", reference("JobPage"))},
            scope="jobs:read",
            parameters=[START],
            refusals=[400, 503],
        ),
        "post": _operation(
            "submitJob",
            "Submit a job",
            JOB,
            scope="jobs:write",
            parameters=[IDEMPOTENCY_KEY],
            body={JSON: reference("Submission")},
            refusals=[503],
        ),
    },
    "/api/jobs/{job_id}": {
        "get": _operation(
            "showJob",
            "One job",
            JOB,
            scope="jobs:read",
            parameters=[JOB_ID],
            refusals=[404, 503],
        ),
    },
    "/api/jobs/{job_id}/artifacts": {
        "get": _operation(
            "listArtifacts",
            "What a job has left behind, in the order of its manifest",
            {200: _answer("All of them, on one page.", reference("ArtifactPage"))},
            scope="jobs:read",
            parameters=[JOB_ID, START],
            refusals=[400, 404, 503],
        ),
    },
    "/api/jobs/{job_id}/events": {
        "get": _operation(
            "followJob",
            "What has happened to a job and what happens, as server-sent events, until its end",
            {
                200: _answer("The events, as they happen.", reference("Event"), EVENTS),
                204: {"description": "The job's end was the last event: there are no more."},
                503: _refusal(503, "Errors", "All streams are taken, or a server is away."),
            },
            scope="jobs:read",
            anonymous=True,
            parameters=[
                JOB_ID,
                LAST_EVENT_ID,
                _header("Last-Event-ID", EVENT_ID, "the same, and counts before it"),
                TEXT_OF_LOGS,
            ],
            refusals=[400, 404],
        ),
    },
    "/api/jobs/{job_id}/manifest": {
        "get": _operation(
            "showManifest",
            "A job's manifest, byte for byte as it was submitted",
            {200: _answer("The manifest.", {"type": "string"}, PLAIN)},
            scope="jobs:read",
            anonymous=True,
            parameters=[JOB_ID],
            refusals=[404, 503],
        ),
    },
    "/api/jobs/{job_id}/start": {
        "post": _operation(
            "startJob",
            "Queue a job that is pending",
            DONE,
            scope="jobs:write",
            parameters=[JOB_ID],
            refusals=[400, 404, 503],
        ),
    },
    "/api/jobs/{job_id}/cancel": {
        "post": _operation(
            "cancelJob",
            "End a job that is not over",
            DONE,
            scope="jobs:write",
            parameters=[JOB_ID],
            refusals=[400, 404, 503],
        ),
    },
    "/api/job-group": {
        "post": _operation(
            "createGroup",
            "Put pending jobs of yours into a group",
            GROUP,
            scope="jobs:write",
            body={JSON: reference("NewGroup")},
            refusals=[503],
        ),
    },
    "/api/job-group/{group_id}": {
        "get": _operation(
            "showGroup",
            "One group, and those of its jobs that you may find in it",
            GROUP,
            scope="jobs:read",
            parameters=[GROUP_ID],
            refusals=[404, 503],
        ),
    },
    "/api/job-group/{group_id}/start": {
        "post": _operation(
            "startGroup",
            "Start those jobs of a group that are pending",
            DONE,
            scope="jobs:write",
            parameters=[GROUP_ID],
            refusals=[400, 404, 503],
        ),
    },
    "/api/job-group/{group_id}/cancel": {
        "post": _operation(
            "cancelGroup",
            "Cancel those jobs of a group that are not over",
            DONE,
            scope="jobs:write",
            parameters=[GROUP_ID],
            refusals=[400, 404, 503],
        ),
    },
    "/query/log/{job_id}/log": {
        "get": _operation(
            "readSetupLog",
            "The log of all but the tasks, while it grows and ever after",
            _with_log_header(_file(PLAIN)),
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID, *FILE_HEADERS],
            refusals=[404, 410, 416, 503],
        ),
    },
    "/query/log/{job_id}/{task}/log": {
        "get": _operation(
            "readTaskLog",
            "The log of one task, while it grows and ever after",
            _with_log_header(_file(PLAIN)),
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID, _path_parameter("task", TEXT), *FILE_HEADERS],
            refusals=[404, 410, 416, 503],
        ),
    },
    "/query/log/{job_id}/lines": {
        "get": _operation(
            "readSetupLines",
            "Some lines of the setup log, to be shown",
            LINES,
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID, *WHICH_LINES],
            refusals=[400, 404, 410, 503],
        ),
    },
    "/query/log/{job_id}/{task}/lines": {
        "get": _operation(
            "readTaskLines",
            "Some lines of a task's log, to be shown",
            LINES,
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID, _path_parameter("task", TEXT), *WHICH_LINES],
            refusals=[400, 404, 410, 503],
        ),
    },
    "/query/log/{job_id}/commands": {
        "get": _operation(
            "findSetupCommands",
            "Which lines of the setup log show a command",
            COMMANDS,
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID],
            refusals=[404, 410, 503],
        ),
    },
    "/query/log/{job_id}/{task}/commands": {
        "get": _operation(
            "findTaskCommands",
            "Which lines of a task's log show a command",
            COMMANDS,
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID, _path_parameter("task", TEXT)],
            refusals=[404, 410, 503],
        ),
    },
    "/query/log/{job_id}/search": {
        "get": _operation(
            "searchLogs",
            "The lines of all logs of a job that contain a text",
            {200: _answer("The first of them.", reference("Matches"))},
            scope="logs:read",
            anonymous=True,
            parameters=[JOB_ID, *WHAT_IS_SOUGHT],
            refusals=[400, 404, 410, 503],
        ),
    },
    "/artifacts/{job_id}/{secret}/{name}": {
        "get": _operation(
            "downloadArtifact",
            "A file that a job has left behind, as a download",
            _file(BYTES),
            scope="jobs:read",
            anonymous=True,
            parameters=[
                JOB_ID,
                _path_parameter("secret", described(TEXT, "from the artifact's `url`")),
                _path_parameter("name", TEXT),
                *FILE_HEADERS,
            ],
            refusals=[404, 410, 416, 503],
        ),
    },
    "/query": {
        "post": _operation(
            "query",
            "GraphQL. What each field needs of the token is in the reference of the schema",
            {200: _answer("What was asked for, and what went wrong.", reference("GraphQLAnswer"))},
            scope=ANY,
            body={JSON: reference("GraphQLRequest"), FILES: reference("GraphQLUpload")},
            refusals=[503],
            refused="GraphQLAnswer",
        ),
    },
    "/hooks/{uuid}": {
        "post": _operation(
            "reportPush",
            "Where a forge reports pushes. Its signature takes the place of a token",
            {
                200: _answer("It will not be built.", reference("PushIgnored")),
                202: _answer("It will be built.", reference("PushAccepted")),
            },
            parameters=[_path_parameter("uuid", {"type": "string", "format": "uuid"})],
            body={JSON: {"type": "object"}},
            refusals=[401, 404, 503],
        ),
    },
    "/oauth2/access-token": {
        "post": _operation(
            "issueTokens",
            "Tokens for a code, for a device code or for a refresh token",
            {200: _answer("They are yours.", reference("Tokens")), **OAUTH_REFUSALS},
            anonymous=True,
            body=_form(
                "grant_type",
                *("code", "redirect_uri", "code_verifier"),
                *("device_code", "refresh_token", "scope"),
            ),
            refusals=[503],
        ),
    },
    "/oauth2/device-authorization": {
        "post": _operation(
            "beginDeviceFlow",
            "A code for a user to type into a page of this service",
            {
                200: _answer("Ask for tokens from now on.", reference("DeviceCode")),
                **OAUTH_REFUSALS,
            },
            anonymous=True,
            body=_form("scope"),
            refusals=[503],
        ),
    },
    "/oauth2/introspect": {
        "post": _operation(
            "introspectToken",
            "What a token of this client's is worth",
            {200: _answer("What is known.", reference("Introspection")), **OAUTH_REFUSALS},
            body=_form("token"),
            refusals=[503],
        ),
    },
    "/oauth2/revoke": {
        "post": _operation(
            "revokeToken",
            "Give a token of this client's back",
            {200: _answer("It is worth nothing.", reference("Nothing")), **OAUTH_REFUSALS},
            anonymous=True,
            body=_form("token"),
            refusals=[503],
        ),
    },
    "/.well-known/oauth-authorization-server": {
        "get": _operation(
            "describeAuthorization",
            "Where the authorization server has what",
            {200: _answer("The metadata.", reference("Metadata"))},
        ),
    },
    "/healthz": {
        "get": _operation(
            "ready",
            "Whether the database and the queue answer",
            {200: _answer("They do.", reference("Ready"))},
            refusals=[503],
            counted=False,
        ),
    },
    "/metrics": {
        "get": _operation(
            "metrics",
            "What Prometheus scrapes, for those whom the operator lets",
            {
                200: {
                    "description": "In the format that is asked for, text unless OpenMetrics is.",
                    "content": {
                        kind: {"schema": {"type": "string"}}
                        for kind in ("text/plain", "application/openmetrics-text")
                    },
                }
            },
            refusals=[403],
            counted=False,
        ),
    },
    "/health": {
        "get": _operation(
            "health",
            "Whether jobs are run, and every reason why not",
            {
                200: _answer("It is ok, or degraded.", reference("Health")),
                503: _answer("It is failing.", reference("Health")),
            },
            counted=False,
        ),
    },
    "/api/openapi.json": {
        "get": _operation(
            "describe",
            "This description",
            {200: _answer("An OpenAPI document.", {"type": "object", "required": ["openapi"]})},
        ),
    },
}
