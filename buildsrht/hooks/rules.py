"""Who wants to be built, and what the job is called.

The words of a commit are a stranger's: they are looked for marks, and shown as text.
"""

import re
from fnmatch import fnmatchcase

from buildsrht.hooks import addresses
from buildsrht.hooks.event import Event
from buildsrht.hooks.fetching import Commit
from buildsrht.manifest import Manifest
from buildsrht.models import Forge, Hook
from buildsrht.services.jobs import TAG_CHARACTERS

SUBMITTERS = {
    Forge.GITHUB: "github",
    Forge.GITLAB: "gitlab",
    Forge.GITEA: "gitea",
    Forge.SOURCEHUT: "git.sr.ht",
}
SKIP_MARKS = ("[skip ci]", "[ci skip]", "[no ci]", "***no_ci***")
TITLE_CHARACTERS = 200

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# Control characters, line breaks, and what turns the order of others around.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


def asks_to_be_skipped(message: str) -> bool:
    return any(mark in message.lower() for mark in SKIP_MARKS)


def wants(manifest: Manifest, forge: Forge, ref: str) -> bool:
    """What its `submitter` says for this forge, or else for git.sr.ht, where manifests come from;
    without either it is built."""
    rules = manifest.submitter
    rule = rules.get(SUBMITTERS[forge]) or rules.get(SUBMITTERS[Forge.SOURCEHUT])
    if rule is None:
        return True
    if not rule.enabled:
        return False
    return rule.allow_refs is None or any(fnmatchcase(ref, each) for each in rule.allow_refs)


def variables(hook: Hook, event: Event, ref: str) -> dict[str, str]:
    found = {"BUILD_SUBMITTER": SUBMITTERS[hook.forge], "GIT_REF": ref}
    if hook.forge != Forge.SOURCEHUT:
        request = "mr" if hook.forge == Forge.GITLAB else "pr"
        found["BUILD_REASON"] = f"{hook.forge}-{request if event.request else 'commit'}"
    if event.request:
        found["PULL_REQUEST_ID"] = str(event.request)
        page = addresses.request_page(hook.forge, hook.repository, event.request)
        found["PULL_REQUEST_URL"] = page
    return found


def tags(hook: Hook, event: Event, ref: str, path: str) -> list[str]:
    """A path: repository, what it is, branch or number, manifest."""
    where = ["pulls", str(event.request)] if event.request else ["commits", ref.split("/", 2)[2]]
    return [_tag(word) for word in (addresses.name_of(hook.repository), *where, _base(path))]


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _tag(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:TAG_CHARACTERS]


def note(hook: Hook, event: Event, commit: Commit, notices: list[str]) -> str:
    """In Markdown: the commit, what it says, who wrote it, and what we changed."""
    page = addresses.commit_page(hook.forge, event.head or hook.repository, commit.id)
    title = commit.message.partition("\n")[0]
    lines = [f"[{commit.id[:12]}]({page}) {_as_text(title)}, by {_as_text(commit.author)}"]
    if event.request:
        request = addresses.request_page(hook.forge, hook.repository, event.request)
        lines.append(f"[Request {event.request}]({request}), built without secrets.")
    return "\n\n".join([*lines, *notices])


def _as_text(words: str) -> str:
    """Somebody's words as Markdown that shows nothing but them."""
    return _PUNCTUATION.sub(r"\\\1", _INVISIBLE.sub(" ", words)[:TITLE_CHARACTERS].strip())
