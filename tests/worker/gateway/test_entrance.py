"""Who gets in, and what there is beside sessions: nothing."""

import asyncio
import socket
import subprocess
import time

import asyncssh
import pytest
from sqlalchemy import select

from buildsrht.models import SshKey
from buildsrht.services import ssh_keys
from tests.worker.gateway.conftest import serving
from worker.gateway import connection, server


def permission_denied(done):
    return done.returncode == 255 and b"Permission denied (publickey)" in done.stderr


def wait_until_used(backend):
    """Beside the session that it lets in, and not before."""
    deadline = time.monotonic() + 10
    with backend.engine.connect() as connection:
        while connection.scalar(select(SshKey.last_used)) is None:
            assert time.monotonic() < deadline, "the use of the key is not noted"
            connection.rollback()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ssh-ed25519", {}),
        ("ecdsa-sha2-nistp256", {}),
        ("ssh-rsa", {"key_size": 2048}),
    ],
)
def test_a_registered_key_is_its_user_and_its_use_is_noted(
    make_client, owner, backend, kind, options
):
    done = make_client(owner, kind, **options)()

    assert done.returncode == 1
    assert done.stderr.startswith(b"Hello ~owner; there are: connect JOB")
    wait_until_used(backend)


def test_who_is_who_is_said_by_the_key(make_client, owner, stranger):
    clients = [make_client(user) for user in (owner, stranger, owner)]

    greetings = [client().stderr.decode().split(";")[0] for client in clients]

    assert greetings == ["Hello ~owner", "Hello ~stranger", "Hello ~owner"]


@pytest.mark.parametrize("user", ["builds", "1", "root", "owner", "0", "1x", "99999999999"])
def test_a_key_that_nobody_registered_gets_nowhere(make_client, owner, user):
    make_client(owner)

    assert permission_denied(make_client()("connect", "1", user=user))


@pytest.mark.parametrize("user", ["root", "owner", "0", "1x", "99999999999", "Builds"])
def test_a_good_key_under_another_name_is_refused_just_like_a_wrong_one(ssh, make_client, user):
    refused, unknown = ssh(user=user), make_client()(user=user)

    assert permission_denied(refused)
    assert refused.stderr == unknown.stderr


def test_a_key_that_was_removed_gets_nowhere(ssh, backend):
    assert ssh().returncode == 1
    with backend.transaction() as session:
        [key] = ssh_keys.list_keys(session)

    ssh_keys.remove_key(backend, key.fingerprint)

    assert permission_denied(ssh())


def test_a_key_that_is_removed_meanwhile_begins_nothing_more_and_what_runs_goes_on(
    ssh, backend, kept_job
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
            running = await connection.create_process(f"connect {kept_job.id} echo in; cat")
            assert await running.stdout.readline() == "in\n"
            with backend.transaction() as session:
                [key] = ssh_keys.list_keys(session)
            ssh_keys.remove_key(backend, key.fingerprint)

            refused = await connection.run(f"connect {kept_job.id} true")
            goes_on = await running.communicate("still here")
            return refused, goes_on[0]

    refused, output = asyncio.run(visit())
    assert refused.stderr == "the key that you came in by is no longer registered\n"
    assert refused.exit_status == 1
    assert output == "still here"


def test_nobody_is_who_only_shows_somebodys_public_key(ssh, make_client, owner, tmp_path):
    """The private half of another key beside the owner's public one."""
    thief = make_client()
    public = subprocess.run(["ssh-keygen", "-y", "-f", ssh.key], capture_output=True, check=True)
    thief.key.with_name(f"{thief.key.name}.pub").write_bytes(public.stdout)

    assert permission_denied(thief())


def test_a_database_that_is_away_lets_nobody_in_and_nobody_is_told(ssh, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def is_away(*_):
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(ssh_keys, "find_key", is_away)

    assert permission_denied(ssh())


def test_rsa_with_sha_1_is_refused(make_client, owner):
    client = make_client(owner, "ssh-rsa", key_size=2048)

    assert permission_denied(client(options=("-o", "PubkeyAcceptedAlgorithms=ssh-rsa")))


@pytest.mark.parametrize(
    "weak",
    [
        ("KexAlgorithms", "diffie-hellman-group14-sha1"),
        ("Ciphers", "aes256-cbc"),
        ("MACs", "hmac-sha1,umac-64@openssh.com"),
    ],
)
def test_weak_algorithms_are_not_spoken(ssh, weak):
    # Its cipher needs no MAC unless another is asked for.
    cipher = ("-o", "Ciphers=aes256-ctr") if "MACs" in weak else ()

    done = ssh(options=("-o", "LogLevel=INFO", "-o", "=".join(weak), *cipher))

    assert done.returncode == 255
    assert b"no matching" in done.stderr


def test_a_host_that_has_another_key_is_noticed(ssh, make_client, tmp_path):
    ssh.known_hosts.write_text(ssh.known_hosts.read_text().replace("AAAAI", "AAAAIA", 1))

    assert b"Host key verification failed" in ssh().stderr


def test_what_is_no_command_is_refused_with_those_that_there_are(ssh):
    done = ssh("scp", "-t", ".")

    assert done.returncode == 1
    assert done.stderr.startswith(b"no command scp; there are: connect JOB [COMMAND...], tail JOB")


# --- nothing else -----------------------------------------------------------------------------


def test_no_port_is_forwarded_to_anywhere(ssh, kept_job):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]

        done = ssh(options=("-W", f"127.0.0.1:{port}"))

        assert (done.returncode, done.stderr) == (255, b"stdio forwarding failed\r\n")
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "option", ["-R 0:127.0.0.1:9", "-R /tmp/never.sock:127.0.0.1:9"], ids=["port", "socket"]
)
def test_nothing_is_listened_to_for_a_client(ssh, kept_job, option):
    forward = (*option.split(), "-o", "ExitOnForwardFailure=yes")

    done = ssh("connect", str(kept_job.id), "echo in", options=forward)

    assert (done.returncode, done.stdout) == (255, b"")
    assert b"remote port forwarding failed" in done.stderr


