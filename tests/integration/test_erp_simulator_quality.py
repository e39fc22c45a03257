"""What the simulated ERP checks and books of stock status, scrap, defects, physical inventory and changed orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from simulators.erp.server import Running, running
from tests.integration.erp_calls import MATERIAL_DOCUMENTS, ORDERS, Sap, connected

HEADERS = "A_MaterialDocumentHeader"
COUNTS = "API_PHYSICAL_INVENTORY_DOC_SRV"
DEFECTS = "API_DEFECT_SRV"


@pytest.fixture
async def server():
    """A simulated ERP that lets anybody in."""
    async with running() as started:
        yield started


@pytest.fixture
async def sap(server: Running):
    """A client that holds a token."""
    async with connected(server) as client:
        yield client


def movement(kind: str, quantity: str, code: str = "04", **item: str) -> dict[str, Any]:
    row = {"Material": "RM-RESIN", "Plant": "1710", "StorageLocation": "171A", "GoodsMovementType": kind}
    row |= {"QuantityInEntryUnit": quantity, "EntryUnit": "KG", **item}
    return {"GoodsMovementCode": code, "to_MaterialDocumentItem": {"results": [row]}}


async def code_of(sap: Sap, service: str, resource: str, payload: Any) -> str:
    answer = await sap.post(service, resource, payload)
    return str(answer.json()["error"]["code"]) if answer.status_code >= 400 else ""


def withheld(server: Running, status: str) -> str:
    return str(server.erp.ledger.withheld[status].get(("RM-RESIN", "171A"), "0"))


async def test_blocked_stock_is_stock_of_its_own(server: Running, sap: Sap):
    """344 blocks, 555 scraps from there and nothing else; 343 frees the rest; what is left is all but the scrap."""
    assert await code_of(sap, MATERIAL_DOCUMENTS, HEADERS, movement("343", "1")) == "M7/021"
    assert await code_of(sap, MATERIAL_DOCUMENTS, HEADERS, movement("344", "20")) == ""
    assert withheld(server, "blocked") == "20.000"
    assert await code_of(sap, MATERIAL_DOCUMENTS, HEADERS, movement("555", "8", "03")) == "M7/018", "no cost centre"
    scrap = movement("555", "8", "03", CostCenter="4711", GoodsMovementReasonCode="0007")
    assert await code_of(sap, MATERIAL_DOCUMENTS, HEADERS, scrap) == ""
    too_much = movement("555", "13", "03", CostCenter="4711")
    refused = await sap.post(MATERIAL_DOCUMENTS, HEADERS, too_much)
    assert "Deficit of SL Blocked stock 1.000 KG" in refused.json()["error"]["message"]["value"]
    assert await code_of(sap, MATERIAL_DOCUMENTS, HEADERS, movement("343", "12")) == ""
    assert withheld(server, "blocked") == "0.000"
    assert str(server.erp.ledger.stock["RM-RESIN", "171A"]) == "249992.000"
    where = "Material eq 'RM-RESIN' and InventoryStockType eq '07'"
    (row,) = await sap.select("API_MATERIAL_STOCK_SRV", "A_MatlStkInAcctMod", where)
    assert row["MatlWrhsStkQtyInMatlBaseUnit"] == "0.00000000000000"


async def test_cancel_frees_what_was_blocked(server: Running, sap: Sap):
    """The reversal of 344 is 343."""
    booked = (await sap.post(MATERIAL_DOCUMENTS, HEADERS, movement("344", "20"))).json()["d"]
    keys = {name: f"'{booked[name]}'" for name in ("MaterialDocumentYear", "MaterialDocument")}
    assert (await sap.post(MATERIAL_DOCUMENTS, "Cancel", params=keys)).status_code == 200
    assert withheld(server, "blocked") == "0.000"
    assert server.erp.books.documents[-1].items[0]["GoodsMovementType"] == "343"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"DefectCode": ""}, "QM/114"),
        ({"Material": "NO-SUCH"}, "M3/305"),
        ({"ManufacturingOrder": "9999999"}, "CO/017"),
        ({"DefectText": "x" * 41}, "/IWBEP/CM_MGW_RT/032"),
        ({"Batch": "L7"}, "/IWBEP/CM_MGW_RT/021"),
        ({}, ""),
    ],
)
async def test_a_defect_is_checked_before_it_is_recorded(server: Running, sap: Sap, change: dict[str, str], code: str):
    """A wrong one is refused in SAP's words; a right one is found by the beginning of its text."""
    defect = {"DefectCodeCatalog": "9", "DefectCodeGroup": "SURFACE", "DefectCode": "0010", "Plant": "1710"}
    defect |= {"Material": "CMP-BLUE", "ManufacturingOrder": "1000100", "DefectText": "KEY00000 specks"}
    assert await code_of(sap, DEFECTS, "A_Defect", defect | change) == code
    found = await sap.select(DEFECTS, "A_Defect", "startswith(DefectText,'KEY00000')")
    assert [one["DefectInternalID"] for one in found] == [one.number for one in server.erp.books.documents]
    assert len(found) == (0 if code else 1)


