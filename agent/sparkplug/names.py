"""How Sparkplug calls things: the addresses of metrics in a configuration, and the topics of messages."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from agent.errors import BadPayload

NAMESPACE: Final = "spBv1.0"
BD_SEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"


class Verb(StrEnum):
    """What a message is; nodes and devices have their own."""

    NBIRTH = "NBIRTH"
    NDATA = "NDATA"
    NDEATH = "NDEATH"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDATA = "DDATA"
    DDEATH = "DDEATH"
    DCMD = "DCMD"


COMMANDS: Final = (Verb.NCMD, Verb.DCMD)


class Topic(NamedTuple):
    """Whose message it is. `node` is GROUP/NODE, `device` is empty where the node speaks for itself."""

    verb: Verb
    node: str
    device: str = ""

    def __str__(self) -> str:
        group, _, node = self.node.partition("/")
        return "/".join((NAMESPACE, group, self.verb, node, *((self.device,) if self.device else ())))


class Address(NamedTuple):
    """One metric, as the configuration names it."""

    node: str  # GROUP/NODE
    device: str  # empty: a metric of the node itself
    metric: str

    @property
    def owner(self) -> str:
        """Node or device, as people write it."""
        return f"{self.node}/{self.device}" if self.device else self.node

    def __str__(self) -> str:
        return f"{self.owner}:{self.metric}"


def read_address(text: str) -> Address:
    """``GROUP/NODE:METRIC`` or ``GROUP/NODE/DEVICE:METRIC``. Raises ValueError."""
    owner, _, metric = text.partition(":")
    parts = owner.split("/")
    if not metric or len(parts) not in (2, 3) or not all(map(usable, parts)):
        raise ValueError(
            f"{text!r} is no Sparkplug address; write GROUP/NODE:METRIC or GROUP/NODE/DEVICE:METRIC, "
            "as in Plant1/Line3/Press:Count/Good"
        )
    if parts[0] == "STATE":
        raise ValueError(f"{text!r}: STATE is no group, host applications speak there")
    return Address("/".join(parts[:2]), parts[2] if len(parts) == 3 else "", metric)


def usable(name: str) -> bool:
    """Whether this can be the id of a group, node, device or host: one level of a topic."""
    return bool(name) and not any(sign in name for sign in "+#/\0")


@lru_cache(maxsize=4096)
def read_topic(topic: str) -> Topic:
    """Whose message came by this topic. Raises BadPayload."""
    namespace, _, rest = topic.partition("/")
    group, verb, *ids = rest.split("/") if rest.count("/") > 1 else ("", "", "")
    if namespace != NAMESPACE or verb not in Verb.__members__:
        raise BadPayload(
            f"{topic!r} is no topic of Sparkplug B; they are {NAMESPACE}/GROUP/TYPE/NODE[/DEVICE]", reason="bad_topic"
        )
    if len(ids) != (2 if verb[0] == "D" else 1) or not all(ids):
        wanted = "a node and a device" if verb[0] == "D" else "a node alone"
        raise BadPayload(f"{topic!r}: a {verb} names {wanted}", reason="bad_topic")
    return Topic(Verb(verb), f"{group}/{ids[0]}", ids[1] if len(ids) == 2 else "")


def state_topic(host_id: str) -> str:
    """Where a host application says whether it is online."""
    return f"{NAMESPACE}/STATE/{host_id}"


def node_filter(node: str) -> str:
    """The subscription to everything of one node and its devices."""
    group, _, name = node.partition("/")
    return f"{NAMESPACE}/{group}/+/{name}/#"
