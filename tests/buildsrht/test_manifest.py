"""What a manifest may say, key by key, and the sentence that answers what it may not."""

from dataclasses import fields

import pytest

from buildsrht.errors import BadInput
from buildsrht.manifest import (
    MAX_CHARACTERS,
    Grant,
    Manifest,
    ManifestError,
    Problem,
    Source,
    Submitter,
    Task,
    Trigger,
    parse,
)

OPTIONAL_KEYS = {field.name for field in fields(Manifest)} - {"image", "tasks", "grants"}

COMPLETE = """\
image: debian/bookworm
arch: amd64
packages:
- gcc
- libc6-dev
repositories:
  backports: https://packages.example.org/debian bookworm-backports main
sources:
- https://git.example.org/~ann/hello.git#v1
environment:
  CC: gcc
secrets:
- 46f739e5-4538-45dd-a79f-bf173b7a2ed9
- deploy key
oauth: git.sr.ht/REPOSITORIES:RW meta.sr.ht/PROFILE
shell: false
artifacts:
- hello/hello.tar.gz
tasks:
- build: |
    make -C hello
- test: make -C hello check
triggers:
- action: email
  condition: failure
  to: Ann <ann@example.org>
submitter:
  git.sr.ht:
    enabled: true
    allow-refs: [refs/heads/main]
"""


def minimal(more: str = "") -> str:
    """A manifest with nothing but what is needed, and `more` from line 3 on."""
    return f"image: alpine/edge\ntasks: [{{build: make}}]\n{more}"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as refusal:
        parse(text)
    return [str(problem) for problem in refusal.value.problems]


def test_a_complete_manifest_is_read_into_plain_frozen_values():
    assert parse(COMPLETE) == Manifest(
        image="debian/bookworm",
        arch="amd64",
        packages=("gcc", "libc6-dev"),
        repositories={"backports": "https://packages.example.org/debian bookworm-backports main"},
        sources=(Source("https://git.example.org/~ann/hello.git", "git", "hello", "v1"),),
        environment={"CC": "gcc"},
        secrets=("46f739e5-4538-45dd-a79f-bf173b7a2ed9", "deploy key"),
        oauth="git.sr.ht/REPOSITORIES:RW meta.sr.ht/PROFILE",
        grants=(
            Grant("git.sr.ht", "REPOSITORIES", "RW"),
            Grant("meta.sr.ht", "PROFILE", "RO"),
        ),
        shell=False,
        artifacts=("hello/hello.tar.gz",),
        tasks=(Task("build", "make -C hello\n"), Task("test", "make -C hello check")),
        triggers=(Trigger("email", "failure", to="Ann <ann@example.org>"),),
        submitter={"git.sr.ht": Submitter(enabled=True, allow_refs=("refs/heads/main",))},
    )


def test_an_image_and_a_task_are_enough():
    assert parse(minimal()) == Manifest(image="alpine/edge", tasks=(Task("build", "make"),))


def test_an_interactive_shell_needs_no_tasks():
    assert parse("image: alpine/edge\nshell: yes\n") == Manifest(image="alpine/edge", shell=True)


def test_unknown_keys_are_ignored():
    assert parse(minimal("x-team: {cost-centre: [42]}")) == parse(minimal())


@pytest.mark.parametrize("key", sorted(OPTIONAL_KEYS))
def test_an_optional_key_without_a_value_counts_as_absent(key):
    assert parse(minimal(f"{key}:")) == parse(minimal())


def test_default_is_how_clients_spell_the_architecture_of_the_image():
    assert parse(minimal("arch: default")).arch is None


def test_mappings_are_read_only():
    with pytest.raises(TypeError):
        parse(minimal()).environment["PATH"] = "/tmp"


# Problems, and how they are told.


