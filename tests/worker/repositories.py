"""Git repositories for jobs to clone."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


def make_repository(path, files):
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    for name, content in files.items():
        (path / name).write_text(content)
    git(path, "add", ".")
    git(path, "commit", "-qm", "first")
    return path


def git(path, *arguments):
    """What it says."""
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=path, check=True, capture_output=True, text=True).stdout


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def serving(path, host) -> Iterator[str]:
    """Serve a repository over HTTP, as mere files; its address."""
    served = path.with_suffix(".git")
    git(path, "clone", "-q", "--bare", str(path), str(served))
    git(served, "update-server-info")
    handler = partial(QuietHandler, directory=str(path.parent))
    with ThreadingHTTPServer((host, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield "http://{}:{}/{}".format(*server.server_address, served.name)
        server.shutdown()
        thread.join()
