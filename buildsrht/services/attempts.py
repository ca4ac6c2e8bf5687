"""How often somebody may try what can be guessed: passwords, and the short codes of devices.

Counted in Redis, before the attempt is looked at, so that many at once are not more than many one
after the other. Without Redis there are no attempts: what needs one fails, and whoever is signed in
or has a token is not concerned.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from buildsrht.backend import Backend
from buildsrht.errors import TooMany
from buildsrht.services.opaque import digest_of

# Whoever has one address of IPv6 has as a rule this many leading bits to themselves.
IPV6_NETWORK_BITS = 64


@dataclass(frozen=True)
class Limit:
    """So many attempts within so many seconds, for each of whatever it counts."""

    what: str
    attempts: int
    seconds: int


def count(backend: Backend, limit: Limit, of: str) -> None:
    """One attempt more, of this name, user or address. Raises TooMany."""
    key = f"attempts:{limit.what}:{digest_of(of).hex()}"
    with backend.redis.pipeline() as pipe:
        pipe.set(key, 0, ex=limit.seconds, nx=True)
        pipe.incr(key)
        pipe.ttl(key)
        _, attempts, left = pipe.execute()
    if attempts > limit.attempts:
        # Redis rounds the time to the nearest second.
        raise TooMany("too many attempts; try again later", seconds=max(left, 1))


def place(address: str | None) -> str:
    """Where somebody is, as far as it is counted."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "nowhere"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed.packed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)