def test_all_problems_are_told_at_once_in_document_order():
    manifest = """\
packages: gcc
image: 42
sources: [--upload-pack=x, https://example.org/a]
environment:
  A B: {}
tasks:
  - Build: [make]
  - test:
"""
    assert problems_of(manifest) == [
        "packages: must be a list (line 1, column 11)",
        "image: must be a string (line 2, column 8)",
        "sources[0]: the url may not begin with - (line 3, column 11)",
        (
            "environment: 'A B' may use letters, digits and _ only, and not begin with a digit"
            " (line 5, column 3)"
        ),
        (
            "environment['A B']: must be a string, a number, a bool, null or a list of strings"
            " (line 5, column 8)"
        ),
        "tasks[0]: 'Build' may use a-z, 0-9, _ and - only (line 7, column 5)",
        "tasks[0].Build: must be a string (line 7, column 12)",
        "tasks[1].test: must be a string (line 8, column 10)",
    ]


def test_a_problem_carries_its_place():
    with pytest.raises(ManifestError) as refusal:
        parse("image: alpine/edge\ntasks:\n- build: 123")

    assert refusal.value.problems == (Problem("tasks[0].build", 3, 10, "must be a string"),)


def test_a_refusal_is_bad_input_in_the_field_manifest():
    with pytest.raises(BadInput) as refusal:
        parse("image: 42\nshell: true")

    assert refusal.value.errors == (("manifest", "image: must be a string (line 1, column 8)"),)


# Key by key.


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ("", "is empty"),
        ("# nothing yet", "is empty"),
        ("---", "is empty"),
        ("make", "must be a mapping (line 1, column 1)"),
        ("- image: alpine/edge", "must be a mapping (line 1, column 1)"),
        ("shell: true", "image: is required (line 1, column 1)"),
        ("image:\nshell: true", "image: is required (line 1, column 1)"),
        ("image: alpine/edge", "tasks: needed unless shell is true (line 1, column 1)"),
        ("image: a\ntasks: []", "tasks: needed unless shell is true (line 2, column 8)"),
        ("image: a\ntasks:", "tasks: needed unless shell is true (line 1, column 1)"),
        (
            "image: a\nshell: no",
            "tasks: needed unless shell is true (line 1, column 1)",
        ),
    ],
)
def test_a_job_needs_an_image_and_something_to_do(manifest, problem):
    assert problems_of(manifest) == [problem]


@pytest.mark.parametrize("image", ["archlinux", "debian/12", "freebsd/14.x", "opensuse/leap_15+1"])
def test_an_image_is_a_distro_or_one_of_its_releases(image):
    assert parse(f"image: {image}\nshell: true").image == image


