"""What the facts mean to an operator. Touches nothing."""

from buildsrht.checks import Finding, bad, doubtful, good
from buildsrht.checks.looking import PROBE, KeyFacts, Room, Trouble
from buildsrht.config import Config, size_text
from buildsrht.database import State

# A lease is renewed when a quarter of it is over, by the database's clock; what expires by ours (a
# token, an artifact) does so by seconds too late or too early.
MOST_SECONDS_APART = 2.0


def database(facts: State | Trouble, newest: str) -> Finding:
    what = "database"
    match facts:
        case Trouble(said):
            return bad(what, said.removeprefix("the database: "))
        case State(server, revision) if revision != newest:
            return doubtful(
                what,
                f"PostgreSQL {server} at revision {revision}, of a newer release than this one "
                f"({newest}); they work together, but upgrade this host too",
            )
        case State(server, revision):
            return good(what, f"PostgreSQL {server} at revision {revision}")


def clock(facts: State | Trouble) -> Finding:
    what = "clock"
    if isinstance(facts, Trouble):
        return doubtful(what, "cannot be compared without the database")
    apart, doubt = abs(facts.ahead_seconds), facts.doubt_seconds
    said = f"{apart:.1f} s from the database's, give or take {doubt:.1f} s"
    if apart - doubt > MOST_SECONDS_APART:
        return bad(what, f"{said}; have both hosts set theirs by NTP")
    return good(what, said)


def redis(facts: str | Trouble) -> Finding:
    if isinstance(facts, Trouble):
        return bad("redis", f"[redis] url: {facts.said}")
    return good("redis", f"release {facts}")


def storage(facts: bytes | Trouble) -> Finding:
    what = "storage"
    if isinstance(facts, Trouble):
        return bad(what, facts.said)
    if facts != PROBE:
        return bad(what, "what was read of a probe is not what was written")
    return good(what, "a probe was written, read and deleted")


def keys(facts: KeyFacts | Trouble) -> Finding:
    what = "keys"
    match facts:
        case Trouble(said):
            return bad(what, said)
        case KeyFacts(tried=None):
            return doubtful(what, "readable; cannot be compared without the database")
        case KeyFacts(unopened=[first, *others]):
            return bad(
                what,
                f"no key here opens {first}"
                + (f" and {len(others)} more" if others else "")
                + ": they are not the keys of this service; restore [keys] path",
            )
        case KeyFacts(tried=0):
            return good(what, "readable; the database has no secret yet to try them on")
        case _:
            several = f", {facts.count} that open secrets" if facts.count > 1 else ""
            return good(what, f"readable{several}; opened {facts.tried} of what is in the database")


def mail(config: Config, facts: Trouble | None) -> Finding:
    if not config.mail.host:
        return good("mail", "[mail] host is empty: no mail is sent")
    if facts:
        return bad("mail", facts.said)
    return good("mail", f"{config.mail.host}:{config.mail.port} lets us in")


def recipes(facts: int | Trouble) -> Finding:
    if isinstance(facts, Trouble):
        return bad("recipes", facts.said)
    return good("recipes", f"of {facts} images")


def directory(option: str, facts: Room | Trouble, least: int) -> Finding:
    """`least` is how many bytes have to be free for the service to do its work there."""
    if isinstance(facts, Trouble):
        return bad(option, facts.said)
    said = f"{facts.path}: {size_text(facts.free)} free"
    if not facts.writable:
        return bad(option, f"{facts.path} cannot be written by this user")
    if facts.free < least:
        return bad(option, f"{said}, and {size_text(least)} are needed")
    return good(option, said)


def reserve(config: Config, *, shared: bool) -> Finding:
    if shared:
        return doubtful(
            "[storage] reserve",
            f"{config.worker.path} is on the same disk: what builds write there drives out"
            " artifacts; give one of them a disk of its own, or set [storage] size instead",
        )
    return good("[storage] reserve", f"only storage is on the disk of {config.storage.path}")
