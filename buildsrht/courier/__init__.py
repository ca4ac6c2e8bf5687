"""The errands of `buildsrht courier`: what is told to others, and what others have reported.

The functions are RQ's entry points, named in buildsrht.queue; each runs in a process of its own
that ends with it.

    pool         the processes that take errands from the queues
    delivery     one attempt at a delivery, from its claim to its record
    reset        mail to somebody who has forgotten a password
    payload      what the webhook of a trigger says; for a user's own see buildsrht.graphql.answers
    webhook      say it over HTTP, signed
    letter       what an email says
    mail         hand it to a mail server
    addresses    which hosts may be asked for a user's sake
"""

from contextlib import closing

from buildsrht import config as settings
from buildsrht.backend import open_backend
from buildsrht.processes import die_with_parent, leave_no_core


def deliver(_delivery_id: int) -> None:
    """Attempt one delivery of the outbox: whose turn it is, which may be another than what was
    sent. There is an entry in the queue for each."""
    from buildsrht.courier import delivery

    die_with_parent()
    leave_no_core()
    with closing(open_backend(settings.load())) as backend:
        delivery.perform(backend)


def build_push(push_id: int) -> None:
    """Build what one push brought."""
    from buildsrht.hooks import building

    die_with_parent()
    leave_no_core()
    with closing(open_backend(settings.load())) as backend:
        building.perform(backend, push_id)


def mail_reset(user_id: int) -> None:
    """Send somebody a way back into their account. There is one attempt: whoever gets no mail asks
    for it again."""
    from buildsrht.courier import reset

    die_with_parent()
    leave_no_core()
    with closing(open_backend(settings.load())) as backend:
        reset.perform(backend, user_id)