def test_no_agent_and_no_display_reach_the_machine(ssh, kept_job, keeper, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        done = ssh("connect", str(kept_job.id), "env", options=("-A",))

    assert done.returncode == 0
    assert b"SSH_AUTH_SOCK" not in done.stdout
    assert keeper.requests[0]["env"] == {}


def test_there_is_no_other_subsystem(ssh, kept_job):
    done = ssh("netconf", user=str(kept_job.id), options=("-s",))

    assert done.returncode != 0
    assert b"subsystem request failed" in done.stderr


# --- bounds -----------------------------------------------------------------------------------


def test_connections_of_one_address_are_bounded_and_free_again(ssh, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTIONS_OF_ONE_ADDRESS", 2)
    waiting = [socket.create_connection(("127.0.0.1", ssh.port)) for _ in range(2)]
    for one in waiting:
        assert one.recv(100).startswith(b"SSH-2.0-buildsrht")

    refused = ssh()
    for one in waiting:
        one.close()

    assert refused.returncode == 255
    assert b"Hello" not in refused.stderr
    assert b"Hello ~owner" in ssh().stderr


def test_sessions_in_one_connection_are_bounded(ssh, kept_job, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "SESSIONS", 2)
    shared = ("-S", str(tmp_path / "shared"))
    first = ssh.start(
        "connect",
        str(kept_job.id),
        "echo in; cat",
        options=(*shared, "-M", "-o", "ControlPersist=no"),
    )
    assert first.stdout.readline() == b"in\n"
    second = ssh.start("connect", str(kept_job.id), "echo in; cat", options=shared)
    assert second.stdout.readline() == b"in\n"

    # It would try a connection of its own next.
    alone = ("-o", "ProxyCommand=false")
    third = ssh("connect", str(kept_job.id), "echo in", options=(*shared, *alone))
    second.communicate()
    fourth = ssh("connect", str(kept_job.id), "echo in", options=(*shared, *alone))
    first.communicate()

    assert (third.stdout, b"Session open refused" in third.stderr) == (b"", True)
    assert fourth.stdout == b"in\n"


def test_the_keys_that_one_connection_may_offer_are_bounded(ssh, make_client, monkeypatch):
    monkeypatch.setattr(connection, "KEYS", 2)
    wrong = ["-i", str(make_client().key)]

    # The good one is offered, and then used: that is two more.
    assert ssh().returncode == 1
    assert permission_denied(ssh(options=wrong))


def test_who_never_says_who_they_are_is_sent_away(any_port, keeper, monkeypatch):
    monkeypatch.setattr(server, "LOGIN_SECONDS", 0.2)

    with serving(any_port, keeper) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        while client.recv(4096):
            pass


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_whoever_has_an_address_of_ipv6_has_its_network(one, other, is_one):
    assert (connection.place_of(one) == connection.place_of(other)) is is_one
