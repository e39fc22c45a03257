"""What judging leaves behind, and what it remembers: the words between deciding a batch and writing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.isa95 import SegmentResponse
from agent.masterdata.entities import Fact
from agent.ports import Event
from agent.store import masterdata
from agent.store.postings import NewPosting


@dataclass(slots=True)
class Verdict:
    """What became of one event, ready to be written."""

    event: Event
    state: str
    action: str
    detail: dict[str, Any]
    message_key: str | None = None
    payload_hash: bytes | None = None
    reason: str | None = None
    postings: list[NewPosting] = field(default_factory=list)
    alarm: bool = False
    report: SegmentResponse | None = None
    awaits: tuple[str, str] | None = None  # quarantined until this master data are known
    of_order: str = ""  # quarantined: this order's final confirmation is shown to a person
    withdraws: tuple[str, str, str] | None = None  # workflow, target, ordering key: see `outbox.withdraw`


@dataclass(slots=True)
class Judgement:
    """What became of a batch: verdicts in order, the state they leave behind, and master data they carried."""

    verdicts: list[Verdict]
    states: dict[str, Any] = field(default_factory=dict)
    documents: list[masterdata.Document] = field(default_factory=list)
    learnt: list[Fact] = field(default_factory=list)

    def known(self) -> dict[str, tuple[bytes, int]]:
        """Message key → (payload hash, event id) of what is new in it."""
        return {
            one.message_key: (one.payload_hash, one.event.id)
            for one in self.verdicts
            if one.message_key is not None and one.payload_hash is not None
        }

    @property
    def awaits(self) -> bool:
        """Whether a report of it waits for master data."""
        return any(one.awaits for one in self.verdicts)

    def in_quarantine(self) -> set[tuple[str, int]]:
        """Order and event of what went into quarantine."""
        return {(one.of_order, one.event.id) for one in self.verdicts if one.of_order}


class Memory(Protocol):
    """What judging remembers of earlier events."""

    def known(self, message_keys: Iterable[str]) -> Mapping[str, tuple[bytes, int]]:
        """Message key → (payload hash, event id) of those seen before."""

    def states(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """Streaming state by key."""

    def in_quarantine(self, orders: Iterable[str]) -> Set[tuple[str, int]]:
        """Order and event of what is in quarantine of these orders: at least the first; maybe of others, too."""
