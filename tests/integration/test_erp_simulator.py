"""The simulated ERP over real HTTP: logon, metadata, documents, orders."""

import httpx
import pytest

from simulators.erp.server import Running, running
from tests.integration.erp_calls import CONFIRMATIONS, MATERIAL_DOCUMENTS, ORDERS, Sap, connected, goods_issue

DAY = "/Date(1795132800000)/"  # 2026-11-20


@pytest.fixture
async def server():
    """A simulated ERP with a user."""
    async with running(user="GATEPOST", password="secret") as started:
        yield started


@pytest.fixture
async def sap(server: Running):
    """A client that is logged on and holds a token."""
    async with connected(server) as client:
        yield client


async def test_a_goods_issue_is_booked_once_and_answered_with_its_number(server: Running, sap: Sap):
    """A 201 carries the document number, every field of the document, and its items; stock and reservation move."""
    answer = await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", goods_issue("k1", quantity="12.500"))
    assert answer.status_code == 201
    document = answer.json()["d"]
    assert (document["MaterialDocumentYear"], document["MaterialDocument"]) == ("2026", "4900000001")
    assert document["ReferenceDocument"] == "K1"
    assert document["MaterialDocumentHeaderText"] == "k1"
    item = document["to_MaterialDocumentItem"]["results"][0]
    assert (item["QuantityInEntryUnit"], item["MaterialBaseUnit"], item["Batch"]) == ("12.500", "KG", "")
    books = (await sap.get("/_sim/books")).json()
    assert books["stock"]["RM-RESIN/171A"] == "249987.500"
    assert books["orders"]["1000100"]["withdrawn"]["RM-RESIN"] == "12.500"
    assert books["documents"][0]["keys"]["ReferenceDocument"] == "K1"
    assert books["duplicates"] == {}


async def test_items_may_come_as_a_bare_list(sap: Sap):
    """A deep insert takes {"results": […]} and a bare array."""
    payload = goods_issue("K2")
    payload["to_MaterialDocumentItem"] = payload["to_MaterialDocumentItem"]["results"]
    answer = await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", payload)
    assert answer.status_code == 201


@pytest.mark.parametrize("service", ["API_MATERIAL_DOCUMENT_SRV", "API_PROD_ORDER_CONFIRMATION_2_SRV", ORDERS])
async def test_metadata_is_edmx(sap: Sap, service: str):
    """$metadata is well-formed XML that names the fields with their room."""
    answer = await sap.odata("GET", service, "$metadata")
    assert answer.headers["content-type"] == "application/xml"
    assert "<EntityContainer" in answer.text


async def test_a_lookup_finds_the_stamp_in_upper_case(sap: Sap):
    """ReferenceDocument is stored in upper case, the header text as it came; both can be searched."""
    await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", goods_issue("k3"))
    by_reference = await sap.select(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", "ReferenceDocument eq 'K3'")
    by_text = await sap.select(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", "MaterialDocumentHeaderText eq 'k3'")
    assert [row["MaterialDocument"] for row in by_reference] == ["4900000001"]
    assert by_text == by_reference
    assert await sap.select(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", "ReferenceDocument eq 'K4'") == []


async def test_a_write_without_the_token_is_refused(server: Running, sap: Sap):
    """No token, or the token of another session: 403 with `x-csrf-token: Required`, and nothing is booked."""
    answer = await sap.odata("POST", MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", json=goods_issue("K5"))
    assert (answer.status_code, answer.headers["x-csrf-token"]) == (403, "Required")
    async with connected(server) as other:
        sap.token = other.token
        answer = await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", goods_issue("K5"))
    assert (answer.status_code, answer.headers["x-csrf-token"]) == (403, "Required")
    assert server.erp.books.documents == []


async def test_head_fetches_a_token_too(server: Running):
    """HEAD answers the token and the cookies without a body."""
    async with httpx.AsyncClient(base_url=server.base_url, auth=("GATEPOST", "secret")) as client:
        answer = await client.head(f"/sap/opu/odata/sap/{MATERIAL_DOCUMENTS}/", headers={"x-csrf-token": "Fetch"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-csrf-token"]
    assert len(client.cookies) == 3


async def test_reset_begins_again(server: Running, sap: Sap):
    """After a reset the books are empty, stock is what the scenario says, and numbers start again."""
    await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", goods_issue("K1"))
    await sap.sim("reset", {})
    assert (await sap.get("/_sim/books")).json()["stock"]["RM-RESIN/171A"] == "250000.000"
    answer = await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", goods_issue("K1"))
    assert answer.json()["d"]["MaterialDocument"] == "4900000001"
    assert server.erp.report()["duplicates"] == {}


async def test_a_wrong_password_is_401(server: Running):
    """Basic credentials are checked."""
    async with httpx.AsyncClient(base_url=server.base_url, auth=("GATEPOST", "wrong")) as client:
        answer = await client.get(f"/sap/opu/odata/sap/{CONFIRMATIONS}/$metadata")
    assert answer.status_code == 401
