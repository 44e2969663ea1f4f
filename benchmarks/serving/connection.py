"""One HTTP/1.1 connection, as cheap as Python allows: it shares the processor with what it measures.

Requests are bytes made beforehand. A reply is cut into its head and the chunks of its body as they arrive;
what they hold is looked at after the clock has stopped.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass
class Reply:
    """What came back, and when its first and last byte of content did (time.perf_counter)."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    first_at: float = 0.0
    ended_at: float = 0.0


class ConnectionLostError(ConnectionError):
    """The server closed the connection before the reply was complete."""


class StaleConnectionError(ConnectionLostError):
    """The server closed the connection before any of the reply: it may have done so while it was idle."""


class Connection(asyncio.Protocol):
    """Sends one request at a time and waits for its reply."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._length: int | None = None  # of the body; None: chunked
        self._done: asyncio.Future[Reply] | None = None
        self._reply = Reply()
        self._has_head = False

    @property
    def is_open(self) -> bool:
        """Tell whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def call(self, request: bytes) -> Reply:
        """Send a request and return its whole reply. Raises ConnectionLostError."""
        assert self._transport is not None
        assert self._done is None
        self._reply, self._has_head, self._length = Reply(), False, None
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._done
        finally:
            self._done = None

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._done is not None and not self._done.done():
            error = ConnectionLostError if self._has_head else StaleConnectionError
            self._done.set_exception(error(str(exc or "closed by the server")))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._buffer += data
        if not self._has_head and not self._take_head():
            return
        is_complete = self._take_chunks() if self._length is None else self._take_body(self._length)
        if self._reply.body and not self._reply.first_at:
            self._reply.first_at = now
        if is_complete and self._done is not None and not self._done.done():
            self._reply.ended_at = now
            self._done.set_result(self._reply)

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        del self._buffer[: end + 4]
        self._reply.status = int(head[9:12])
        at = head.find(b"\r\ncontent-length:")
        self._length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else None
        self._has_head = True
        return True

    def _take_body(self, length: int) -> bool:
        if len(self._buffer) < length:
            return False
        self._reply.body += self._buffer[:length]
        del self._buffer[:length]
        return True

    def _take_chunks(self) -> bool:
        """Move whole chunks from the buffer to the body; tell whether the last one was there."""
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = int(self._buffer[:end].split(b";")[0], 16)
            if len(self._buffer) < end + 2 + size + 2:
                return False
            self._reply.body += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[: end + 2 + size + 2]
            if size == 0:
                return True
        return False


async def connect(host: str, port: int) -> Connection:
    """Open a connection."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host, port)
    return connection
