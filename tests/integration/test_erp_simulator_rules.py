"""What the simulated ERP checks and books: refusals in SAP's words, confirmations, cancellations, orders."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from simulators.erp.server import Running, running
from tests.integration.erp_calls import (
    CONFIRMATIONS,
    MATERIAL_DOCUMENTS,
    OPERATIONS,
    ORDERS,
    Sap,
    confirmation,
    connected,
    goods_issue,
)

GUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
HEADERS = "A_MaterialDocumentHeader"


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


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"item": {"Material": "NO-SUCH", "Reservation": "", "ReservationItem": ""}}, "M3/305"),
        ({"item": {"Plant": "9999"}}, "M3/351"),
        ({"item": {"StorageLocation": "XXXX"}}, "M7/131"),
        ({"item": {"EntryUnit": "XX"}}, "M7/001"),
        ({"item": {"EntryUnit": "PC"}}, "M3/022"),
        ({"item": {"ReservationItem": "9"}}, "M7/036"),
        ({"item": {"Material": "RM-PIGMENT"}}, "M7/037"),
        ({"item": {"ManufacturingOrder": "9999999"}}, "CO/017"),
        ({"item": {"QuantityInEntryUnit": "0"}}, "M7/033"),
        ({"item": {"QuantityInEntryUnit": "1.2345"}}, "/IWBEP/CM_MGW_RT/033"),
        ({"item": {"QuantityInEntryUnit": "1,5"}}, "/IWBEP/CM_MGW_RT/028"),
        ({"item": {"QuantityInEntryUnit": "1E+1"}}, "/IWBEP/CM_MGW_RT/028"),
        ({"item": {"QuantityInEntryUnit": 12.5}}, "/IWBEP/CM_MGW_RT/028"),
        ({"item": {"QuantityInEntryUnit": "300000"}}, "M7/021"),
        ({"item": {"ProductSeason": "X"}}, "/IWBEP/CM_MGW_RT/034"),
        ({"item": {"GoodsMovementType": "101"}}, "M7/146"),
        ({"header": {"Plant": "1710"}}, "/IWBEP/CM_MGW_RT/021"),
        ({"header": {"ReferenceDocument": "X" * 17}}, "/IWBEP/CM_MGW_RT/032"),
        ({"header": {"PostingDate": "yesterday"}}, "/IWBEP/CM_MGW_RT/028"),
        ({"header": {"PostingDate": "/Date(99999999999999999)/"}}, "/IWBEP/CM_MGW_RT/028"),
        ({"header": {"GoodsMovementCode": ""}}, "M7/118"),
        ({"header": {"to_MaterialDocumentItem": {"results": []}}}, "M7/095"),
        ({"header": {"to_MaterialDocumentItem": "items"}}, "/IWBEP/CM_MGW_RT/022"),
    ],
)
async def test_what_does_not_fit_is_refused_in_sap_words(server: Running, sap: Sap, change, code):
    """Each mistake is a 400 in SAP's error shape with its own code, and nothing is booked."""
    payload = goods_issue("K1") | change.get("header", {})
    if "item" in change:
        payload["to_MaterialDocumentItem"]["results"][0] |= change["item"]
    answer = await sap.post(MATERIAL_DOCUMENTS, HEADERS, payload)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert len(error["innererror"]["transactionid"]) == 32
    assert error["innererror"]["errordetails"][0]["message"] == error["message"]["value"]
    assert server.erp.books.documents == []
    assert str(server.erp.ledger.stock["RM-RESIN", "171A"]) == "250000.000"


async def test_a_shortage_names_quantity_material_and_place(sap: Sap):
    """M7/021 says how much is missing, of what, and where."""
    await sap.sim("stock", {"material": "RM-RESIN", "quantity": "10"})
    answer = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1", quantity="12.5"))
    message = answer.json()["error"]["message"]["value"]
    assert message == "Deficit of SL Unrestricted-use 2.500 KG : RM-RESIN 1710 171A"


