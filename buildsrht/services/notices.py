"""The notice that every page has on top, until an administrator ends it. There is one at a time.

Who sets or ends one says which one was there when they looked, so that of two administrators
neither takes away unseen what the other has just said.
"""

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, FieldError
from buildsrht.models import Notice, User
from buildsrht.services.administration import note, require_administrator

CHARACTERS = 2000
CHANGED = "somebody has changed the notice in the meantime: look at it again"


def find_notice(session: Session) -> Notice | None:
    """What pages say now."""
    return session.scalar(select(Notice).where(Notice.ended.is_(None)))


def set_notice(backend: Backend, author: User, text: str, before: int | None) -> Notice:
    """Have pages say this, in place of the notice `before`, or of none. Raises BadInput for what
    is no text, and Conflict if they say something else by now."""
    require_administrator(author)
    text = _check(text)
    try:
        with backend.transaction() as session:
            if before is not None:
                _end(session, before)
            notice = Notice(author_id=author.id, text=text)
            session.add(notice)
            session.flush()
            session.refresh(notice)
    except IntegrityError as error:
        if "notice_shown" not in str(error.orig):
            raise
        raise Conflict(CHANGED) from error
    note(author, f"set notice {notice.id}")
    return notice


def end_notice(backend: Backend, author: User, notice_id: int) -> None:
    """Have pages say nothing. Raises Conflict if they say something else by now, or nothing."""
    require_administrator(author)
    with backend.transaction() as session:
        _end(session, notice_id)
    note(author, f"ended notice {notice_id}")


def _check(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    if not 0 < len(text) <= CHARACTERS or not text.replace("\n", "").isprintable():
        rule = f"must be 1 to {CHARACTERS} printable characters, and may have line breaks"
        raise BadInput([FieldError("text", rule)])
    return text


def _end(session: Session, notice_id: int) -> None:
    ended = session.execute(
        update(Notice)
        .where(Notice.id == notice_id, Notice.ended.is_(None))
        .values(ended=func.now())
        .execution_options(synchronize_session=False)
        .returning(Notice.id)
    )
    if ended.first() is None:
        raise Conflict(CHANGED)
