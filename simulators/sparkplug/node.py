"""The session of a Sparkplug edge node: births, data by alias, numbering, and what is stored while nobody listens.

Pure: it turns what happens into packets and knows neither a network nor a clock. One connection goes: `connecting`
(the will), `connected` and `host_state` (births, when they are due), `changed` and `heartbeat` (data), `command`,
and at the end `lost` or `leave`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from simulators.line.tags import Kind, Tag, Update, Value
from simulators.sparkplug.metrics import Quality, Shown, datatype, payload, written
from simulators.sparkplug.schema import DataType, read_payload

NAMESPACE = "spBv1.0"
REBIRTH, HEARTBEAT, BD_SEQ = "Node Control/Rebirth", "Node Info/Heartbeat", "bdSeq"
NUMBERS = 256  # seq and bdSeq count from 0 and begin anew there
MOST_STORED = 100_000  # scans; the oldest is dropped
UNKNOWN_ALIAS = 999_999


class Packet(NamedTuple):
    """One PUBLISH. Sparkplug data have QoS 0: nobody says whether they arrived."""

    topic: str
    payload: bytes
    qos: int = 0


class Stored(NamedTuple):
    """A scan that nobody has seen yet."""

    device: str
    scan: Sequence[Update]
    at: datetime


class Commanded(NamedTuple):
    """A host has written a metric of a device."""

    device: str
    name: str
    value: Any


class EdgeNode:
    """One node with its devices. `host`: the primary host whose STATE it waits for; empty: it waits for nobody."""

    def __init__(self, group: str, name: str, devices: Mapping[str, Sequence[Tag]], host: str = "") -> None:
        self.name, self.group, self.host = name, group, host
        self.bd_seq = NUMBERS - 1  # of the will; the first connection has 0
        self.born = False
        self.mute = False  # publishes no data, by a fault; what changed is in `values`
        self.stored: deque[Stored] = deque(maxlen=MOST_STORED)
        self.values: dict[str, dict[str, Value]] = {
            device: {tag.name: tag.initial for tag in tags} for device, tags in devices.items()
        }
        self._tags = {device: {tag.name: tag for tag in tags} for device, tags in devices.items()}
        self._quality = dict.fromkeys(devices, Quality.GOOD)
        self._offsets: dict[tuple[str, str], int] = {}  # what totalisers showed when they were reset
        self._places = [("", HEARTBEAT), *((device, tag.name) for device, tags in devices.items() for tag in tags)]
        self._shift = 0
        self.is_connected = False
        self._online_since = -1  # the STATE timestamp of the host's latest word
        self._seq = 0
        self._beats = 0

    # ── one connection ──────────────────────────────────────────────────────────────────────────────────────

    def connecting(self, at: datetime) -> Packet:
        """The will of the next CONNECT: an NDEATH with the bdSeq that its NBIRTH will have."""
        self.bd_seq = (self.bd_seq + 1) % NUMBERS
        self.is_connected = self.born = False
        return self.death(self.bd_seq, at)

    def subscriptions(self) -> list[str]:
        """What to subscribe to with QoS 1 before anything is published."""
        commands = [self._topic("NCMD"), self._topic("DCMD", "+")]
        return [*commands, f"{NAMESPACE}/STATE/{self.host}"] if self.host else commands

    def connected(self, at: datetime) -> list[Packet]:
        """The broker has accepted the subscriptions: births, or nothing before the host has said that it is there."""
        self.is_connected = True
        return [] if self.host else [*self.births(at), *self._history(at)]

    def host_state(self, said: bytes, at: datetime) -> list[Packet]:
        """The host is there: births, then what was stored. It has gone: the NDEATH, and the caller hangs up."""
        try:
            state = json.loads(said)
            online, since = bool(state["online"]), int(state["timestamp"])
        except (ValueError, KeyError, TypeError):
            return []  # no STATE of this version of the specification
        if since < self._online_since:
            return []  # an old word, retained or late
        self._online_since = since
        if online and self.is_connected and not self.born:
            return [*self.births(at), *self._history(at)]
        return [] if online else self.leave(at)

    def leave(self, at: datetime) -> list[Packet]:
        """An NDEATH before the node hangs up by itself; nothing where it was not born."""
        was_born, self.born = self.born, False
        return [self.death(self.bd_seq, at)] if was_born else []

    def lost(self) -> None:
        """The connection is gone: what changes from now on is stored."""
        self.is_connected = self.born = False

    # ── what it publishes ───────────────────────────────────────────────────────────────────────────────────

    def births(self, at: datetime) -> list[Packet]:
        """NBIRTH and a DBIRTH for each device, with the values as they are; numbering begins anew."""
        self.born, self._seq = True, 0
        node = [
            Shown(self.bd_seq, DataType.INT64, at, BD_SEQ),
            Shown(False, DataType.BOOLEAN, at, REBIRTH),
            Shown(self._beats, DataType.UINT64, at, HEARTBEAT, self._alias("", HEARTBEAT)),
        ]
        packets = [Packet(self._topic("NBIRTH"), payload(node, at, self._next_seq()))]
        for device, values in self.values.items():
            metrics = [self._shown(device, name, value, at, named=True) for name, value in values.items()]
            packets.append(Packet(self._topic("DBIRTH", device), payload(metrics, at, self._next_seq())))
        return packets

    def changed(self, device: str, scan: Iterable[Update], at: datetime) -> list[Packet]:
        """The controller of a device shows something new: one DDATA; stored where nobody would hear it."""
        updates = [Update(name, self._counted(device, name, value)) for name, value in scan]
        self.values[device].update(updates)
        if not self.born:
            self.stored.append(Stored(device, updates, at))
            return []
        return [] if self.mute else [self._data(device, updates, at)]

    def heartbeat(self, at: datetime) -> list[Packet]:
        """An NDATA that shows that the node lives, and by its number whether something before it was lost."""
        if not self.born or self.mute:
            return []
        self._beats += 1
        beat = Shown(self._beats, DataType.UINT64, at, alias=self._alias("", HEARTBEAT))
        return [Packet(self._topic("NDATA"), payload([beat], at, self._next_seq()))]

    def command(self, topic: str, said: bytes, at: datetime) -> tuple[list[Packet], list[Commanded]]:
        """An NCMD (births, where it asks for them) or a DCMD: what a host wrote. Raises DecodeError."""
        kind, device = self._address(topic)
        names = {self._alias(place, name): name for place, name in self._places if place == device}
        wanted = written(read_payload(said), names)
        if kind == "NCMD":
            return (self.births(at) if wanted.get(REBIRTH) and self.born else []), []
        known = self._tags.get(device, {})
        return [], [
            Commanded(device, name, value) for name, value in wanted.items() if name in known and known[name].writable
        ]

    def death(self, bd_seq: int, at: datetime) -> Packet:
        """An NDEATH of this number; it has no seq."""
        return Packet(self._topic("NDEATH"), payload([Shown(bd_seq, DataType.INT64, at, BD_SEQ)], at, None), 1)

    # ── what goes wrong on demand ───────────────────────────────────────────────────────────────────────────

    def other_aliases(self, at: datetime) -> list[Packet]:
        """A rebirth in which every alias means another metric than before."""
        self._shift += 1
        return self.births(at) if self.born else []

    def reset_counters(self, device: str, at: datetime) -> list[Packet]:
        """The controller's program was loaded anew: its totalisers stand at 0 and count on from there."""
        updates = []
        for name, tag in self._tags[device].items():
            if tag.kind is Kind.COUNTER and tag.unit:
                before = self._offsets.get((device, name), 0)
                self._offsets[device, name] = before + int(self.values[device][name])
                updates.append(Update(name, 0))
        self.values[device].update(updates)
        if not self.born:
            self.stored.append(Stored(device, updates, at))
            return []
        return [self._data(device, updates, at)]

    def quality(self, device: str, quality: Quality, at: datetime) -> list[Packet]:
        """From now on the device's values have this quality; all of them are published with it at once."""
        self._quality[device] = quality
        return self.resend(device, at)

    def resend(self, device: str, at: datetime) -> list[Packet]:
        """One DDATA with all values of a device as they are."""
        updates = [Update(name, value) for name, value in self.values[device].items()]
        return [self._data(device, updates, at)] if self.born else []

    def stranger(self, device: str, at: datetime) -> list[Packet]:
        """A DDATA with an alias that no birth has announced."""
        odd = Shown(1, DataType.UINT32, at, alias=UNKNOWN_ALIAS)
        return [Packet(self._topic("DDATA", device), payload([odd], at, self._next_seq()))] if self.born else []

    # ── how it is written ───────────────────────────────────────────────────────────────────────────────────

    def _history(self, at: datetime) -> list[Packet]:
        """What was stored, in its order and marked as history."""
        packets = [self._data(one.device, one.scan, at, seen=one.at) for one in self.stored]
        self.stored.clear()
        return packets

    def _data(self, device: str, updates: Iterable[Update], at: datetime, seen: datetime | None = None) -> Packet:
        metrics = [self._shown(device, name, value, seen or at, historical=seen is not None) for name, value in updates]
        return Packet(self._topic("DDATA", device), payload(metrics, at, self._next_seq()))

    def _shown(
        self, device: str, name: str, value: Value, at: datetime, *, named: bool = False, historical: bool = False
    ) -> Shown:
        kind, alias = datatype(self._tags[device][name]), self._alias(device, name)
        return Shown(value, kind, at, name if named else "", alias, self._quality[device], historical)

    def _counted(self, device: str, name: str, value: Value) -> Value:
        """What a totaliser shows that was reset since."""
        offset = self._offsets.get((device, name))
        return value if offset is None else (int(value) - offset) % (self._tags[device][name].modulus or 1 << 32)

    def _alias(self, device: str, name: str) -> int:
        return (self._places.index((device, name)) + self._shift) % len(self._places)

    def _next_seq(self) -> int:
        seq, self._seq = self._seq, (self._seq + 1) % NUMBERS
        return seq

    def _topic(self, kind: str, device: str = "") -> str:
        return "/".join(filter(None, (NAMESPACE, self.group, kind, self.name, device)))

    @staticmethod
    def _address(topic: str) -> tuple[str, str]:
        _, _, kind, _, *device = topic.split("/")
        return kind, device[0] if device else ""
