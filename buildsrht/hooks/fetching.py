"""The manifests of a commit, fetched from a repository that may be anybody's.

git does the work, as a child that may reach one address and write one small directory:

- Of the commit alone, without its history, and without files too large to be a manifest.
- Over http and https, to the addresses that were checked for the host, and nowhere else: redirects
  are not followed, and a server that does not speak git's own protocol, which could name other
  places, is refused.
- With no configuration, credential, hook or proxy of this machine.
- Within limits on time, memory and size.

A credential is in the environment of that one child: in no argument, file or message. Nothing is
checked out, and what is in the commit decides no path here.

Knows nothing of forges or jobs.
"""

import base64
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from buildsrht import processes
from buildsrht.errors import BuildsError
from buildsrht.manifest import MAX_CHARACTERS
from buildsrht.manifest.problems import shown

MANIFEST = re.compile(r"\.build\.ya?ml|\.builds/[^/]+\.ya?ml")
PLACES = (".build.yml", ".build.yaml", ".builds/")
MOST_MANIFESTS = 32
MANIFEST_BYTES = 4 * MAX_CHARACTERS
REGULAR = ("100644", "100755")

FETCH_BYTES = 256 * 2**20
MEMORY_BYTES = 2 * 2**30
OUTPUT_BYTES = 2**20
REASON_CHARACTERS = 300
# No byte for so long is no answer.
SILENT_SECONDS = 20
COMMAND_SECONDS = 90

_REFUSED = re.compile(
    r"returned error: (30\d|40[134])|not found"
    r"|dumb http transport|not valid: is this a git"
    r"|transport '\w+' not allowed"
)
_NOT_THERE = re.compile(r"couldn't find remote ref (.+)")
_NO_ENTRY = re.compile(r"could not read Username|Authentication failed")
_TOO_MUCH_MEMORY = re.compile(r"[Oo]ut of memory")
_UNPRINTABLE = re.compile(r"[^ -~]+")


class FetchFailed(BuildsError):
    """The manifests are not here. It may go better later."""


class FetchRefused(FetchFailed):
    """The manifests cannot be had, and trying again would change nothing."""


class Moved(FetchFailed):
    """The ref is not there or not at that commit: not any more, or not yet."""


@dataclass(frozen=True)
class Remote:
    """A repository, and the only addresses that its host may have."""

    url: str
    host: str
    port: int
    addresses: Sequence[str]
    credential: bytes | None = None

    @property
    def settings(self) -> dict[str, str]:
        """How git is to reach it."""
        found = {
            "http.curloptResolve": f"{self.host}:{self.port}:{','.join(self.addresses)}",
            "http.followRedirects": "false",
            "http.proxy": "",
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(SILENT_SECONDS),
            "transfer.bundleURI": "false",
        }
        if self.credential:
            encoded = base64.b64encode(self.credential).decode()
            found["http.extraHeader"] = f"Authorization: Basic {encoded}"
        return found


class Commit(NamedTuple):
    id: str
    author: str
    message: str


class File(NamedTuple):
    path: str
    object: str


# All in one file, which has a limit. Nothing of it has to survive a power cut.
_STORE = {
    "fetch.unpackLimit": "1",
    "core.bigFileThreshold": "1m",
    "core.fsync": "none",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
}


