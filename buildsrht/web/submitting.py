"""To submit a job: a new one, or another one once more, as it was or edited."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple, NoReturn

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput, FieldError
from buildsrht.manifest import Problem
from buildsrht.models import Job, User, Visibility
from buildsrht.problems import Problems
from buildsrht.services import jobs, submitting
from buildsrht.services.jobs import Submission
from buildsrht.services.scopes import EVERYTHING
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms

routes = Blueprint("submitting", __name__)

# What a form sends to say that the job shall wait.
LATER = "later"
# How much of a line is shown around the place of a problem.
BEFORE_CHARACTERS = 40
AFTER_CHARACTERS = 80
# What services call the key of a request; people see no such field.
KEY_FIELD = "Idempotency-Key"


@dataclass(frozen=True)
class Filled:
    """What the form has in it. `tags` are a path, and `key` makes two clicks one job."""

    manifest: str = ""
    note: str = ""
    tags: str = ""
    visibility: str = Visibility.UNLISTED
    secrets: bool = True
    key: str = field(default_factory=forms.new_key)


class Fault(NamedTuple):
    """A problem of the manifest, and the text around the place where it is."""

    problem: Problem
    before: str
    at: str
    after: str


# --- a new one --------------------------------------------------------------------------------


@routes.get("/submit")
def form() -> ResponseReturnValue:
    """Whoever made the link may be a stranger: what it fills in gets secrets only if its reader
    says so."""
    browser.insist_on_user()
    if not request.args:
        return _page(Filled())
    visibility = forms.linked("visibility")
    filled = Filled(
        manifest=forms.linked("manifest"),
        note=forms.linked("note"),
        tags=forms.linked("tags"),
        visibility=visibility if visibility in set(Visibility) else Visibility.UNLISTED,
        secrets=False,
    )
    return _page(filled, by_link=True)


@routes.post("/submit")
def submit() -> ResponseReturnValue:
    return _submit(browser.insist_on_user())


@routes.post("/submit/check")
def check() -> ResponseReturnValue:
    """What is wrong with a manifest that is being typed, for the script of the page."""
    browser.insist_on_user()
    found = jobs.lint(current_backend().catalogue, forms.text("manifest"))
    return {
        "problems": [
            {
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "reason": problem.reason,
            }
            for problem in found
        ]
    }


# --- once more --------------------------------------------------------------------------------


@routes.get("/resubmit/<int:job_id>")
def again(job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    original = _original(user, job_id)
    return _page(_like(original, user), original=original)


@routes.post("/resubmit/<int:job_id>")
def submit_edited(job_id: int) -> ResponseReturnValue:
    """A job like another one, with what the form says; one's own tree comes along."""
    user = browser.insist_on_user()
    return _submit(user, _original(user, job_id))


@routes.post("/resubmit/<int:job_id>/as-it-is")
def submit_as_it_is(job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    original = _original(user, job_id)
    key = forms.word("key")
    submitting.count(current_backend(), user)
    try:
        job = jobs.resubmit(
            current_backend(),
            user,
            job_id,
            execute=_starts(),
            may_use_secrets=True,
            grantable=EVERYTHING,
            idempotency_key=jobs.check_idempotency_key(key) if key else None,
        )
    except BadInput as bad:
        problems = tuple(map(_for_people, bad.errors))
        return _page(_like(original, user), original=original, problems=problems), 400
    _go_to(user, job)


def _original(user: User, job_id: int) -> Job:
    with current_backend().transaction() as session:
        return jobs.require_job(session, job_id, user)


def _like(original: Job, user: User) -> Filled:
    """Secrets were its owner's to give."""
    return Filled(
        manifest=original.manifest,
        note=original.note or "",
        tags="/".join(original.tags),
        visibility=original.visibility,
        secrets=original.secrets and original.owner_id == user.id,
    )


# --- both -------------------------------------------------------------------------------------


def _submit(user: User, original: Job | None = None) -> ResponseReturnValue:
    filled = _typed()
    tree_id = original.tree_id if original and original.owner_id == user.id else None
    try:
        submission = _read(filled, tree_id)
        submitting.count(current_backend(), user)
        job = jobs.submit(current_backend(), user, submission)
    except BadInput as bad:
        problems = tuple(map(_for_people, bad.errors))
        if problems != bad.errors:
            filled = replace(filled, key=forms.new_key())
        return _page(filled, original=original, problems=problems), 400
    _go_to(user, job)


def _typed() -> Filled:
    return Filled(
        manifest=forms.text("manifest"),
        note=forms.text("note"),
        tags=forms.word("tags"),
        visibility=forms.word("visibility"),
        secrets="secrets" in request.form,
        key=forms.word("key"),
    )


def _starts() -> bool:
    return forms.word("start") != LATER


def _read(filled: Filled, tree_id: int | None) -> Submission:
    """Raises BadInput with every problem."""
    catalogue, problems = current_backend().catalogue, Problems()
    plan = problems.checked(filled.manifest, lambda text: jobs.read_manifest(catalogue, text))
    note = problems.checked(filled.note, jobs.check_note)
    tags = problems.checked(
        forms.tag_path(filled.tags), lambda tags: jobs.check_tags(tags, any_case=True)
    )
    visibility = problems.checked(filled.visibility, jobs.check_visibility)
    key = problems.checked(filled.key or None, jobs.check_idempotency_key)
    problems.insist()
    assert plan, "what is wrong with a manifest was raised"
    assert visibility, "what is wrong with a visibility was raised"
    return Submission(
        plan=plan,
        note=note or None,
        tags=tags or (),
        execute=_starts(),
        secrets=filled.secrets,
        visibility=visibility,
        idempotency_key=key,
        tree_id=tree_id,
    )


def _for_people(problem: FieldError) -> FieldError:
    """Of a form that was sent, changed and sent again, only the key is in the way."""
    if problem.field != KEY_FIELD:
        return problem
    return FieldError(None, f"This form {problem.reason}. Send it again, and it makes another one.")


def _go_to(user: User, job: Job) -> NoReturn:
    browser.go(f"/{user.canonical_name}/job/{job.id}")


def _page(
    filled: Filled,
    *,
    original: Job | None = None,
    by_link: bool = False,
    problems: tuple[FieldError, ...] = (),
) -> str:
    return render_template(
        "submit.html",
        filled=filled,
        original=original,
        by_link=by_link,
        problems=problems,
        faults=_faults(filled.manifest) if problems else (),
        later=LATER,
        new_key=forms.new_key,
    )


def _faults(manifest: str) -> list[Fault]:
    lines = manifest.split("\n")
    return [
        _fault(problem, lines[problem.line - 1 : problem.line] if problem.line else [])
        for problem in jobs.lint(current_backend().catalogue, manifest)
    ]


def _fault(problem: Problem, lines: list[str]) -> Fault:
    line, at = "".join(lines), (problem.column or 1) - 1
    return Fault(
        problem,
        before=line[max(0, at - BEFORE_CHARACTERS) : at],
        at=line[at : at + 1],
        after=line[at + 1 : at + AFTER_CHARACTERS],
    )
