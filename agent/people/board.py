"""The board: everything that lives on a gateway's screens in one small answer; its version says whether it changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import apsw

from agent.access.callers import Identity
from agent.access.masking import veiled
from agent.access.rights import at_stake, module_of, with_it
from agent.authority import EVERY
from agent.facts import Facts
from agent.judging.rules import Rules
from agent.people.remembered import Remembered
from agent.people.shown import hashed, made
from agent.scoring.drift import Level, State
from agent.store import approvals, balance, lists
from agent.store.encode import from_us
from agent.store.groups import ONLY_FOLLOWS
from agent.store.postings import WAITS

MOST: Final = 500  # held postings that are listed
MOST_ORDERS: Final = 200
MOST_FINDINGS: Final = 100
UNSURE: Final = 0.5  # confidence below which the model is more wrong than right
_EXPECTED: Final = frozenset({EVERY, WAITS})
_OPEN: Final = ("dead", "doubtful", "held", "in_doubt", "sending", "ready")  # what blocks first


class Lines:
    """Lines of held postings, remembered by version: between two polls few are new, and each takes some reading."""

    def __init__(self) -> None:
        self._known: Remembered[tuple[int, int], dict[str, Any]] = Remembered()

    def of_held(self, connection: apsw.Connection, rules: Rules) -> list[dict[str, Any]]:
        """A line for each held posting, oldest first."""
        facts = rules.facts
        limits = {one.workflow.name: one.rule.max_value for one in rules.assignments.values()}

        def line(key: tuple[int, int]) -> dict[str, Any]:
            return _line(approvals.show(connection, key[0]), facts, limits)

        keys: list[Any] = connection.execute(HELD, (ONLY_FOLLOWS,)).fetchall()
        lines = self._known.of(keys, (rules.assignments, facts.materials, facts.orders), line)
        told = {one for (one,) in connection.execute(ESCALATED)}
        return [{**one, "escalated": one["id"] in told} for one in lines]


HELD: Final = (  # a group is one: what follows its first is decided with it
    "SELECT id, version FROM posting INDEXED BY posting_held WHERE state = 'held' AND reasons <> ? ORDER BY id"
)
ESCALATED: Final = (
    "SELECT id FROM escalation JOIN posting ON id = posting_id WHERE state = 'held' AND at_us >= changed_us"
)


def board(
    connection: apsw.Connection,
    rules: Rules,
    caller: Identity,
    around: Mapping[str, Any],
    drift: Mapping[str, str],
    lines: Lines,
    findings: Sequence[Mapping[str, Any]] | None = None,
    lots: Sequence[Mapping[str, Any]] = (),
    sensitive: Collection[str] = (),
) -> dict[str, Any]:
    """The board as this caller may see it. `around` is what the loops know of sources, targets and readiness.

    `findings` are lines of what reconciliation found and nobody has put right; None: it is not set up. `lots` are kept
    from use, and somebody is to say what becomes of them.

    It is the same for every session of a gateway, so that its fields that are `sensitive` are masked for all.

    `drift` says of the models whose inputs have moved away from their training since when (version → words).
    """
    events, postings = balance.running(connection)
    held = [one for one in lines.of_held(connection, rules) if caller.sees(one["line"])]
    shown = held[:MOST]
    waits = {one: postings.by_state[one] for one in ("ready", "sending", "in_doubt")}
    found = {
        "health": {
            **around,
            "models": _models(rules, drift),
            "backlog": events.by_state["undecided"] + sum(waits.values()),
            "quarantined": events.by_state["quarantined"],
            "dead": postings.by_state["dead"],
            "doubtful": postings.by_state["doubtful"],
            "oldest_at": _oldest(connection),
        },
        "counts": {
            "held": len(held),
            "high_risk": sum(one["risk"] == "high" for one in held),
            "dead": postings.by_state["dead"],
            "doubtful": postings.by_state["doubtful"],
            "quarantined": events.by_state["quarantined"],
        },
        "approvals": veiled(shown, sensitive),
        "left_out": len(held) - len(shown),
        "findings": None if findings is None else veiled(list(findings[:MOST_FINDINGS]), sensitive),
        "lots": veiled(list(lots), sensitive),
        "findings_left_out": max(0, len(findings or ()) - MOST_FINDINGS),
        "orders": veiled(_orders(connection, rules.facts, caller), sensitive),
    }
    return {"version": hashed(found)[:16], **found}


def _oldest(connection: apsw.Connection) -> str | None:
    """When the oldest of what is undecided or under way came."""
    ages = lists.oldest(connection)
    known = [at for state in ("undecided", "ready", "sending", "in_doubt") if (at := ages[state]) is not None]
    return from_us(min(known)).isoformat() if known else None


def _models(rules: Rules, drift: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"workflow": one.workflow.name, "model": one.model.name, "drift": drift.get(one.model.name, "")}
        for one in rules.assignments.values()
        if one.model is not None
    ]


def drifted(state: State) -> str:
    """How far a model's inputs are from its training, and since when; for a model of which that is so."""
    told = state.level.value if state.level in (Level.WARN, Level.ALARM) else "its bar is still raised"
    return f"{told} since {state.since[:16].replace('T', ' ')} UTC"


