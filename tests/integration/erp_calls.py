"""Calls to the simulated ERP as a plain HTTP client makes them; shares nothing with the agent's own client."""

import contextlib
from typing import Any

import httpx

from simulators.erp.server import Running

MATERIAL_DOCUMENTS = "API_MATERIAL_DOCUMENT_SRV"
CONFIRMATIONS = "API_PROD_ORDER_CONFIRMATION_2_SRV"
ORDERS = "API_PRODUCTION_ORDER_2_SRV"
OPERATIONS = "A_ProductionOrder_2('1000100')/to_ProductionOrderOperation"


class Sap:
    """A session with a token."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.token = ""

    async def fetch_token(self) -> None:
        answer = await self.odata("GET", MATERIAL_DOCUMENTS, "", headers={"x-csrf-token": "Fetch"})
        self.token = answer.headers["x-csrf-token"]

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)

    async def sim(self, action: str, payload: Any) -> Any:
        answer = await self.client.post(f"/_sim/{action}", json=payload)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def odata(self, method: str, service: str, resource: str, **options: Any) -> httpx.Response:
        return await self.client.request(method, f"/sap/opu/odata/sap/{service}/{resource}", **options)

    async def post(self, service: str, resource: str, payload: Any = None, **options: Any) -> httpx.Response:
        headers = {"x-csrf-token": self.token, **options.pop("headers", {})}
        return await self.odata("POST", service, resource, json=payload, headers=headers, **options)

    async def select(self, service: str, entity_set: str, where: str) -> list[dict[str, Any]]:
        answer = await self.odata("GET", service, entity_set, params={"$filter": where})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["d"]["results"]
        return rows


@contextlib.asynccontextmanager
async def connected(server: Running):
    """A session that holds a token."""
    auth = (server.erp.sessions.user, server.erp.sessions.password)
    async with httpx.AsyncClient(base_url=server.base_url, auth=auth, timeout=60.0) as client:
        sap = Sap(client)
        await sap.fetch_token()
        yield sap


def goods_issue(key: str, *, order: str = "1000100", quantity: str = "12.500", **item: str) -> dict[str, Any]:
    """A goods issue 261 of resin to an order's first reservation item."""
    row = {
        "Material": "RM-RESIN",
        "Plant": "1710",
        "StorageLocation": "171A",
        "GoodsMovementType": "261",
        "ManufacturingOrder": order,
        "Reservation": str(50001 + int(order) - 1000100).zfill(10),
        "ReservationItem": "0001",
        "QuantityInEntryUnit": quantity,
        "EntryUnit": "KG",
        **item,
    }
    return {
        "GoodsMovementCode": "03",
        "PostingDate": "/Date(1795132800000)/",
        "DocumentDate": "/Date(1795132800000)/",
        "ReferenceDocument": key,
        "MaterialDocumentHeaderText": key,
        "to_MaterialDocumentItem": {"results": [row]},
    }


def confirmation(key: str, guid: str, *, order: str = "1000100", quantity: str = "10", **more: Any) -> dict[str, Any]:
    """A confirmation of yield without goods movements."""
    return {
        "OrderID": order,
        "OrderOperation": "0010",
        "Sequence": "0",
        "ConfirmationYieldQuantity": quantity,
        "ConfirmationUnit": "KG",
        "PostingDate": "2026-11-20T00:00:00",
        "ExternalSystemConfirmation": guid,
        "ConfirmationText": key,
        "APIConfHasNoGoodsMovements": True,
        **more,
    }
