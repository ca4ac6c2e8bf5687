"""Working trees that are submitted with jobs, in place of a repository: kept, named by jobs, read
by their build hosts, and let go when their time is over.

A tree is its owner's: nobody else's job gets it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from posixpath import normpath
from uuid import uuid4

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from buildsrht.archives import problems_of
from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, Gone
from buildsrht.manifest import Manifest, clone_path, inside_home
from buildsrht.models import Job, Tree, User
from buildsrht.storage import Stored

# How much larger than compressed a tree may be.
UNPACKED_TIMES = 16
# How long a tree is kept that no job names: for the rest of the request that brings both.
UNNAMED = timedelta(hours=1)
EXPIRE_BATCH = 100
NOTHING = Stored(0, hashlib.sha256().digest())


def keep_tree(backend: Backend, owner: User, directory: str, chunks: Iterable[bytes]) -> Tree:
    """Stream a tar archive, compressed with gzip, into storage, for a submission to name.

    Raises BadInput, and then nothing is kept. An error in `chunks` passes through.
    """
    directory = _check_directory(directory)
    tree = _announce(backend, owner, directory)
    try:
        stored = backend.storage.put(
            storage_key(tree), _at_most(backend.config.limits.tree, chunks)
        )
        _check_archive(backend, tree, stored)
        with backend.transaction() as session:
            session.add(tree)
            tree.size, tree.sha256 = stored
    except BaseException:
        discard_tree(backend, tree)
        raise
    return tree


def _check_directory(directory: str) -> str:
    try:
        return normpath(inside_home(directory))
    except ValueError as unfit:
        raise BadInput([FieldError("treeDirectory", str(unfit))]) from None


def _announce(backend: Backend, owner: User, directory: str) -> Tree:
    """A row before the bytes, so that the janitor finds them if this process is killed."""
    tree = Tree(
        uuid=uuid4(),
        owner_id=owner.id,
        directory=directory,
        size=NOTHING.size,
        sha256=NOTHING.sha256,
        expires=datetime.now(UTC) + UNNAMED,
    )
    with backend.transaction() as session:
        session.add(tree)
    return tree


def _at_most(limit: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise BadInput([FieldError("tree", f"may have {limit:,} bytes, and has more")])
        yield chunk


def _check_archive(backend: Backend, tree: Tree, stored: Stored) -> None:
    content = backend.storage.read(storage_key(tree), 0, stored.size)
    problems = problems_of(content, UNPACKED_TIMES * backend.config.limits.tree)
    if problems:
        raise BadInput(FieldError("tree", problem) for problem in problems)


def discard_tree(backend: Backend, tree: Tree) -> None:
    """Forget a tree that no job names, as one whose submission failed."""
    with backend.transaction() as session:
        named = select(Job.id).where(Job.tree_id == tree.id).exists()
        found = session.scalar(select(Tree.id).where(Tree.id == tree.id, ~named).with_for_update())
        if found is not None:
            _delete_bytes(backend, tree)
            session.execute(delete(Tree).where(Tree.id == tree.id))


def name_tree(
    backend: Backend, session: Session, owner: User, tree_id: int, manifest: Manifest
) -> None:
    """Have a job of `owner`, which is being stored, name a tree, which is then kept for longer.

    Raises BadInput if it is gone or somebody else's, or if a source could not be cloned around it.
    """
    lifetime = timedelta(seconds=backend.config.storage.artifact_lifetime)
    named = session.execute(
        update(Tree)
        .where(Tree.id == tree_id, Tree.owner_id == owner.id, Tree.deleted.is_(None))
        .where(Tree.expires > func.now())
        .values(expires=func.now() + lifetime)
        .returning(Tree.directory)
        .execution_options(synchronize_session=False)
    ).first()
    if named is None:
        raise BadInput([FieldError("tree", "it is not kept any more")])
    for source in manifest.sources:
        if named.directory.startswith(f"{clone_path(source)}/"):
            reason = f"lies in {source.directory}, into which {source.url} is cloned"
            raise BadInput([FieldError("treeDirectory", reason)])


def let_go(session: Session, tree_id: int) -> None:
    """Have the time of a tree be over, if no job names it any more."""
    # Who names it right now is waited for, and then seen.
    session.execute(select(Tree.id).where(Tree.id == tree_id).with_for_update())
    named = select(Job.id).where(Job.tree_id == tree_id).exists()
    session.execute(
        update(Tree)
        .where(Tree.id == tree_id, ~named)
        .values(expires=func.now())
        .execution_options(synchronize_session=False)
    )


def read_tree(backend: Backend, tree: Tree) -> Iterator[bytes]:
    """The bytes of a tree. Raises Gone when its time is over."""
    try:
        if tree.deleted or tree.expires < datetime.now(UTC):
            raise FileNotFoundError
        return backend.storage.read(storage_key(tree), 0, tree.size)
    except FileNotFoundError:
        raise Gone(f"the tree was kept until {tree.expires:%Y-%m-%d}") from None


def expire_trees(backend: Backend) -> int:
    """Remove the bytes of trees whose time is over. Returns how many.

    The bytes go first, as in services.artifacts. What no job names goes altogether.
    """
    with backend.transaction() as session:
        expired = session.scalars(
            select(Tree)
            .where(Tree.deleted.is_(None), Tree.expires < func.now())
            .limit(EXPIRE_BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for tree in expired:
            _delete_bytes(backend, tree)
        ids = [tree.id for tree in expired]
        named = select(Job.id).where(Job.tree_id == Tree.id).exists()
        for statement in (
            delete(Tree).where(Tree.id.in_(ids), ~named),
            update(Tree).where(Tree.id.in_(ids)).values(deleted=func.now()),
        ):
            session.execute(statement.execution_options(synchronize_session=False))
    return len(expired)


def _delete_bytes(backend: Backend, tree: Tree) -> None:
    backend.storage.discard_unfinished(_home(tree))
    backend.storage.delete(storage_key(tree))


def storage_key(tree: Tree) -> str:
    return f"{_home(tree)}tree.tar.gz"


def _home(tree: Tree) -> str:
    return f"trees/{tree.uuid}/"
