"""Held postings that nobody decides about: escalated, then refused, by an age that a wrong clock cannot make up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from agent.configuration.settings import Authority, Document, Plant, Store
from agent.health import Health
from agent.housekeeping import Housekeeping
from agent.people.desk import Desk
from agent.ports import Kind
from agent.store import approvals
from agent.store.approvals import Signature
from agent.store.writer import Writer
from tests.stores import Clock, add, claim, opened, posting, state

PLANT = Plant(site="1710", time_zone="Europe/Berlin", currency="EUR")


class Keeper:
    """Housekeeping whose clocks a test moves."""

    def __init__(self, writer: Writer, clock: Clock, folder: Path, **rule: Any) -> None:
        self.writer, self.clock, self.ticks = writer, clock, 0.0
        self.health = Health(clock(), ready=True)
        authority = MappingProxyType({"consumption": Authority(**rule)})
        settings = Document(plant=PLANT, store=Store(path=folder / "gp.db"), authority=authority)
        self.keeping = Housekeeping(settings, Desk(writer, clock), clock, self.health, lambda: self.ticks)

    async def after(self, hours: float) -> None:
        """So much later it looks again."""
        self.clock.forward(hours=hours)
        self.ticks += hours * 3600
        await self.keeping.end_holds()

    def trail(self, action: str) -> list[tuple[int, int]]:
        """Posting and alarm of such rows."""
        sql = "SELECT posting_id, alarm FROM audit WHERE action = ? ORDER BY seq"
        rows: list[tuple[int, int]] = self.writer.call(lambda tx: list(tx.execute(sql, (action,))))
        return rows


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Iterator[Writer]:
    with opened(tmp_path / "gp.db", clock) as one:
        yield one


async def test_what_nobody_decides_is_told_once_and_refused_in_the_end(tmp_path, writer, clock):
    """After two hours an alarm, after four refused with its reason; what waited for it goes on."""
    keeper = Keeper(writer, clock, tmp_path, escalate_hours=2, expire_hours=4)
    held, final = add(writer, posting(1, reasons=("200 % usage",)), posting(2, kind=Kind.CONFIRMATION, waits=True))
    await keeper.after(1)
    assert keeper.trail("escalated") == []
    for _ in range(2):
        await keeper.after(1.01)
    assert keeper.trail("escalated") == [(held, 1)]
    assert state(writer, held) == "held"
    await keeper.after(1)
    assert (keeper.trail("expired"), state(writer, held)) == ([(held, 1)], "refused")
    assert [one.posting.id for one in claim(writer)] == [final]


async def test_a_signature_begins_the_time_anew(tmp_path, writer, clock):
    """Of four eyes the second pair has as long as the first had."""
    keeper = Keeper(writer, clock, tmp_path, escalate_hours=2, expire_hours=4)
    (one,) = add(writer, posting(1, reasons=("value",), signers=2))
    await keeper.after(3)
    clock.forward(seconds=1)
    writer.call(lambda tx: approvals.decide(tx, one, 1, Signature("ann", "approve", "looked")))
    await keeper.after(3)
    assert (state(writer, one), keeper.trail("escalated")) == ("held", [(one, 1), (one, 1)])
    await keeper.after(1.1)
    assert state(writer, one) == "refused"


@pytest.mark.parametrize("rule", [{"escalate_hours": 4}, {"expire_hours": 4}])
async def test_who_signs_while_it_is_looked_for_is_not_overruled(tmp_path, writer, clock, monkeypatch, rule):
    """Between the look and the commit somebody signs first: nothing expires, nobody else is told."""
    keeper = Keeper(writer, clock, tmp_path, **rule)
    (one,) = add(writer, posting(1, reasons=("value",), signers=2))
    look = keeper.keeping._desk.look

    def then_somebody_signs(at: Any) -> Any:
        found = look(at)
        if writer.call(lambda tx: tx.execute("SELECT signed_by FROM posting WHERE id = ?", (one,)).get) == "[]":
            writer.call(lambda tx: approvals.decide(tx, one, 1, Signature("ann", "approve", "looked")))
        return found

    monkeypatch.setattr(keeper.keeping._desk, "look", then_somebody_signs)
    await keeper.after(5)
    assert (state(writer, one), keeper.trail("expired"), keeper.trail("escalated")) == ("held", [], [])


async def test_a_clock_that_jumped_refuses_nothing(tmp_path, writer, clock):
    """An age counts only after an hour without a jump, so that a wrong clock can be set right before."""
    keeper = Keeper(writer, clock, tmp_path, expire_hours=4)
    (one,) = add(writer, posting(1, reasons=("value",)))
    clock.forward(days=14)
    await keeper.after(0)
    assert state(writer, one) == "held", "just started: the clock may be wrong"
    keeper.ticks += 3601
    keeper.health.clock_steps += 1
    await keeper.after(0)
    assert state(writer, one) == "held", "it jumped just now"
    await keeper.after(1.01)
    assert state(writer, one) == "refused"


async def test_without_a_time_it_waits_for_ever(tmp_path, writer, clock):
    """Nothing is escalated or refused unless that is configured."""
    keeper = Keeper(writer, clock, tmp_path)
    (one,) = add(writer, posting(1, reasons=("value",)))
    await keeper.after(24 * 365)
    assert (state(writer, one), keeper.trail("escalated")) == ("held", [])
