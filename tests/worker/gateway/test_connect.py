"""`connect`: whose machine it is, and what comes out of it."""

import asyncio
import os
import select
import signal
from datetime import UTC, datetime

import asyncssh
import pytest

from buildsrht.models import Visibility

BINARY = bytes(range(256)) * 32 * 1024  # 8 MiB: many times what any buffer on the way holds


# --- a command --------------------------------------------------------------------------------


def test_a_command_runs_in_the_machine_and_its_exit_status_comes_back(ssh, kept_job, keeper):
    done = ssh("connect", str(kept_job.id), "pwd; exit 7")

    assert (done.returncode, done.stdout, done.stderr) == (7, f"{keeper.home}\n".encode(), b"")
    assert keeper.opened == [kept_job.id]
    assert keeper.requests[0]["user"] == "build"


def test_its_output_and_its_errors_stay_apart(ssh, kept_job):
    done = ssh("connect", str(kept_job.id), "echo out; echo err >&2")

    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_words_reach_the_shell_of_the_machine_as_ssh_would_send_them(ssh, kept_job):
    done = ssh("connect", str(kept_job.id), "printf '%s|'", "'a  b'", '"$((1 + 1))"', "\\; c")

    assert done.stdout == b"a  b|2|;|c|"


def test_without_a_command_it_is_a_shell_that_reads_its_input(ssh, kept_job, keeper):
    done = ssh("connect", str(kept_job.id), input=b"echo one\nexit 3\n")

    assert (done.returncode, done.stdout) == (3, b"one\n")
    assert keeper.requests[0]["argv"] is None


def test_bytes_pass_unchanged_both_ways_and_input_has_an_end(ssh, kept_job):
    done = ssh("connect", str(kept_job.id), "cat; echo end >&2", input=BINARY)

    assert (done.stdout == BINARY, done.stderr) == (True, b"end\n")


def test_a_reader_that_is_slow_holds_up_nobody_and_gets_everything(ssh, kept_job):
    slow = ssh.start("connect", str(kept_job.id), f"head -c {len(BINARY)} /dev/zero; echo done >&2")
    first = os.read(slow.stdout.fileno(), 1)

    assert ssh("connect", str(kept_job.id), "echo quick").stdout == b"quick\n"

    rest, errors = slow.communicate(timeout=60)
    assert (len(first + rest), errors) == (len(BINARY), b"done\n")


def test_a_command_that_a_signal_ended_is_told_as_one(ssh, kept_job):
    done = ssh("connect", str(kept_job.id), "kill -TERM $$")

    # What OpenSSH makes of it.
    assert done.returncode == 255


def test_only_the_language_of_a_client_is_passed_on(ssh, kept_job, keeper, monkeypatch):
    monkeypatch.setenv("LC_TIME", "de_DE.UTF-8")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("LD_PRELOAD_OF_MINE", "/tmp/evil.so")
    sent = ("-o", "SendEnv=LANG LC_* LD_*")

    ssh("connect", str(kept_job.id), "true", options=sent)

    assert keeper.requests[0]["env"] == {"LC_TIME": "de_DE.UTF-8", "LANG": "C.UTF-8"}


# --- whose ------------------------------------------------------------------------------------


def test_a_job_that_never_existed(ssh):
    done = ssh("connect", "4711", "true")

    assert (done.returncode, done.stdout) == (255, b"")
    assert done.stderr == b"there is no job 4711\n"


def test_a_private_job_of_somebody_else_is_as_one_that_does_not_exist(
    make_client, stranger, make_job, keep
):
    job = make_job("failed", visibility=Visibility.PRIVATE)
    keep(job)

    done = make_client(stranger)("connect", str(job.id), "true")

    assert (done.returncode, done.stderr) == (255, f"there is no job {job.id}\n".encode())


@pytest.mark.parametrize("who", ["stranger", "admin"])
def test_nobody_but_its_owner_gets_to_the_machine_of_a_job_that_they_may_see(
    make_client, kept_job, keeper, request, who
):
    done = make_client(request.getfixturevalue(who))("connect", str(kept_job.id), "true")

    refusal = f"job {kept_job.id} belongs to ~owner, who alone may connect to it\n"
    assert (done.returncode, done.stderr) == (255, refusal.encode())
    assert keeper.opened == []


@pytest.mark.parametrize("words", ["connect", "connect x", "connect 0", "connect 99999999999"])
def test_what_is_no_number_of_a_job_is_refused(ssh, words):
    done = ssh(words)

    assert done.returncode == 1
    assert done.stderr.startswith(b"expected the number of a job, got ")


# --- which machine ----------------------------------------------------------------------------


def test_a_job_whose_machine_was_not_kept(ssh, make_job):
    job = make_job("success")

    done = ssh("connect", str(job.id), "true")

    refusal = f"job {job.id} is over, and its machine was not kept\n"
    assert (done.returncode, done.stderr) == (255, refusal.encode())


