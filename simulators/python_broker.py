"""The broker of last resort, for a bench without mosquitto: MQTT 3.1.1 and 5, QoS 0 and 1, on 127.0.0.1, in memory.

It keeps nothing for a client that is away, neither sessions nor retained messages, and says so at CONNECT. A client
that asks for more (QoS 2, a packet over MAX_PACKET) is disconnected.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from dataclasses import dataclass, field

from simulators.arguments import port_number

MAX_PACKET = 1024 * 1024  # bytes
WINDOW = 20  # QoS 1 messages on the way to one client; below every receive maximum that a client here names

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 10, 12, 14
LEVELS = {4: False, 5: True}  # protocol level → is it MQTT 5?
NOTHING_KEPT = b"\x11\0\0\0\0\x24\x01\x25\0"  # MQTT 5: session expiry 0, maximum QoS 1, no retained messages


class NotSpoken(Exception):  # noqa: N818  what it is
    """A client said what is not MQTT, or more than this broker speaks."""


class Body:
    """The body of a packet, read field by field; raises NotSpoken where it is too short."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self._at += count
        if self._at > len(self._data):
            raise NotSpoken("a packet ends too early")
        return self._data[self._at - count : self._at]

    def number(self, size: int = 2) -> int:
        """A whole number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """A string with its length before it."""
        return self.take(self.number()).decode("utf-8", "replace")

    def skip_properties(self) -> None:
        """MQTT 5's properties: nothing in them changes what this broker does."""
        length = shift = 0
        while (byte := self.number(1)) > 127:
            length, shift = length | (byte & 127) << shift, shift + 7
        self.take(length | byte << shift)

    def rest(self) -> bytes:
        """What is left."""
        return self.take(len(self._data) - self._at)


@dataclass(slots=True, eq=False)
class Client:
    """One connection: what it subscribed to, and what is on its way to it."""

    writer: asyncio.StreamWriter
    version5: bool
    filters: dict[str, int] = field(default_factory=dict)  # topic filter → granted QoS
    outbox: asyncio.Queue[tuple[str, bytes, int]] = field(default_factory=asyncio.Queue)
    window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))

    def wants(self, topic: str) -> int | None:
        """The QoS at which it is to get this topic; None: not at all."""
        return max((qos for wanted, qos in self.filters.items() if matches(wanted, topic)), default=None)

    def properties(self, known: bytes = b"") -> bytes:
        """Properties where the protocol has them."""
        return string(known, 1) if self.version5 else b""

    async def feed(self) -> None:
        """Send what comes into the outbox, never more than WINDOW messages without acknowledgement."""
        packet_id = 0
        while True:
            topic, payload, qos = await self.outbox.get()
            head = string(topic.encode())
            if qos:
                await self.window.acquire()
                packet_id = packet_id % 0xFFFF + 1
                head += packet_id.to_bytes(2, "big")
            self.writer.write(packet(PUBLISH, head + self.properties() + payload, flags=qos << 1))
            await self.writer.drain()


