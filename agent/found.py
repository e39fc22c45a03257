"""What reconciliation found and what became of it, for lists and pages: evidence, decision, and the books after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import apsw

from agent import own_events
from agent.balances import accounts
from agent.errors import GatepostError, NotFound
from agent.facts import Facts
from agent.store import findings
from agent.store.findings import Finding
from agent.store.named import named
from agent.workflows import corrections

TOPIC: Final = f"{own_events.SOURCE}/reconciliation"  # of their events
LATEST: Final = 2**62  # before it is every event
WAITS, UNDER_WAY, STUCK, ADVISED, PUT_RIGHT = "waits for a person", "under way", "stuck", "advised", "put right"
OPEN: Final = (WAITS, UNDER_WAY, STUCK, ADVISED)
_OF_POSTINGS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (  # the first that fits one of its postings
    (("dead", "doubtful"), STUCK),
    (("held",), WAITS),
    (("ready", "sending", "in_doubt"), UNDER_WAY),
    (("refused",), "refused"),
    (("acknowledged",), PUT_RIGHT),
    (("simulated",), "dry run"),
)
_OF_EVENTS: Final = {"advised": ADVISED, "undecided": UNDER_WAY}


def listed(
    connection: apsw.Connection, facts: Facts, *, only_open: bool = False, limit: int = 100, before: int = LATEST
) -> list[dict[str, Any]]:
    """Findings of events below `before`, the newest first; what nobody can read any more is left out."""
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        page = findings.newest(connection, limit, before)
        told = (record(one, facts) for one in page)
        found += [one for one in told if one is not None and (one["open"] or not only_open)]
        if len(page) < limit:
            break
        before = page[-1].event.id
    return found[:limit]


def record(one: Finding, facts: Facts) -> dict[str, Any] | None:
    """One finding for people and programs: quantities as decimal strings; None where it cannot be read."""
    try:
        read = corrections.read(own_events.read(one.event), facts)
    except GatepostError:
        return None
    report, actual, state = read.report, read.actual, state_of(one)
    price = facts.materials[actual.material].price
    return {
        "id": one.id, "event": one.event.id, "found_at": one.event.received_at.isoformat(),
        "at": report.occurred_at.isoformat(), "until": read.text("until"), "cause": read.cause,
        "material": actual.material, "storage_location": actual.storage_location, "batch": actual.lot,
        "order": report.order, "operation": report.operation, "work_center": report.work_center,
        "excess": f"{read.excess:f}", "noise": read.text("noise"), "unit": facts.units.shown(actual.quantity.unit),
        "value": f"{abs(read.excess) * price:.2f}", "evidence": read.evidence.split("; "),
        "about": [name for name in read.text("about").split(", ") if name and name != actual.material],
        "correction": read.correction, "state": state, "open": state in OPEN, "decided": one.decided,
        "postings": [{name: posting[name] for name in ("id", "kind", "state", "document", "payload")}
                     for posting in one.postings],
        "would_post": [{"kind": advice["kind"], "payload": advice["payload"]} for advice in one.advice],
    }  # fmt: skip


def state_of(one: Finding) -> str:
    """What became of it, in words: of its postings what needs somebody most."""
    states = {posting["state"] for posting in one.postings if posting["kind"] != "notification"}
    told = next((words for known, words in _OF_POSTINGS if states & set(known)), "")
    if told == "refused" and one.decided is not None and one.decided["did"] == "withdrawn":
        return "withdrawn"
    if one.state == ADVISED and one.decided is not None:
        return PUT_RIGHT
    return told or _OF_EVENTS.get(one.state, "told, nothing to post")


def of_event(connection: apsw.Connection, event: int, facts: Facts) -> dict[str, Any] | None:
    """The finding that an event is, with the rows that show it and what the books say now; None: it is none."""
    one = findings.of_event(connection, event)
    told = record(one, facts) if one is not None else None
    if told is None:
        return None
    return {**told, "rows": list(_rows(connection, told["about"])), "books": _books(connection, told, facts)}


def _rows(connection: apsw.Connection, about: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The reports and documents that a finding names, with what became of each."""
    for name in about:
        try:
            meaning = named(connection, name)[0]
        except NotFound:
            told = "booked by others, as the ERP told" if " " in name else "no longer in the store"
            yield {"name": name, "is": told, "event": None, "postings": []}
            continue
        of = meaning.event or 0
        every = findings.postings_of(connection, of)
        wanted = [one for one in every if one["document"] == name] or every
        is_ = "document" if any(one["document"] == name for one in every) else "report"
        postings = [{key: one[key] for key in ("id", "kind", "state", "document", "payload")} for one in wanted]
        yield {"name": name, "is": is_, "event": meaning.event, "postings": postings}


def _books(connection: apsw.Connection, told: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """What the books have of it now: the order's account of the material, or the stock of its place."""
    if told["order"]:
        for one in accounts(connection, facts, order=told["order"]):
            for part in one["components"]:
                if part["material"] == told["material"]:
                    return {"order": told["order"], **part, "says": one["says"]}
        return {}
    stock = facts.stock(told["material"], told["storage_location"], told["batch"])
    in_books = stock.quantity if stock is not None else Decimal(0)
    return {"in_books": f"{in_books:f}", "unit": told["unit"]} if stock is not None else {}
