"""The configuration: what the example says is what the code does, and errors come all at once."""

import configparser
import dataclasses
import re
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path

import pytest

from buildsrht import config
from buildsrht.config import SECTIONS, Destination, Rate, duration_text
from buildsrht.errors import OperatorError

EXAMPLE = Path(__file__).parents[2] / "config.example.ini"


@pytest.fixture
def load(tmp_path):
    """Load a file with this text, or none, with these variables."""

    def load(text="", **variables):
        path = tmp_path / "config.ini"
        path.write_text(text)
        return config.load({"BUILDSRHT_CONFIG": str(path), **variables})

    return load


@pytest.fixture
def refusal(load):
    def refusal(text, **variables):
        with pytest.raises(OperatorError) as refused:
            load(text, **variables)
        return str(refused.value)

    return refusal


# The example


def read_example():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(EXAMPLE.read_text())
    return parser


def test_the_example_shows_every_option_with_its_default_and_no_other():
    example = read_example()

    shown = {
        section: {name: text for name, text in example[section].items() if name != "var"}
        for section in example.sections()
    }
    assert shown == {
        section: {option.name: option.metadata["default"] for option in dataclasses.fields(kind)}
        for section, kind in SECTIONS.items()
    }
    assert example.defaults() == {"var": "var"}


def test_the_example_changes_nothing():
    assert config.load({"BUILDSRHT_CONFIG": str(EXAMPLE)}) == config.load({})


def test_the_example_has_advice_above_each_option():
    lines = EXAMPLE.read_text().splitlines()
    is_option = re.compile(r"[a-z_]+ =").match
    assert [line for above, line in pairwise(lines) if is_option(line) and above[:1] != "#"] == []


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[web]\nport = 80", 80),
        ("[web]\norigin = https://builds.example.org", "https://builds.example.org"),
        ("[database]\nurl = postgresql://ci@db/ci", "postgresql+psycopg2://ci@db/ci"),
        ("[database]\nurl = postgresql+psycopg2://ci@db/ci", "postgresql+psycopg2://ci@db/ci"),
        ("[redis]\nurl = rediss://cache:6379/0", "rediss://cache:6379/0"),
        ("[storage]\npath = /srv/builds", Path("/srv/builds")),
        ("[storage]\nartifact_lifetime = 2h", 7200),
        ("[limits]\nlog = 3GiB", 3 * 2**30),
        ("[limits]\nrequests = 50/s", Rate(50, 1)),
        ("[limits]\nrequests = none", None),
        ("[limits]\nsubmissions = 1000/d", Rate(1000, 86400)),
        ("[worker]\naccelerator = tcg", "tcg"),
        ("[worker]\ncount = auto", None),
        ("[worker]\ncount = 3", 3),
        ("[worker]\nlabels = gpu  large", ("gpu", "large")),
        ("[worker]\nimages =", ()),
        (
            "[network]\nallow = 10.1.0.0/16 10.2.3.4:443",
            (
                Destination(IPv4Network("10.1.0.0/16"), None),
                Destination(IPv4Network("10.2.3.4"), 443),
            ),
        ),
    ],
)
def test_values_are_read_as_what_they_mean(load, text, value):
    section, option = text[1:].replace("]\n", " ").split()[:2]

    assert getattr(getattr(load(text), section), option) == value


def test_values_may_use_what_is_known_already(load):
    loaded = load("[web]\nhost = 10.0.0.1\n[storage]\npath = %(var)s/kept", VAR="/srv", PORT="81")

    assert loaded.web.origin == "http://10.0.0.1:81"
    assert loaded.storage.path == Path("/srv/kept")


def test_paths_are_absolute_wherever_the_server_is_started(load, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert load("[DEFAULT]\nvar = state").storage.path == tmp_path / "state" / "storage"


def test_without_an_address_the_private_servers_below_var_are_meant(load):
    loaded = load(VAR="/srv")

    assert "host=/srv/postgres/run" in loaded.database.url
    assert loaded.redis.url == "unix:///srv/redis/redis.sock?db=0"


# Variables


def test_the_variables_win_over_the_file(load):
    loaded = load("[DEFAULT]\nvar = /elsewhere\n[web]\nport = 80", VAR="/srv", PORT="81")

    assert loaded.var == Path("/srv")
    assert loaded.web.port == 81


def test_empty_variables_count_as_unset(load):
    loaded = load("[DEFAULT]\nvar = /srv\n[web]\nport = 80", VAR="", PORT="")

    assert (loaded.var, loaded.web.port) == (Path("/srv"), 80)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(OperatorError, match="BUILDSRHT_CONFIG=/no/such/file: No such file"):
        config.load({"BUILDSRHT_CONFIG": "/no/such/file"})


# Problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[web]\nport = 70000", "expected a port between 1 and 65535"),
        ("[web]\norigin = builds.example.org", "expected http://host or https://host"),
        ("[web]\norigin = https://example.org/builds", "without a path"),
        ("[web]\nthreads = 0", "expected a whole number above zero"),
        ("[database]\nurl = mysql://db/ci", "expected postgresql://user:password@host/database"),
        ("[redis]\nurl = localhost:6379", "expected redis://host:port/0"),
        ("[storage]\npath = %(vra)s/x", "expected one of %(var)s, %(checkout)s"),
        ("[storage]\nartifact_lifetime = 90", "expected a duration such as 45m"),
        ("[limits]\nrequests = 3000", "expected a number in a time such as 3000/m, or none"),
        ("[limits]\nsubmissions = 0/m", "expected a number in a time such as 3000/m, or none"),
        ("[limits]\nlog = 64MB", "expected a size such as 64MiB"),
        ("[worker]\naccelerator = hvf", "expected one of auto, kvm, tcg"),
        ("[worker]\nname = a b", "expected a name of letters, digits, dots and dashes"),
        ("[network]\nallow = 10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("[network]\nallow = 10.0.0.1:http", "expected a port between 1 and 65535"),
        ("[network]\nallow = 127.0.0.1:5002", "127.0.0.1 is each guest itself"),
        (
            "[worker]\nlabels = gpu Big",
            "[worker] labels: Big is no name of lower-case letters, digits and dashes",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_place_the_rule_and_the_value(refusal, text, problem):
    section, option, _, value = text.replace("]\n", "] ").split(maxsplit=3)

    message = refusal(text)

    assert f"{section} {option}: " in message
    assert problem in message
    assert message.endswith(f'got "{value}"')


def test_unknown_names_are_refused(refusal):
    message = refusal("[DEFAULT]\nvra = x\n[wbe]\nport = 1\n[web]\nprot = 1")

    assert "[DEFAULT] vra: unknown option" in message
    assert "[wbe]: unknown section" in message
    assert "[web] prot: unknown option" in message


def test_all_problems_are_told_at_once_and_name_the_file(refusal, tmp_path):
    message = refusal("[web]\nthreads = no\n[limits]\nlog = 5", PORT="x")

    assert message.startswith(f"{tmp_path}/config.ini: ")
    for place in ("[web] threads", "[web] port", "[limits] log"):
        assert place in message


def test_a_file_that_is_no_ini_file_is_refused(refusal):
    assert "no section headers" in refusal("port = 80")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7 * 86400, "7 days"),
        (86400, "24 hours"),
        (36 * 3600, "36 hours"),
        (3600, "60 minutes"),
        (90, "90 seconds"),
        (1, "1 seconds"),
    ],
)
def test_a_duration_is_told_in_words(seconds, text):
    assert duration_text(seconds) == text