@pytest.mark.parametrize(
    "image", ["Debian", "debian/", "/debian", "../debian", "debian/..", "a/b/c", "a b", "a\\n"]
)
def test_an_image_is_not_any_path(image):
    [problem] = problems_of(f'image: "{image}"\nshell: true')
    assert "must be like distro or distro/release, in lower case (line 1, column 8)" in problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("arch: x86 64", "arch: 'x86 64' is not an architecture (line 3, column 7)"),
        ("arch: 386", "arch: must be a string (line 3, column 7)"),
        ("packages: gcc", "packages: must be a list (line 3, column 11)"),
        ("packages: [1.10]", "packages[0]: must be a string (line 3, column 12)"),
        ("packages: [-y]", "packages[0]: may not begin with - (line 3, column 12)"),
        ("packages: [a, b c]", "packages[1]: may not contain whitespace (line 3, column 15)"),
        ("packages: ['']", "packages[0]: must have 1 to 255 characters, not 0 (line 3, column 12)"),
        ("repositories: [a]", "repositories: must be a mapping (line 3, column 15)"),
        ("repositories: {a: 1}", "repositories.a: must be a string (line 3, column 19)"),
        ("repositories: {a: ' '}", "repositories.a: may not be blank (line 3, column 19)"),
        ("environment: [A=1]", "environment: must be a mapping (line 3, column 14)"),
        (
            "environment: {1A: x}",
            (
                "environment: '1A' may use letters, digits and _ only, and not begin with a digit"
                " (line 3, column 15)"
            ),
        ),
        ("environment: {A: [1]}", "environment.A[0]: must be a string (line 3, column 19)"),
        ("secrets: [ab]", "secrets[0]: must have 3 to 512 characters, not 2 (line 3, column 11)"),
        ("shell: maybe", "shell: must be true or false (line 3, column 8)"),
        ("shell: 'true'", "shell: must be true or false (line 3, column 8)"),
        ("shell: !!bool sure", "shell: must be true or false (line 3, column 8)"),
        ("oauth: ''", "oauth: must name a grant (line 3, column 8)"),
        (
            "oauth: git.sr.ht a.sr.ht/B:RO c.sr.ht/D:RX",
            (
                "oauth: 'git.sr.ht', 'c.sr.ht/D:RX' must be like git.sr.ht/REPOSITORIES:RO"
                " (line 3, column 8)"
            ),
        ),
        (
            "labels: [gpu, Big]",
            (
                "labels[1]: 'Big' may use a-z, 0-9 and . _ + / - only,"
                " and begin with a letter or digit (line 3, column 15)"
            ),
        ),
        (
            f"labels: {[f'l{n}' for n in range(9)]}",
            "labels: has 9 items, may have 8 (line 3, column 9)",
        ),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(line, problem):
    assert problems_of(minimal(line)) == [problem]


# Environment.


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.10", "1.10"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("True", "True"),
        ("2024-02-30", "2024-02-30"),
        ("", ""),
        ("~", ""),
        ("'~'", "~"),
        ('"a\\tb"', "a\tb"),
        ("[]", ()),
        ("[a, 'b c']", ("a", "b c")),
    ],
)
def test_a_variable_is_the_text_that_its_author_wrote(written, value):
    assert parse(minimal(f"environment: {{A: {written}}}")).environment == {"A": value}


# Sources.


def test_two_sources_may_not_share_a_directory():
    manifest = minimal(
        "sources:\n"
        "- https://example.org/a/tool\n"
        "- git@example.org:b/tool.git\n"
        "- other::https://example.org/tool\n"
        "- ./other/::https://example.org/other\n"
    )
    assert problems_of(manifest) == [
        "sources[1]: the directory 'tool' is taken by sources[0] (line 5, column 3)",
        "sources[3]: the directory 'other' is taken by sources[2] (line 7, column 3)",
    ]


# Artifacts.


def test_eight_artifacts_are_kept_and_no_more():
    paths = [f"out/{number}.deb" for number in range(9)]

    assert parse(minimal(f"artifacts: {paths[:8]}")).artifacts == tuple(paths[:8])
    assert problems_of(minimal(f"artifacts: {paths}")) == [
        "artifacts: has 9 items, may have 8 (line 3, column 12)"
    ]


@pytest.mark.parametrize("path", ["a.txt", "/etc/os-release", "../x", "~/*.deb", "with space"])
def test_an_artifact_is_a_literal_path(path):
    assert parse(minimal(f"artifacts: ['{path}']")).artifacts == (path,)


@pytest.mark.parametrize("path", ["out/", "/", ".", "..", "out/..", "out/."])
def test_an_artifact_is_a_file(path):
    assert problems_of(minimal(f"artifacts: [{path}]")) == [
        f"artifacts[0]: '{path}' does not name a file (line 3, column 13)"
    ]


def test_two_artifacts_may_not_share_a_name():
    assert problems_of(minimal("artifacts: [a/log.txt, b/log.txt]")) == [
        "artifacts[1]: the name 'log.txt' is taken by artifacts[0] (line 3, column 24)"
    ]


def test_an_artifact_stays_on_one_line():
    assert problems_of(minimal('artifacts: ["a\\nb"]')) == [
        "artifacts[0]: may not contain line breaks or control characters (line 3, column 13)"
    ]