async def patch(sap: Sap, service: str, address: str, payload: dict[str, Any], **headers: str) -> httpx.Response:
    return await sap.odata("PATCH", service, address, json=payload, headers={"x-csrf-token": sap.token, **headers})


def counting(*materials: str) -> dict[str, Any]:
    items = [{"Material": material, "Plant": "1710", "StorageLocation": "171A"} for material in materials]
    head = {"Plant": "1710", "StorageLocation": "171A", "PhysInventoryReferenceNumber": "k1"}
    return head | {"to_PhysicalInventoryDocumentItem": {"results": items}}


async def test_a_count_has_its_order_and_is_guarded(server: Running, sap: Sap):
    """One active document per place; the ETag of an item; no difference before the count, none twice."""
    made = (await sap.post(COUNTS, "A_PhysInventoryDocHeader", counting("RM-RESIN"))).json()["d"]
    assert made["PhysInventoryReferenceNumber"] == "K1"
    assert await code_of(sap, COUNTS, "A_PhysInventoryDocHeader", counting("RM-RESIN")) == "M7/709"
    keys = {name: f"'{made[name]}'" for name in ("FiscalYear", "PhysicalInventoryDocument")}
    key = ",".join(f"{name}={value}" for name, value in keys.items())
    early = await sap.post(COUNTS, "PostDifferences", params=keys)
    assert early.json()["error"]["code"] == "M7/703"
    items = f"A_PhysInventoryDocHeader({key})/to_PhysicalInventoryDocumentItem"
    etag = (await sap.odata("GET", COUNTS, items)).json()["d"]["results"][0]["__metadata"]["etag"]
    item = f"A_PhysInventoryDocItem({key},PhysicalInventoryDocumentItem='1')"
    entry = {"QuantityInUnitOfEntry": "249000", "UnitOfEntry": "KG"}
    assert (await patch(sap, COUNTS, item, entry)).status_code == 428
    assert (await patch(sap, COUNTS, item, entry, **{"if-match": etag})).status_code == 204
    assert (await patch(sap, COUNTS, item, entry, **{"if-match": etag})).status_code == 412
    zero = {"QuantityInUnitOfEntry": "0", "UnitOfEntry": "KG"}
    assert (await patch(sap, COUNTS, item, zero, **{"if-match": "*"})).json()["error"]["code"] == "M7/705"
    assert (await sap.post(COUNTS, "PostDifferences", params=keys)).status_code == 200
    again = await sap.post(COUNTS, "PostDifferences", params=keys)
    assert again.json()["error"]["code"] == "M7/778"
    assert str(server.erp.ledger.stock["RM-RESIN", "171A"]) == "249000.000"


async def test_what_was_changed_is_there_again_after_a_restart(tmp_path: Path):
    """Release, text, blocked stock, defect and count come back from the books file, with the same ETag."""
    books = tmp_path / "books.jsonl"
    order = "A_ProductionOrder_2('1000100')"
    async with running(books=books) as server, connected(server) as sap:
        server.erp.ledger.orders["1000100"].released = False
        assert (await sap.post(ORDERS, "ReleaseOrder", params={"ManufacturingOrder": "'1000100'"})).status_code == 200
        assert (await patch(sap, ORDERS, order, {"OrderLongText": "late"}, **{"if-match": "*"})).status_code == 204
        await sap.post(MATERIAL_DOCUMENTS, HEADERS, movement("344", "20"))
        made = (await sap.post(COUNTS, "A_PhysInventoryDocHeader", counting("RM-RESIN"))).json()["d"]
        key = f"FiscalYear='{made['FiscalYear']}',PhysicalInventoryDocument='{made['PhysicalInventoryDocument']}'"
        item = f"A_PhysInventoryDocItem({key},PhysicalInventoryDocumentItem='1')"
        entry = {"QuantityInUnitOfEntry": "5", "UnitOfEntry": "KG"}
        assert (await patch(sap, COUNTS, item, entry, **{"if-match": "*"})).status_code == 204
        before = (await sap.odata("GET", COUNTS, item)).headers["etag"]
    async with running(books=books) as server, connected(server) as sap:
        report = server.erp.report()
        assert report["orders"]["1000100"]["text"] == "late"
        assert report["withheld"]["blocked"] == {"RM-RESIN/171A": "20.000"}
        answer = await sap.odata("GET", COUNTS, item)
        assert answer.headers["etag"] == before
        assert answer.json()["d"]["PhysicalInventoryItemIsCounted"]
        kinds = [one["kind"] for one in report["documents"]]
        assert kinds == ["order_release", "order_change", "material_document", "count_document", "count_entry"]
