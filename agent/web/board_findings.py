"""The findings on the board: what is open, those first that cannot go on, then the most valuable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import apsw

from agent import found
from agent.access.callers import Identity
from agent.facts import Facts
from agent.judging.rules import Rules
from agent.people.board import risk_of
from agent.people.remembered import Remembered
from agent.people.shown import made
from agent.ports import Kind
from agent.store import approvals
from agent.store import findings as store
from agent.web.reconciliation import sees
from agent.workflows.reconciliation import Reconciliation

_RISKS: Final = ("high", "medium", "low")
_DONE: Final = frozenset({"acknowledged", "simulated", "refused", "superseded"})
_SAME: Final = ("id", "event", "found_at", "cause", "material", "storage_location", "batch", "order", "excess", "unit")


class OpenFindings:
    """Lines of open findings, remembered by version: between two polls few change, and each takes some reading."""

    def __init__(self) -> None:
        self._known: Remembered[tuple[int, str], dict[str, Any] | None] = Remembered()

    def of(self, connection: apsw.Connection, rules: Rules, caller: Identity) -> list[dict[str, Any]] | None:
        """A line for each that this caller may see; None where no workflow reconciles."""
        if not any(isinstance(one.workflow, Reconciliation) for one in rules.assignments.values()):
            return None

        def line(key: tuple[int, str]) -> dict[str, Any] | None:
            return _line(connection, key[0], rules)

        facts = rules.facts
        rest_on = rules.assignments, facts.materials, facts.orders
        lines = self._known.of(store.open_events(connection), rest_on, line)
        mine = [one for one in lines if one is not None and sees(caller, one, facts)]
        return sorted(mine, key=lambda one: (_RISKS.index(one["risk"]), -Decimal(one["value"])))


def _line(connection: apsw.Connection, event: int, rules: Rules) -> dict[str, Any] | None:
    """One of them; None where it is not open for people, or cannot be read."""
    facts, one = rules.facts, store.of_event(connection, event)
    told = found.record(one, facts) if one is not None else None
    if told is None or not told["open"]:
        return None
    proposal = _proposal(told["postings"]) or next(_advised(told["would_post"]), None)
    return {
        **{name: told[name] for name in _SAME},
        "material_text": facts.materials[told["material"]].text,
        "value": told["value"],
        "currency": facts.plant.currency,
        "evidence": told["evidence"],
        "state": told["state"],
        "risk": _risk(connection, told["state"], proposal, rules),
        "proposal": _shown(proposal, facts) if proposal else None,
    }


def _proposal(postings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first posting that is not over; a word to people puts nothing right."""
    waits = (one for one in postings if one["state"] not in _DONE and one["kind"] != Kind.NOTIFICATION)
    return next(waits, None)


def _advised(advice: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """What would put it right, like a posting that there is none of."""
    return ({"id": None, "state": found.ADVISED, **one} for one in advice if one["kind"] != Kind.NOTIFICATION)


def _risk(connection: apsw.Connection, state: str, proposal: Mapping[str, Any] | None, rules: Rules) -> str:
    if state == found.STUCK:
        return "high"
    if state in (found.UNDER_WAY, found.ADVISED) or proposal is None:
        return "low"
    return risk_of(approvals.show(connection, proposal["id"]), rules)


def _shown(proposal: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    payload = proposal["payload"]
    return {
        "id": proposal["id"],
        "kind": proposal["kind"],
        "state": proposal["state"],
        "quantity": made(payload),
        "unit": facts.units.shown(payload.get("unit", "")),
        "takes_back": payload.get("document", "") if proposal["kind"] == Kind.REVERSAL else "",
    }
