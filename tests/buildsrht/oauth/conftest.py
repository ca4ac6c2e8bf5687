"""Programs that ask for leave."""

import pytest

from buildsrht.services import clients

REDIRECT_URI = "https://app.example.org/back"


@pytest.fixture
def register(backend, stranger):
    """A program of the stranger's, and its secret if it has one: `register(confidential=True)`."""

    def make(name="Dashboard", redirect_uris=(REDIRECT_URI,), **fields):
        return clients.register_client(
            backend, stranger, name=name, redirect_uris=redirect_uris, **fields
        )

    return make
