"""HTTP/1.1 as uvicorn speaks it, with an end to what a client may send besides a body, and to answers without an end.

The parser keeps a header until it is whole, and has no limit: anybody could fill the memory before being asked
who he is.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.http.edge import HANG_UP, STOPPING

LARGEST_HEAD = 64 * 1024
"""Bytes; proxies and browsers send a few thousand at most."""
_FRAMING = 10
"""Bytes that a client may spend on each byte of a body: chunks of one byte take six."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """Ends a connection whose request has too much in its line, its headers, its chunks' sizes or its trailers.

    Tells the answers under way when the server is to stop, which waits for them; they can end the connection instead.
    """

    _besides = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's."""
        super().connection_made(transport)
        self._stopping = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's."""
        self._besides += len(data)
        super().data_received(data)
        if self._besides > LARGEST_HEAD and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """As uvicorn's."""
        super().on_message_begin()
        self._besides = 0
        self.scope["extensions"] = {STOPPING: {"event": self._stopping}, HANG_UP: {"end": self.transport.abort}}

    def on_body(self, body: bytes) -> None:
        """As uvicorn's."""
        super().on_body(body)
        self._besides -= (1 + _FRAMING) * len(body)

    def shutdown(self) -> None:
        """As uvicorn's."""
        super().shutdown()
        self._stopping.set()
