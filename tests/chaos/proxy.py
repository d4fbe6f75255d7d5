"""A TCP proxy that can be cut, held as a whole or in part, slowed, and made to lose replies."""

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from random import Random

from deploy.local.ports import HOST


class Proxy:
    """Passes connections on to a port of this machine; one fault at a time changes how."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port, self._target_port = port, target_port
        self.refusing = False
        self.losing_replies = False
        self.delay_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._held: set[StreamWriter] | None = None
        self._writers: set[StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Every connection ends at once, in both directions."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self, held: bool) -> None:
        """While held nothing passes, and nobody is told."""
        self._held = None
        if held:
            self._flowing.clear()
        else:
            self._flowing.set()

    def hold_some(self, random: Random) -> None:
        """As `hold`, for about half of the directions of the connections that there are."""
        self._held = {writer for writer in self._writers if random.random() < 0.5}
        self._flowing.clear()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, target_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._pump(reader, target_writer, replies=False), self._pump(target_reader, writer, replies=True)
            )
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pump(self, reader: StreamReader, writer: StreamWriter, replies: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self._held is None or writer in self._held:
                    await self._flowing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if replies and self.losing_replies:
                    continue
                writer.write(data)
                await writer.drain()
        # What one side ended ends for the other too.
        writer.transport.abort() if self.losing_replies else writer.close()
