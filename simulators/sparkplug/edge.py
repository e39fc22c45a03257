"""The running edge node: turns the connection, lets the plant work, and does what the faults and the hosts want."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Event

from google.protobuf.message import DecodeError

from simulators.line.tags import TagLot, Update
from simulators.sparkplug.faults import Faults, Rule, read_rules
from simulators.sparkplug.link import Heard, Link
from simulators.sparkplug.metrics import Quality
from simulators.sparkplug.node import NAMESPACE, NUMBERS, EdgeNode, Packet
from simulators.sparkplug.production import ERROR, Production

TURN_SECONDS = 0.02
MOST_AT_ONCE = 200  # scans between two looks at the network
QUALITIES = {"stale": Quality.STALE, "bad": Quality.BAD}


class Edge:
    """One node on one connection. `done` is told of each lot that is complete, `say` of what a person wants to know."""

    def __init__(
        self,
        node: EdgeNode,
        link: Link,
        production: Production,
        faults: Faults,
        *,
        heartbeat: float,
        done: Callable[[TagLot], None],
        say: Callable[[str], None],
    ) -> None:
        self._node, self._link, self._production, self._faults = node, link, production, faults
        self._heartbeat, self._done, self._say = heartbeat, done, say
        self._beat_at = 0.0
        self._begun = False  # the first births are out: before them nobody knows where the totalisers stand
        self._over = False
        self._held: list[Packet] = []  # of the fault `swapped`
        self._silent_until = 0.0
        self._heals: list[tuple[float, str]] = []  # when a device says all its values, and that they are good

    @property
    def control(self) -> str:
        """The topic on which fault rules are taken while it runs."""
        return control_topic(self._node.group, self._node.name)

    def run(self, stop: Event) -> None:
        """Until `stop`; then the NDEATH and a goodbye. Raises LogonError."""
        while not stop.is_set():
            self.turn()
        if self._link.ready:
            self._send(self._node.leave(_now()))
        self._link.hang_up()

    def turn(self) -> None:
        """One round: connection, what was heard, what the plant shows, heartbeat."""
        if self._link.connecting_is_due:
            self._link.connect(self._node.connecting(_now()), [*self._node.subscriptions(), self.control])
        if not self._link.turn(TURN_SECONDS):
            self._lost("the broker has gone")
        self._node.mute = time.monotonic() < self._silent_until
        if self._link.ready and not self._node.mute:
            self._hear()
        if self._begun:
            self._work()
        self._heal()
        if time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + self._heartbeat
            self._send(self._node.heartbeat(_now()))

    # ── what comes in ───────────────────────────────────────────────────────────────────────────────────────

    def _hear(self) -> None:
        if not self._node.is_connected:
            self._born(self._node.connected(_now()))
        while self._link.heard:
            heard = self._link.heard.popleft()
            if heard.topic == self.control:
                self._obey(heard.payload)
            elif heard.topic.startswith(f"{NAMESPACE}/STATE/"):
                self._host(heard)
            else:
                self._commanded(heard)

    def _host(self, heard: Heard) -> None:
        was_born, stored = self._node.born, len(self._node.stored)
        packets = self._node.host_state(heard.payload, _now())
        if self._node.born and not was_born:
            self._born(packets, stored)
        elif was_born and not self._node.born:
            self._say(f"host {self._node.host} is offline; storing")
            self._send(packets)
            self._link.hang_up()
            self._node.lost()

    def _born(self, packets: list[Packet], stored: int = 0) -> None:
        self._send(packets)
        if self._node.born:
            self._begun = True
            self._say(f"born with bdSeq {self._node.bd_seq}" + (f", {stored} stored scans sent" if stored else ""))

    def _commanded(self, heard: Heard) -> None:
        try:
            packets, commands = self._node.command(heard.topic, heard.payload, _now())
        except DecodeError as error:
            self._say(f"{heard.topic}: not a Sparkplug payload ({error})")
            return
        if packets:
            self._say("rebirth was asked for")
        self._send(packets)
        for device, name, value in commands:
            self._send(self._node.changed(device, [Update(name, value)], _now()))
            if name == ERROR and value:
                self._say(f"{device}: lot refused with error {value}")
            if shown := self._production.answered(device, {name: value}):
                self._send(self._node.changed(device, shown, _now()))

    def _obey(self, said: bytes) -> None:
        try:
            rules = read_rules(said)
        except ValueError as error:
            self._say(f"{self.control}: {error}")
            return
        self._faults.rules = rules
        self._say("faults: " + (", ".join(rule.fault for rule in rules) or "none"))

    # ── what the plant shows ────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        for _ in range(MOST_AT_ONCE):
            shown = False
            for center, scan, completes in self._production.scans(time.monotonic()):
                shown = True
                if completes:
                    self._done(completes)
                self._show(center, scan)
            if not shown:
                break
        if self._production.over and not self._over:
            self._over = True
            self._say("the line has made all it had to make")

    def _show(self, device: str, scan: Iterable[Update]) -> None:
        rule = self._faults.pick(device) if self._node.born else None
        if rule:
            self._before(rule, device)
        packets = self._node.changed(device, scan, _now())
        self._send(self._struck(rule.fault, packets) if rule else packets)

    def _struck(self, fault: str, packets: list[Packet]) -> list[Packet]:
        match fault:
            case "lost":
                return []
            case "duplicated":
                return [*packets, *packets]
            case "swapped":
                self._held += packets
                return []
            case _:
                return packets

    def _before(self, rule: Rule, device: str) -> None:
        """Faults that are not about one message."""
        at = _now()
        match rule.fault:
            case "aliases":
                self._send(self._node.other_aliases(at))
            case "unknown_alias":
                self._send(self._node.stranger(device, at))
            case "wrong_bdseq":
                self._send([self._node.death((self._node.bd_seq + 7) % NUMBERS, at)])
            case "reset":
                self._send(self._node.reset_counters(device, at))
            case "stale" | "bad":
                self._send(self._node.quality(device, QUALITIES[rule.fault], at))
                self._heals.append((time.monotonic() + rule.seconds, device))
            case "silent":
                self._node.mute, self._silent_until = True, time.monotonic() + rule.seconds
                self._heals += [(self._silent_until, each) for each in self._node.values]
            case "vanish":
                self._link.cut()
                self._lost("the connection is cut")

    def _heal(self) -> None:
        """Qualities are good again, and what was not said is said, when its time has come."""
        for heal in [one for one in self._heals if one[0] <= time.monotonic()]:
            self._heals.remove(heal)
            if not any(device == heal[1] for _, device in self._heals):
                self._send(self._node.quality(heal[1], Quality.GOOD, _now()))

    def _send(self, packets: Iterable[Packet]) -> None:
        """Publish; what `swapped` held back goes behind the first of them."""
        for packet in packets:
            self._link.publish([packet, *self._held])
            self._held.clear()

    def _lost(self, why: str) -> None:
        if self._node.born:
            self._say(f"{why}; storing")
        self._held.clear()
        self._node.lost()


def control_topic(group: str, node: str) -> str:
    """Where a running node takes fault rules."""
    return f"simulators/sparkplug/{group}/{node}/faults"


def _now() -> datetime:
    return datetime.now(UTC)
