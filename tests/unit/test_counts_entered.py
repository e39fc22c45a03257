"""A count that a person enters is a signed report on disk, and becomes document, count and difference; slips do not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from agent import observing, own_events
from agent.errors import BadPayload, NotFound
from agent.isa95 import MaterialUse, Quantity
from agent.mapping import Mappings
from agent.people import counts
from agent.people.desk import Act, Desk
from agent.ports import Event
from agent.reconciliation.observed import Level, Observation, Place, Restated, Scrapped
from agent.store import inbox
from agent.store.approvals import reported
from agent.store.movements import Moved
from tests import stores
from tests.command_line import filled, gatepost_
from tests.unit.test_workflow_reconciliation import EDGE_CONFIG, FACTS, proposed

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
REASON = ("--by", "E. Muster", "--reason", "cycle count")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return filled(tmp_path, f"masterdata: {EDGE_CONFIG / 'masterdata'}\nunits: {EDGE_CONFIG / 'units.yaml'}\n")


def waiting(config: Path) -> list[Event]:
    with stores.reading(config.parent / "data" / "gatepost.db") as connection:
        return inbox.undecided(connection, 10)


def test_what_is_entered_waits_for_a_signature_and_names_who_counted(config):
    """Without an agent it goes into its store; decided, it is one group of three that is held."""
    ran = gatepost_(config, "counts", "enter", "RM-RESIN", "171A", "480.5", "kg", *REASON)
    assert ran.code == 0, ran.out
    (event,) = [one for one in waiting(config) if one.source == "gatepost"]
    report = own_events.read(event)
    (lies,) = report.material_actuals
    assert (lies.use, lies.quantity) == (MaterialUse.INVENTORIED, Quantity(Decimal("480.5"), "KGM"))
    assert (report.kind, lies.storage_location, report.id) == ("stock_count", "171A", ran.out.split()[0])
    assert report.personnel == "E. Muster"
    one = proposed(report)
    assert [draft.kind for draft in one.drafts] == ["count_document", "count_entry", "count_difference"]
    assert one.together
    assert one.holds
    assert reported(one.drafts[0].payload, "E. Muster via box")  # is none of two who sign


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("NOBODY-KNOWS", "171A", "1", "kg"), 1, "no material 'NOBODY-KNOWS'"),
        (("RM-RESIN", "171A", "1", "stone"), 1, "unit 'stone' is unknown"),
        (("RM-RESIN", "171A", "much", "kg"), 2, "'much' is no quantity"),
        (("RM-RESIN", "171A", "NaN", "kg"), 2, "'NaN' is no quantity"),
        (("RM-RESIN", "171A", "1.1234567", "kg"), 2, "more than six places"),
    ],
)
def test_a_slip_is_told_at_once_and_nothing_is_stored(config, words, code, why):
    """What cannot be a count is refused with its reason."""
    before = waiting(config)
    ran = gatepost_(config, "counts", "enter", *words, *REASON)
    assert (ran.code, why in ran.out) == (code, True), ran.out
    assert waiting(config) == before


def test_counts_alone_lists_as_it_always_did(config):
    """`gatepost counts --json` and `gatepost counts list --json` are the same."""
    assert gatepost_(config, "counts", "--json") == gatepost_(config, "counts", "list", "--json")
    assert "enter" in gatepost_(config, "counts", "--help").out


def test_a_repeated_request_is_one_count(tmp_path):
    """The same key twice is one report: a lost answer is asked for again."""
    one = counts.checked(counts.Counted("RM-RESIN", "171A", Decimal(480), "kg"), FACTS)
    with stores.opened(tmp_path / "gatepost.db", stores.Clock(AT)) as writer:
        desk = Desk(writer, lambda: AT)
        first, again = (asyncio.run(counts.enter(desk, one, Act("E", "count", "K"))) for _ in range(2))
        assert first == again
        assert len(desk.look(lambda at: inbox.undecided(at, 10))) == 1


def test_what_nobody_knows_is_no_count():
    """An unknown material and an unknown unit are told."""
    with pytest.raises(NotFound):
        counts.checked(counts.Counted("NOBODY-KNOWS", "171A", Decimal(1), "kg"), FACTS)
    with pytest.raises(BadPayload):
        counts.checked(counts.Counted("RM-RESIN", "171A", Decimal(1), "stone"), FACTS)


# ── what reconciliation sees of it ──────────────────────────────────────────────────────────────────────────


def observed(row: Moved) -> list[Observation]:
    return list(observing.observations([row], observing.Seen(), Mappings([], ""), FACTS))


def test_a_place_counts_as_counted_once_its_books_are_what_was_counted():
    """With a count that agrees, or with its posted difference, which moves the books and nothing that lies there."""
    report = counts.report_of(counts.Counted("RM-RESIN", "171A", Decimal(480), "KGM"), "E", AT)
    delivery, place = own_events.event_of(report), Place("RM-RESIN", "171A")
    event = Event(1, own_events.SOURCE, delivery.topic, delivery.payload, AT, {})
    level = Level(AT, place, 480.0, counted=True)
    assert observed(Moved(1, AT, "decided", {"route": "ignored"}, event)) == [level]
    assert observed(Moved(1, AT, "decided", {"route": "held"}, event)) == []
    payload = proposed(report).drafts[-1].payload
    row = Moved(1, AT, "acknowledged", {}, event, "count_difference", payload, workflow="reconciliation")
    assert observed(row) == [level, Restated(AT, place, 20.0, counted=True)]


@pytest.mark.parametrize(
    ("to", "there"),
    [
        ({"to_storage_location": "171B"}, Place("RM-RESIN", "171B")),
        ({"to_material": "RM-PIGMENT"}, Place("RM-PIGMENT", "171A")),
    ],
)
def test_reconciliation_knows_what_its_transfer_did_to_the_books(to, there):
    """Both ends of it; a transfer of another workflow moves what lies there, too, and explains nothing."""
    payload = {"material": "RM-RESIN", "storage_location": "171A", "quantity": "20", "unit": "KGM", **to}
    for workflow, told in (
        ("reconciliation", [Restated(AT, Place("RM-RESIN", "171A"), 20.0), Restated(AT, there, -20.0)]),
        ("scrap", []),
    ):
        row = Moved(1, AT, "acknowledged", {}, None, "stock_transfer", payload, workflow=workflow)
        assert observed(row) == told


def test_reconciliation_knows_what_it_confirmed_as_scrap():
    """In the unit of lots; a confirmation of the floor is told by its report."""
    payload = {"order": "1000100", "operation": "0010", "scrap": "2.5", "unit": "KGM"}
    row = Moved(1, AT, "acknowledged", {}, None, "confirmation", payload, workflow="reconciliation")
    assert observed(row) == [Scrapped("1000100/10", Decimal("2.5"), observing.UNKNOWN)]
    assert observed(Moved(1, AT, "acknowledged", {}, None, "confirmation", payload, workflow="confirmation")) == []
