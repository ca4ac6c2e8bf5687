"""Turn the text that a stranger submitted into a `Manifest`, or into every reason why not.

`parse()` is pure and quick: it reads no file, asks nobody, and is done with hostile text well
within a second. What it returns is complete, checked and frozen; what it refuses, it refuses
with all problems at once, each with its line and column.

Refuses to know whether an image exists here, what a secret's name stands for, and how a shell
spells a variable. Keys that it does not know are ignored, so that manifests written for another
version of the service still run.

    problems    what is wrong, and where
    document    YAML to nodes that know their place, safely
    value       what all keys have in common: strings, lists, mappings, records
    texts       rules about one string
    sources     the grammar of one source
    rules       which key takes what
    model       what comes out
"""

from buildsrht.errors import BadInput, FieldError
from buildsrht.manifest.document import read_document
from buildsrht.manifest.model import Grant, Manifest, Source, Submitter, Task, Trigger
from buildsrht.manifest.problems import ManifestError, Problem, Refused, Report
from buildsrht.manifest.rules import Further, read_manifest, read_triggers
from buildsrht.manifest.sources import clone_path, inside_home
from buildsrht.manifest.value import Value

__all__ = [
    "MAX_CHARACTERS",
    "Further",
    "Grant",
    "Manifest",
    "ManifestError",
    "Problem",
    "Source",
    "Submitter",
    "Task",
    "Trigger",
    "clone_path",
    "inside_home",
    "parse",
    "parse_triggers",
]

MAX_CHARACTERS = 16_383


def parse(text: str, further: Further | None = None) -> Manifest:
    """Return the manifest that `text` holds, or raise ManifestError with all of its problems.

    `further` has more to say of it than this package knows: given the values that could be read, it
    returns those keys whose value will not do, with the reason.
    """
    report = Report()
    try:
        _refuse_long(text, report)
        return read_manifest(Value("", read_document(text, report), report), further)
    except Refused:
        raise ManifestError(report.in_document_order()) from None


def parse_triggers(text: str) -> tuple[Trigger, ...]:
    """Return the triggers that `text` holds, a list as under `triggers` in a manifest.

    Raises BadInput with all problems, without their lines: such a list comes from a program.
    """
    report = Report()
    try:
        _refuse_long(text, report)
        return read_triggers(Value("", read_document(text, report), report))
    except Refused:
        raise BadInput(
            FieldError("triggers", f"{problem.path} {problem.reason}".lstrip())
            for problem in report.in_document_order()
        ) from None


def _refuse_long(text: str, report: Report) -> None:
    if len(text) > MAX_CHARACTERS:
        said = f"must be under {MAX_CHARACTERS + 1:,} characters, not {len(text):,}"
        report.refuse("", None, said)
