"""TorchServe's worker reads a message field by field; this lets each field come from memory.

A message carries every request in flight with all its headers: some 1,400 reads for 32 of them. Each was a
system call that gave up the interpreter and waited to get it back from the service's thread.
"""

from __future__ import annotations

import io
import socket

_BUFFER = 1 << 18  # bytes: more than a usual message


def read_ahead(connection: socket.socket) -> None:
    """Let a connection's `recv` take what is there in one go and hand it out piece by piece.

    The connection is TorchServe's, which offers it to handlers as `context.cl_socket`; the class of this one
    object changes, TorchServe's code stays as it is.
    """
    reader = io.BufferedReader(socket.SocketIO(connection, "r"), _BUFFER)
    # `read` waits for as much as it was asked for, and takes all that is there while it is at it.
    connection.__class__ = type("ReadAheadSocket", (socket.socket,), {"__slots__": (), "recv": reader.read})
