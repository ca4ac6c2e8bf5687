"""Passwords that cost nothing: what they cost is tested with the accounts."""

import pytest
from argon2 import PasswordHasher

from buildsrht.services import accounts


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch):
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "HASHER", hasher)
    monkeypatch.setattr(accounts, "NOBODYS", hasher.hash("the password of nobody"))
