"""A terminal: its kind and size, what is typed, and how it is left."""

import re

import pytest


def test_a_shell_has_a_terminal_of_the_kind_and_size_of_the_client(ssh, kept_job, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")

    with ssh.screen("connect", str(kept_job.id)) as screen:
        told = screen.wait_for(b"$ ")
        screen.type(b"tty; stty size; echo $TERM\n")
        shown = screen.wait_for(b"xterm-256color\r\n")
        screen.type(b"exit 5\n")

        assert screen.end() == 5
    assert re.search(
        rb"^Waking the machine of job 1, which is kept until \d.* UTC \.\.\.\r\n", told
    )
    assert b"/dev/pts/" in shown
    assert b"\r\n24 80\r\n" in shown


def test_a_terminal_that_is_resized_is_resized_there_too(ssh, kept_job):
    command = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done"

    with ssh.screen("connect", str(kept_job.id), command) as screen:
        screen.wait_for(b"ready\r\n")
        screen.resize(132, 43)

        assert screen.wait_for(b"43 132\r\n")
        assert screen.end() == 0


def test_control_c_interrupts_the_command_and_not_the_session(ssh, kept_job):
    with ssh.screen("connect", str(kept_job.id)) as screen:
        screen.wait_for(b"$ ")
        screen.type(b"sh -c 'echo begun; exec sleep 600'\n")
        screen.wait_for(b"begun\r\n")
        screen.type(b"\x03")
        screen.wait_for(b"$ ")
        screen.type(b"echo status $?; exit\n")

        assert screen.wait_for(b"status 130\r\n")


def test_a_break_interrupts_the_command_too(ssh, kept_job):
    command = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done"

    with ssh.screen("connect", str(kept_job.id), command) as screen:
        screen.wait_for(b"ready\r\n")
        screen.type(b"\r~B")

        screen.wait_for(b"interrupted\r\n")
        assert screen.end() == 3


@pytest.mark.parametrize("words", ["tail", "connect"])
def test_control_c_leaves_a_log_that_is_watched(ssh, make_job, build_host, keeper, words):
    job = make_job("queued")
    build_host(job.id).write(None, "one\ntwo\n")

    with ssh.screen(words, str(job.id)) as screen:
        screen.wait_for(b"== setup\r\none\r\ntwo\r\n")
        screen.type(b"\x03")

        assert screen.end() == 130
    assert keeper.opened == []


def test_a_log_comes_before_the_shell(ssh, make_job, build_host, keep):
    job = make_job("queued")
    host = build_host(job.id)
    host.write(None, "setting up\n")

    with ssh.screen("connect", str(job.id)) as screen:
        screen.wait_for(b"setting up\r\n")
        keep(job)
        host.finish("failed")
        screen.wait_for(b"$ ")
        screen.type(b"exit\n")

        assert screen.end() == 0
