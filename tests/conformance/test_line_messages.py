"""The mappings of the bench against the simulated line: what the machines meant is what is read."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import config
from agent.errors import BadPayload
from agent.isa95 import MaterialUse, SegmentResponse
from agent.mapping import load
from agent.ports import Event
from agent.units import UnitsFile, UnitTable
from simulators.line.inspection import CAUSES, inspected
from simulators.line.misbehaviour import NAMES, misbehave
from simulators.line.plant import START, reports
from simulators.line.wire import encode
from simulators.scenario import load as load_scenario

UNITS = UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile))
MAPPINGS = load(Path("edge_config/mappings"), UNITS)
SCENARIO = load_scenario()
OF_A_SHIFT = list(reports(SCENARIO, 7, 600))


def read(topic: str, payload: bytes, received_at: datetime) -> SegmentResponse:
    return MAPPINGS.read(Event(1, "line", topic, payload, received_at))


def in_erp_unit(report: SegmentResponse, use: MaterialUse, sap_unit: str) -> Decimal:
    """How much of this use the report says, in the ERP's unit; nothing where it says none."""
    amounts = [actual.quantity for actual in report.material_actuals if actual.use == use]
    return sum((UNITS.convert(amount, UNITS.from_sap(sap_unit)).value for amount in amounts), Decimal(0))


def as_read(report: SegmentResponse, truth: dict[str, Any]) -> dict[str, Any]:
    """The report in the words of the simulator's truth."""
    common = {"kind": report.kind, "id": report.id, "order": report.order, "operation": report.operation}
    common["work_center"] = report.work_center
    if report.kind == "consumption":
        material = report.material_actuals[0].material
        return common | {"material": material, "quantity": in_erp_unit(report, MaterialUse.CONSUMED, truth["unit"])}
    yielded, scrapped = (in_erp_unit(report, use, truth["unit"]) for use in (MaterialUse.PRODUCED, MaterialUse.SCRAP))
    return common | {"yield": yielded, "scrap": scrapped, "final": report.final}


def test_every_report_is_read_as_it_was_meant():
    """Order, material and quantities of each message are those of the machine, in the ERP's unit."""
    for report in OF_A_SHIFT:
        when = datetime.fromisoformat(report.truth["ts"])
        got = as_read(read(report.topic, encode(report.body), when), report.truth)
        meant = {key: report.truth[key] for key in got}
        for key in ("quantity", "yield", "scrap"):
            if key in meant:
                # a small scale shows whole grams: it is read as it is shown
                assert abs(got.pop(key) - Decimal(meant.pop(key))) <= Decimal("0.0005"), report.body
        assert got == meant
    assert {report.truth["kind"] for report in OF_A_SHIFT} == {"consumption", "confirmation"}


def test_what_an_inspection_finds_is_read_as_it_was_meant():
    """Material, lot and quantity of each report of scrap, and what was measured; the other reports are as ever."""
    told = list(reports(SCENARIO, 7, 2000, told=inspected))
    found = [one for one in told if one.truth["kind"] == "scrap"]
    assert [one for one in told if one.truth["kind"] != "scrap"][:600] == OF_A_SHIFT
    assert {one.truth["cause"] for one in found} == set(CAUSES)
    for one in found:
        got = read(one.topic, encode(one.body), datetime.fromisoformat(one.truth["ts"]))
        (scrap,) = got.material_actuals
        assert (got.kind, got.order, scrap.material, scrap.lot) == (
            "scrap", one.truth["order"], one.truth["material"], one.body["lot"],
        )  # fmt: skip
        assert in_erp_unit(got, MaterialUse.SCRAP, one.truth["unit"]) == Decimal(one.truth["quantity"])
        assert ("tool_used" in got.data) == (one.body["origin"] == "vision")


def test_the_lot_of_a_consumption_is_read():
    """The produced quantity beside a consumption is the lot, a bare number that counts in the order's unit."""
    consumptions = [report for report in OF_A_SHIFT if report.truth["kind"] == "consumption"]
    for report in consumptions:
        produced = read(report.topic, encode(report.body), datetime.fromisoformat(report.truth["ts"])).material_actuals[
            1
        ]
        assert (produced.use, produced.material) == (MaterialUse.PRODUCED, "")
        assert (produced.quantity.value, produced.quantity.unit) == (report.body["lot_quantity"], "C62")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_misbehaviour_is_a_report_or_a_refusal(name: str):
    """However a line misbehaves, the mapping reads a report or refuses with a reason."""
    for sent in misbehave(OF_A_SHIFT[:100], {name: 1.0}, 7, SCENARIO):
        for message in sent.messages:
            try:
                assert read(message.topic, message.payload, START).kind in message.topic
            except BadPayload as refusal:
                assert refusal.reason  # noqa: PT017  # either outcome is allowed
