"""What tests of GraphQL ask for: answers, without HTTP."""

from collections.abc import Callable
from typing import Any

import pytest

from buildsrht.backend import Backend
from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.models import User
from buildsrht.services.scopes import EVERYTHING


@pytest.fixture
def ask(backend: Backend, owner: User) -> Callable[..., dict[str, Any]]:
    """The response to a query: `ask("{ me { id } }", user=stranger, grants=["PROFILE:RO"])`."""

    def ask(
        query: str, *, user: User = owner, grants=tuple(EVERYTHING), **variables
    ) -> dict[str, Any]:
        return execute(backend, Asker(user, tuple(grants)), Request(query, variables))

    return ask


@pytest.fixture
def find(ask) -> Callable[..., Any]:
    """The data of a response that has no errors."""

    def find(query: str, **options) -> Any:
        response = ask(query, **options)
        assert "errors" not in response
        return response["data"]

    return find


@pytest.fixture
def fail(ask) -> Callable[..., dict[str, Any]]:
    """The only error of a response."""

    def fail(query: str, **options) -> dict[str, Any]:
        [error] = ask(query, **options)["errors"]
        return error

    return fail