class Repository:
    """An empty repository of ours, to fetch into."""

    def __init__(self, directory: Path, deadline: float):
        self._directory = directory
        self._deadline = deadline

    def make(self, object_format: str) -> None:
        self._git("init", "--quiet", "--bare", f"--object-format={object_format}", "--template=")

    def fetch_object(self, remote: Remote, object_id: str) -> str:
        """Fetch an object that some ref has or had; return the commit that it is, or tags."""
        self._fetch(remote, object_id)
        return self._fetched_commit()

    def fetch_ref(self, remote: Remote, ref: str, object_id: str) -> str:
        """Fetch a ref and return the commit there; Moved unless that is, or tags, `object_id`."""
        self._fetch(remote, ref)
        commit = self._fetched_commit()
        if object_id not in (commit, self._git("rev-parse", "FETCH_HEAD").strip()):
            raise Moved(f"{ref} is at {commit[:12]}, not at {object_id[:12]}")
        return commit

    def _fetch(self, remote: Remote, what: str) -> None:
        limit = f"--filter=blob:limit={MANIFEST_BYTES + 1}"
        options = ("--quiet", "--no-tags", "--no-write-commit-graph", "--depth=1", limit)
        self._git("fetch", *options, "--", remote.url, what, settings=remote.settings)

    def _fetched_commit(self) -> str:
        return self._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()

    def commit(self, commit: str) -> Commit:
        said = self._git("log", "-1", "--encoding=UTF-8", "--format=%an%n%B", commit)
        author, _, message = said.partition("\n")
        return Commit(commit, author, message.strip())

    def manifests(self, commit: str) -> list[File]:
        """The regular files that may be manifests, by name. Of a symbolic link nothing is read."""
        listed = self._git("ls-tree", "-z", commit, "--", *PLACES)
        found = []
        for entry in listed.split("\0")[:-1]:
            facts, _, path = entry.partition("\t")
            mode, _, object_id = facts.split(" ")
            if mode in REGULAR and MANIFEST.fullmatch(path):
                found.append(File(path, object_id))
        if len(found) > MOST_MANIFESTS:
            raise FetchRefused(f"there are {len(found)} manifests, at most {MOST_MANIFESTS}")
        return sorted(found)

    def read(self, file: File) -> str:
        """The text of a manifest. What cannot be one was not even fetched, or is refused here."""
        too_large = FetchRefused(f"{shown(file.path)} has more than {MANIFEST_BYTES:,} bytes")
        try:
            size = int(self._git("cat-file", "-s", file.object))
        except FetchFailed:
            raise too_large from None
        if size > MANIFEST_BYTES:
            raise too_large
        try:
            return self._run("cat-file", "blob", file.object).decode()
        except UnicodeDecodeError as error:
            raise FetchRefused(f"{shown(file.path)}: not UTF-8 at byte {error.start}") from error

    def _git(self, *arguments: str, settings: Mapping[str, str] | None = None) -> str:
        return self._run(*arguments, settings=settings).decode(errors="replace")

    def _run(self, *arguments: str, settings: Mapping[str, str] | None = None) -> bytes:
        """Run git on the repository and return what it prints; it reaches the network only with
        `settings` that say how."""
        seconds = min(COMMAND_SECONDS, self._deadline - time.monotonic())
        command = [
            # If we are killed, git dies with us and what it has started does not.
            *("timeout", "--signal=KILL", f"{max(0, seconds) + 1:.1f}"),
            *processes.dies_with_us(signal.SIGKILL),
            *("prlimit", f"--fsize={FETCH_BYTES}", f"--as={MEMORY_BYTES}", "--core=0", "--"),
            *("git", f"--git-dir={self._directory / 'git'}", *arguments),
        ]
        with (
            open(self._directory / "stdout", "w+b") as stdout,
            open(self._directory / "stderr", "w+b") as stderr,
        ):
            environment = self._environment(settings)
            process = processes.start(
                command, cwd=self._directory, env=environment, stdout=stdout, stderr=stderr
            )
            try:
                has_ended = processes.has_ended(process.pid, max(0, seconds))
            finally:
                processes.stop(process, signal.SIGKILL, 0)
            if not has_ended:
                raise FetchFailed(f"git {arguments[0]} took longer than {max(0, seconds):.1f} s")
            stdout.seek(0)
            stderr.seek(0)
            if process.returncode != 0:
                raise self._failure(arguments[0], stderr.read(OUTPUT_BYTES))
            output = stdout.read(OUTPUT_BYTES + 1)
        if len(output) > OUTPUT_BYTES:
            raise FetchRefused(f"git {arguments[0]} printed more than {OUTPUT_BYTES:,} bytes")
        return output

    def _failure(self, command: str, last_words: bytes) -> FetchFailed:
        """What they mean. Of a child that wrote more than it may, git says nothing of use."""
        said = last_words.decode(errors="replace")
        if self._is_full or _TOO_MUCH_MEMORY.search(said):
            most = f"{FETCH_BYTES:,} bytes, or {MEMORY_BYTES:,} in memory"
            return FetchRefused(f"the commit takes more than {most}, without large files")
        if _NO_ENTRY.search(said):
            return FetchRefused(
                "the forge lets nobody in without a credential, or not with this one"
            )
        if gone := _NOT_THERE.search(said):
            return Moved(f"{_UNPRINTABLE.sub(' ', gone[1])[:REASON_CHARACTERS]} is not there")
        lines = [line for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        words = next((line for line in lines if line.startswith("fatal:")), last)
        reason = f"git {command}: {_UNPRINTABLE.sub(' ', words)[:REASON_CHARACTERS]}"
        return FetchRefused(reason) if _REFUSED.search(said) else FetchFailed(reason)

    @property
    def _is_full(self) -> bool:
        files = (path for path in self._directory.rglob("*") if path.is_file())
        return any(path.stat().st_size >= FETCH_BYTES for path in files)

    def _environment(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        """Nothing of ours but where programs are."""
        configuration = _STORE | dict(settings or {})
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._directory),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https" if settings else "",
            "GIT_CONFIG_COUNT": str(len(configuration)),
        }
        for index, (name, value) in enumerate(configuration.items()):
            environment[f"GIT_CONFIG_KEY_{index}"] = name
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return environment


@contextmanager
def repository(directory: Path, object_format: str, deadline: float) -> Iterator[Repository]:
    """A repository in a directory of its own, which is removed afterwards.

    What a killed process left there is removed first: whoever tries again uses the same directory.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    try:
        made = Repository(directory, deadline)
        made.make(object_format)
        yield made
    finally:
        shutil.rmtree(directory, ignore_errors=True)
