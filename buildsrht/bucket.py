"""A bucket of a server that speaks S3: how it is reached, and what the object library does not do.

Objects go through obstore. Uploads that were begun and never ended are not among its objects, nor
does it say why a bucket cannot be used: for both, a few signed requests of our own. These make no
threads, so a process that forks later may send them.

Protocol: Amazon S3 API Reference, ListMultipartUploads, AbortMultipartUpload and ListObjectsV2.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import obstore
import requests
from obstore.store import S3Store
from requests.adapters import HTTPAdapter
from requests_aws4auth import AWS4Auth
from urllib3.util import Retry

from buildsrht import config
from buildsrht.errors import OperatorError

CONNECT_SECONDS = 5
# One request, which takes 5 MiB at most there, and little back.
WRITE_SECONDS = 60
READ_SECONDS = 20
# How long a request is tried anew, from its first try on. Somebody waits for what is read; what is
# written is the result of a build.
READ_PATIENCE = timedelta(seconds=10)
WRITE_PATIENCE = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(seconds=5)
# Bounds by time, not by number.
MANY = 1000
# Of a request of our own.
TRIES = 5
# A reader may take as long as they like, no request may. So a piece is a request.
READ_PIECE = 1024 * 1024
NO_BUCKET = "<Code>NoSuchBucket</Code>"


class Upload(NamedTuple):
    """One that was begun and not ended; its key is that of the bucket."""

    key: str
    upload_id: str


class Bucket:
    def __init__(self, settings: config.Storage):
        """Raises OperatorError that names every option which is missing or cannot be used."""
        secret = _secret(settings)
        name, _, prefix = settings.url.removeprefix("s3://").partition("/")
        self._prefix = prefix.rstrip("/") + "/" if prefix else ""
        self._settings = settings
        endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
        self._address = f"{endpoint}/{name}"
        self._auth = AWS4Auth(settings.access_key, secret, settings.region, "s3")

        def store(patience: timedelta, seconds: float) -> S3Store:
            return S3Store(
                name,
                prefix=self._prefix or None,
                endpoint=endpoint,
                region=settings.region,
                access_key_id=settings.access_key,
                secret_access_key=secret,
                virtual_hosted_style_request=False,
                # Not every server has the request for many keys, and we delete one at a time.
                disable_bulk_delete=True,
                client_options={
                    "allow_http": endpoint.startswith("http:"),
                    "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                    "timeout": timedelta(seconds=seconds),
                },
                retry_config={
                    "max_retries": MANY,
                    "retry_timeout": patience,
                    "backoff": {"max_backoff": LONGEST_PAUSE},
                },
            )

        with _no_settings_but_ours():
            self.reading = store(READ_PATIENCE, READ_SECONDS)
            self.writing = store(WRITE_PATIENCE, WRITE_SECONDS)

    def name_of(self, key: str) -> str:
        return f"{self._settings.url.rstrip('/')}/{key}"

    def check(self, within: float | None = None) -> None:
        """Raises OperatorError if the bucket is not there or not ours, OSError if nobody says.
        It is asked patiently, or once and to answer `within` that many seconds."""
        query = {"list-type": "2", "max-keys": "1", "prefix": self._prefix}
        with self._session(TRIES if within is None else 1) as session:
            answer = self._ask(session, "GET", "", query, within or READ_SECONDS)
        if answer.ok:
            return
        code = _text_of(answer, "Code")
        said = f"{answer.status_code} {code}".rstrip()
        if code == "NoSuchBucket":
            raise OperatorError(f"[storage] url: {self._settings.url}: no such bucket ({said})")
        if answer.status_code in (401, 403):
            raise OperatorError(
                f"[storage] access_key, secret_key_file: {self._address} refuses them ({said})"
            )
        answer.raise_for_status()

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """As `Storage.read`. Whoever replaces the object meanwhile ends the reading."""
        first = obstore.get(
            self.reading, key, options={"range": (start, min(end, start + READ_PIECE))}
        )
        version = first.meta["e_tag"]

        def others() -> Iterator[bytes]:
            for offset in range(start + READ_PIECE, end, READ_PIECE):
                piece = (offset, min(end, offset + READ_PIECE))
                found = obstore.get(
                    self.reading, key, options={"range": piece, "if_match": version}
                )
                yield bytes(found.bytes())

        return chain([bytes(first.bytes())], others())

    def settle(self, key: str) -> None:
        """What a server has acknowledged it keeps."""

    def discard_unfinished(self, prefix: str) -> None:
        """As `Storage.discard_unfinished`."""
        with self._session() as session:
            for upload in list(self._unfinished(session, self._prefix + prefix)):
                if "/" in upload.key.removeprefix(self._prefix + prefix):
                    continue
                answer = self._ask(session, "DELETE", upload.key, {"uploadId": upload.upload_id})
                # Somebody else has ended it.
                if answer.status_code != 404:
                    answer.raise_for_status()

    def _unfinished(self, session: requests.Session, prefix: str) -> Iterator[Upload]:
        after: dict[str, str] = {}
        while True:
            answer = self._ask(session, "GET", "", {"uploads": "", "prefix": prefix, **after})
            answer.raise_for_status()
            page = ElementTree.fromstring(answer.content)
            for found in page.findall("{*}Upload"):
                yield Upload(
                    found.findtext("{*}Key", default=""),
                    found.findtext("{*}UploadId", default=""),
                )
            if page.findtext("{*}IsTruncated") != "true":
                return
            after = {
                "key-marker": page.findtext("{*}NextKeyMarker", default=""),
                "upload-id-marker": page.findtext("{*}NextUploadIdMarker", default=""),
            }

    def _session(self, tries: int = TRIES) -> requests.Session:
        session = requests.Session()
        # Neither a proxy nor a password of the environment's.
        session.trust_env = False
        retries = Retry(
            total=tries - 1,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            allowed_methods=("GET", "DELETE"),
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        return session

    def _ask(
        self,
        session: requests.Session,
        method: str,
        key: str,
        query: dict[str, str],
        seconds: float = READ_SECONDS,
    ) -> requests.Response:
        # The signature is over these very bytes.
        written = "&".join(f"{quote(k, safe='')}={quote(query[k], safe='')}" for k in sorted(query))
        return session.request(
            method,
            f"{self._address}/{quote(key)}?{written}",
            auth=self._auth,
            timeout=(min(CONNECT_SECONDS, seconds), seconds),
        )


def said(error: Exception) -> str:
    """One line of what a library or its server says, without what was signed."""
    text = str(error)
    line = text.partition("\n")[0].partition("<?xml")[0].rstrip(": ")
    code = re.search(r"<Code>([A-Za-z]+)</Code>", text)
    return f"{line} ({code[1]})" if code else line


def _text_of(answer: requests.Response, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", answer.text)
    return found[1] if found else ""


@contextmanager
def _no_settings_but_ours() -> Iterator[None]:
    """obstore takes from the environment what it is not told, such as a session's token or that
    requests are not to be signed. Whose bucket this is, `[storage]` alone says."""
    others = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("AWS_")}
    try:
        yield
    finally:
        os.environ.update(others)


def _secret(settings: config.Storage) -> str:
    problems = []
    secret = ""
    if not settings.access_key:
        problems.append("[storage] access_key: needed with [storage] url")
    if settings.secret_key_file is None:
        problems.append("[storage] secret_key_file: needed with [storage] url")
    else:
        secret = _read(settings.secret_key_file, problems)
    if problems:
        raise OperatorError("; ".join(problems))
    return secret


def _read(path: Path, problems: list[str]) -> str:
    try:
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"[storage] secret_key_file: {error}")
        return ""
    if not secret:
        problems.append(f"[storage] secret_key_file: {path} is empty")
    return secret
