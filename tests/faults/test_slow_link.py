"""Links as plants have them: 64 kbit/s with a backlog behind it, and cut in the middle of a packet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt_bench import QUICK, Shelf, mosquitto, publish, running, source, until

BYTES_S = 8000  # 64 kbit/s
PIECE = 400  # bytes that pass at a time: twenty times a second
PAYLOAD = 300


@dataclass
class SlowLink:
    """A proxy through which so many bytes pass in each direction and second; what is ahead waits at its sender.

    `cuts` are the bytes from the broker after which each of the first connections is reset.
    """

    target: int
    speed: float = BYTES_S
    cuts: Sequence[int] = ()
    port: int = 0
    connections: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end has enough, or it is cut."""
        left = self.cuts[self.connections] if self.connections < len(self.cuts) else 1 << 40
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=PIECE)
        directions = [
            asyncio.create_task(self._pass(reader, far_writer, 1 << 40)),
            asyncio.create_task(self._pass(far_reader, writer, left)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in directions:
                one.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        while left and (piece := await reader.read(min(PIECE, left))):
            await asyncio.sleep(len(piece) / self.speed)  # the speed of the link
            left -= len(piece)
            writer.write(piece)
            await writer.drain()


@contextlib.asynccontextmanager
async def slow_link(target: int, **options: Any) -> AsyncIterator[SlowLink]:
    link = SlowLink(target, **options)
    server = await asyncio.start_server(link.talk, "127.0.0.1", 0, limit=PIECE)
    link.port = server.sockets[0].getsockname()[1]
    async with server:
        yield link


async def _drained(folder: Path, version: str, messages: int) -> None:
    expected = [f"n{number}".ljust(PAYLOAD).encode() for number in range(messages)]
    seconds = messages * PAYLOAD / BYTES_S
    async with mosquitto(folder) as broker, slow_link(broker.port) as link:
        shelf = Shelf()
        mqtt = source(link.port, version=version, keep_alive_s=2)
        async with running(mqtt, shelf):
            await until(lambda: shelf.kept)
        await publish(broker.port, expected)  # the backlog of an hour, while the agent is away
        link.connections = 0
        async with running(mqtt, shelf):
            await until(lambda: len(shelf.deliveries) >= messages, 3 * seconds + 30)
            await until(lambda: mqtt.status()["in_flight"] == 0)
            assert link.connections == 1
            assert mqtt.status()["failures"] == 0
    assert shelf.payloads == expected, "each once: nothing was sent again for want of an acknowledgement"
    assert {one.action for batch in shelf.batches for one in batch.notices} == {"session_started"}


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_backlog_drains_in_order_over_a_slow_link(tmp_path: Path, version: str):
    """Row 40: 160 messages wait behind 64 kbit/s, as long as three keep-alives: one connection, in order, each once."""
    await _drained(tmp_path, version, 160)


@pytest.mark.soak
async def test_the_backlog_of_an_hour_drains_over_a_slow_link(tmp_path: Path):
    """Row 40 at full size: 3 600 messages, two and a half minutes of the link."""
    await _drained(tmp_path, "5", 3600)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_half_a_packet_is_discarded_with_its_connection(tmp_path: Path, version: str):
    """Row 39: reset after so many bytes, in headers and payloads; the stream goes on whole, nothing is lost."""
    expected = [f"n{number}".ljust(PAYLOAD).encode() for number in range(300)]
    cuts = [1500 + 37 * number for number in range(12)]  # no multiple of a packet
    async with mosquitto(tmp_path) as broker, slow_link(broker.port, speed=1e9, cuts=cuts) as link:
        async with running(source(broker.port, version=version), Shelf()):
            pass  # the session exists before the first message
        await publish(broker.port, expected)
        shelf = Shelf()
        pace = replace(QUICK, refused=0.05, takeovers=1000)
        async with running(source(link.port, version=version, pace=pace), shelf, connected=False) as mqtt:
            await until(lambda: set(shelf.payloads) >= set(expected))
            await until(lambda: mqtt.status()["connected"] and mqtt.status()["in_flight"] == 0)
    assert link.connections == len(cuts) + 1
    assert list(dict.fromkeys(shelf.payloads)) == expected
