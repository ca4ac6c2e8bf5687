"""The objects that the REST interface takes and gives, as JSON Schema (draft 2020-12).

Every limit, pattern and word is taken from the code that insists on it, so that the description
cannot say something else. What is answered has every key that is named here, always; it may get
more keys in later versions, so no schema is closed.
"""

from typing import Any

from buildsrht.api.log_lines import WANTED_CHARACTERS
from buildsrht.manifest import MAX_CHARACTERS
from buildsrht.manifest.rules import MOST_TRIGGERS
from buildsrht.models import Fault, JobStatus, TaskStatus, Visibility
from buildsrht.services.groups import MEMBERS
from buildsrht.services.jobs import (
    IDEMPOTENCY_KEY,
    NOTE_CHARACTERS,
    PAGE,
    TAG,
    TAG_CHARACTERS,
    TAGS,
)
from buildsrht.services.stream import CURSOR

Schema = dict[str, Any]

# What the database has room for. An id that is larger is one of nothing.
ID: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
TEXT: Schema = {"type": "string", "pattern": "^[^\\x00]*$"}
TIME: Schema = {"type": "string", "format": "date-time"}
URL: Schema = {"type": "string", "format": "uri"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
EVENT_ID: Schema = {"type": "string", "pattern": f"^{CURSOR.pattern}$"}
SOUGHT: Schema = {
    "type": "string",
    "pattern": "^[^\\n\\x00]+$",
    "minLength": 1,
    "maxLength": WANTED_CHARACTERS,
}
KEY: Schema = {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"}


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def optional(schema: Schema) -> Schema:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def answered(description: str, properties: dict[str, Schema]) -> Schema:
    """An object that has all of its properties in every answer."""
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": properties,
    }


def page_of(name: str) -> Schema:
    properties = {
        "next": described(optional(ID), "the id that the following page begins with"),
        "results": {"type": "array", "items": reference(name)},
        "results_per_page": {"const": PAGE},
        "total": {"type": "integer", "minimum": 0, "description": "on all pages"},
    }
    return answered("One page of a list.", properties)


_USER = answered(
    "Somebody who owns things.",
    {"canonical_name": described({"type": "string"}, "the name after a ~"), "name": TEXT},
)

_TASK = answered(
    "One script of a job.",
    {
        "name": {"type": "string"},
        "status": {"enum": list(TaskStatus)},
        "log": described(URL, "where its log is, from the start and for ever"),
    },
)

_JOB = answered(
    "A job, and how it is doing.",
    {
        "id": ID,
        "status": {"enum": list(JobStatus)},
        "setup_log": described(URL, "where the log of all but the tasks is"),
        "tasks": {"type": "array", "items": reference("Task")},
        "note": described(optional(TEXT), "what it is for, in Markdown"),
        "tags": described(optional({"type": "string"}), "the tags, joined by /"),
        "runner": described(optional({"type": "string"}), "the build host that has taken it"),
        "owner": reference("User"),
        "created": TIME,
        "updated": described(TIME, "when its status last changed"),
        "visibility": {"enum": list(Visibility)},
        "image": described({"type": "string"}, "aliases resolved"),
        "arch": {"type": "string"},
        "group": described(optional(ID), "the id of its group"),
        "attempt": {
            "type": "integer",
            "minimum": 0,
            "description": "how many build hosts have taken it",
        },
        "fault": described(
            {"enum": [*Fault, None]}, "whose fault it was that it failed, if it has"
        ),
    },
)

_ARTIFACT = answered(
    "A file that a job has left behind.",
    {
        "id": ID,
        "created": TIME,
        "path": described({"type": "string"}, "as in the manifest"),
        "name": described({"type": "string"}, "the last part of its path"),
        "url": described(URL, "where to download it"),
        "size": {"type": "integer", "minimum": 0, "description": "in bytes"},
        "sha256": SHA256,
        "expires": described(TIME, "until when it is kept"),
        "deleted": described(optional(TIME), "when it was removed"),
    },
)

_EVENT = answered(
    "Something that has happened to a job, as its stream tells it.",
    {
        "event": {"enum": ["status", "task", "log", "artifact", "end"]},
        "id": described(EVENT_ID, "to come back with: `Last-Event-ID`"),
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "an object: what depends on the event",
        },
    },
)

