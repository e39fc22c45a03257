"""The packet decoder and the details of paho that the MQTT source relies on."""

from __future__ import annotations

import inspect
import socket
import struct
import threading
import time
from itertools import pairwise
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from agent.errors import SourceLost
from agent.ports import Delivery
from agent.sources.mqtt import MqttConfig, MqttSource
from agent.sources.mqtt_wire import Arrivals, Decoder, Link, Wake

CONNACK = {False: b"\x20\x02\x00\x00", True: b"\x20\x03\x00\x00\x00"}


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, digit = divmod(value, 128)
        out.append(digit | (128 if value else 0))
        if not value:
            return bytes(out)


def packet(topic: str, payload: bytes, *, flags: int, mid: int, version5: bool, user: str = "") -> bytes:
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + (struct.pack("!H", mid) if flags >> 1 & 3 else b"")
    if version5:
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        if user:
            properties.UserProperty = ("u", user)
        body += properties.pack()
    body += payload
    return bytes([0x30 | flags]) + varint(len(body)) + body


MESSAGES = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=150).filter(
            lambda text: "\0" not in text
        ),
        st.binary(max_size=300),
        st.sampled_from([0x00, 0x02, 0x0A]),
        st.integers(1, 65535),
    ),
    max_size=12,
)


@given(
    messages=MESSAGES,
    version5=st.booleans(),
    cuts=st.lists(st.integers(0, 4000), max_size=20),
    user=st.text("é", max_size=200),
)
def test_any_cut_of_the_stream_gives_the_same_deliveries(messages, version5: bool, cuts: list[int], user: str):
    """However the stream arrives, deliveries, acknowledgements and control packets are the ones that were sent."""
    ping = b"\xd0\x00"
    stream = CONNACK[version5] + ping.join(
        packet(topic, payload, flags=flags, mid=mid, version5=version5, user=user)
        for topic, payload, flags, mid in messages
    )
    decoder = Decoder(version5=version5, max_payload=1024)
    found = Arrivals()
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for start, end in pairwise(edges):
        if start < end:
            part = decoder.feed(stream[start:end])
            found.deliveries += part.deliveries
            found.acks += part.acks
    assert [(d.topic, d.payload) for d in found.deliveries] == [(topic, payload) for topic, payload, _, _ in messages]
    assert found.acks == b"".join(b"\x40\x02" + struct.pack("!H", mid) for _, _, flags, mid in messages if flags)
    assert decoder.control == CONNACK[version5] + ping * max(0, len(messages) - 1)


@given(
    size=st.integers(0, 200_000), step=st.integers(1000, 70_000), version5=st.booleans(), limit=st.integers(1, 150_000)
)
def test_a_payload_over_the_limit_is_streamed(size: int, step: int, version5: bool, limit: int):
    """Over the limit, in one piece or in many, the head is kept and the next message is whole."""
    stream = CONNACK[version5] + packet("t", b"z" * size, flags=2, mid=7, version5=version5)
    stream += packet("t", b"", flags=2, mid=8, version5=version5)
    decoder, deliveries, acks = Decoder(version5=version5, max_payload=limit), list[Delivery](), b""
    for start in range(0, len(stream), step):
        part = decoder.feed(stream[start : start + step])
        deliveries += part.deliveries
        acks += bytes(part.acks)
    first, second = deliveries
    assert first.payload == b"z" * (min(size, 4096) if size > limit else size)
    assert (first.properties is None) == (size <= limit)
    assert (second.payload, second.properties) == (b"", None)
    assert acks == b"\x40\x02\x00\x07\x40\x02\x00\x08"


