"""Programs of Debian's archive, of any of its releases, without installing them.

They come the way that images/debian/build takes: by mmdebstrap, from the same mirror, with its
signatures checked, as an ordinary user too. What was unpacked is kept in VAR, each version in a
directory of its own that appears in one step, and is asked for anew after a week; where that fails,
what is there goes on being used.
"""

import os
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from buildsrht.config import Config

# An index of sid may be older than it says that it is good for.
APT_CONF = Path(__file__).parents[2] / "images/debian/sid/apt.conf"
GOOD_FOR = 7 * 24 * 3600
VERSION = "./version"
# Run where apt has the release's index: $1 is the directory that becomes the archive.
WRITE_VERSION = (
    'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache show {package}'
    ' | sed -n "s/^Version: //p" >"$1/version"'
)


class NotToBeHad(Exception):
    """The archive cannot be reached, or has no such package."""


@dataclass(frozen=True)
class Program:
    path: Path
    version: str


def program(config: Config, package: str, suite: str) -> Program:
    """`/usr/bin/PACKAGE` of a release, as it is in the archive or was there within a week."""
    kept = config.var / "clients"
    kept.mkdir(parents=True, exist_ok=True)
    current = kept / f"{package}-{suite}"
    if not _is_fresh(current):
        try:
            _fetch(config, package, suite, current)
        except NotToBeHad:
            if not current.exists():
                raise
    directory = current.resolve(strict=True)
    return Program(directory / package, directory.name.removeprefix(f"{package}_"))


def _is_fresh(link: Path) -> bool:
    return link.exists() and time.time() - link.lstat().st_mtime < GOOD_FOR


def _fetch(config: Config, package: str, suite: str, current: Path) -> None:
    """Make the link `current` lead to the release's version of the package."""
    with TemporaryDirectory(dir=current.parent) as name:
        temporary = Path(name)
        # mmdebstrap goes on as another user of a namespace.
        temporary.chmod(0o755)
        _download(config, package, suite, temporary / "archive.tar")
        with tarfile.open(temporary / "archive.tar") as archive:
            version = _read(archive, VERSION).decode().strip()
            binary = _read(archive, f"./usr/bin/{package}")
        directory = current.parent / f"{package}_{version}"
        if not directory.exists():
            _keep(binary, package, temporary / "kept", directory)
        (temporary / "link").symlink_to(directory.name)
        (temporary / "link").rename(current)


def _keep(binary: bytes, package: str, unfinished: Path, directory: Path) -> None:
    unfinished.mkdir()
    (unfinished / package).write_bytes(binary)
    (unfinished / package).chmod(0o755)
    try:
        unfinished.rename(directory)
    except OSError:
        # Another run of the tests was faster.
        if not directory.exists():
            raise


def _download(config: Config, package: str, suite: str, archive: Path) -> None:
    mode = "unshare" if os.getuid() else "root"
    command = [
        *("mmdebstrap", "--quiet", f"--mode={mode}", "--variant=extract", f"--include={package}"),
        *(f"--aptopt={APT_CONF}", '--aptopt=Acquire::Languages "none"'),
        f"--extract-hook={WRITE_VERSION.format(package=package)}",
        *(suite, str(archive), *filter(None, [config.images.mirror])),
    ]
    environment = {**os.environ, "TMPDIR": str(archive.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotToBeHad(f"{package} of Debian {suite}:\n{done.stderr}")


def _read(members: tarfile.TarFile, name: str) -> bytes:
    member = members.extractfile(name)
    assert member, f"{name} is no file"
    return member.read()