# Tasks.


def test_tasks_keep_their_order_and_an_empty_script_is_a_script():
    manifest = parse("image: a\ntasks: [{z: a}, {_a-1: ''}]")
    assert manifest.tasks == (Task("z", "a"), Task("_a-1", ""))


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ("{build: make}", "tasks: must be a list (line 2, column 8)"),
        ("[make]", "tasks[0]: must be a mapping (line 2, column 9)"),
        ("[{}]", "tasks[0]: must be one name and its script (line 2, column 9)"),
        ("[{a: x, b: y}]", "tasks[0]: must be one name and its script (line 2, column 9)"),
        ("[{a: }]", "tasks[0].a: must be a string (line 2, column 13)"),
        ("[{a/b: x}]", "tasks[0]: 'a/b' may use a-z, 0-9, _ and - only (line 2, column 10)"),
        ('[{"a\\n": x}]', r"tasks[0]: 'a\n' may use a-z, 0-9, _ and - only (line 2, column 10)"),
        (
            "[{" + "a" * 129 + ": x}]",
            "tasks[0]: may have 128 characters, not 129 (line 2, column 10)",
        ),
        (
            "[{1: x}]",
            "tasks[0]: the key '1' is int to YAML, not a string; quote it (line 2, column 10)",
        ),
        (
            "[{a: x}, {b: x}, {a: y}]",
            "tasks[2]: the name 'a' is taken by tasks[0] (line 2, column 25)",
        ),
    ],
)
def test_a_task_is_a_name_with_a_script(tasks, problem):
    assert problems_of(f"image: a\ntasks: {tasks}") == [problem]


def test_a_job_has_a_bounded_number_of_tasks():
    tasks = [{f"t{number}": "x"} for number in range(257)]

    assert len(parse(f"image: a\ntasks: {tasks[:256]}").tasks) == 256
    assert problems_of(f"image: a\ntasks: {tasks}") == [
        "tasks: has 257 items, may have 256 (line 2, column 8)"
    ]


# Triggers.


def test_a_trigger_sends_an_email_or_calls_a_webhook():
    manifest = minimal("""\
triggers:
- {action: email, condition: always, to: a@example.org, cc: b@example.org, in_reply_to: <1@x>}
- {action: webhook, condition: success, url: 'https://example.org:8443/hook?x=1'}
""")
    assert parse(manifest).triggers == (
        Trigger("email", "always", to="a@example.org", cc="b@example.org", in_reply_to="<1@x>"),
        Trigger("webhook", "success", url="https://example.org:8443/hook?x=1"),
    )


@pytest.mark.parametrize(
    ("trigger", "problems"),
    [
        ("{}", ["triggers[0].action: is required", "triggers[0].condition: is required"]),
        (
            "{action: irc, condition: never}",
            [
                "triggers[0].action: 'irc' must be one of email, webhook",
                "triggers[0].condition: 'never' must be one of always, success, failure",
            ],
        ),
        (
            "{action: email, condition: never}",
            [
                "triggers[0].to: is required",
                "triggers[0].condition: 'never' must be one of always, success, failure",
            ],
        ),
        ("{action: webhook, condition: always}", ["triggers[0].url: is required"]),
    ],
)
def test_a_trigger_says_what_to_do_when_and_whom_to_tell(trigger, problems):
    found = problems_of(minimal(f"triggers: [{trigger}]"))
    assert [problem.partition(" (line 3,")[0] for problem in found] == problems


