"""A link of 64 kbit/s with a backlog behind it: it drains in order, over one connection, without a storm of tries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mqtt_bench import Shelf, mosquitto, publish, running, source, until

BYTES_S = 8000  # 64 kbit/s
PIECE = 400  # bytes that pass at a time: twenty times a second
PAYLOAD = 300


@dataclass
class SlowLink:
    """A proxy through which so many bytes pass in each direction and second; what is ahead waits at its sender."""

    target: int
    port: int = 0
    connections: int = 0
    down: int = 0  # bytes that came from the broker

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=PIECE)
        directions = {asyncio.create_task(self._pass(reader, far_writer))}
        directions.add(asyncio.create_task(self._pass(far_reader, writer, downwards=True)))
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in directions:
                one.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, downwards: bool = False
    ) -> None:
        while piece := await reader.read(PIECE):
            await asyncio.sleep(len(piece) / BYTES_S)  # the speed of the link
            self.down += len(piece) if downwards else 0
            writer.write(piece)
            await writer.drain()


@contextlib.asynccontextmanager
async def slow_link(target: int) -> AsyncIterator[SlowLink]:
    link = SlowLink(target)
    server = await asyncio.start_server(link._talk, "127.0.0.1", 0, limit=PIECE)
    link.port = server.sockets[0].getsockname()[1]
    async with server:
        yield link


async def _drained(folder: Path, version: str, messages: int) -> None:
    expected = [f"n{number}".ljust(PAYLOAD).encode() for number in range(messages)]
    seconds = messages * PAYLOAD / BYTES_S
    async with mosquitto(folder) as broker, slow_link(broker.port) as link:
        shelf = Shelf()
        mqtt = source(link.port, version=version, keep_alive_s=1)
        async with running(mqtt, shelf):
            await until(lambda: shelf.kept)
        await publish(broker.port, expected)  # the backlog of an hour, while the agent is away
        link.connections = link.down = 0
        async with running(mqtt, shelf):
            await until(lambda: len(shelf.deliveries) >= messages, 3 * seconds + 30)
            await until(lambda: mqtt.status()["in_flight"] == 0)
            assert link.connections == 1
            assert mqtt.status()["failures"] == 0
    assert shelf.payloads == expected, "each once: nothing was sent again for want of an acknowledgement"
    assert link.down < messages * (PAYLOAD + 50)
    assert {one.action for batch in shelf.batches for one in batch.notices} == {"session_started"}


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_backlog_drains_in_order_over_a_slow_link(tmp_path: Path, version: str):
    """Row 40: 130 messages wait behind 64 kbit/s, longer than four keep-alives: one connection, in order, each once."""
    await _drained(tmp_path, version, 130)


@pytest.mark.soak
async def test_the_backlog_of_an_hour_drains_over_a_slow_link(tmp_path: Path):
    """Row 40 at full size: 3 600 messages, two and a half minutes of the link."""
    await _drained(tmp_path, "5", 3600)
