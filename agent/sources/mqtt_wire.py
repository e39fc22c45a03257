"""MQTT packets at the speed of the socket: PUBLISH is taken out of the stream before paho sees it, writes are corked.

paho reads a message with four `recv` calls and some 45 µs of Python, and writes every PUBACK with a `send` of its
own; each of them gives the interpreter lock away. So paho keeps the conversation (CONNECT, SUBSCRIBE, PUBLISH of
receipts, DISCONNECT and their answers) and a `Link` stands where its socket was: one `recv` of up to 64 KiB becomes
one batch of deliveries, and the acknowledgements of a whole batch leave in one `send`.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.errors import SourceLost
from agent.ports import Delivery

READ_BYTES = 64 * 1024
CONNECT_SECONDS = 5.0  # for the TCP connection, and again for the TLS handshake
HEAD_BYTES = 4096  # what is kept of a payload over the limit
_HEADER_ROOM = 70_000  # topic, packet id and length of the properties always lie within it
_CONNACK, _PUBLISH, _RETAIN = 0x20, 3, 0x01
_ACKS = {1: b"\x40\x02", 2: b"\x50\x02"}  # PUBACK; for QoS 2 PUBREC, sent after the commit all the same
_PUBREL, _PUBCOMP = 0x62, b"\x70\x02"
_PINGREQ = b"\xc0\x00"
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def _transport_facts(flags: int) -> Mapping[str, str] | None:
    """What the flags of a PUBLISH say that is not the rule (QoS 1, first delivery)."""
    qos = flags >> 1 & 3
    facts = ({} if qos == 1 else {"qos": str(qos)}) | ({"dup": "1"} if flags & 0x08 else {})
    return MappingProxyType(facts) if facts else None


_FACTS = tuple(_transport_facts(flags) for flags in range(16))


@dataclass(slots=True)
class Arrivals:
    """What one read brought: deliveries in order, the acknowledgements they will earn, retained topics left out."""

    deliveries: list[Delivery] = field(default_factory=list)
    acks: bytearray = field(default_factory=bytearray)  # four bytes each, to be sent after the commit
    retained: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Large:
    """A PUBLISH over the limit while its payload flows by: its head is kept, the rest only hashed."""

    first: int
    topic: bytes
    ack: bytes
    size: int
    left: int
    head: bytes = b""
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def feed(self, data: bytes) -> int:
        """Take what belongs to the payload; the number of bytes taken."""
        piece = data[: self.left]
        self.head += piece[: HEAD_BYTES - len(self.head)]
        self.digest.update(piece)
        self.left -= len(piece)
        return len(piece)

    def add_to(self, found: Arrivals) -> None:
        """Deliver the head, with what is needed to recognise the whole."""
        facts = {**(_FACTS[self.first & 15] or {}), "oversize": f"{self.size} bytes, sha256 {self.digest.hexdigest()}"}
        _add(found, self.first, self.topic, self.ack, self.head, facts)


class Decoder:
    """Cuts the byte stream of one connection into deliveries and everything else (`control`, for paho).

    `replies` are the PUBCOMPs owed to a broker that still holds QoS 2 messages of a foreign subscription.
    """

    def __init__(self, *, version5: bool, max_payload: int) -> None:
        self.control = bytearray()
        self.replies = bytearray()
        self._version5 = version5
        self._max_payload = max_payload
        self._rest = b""
        self._large: _Large | None = None
        self._greeted = False

    def feed(self, chunk: bytes) -> Arrivals:
        """The deliveries that are complete with `chunk`. Raises SourceLost on what is not MQTT."""
        found = Arrivals()
        data = self._rest + chunk if self._rest else chunk
        if not self._greeted:
            self._greet(data)
        pos, end = self._continue_large(data, found), len(data)
        while end - pos >= 2:
            length, body = (data[pos + 1], pos + 2) if data[pos + 1] < 128 else _varint(data, pos + 1)
            if body < 0:
                break
            first, stop = data[pos], body + length
            if stop > end:
                if first >> 4 == _PUBLISH and length > self._max_payload and end - body >= _HEADER_ROOM:
                    pos = self._begin_large(data, pos, body, stop)
                elif first >> 4 != _PUBLISH and length > _HEADER_ROOM:
                    raise SourceLost(f"the broker announced a control packet of {length} bytes: this is not MQTT")
                break
            if first >> 4 == _PUBLISH:
                self._publish(first, data, body, stop, found)
            elif first == _PUBREL:
                self.replies += _PUBCOMP + data[body : body + 2]
            else:
                self.control += data[pos:stop]
            pos = stop
        self._rest = data[pos:]
        return found

    def _greet(self, data: bytes) -> None:
        if data[0] != _CONNACK:
            raise SourceLost(
                f"no MQTT broker answers here, its first byte is 0x{data[0]:02x}; "
                "check the port, and that a TLS port is written mqtts://"
            )
        self._greeted = True

    def _publish(self, first: int, data: bytes, body: int, stop: int, found: Arrivals) -> None:
        topic, ack, start = self._header(first, data, body)
        if start > stop:
            raise SourceLost("the broker sent a PUBLISH that is shorter than its own header")
        if stop - start <= self._max_payload:
            _add(found, first, topic, ack, data[start:stop], _FACTS[first & 15])
        else:
            large = _Large(first, topic, ack, stop - start, stop - start)
            large.feed(data[start:stop])
            large.add_to(found)

    def _header(self, first: int, data: bytes, body: int) -> tuple[bytes, bytes, int]:
        """Topic, acknowledgement and where the payload starts."""
        start = body + 2 + int.from_bytes(data[body : body + 2], "big")
        topic, ack, qos = data[body + 2 : start], b"", first >> 1 & 3
        if qos:
            if qos == 3:
                raise SourceLost("the broker sent a PUBLISH with QoS 3, which does not exist")
            ack = _ACKS[qos] + data[start : start + 2]
            start += 2
        if self._version5:
            length, start = _varint(data, start)
            start += length
        return topic, ack, start

    def _begin_large(self, data: bytes, pos: int, body: int, stop: int) -> int:
        """Stream a payload over the limit instead of holding it in memory; how far `data` is used up by it."""
        topic, ack, start = self._header(data[pos], data, body)
        start = min(start, len(data))  # properties of more than 64 KiB count as payload
        if stop - start <= self._max_payload:
            return pos
        self._large = _Large(data[pos], topic, ack, stop - start, stop - start)
        self._large.feed(data[start:])
        return len(data)

    def _continue_large(self, data: bytes, found: Arrivals) -> int:
        if self._large is None:
            return 0
        taken = self._large.feed(data)
        if not self._large.left:
            self._large.add_to(found)
            self._large = None
        return taken


def _add(
    found: Arrivals, first: int, topic: bytes, ack: bytes, payload: bytes, facts: Mapping[str, str] | None
) -> None:
    found.acks += ack
    try:
        name = str(topic, "utf-8")
    except UnicodeDecodeError:
        name = topic.decode("utf-8", "backslashreplace")
        facts = {**(facts or {}), "invalid_topic": topic.hex()}
    if first & _RETAIN:
        found.retained.append(name)
    else:
        found.deliveries.append(Delivery(name, payload, facts))


def _varint(data: bytes, pos: int) -> tuple[int, int]:
    """A variable byte integer and the position after it, or -1 while it is not complete."""
    value = 0
    for shift, byte in enumerate(data[pos : pos + 4]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, pos + shift + 1
    if len(data) - pos >= 4:
        raise SourceLost("the broker sent a length of more than four bytes: this is not MQTT")
    return 0, -1


class Link:
    """The socket as paho sees it: control packets come out of `recv`, whatever is sent is corked until `flush`.

    Belongs to one connection. Acknowledgements are written to the link their messages came by; once that link is
    closed they go nowhere, so a late one can never acknowledge a message of a newer session.
    """

    def __init__(self, sock: socket.socket, decoder: Decoder, monotonic: Callable[[], float]) -> None:
        self.closed = False
        self.reason = ""  # why nothing comes any more
        self.heard_at = self.sent_at = self.pinged_at = monotonic()
        self.owed = 0  # acknowledgements that wait for their commit
        self._sock = sock
        self._decoder = decoder
        self._monotonic = monotonic
        self._out = bytearray()

    # what paho calls

    def recv(self, size: int) -> bytes:
        """The next bytes that are no PUBLISH; no system call."""
        control = self._decoder.control
        if not control:
            if self.reason:
                return b""
            raise BlockingIOError
        piece = bytes(control[:size])
        del control[:size]
        return piece

    def send(self, data: bytes | bytearray) -> int:
        """Cork `data`; it leaves with the next `flush`."""
        self._out += data
        return len(data)

    def close(self) -> None:
        """Send what is corked (a DISCONNECT) as far as the socket takes it at once, and close."""
        if not self.closed:
            self.flush()
            self.closed = True
            self._sock.close()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  # the signature of a socket
        """As for a socket."""
        self._sock.setblocking(flag)

    # what the network loop calls

    @property
    def talk(self) -> bool:
        """Is there something for paho: a control packet, or the end?"""
        return not self.closed and bool(self._decoder.control or self.reason)

    @property
    def corked(self) -> bool:
        """Is there something to send?"""
        return not self.closed and bool(self._out)

    def read(self) -> Arrivals:
        """What one `recv` brings. Raises SourceLost on what is not MQTT."""
        try:
            chunk = self._sock.recv(READ_BYTES)
        except _WOULD_BLOCK:
            return Arrivals()
        except OSError as error:
            self.reason = str(error)
            return Arrivals()
        if not chunk:
            self.reason = "the broker closed the connection"
            return Arrivals()
        self.heard_at = self._monotonic()
        found = self._decoder.feed(chunk)
        if self._decoder.replies:
            self.send(self._decoder.replies)
            self._decoder.replies.clear()
        return found

    def pending(self) -> bool:
        """Has TLS decrypted bytes that `poll` cannot see?"""
        return isinstance(self._sock, ssl.SSLSocket) and not self.closed and self._sock.pending() > 0

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.pinged_at = self._monotonic()
        self.send(_PINGREQ)

    def flush(self) -> None:
        """Send as much as the socket takes."""
        try:
            while self._out and not self.closed:
                del self._out[: self._sock.send(self._out)]
                self.sent_at = self._monotonic()
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self.reason = self.reason or str(error)
            self._out.clear()


class Wake:
    """Wakes the network thread out of `poll`, from any other thread."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._rung = False

    def ring(self) -> None:
        """One byte for any number of rings; harmless after `close`, and it never raises on the writer's thread."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):
                self._far.send(b"!")

    def clear(self) -> None:
        """To be called before looking for work: what is rung later wakes the next `poll`."""
        with contextlib.suppress(BlockingIOError):
            self._near.recv(64)
        self._rung = False

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._near.fileno()

    def close(self) -> None:
        """Give the descriptors back."""
        self._near.close()
        self._far.close()


class Session(paho.Client):
    """paho's client on a `Link`. `connect` opens TCP and, with a context, TLS with host name check: nothing less.

    Relies on one private detail of paho 2.2: the socket comes from `_create_socket` (pinned by a test).
    """

    def __init__(
        self,
        *,
        client_id: str,
        version5: bool,
        clean: bool = False,
        decoder: Callable[[], Decoder],
        tls: Callable[[], ssl.SSLContext | None],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if version5 else clean,
            protocol=MQTTProtocolVersion.MQTTv5 if version5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,  # paho never sees a PUBLISH; were it to see one, it must not acknowledge it
        )
        self.link: Link | None = None
        self._decoder = decoder
        self._tls = tls
        self._monotonic = monotonic

    def _create_socket(self) -> Link:
        context = self._tls()  # read anew at every connection, so that renewed certificates need no restart
        sock = socket.create_connection((self.host, self.port), CONNECT_SECONDS)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # writes are corked already
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            with contextlib.suppress(OSError):
                sock.close()
            raise
        self.link = Link(sock, self._decoder(), self._monotonic)
        return self.link