def test_a_machine_that_is_gone_says_why(ssh, make_job, keep):
    job = make_job("failed")
    keep(job, ended=datetime.now(UTC), reason="nobody came in time")

    done = ssh("connect", str(job.id), "true")

    assert (done.returncode, done.stderr) == (
        255,
        f"the machine of job {job.id} is gone: nobody came in time\n".encode(),
    )


def test_a_machine_on_another_build_host_is_named(ssh, make_job, keep, keeper):
    job = make_job("failed")
    keep(job, runner="host-2")

    done = ssh("connect", str(job.id), "true")

    assert done.returncode == 255
    assert b"is on the build host host-2" in done.stderr
    assert keeper.opened == []


def test_a_machine_that_cannot_be_woken_says_why(ssh, kept_job, keeper):
    keeper.refusal = "the disk of this host is short"

    done = ssh("connect", str(kept_job.id), "true")

    assert (done.returncode, done.stderr) == (255, b"the disk of this host is short\n")


def test_a_machine_that_is_lost_in_the_middle_ends_the_session(ssh, kept_job, keeper):
    client = ssh.start("connect", str(kept_job.id), "echo there; exec sleep 600")
    assert client.stdout.readline() == b"there\n"

    keeper.lose_the_machine()

    out, errors = client.communicate(timeout=30)
    assert (client.returncode, out, errors) == (255, b"", b"the machine is gone\n")


# --- leaving ----------------------------------------------------------------------------------


def fill(pipe):
    """Write until nobody takes any more: pipe, client, gateway and keeper are full."""
    os.set_blocking(pipe.fileno(), False)
    while select.select([], [pipe], [], 1)[1]:
        pipe.write(bytes(64 * 1024))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_goes_away_ends_its_session_and_no_other(ssh, kept_job, keeper, ending):
    leaving, staying = (
        ssh.start("connect", str(kept_job.id), "echo there; exec cat") for _ in range(2)
    )
    assert [client.stdout.readline() for client in (leaving, staying)] == [b"there\n"] * 2

    leaving.send_signal(ending)
    leaving.communicate()

    assert "echo there; exec cat" in keeper.ended.get(timeout=10)
    assert staying.communicate(b"still here", timeout=30)[0] == b"still here"


def test_a_client_that_goes_away_while_it_is_held_back_ends_its_session(ssh, kept_job, keeper):
    client = ssh.start("connect", str(kept_job.id), "echo there; exec sleep 600")
    assert client.stdout.readline() == b"there\n"
    fill(client.stdin)

    client.kill()
    client.communicate()

    assert "exec sleep 600" in keeper.ended.get(timeout=10)


def test_a_session_that_is_closed_while_it_is_held_back_ends_and_its_connection_goes_on(
    ssh, kept_job, keeper
):
    async def visit():
        connecting = asyncssh.connect(
            *("127.0.0.1", ssh.port),
            config=None,
            username="builds",
            client_keys=[str(ssh.key)],
            known_hosts=str(ssh.known_hosts),
        )
        async with connecting as connection:
            command = f"connect {kept_job.id} echo there; exec sleep 600"
            process = await connection.create_process(command, encoding=None)
            assert await process.stdout.readline() == b"there\n"
            process.stdin.write(BINARY)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(process.stdin.drain(), 1)

            process.channel.abort()

            assert "exec sleep 600" in await asyncio.to_thread(keeper.ended.get, timeout=10)
            return await connection.run(f"connect {kept_job.id} echo again")

    assert asyncio.run(visit()).stdout == "again\n"


# --- while the job runs -----------------------------------------------------------------------


def test_a_job_that_runs_shows_its_log_and_then_its_machine(
    ssh, make_job, build_host, keep, keeper
):
    job = make_job("queued")
    host = build_host(job.id)
    client = ssh.start("connect", str(job.id), "echo in the machine")
    host.write(None, "setting up\n")
    host.start("build")
    host.write("build", "building\n")
    seen = b"".join(client.stderr.readline() for _ in range(4))
    assert seen == b"== setup\nsetting up\n== task build\nbuilding\n"
    assert keeper.opened == []

    keep(job)
    host.end("build", "failed")
    host.finish("failed")

    out, errors = client.communicate(timeout=30)
    assert (client.returncode, out, errors) == (0, b"in the machine\n", b"")


def test_a_job_that_ends_without_a_machine_says_so(ssh, make_job, build_host):
    job = make_job("queued")
    host = build_host(job.id)
    client = ssh.start("connect", str(job.id), "true")
    host.write(None, "setting up\n")
    assert client.stderr.readline() == b"== setup\n"

    host.finish("success")

    _, errors = client.communicate(timeout=30)
    assert client.returncode == 255
    assert errors.decode() == (f"setting up\njob {job.id} is over, and its machine was not kept\n")


def test_what_is_typed_into_a_command_while_the_job_runs_is_not_lost(
    ssh, make_job, build_host, keep
):
    job = make_job("queued")
    client = ssh.start("connect", str(job.id), "cat")
    host = build_host(job.id)
    client.stdin.write(b"for the machine")
    client.stdin.close()
    client.stdin = None
    keep(job)
    host.finish("failed")

    assert client.communicate(timeout=30)[0] == b"for the machine"