async def test_a_closed_period_is_refused(sap: Sap):
    """A posting date before the open period is M7/053, whatever else is right."""
    await sap.sim("settings", {"open_from": "2026-12-01"})
    answer = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1"))
    assert answer.json()["error"]["code"] == "M7/053"
    assert "periods 2026/12 and 2026/11" in answer.json()["error"]["message"]["value"]


@pytest.mark.parametrize(
    ("flags", "status"),
    [({"released": False}, "CRTD"), ({"technically_completed": True}, "TECO"), ({"closed": True}, "CLSD")],
)
async def test_an_order_that_is_not_released_takes_no_posting(sap: Sap, flags, status):
    """Created, technically completed and closed orders refuse goods movements and confirmations with their status."""
    await sap.sim("order", {"order": "1000100", **flags})
    for answer in (
        await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1")),
        await sap.post(CONFIRMATIONS, "ProdnOrdConf2", confirmation("K1", GUID)),
    ):
        details = answer.json()["error"]["innererror"]["errordetails"]
        assert [detail["code"] for detail in details] == ["BS/007", "BS/013"]
        assert status in details[1]["message"]


async def test_other_units_are_converted_into_the_base_unit(sap: Sap):
    """1 500 G of a material kept in KG are 1.500 in the base unit."""
    answer = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1", quantity="1500", EntryUnit="G"))
    item = answer.json()["d"]["to_MaterialDocumentItem"]["results"][0]
    assert (item["QuantityInEntryUnit"], item["EntryUnit"]) == ("1500.000", "G")
    assert (item["QuantityInBaseUnit"], item["MaterialBaseUnit"]) == ("1.500", "KG")


async def test_cancel_takes_stock_and_reservation_back_once(server: Running, sap: Sap):
    """Cancel books the reversal type with a reference to the original; a second Cancel is refused."""
    await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1"))
    address = {
        "MaterialDocumentYear": "'2026'",
        "MaterialDocument": "'4900000001'",
        "PostingDate": "datetime'2026-11-20T00:00'",
    }
    answer = await sap.post(MATERIAL_DOCUMENTS, "Cancel", params=address)
    assert answer.json()["d"]["MaterialDocument"] == "4900000002"
    found = await sap.select(MATERIAL_DOCUMENTS, "A_MaterialDocumentItem", "ReversedMaterialDocument eq '4900000001'")
    assert [row["GoodsMovementType"] for row in found] == ["262"]
    assert str(server.erp.ledger.stock["RM-RESIN", "171A"]) == "250000.000"
    assert str(server.erp.ledger.orders["1000100"].components["1"].withdrawn) == "0.000"
    again = await sap.post(MATERIAL_DOCUMENTS, "Cancel", params=address)
    assert again.status_code == 400
    assert server.erp.report()["duplicates"] == {}


async def test_a_confirmation_moves_yield_and_is_found_by_its_external_key(server: Running, sap: Sap):
    """A confirmation without movements counts yield and scrap, and is found by guid and by text."""
    payload = confirmation("K1", GUID, ConfirmationScrapQuantity="1", IsFinalConfirmation=True)
    answer = await sap.post(CONFIRMATIONS, "ProdnOrdConf2", payload)
    document = answer.json()["d"]
    assert (answer.status_code, document["ConfirmationGroup"], document["ConfirmationCount"]) == (201, "100001", "1")
    assert document["to_ProdnOrdConfMatlDocItm"]["results"] == []
    for where in (f"ExternalSystemConfirmation eq guid'{GUID}'", "ConfirmationText eq 'K1'", "OrderID eq '1000100'"):
        found = await sap.select(CONFIRMATIONS, "ProdnOrdConf2", where)
        assert [row["ConfirmationCount"] for row in found] == ["1"]
    order = server.erp.ledger.orders["1000100"]
    assert (str(order.confirmed_yield), str(order.confirmed_scrap), order.finally_confirmed) == (
        "10.000",
        "1.000",
        True,
    )


