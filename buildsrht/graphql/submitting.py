"""Submitting a job: arguments become a submission, with all of their problems at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ariadne import MutationType

from buildsrht.errors import FieldError
from buildsrht.graphql.access import GrantMissing
from buildsrht.graphql.context import Context
from buildsrht.graphql.scalars import Upload
from buildsrht.models import Job, Visibility
from buildsrht.problems import Problems
from buildsrht.services import jobs as job_service
from buildsrht.services import submitting, trees
from buildsrht.services.jobs import BuildPlan, Submission
from buildsrht.services.scopes import may_use_secrets

mutation = MutationType()


@mutation.field("submit")
def submit(_: Any, info: Any, **arguments: Any) -> Job:
    context: Context = info.context
    problems = Problems()
    plan = problems.checked(
        arguments["manifest"],
        lambda text: job_service.read_manifest(context.backend.catalogue, text),
    )
    tags = problems.checked(arguments.get("tags"), _check_tags)
    note = problems.checked(arguments.get("note"), job_service.check_note)
    problems.note(_problems_of_tree(arguments))
    problems.insist()
    submitting.count(context.backend, context.viewer)
    assert plan, "what is wrong with a manifest was raised"
    with _kept_tree(context, arguments.get("tree"), arguments.get("treeDirectory")) as tree_id:
        submission = Submission(
            plan=plan,
            note=note or None,
            tags=tags or (),
            execute=arguments.get("execute") is not False,
            secrets=_wants_secrets(context, plan, arguments.get("secrets")),
            visibility=arguments.get("visibility") or Visibility.UNLISTED,
            grantable=context.asker.grants,
            tree_id=tree_id,
        )
        job = job_service.submit(context.backend, context.viewer, submission)
    return job_service.require_job(context.session, job.id, context.viewer)


def _check_tags(tags: list[str]) -> list[str]:
    """Clients that have none to give may give an empty one."""
    return list(job_service.check_tags([tag for tag in tags if tag], any_case=True))


def _problems_of_tree(arguments: dict[str, Any]) -> list[FieldError]:
    tree, directory = arguments.get("tree"), arguments.get("treeDirectory")
    if tree is not None and directory is None:
        return [FieldError("treeDirectory", "is needed with a tree")]
    if tree is None and directory is not None:
        return [FieldError("treeDirectory", "is for a tree only")]
    return []


def _wants_secrets(context: Context, plan: BuildPlan, wanted: bool | None) -> bool:
    may = may_use_secrets(context.asker.scopes)
    if wanted and not may:
        raise GrantMissing(
            "a token without SECRETS:RO cannot give secrets to a job", "SECRETS:RO", "secrets"
        )
    if wanted is None:
        return may and bool(plan.manifest.secrets or plan.manifest.oauth)
    return wanted


@contextmanager
def _kept_tree(
    context: Context, upload: Upload | None, directory: str | None
) -> Iterator[int | None]:
    """The id of the tree, which is forgotten again if the job is refused."""
    if upload is None or directory is None:
        yield None
        return
    tree = trees.keep_tree(context.backend, context.viewer, directory, upload.chunks())
    try:
        yield tree.id
    except BaseException:
        trees.discard_tree(context.backend, tree)
        raise


BINDABLES = [mutation]