_GROUP = answered(
    "Jobs that are started and cancelled as one.",
    {
        "id": ID,
        "note": optional(TEXT),
        "owner": reference("User"),
        "created": TIME,
        "updated": TIME,
        "triggers": described(
            {"type": "array", "items": reference("Trigger")}, "empty, unless you are its owner"
        ),
        "jobs": {"type": "array", "items": reference("Job")},
    },
)

_TRIGGER = {
    "description": "Whom to tell when jobs are over, by the rules for a manifest's triggers.",
    "type": "object",
    "required": ["action", "condition"],
    "properties": {
        "action": {"enum": ["email", "webhook"]},
        "condition": {"enum": ["always", "success", "failure"]},
        "to": described({"type": "string"}, "addresses; needed for email"),
        "cc": {"type": "string"},
        "in_reply_to": {"type": "string"},
        "url": described({"type": "string"}, "needed for webhook"),
    },
}

_SUBMISSION = {
    "description": "What is to be built.",
    "type": "object",
    "required": ["manifest"],
    "properties": {
        "manifest": {
            **TEXT,
            "maxLength": MAX_CHARACTERS,
            "description": "YAML, as text",
        },
        "note": {
            **optional(TEXT),
            "maxLength": NOTE_CHARACTERS,
            "description": "what it is for, in Markdown",
        },
        "tags": {
            "type": ["array", "null"],
            "maxItems": TAGS,
            "items": {
                "type": "string",
                "pattern": f"^{TAG.pattern}$",
                "maxLength": TAG_CHARACTERS,
            },
            "description": "where it belongs, as a path",
        },
        "execute": {
            "type": ["boolean", "null"],
            "description": "false holds it back until it is started; true without",
        },
        "secrets": {
            "type": ["boolean", "null"],
            "description": "whether it may have its owner's secrets; without, if the token may",
        },
        "visibility": {
            "enum": [*Visibility, None],
            "description": f"who may see it; {Visibility.UNLISTED} without",
        },
    },
}

_NEW_GROUP = {
    "description": "Which pending jobs of yours are to be one group.",
    "type": "object",
    "required": ["jobs"],
    "properties": {
        "jobs": {
            "type": "array",
            "minItems": 1,
            "maxItems": MEMBERS,
            "uniqueItems": True,
            "items": ID,
        },
        "note": {**optional(TEXT), "maxLength": NOTE_CHARACTERS},
        "triggers": {
            "type": ["array", "null"],
            "maxItems": MOST_TRIGGERS,
            "items": reference("Trigger"),
        },
        "execute": {"type": ["boolean", "null"], "description": "start all of them; true without"},
    },
}

_ERRORS = answered(
    "Why the request was not done: every reason there is.",
    {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["reason"],
                "properties": {
                    "field": described({"type": "string"}, "absent if no single one is to blame"),
                    "reason": {"type": "string"},
                },
            },
        }
    },
)

_GRAPHQL_REQUEST = {
    "description": "A request, as GraphQL over HTTP has it.",
    "type": "object",
    "required": ["query"],
    "properties": {
        "query": {"type": "string"},
        "variables": {"type": ["object", "null"]},
        "operationName": {"type": ["string", "null"]},
    },
}

_GRAPHQL_UPLOAD = {
    "description": "A request with files, as the GraphQL multipart request specification has it.",
    "type": "object",
    "required": ["operations", "map"],
    "properties": {
        "operations": described({"type": "string"}, "a GraphQLRequest as JSON, null for each file"),
        "map": described({"type": "string"}, "where the file of each further part goes, as JSON"),
    },
}

_GRAPHQL_ANSWER = {
    "description": "A response, as the specification of GraphQL has it.",
    "type": "object",
    "properties": {
        "data": {"type": ["object", "null"]},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["message", "extensions"],
                "properties": {
                    "message": {"type": "string"},
                    "path": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "locations": {
                        "type": "array",
                        "items": answered(
                            "From 1.",
                            {
                                "line": {"type": "integer", "minimum": 1},
                                "column": {"type": "integer", "minimum": 1},
                            },
                        ),
                    },
                    "extensions": {
                        "type": "object",
                        "required": ["code"],
                        "properties": {
                            "code": described({"type": "string"}, "for programs"),
                            "field": described({"type": "string"}, "which argument is to blame"),
                        },
                    },
                },
            },
        },
    },
    "anyOf": [{"required": ["data"]}, {"required": ["errors"]}],
}

_OAUTH_ERROR = {
    "description": "Why the request was not done, as RFC 6749 has it.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": described({"type": "string"}, "a word for programs"),
        "error_description": {"type": "string"},
    },
}

