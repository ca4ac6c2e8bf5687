"""Git repositories for jobs to clone."""

import subprocess


def make_repository(path, files):
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    for name, content in files.items():
        (path / name).write_text(content)
    git(path, "add", ".")
    git(path, "commit", "-qm", "first")
    return path


def git(path, *arguments):
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=path, check=True, capture_output=True)
