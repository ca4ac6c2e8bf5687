"""sftp and scp: who comes as the number of a job is at its machine."""

import pytest

BINARY = bytes(range(256)) * 4096
SCP_PROTOCOLS = [(), ("-O",)]


def scp(ssh, *arguments):
    return ssh.run(["scp", *ssh.options("-P"), *map(str, arguments)])


@pytest.mark.parametrize("protocol", SCP_PROTOCOLS, ids=["sftp", "scp"])
def test_scp_brings_files_in_and_out(ssh, kept_job, keeper, tmp_path, protocol):
    there = f"{kept_job.id}@127.0.0.1"
    (tmp_path / "in").write_bytes(BINARY)

    sent = scp(ssh, *protocol, tmp_path / "in", f"{there}:inside")
    fetched = scp(ssh, *protocol, f"{there}:inside", tmp_path / "out")

    assert (sent.returncode, sent.stderr, fetched.returncode, fetched.stderr) == (0, b"", 0, b"")
    assert (keeper.home / "inside").read_bytes() == BINARY
    assert (tmp_path / "out").read_bytes() == BINARY


def test_sftp_lists_puts_and_gets(ssh, kept_job, keeper, tmp_path):
    (tmp_path / "in").write_bytes(BINARY)
    batch = f"put {tmp_path}/in there\nls\nget there {tmp_path}/out\n".encode()

    done = ssh.run(["sftp", *ssh.options("-P"), "-b", "-", f"{kept_job.id}@127.0.0.1"], input=batch)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"there" in done.stdout.split()
    assert (tmp_path / "out").read_bytes() == BINARY


def test_the_number_of_a_job_gets_a_shell_and_commands_too(ssh, kept_job):
    user = str(kept_job.id)

    assert ssh("echo hello; exit 4", user=user).returncode == 4
    assert ssh(input=b"echo from a shell\n", user=user).stdout == b"from a shell\n"


def test_a_file_that_is_not_there_is_an_error_of_scp(ssh, kept_job, tmp_path):
    done = scp(ssh, f"{kept_job.id}@127.0.0.1:nothing", tmp_path / "out")

    assert done.returncode != 0
    assert b"No such file or directory" in done.stderr


@pytest.mark.parametrize("user", ["4711", "builds"])
def test_where_there_is_no_machine_scp_says_why(ssh, tmp_path, user):
    done = scp(ssh, f"{user}@127.0.0.1:file", tmp_path / "out")

    reason = (
        b"there is no job 4711" if user == "4711" else b"give the number of the job as the user"
    )
    assert done.returncode != 0
    assert reason in done.stderr


def test_somebody_elses_job_is_refused(make_client, stranger, kept_job, keeper, tmp_path):
    done = scp(make_client(stranger), f"{kept_job.id}@127.0.0.1:file", tmp_path / "out")

    assert done.returncode != 0
    assert b"belongs to ~owner" in done.stderr
    assert keeper.opened == []