# ── what is held ────────────────────────────────────────────────────────────────────────────────────────────


def _line(one: Mapping[str, Any], facts: Facts, limits: Mapping[str, Decimal | None]) -> dict[str, Any]:
    payload = one["payload"]
    order = facts.orders.get(payload.get("order", ""))
    material = payload.get("material") or (order.material if order else "")
    known, worth = facts.materials.get(material), at_stake(one)
    return {
        "id": one["id"], "version": one["version"], "kind": one["kind"],
        "module": module_of(one["kind"], payload).value, "workflow": one["workflow"], "line": one["line"],
        "order": payload.get("order", ""), "operation": payload.get("operation", ""), "material": material,
        "material_text": known.text if known else "", "quantity": made(payload),
        "unit": facts.units.shown(payload.get("unit", "")), "value": f"{worth:f}", "currency": facts.plant.currency,
        "risk": risk(one["reasons"], one["confidence"], worth, limits.get(one["workflow"])),
        "together": 1 + len(with_it(one)),
        "created_at": one["created_at"], "signers": one["signers"], "signed_by": one["signed_by"],
        "reason": next(iter(one["reasons"]), ""),
    }  # fmt: skip


def risk_of(posting: Mapping[str, Any], rules: Rules) -> str:
    """The risk of one posting, as `approvals.show` tells it."""
    limits = {one.workflow.name: one.rule.max_value for one in rules.assignments.values()}
    limit = limits.get(posting["workflow"])
    return risk(posting["reasons"], posting["confidence"], at_stake(posting), limit)


def risk(reasons: Sequence[str], confidence: float | None, value: Decimal, limit: Decimal | None) -> str:
    """How much a posting wants a careful look: high, medium or low."""
    if (confidence is not None and confidence < UNSURE) or (limit is not None and value > limit):
        return "high"
    return "low" if _EXPECTED.issuperset(reasons) else "medium"


# ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────


def _orders(connection: apsw.Connection, facts: Facts, caller: Identity) -> list[dict[str, Any]]:
    """Orders with something open, those first that cannot go on."""
    open_of: dict[str, dict[str, Any]] = {}
    for state in _OPEN:
        rows = connection.execute(
            "SELECT id, line, json_extract(payload, '$.order'), created_us, reasons, error FROM posting "
            "INDEXED BY posting_state WHERE state <> 'acknowledged' AND state = ? ORDER BY id LIMIT ?",
            (state, MOST),
        )
        for posting, line, order, created, reasons, error in rows:
            if order and caller.sees(line):
                if order not in open_of:
                    open_of[order] = _empty(order, facts)
                _count(open_of[order], state, posting, created, reasons, error)
    found = sorted(open_of.values(), key=lambda one: (not one["constraint"], one["since"]))
    return found[:MOST_ORDERS]


def _empty(number: str, facts: Facts) -> dict[str, Any]:
    order = facts.orders.get(number)
    material = facts.materials.get(order.material) if order else None
    return {
        "order": number, "material": order.material if order else "",
        "material_text": material.text if material else "",
        "quantity": f"{order.quantity:f}" if order else "",
        "unit": facts.units.shown(order.unit) if order else "",
        "status": order.status if order else "unknown", "held": 0, "waiting": 0, "dead": 0, "doubtful": 0,
        "since": "", "constraint": "",
    }  # fmt: skip


def _count(order: dict[str, Any], state: str, posting: int, created: int, reasons: str, error: str | None) -> None:
    if reasons == ONLY_FOLLOWS:
        state = "ready"  # it goes by itself, behind what its group waits for
    order[state if state in ("held", "dead", "doubtful") else "waiting"] += 1
    since = from_us(created).isoformat()
    order["since"] = min(order["since"] or since, since)
    if order["constraint"]:
        return
    if state in ("dead", "doubtful"):
        verb = "was refused" if state == "dead" else "may be booked or not"
        order["constraint"] = f"posting {posting} {verb}: {error}"
    elif state == "held":
        order["constraint"] = f"posting {posting} waits for a person: {approvals.first_reason(reasons)}"
