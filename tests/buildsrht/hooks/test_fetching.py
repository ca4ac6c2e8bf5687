"""git on a short leash: what is fetched, from where, and what happens to those who pull at it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht.hooks import fetching
from buildsrht.hooks.fetching import FetchFailed, FetchRefused, Moved, Remote, repository
from tests.buildsrht.hooks.forge import git, serving

MANIFEST = "image: debian\ntasks:\n- build: make\n"
PASSWORD = "ada:t0p-s3cret-t0ken"


@pytest.fixture
def remote(forge):
    return Remote(forge.url, "127.0.0.1", forge.port, ["127.0.0.1"])


@pytest.fixture
def place(tmp_path):
    return tmp_path / "fetched"


@pytest.fixture
def empty(place):
    """An empty repository of ours."""
    with repository(place, "sha1", time.monotonic() + 60) as made:
        yield made


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


# --- what is fetched --------------------------------------------------------------------------


def test_a_commit_that_was_pushed_is_fetched_by_its_name(forge, remote, empty):
    first = forge.push({".build.yml": MANIFEST}, message="Say hello\n\nand goodbye")
    forge.push({".build.yml": "other"})

    commit = empty.commit(empty.fetch_object(remote, first))

    assert commit == (first, "Ada *L*", "Say hello\n\nand goodbye")
    assert [empty.read(file) for file in empty.manifests(first)] == [MANIFEST]


def test_a_tag_with_a_message_is_the_commit_that_it_tags(forge, remote, empty):
    commit = forge.push({".build.yml": MANIFEST})
    git(forge.repository, "tag", "-a", "-m", "first", "v1", commit)
    tag = git(forge.repository, "rev-parse", "v1")

    assert tag != commit
    assert empty.fetch_object(remote, tag) == commit
    assert empty.fetch_ref(remote, "refs/tags/v1", tag) == commit
    assert empty.fetch_ref(remote, "refs/tags/v1", commit) == commit


def test_a_ref_that_has_moved_on_is_told(forge, remote, empty):
    first = forge.push({".build.yml": MANIFEST})
    second = forge.push({".build.yml": "other"})

    with pytest.raises(Moved, match=f"refs/heads/main is at {second[:12]}, not at {first[:12]}"):
        empty.fetch_ref(remote, "refs/heads/main", first)


def test_a_repository_with_longer_names_of_objects(tmp_path, place):
    with serving(tmp_path / "other") as forge:
        forge.make("sha256")
        commit = forge.push({".build.yml": MANIFEST})
        remote = Remote(forge.url, "127.0.0.1", forge.port, ["127.0.0.1"])
        with repository(place, "sha256", time.monotonic() + 60) as made:
            assert len(commit) == 64
            assert made.fetch_object(remote, commit) == commit


def test_a_commit_that_is_not_there_may_come_later(forge, remote, empty):
    forge.push({})

    with pytest.raises(FetchFailed) as failed:
        empty.fetch_object(remote, "1" * 40)
    assert not isinstance(failed.value, FetchRefused)


def test_manifests_are_regular_files_in_two_places_by_name(forge, remote, empty):
    commit = forge.push(
        {
            ".builds/b.yaml": MANIFEST,
            ".builds/a.yml": MANIFEST,
            ".builds/deeper/c.yml": MANIFEST,
            ".builds/notes.txt": "",
            ".build.yaml": MANIFEST,
            ".build.yml": MANIFEST,
            "src/.build.yml": MANIFEST,
        },
        links={".builds/link.yml": "/etc/passwd", ".builds/other.yml": "a.yml"},
    )

    found = empty.manifests(empty.fetch_object(remote, commit))

    assert [file.path for file in found] == [
        *(".build.yaml", ".build.yml", ".builds/a.yml", ".builds/b.yaml")
    ]


def test_a_directory_that_is_a_link_holds_no_manifest(forge, remote, empty):
    commit = forge.push({"other/a.yml": MANIFEST}, links={".builds": "other", ".build.yml": "x"})

    assert empty.manifests(empty.fetch_object(remote, commit)) == []


@pytest.mark.parametrize(
    "name", ["--upload-pack=x.yml", "a\nb.yml", "ä b\t.yml", "$(touch x).yml", "a\\..\\b.yml"]
)
def test_the_name_of_a_file_is_only_a_name(forge, remote, empty, name):
    commit = forge.push({f".builds/{name}": MANIFEST})

    [file] = empty.manifests(empty.fetch_object(remote, commit))

    assert file.path == f".builds/{name}"
    assert empty.read(file) == MANIFEST


def test_more_manifests_than_anybody_needs_are_refused(forge, remote, empty):
    commit = forge.push({f".builds/{number}.yml": MANIFEST for number in range(33)})

    with pytest.raises(FetchRefused, match="there are 33 manifests, at most 32"):
        empty.manifests(empty.fetch_object(remote, commit))


# --- large and broken things ------------------------------------------------------------------


@pytest.mark.parametrize("knows_filters", ["true", "false"])
def test_a_file_that_is_too_large_to_be_a_manifest_is_refused(
    forge, remote, empty, place, knows_filters
):
    git(forge.repository, "config", "uploadpack.allowFilter", knows_filters)
    large = b"#" + bytes(fetching.MANIFEST_BYTES)
    commit = forge.push({".build.yml": large, "asset": b"\0" * 2**20})

    [file] = empty.manifests(empty.fetch_object(remote, commit))

    with pytest.raises(FetchRefused, match=r"'\.build\.yml' has more than 65,532 bytes"):
        empty.read(file)


def test_large_files_are_not_even_fetched(forge, remote, empty, place):
    commit = forge.push({".build.yml": MANIFEST, "asset": Path("/usr/bin/git").read_bytes()})

    empty.fetch_object(remote, commit)

    assert size_of(place) < 100_000


def test_a_file_that_is_no_text_is_refused(forge, remote, empty):
    commit = forge.push({".build.yml": b"image: \xff"})

    [file] = empty.manifests(empty.fetch_object(remote, commit))

    with pytest.raises(FetchRefused, match=r"'\.build\.yml': not UTF-8 at byte 7"):
        empty.read(file)


def test_a_commit_that_does_not_fit_is_refused_and_the_disk_stays_free(
    forge, remote, empty, place, monkeypatch
):
    git(forge.repository, "config", "uploadpack.allowFilter", "false")
    commit = forge.push({"asset": Path("/usr/bin/git").read_bytes()})
    monkeypatch.setattr(fetching, "FETCH_BYTES", 200_000)

    with pytest.raises(FetchRefused, match="the commit takes more than 200,000 bytes"):
        empty.fetch_object(remote, commit)
    assert size_of(place) < 300_000


def test_a_list_of_files_without_end_is_refused(forge, remote, empty, monkeypatch):
    commit = forge.push({f".builds/{'x' * 50}{number}": b"" for number in range(100)})
    monkeypatch.setattr(fetching, "OUTPUT_BYTES", 1000)
    empty.fetch_object(remote, commit)

    with pytest.raises(FetchRefused, match="git ls-tree printed more than 1,000 bytes"):
        empty.manifests(commit)


def test_a_forge_that_does_not_answer_is_given_up(forge, remote, empty, monkeypatch):
    commit = forge.push({".build.yml": MANIFEST})
    forge.talks.clear()
    monkeypatch.setattr(fetching, "COMMAND_SECONDS", 0.5)

    with pytest.raises(FetchFailed, match=r"git fetch took longer than 0\.5 s") as failed:
        empty.fetch_object(remote, commit)
    assert not isinstance(failed.value, FetchRefused)


def test_all_commands_together_have_a_deadline(forge, remote, place):
    with repository(place, "sha1", time.monotonic() + 2) as made:
        commit = forge.push({".build.yml": MANIFEST})
        forge.talks.clear()
        began = time.monotonic()
        with pytest.raises(FetchFailed, match="git fetch took longer"):
            made.fetch_object(remote, commit)
        assert time.monotonic() - began < 2.5


# --- where from -------------------------------------------------------------------------------


def test_the_address_is_the_one_that_was_checked_whatever_the_name_says(forge, remote, empty):
    commit = forge.push({".build.yml": MANIFEST})
    url = forge.url.replace("127.0.0.1", "forge.invalid")

    assert empty.fetch_object(replace(remote, url=url, host="forge.invalid"), commit) == commit


def test_a_redirect_is_not_followed(forge, remote, empty, tmp_path):
    commit = forge.push({".build.yml": MANIFEST})
    with serving(tmp_path / "inside") as inside:
        forge.redirect = f"http://127.0.0.1:{inside.port}"

        with pytest.raises(FetchRefused, match="302"):
            empty.fetch_object(remote, commit)
        assert inside.requests == []


def test_a_server_of_mere_files_which_may_name_other_places_is_refused(
    forge, remote, empty, tmp_path
):
    commit = forge.push({".build.yml": MANIFEST})
    git(forge.repository, "update-server-info")
    with serving(tmp_path / "inside") as inside:
        alternates = forge.repository / "objects" / "info" / "http-alternates"
        alternates.write_text(f"http://127.0.0.1:{inside.port}/\n")
        forge.is_dumb = True

        with pytest.raises(FetchRefused, match="dumb http transport"):
            empty.fetch_object(remote, commit)
        assert inside.requests == []


@pytest.mark.parametrize(
    "url", ["file:///etc", "ssh://127.0.0.1/x", "ext::sh -c true", "git://h/x"]
)
def test_no_other_way_than_http_is_taken(remote, empty, url):
    with pytest.raises(FetchRefused, match="not allowed"):
        empty.fetch_object(replace(remote, url=url), "1" * 40)


def test_nothing_of_this_users_settings_is_used(forge, remote, empty, tmp_path, monkeypatch):
    commit = forge.push({".build.yml": MANIFEST})
    evil = tmp_path / "home"
    evil.mkdir()
    (evil / ".gitconfig").write_text(f'[url "http://127.0.0.1:1/"]\n\tinsteadOf = {forge.url}\n')
    monkeypatch.setenv("HOME", str(evil))
    monkeypatch.setenv("GIT_DIR", str(evil))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert empty.fetch_object(remote, commit) == commit


# --- credentials ------------------------------------------------------------------------------


def test_a_private_repository_opens_with_its_credential(forge, remote, empty):
    commit = forge.push({".build.yml": MANIFEST})
    forge.password = PASSWORD

    with_credential = replace(remote, credential=PASSWORD.encode())

    assert empty.fetch_object(with_credential, commit) == commit


@pytest.mark.parametrize("credential", [None, b"ada:wrong-t0ken"])
def test_a_private_repository_stays_shut_without(forge, remote, empty, credential):
    commit = forge.push({".build.yml": MANIFEST})
    forge.password = PASSWORD

    with pytest.raises(FetchRefused) as refused:
        empty.fetch_object(replace(remote, credential=credential), commit)
    assert "wrong-t0ken" not in str(refused.value)


def test_a_credential_is_in_no_argument_and_no_file(forge, remote, empty, place, monkeypatch):
    commit = forge.push({".build.yml": MANIFEST})
    forge.password = PASSWORD
    with_credential = replace(remote, credential=PASSWORD.encode())
    encoded = with_credential.settings["http.extraHeader"].split()[-1]
    started = []
    start = fetching.processes.start

    def note_command(command, **options):
        started.append(command)
        return start(command, **options)

    monkeypatch.setattr(fetching.processes, "start", note_command)
    empty.fetch_object(with_credential, commit)

    kept = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert any("fetch" in command for command in started)
    for secret in (PASSWORD, "t0p-s3cret", encoded):
        assert secret not in str(started)
        assert secret.encode() not in kept


# --- nothing is left --------------------------------------------------------------------------


def test_nothing_is_left_behind(forge, remote, place):
    commit = forge.push({".build.yml": MANIFEST})
    with repository(place, "sha1", time.monotonic() + 60) as made:
        made.fetch_object(remote, commit)
        assert (place / "git" / "objects").exists()

    assert not place.exists()


def test_what_a_killed_one_left_behind_is_removed_first(place):
    place.mkdir()
    (place / "git").write_text("in the way")

    with repository(place, "sha1", time.monotonic() + 60):
        assert (place / "git").is_dir()
