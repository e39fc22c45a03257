"""Scrap, stock transfers and defects against the ERP simulator: booked, read back, found again and taken back."""

from decimal import Decimal
from typing import Any

import pytest

from agent.erp.sap_s4 import DefectFields
from agent.ports import Kind
from tests.integration.test_sap_s4 import KEY, ORDER, bench, frozen, post, posting


def moved(movement: str, **changes: Any) -> dict[str, Any]:
    place = {"plant": "1710", "material": "RM-RESIN", "storage_location": "171A", "unit": "KGM", "quantity": "8"}
    return place | {"movement": movement, "posting_date": "2026-11-20", "text": "a"} | changes


async def test_scrap_and_blocked_stock_are_booked_read_back_and_taken_back():
    """344, 555 from there, and both cancelled: SAP chooses the movement types, and the stock is what it was."""
    async with bench(read_back=True) as (sap, target):
        blocked = await post(target, Kind.STOCK_TRANSFER, moved("344"), "1" * 16)
        scrap = moved("555", quantity="3", cost_center="4711", order=ORDER, reason="0007")
        scrapped = await post(target, Kind.SCRAP, scrap, "2" * 16)
        assert (blocked.warnings, scrapped.warnings) == ((), ())
        item = sap.erp.books.documents[-1].items[0]
        assert (item["CostCenter"], item.get("ManufacturingOrder", "")) == ("4711", ""), "one of them bears it"
        assert sap.erp.ledger.withheld["blocked"] == {("RM-RESIN", "171A"): Decimal("5.000")}
        for of_kind, original, key in (("scrap", scrapped, "3" * 16), ("stock_transfer", blocked, "4" * 16)):
            content = {"of_kind": of_kind, "document": original.document, "posting_date": "2026-11-20"}
            reversal = await post(target, Kind.REVERSAL, content, key)
            found = await target.find(frozen(target, posting(Kind.REVERSAL, content, key)))
            assert found is not None
            assert found.document == reversal.document
        assert sap.erp.ledger.withheld["blocked"] == {("RM-RESIN", "171A"): Decimal("0.000")}
        assert str(sap.erp.ledger.stock["RM-RESIN", "171A"]) == "250000.000"


@pytest.mark.parametrize("of_kind", ["defect", "order_release", "count_difference", "no_such_kind"])
async def test_what_sap_cannot_take_back_is_said_before_it_is_sent(of_kind: str):
    """`check` names the kind."""
    async with bench() as (_, target):
        (words,) = target.check(Kind.REVERSAL, {"of_kind": of_kind, "document": "2026/1"})
        assert of_kind in words


async def test_a_defect_carries_its_key_its_lot_and_what_has_room_of_its_text():
    """The key comes first, so that it is found by; a defect that somebody deleted in SAP is found with a warning."""
    defect = {
        "plant": "1710", "order": ORDER, "operation": "10", "material": "CMP-BLUE", "batch": "L7", "work_center": "M",
        "defect_code": "0010", "defect_code_group": "SURFACE", "quantity": "2", "unit": "KGM", "severity": "major",
        "text": "specks in every second bag of this lot",
    }  # fmt: skip
    fields = DefectFields(classes={"major": "02"})
    async with bench(defect_service="API_DEFECT_SRV", defect=fields) as (sap, target):
        answer = await post(target, Kind.DEFECT, defect)
        header = sap.erp.books.documents[0].header
        assert header["DefectText"] == f"{KEY} L7 specks in every seco"
        assert (header["DefectClass"], header["ManufacturingOrderOperation"]) == ("02", "0010")
        header["IsDeleted"] = "X"
        found = await target.find(posting(Kind.DEFECT, defect))
        assert found is not None
        assert (found.document, found.warnings) == (
            answer.document,
            (f"{answer.document} has been deleted at SAP since",),
        )


async def test_a_service_that_is_not_named_takes_nothing():
    """The words say what to set."""
    async with bench() as (_, target):
        (words,) = target.check(Kind.ORDER_RELEASE, {"order": ORDER, "plant": "1710"})
        assert words == "order_release is switched off in this target; set its service to switch it on"
        (other,) = target.check(Kind.NOTIFICATION, {})
        assert "notification is no posting to SAP" in other
