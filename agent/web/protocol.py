"""One connection: uvicorn's HTTP protocol with an end to what arrives too slowly, and room for every peer."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S: Final = 10.0  # from the first byte (or the connection) to the end of the headers
HEADERS_PENDING_BYTES: Final = 32 * 1024  # of headers that have not ended yet
CONNECTIONS: Final = 256
CONNECTIONS_PER_PEER: Final = 128


class Protocol(HttpToolsProtocol):
    """Closes connections whose headers do not come to an end: uvicorn itself would wait for ever."""

    headers_s = HEADERS_S
    _deadline: asyncio.TimerHandle | None = None
    _pending = 0
    _in_message = False  # headers are there, the body is not complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it at once where too many are open."""
        super().connection_made(cast("asyncio.Transport", transport))
        peers = [self._peer(one) for one in self.connections]
        if len(peers) > CONNECTIONS or peers.count(self._peer(self)) > CONNECTIONS_PER_PEER:
            self.transport.abort()
            return
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; the clock runs while headers are awaited."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._deadline is None:
            self._wait_for_headers()
        if self._deadline is not None and not self._in_message:
            self._pending += len(data)
        super().data_received(data)
        if self._deadline is not None and self._pending > HEADERS_PENDING_BYTES:
            self._give_up()

    def on_headers_complete(self) -> None:
        """The request begins."""
        self._headers_came()
        self._in_message = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body ends; of a request that was answered before, the rest was only let run by."""
        self._in_message = False
        super().on_message_complete()

    def _wait_for_headers(self) -> None:
        self._pending = 0
        self._deadline = self.loop.call_later(self.headers_s, self._give_up)

    def _headers_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._headers_came()
        if not self.transport.is_closing():
            self.transport.close()

    @staticmethod
    def _peer(connection: Any) -> str | None:
        return connection.client[0] if connection.client else None
