"""All edge nodes of one source: whose message it is, what cannot be read, what is due, what outlives a restart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from agent.errors import BadPayload, StoreUnfit
from agent.ports import Delivery
from agent.sparkplug import commands
from agent.sparkplug.metrics import wanted_of
from agent.sparkplug.names import COMMANDS, Address, read_topic
from agent.sparkplug.payload import read
from agent.sparkplug.session import ONLINE, Effects, Moment, Node, Patience, Refusal
from agent.tags.values import Write

VERSION: Final = 1
AGAIN: Final = timedelta(hours=1)  # the same refusal on the same topic goes into quarantine once in this time
MOST_KINDS: Final = 1000  # of refusals that are told apart; what comes after them is only counted
OTHER_REASONS: Final = {"oversize": "too_large", "invalid_topic": "bad_topic"}


class Nodes:
    """The nodes that a configuration reads. Others of the same groups are not looked at."""

    def __init__(self, tags: Mapping[str, Address], patience: Patience, random: Callable[[], float]) -> None:
        self.tags = tags
        self.refused: Counter[str] = Counter()  # reason → messages or metrics
        self.of_others = 0
        self.nodes = {name: Node(name, wanted, patience, random) for name, wanted in sorted(wanted_of(tags).items())}
        self._told: dict[tuple[str, str], Any] = {}

    def recall(self, kept: bytes | None, now: Moment) -> None:
        """Go on from a checkpoint. Raises StoreUnfit."""
        if not kept:
            return
        try:
            found = json.loads(kept)
            if found["version"] != VERSION:
                raise StoreUnfit(f"the checkpoint of the Sparkplug nodes is of version {found['version']}")
            for name, node in found["nodes"].items():
                if name in self.nodes:
                    self.nodes[name].recall(node, now)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreUnfit(f"the checkpoint of the Sparkplug nodes cannot be read: {error}") from error

    def kept(self) -> bytes:
        """The checkpoint."""
        nodes = {name: node.kept() for name, node in self.nodes.items()}
        return json.dumps({"version": VERSION, "nodes": nodes}, separators=(",", ":")).encode()

    def take(self, delivery: Delivery, now: Moment, out: Effects) -> None:
        """One message, in the order of its arrival. Commands are for nodes; none is ever executed here."""
        node = None
        try:
            self._unspoilt(delivery)
            topic = read_topic(delivery.topic)
            node = self.nodes.get(topic.node)
            if node is None:
                self.of_others += 1
            elif topic.verb not in COMMANDS:
                node.take(delivery, topic, read(delivery.payload, topic.verb), now, out)
        except BadPayload as error:
            out.refusals.append(Refusal(delivery, error))
            if node is not None:
                node.refused(now)

    def due(self) -> float | None:
        """When `tick` has something to do, in monotonic seconds."""
        return min((due for node in self.nodes.values() if (due := node.due()) is not None), default=None)

    def tick(self, now: Moment, out: Effects) -> None:
        """What is due by now."""
        for node in self.nodes.values():
            node.tick(now, out)

    def connected(self, now: Moment) -> None:
        """There is a connection to a broker."""
        for node in self.nodes.values():
            node.connected(now)

    def cut(self, why: str, now: Moment) -> None:
        """The connection is lost, and with it every node."""
        for node in self.nodes.values():
            node.cut(why, now)

    def quarantined(self, refusals: Iterable[Refusal], now: Moment) -> list[Delivery]:
        """What of the refusals is kept for people: one of a kind in an hour, the others are counted."""
        kept = []
        for delivery, error in refusals:
            self.refused[error.reason] += 1
            kind = (delivery.topic, error.reason)
            last = self._told.get(kind)
            if now.at - last < AGAIN if last is not None else len(self._told) >= MOST_KINDS:
                continue
            self._told[kind] = now.at
            facts = {**(delivery.properties or {}), "refused": f"{error.reason}: {error}"}
            kept.append(delivery._replace(properties=facts))
        return kept

    def command(self, one: Write, now: Moment) -> commands.Command | None:
        """The message that writes a tag; None while its node is not there. Raises ValueError: it cannot be written."""
        address = self.tags[one.tag]
        node = self.nodes[address.node]
        if node.state is not ONLINE:
            return None
        declared = node.table.find(address.device, address.metric)
        if declared is None:
            raise ValueError(f"{address} is in no birth, so it cannot be written")
        return commands.write(address.node, declared, one.value, now.at)

    def shown(self, now: Moment) -> dict[str, Any]:
        """The nodes as the status tells them."""
        return {name: node.shown(now.at) for name, node in self.nodes.items()}

    @staticmethod
    def _unspoilt(delivery: Delivery) -> None:
        """What the network has marked already cannot be read. Raises BadPayload."""
        for mark, reason in OTHER_REASONS.items():
            if delivery.properties and mark in delivery.properties:
                raise BadPayload(f"{mark}: {delivery.properties[mark]}", reason=reason)
