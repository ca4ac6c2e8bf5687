"""What a token may be good for: four areas, and reading or writing in each.

Two families of words say so. Grants, such as `JOBS:RO`, are what counts, and what manifests and the
original's clients name; scopes, such as `jobs:read`, stand for one grant where something is guarded
by them, and for one or two where a token is made.
"""

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
