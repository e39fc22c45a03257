"""A message to people: what a posting of kind ``notification`` says, as it is frozen and as every channel sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

from agent.ports import Posting

SEVERITIES: Final = ("info", "warning", "alarm")
TEXTS: Final = ("subject", "text", "cause", "link", "order", "line")
LONGEST: Final[Mapping[str, int]] = {"subject": 150, "text": 4000}  # what is longer is cut: better than not told


class Message(NamedTuple):
    """What is told. `id` is the posting's key: the same at every repetition, so that a receiver knows it again."""

    id: str
    at: str  # ISO time in UTC: when it was decided
    severity: str
    subject: str
    text: str
    link: str
    cause: str
    to: tuple[str, ...]  # roles
    order: str = ""
    line: str = ""

    @classmethod
    def of(cls, posting: Posting, base: str) -> Message:
        """Made once. `base` stands before a link that has no host of its own."""
        payload = posting.payload
        return cls(
            id=posting.idempotency_key,
            at=posting.created_at.isoformat(),
            severity=payload["severity"],
            subject=_cut(_one_line(payload["subject"]), LONGEST["subject"]),
            text=_cut(payload["text"], LONGEST["text"]),
            link=_linked(str(payload.get("link") or ""), base),
            cause=payload["cause"],
            to=tuple(payload["to"]),
            order=str(payload.get("order") or ""),
            line=str(payload.get("line") or ""),
        )

    @classmethod
    def thawed(cls, wire: bytes) -> Message:
        """As it was frozen."""
        found = json.loads(wire)
        return cls(**{**found, "to": tuple(found["to"])})

    def json(self) -> bytes:
        """What topics and web addresses get."""
        return json.dumps(self._asdict(), ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def sent(self) -> datetime:
        """`at` as a time."""
        return datetime.fromisoformat(self.at)


class Channel(Protocol):
    """One way to reach people. Constructed cold."""

    async def send(self, message: Message, addresses: Sequence[str]) -> Sequence[str]:
        """Deliver it to these addresses; returns what people should know of it (an address that was refused).

        Raises ErpUnavailable (it was not delivered, try later), ErpInDoubt (nobody knows), ErpRejected (never).
        """

    async def reach(self) -> None:
        """Look whether it answers, without telling anybody anything. Raises ErpUnavailable."""

    async def close(self) -> None:
        """Let go of connections."""


def refusals(payload: Mapping[str, Any]) -> list[str]:
    """What is wrong with a notification's payload; empty: nothing. Pure."""
    found = []
    to = payload.get("to")
    if not isinstance(to, list | tuple) or not to or not all(isinstance(one, str) and one for one in to):
        found.append(f"to {to!r} is no list of roles")
    if payload.get("severity") not in SEVERITIES:
        found.append(f"severity {payload.get('severity')!r} is none of {', '.join(SEVERITIES)}")
    for name in TEXTS:
        value = payload.get(name, "")
        if not isinstance(value, str):
            found.append(f"{name} {value!r} is no text")
        elif not value and name in ("subject", "text", "cause"):
            found.append(f"{name} is missing")
    return found


def _linked(link: str, base: str) -> str:
    """An address of its own, a page of the console, or what `gatepost trace` finds: ``order:1000100``."""
    if not link or not base or "://" in link:
        return link
    return base + (link if link.startswith("#") else f"#/trace/{quote(link, safe='')}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _one_line(text: str) -> str:
    """A subject: whatever a lot number contains, it adds no line to a mail's head."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