def test_a_large_payload_never_lies_in_memory():
    """A 40 MB message needs no more than a read and the header room."""
    decoder = Decoder(version5=False, max_payload=1024)
    decoder.feed(CONNACK[False])
    stream = packet("t", b"", flags=2, mid=7, version5=False)[2:]
    decoder.feed(b"\x32" + varint(len(stream) + 40_000_000) + stream)
    for _ in range(40_000_000 // 65536):
        assert decoder.feed(bytes(65536)).deliveries == []
        assert len(decoder._rest) < 200_000


def test_length_of_five_bytes_is_refused():
    """A length field that never ends is not MQTT."""
    decoder = Decoder(version5=False, max_payload=1024)
    with pytest.raises(SourceLost, match="more than four bytes"):
        decoder.feed(CONNACK[False] + b"\x32\xff\xff\xff\xff\x01")


def test_what_is_sent_is_corked_until_flush():
    """paho's packets and a batch of acknowledgements leave together, and `recv` makes no system call."""
    near, far = socket.socketpair()
    link = Link(near, Decoder(version5=False, max_payload=1024), time.monotonic)
    link.setblocking(False)
    with far:
        far.settimeout(60)
        assert link.send(b"\x40\x02\x00\x01") == 4
        link.send(b"\x40\x02\x00\x02")
        assert link.corked
        link.flush()
        assert far.recv(100) == b"\x40\x02\x00\x01\x40\x02\x00\x02"
        far.sendall(CONNACK[False])
        with pytest.raises(BlockingIOError):
            link.recv(1)
        link.read()
        assert link.recv(1) + link.recv(10) == CONNACK[False]
        link.send(b"\xe0\x00")
        link.close()
        assert far.recv(100) == b"\xe0\x00"
    link.close()
    link.send(b"late")
    link.flush()
    assert not link.corked


def test_the_end_of_the_stream_reaches_paho_after_its_last_packet():
    """`recv` gives what is left, then the empty bytes that mean the end."""
    near, far = socket.socketpair()
    link = Link(near, Decoder(version5=False, max_payload=1024), time.monotonic)
    far.sendall(CONNACK[False])
    far.close()
    link.read()
    link.read()
    assert link.talk
    assert link.recv(100) == CONNACK[False]
    assert link.recv(100) == b""
    assert link.reason == "the broker closed the connection"
    link.close()


def test_wake_never_loses_a_ring():
    """What is queued after `clear` rings again, from many threads; a closed bell is silent."""
    wake, queue, taken = Wake(), list[int](), 0

    def work() -> None:
        for number in range(500):
            queue.append(number)
            wake.ring()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    with socket.socket(fileno=socket.dup(wake.fileno())) as bell:
        bell.settimeout(30)
        while taken < 2000:
            assert time.monotonic() < end
            bell.recv(1, socket.MSG_PEEK)
            wake.clear()
            while queue:
                queue.pop()
                taken += 1
    for thread in threads:
        thread.join()
    wake.close()
    wake.ring()


def test_the_private_details_of_paho_are_as_they_were():
    """One override and four habits of paho: a new release that changes them is to be read before it is used."""
    assert "self._sock = self._create_socket()" in inspect.getsource(paho.Client.reconnect)
    assert "self._sock.recv(bufsize)" in inspect.getsource(paho.Client._sock_recv)
    assert "self._sock.send(buf)" in inspect.getsource(paho.Client._sock_send)
    assert "self._thread is None and self._on_socket_register_write is None" in inspect.getsource(
        paho.Client._packet_queue
    )  # so it writes on the thread that calls: all calls are made on the network thread
    assert "if not self.suppress_exceptions:\n                        raise" in inspect.getsource(
        paho.Client._handle_connack
    )  # so a refusal raised in on_connect reaches the network loop


def config(**options) -> MqttConfig:
    given = {"name": "plant", "brokers": ("mqtt://broker",), "client_id": "gatepost-1", "topics": ("plant/#",)}
    return MqttConfig(**{**given, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"brokers": ("tcp://broker",)}, "is no broker"),
        ({"brokers": ("mqtt://broker:port",)}, "'mqtt://broker:port' is no broker"),
        ({"brokers": ("mqtt://broker:188300",)}, "'mqtt://broker:188300' is no broker"),
        ({"brokers": ("mqtt://broker:0",)}, "'mqtt://broker:0' is no broker"),
        ({"brokers": ("mqtt://me:s/e@cret@broker:1883",)}, "^1 validation.*\n.*\n.*'…@broker:1883' is no broker"),
        ({"brokers": ("mqtt://me:secret@broker",)}, "without user or path"),
        ({"brokers": ("mqtt://a", "mqtts://b"), "ca_file": "ca.pem"}, "must not fall back to plain text"),
        ({"brokers": ("mqtts://a",)}, "needs ca_file"),
        ({"brokers": ()}, "at least 1"),
        ({"topics": ("$share/agents/plant/#",)}, "shared subscription"),
        ({"topics": ("plant/#/a",)}, "is no topic filter"),
        ({"topics": ("plant/a+",)}, "is no topic filter"),
        ({"cert_file": "a.pem"}, "belong together"),
        ({"password": "hunter2"}, "written in the file itself"),
        ({"qos": 2}, "Extra inputs"),
    ],
)
def test_a_configuration_that_breaks_the_promise_is_refused(options, said: str):
    """Each wrong setting is named; the source is constructed cold."""
    with pytest.raises(ValidationError, match=said):
        config(**options)


def test_a_source_is_constructed_cold():
    """No thread, no socket, no file before `run`."""
    threads = threading.active_count()
    mqtt = MqttSource(config(brokers=("mqtts://broker.example",), ca_file="/nowhere/ca.pem"))
    assert threading.active_count() == threads
    assert mqtt.status()["connected"] is False
    assert mqtt.status()["in_flight"] == 0
    assert [str(broker) for broker in config(brokers=("mqtt://[::1]:1884",)).endpoints] == ["mqtt://[::1]:1884"]