async def test_a_confirmation_with_items_books_them_with_a_material_document(server: Running, sap: Sap):
    """Movements inside a confirmation are booked and can be read back from both services."""
    item = goods_issue("")["to_MaterialDocumentItem"]["results"][0]
    item["OrderID"] = item.pop("ManufacturingOrder")
    payload = confirmation("K1", GUID, APIConfHasNoGoodsMovements=False, to_ProdnOrdConfMatlDocItm=[item])
    answer = await sap.post(CONFIRMATIONS, "ProdnOrdConf2", payload)
    shown = answer.json()["d"]["to_ProdnOrdConfMatlDocItm"]["results"]
    assert [(row["Material"], row["QuantityInEntryUnit"]) for row in shown] == [("RM-RESIN", "12.500")]
    path = "ProdnOrdConf2(ConfirmationGroup='100001',ConfirmationCount='1')/to_ProdnOrdConfMatlDocItm"
    kept = (await sap.odata("GET", CONFIRMATIONS, path)).json()["d"]["results"]
    assert [row["MaterialDocument"] for row in kept] == ["4900000001"]
    items = await sap.select(MATERIAL_DOCUMENTS, "A_MaterialDocumentItem", "ManufacturingOrder eq '1000100'")
    assert len(items) == 1
    assert str(server.erp.ledger.stock["RM-RESIN", "171A"]) == "249987.500"


async def test_a_bare_confirmation_backflushes_and_receives(server: Running, sap: Sap):
    """Without items and without the flag, marked components are consumed in proportion and the yield is received."""
    await sap.sim("order", {"order": "1000100", "backflush": ["RM-PIGMENT"]})
    payload = confirmation("K1", GUID, quantity="100", APIConfHasNoGoodsMovements=False)
    answer = await sap.post(CONFIRMATIONS, "ProdnOrdConf2", payload)
    rows = answer.json()["d"]["to_ProdnOrdConfMatlDocItm"]["results"]
    moved = {(row["GoodsMovementType"], row["Material"]): row["QuantityInEntryUnit"] for row in rows}
    assert moved == {("261", "RM-PIGMENT"): "4.503", ("101", "CMP-BLUE"): "100.000"}
    assert str(server.erp.ledger.stock["CMP-BLUE", "171A"]) == "50100.000"


async def test_automatic_movements_without_stock_go_to_cogi(server: Running, sap: Sap):
    """The confirmation is booked, its movements are not; the read-back shows none."""
    await sap.sim("order", {"order": "1000100", "backflush": True})
    await sap.sim("stock", {"material": "RM-RESIN", "quantity": "0"})
    payload = confirmation("K1", GUID, APIConfHasNoGoodsMovements=False)
    answer = await sap.post(CONFIRMATIONS, "ProdnOrdConf2", payload)
    assert answer.status_code == 201
    path = "ProdnOrdConf2(ConfirmationGroup='100001',ConfirmationCount='1')/to_ProdnOrdConfMatlDocItm"
    assert (await sap.odata("GET", CONFIRMATIONS, path)).json()["d"]["results"] == []
    assert len(server.erp.books.documents[0].failed) == 3


async def test_confirmations_are_cancelled_newest_first(server: Running, sap: Sap):
    """An older confirmation can be cancelled only after the newer one; yield is taken back."""
    for number in (1, 2):
        await sap.post(CONFIRMATIONS, "ProdnOrdConf2", confirmation(f"K{number}", GUID[:-1] + str(number)))
    older = {"ConfirmationGroup": "'100001'", "ConfirmationCount": "'1'"}
    newer = older | {"ConfirmationCount": "'2'", "ConfirmationText": "'BACK'"}
    assert (await sap.post(CONFIRMATIONS, "CancelProdnOrdConf", params=older)).status_code == 400
    assert (await sap.post(CONFIRMATIONS, "CancelProdnOrdConf", params=newer)).status_code == 200
    assert (await sap.post(CONFIRMATIONS, "CancelProdnOrdConf", params=older)).status_code == 200
    assert str(server.erp.ledger.orders["1000100"].confirmed_yield) == "0.000"


