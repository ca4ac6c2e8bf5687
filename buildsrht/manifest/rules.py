"""Which key takes what: the manifest format itself.

A rule refuses what could only fail later, on a build host and after minutes, and what could mean
something to a command, a mail server or a file system that its author did not say.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from posixpath import basename
from typing import Any

from buildsrht.manifest.document import ListNode, ScalarNode
from buildsrht.manifest.model import Grant, Manifest, Submitter, Task, Trigger
from buildsrht.manifest.problems import shown
from buildsrht.manifest.sources import clone_path, parse_source
from buildsrht.manifest.texts import (
    LONGEST_PATH,
    LONGEST_URL,
    line,
    matching,
    one_of,
    split_url,
    word,
)
from buildsrht.manifest.value import (
    Keys,
    Unique,
    Value,
    list_of,
    map_of,
    read_pair,
    read_record,
    string_of,
)

# More than anybody has a use for; fewer than would keep a build host or a mail server busy.
MOST_SECRETS = 64
MOST_LABELS = 8
MOST_TRIGGERS = 16
MOST_ADDRESSES = 16

_GRANT = re.compile(r"([a-z0-9][a-z0-9.-]*)/([A-Z][A-Z0-9_]*)(?::(RO|RW))?")


# Takes the values of the keys that could be read, and returns key and reason of each problem.
Further = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]


def read_manifest(root: Value, further: Further | None) -> Manifest:
    """Read the whole document, or raise Refused when anything in it is wrong."""
    if root.is_null:
        root.report.refuse("", None, "is empty")
    found = read_record(root, _MANIFEST)
    found["grants"] = _grants(found.get("oauth", ""))
    _note_missing_tasks(root, shell=found.get("shell", False))
    if further:
        members = root.members()
        for key, reason in further(found):
            members[key].note(reason)
    root.report.insist_on_none()
    return Manifest(**found)


def _note_missing_tasks(root: Value, shell: bool) -> None:
    tasks = root.members().get("tasks")
    if not shell and (tasks is None or tasks.is_empty_list):
        root.report.note("tasks", (tasks or root).node.place, "needed unless shell is true")


def read_triggers(root: Value) -> tuple[Trigger, ...]:
    """Read a list of triggers that is in no manifest, or raise Refused when anything is wrong."""
    triggers = _triggers(root)
    root.report.insist_on_none()
    return triggers


# Rules about one string.

_image = matching(
    r"[a-z0-9][a-z0-9._+-]*(/[a-z0-9][a-z0-9._+-]*)?",
    "must be like distro or distro/release, in lower case",
    longest=128,
)
_arch_name = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "is not an architecture", longest=64)
_label = matching(
    r"[a-z0-9][a-z0-9._+/-]*",
    "may use a-z, 0-9 and . _ + / - only, and begin with a letter or digit",
    longest=64,
)
_variable_name = matching(
    r"[A-Za-z_][A-Za-z0-9_]*",
    "may use letters, digits and _ only, and not begin with a digit",
    longest=255,
)
_task_name = matching(r"[a-z0-9_-]+", "may use a-z, 0-9, _ and - only", longest=128)


def _arch(text: str) -> str | None:
    return None if text == "default" else _arch_name(text)


def _package(text: str) -> str:
    return word(text, longest=255)


def _name(text: str) -> str:
    return line(text, longest=255)


def _repository(text: str) -> str:
    return line(text, longest=LONGEST_URL)


def _secret(text: str) -> str:
    return line(text, shortest=3, longest=512)  # a UUID is well within that


def _oauth(text: str) -> str:
    if not _grants(text):
        raise ValueError("must name a grant")
    return text


def _grants(text: str) -> tuple[Grant, ...]:
    if strange := [shown(grant) for grant in text.split() if not _GRANT.fullmatch(grant)]:
        raise ValueError(f"{', '.join(strange)} must be like git.sr.ht/REPOSITORIES:RO")
    return tuple(
        Grant(service, scope, access or "RO") for service, scope, access in _GRANT.findall(text)
    )


def _artifact(text: str) -> str:
    line(text, longest=LONGEST_PATH)
    if basename(text) in ("", ".", ".."):
        raise ValueError(f"{shown(text)} does not name a file")
    return text


def _header(text: str) -> str:
    return line(text, longest=998)  # RFC 5322, section 2.1.1


def _addresses(text: str) -> str:
    _header(text)
    # Each has one. To take them apart would take long if the text is hostile.
    if text.count("@") > MOST_ADDRESSES:
        raise ValueError(f"may name {MOST_ADDRESSES} addresses at most")
    return text


def _webhook_url(text: str) -> str:
    split_url(word(text, longest=LONGEST_URL), ("https", "http"))
    return text


# Rules about one value.


def _variable(value: Value) -> str | tuple[str, ...]:
    match value.node:
        case ScalarNode(kind="null"):
            return ""
        case ScalarNode(text=as_written):
            return as_written
        case ListNode():
            return list_of(Value.string)(value)
    value.refuse("must be a string, a number, a bool, null or a list of strings")


def _labels(value: Value) -> tuple[str, ...]:
    return tuple(sorted(set(list_of(string_of(_label), limit=MOST_LABELS)(value))))


def _task(value: Value) -> Task:
    entries = value.entries()
    if len(entries) != 1:
        value.refuse("must be one name and its script")
    [(name, script)] = entries
    return Task(*read_pair(name, script, string_of(_task_name), Value.string))


def _trigger(value: Value) -> Trigger:
    found = read_record(value, _TRIGGER)
    if "action" in found:
        found |= read_record(value, _ACTIONS[found["action"]])
    value.report.insist_on_none()
    return Trigger(**found)


def _submitter(value: Value) -> Submitter:
    if value.is_null:
        return Submitter()
    found = read_record(value, _SUBMITTER)
    return Submitter(found.get("enabled", True), found.get("allow-refs"))


# Which key takes what.

_TRIGGER = Keys(
    required={
        "action": string_of(one_of("email", "webhook")),
        "condition": string_of(one_of("always", "success", "failure")),
    },
)

_ACTIONS = {
    "email": Keys(
        required={"to": string_of(_addresses)},
        optional={"cc": string_of(_addresses), "in_reply_to": string_of(_header)},
    ),
    "webhook": Keys(required={"url": string_of(_webhook_url)}),
}

_SUBMITTER = Keys(
    optional={
        "enabled": Value.boolean,
        "allow-refs": list_of(string_of(_name)),
    },
)

_triggers = list_of(_trigger, limit=MOST_TRIGGERS)

_MANIFEST = Keys(
    required={"image": string_of(_image)},
    optional={
        "arch": string_of(_arch),
        "packages": list_of(string_of(_package)),
        "repositories": map_of(string_of(_name), string_of(_repository)),
        "sources": list_of(string_of(parse_source), unique=Unique("directory", clone_path)),
        "environment": map_of(string_of(_variable_name), _variable),
        "secrets": list_of(string_of(_secret), limit=MOST_SECRETS),
        "oauth": string_of(_oauth),
        "labels": _labels,
        "layers": Value.boolean,
        "shell": Value.boolean,
        "artifacts": list_of(string_of(_artifact), limit=8, unique=Unique("name", basename)),
        "tasks": list_of(_task, limit=256, unique=Unique("name", attrgetter("name"))),
        "triggers": _triggers,
        "submitter": map_of(string_of(_name), _submitter),
    },
)