_INTROSPECTION = {
    "description": "What a token is worth, as RFC 7662 has it.",
    "type": "object",
    "required": ["active"],
    "properties": {
        "active": described({"type": "boolean"}, "without it there is nothing else"),
        "client_id": {"type": "string"},
        "username": {"type": "string"},
        "sub": described({"type": "string"}, "the user's id"),
        "scope": {"type": "string"},
        "iss": URL,
        "iat": {"type": "integer"},
        "exp": {"type": "integer"},
    },
}

_METADATA = {
    "description": "Where things are and what this server can, as RFC 8414 has it.",
    "type": "object",
    "required": ["issuer", "authorization_endpoint", "token_endpoint"],
}

_LINE = answered(
    "A line of a log.",
    {
        "html": described({"type": "string"}, "text with `span` and `a` only, safe to show"),
        "time": described(
            {"type": ["integer", "null"]},
            "when its first byte was written, in Unix milliseconds; null for old logs",
        ),
        "command": described({"type": "boolean"}, "whether it shows a command that was run"),
    },
)
_MATCH = answered(
    "A line in which something was found.",
    {
        "task": described({"type": ["string", "null"]}, "null for the setup log"),
        "line": {"type": "integer", "minimum": 1},
        "html": {"type": "string"},
    },
)

COMPONENTS: dict[str, Schema] = {
    "Job": _JOB,
    "JobPage": page_of("Job"),
    "Task": _TASK,
    "User": _USER,
    "Submission": _SUBMISSION,
    "Artifact": _ARTIFACT,
    "ArtifactPage": page_of("Artifact"),
    "Event": _EVENT,
    "Lines": answered(
        "Some lines of a log.",
        {
            "first": described({"type": "integer", "minimum": 1}, "the number of the first"),
            "total": described({"type": "integer"}, "how many the log has now"),
            "size": described({"type": "integer"}, "how many bytes"),
            "complete": described({"type": "boolean"}, "whether it will never change again"),
            "lines": {"type": "array", "items": _LINE},
        },
    ),
    "Commands": answered(
        "Where a log shows commands that were run.",
        {
            "commands": {
                "type": "array",
                "items": described({"type": "integer", "minimum": 1}, "the number of a line"),
            },
            "more": described({"type": "boolean"}, "whether there are more than these"),
        },
    ),
    "Matches": answered(
        "What was found, in the order of the logs.",
        {
            "matches": {"type": "array", "items": _MATCH},
            "more": described({"type": "boolean"}, "whether there is more than this"),
        },
    ),
    "Group": _GROUP,
    "NewGroup": _NEW_GROUP,
    "Trigger": _TRIGGER,
    "GraphQLRequest": _GRAPHQL_REQUEST,
    "GraphQLUpload": _GRAPHQL_UPLOAD,
    "GraphQLAnswer": _GRAPHQL_ANSWER,
    "Tokens": answered(
        "What a program may use from now on.",
        {
            "token_type": {"const": "Bearer"},
            "access_token": {"type": "string"},
            "expires_in": described({"type": "integer"}, "in seconds"),
            "refresh_token": described({"type": "string"}, "good for one use"),
            "scope": {"type": "string"},
        },
    ),
    "DeviceCode": answered(
        "What a program shows to its user, and what it asks with, as RFC 8628 has it.",
        {
            "device_code": {"type": "string"},
            "user_code": {"type": "string"},
            "verification_uri": URL,
            "verification_uri_complete": URL,
            "expires_in": described({"type": "integer"}, "in seconds"),
            "interval": described({"type": "integer"}, "how long to wait between questions"),
        },
    ),
    "Introspection": _INTROSPECTION,
    "Metadata": _METADATA,
    "OAuthError": _OAUTH_ERROR,
    "Nothing": {"type": "object", "description": "It was done.", "maxProperties": 0},
    "Ready": answered("This service works.", {"status": {"const": "ok"}}),
    "Health": answered(
        "How this service is.",
        {
            "status": {"enum": ["ok", "degraded", "failing"]},
            "reasons": {"type": "array", "items": reference("HealthReason")},
        },
    ),
    "HealthReason": answered("Why it is not ok.", {"code": TEXT, "text": TEXT}),
    "PushAccepted": answered(
        "The push will be built.", {"status": {"const": "accepted"}, "push": ID}
    ),
    "PushIgnored": answered(
        "The push will not be built.",
        {"status": {"const": "ignored"}, "reason": {"type": "string"}},
    ),
    "Errors": _ERRORS,
}
