"""The scenario of the bench, as both simulators read it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.configuration.config import parse
from agent.erp.sap_s4 import UNITS
from agent.facts import Facts, Plant
from agent.masterdata import files as masterfiles
from agent.masterdata.documents import from_document
from agent.sequence.releasing import release_sequence, shown
from agent.sources.erp_orders import order_payload
from agent.units import UnitsFile, UnitTable
from agent.workflows.order_release import Config
from simulators import scenario
from simulators.erp.state import Erp, new_erp
from simulators.erp.views import component_row, operation_row, order_row

EDGE = Path(__file__).parents[2] / "edge_config"
START = datetime(2026, 11, 23, 5, 12, tzinfo=UTC)  # a Monday, 6:12 at the plant


def test_orders_carry_numbered_reservations_with_set_up_in_the_required_quantity():
    """A component's required quantity is the order quantity times the quantity per unit, plus the set-up."""
    plant = scenario.load()
    first = plant.orders()[0]
    assert (first.number, first.product, first.work_center) == ("1000100", "CMP-BLUE", "MIX-01")
    resin = first.components[0]
    assert (resin.reservation, resin.item, resin.material) == ("0000050001", "0001", "RM-RESIN")
    assert resin.required == Decimal("1921.500")
    assert resin.storage_location == "171A"


def test_every_order_has_its_own_number_and_reservation():
    """Numbers of orders and reservations never repeat."""
    orders = scenario.load().orders()
    assert len(orders) == 30
    assert len({order.number for order in orders}) == 30
    assert len({order.components[0].reservation for order in orders}) == 30


def known(erp: Erp) -> Facts:
    """What the agent of the bench knows of this ERP's orders, beside the plant's files."""
    zone, table = ZoneInfo(erp.plan.time_zone), UnitTable.of(parse(EDGE / "units.yaml", UnitsFile))
    files = masterfiles.load(EDGE / "masterdata", table).facts(START.date())
    codes = {sap: code for code, sap in reversed(list(UNITS.items()))}
    rows = [
        order_row(erp.ledger, one)
        | {
            "to_ProductionOrderOperation": [operation_row(erp.ledger, one)],
            "to_ProductionOrderComponent": [component_row(erp.ledger, one, part) for part in one.components.values()],
        }
        for one in erp.ledger.orders.values()
    ]
    told = [from_document("order", order_payload(row, codes, zone)) for row in rows]
    return Facts(Plant("1710", zone, "EUR"), table).with_facts(files).with_facts(told)


def test_the_orders_of_the_bench_are_due_so_that_there_is_something_to_put_in_sequence():
    """By the order of the ERP some are late at the mixer and the moulding machine; here fewer, or less."""
    facts = known(new_erp(dates=True, clock=lambda: START))
    found = {
        place: shown(release_sequence(facts, place, START, Config().limits, effort=500))
        for place in scenario.load().work_centers
    }
    assert [len(one["orders"]) for one in found.values()] == [10, 10, 10]
    assert all(order["due"] for one in found.values() for order in one["orders"])
    late = {place: (one["here"]["late"], one["erp"]["late"]) for place, one in found.items()}
    assert late == {"MIX-01": (0, 3), "MOLD-02": (2, 2), "ASSY-05": (0, 0)}
    moulding = found["MOLD-02"]
    assert moulding["here"]["weighted_lateness_minutes"] < moulding["erp"]["weighted_lateness_minutes"] / 2
    assert facts.orders["1000107"].due == datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
    assert facts.orders["1000107"].planned_start == datetime(2026, 11, 23, 19, 0, tzinfo=UTC)


def test_orders_are_planned_only_where_that_is_asked_for():
    """A test that says nothing of dates has none, also after a reset; with dates a reset plans them again."""
    assert all(one.due is None and one.planned_start is None for one in known(new_erp()).orders.values())
    erp = new_erp(dates=True, clock=lambda: START)
    erp.reset()
    assert known(erp).orders["1000100"].due == datetime(2026, 11, 24, 11, 0, tzinfo=UTC)


def test_due_dates_are_as_many_as_orders(tmp_path):
    """A scenario that does not fit says where."""
    text = scenario.DEFAULT_PATH.read_text(encoding="utf-8")
    (tmp_path / "one.yaml").write_text(text.replace("due_h: [30, ", "due_h: ["), encoding="utf-8")
    with pytest.raises(ValueError, match="due_h of CMP-BLUE has 9 hours for 10 orders"):
        scenario.load(tmp_path / "one.yaml")
    plan = replace(scenario.load().plans[0], count=3, due_h=(), start_every_h=None)
    assert {one.due_h for one in replace(scenario.load(), plans=(plan,)).orders()} == {None}
