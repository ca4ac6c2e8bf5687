"""How the gateway starts and stops."""

import re
import signal
import socket
from dataclasses import replace

import pytest

from buildsrht.errors import OperatorError
from buildsrht.keys import Keys
from tests.buildsrht.cli.program import environment, start
from tests.worker.gateway.conftest import serving


def test_a_session_is_told_that_the_gateway_stops_and_its_keeper_that_it_ended(
    any_port, keeper, kept_job, make_client_of, owner
):
    with serving(any_port, keeper) as port:
        client = make_client_of(port, owner).start("connect", str(kept_job.id), "echo in; exec cat")
        assert client.stdout.readline() == b"in\n"

    _, errors = client.communicate(timeout=10)
    assert client.returncode == 255
    assert errors == b"The gateway stops; connect again in a moment.\n"
    assert "exec cat" in keeper.ended.get(timeout=10)


def test_a_client_that_takes_nothing_does_not_hold_up_the_end(
    any_port, keeper, kept_job, make_client_of, owner
):
    with serving(any_port, keeper) as port:
        client = make_client_of(port, owner).start("connect", str(kept_job.id), "cat /dev/zero")
        assert client.stdout.read(1) == b"\0"

    client.kill()
    client.communicate()
    assert "cat /dev/zero" in keeper.ended.get(timeout=10)


def test_a_port_that_is_taken_is_the_operators_to_mend(any_port, keeper):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ssh = replace(any_port.config.ssh, port=port)
        backend = replace(any_port, config=replace(any_port.config, ssh=ssh))

        with (
            pytest.raises(OperatorError, match=rf"\[ssh\] host, port: 127.0.0.1:{port}: .*in use"),
            serving(backend, keeper),
        ):
            pass


@pytest.mark.parametrize("content", [None, b"", b"no key"])
def test_a_host_key_that_is_no_good_is_the_operators_to_mend(any_port, keeper, tmp_path, content):
    if content is not None:
        (tmp_path / "ssh_host_key").write_bytes(content)

    with (
        pytest.raises(OperatorError, match=f"{tmp_path}/ssh_host_key: "),
        serving(replace(any_port, keys=Keys(tmp_path)), keeper),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(
    backend, tmp_path, make_client_of, owner, make_job, number
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "config.ini").write_text(f"[ssh]\nhost = 127.0.0.1\nport = {port}\n")
    job = make_job("running")
    env = environment(VAR=str(backend.config.var), BUILDSRHT_CONFIG=str(tmp_path / "config.ini"))

    with start("gateway", env=env) as gateway:
        line = gateway.stderr.readline().decode()
        assert re.search(rf"ssh is served on port {port}$", line), line
        client = make_client_of(port, owner).start("tail", str(job.id))
        said = gateway.stderr.readline().decode()
        gateway.send_signal(number)

        _, errors = client.communicate(timeout=20)
        rest = gateway.stderr.read().decode()

    assert said.endswith(f"~owner from 127.0.0.1: tail {job.id}\n")
    assert (gateway.returncode, rest) == (0, "")
    assert errors == b"The gateway stops; connect again in a moment.\n"