async def test_an_operation_tells_when_it_was_begun_and_finished(sap: Sap):
    """Begun with the first confirmation that stands, finished with the final one; cancelled, it is neither."""

    async def actual() -> list[str | None]:
        (row,) = (await sap.odata("GET", ORDERS, OPERATIONS)).json()["d"]["results"]
        names = [f"OpActualExecution{which}" for which in ("StartDate", "StartTime", "EndDate", "EndTime")]
        return [row[name] for name in names]

    day = "/Date(1796083200000)/"  # the first of December
    times = {f"ConfirmedExecution{which}Date": day for which in ("Start", "End")}
    first = times | {"ConfirmedExecutionStartTime": "PT06H00M00S", "ConfirmedExecutionEndTime": "PT07H00M00S"}
    last = times | {"ConfirmedExecutionStartTime": "PT08H00M00S", "ConfirmedExecutionEndTime": "PT09H30M00S"}
    nothing = await actual()
    await sap.post(CONFIRMATIONS, "ProdnOrdConf2", confirmation("K1", GUID, **first))
    assert await actual() == [day, "PT06H00M00S", *nothing[2:]]
    final = confirmation("K2", GUID[:-1] + "9", IsFinalConfirmation=True, **last)
    await sap.post(CONFIRMATIONS, "ProdnOrdConf2", final)
    assert await actual() == [day, "PT06H00M00S", day, "PT09H30M00S"]
    for count in "21":
        key = {"ConfirmationGroup": "'100001'", "ConfirmationCount": f"'{count}'"}
        assert (await sap.post(CONFIRMATIONS, "CancelProdnOrdConf", params=key)).status_code == 200
    assert await actual() == nothing


async def test_more_yield_than_ordered_warns_in_sap_message(sap: Sap):
    """A success may carry a warning in the header sap-message."""
    answer = await sap.post(CONFIRMATIONS, "ProdnOrdConf2", confirmation("K1", GUID, quantity="2001"))
    assert answer.status_code == 201
    assert '"severity": "warning"' in answer.headers["sap-message"]


# ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_orders_are_read_with_components_and_operations(sap: Sap):
    """$expand brings the reservation items and the operation of each order."""
    expand = "to_ProductionOrderComponent,to_ProductionOrderOperation"
    options = {"$filter": "ManufacturingOrder eq '1000100'", "$expand": expand}
    answer = await sap.odata("GET", ORDERS, "A_ProductionOrder_2", params=options)
    (order,) = answer.json()["d"]["results"]
    assert (order["OrderIsReleased"], order["TotalQuantity"], order["ProductionUnit"]) == ("X", "2000.000", "KG")
    first = order["to_ProductionOrderComponent"]["results"][0]
    assert (first["Reservation"], first["ReservationItem"], first["RequiredQuantity"]) == ("50001", "1", "1921.500")
    assert order["to_ProductionOrderOperation"]["results"][0]["ManufacturingOrderOperation"] == "0010"


async def test_orders_are_polled_by_change_time_page_by_page():
    """A change moves LastChangeDateTime; longer results carry __next, which leads through all of them."""
    moments = iter(datetime(2026, 11, 20, tzinfo=UTC) + timedelta(minutes=n) for n in range(1000))
    async with running(clock=lambda: next(moments)) as server, connected(server) as sap:
        rows = await sap.select(ORDERS, "A_ProductionOrder_2", "LastChangeDateTime gt '20261120000000'")
        assert rows == []
        await sap.sim("settings", {"page_size": 2})
        for number in (1000103, 1000101, 1000102):
            await sap.sim("order", {"order": number, "released": False})
        options = {"$filter": "LastChangeDateTime gt '20261120000000'", "$orderby": "LastChangeDateTime"}
        page = (await sap.odata("GET", ORDERS, "A_ProductionOrder_2", params=options)).json()["d"]
        following = (await sap.get(page["__next"])).json()["d"]
        found = [row["ManufacturingOrder"] for row in (*page["results"], *following["results"])]
        assert found == ["1000103", "1000101", "1000102"]
        assert "__next" not in following


