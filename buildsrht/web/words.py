"""What a token or a program with some scopes may do, for the person who has to decide."""

from collections.abc import Iterable

from buildsrht.services.scopes import granted, may_use_secrets

ALLOWED = {
    "JOBS:RO": "see your jobs, private ones too: manifests, notes and what they left behind",
    "JOBS:RW": "submit, start, cancel and change jobs in your name",
    "LOGS:RO": "read the logs of your jobs",
    "PROFILE:RO": "see who you are: name, email address, public keys, the list of your tokens",
    "PROFILE:RW": "change who gets in: add and remove your public keys, revoke your tokens",
    "SECRETS:RO": "see the names of your secrets",
    "SECRETS:RW": "add, share and delete your secrets",
}
WITH_SECRETS = "give your secrets to jobs that it submits, and so read them"


def in_words(scopes: Iterable[str]) -> list[str]:
    """Sentences without a subject, in the order of the areas."""
    scopes = tuple(scopes)
    grants = granted(scopes)
    said = [words for grant, words in ALLOWED.items() if grant in grants]
    return [*said, WITH_SECRETS] if may_use_secrets(scopes) and "JOBS:RW" in grants else said