class PythonBroker:
    """Everybody who is connected, by client id."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    async def serve(self, port: int) -> None:
        """Listen on 127.0.0.1 until cancelled. Raises OSError when the port is taken."""
        async with await asyncio.start_server(self.converse, "127.0.0.1", port) as server:
            await server.serve_forever()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from CONNECT to its end."""
        try:
            name, client = self._greet(*await read_packet(reader), writer)
            feeding = asyncio.create_task(client.feed())
            try:
                while (received := await read_packet(reader))[0] >> 4 != DISCONNECT:
                    self._answer(client, *received)
                    await writer.drain()
            finally:
                feeding.cancel()
                if self._clients.get(name) is client:
                    del self._clients[name]
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone, which is its right
        except NotSpoken as error:
            print(f"disconnected a client: {error}", file=sys.stderr)
        finally:
            writer.close()

    def _greet(self, first: int, data: bytes, writer: asyncio.StreamWriter) -> tuple[str, Client]:
        """Answer a CONNECT; an older connection of the same client id ends."""
        body = Body(data)
        if first >> 4 != CONNECT or body.text() != "MQTT" or (level := body.number(1)) not in LEVELS:
            raise NotSpoken("it does not begin with a CONNECT of MQTT 3.1.1 or 5")
        client = Client(writer, LEVELS[level])
        body.take(3)  # flags and keep-alive: any session is new, any log-on is good, TCP tells who is gone
        if client.version5:
            body.skip_properties()
        given = body.text()
        name = given or secrets.token_hex(8)
        if name in self._clients:
            self._clients[name].writer.close()
        self._clients[name] = client
        assigned = b"" if given else b"\x12" + string(name.encode())
        writer.write(packet(2, b"\0\0" + client.properties(NOTHING_KEPT + assigned)))
        return name, client

    def _answer(self, client: Client, first: int, data: bytes) -> None:
        """Do what a packet asks for."""
        kind, body = first >> 4, Body(data)
        if kind == PUBLISH:
            self._publish(client, first >> 1 & 3, body)
        elif kind == PUBACK:
            client.window.release()
        elif kind == SUBSCRIBE:
            self._subscribe(client, body)
        elif kind == UNSUBSCRIBE:
            self._unsubscribe(client, body)
        elif kind == PINGREQ:
            client.writer.write(packet(13, b""))
        else:
            raise NotSpoken(f"packets of type {kind} are not spoken here")

    def _publish(self, sender: Client, qos: int, body: Body) -> None:
        if qos > 1:
            raise NotSpoken("QoS 2 is not spoken here")
        topic = body.text()
        packet_id = body.take(2) if qos else b""
        if sender.version5:
            body.skip_properties()
        payload = body.rest()
        for client in self._clients.values():
            if (granted := client.wants(topic)) is not None:
                client.outbox.put_nowait((topic, payload, min(qos, granted)))
        if qos:
            sender.writer.write(packet(PUBACK, packet_id))

    @staticmethod
    def _subscribe(client: Client, body: Body) -> None:
        packet_id, granted = body.take(2), bytearray()
        if client.version5:
            body.skip_properties()
        while body:
            wanted = body.text()
            client.filters[wanted] = min(body.number(1) & 3, 1)
            granted.append(client.filters[wanted])
        client.writer.write(packet(9, packet_id + client.properties() + granted))

    @staticmethod
    def _unsubscribe(client: Client, body: Body) -> None:
        packet_id, codes = body.take(2), bytearray()
        if client.version5:
            body.skip_properties()
        while body:
            known = client.filters.pop(body.text(), None) is not None
            codes.append(0 if known else 0x11)  # 0x11: there was no such subscription
        client.writer.write(packet(11, packet_id + client.properties() + (codes if client.version5 else b"")))


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte and the body of the next packet. Raises IncompleteReadError at the end, and NotSpoken."""
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while (byte := (await reader.readexactly(1))[0]) > 127:
        length, shift = length | (byte & 127) << shift, shift + 7
    length |= byte << shift
    if length > MAX_PACKET:
        raise NotSpoken(f"a packet of {length} bytes is too large")
    return first, await reader.readexactly(length)


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A packet, ready to send."""
    length, left = bytearray(), len(body)
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    return bytes([kind << 4 | flags, *length, left]) + body


def string(data: bytes, size: int = 2) -> bytes:
    """Bytes with their length before them."""
    return len(data).to_bytes(size, "big") + data


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic fits a filter with ``+`` and ``#``."""
    parts, levels = wanted.split("/"), topic.split("/")
    if parts[-1] == "#":
        parts, levels = parts[:-1], levels[: len(parts) - 1]
    return len(parts) == len(levels) and all(part in ("+", level) for part, level in zip(parts, levels, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m simulators.python_broker", description=__doc__)
    parser.add_argument("port", type=port_number, help="on 127.0.0.1")
    asyncio.run(PythonBroker().serve(parser.parse_args().port))
