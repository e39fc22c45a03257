"""What is expected of a component moves the earliest start and is named; what is overdue or too little does not."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import config
from agent.errors import ConfigError
from agent.facts import Facts
from agent.masterdata.files import load
from agent.sequence.releasing import release_sequence, shown
from agent.units import UnitsFile, UnitTable
from agent.workflows.order_release import Config
from tests.unit.test_workflow_consumption import component
from tests.unit.test_workflow_order_release import AT, DUE, ENOUGH, ORDER, facts_of, kinds, proposed, stock

SOON, LATER = AT + timedelta(hours=1), AT + timedelta(hours=3)
SPRINGS = (ENOUGH[0], stock("PT-SPRING", "120"))


def receipt(quantity: str, at: datetime, number: str = "4500017/10", **more: str) -> tuple[str, dict[str, Any]]:
    return "receipt", {
        "receipt": number, "material": "PT-SPRING", "quantity": quantity, "unit": "H87", "expected_at": at.isoformat(),
        "text": "purchase order", **more,
    }  # fmt: skip


def expecting(*receipts: tuple[str, dict[str, Any]], **order: Any) -> Facts:
    return facts_of(*SPRINGS, due=DUE, **order).with_documents(receipts)


def test_a_receipt_is_named_and_sets_the_earliest_start():
    """120 of 500 springs are there, 200 come in an hour, 180 in three: the order begins in three, not before."""
    late = {"planned_start": (AT + timedelta(hours=5)).isoformat()}
    facts = expecting(receipt("180", LATER, "4500018/10"), receipt("200", SOON), **late)
    proposal = proposed(facts)
    assert proposal.answer["status"] == "FEASIBLE_WITH_NOTES"
    assert proposal.answer["earliest_start"] == LATER.isoformat()
    assert proposal.answer["warnings"] == [
        "component PT-SPRING comes later: 500 PC needed, 120 PC in the plant, "
        "200 PC expected on 2026-11-20 13:00 UTC, purchase order 4500017/10; "
        "180 PC expected on 2026-11-20 15:00 UTC, purchase order 4500018/10"
    ]
    assert proposal.answer["set_by"] == proposal.answer["warnings"][0]
    assert proposal.answer["constraints"][0]["available_at"] == LATER.isoformat()


def test_it_starts_later_than_planned_for_a_receipt():
    """Planned in two hours, and the springs come in three: at risk, the planner hears of it."""
    proposal = proposed(expecting(receipt("400", LATER)))
    assert proposal.answer["status"] == "AT_RISK"
    assert kinds(proposal) == ["order_note", "notification"]


@pytest.mark.parametrize(
    ("receipts", "words"),
    [
        ([receipt("379", SOON)], "120 PC in the plant; only 379 PC expected on 2026-11-20 13:00 UTC, purchase order"),
        ([receipt("400", AT - timedelta(minutes=1))], "500 PC needed, 120 PC in the plant"),
        ([receipt("400", SOON, material="PT-SEAL-20")], "500 PC needed, 120 PC in the plant"),
    ],
)
def test_what_does_not_help_leaves_it_blocked(receipts, words):
    """One piece too few, overdue, or of another material."""
    proposal = proposed(expecting(*receipts))
    assert proposal.answer["status"] == "BLOCKED"
    assert words in proposal.answer["blocking_issues"][0]
    assert any(one["fact"].startswith("free stock of ") for one in proposal.answer["facts"]), "without what is reserved"


def test_what_comes_is_not_given_to_two_orders():
    """A released order lacks 100 of the 400 that come: 300 are left, and 380 are needed."""
    other = {
        **ORDER, "order": "1000100", "status": "released", "operations": [],
        "components": [component("PT-SPRING", "1", "220", "H87")],
    }  # fmt: skip
    assert proposed(expecting(receipt("400", LATER))).answer["status"] == "AT_RISK"
    assert proposed(expecting(receipt("400", LATER), ("order", other))).answer["status"] == "BLOCKED"
    assert proposed(expecting(receipt("600", LATER), ("order", other))).answer["status"] == "AT_RISK"


def test_it_comes_to_another_place_and_has_to_be_moved():
    """Four hours from there to where the order takes it from."""
    for place, hours in (("171B", 4), ("171A", 0), ("", 0)):
        answer = proposed(expecting(receipt("400", SOON, storage_location=place))).answer
        assert answer["constraints"][0]["available_at"] == (SOON + timedelta(hours=hours)).isoformat()


def test_a_production_order_brings_what_it_has_not_made_yet():
    """500 springs are being made until three hours from now, 100 of them good already: 400 are to come."""
    making = {
        **ORDER, "order": "1000101", "material": "PT-SPRING", "status": "released", "components": [],
        "operations": [{"operation": "0010", "work_center": "MOLD-02", "unit": "H87", "confirmed_yield": "100"}],
        "due": LATER.isoformat(),
    }  # fmt: skip
    answer = proposed(expecting(("order", making))).answer
    assert answer["earliest_start"] == LATER.isoformat()
    assert "400 PC expected on 2026-11-20 15:00 UTC, production order 1000101" in answer["set_by"]
    created = ("order", {**making, "status": "created"})
    assert proposed(expecting(created)).answer["status"] == "BLOCKED"  # nobody makes it yet


def test_the_file_is_checked(tmp_path: Path):
    """A material that nobody knows and a time without its zone: both found, with their lines."""
    (tmp_path / "materials.csv").write_text("material,base_unit\nPT-SPRING,PC\n", encoding="utf-8")
    file = tmp_path / "receipts.yaml"
    entry = "receipts:\n  - {{receipt: 4500017/10, material: {}, quantity: 400, unit: PC, expected_at: {}}}\n"
    file.write_text(entry.format("PT-SPRING", "2026-11-20T15:00:00+01:00"), encoding="utf-8")
    units = UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile))
    (found,) = [one for one in load(tmp_path, units).facts(AT.date()) if one.kind == "receipt"]
    assert found.key == "4500017/10"
    for material, at, words in (
        ("PT-SPRINGS", "2026-11-20T15:00:00+01:00", "is not in materials.csv"),
        ("PT-SPRING", "2026-11-20T15:00:00", "timezone"),
    ):
        file.write_text(entry.format(material, at), encoding="utf-8")
        with pytest.raises(ConfigError, match=words):
            load(tmp_path, units)


def test_the_release_sequence_waits_for_what_comes():
    """The order begins with the receipt that it needs, and its reasons name it; without one it is left out."""
    routing = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": "0.5", "unit": "H87"}
    limits = Config().limits
    without = expecting().with_documents([("routing", routing)])
    assert release_sequence(without, "ASSY-05", AT, limits, effort=10).left_out
    facts = expecting(receipt("400", LATER)).with_documents([("routing", routing)])
    (slot,) = shown(release_sequence(facts, "ASSY-05", AT, limits, effort=10))["orders"]
    assert datetime.fromisoformat(slot["begin"]) == LATER
    assert any("for PT-SPRING of purchase order 4500017/10" in one for one in slot["reasons"])


@pytest.mark.parametrize("never", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_what_comes_at_an_end_of_the_calendar_is_not_expected(never: str):
    """Systems write `never` so, and its time in UTC does not exist: it is left out, and the others are looked at."""
    making = {
        **ORDER, "order": "1000101", "material": "PT-SPRING", "status": "released", "components": [],
        "operations": [{"operation": "0010", "work_center": "MOLD-02", "unit": "H87"}], "due": never,
    }  # fmt: skip
    purchase = receipt("400", AT, "4500017/10", expected_at=never)
    answer = proposed(expecting(purchase, receipt("400", SOON, "4500018/10"), ("order", making))).answer
    assert answer["earliest_start"] == SOON.isoformat()
