"""The operator's settings: an ini file and three variables become one frozen object.

`load()` reads once, at start; importing this module reads nothing. Every problem of the file is
reported in one message. The dataclasses below are the only list of options there is:
`config.example.ini` is held to them, both ways, by a test.

Knows nothing of what the settings are used for.
"""

import configparser
import dataclasses
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from buildsrht import embedded
from buildsrht.errors import OperatorError

Networks = tuple[IPv4Network | IPv6Network, ...]

DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SSH_ABOVE_WEB = 20
SIZE_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def duration(text: str) -> int:
    """Seconds, from `90s`, `45m`, `4h` or `30d`."""
    return _quantity(text, DURATION_UNITS, "a duration such as 45m")


def duration_text(seconds: int) -> str:
    """A duration as people read it: 7 days, or 24 hours."""
    for name, unit in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds > unit and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} seconds"


def size(text: str) -> int:
    """Bytes, from `512KiB`, `64MiB` or `2GiB`."""
    return _quantity(text, SIZE_UNITS, "a size such as 64MiB")


def size_text(size: int) -> str:
    """A size as people read it: 1.2 GiB."""
    units = sorted(SIZE_UNITS.items(), key=lambda unit: unit[1], reverse=True)
    name, unit = next((each for each in units if size >= each[1]), units[-1])
    return f"{size / unit:.1f} {name}"


def _quantity(text: str, units: Mapping[str, int], expected: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]*)([A-Za-z]+)", text)
    if not match or match[2] not in units:
        raise ValueError(f"expected {expected}")
    return int(match[1]) * units[match[2]]


def yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return text == "yes"


def size_or_none(text: str) -> int | None:
    return None if text == "none" else size(text)


def duration_or_forever(text: str) -> int | None:
    return None if text == "forever" else duration(text)


def positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]*", text):
        raise ValueError("expected a whole number above zero")
    return int(text)


def positive_or_auto(text: str) -> int | None:
    return None if text == "auto" else positive(text)


def number(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]*", text):
        raise ValueError("expected a whole number")
    return int(text)


def port_number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError("expected a port between 1 and 65535")
    return int(text)


def port_or_none(text: str) -> int | None:
    return port_number(text) if text else None


def file_or_none(text: str) -> Path | None:
    return Path(text) if text else None


def mail_address(text: str) -> str:
    if not re.fullmatch(r"[^@\s<>,;:]+@[^@\s<>,;:]+", text):
        raise ValueError("expected an address such as builds@example.org")
    return text


