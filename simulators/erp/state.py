"""The whole simulated ERP in memory: ledger, books, sessions, faults, settings; one event loop is its only guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from simulators import scenario
from simulators.erp import batches, orders
from simulators.erp.books import Books, Document, as_json
from simulators.erp.confirmations import execution
from simulators.erp.faults import Faults, Rule
from simulators.erp.ledger import Ledger
from simulators.erp.movements import Posting
from simulators.erp.odata import Answer
from simulators.erp.sessions import Sessions

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, UTC and aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Settings:
    """What a customer may have set differently; changed at run time through POST /_sim/settings."""

    idempotency: bool = False  # RequestID and RepeatabilityCreation are honoured
    response_seconds: float = 6 * 3600.0  # how long an answer can be replayed
    id_seconds: float = 12 * 3600.0  # how long an id is remembered after that
    locking: bool = True  # 423 when two writes of one order overlap
    open_from: date | None = None  # posting dates before this day are refused with M7/053
    page_size: int = 100
    hidden: frozenset[str] = frozenset()  # fields that this release does not know


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer to a RequestID."""

    answer: Answer
    at: datetime


@dataclass(slots=True)
class Erp:
    """Everything the simulator knows."""

    plan: scenario.Scenario
    books: Books
    faults: Faults
    sessions: Sessions
    settings: Settings = field(default_factory=Settings)
    clock: Clock = utc_now
    dates: bool = False  # the scenario's orders are planned, from the start on
    ledger: Ledger = field(init=False)
    locked: set[str] = field(default_factory=set)  # orders with a write under way
    remembered: dict[str, Remembered] = field(default_factory=dict)
    pending: int = 0  # late commits that are still to come
    latest_commit_seconds: float = 0.0  # longest time between a request's arrival and its commit
    latest_commit_after_disconnect_seconds: float = 0.0  # longest time between a lost connection and the commit

    def __post_init__(self) -> None:
        self.ledger = self._first_ledger()
        for document in self.books.open():
            self._apply(document)

    def _first_ledger(self) -> Ledger:
        ledger = Ledger(self.plan)
        start = self.clock().astimezone(ZoneInfo(self.plan.time_zone)).replace(minute=0, second=0, microsecond=0)
        for planned in self.plan.orders() if self.dates else ():
            for what, hours in (("planned_start", planned.start_h), ("due", planned.due_h)):
                if hours is not None:
                    orders.plan(ledger.orders[planned.number], what, start + timedelta(hours=hours))
        return ledger

    def posting(self, user: str) -> Posting:
        """What a booking of this moment needs to know."""
        return Posting(self.ledger, self.books, self.clock(), user, self.settings.open_from)

    def book(self, document: Document, *, seconds: float, request_id: str) -> None:
        """Commit: the document is in the books, in the file, and in the ledger."""
        document.booked_at = self.clock().isoformat()
        document.commit_seconds = round(seconds, 6)
        document.request_id = request_id
        self.books.enter(document)
        self._apply(document)
        self.latest_commit_seconds = max(self.latest_commit_seconds, seconds)

    def _apply(self, document: Document) -> None:
        now = datetime.fromisoformat(document.booked_at)
        self.ledger.apply(document.effects, now)
        batches.apply(self.ledger, document, now)
        order = self.ledger.orders.get(document.order)
        if document.kind == "order_release" and order is not None:
            order.released = True
            order.touch(now)
        elif document.kind == "order_change" and order is not None:
            order.entered.update(document.header)
            order.touch(now)
        elif document.kind == "confirmation" and order is not None:
            order.touch(now)
            order.confirmations += 1
            order.confirmed_yield += document.yield_quantity
            order.confirmed_scrap += document.scrap_quantity
            order.finally_confirmed = document.final or (order.finally_confirmed and not document.reverses)
            if document.reverses:
                order.executed.pop(document.reverses, None)
            else:
                order.executed[document.number] = execution(document, ZoneInfo(self.plan.time_zone))

    def recall(self, request_id: str) -> Remembered | None:
        """What was answered to this id, as long as the id is remembered."""
        known = self.remembered.get(request_id)
        if known is None or self.clock() - known.at > timedelta(seconds=self.settings.id_seconds):
            return None
        return known

    def response_dropped(self, known: Remembered) -> bool:
        """True when only the id is left of an answer."""
        return self.clock() - known.at > timedelta(seconds=self.settings.response_seconds)

    def reset(self) -> None:
        """Begin again: empty books, the scenario's stock and orders, no faults; settings and sessions stay."""
        self.books = self.books.wiped()
        self.faults.replace([])
        self.ledger = self._first_ledger()
        self.remembered.clear()
        self.locked.clear()
        self.latest_commit_seconds = self.latest_commit_after_disconnect_seconds = 0.0

    def report(self, since: int = 0) -> dict[str, Any]:
        """The books as a test reads them; `since` leaves out documents up to that sequence."""
        return {
            "count": len(self.books.documents),
            "documents": [as_json(one) for one in self.books.documents[since:]],
            "duplicates": self.books.duplicates(),
            "totals": self.books.totals(),
            "orders": {number: _order(order) for number, order in self.ledger.orders.items()},
            "stock": {f"{material}/{place}": str(value) for (material, place), value in self.ledger.stock.items()},
            "withheld": {
                status: {f"{material}/{place}": str(value) for (material, place), value in pile.items()}
                for status, pile in self.ledger.withheld.items()
            },
            "pending_commits": self.pending,
            "latest_commit_seconds": self.latest_commit_seconds,
            "latest_commit_after_disconnect_seconds": self.latest_commit_after_disconnect_seconds,
            "token_fetches": self.sessions.fetches,
            "logons": self.sessions.logons,
            "faults": self.faults.as_json(),
        }


def _order(order: Any) -> dict[str, Any]:
    return {
        "status": order.status(),
        "yield": str(order.confirmed_yield),
        "scrap": str(order.confirmed_scrap),
        "delivered": str(order.delivered),
        "text": order.entered.get("OrderLongText", ""),
        "withdrawn": {one.material: str(one.withdrawn) for one in order.components.values()},
    }


def new_erp(
    *,
    plan: scenario.Scenario | None = None,
    books: Path | None = None,
    rules: list[Rule] | None = None,
    seed: int = 0,
    user: str = "",
    password: str = "",
    settings: Settings | None = None,
    clock: Clock = utc_now,
    dates: bool = False,
) -> Erp:
    """An ERP that plays the scenario; with a books file it goes on where an earlier run ended."""
    return Erp(
        plan=plan or scenario.load(),
        books=Books(books),
        faults=Faults(seed, rules or []),
        sessions=Sessions(user=user, password=password),
        settings=settings or Settings(),
        clock=clock,
        dates=dates,
    )
