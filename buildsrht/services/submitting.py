"""How many jobs a user may submit in a time, by whatever way they do it themselves.

What forges report is counted by hook (buildsrht.services.hooks), and not here.
"""

from buildsrht.backend import Backend
from buildsrht.errors import TooMany
from buildsrht.models import User


def count(backend: Backend, user: User) -> None:
    """One submission more, before it is made. Raises TooMany."""
    rate = backend.config.limits.submissions
    count = backend.rates.count("submissions", rate, f"user {user.id}")
    if rate and count and count.is_exceeded:
        raise TooMany(
            f"more than {rate.amount} jobs submitted in {rate.seconds} seconds, which is the "
            "most for one user",
            count.seconds,
        )