def user_name(text: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", text):
        raise ValueError("expected a name of lower-case letters, digits and dashes")
    return text


def origin_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+", text):
        raise ValueError("expected http://host or https://host, without a path")
    return text


def issuer_url(text: str) -> str:
    """Where an OpenID Connect provider is; what it says may not be read or changed on the way."""
    if text and not re.match(r"https://[^/\s]|http://(127\.0\.0\.1|localhost)[:/]", text):
        raise ValueError("expected https://host, as the provider itself writes it")
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return parse


def database_url(text: str) -> str:
    """A PostgreSQL URL; one that names no driver gets ours, not SQLAlchemy's choice of the day."""
    scheme, separator, rest = text.partition("://")
    if text and (not separator or scheme not in ("postgresql", "postgresql+psycopg2")):
        raise ValueError("expected postgresql://user:password@host/database")
    return f"postgresql+psycopg2://{rest}" if text else ""


def bucket_url(text: str) -> str:
    """A bucket, and what all keys in it begin with if it has other users."""
    if text and not re.fullmatch(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?", text
    ):
        raise ValueError("expected s3://bucket or s3://bucket/prefix")
    return text


def origin_or_none(text: str) -> str:
    return origin_url(text) if text else ""


def redis_url(text: str) -> str:
    if text and not re.match(r"(redis|rediss|unix)://.", text):
        raise ValueError("expected redis://host:port/0, rediss://... or unix:///path?db=0")
    return text


def runner_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        raise ValueError("expected a name of letters, digits, dots and dashes")
    return text


def networks(text: str) -> Networks:
    """Networks and addresses such as `10.0.0.0/8` or `::1`, separated by white space."""
    try:
        return tuple(ip_network(word) for word in text.split())
    except ValueError as error:
        raise ValueError(f"expected networks such as 10.0.0.0/8: {error}") from error


def names(text: str) -> tuple[str, ...]:
    """Names such as `gpu` or `debian/trixie`, several separated by white space."""
    for word in text.split():
        if not re.fullmatch(r"[a-z0-9][a-z0-9._+/-]*", word):
            raise ValueError(f"{word} is no name of lower-case letters, digits and dashes")
    return tuple(text.split())


class Rate(NamedTuple):
    """So many within so many seconds."""

    amount: int
    seconds: int


def rate_or_none(text: str) -> Rate | None:
    """`3000/m`, or `10/h`; None for `none`, which is no limit."""
    if text == "none":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([smhd])", text)
    if not match:
        raise ValueError("expected a number in a time such as 3000/m, or none")
    return Rate(int(match[1]), DURATION_UNITS[match[2]])


class Destination(NamedTuple):
    """Somewhere that may be reached although the rules forbid it; any port when it is None."""

    network: IPv4Network
    port: int | None


def destinations(text: str) -> tuple[Destination, ...]:
    """`10.1.2.3`, `10.1.0.0/16` or `10.1.2.3:443`, several separated by white space."""
    return tuple(_destination(word) for word in text.split())


def guest_destinations(text: str) -> tuple[Destination, ...]:
    """The same, for guests: their own loopback is the only one they can reach."""
    found = destinations(text)
    if any(destination.network.is_loopback for destination in found):
        raise ValueError("expected addresses of a network: 127.0.0.1 is each guest itself")
    return found


def _destination(word: str) -> Destination:
    address, colon, number = word.partition(":")
    try:
        return Destination(IPv4Network(address), port_number(number) if colon else None)
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from error


def option(parse: Callable[[str], Any], default: str) -> Any:
    """An option whose default is written as the operator would write it."""
    return field(metadata={"parse": parse, "default": default})


@dataclass(frozen=True)
class Web:
    origin: str = option(origin_url, "http://%(host)s:%(port)s")
    host: str = option(str, "127.0.0.1")
    port: int = option(port_number, "5002")
    proxies: int = option(number, "0")
    processes: int = option(positive, "2")
    threads: int = option(positive, "16")
    streams: int = option(positive, "48")
    registration: bool = option(yes_or_no, "no")
    metrics: Networks = option(networks, "127.0.0.0/8 ::1")


@dataclass(frozen=True)
class Database:
    url: str = option(database_url, "")


@dataclass(frozen=True)
class Redis:
    url: str = option(redis_url, "")


@dataclass(frozen=True)
class Storage:
    path: Path = option(Path, "%(var)s/storage")
    url: str = option(bucket_url, "")
    endpoint: str = option(origin_or_none, "")
    region: str = option(str, "us-east-1")
    access_key: str = option(str, "")
    secret_key_file: Path | None = option(file_or_none, "")
    artifact_lifetime: int = option(duration, "90d")
    log_lifetime: int | None = option(duration_or_forever, "forever")
    size: int | None = option(size_or_none, "none")
    reserve: int | None = option(size_or_none, "none")
    least_age: int = option(duration, "1d")
    clear_logs: bool = option(yes_or_no, "no")


@dataclass(frozen=True)
class Limits:
    requests: Rate | None = option(rate_or_none, "3000/m")
    submissions: Rate | None = option(rate_or_none, "120/m")
    request: int = option(size, "1MiB")
    log: int = option(size, "64MiB")
    artifact: int = option(size, "1GiB")
    pinned: int = option(size, "10GiB")
    tree: int = option(size, "64MiB")
    pushes: int = option(positive, "60")
    wait: int = option(duration, "7d")
    user_jobs: int = option(number, "0")
    jobs: int = option(number, "0")


@dataclass(frozen=True)
class Images:
    recipes: Path = option(Path, "%(checkout)s/images")
    path: Path = option(Path, "%(var)s/images")
    mirror: str = option(str, "")
    disk: int = option(size, "16GiB")


@dataclass(frozen=True)
class Worker:
    name: str = option(runner_name, "%(hostname)s")
    count: int = option(positive_or_auto, "auto")
    path: Path = option(Path, "%(var)s/work")
    disk_reserve: int = option(size, "4GiB")
    memory_reserve: int = option(size, "512MiB")
    accelerator: str = option(one_of("auto", "kvm", "tcg"), "auto")
    memory: int = option(size, "2GiB")
    cpus: int = option(positive, "2")
    boot_timeout: int = option(duration, "120s")
    job_timeout: int = option(duration, "45m")
    lease: int = option(duration, "20s")
    patience: int = option(duration, "5m")
    attempts: int = option(positive, "3")
    images: tuple[str, ...] = option(names, "")
    labels: tuple[str, ...] = option(names, "")


@dataclass(frozen=True)
class Snapshots:
    enabled: bool = option(yes_or_no, "yes")
    path: Path = option(Path, "%(var)s/snapshots")
    size: int = option(size, "20GiB")
    spares: int = option(number, "2")
    layers: bool = option(yes_or_no, "yes")
    layer_lifetime: int = option(duration, "24h")


@dataclass(frozen=True)
class Keys:
    path: Path = option(Path, "%(var)s/keys")


@dataclass(frozen=True)
class OAuth:
    access_lifetime: int = option(duration, "1h")
    refresh_lifetime: int = option(duration, "30d")


@dataclass(frozen=True)
class Oidc:
    issuer: str = option(issuer_url, "")
    client_id: str = option(str, "")
    client_secret_file: Path | None = option(file_or_none, "")
    name: str = option(str, "your organisation")
    create_accounts: bool = option(yes_or_no, "no")
    name_claim: str = option(str, "preferred_username")


@dataclass(frozen=True)
class Mail:
    host: str = option(str, "")
    port: int = option(port_number, "587")
    security: str = option(one_of("starttls", "tls", "none"), "starttls")
    authorities: Path | None = option(file_or_none, "")
    user: str = option(str, "")
    password_file: Path | None = option(file_or_none, "")
    sender: str = option(mail_address, "builds@%(hostname)s")


@dataclass(frozen=True)
class Courier:
    count: int = option(positive, "2")
    patience: int = option(duration, "24h")
    record_lifetime: int = option(duration, "90d")
    allow: tuple[Destination, ...] = option(destinations, "")


@dataclass(frozen=True)
class Journal:
    format: str = option(one_of("text", "json"), "text")
    level: str = option(one_of("debug", "info", "warning", "error"), "info")
    requests: bool = option(yes_or_no, "no")


@dataclass(frozen=True)
class Ssh:
    host: str = option(str, "%(host)s")
    port: int = option(port_or_none, "")
    name: str = option(str, "%(host)s")
    user: str = option(user_name, "builds")
    path: Path = option(Path, "%(var)s/kept")
    keep: int = option(duration, "24h")
    size: int = option(size, "20GiB")
    linger: int = option(duration, "60s")
    machines: int = option(positive, "4")


@dataclass(frozen=True)
class Network:
    allow: tuple[Destination, ...] = option(guest_destinations, "")


@dataclass(frozen=True)
class Config:
    """Everything the operator decided. Paths are absolute, durations seconds, sizes bytes."""

    var: Path
    web: Web
    database: Database
    redis: Redis
    storage: Storage
    limits: Limits
    images: Images
    worker: Worker
    snapshots: Snapshots
    keys: Keys
    oauth: OAuth
    oidc: Oidc
    mail: Mail
    courier: Courier
    journal: Journal
    ssh: Ssh
    network: Network

    @property
    def embedded_postgres(self) -> Path:
        """Where the private PostgreSQL keeps what it has, if the database has no other URL."""
        return self.var / "postgres"

    @property
    def embedded_redis(self) -> Path:
        return self.var / "redis"


SECTIONS: dict[str, type] = {
    "web": Web,
    "database": Database,
    "redis": Redis,
    "storage": Storage,
    "limits": Limits,
    "images": Images,
    "worker": Worker,
    "snapshots": Snapshots,
    "keys": Keys,
    "oauth": OAuth,
    "oidc": Oidc,
    "mail": Mail,
    "courier": Courier,
    "journal": Journal,
    "ssh": Ssh,
    "network": Network,
}
Section = TypeVar("Section")


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """The settings in force: the file named by BUILDSRHT_CONFIG, with VAR and PORT on top.

    Raises OperatorError naming every unknown section, unknown option and bad value at once.
    """
    path = environ.get("BUILDSRHT_CONFIG")
    parser = configparser.ConfigParser(interpolation=None)
    if path:
        _read_file(parser, path)
    source = path or "default settings"
    var = Path(environ.get("VAR") or parser.defaults().get("var") or "var").absolute()
    problems = _unknown_names(parser)
    if environ.get("PORT"):
        parser.read_dict({"web": {"port": environ["PORT"]}})
    names = {
        "var": str(var),
        "checkout": str(Path(__file__).parent.parent),
        "hostname": re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost",
        "host": parser.get("web", "host", fallback="127.0.0.1"),
        "port": parser.get("web", "port", fallback="5002"),
    }
    sections: dict[str, Any] = {
        name: _section(parser, name, kind, names, problems) for name, kind in SECTIONS.items()
    }
    if problems:
        raise OperatorError(f"{source}: " + "; ".join(problems))
    return _with_ssh_port(_with_embedded_servers(Config(var=var, **sections)))


def _read_file(parser: configparser.ConfigParser, path: str) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except OSError as error:
        raise OperatorError(f"BUILDSRHT_CONFIG={path}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise OperatorError(f"BUILDSRHT_CONFIG={path}: {error}") from error


def _unknown_names(parser: configparser.ConfigParser) -> list[str]:
    problems = [f"[DEFAULT] {name}: unknown option" for name in parser.defaults() if name != "var"]
    for section in parser.sections():
        if section not in SECTIONS:
            problems.append(f"[{section}]: unknown section")
            continue
        known = {option.name for option in dataclasses.fields(SECTIONS[section])}
        problems += [
            f"[{section}] {name}: unknown option"
            for name in parser[section]
            if name not in known and name not in parser.defaults()
        ]
    return problems


def _section(
    parser: configparser.ConfigParser,
    section: str,
    kind: type[Section],
    names: Mapping[str, str],
    problems: list[str],
) -> Section:
    values = {}
    for option_ in dataclasses.fields(kind):  # type: ignore[arg-type]
        text = parser.get(section, option_.name, fallback=option_.metadata["default"])
        try:
            value = option_.metadata["parse"](_substitute(text, names))
            values[option_.name] = value.absolute() if isinstance(value, Path) else value
        except ValueError as error:
            problems.append(f'[{section}] {option_.name}: {error}, got "{text}"')
            values[option_.name] = None
    return kind(**values)


def _substitute(text: str, names: Mapping[str, str]) -> str:
    try:
        return re.sub(r"%\((\w+)\)s", lambda match: names[match[1]], text)
    except KeyError as error:
        raise ValueError(f"expected one of %({')s, %('.join(names)})s") from error


def _with_embedded_servers(config: Config) -> Config:
    """An empty URL means the private server that `buildsrht up` keeps under var/."""
    database = config.database.url or embedded.postgres_url(config.embedded_postgres)
    redis = config.redis.url or embedded.redis_url(config.embedded_redis)
    return dataclasses.replace(config, database=Database(url=database), redis=Redis(url=redis))


def _with_ssh_port(config: Config) -> Config:
    """Services on one machine that differ in PORT shall not meet at the gateway's."""
    port = config.ssh.port or min(config.web.port + SSH_ABOVE_WEB, 65535)
    return dataclasses.replace(config, ssh=dataclasses.replace(config.ssh, port=port))
