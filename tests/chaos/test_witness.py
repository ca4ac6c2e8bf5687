"""Who notes from outside which task began."""

import socket

from chaos.witness import PORT, listening

ADDRESS = "127.0.0.1"


def tell(*said: bytes) -> None:
    for words in said:
        with socket.create_connection((ADDRESS, PORT), timeout=10) as line:
            line.sendall(words)
            line.shutdown(socket.SHUT_WR)
            assert line.recv(1) == b""


def test_each_beginning_is_counted():
    with listening(ADDRESS) as witness:
        tell(b"1 first\n", b"1 second\n", b"1 first\n")
    assert witness.begun == {"1 first": 2, "1 second": 1}


def test_who_dies_before_it_has_said_which_task_begins_has_told_of_none():
    with listening(ADDRESS) as witness:
        tell(b"", b"", b"1 fir")
    assert witness.begun == {}
