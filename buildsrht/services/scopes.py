"""What a token may be good for: four areas, and reading or writing in each.

Two families of words say so. Grants, such as `JOBS:RO`, are what counts, and what manifests and the
original's clients name; scopes, such as `jobs:read`, stand for one grant where something is guarded
by them, and for one or two where a token is made.
"""

import re
from collections.abc import Iterable

from buildsrht.errors import BadInput, FieldError
from buildsrht.manifest import Grant

AREAS = ("JOBS", "LOGS", "PROFILE", "SECRETS")
# What manifests call this service: as the original was called, and by its own name.
SERVICES = ("builds.sr.ht", "buildsrht")

# The grant that each word asks for.
NEEDED = {
    **{f"{area.lower()}:read": f"{area}:RO" for area in AREAS},
    **{f"{area.lower()}:write": f"{area}:RW" for area in AREAS},
    **{grant: grant for area in AREAS for grant in (f"{area}:RO", f"{area}:RW")},
}
SCOPES = tuple(NEEDED)
# Before there were grants, who might read jobs might read their logs.
WITH_LOGS = ("jobs:read", "jobs:write")
# Likewise who might submit jobs might have them use secrets.
WITH_SECRETS = "jobs:write"
EVERYTHING = frozenset(NEEDED.values())

# What clients of the original may write before a grant: its services that this one stands for, and
# the area that each of their areas is here.
FOREIGN = {
    **{f"{service}/{area}": area for service in SERVICES for area in AREAS},
    "meta.sr.ht/PROFILE": "PROFILE",
    "meta.sr.ht/SSH_KEYS": "PROFILE",
    "meta.sr.ht/PGP_KEYS": "PROFILE",
}
FOREIGN_GRANT = re.compile(r"([a-z.]+/[A-Z_]+):(RO|RW)")


def read_scopes(words: Iterable[str]) -> list[str]:
    """Each word as this service writes it: `builds.sr.ht/JOBS:RW` is `JOBS:RW`.

    Raises BadInput for each that stands for nothing here, and if there is none.
    """
    asked = sorted(set(words))
    known = {word: read for word in asked if (read := _read_scope(word))}
    problems = [
        FieldError("scopes", f"{word!r} is none of {', '.join(SCOPES)}")
        for word in asked
        if word not in known
    ]
    if not asked:
        problems.append(FieldError("scopes", f"needs at least one of {', '.join(SCOPES)}"))
    if problems:
        raise BadInput(problems)
    return sorted(set(known.values()))


def _read_scope(word: str) -> str | None:
    if word in NEEDED:
        return word
    foreign = FOREIGN_GRANT.fullmatch(word)
    area = FOREIGN.get(foreign[1]) if foreign else None
    return f"{area}:{foreign[2]}" if foreign and area else None


def is_within(asked: Iterable[str], held: Iterable[str]) -> bool:
    """Whether these words allow nothing that those do not."""
    asked, held = frozenset(asked), frozenset(held)
    return granted(asked) <= granted(held) and (may_use_secrets(held) or not may_use_secrets(asked))


def granted(scopes: Iterable[str]) -> frozenset[str]:
    """Every grant that a token with these words has. Whoever may write may read."""
    grants = set()
    for scope in scopes:
        grants |= {NEEDED[scope], NEEDED[scope].replace(":RW", ":RO")}
        if scope in WITH_LOGS:
            grants.add("LOGS:RO")
    return frozenset(grants)


def may_use_secrets(scopes: Iterable[str]) -> bool:
    """Whether jobs that are submitted with these words may have their owner's secrets.

    A job sees what is in them, so that is a way to read them.
    """
    scopes = frozenset(scopes)
    return WITH_SECRETS in scopes or "SECRETS:RO" in granted(scopes)


def read_grants(asked: Iterable[Grant]) -> frozenset[str]:
    """The grants that a manifest asks for. Raises BadInput for each that this service has not."""
    asked = tuple(asked)
    strange = [
        grant for grant in asked if grant.service not in SERVICES or grant.scope not in AREAS
    ]
    if strange:
        known = ", ".join(f"{SERVICES[0]}/{area}" for area in AREAS)
        raise BadInput(
            FieldError(
                "manifest",
                f"oauth: {grant.service}/{grant.scope} is none of {known}, each :RO or :RW",
            )
            for grant in strange
        )
    return frozenset(f"{grant.scope}:{grant.access}" for grant in asked)
