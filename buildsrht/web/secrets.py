"""What somebody keeps for their builds. What is in a secret comes in here and never goes out."""

from uuid import UUID

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht import materials
from buildsrht.errors import BadInput, BuildsError, Conflict, FieldError, NotFound
from buildsrht.models import SecretKind, User
from buildsrht.services import lists, secrets
from buildsrht.services.secrets import NewSecret
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms

routes = Blueprint("secrets", __name__)

KINDS = {
    SecretKind.SSH_KEY: "ssh key",
    SecretKind.PGP_KEY: "PGP key",
    SecretKind.FILE: "file",
}


@routes.get("/secrets")
def list_() -> ResponseReturnValue:
    return _page(browser.insist_on_user())


@routes.post("/secrets")
def create() -> ResponseReturnValue:
    user = browser.insist_on_user()
    try:
        secrets.create_secret(current_backend(), user.name, _read())
    except BadInput as bad:
        return _page(user, problems=bad.errors), 400
    browser.go("/secrets")


@routes.post("/secrets/<uuid:secret_uuid>/share")
def share(secret_uuid: UUID) -> ResponseReturnValue:
    user = browser.insist_on_user()
    receiver = forms.word("user").removeprefix("~")
    try:
        secrets.share_secret(current_backend(), user.name, secret_uuid, receiver)
    except NotFound as error:
        return _not_shared(user, error), 404
    except Conflict as error:
        return _not_shared(user, error), 400
    return _page(user, shared=receiver)


@routes.post("/secrets/<uuid:secret_uuid>/delete")
def delete(secret_uuid: UUID) -> ResponseReturnValue:
    secrets.delete_secret(current_backend(), browser.insist_on_user().name, secret_uuid)
    browser.go("/secrets")


def _read() -> NewSecret:
    """Raises BadInput for a kind that there is not, and for two materials."""
    kind = forms.word("kind")
    if kind not in set(SecretKind):
        raise BadInput([FieldError("kind", f"must be one of {', '.join(SecretKind)}")])
    is_file = kind == SecretKind.FILE
    return NewSecret(
        kind=SecretKind(kind),
        material=_material(),
        name=forms.word("name") or None,
        # The fields of a file are there whatever is added.
        path=(forms.word("path") or None) if is_file else None,
        mode=(forms.word("mode") or None) if is_file else None,
    )


def _material() -> bytes:
    typed, upload = forms.text("material"), request.files.get("upload")
    if not upload:
        return typed.encode()
    if typed:
        raise BadInput([FieldError("material", "and a file are the same in two ways: give one")])
    # One byte more than any may have, which says that it has too many.
    return upload.stream.read(materials.MOST_PGP_BYTES + 1)


def _not_shared(user: User, error: BuildsError) -> str:
    return _page(user, not_shared=str(error))


def _page(
    user: User,
    *,
    problems: tuple[FieldError, ...] = (),
    shared: str = "",
    not_shared: str = "",
) -> str:
    with current_backend().transaction() as session:
        page = forms.read_page(
            lambda start, count: lists.secrets_of(session, user, start, count),
        )
    return render_template(
        "secrets.html",
        page=page,
        kinds=KINDS,
        problems=problems,
        filled=request.form if problems else {},
        shared=shared,
        not_shared=not_shared,
    )
