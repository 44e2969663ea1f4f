"""TorchServe's connection with a buffer."""

from __future__ import annotations

import socket

import pytest

from handler.read_ahead import read_ahead

pytestmark = pytest.mark.unit


def test_a_connection_reads_ahead_and_writes_as_before() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"head")
        assert near.recv(4) == b"head"  # TorchServe has read and answered before
        read_ahead(near)
        far.sendall(b"one" + b"two" + b"x" * 100_000)
        assert near.recv(3) == b"one"
        near.settimeout(0.0)
        assert near.recv(3) == b"two"  # it is here already
        near.settimeout(None)
        assert near.recv(100_000) == b"x" * 100_000
        near.sendall(b"reply")
        assert far.recv(5) == b"reply"
        far.close()
        assert near.recv(1) == b""  # what TorchServe takes for the end
