"""`buildsrht storage copy`, as an operator runs it to move from a directory to a bucket."""

import pytest

KEYS = ("url", "endpoint", "region", "access_key", "secret_key_file")


@pytest.fixture
def configured(backend, s3, tmp_path, monkeypatch):
    """The configuration of this test names a bucket; the directory is that of before."""
    chosen = s3.settings(tmp_path, tmp_path.name)
    options = "".join(f"{name} = {getattr(chosen, name)}\n" for name in KEYS)
    recipes = f"[images]\nrecipes = {backend.config.images.recipes}\n"
    (tmp_path / "config.ini").write_text(f"{recipes}[storage]\n{options}")

    def configure():
        monkeypatch.setenv("BUILDSRHT_CONFIG", str(tmp_path / "config.ini"))
        monkeypatch.setenv("VAR", str(backend.config.var))

    return configure


def test_what_is_in_a_directory_is_copied_and_compared_once(
    command, configured, backend, make_job, keep_artifact, s3, tmp_path
):
    keep_artifact(make_job("success"))
    configured()

    first = command("storage", "copy", backend.config.storage.path)
    again = command("storage", "copy", backend.config.storage.path)

    assert (first.status, first.out) == (0, "")
    assert "copied 1 objects" in first.err
    assert "1 are as the database says, 0 are not" in first.err
    assert (again.status, "copied 0 objects" in again.err) == (0, True)
    assert len(s3.keys(f"{tmp_path.name}/artifacts/1/")) == 1


def test_what_did_not_arrive_is_printed_and_ends_with_1(
    command, configured, backend, make_job, keep_artifact, tmp_path
):
    artifact = keep_artifact(make_job("success"))
    configured()
    (tmp_path / "empty").mkdir()

    done = command("storage", "copy", tmp_path / "empty")

    assert (done.status, done.out) == (1, f"artifacts/1/{artifact.secret} is missing\n")
