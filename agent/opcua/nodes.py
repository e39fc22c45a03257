"""What the agent shows as an OPC UA server: the names, types and meanings of its variables and methods. No library."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

NAMESPACE: Final = "urn:gatepost:agent"
ROOT: Final = "Gatepost"


class Kind(StrEnum):
    """The OPC UA type of a variable or an argument."""

    BOOLEAN = "Boolean"
    INT = "Int64"
    NUMBER = "Double"
    TEXT = "String"
    TIME = "DateTime"


class Variable(NamedTuple):
    """One value; its path below `Gatepost` is its node id too: ``nsu=urn:gatepost:agent;s=PATH``."""

    path: str
    kind: Kind
    text: str
    unit: str = ""  # as people read it


class Argument(NamedTuple):
    """What a method takes or gives."""

    name: str
    kind: Kind
    text: str


class Method(NamedTuple):
    """Something a person can do here."""

    name: str
    text: str
    takes: tuple[Argument, ...]
    gives: tuple[Argument, ...]
    optional: int = 0  # how many of the last arguments may be left out


@dataclass(frozen=True, slots=True)
class Parts:
    """The names of one agent's parts."""

    sources: Collection[str]
    targets: Collection[str]
    workflows: Collection[str]
    lines: Collection[str]


STATES: Final[Mapping[str, str]] = {  # of decisions: the name of the variable → the state of the event
    "Posted": "posted", "Held": "held", "Advised": "advised", "Ignored": "ignored", "Duplicate": "duplicate",
    "Quarantined": "quarantined",
}  # fmt: skip

OF_THE_AGENT: Final = (
    Variable("Heartbeat", Kind.INT, "Grows by one every second"),
    Variable("Ready", Kind.BOOLEAN, "Takes in and decides"),
    Variable("WhyNotReady", Kind.TEXT, "Why it does not; empty: it does"),
    Variable("Version", Kind.TEXT, "Version of the agent"),
    Variable("Backlog", Kind.INT, "Reports to be decided and postings on their way to the ERP"),
    Variable("OldestWaitingSeconds", Kind.NUMBER, "Age of the oldest of them", "s"),
    Variable("Held", Kind.INT, "Postings that wait for a person"),
    Variable("DeadLetters", Kind.INT, "Postings that the ERP refused"),
    Variable("Doubtful", Kind.INT, "Postings of which nobody knows whether they were booked"),
    Variable("Quarantined", Kind.INT, "Reports that could not be read or were refused"),
)
OF_A_SOURCE: Final = (
    Variable("Connected", Kind.BOOLEAN, "Whether it hears its sender"),
    Variable("Since", Kind.TIME, "Since when that is so; bad: never yet"),
    Variable("LastDeliveryAt", Kind.TIME, "When it brought something last; bad: never yet"),
    Variable("Error", Kind.TEXT, "What is wrong; empty: nothing"),
)
OF_A_TARGET: Final = (
    Variable("Available", Kind.BOOLEAN, "Whether postings are sent there now"),
    Variable("Trouble", Kind.TEXT, "Why they are not; empty: they are"),
    Variable("InTheAir", Kind.INT, "Requests under way"),
)
OF_A_LINE: Final = (
    Variable("LastDecision/At", Kind.TIME, "When the line's last posting was decided"),
    Variable("LastDecision/Event", Kind.TEXT, "The message it came from"),
    Variable("LastDecision/Posting", Kind.INT, "Its number"),
    Variable("LastDecision/State", Kind.TEXT, "What became of it until now"),
    Variable("LastDecision/Reason", Kind.TEXT, "Why it is held or was refused"),
)

_POSTING: Final = (
    Argument("Id", Kind.INT, "Number of the posting, `id` in the answer of ListHeld"),
    Argument("ExpectedVersion", Kind.INT, "`version` as it was shown: who comes second changes nothing"),
    Argument("Reason", Kind.TEXT, "Why, in the words of whoever decides; kept in the audit trail"),
    Argument("OnBehalfOf", Kind.TEXT, "The person a gateway acts for; may be left out. Needs acts_for_people"),
)
_DECIDED: Final = (
    Argument("Done", Kind.BOOLEAN, "Whether it was done"),
    Argument("Answer", Kind.TEXT, "JSON: the posting's new state, or error, message and by whom it was decided"),
)
METHODS: Final = (
    Method(
        "ListHeld",
        "Postings that wait for a person, oldest first; needs scope read",
        (Argument("Limit", Kind.INT, "How many at most, 1 to 100"),),
        (Argument("Answer", Kind.TEXT, "JSON: items, as GET /v1/approvals gives them"),),
    ),
    Method("Approve", "Sign a held posting: it is sent; needs scope approve", _POSTING, _DECIDED, 1),
    Method("Refuse", "Refuse a held posting: it is never sent; needs scope approve", _POSTING, _DECIDED, 1),
)


def variables(parts: Parts) -> Iterator[Variable]:
    """Every variable of an agent with these parts."""
    yield from OF_THE_AGENT
    yield from _below("Sources", parts.sources, OF_A_SOURCE)
    yield from _below("Targets", parts.targets, OF_A_TARGET)
    counters = tuple(Variable(name, Kind.INT, f"Reports {state} since the start") for name, state in STATES.items())
    yield from _below("Workflows", parts.workflows, counters)
    yield from _below("Lines", parts.lines, OF_A_LINE)


def _below(folder: str, names: Collection[str], each: tuple[Variable, ...]) -> Iterator[Variable]:
    for name in names:
        for one in each:
            yield one._replace(path=f"{folder}/{name}/{one.path}")