def test_a_job_tells_sixteen_receivers_of_sixteen_people_each_at_most():
    people = ",".join(["Ann <a@example.org>"] * 16)
    trigger = f"&t {{action: email, condition: always, to: '{people}', cc: '{people}'}}"
    assert len(parse(minimal(f"triggers: [{trigger}{', *t' * 15}]")).triggers) == 16

    assert problems_of(minimal(f"triggers: [{trigger}{', *t' * 16}]")) == [
        "triggers: has 17 items, may have 16 (line 3, column 11)"
    ]
    trigger = f"{{action: email, condition: always, to: '{people}, b@x', cc: '{people}, b@x'}}"
    found = problems_of(minimal(f"triggers: [{trigger}]"))
    assert [problem.partition(" (")[0] for problem in found] == [
        "triggers[0].to: may name 16 addresses at most",
        "triggers[0].cc: may name 16 addresses at most",
    ]


def test_a_job_is_given_sixty_four_secrets_at_most():
    assert len(parse(minimal(f"secrets: [&s abc{', *s' * 63}]")).secrets) == 64
    assert problems_of(minimal(f"secrets: [&s abc{', *s' * 64}]")) == [
        "secrets: has 65 items, may have 64 (line 3, column 10)"
    ]


@pytest.mark.parametrize("header", ["to", "cc", "in_reply_to"])
@pytest.mark.parametrize("break_", ["\\n", "\\r", "\\r\\n", "\\u2028"])
def test_an_email_header_cannot_smuggle_in_another(header, break_):
    headers = f'to: a@example.org, {header}: "a@example.org{break_}Bcc: all@example.org"'
    if header == "to":
        headers = headers.partition(", ")[2]

    [problem] = problems_of(minimal(f"triggers: [{{action: email, condition: always, {headers}}}]"))
    assert f"triggers[0].{header}: may not contain line breaks or control characters" in problem


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "must begin with https:// or http://"),
        ("example.org/hook", "must begin with https:// or http://"),
        ("https:///hook", "must name a host"),
        ("https://example.org:x/", "is not a valid URL"),
        ("https://[::1/", "is not a valid URL"),
        ("https://example.org/a b", "may not contain whitespace"),
    ],
)
def test_a_webhook_has_the_url_of_a_web_server(url, reason):
    trigger = f"triggers: [{{action: webhook, condition: always, url: '{url}'}}]"
    assert problems_of(minimal(trigger)) == [f"triggers[0].url: {reason} (line 3, column 54)"]


# Submitters.


def test_a_submitter_is_enabled_for_every_ref_unless_it_says_otherwise():
    manifest = minimal("submitter: {git.sr.ht: , hub.sr.ht: {enabled: off, other: 1}}")
    assert parse(manifest).submitter == {
        "git.sr.ht": Submitter(enabled=True, allow_refs=None),
        "hub.sr.ht": Submitter(enabled=False, allow_refs=None),
    }


def test_an_empty_list_of_refs_is_not_the_same_as_none():
    manifest = minimal("submitter: {git.sr.ht: {allow-refs: []}}")
    assert parse(manifest).submitter["git.sr.ht"].allow_refs == ()


@pytest.mark.parametrize(
    ("submitter", "problem"),
    [
        ("git.sr.ht", "submitter: must be a mapping (line 3, column 12)"),
        ("{a: on}", "submitter.a: must be a mapping (line 3, column 16)"),
        ("{a: {enabled: 1}}", "submitter.a.enabled: must be true or false (line 3, column 26)"),
        ("{a: {allow-refs: x}}", "submitter.a.allow-refs: must be a list (line 3, column 29)"),
    ],
)
def test_a_submitter_has_settings(submitter, problem):
    assert problems_of(minimal(f"submitter: {submitter}")) == [problem]


# Size.


def test_a_manifest_is_under_16384_characters():
    longest = minimal().ljust(MAX_CHARACTERS, "#")

    assert parse(longest) == parse(minimal())
    assert problems_of(longest + "#") == ["must be under 16,384 characters, not 16,384"]


# Labels.


def test_labels_are_known_by_their_names_however_often_and_in_what_order_they_are_written():
    assert parse(minimal("labels: [large, gpu, large]")).labels == ("gpu", "large")
    assert parse(minimal("shell: true")).labels == ()
