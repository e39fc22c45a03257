"""Fills a persistent session at the broker while its owner is away: one socket, packets encoded beforehand.

It speaks just enough MQTT 3.1.1 (sections 3.1, 3.3, 3.8) to be faster than anything it feeds.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence

from simulators.line.wire import Message

CONNECT, PUBLISH_QOS1, SUBSCRIBE, DISCONNECT = 0x10, 0x32, 0x82, b"\xe0\x00"
PUBACK_BYTES = 4
PIECE = 500  # packets per send
DEADLINE = 120.0


def preload(port: int, client_id: str, filters: Sequence[str], messages: Sequence[Message]) -> None:
    """Make the session of `client_id`, subscribe it with QoS 1, and publish into it while it is away."""
    with _connected(port, client_id, clean=False) as owner:
        topics = b"".join(_text(one) + b"\x01" for one in filters)
        owner.sendall(_packet(SUBSCRIBE, b"\x00\x01" + topics))
        _read(owner, 4 + len(filters))
        owner.sendall(DISCONNECT)
    publish(port, messages)


def publish(port: int, messages: Sequence[Message]) -> None:
    """Publish with QoS 1 as fast as the broker takes it, and wait until it has acknowledged all."""
    with _connected(port, "bench-publisher", clean=True) as sender:
        listener = threading.Thread(target=_read, args=(sender, PUBACK_BYTES * len(messages)))
        listener.start()
        packets = list(encoded(messages))
        for first in range(0, len(packets), PIECE):
            sender.sendall(b"".join(packets[first : first + PIECE]))
        listener.join(DEADLINE)
        if listener.is_alive():
            raise TimeoutError(f"the broker did not acknowledge {len(messages)} messages within {DEADLINE:.0f} s")
        sender.sendall(DISCONNECT)


def encoded(messages: Sequence[Message]) -> Iterator[bytes]:
    """The PUBLISH packets of these messages."""
    for number, one in enumerate(messages):
        packet_id = (number % 65535 + 1).to_bytes(2, "big")
        yield _packet(PUBLISH_QOS1, _text(one.topic) + packet_id + one.payload)


def _connected(port: int, client_id: str, *, clean: bool) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(_packet(CONNECT, _text("MQTT") + bytes([4, 2 if clean else 0, 0, 0]) + _text(client_id)))
    _read(sock, 4)
    return sock


def _read(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("the broker closed the connection; see its log")
        got += piece
    return bytes(got)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _packet(kind: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, digit = divmod(length, 128)
        size.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind]) + bytes(size) + body