async def test_release_is_a_function_and_patch_wants_the_etag(sap: Sap):
    """ReleaseOrder answers a FunctionMessage; PATCH without If-Match is 428, with a stale one 412."""
    await sap.sim("order", {"order": "1000100", "released": False})
    released = await sap.post(ORDERS, "ReleaseOrder", params={"ManufacturingOrder": "'1000100'"})
    assert released.json()["d"]["ReleaseOrder"]["SystemMessageType"] == "S"
    address = "A_ProductionOrder_2('1000100')"
    etag = (await sap.odata("GET", ORDERS, address)).headers["etag"]

    async def patch(payload: dict[str, str], **headers: str) -> httpx.Response:
        headers["x-csrf-token"] = sap.token
        return await sap.odata("PATCH", ORDERS, address, json=payload, headers=headers)

    assert (await patch({"GoodsRecipientName": "A"})).status_code == 428
    assert (await patch({"GoodsRecipientName": "A"}, **{"if-match": etag})).status_code == 204
    assert (await patch({"GoodsRecipientName": "B"}, **{"if-match": etag})).status_code == 412
    assert (await patch({"OrderIsReleased": ""}, **{"if-match": "*"})).status_code == 400


async def test_stock_and_units_can_be_read(sap: Sap):
    """Stock has fourteen decimals; units come as numerator and denominator."""
    where = "Material eq 'RM-RESIN' and Plant eq '1710'"
    (stock,) = await sap.select("API_MATERIAL_STOCK_SRV", "A_MatlStkInAcctMod", where)
    assert stock["MatlWrhsStkQtyInMatlBaseUnit"] == "250000.00000000000000"
    where = "Product eq 'RM-RESIN' and AlternativeUnit eq 'G'"
    (unit,) = await sap.select("API_PRODUCT_SRV", "A_ProductUnitsOfMeasure", where)
    assert (unit["QuantityNumerator"], unit["QuantityDenominator"], unit["BaseUnit"]) == ("1", "1000", "KG")


@pytest.mark.parametrize(
    "where", ["Nonsense eq '1'", "Material eq", "Material is '1'", "Material eq 1 and", "(Material eq '1'"]
)
async def test_a_wrong_filter_is_refused(sap: Sap, where):
    """A filter that cannot be read is a 400, never an empty result."""
    answer = await sap.odata("GET", ORDERS, "A_ProductionOrder_2", params={"$filter": where})
    assert answer.status_code == 400


async def test_fields_that_a_release_lacks_are_refused_and_not_in_metadata(sap: Sap):
    """A hidden field is gone from $metadata, refused in a POST, and missing in answers."""
    await sap.sim("settings", {"hidden": ["StockSegment"]})
    assert "StockSegment" not in (await sap.odata("GET", MATERIAL_DOCUMENTS, "$metadata")).text.replace(
        "IssgOrRcvgStockSegment", ""
    )
    refused = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1", StockSegment="A"))
    assert refused.json()["error"]["code"] == "/IWBEP/CM_MGW_RT/021"


# ── idempotency ─────────────────────────────────────────────────────────────────────────────────────────────

REPEAT = {"RequestID": "7C9E6679742540DE944BE07FC1F90AE7", "RepeatabilityCreation": "2026-11-20T14:00:05"}


async def test_request_ids_are_ignored_unless_switched_on(server: Running, sap: Sap):
    """As at most customers: the same RequestID books twice, and no RepeatabilityResult comes back."""
    for _ in range(2):
        answer = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1"), headers=REPEAT)
        assert "repeatabilityresult" not in answer.headers
    assert list(server.erp.report()["duplicates"].values()) == [["2026/4900000001", "2026/4900000002"]] * 2


async def test_a_repeated_request_id_gets_the_first_answer(server: Running, sap: Sap):
    """Switched on, a repeat is answered like the first time; when the answer is gone, with /IWBEP/CM_COS 005."""
    await sap.sim("settings", {"idempotency": True})
    first = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1"), headers=REPEAT)
    second = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1"), headers=REPEAT)
    assert first.headers["repeatabilityresult"] == "accepted"
    assert (second.status_code, second.json()) == (201, first.json())
    await sap.sim("settings", {"response_seconds": 0})
    third = await sap.post(MATERIAL_DOCUMENTS, HEADERS, goods_issue("K1"), headers=REPEAT)
    assert third.json()["error"]["code"] == "/IWBEP/CM_COS/005"
    assert len(server.erp.books.documents) == 1
