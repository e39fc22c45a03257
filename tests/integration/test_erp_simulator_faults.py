"""The faults of the simulated ERP: what the client sees, and what the books say."""

import asyncio
import json
import ssl
import sys
import time

import httpx
import pytest

from simulators.erp.server import Running, running
from tests.integration.erp_calls import CONFIRMATIONS, MATERIAL_DOCUMENTS, Sap, confirmation, connected, goods_issue

HEADERS = "A_MaterialDocumentHeader"
GUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.fixture
async def server():
    """A simulated ERP that lets anybody in."""
    async with running(seed=1) as started:
        yield started


@pytest.fixture
async def sap(server: Running):
    """A client that holds a token."""
    async with connected(server) as client:
        yield client


async def post(sap: Sap, key: str = "K1", *, order: str = "1000100", patience: float = 30.0):
    payload = goods_issue(key, order=order)
    return await sap.post(MATERIAL_DOCUMENTS, HEADERS, payload, timeout=patience)


async def until(condition, seconds: float = 60.0):
    """Wait for a condition, at most so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"fault": "unavailable", "value": "3"}, 503),
        ({"fault": "too_many", "value": "soon"}, 429),
        ({"fault": "html"}, 200),
        ({"fault": "unauthorized"}, 401),
        ({"fault": "forbidden"}, 403),
        ({"fault": "redirect"}, 302),
        ({"fault": "locked"}, 423),
        ({"fault": "xml_error"}, 400),
        ({"fault": "error_in_200"}, 200),
    ],
)
async def test_faults_before_the_work_book_nothing(server: Running, sap: Sap, rule, status):
    """The answer is the fault's, no document is booked, and after `count` hits the next post goes through."""
    await sap.sim("faults", [{**rule, "count": 1}])
    answer = await post(sap)
    assert answer.status_code == status
    assert answer.headers.get("retry-after", "") == (rule.get("value", ""))
    assert server.erp.books.documents == []
    assert (await post(sap)).status_code == 201


async def test_an_expired_token_asks_for_a_new_one(sap: Sap):
    """The session is gone: 403 Required until a new token is fetched."""
    await sap.sim("faults", [{"fault": "expired_token", "count": 1, "method": "POST"}])
    for _ in range(2):
        answer = await post(sap)
        assert (answer.status_code, answer.headers["x-csrf-token"]) == (403, "Required")
    await sap.fetch_token()
    assert (await post(sap)).status_code == 201


async def test_a_lost_answer_leaves_the_document(server: Running, sap: Sap):
    """The connection is closed without an answer, and the document is in the books."""
    await sap.sim("faults", [{"fault": "answer_lost", "count": 1}])
    with pytest.raises(httpx.TransportError):
        await post(sap)
    assert len(server.erp.books.documents) == 1


async def test_a_reset_connection_leaves_nothing(server: Running, sap: Sap):
    """The connection is closed before anything is booked."""
    await sap.sim("faults", [{"fault": "reset", "count": 1}])
    with pytest.raises(httpx.TransportError):
        await post(sap)
    assert server.erp.books.documents == []


async def test_a_late_commit_follows_the_closed_connection(server: Running, sap: Sap):
    """After the connection is lost the books are still empty; the document comes `seconds` later and is measured."""
    await sap.sim("faults", [{"fault": "late_commit", "count": 1, "seconds": 0.3}])
    with pytest.raises(httpx.TransportError):
        await post(sap)
    assert server.erp.books.documents == []
    assert server.erp.pending == 1
    await until(lambda: server.erp.pending == 0)
    assert len(server.erp.books.documents) == 1
    assert 0.3 <= server.erp.latest_commit_after_disconnect_seconds <= server.erp.latest_commit_seconds


async def test_a_commit_after_the_client_gave_up(server: Running, sap: Sap):
    """The server keeps silent until the client's own timeout, and books after that."""
    await sap.sim("faults", [{"fault": "commit_after_timeout", "count": 1, "seconds": 0.1}])
    with pytest.raises(httpx.ReadTimeout):
        await post(sap, patience=0.2)
    await until(lambda: len(server.erp.books.documents) == 1)
    assert server.erp.latest_commit_seconds >= 0.3


async def test_a_hang_books_nothing(server: Running, sap: Sap):
    """Silence until the client gives up, and nothing afterwards."""
    await sap.sim("faults", [{"fault": "hang", "count": 1}])
    with pytest.raises(httpx.ReadTimeout):
        await post(sap, patience=0.2)
    assert (await post(sap, "K2")).status_code == 201
    assert [document.header["ReferenceDocument"] for document in server.erp.books.documents] == ["K2"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("error_after_commit", 500),
        ("bad_gateway", 502),
        ("truncated", 201),
        ("empty_body", 201),
        ("no_document", 201),
        ("empty_items", 201),
        ("wrong_type", 201),
        ("message_error", 201),
    ],
)
async def test_faults_after_the_commit_spoil_only_the_answer(server: Running, sap: Sap, fault, status):
    """The document is booked; the answer is wrong in its own way."""
    await sap.sim("faults", [{"fault": fault, "count": 1}])
    answer = await post(sap)
    assert answer.status_code == status
    assert len(server.erp.books.documents) == 1
    if fault == "truncated":
        with pytest.raises(ValueError, match=r"."):
            answer.json()
    if fault == "no_document":
        assert answer.json()["d"]["MaterialDocument"] == ""
    if fault == "empty_items":
        assert answer.json()["d"]["to_MaterialDocumentItem"] == {"results": []}


async def test_a_huge_answer_and_a_slow_trickle(sap: Sap):
    """An answer can be padded to any size, and be sent byte by byte."""
    await sap.sim("faults", [{"fault": "huge", "count": 1, "value": "1000000"}])
    assert len((await post(sap)).content) == 1_000_000
    await sap.sim("faults", [{"fault": "trickle", "count": 1, "seconds": 0.0001}])
    answer = await sap.odata("GET", MATERIAL_DOCUMENTS, "")
    assert answer.json()["d"]["EntitySets"] == ["A_MaterialDocumentHeader", "A_MaterialDocumentItem"]


async def test_two_writes_of_one_order_that_overlap_are_locked(server: Running, sap: Sap):
    """While a write of an order is under way, another one gets 423; another order is not concerned."""
    await sap.sim("faults", [{"fault": "slow", "count": 1, "seconds": 0.2}])
    first = asyncio.create_task(post(sap))
    await until(lambda: "1000100" in server.erp.locked)
    assert (await first).status_code == 201
    assert server.erp.locked == set()
    server.erp.locked.add("1000100")  # as while the first one was slow, for as long as this test needs
    assert (await post(sap, "K2")).status_code == 423
    assert (await post(sap, "K3", order="1000101")).status_code == 201


async def test_cogi_shows_movements_that_are_not_there_later(server: Running, sap: Sap):
    """The 201 shows the movements; the read-back has none, and stock has not moved."""
    await sap.sim("faults", [{"fault": "cogi", "count": 1}])
    item = goods_issue("")["to_MaterialDocumentItem"]["results"][0]
    item["OrderID"] = item.pop("ManufacturingOrder")
    payload = confirmation("K1", GUID, APIConfHasNoGoodsMovements=False, to_ProdnOrdConfMatlDocItm=[item])
    answer = await sap.post(CONFIRMATIONS, "ProdnOrdConf2", payload)
    assert len(answer.json()["d"]["to_ProdnOrdConfMatlDocItm"]["results"]) == 1
    path = "ProdnOrdConf2(ConfirmationGroup='100001',ConfirmationCount='1')/to_ProdnOrdConfMatlDocItm"
    assert (await sap.odata("GET", CONFIRMATIONS, path)).json()["d"]["results"] == []
    assert str(server.erp.ledger.stock["RM-RESIN", "171A"]) == "250000.000"


async def test_probability_follows_the_seed_and_the_path(sap: Sap):
    """With a seed the same requests are struck again; a path that does not match is never struck."""
    rules = [{"fault": "unavailable", "probability": 0.5, "path": "A_MaterialDocumentHeader"}]
    async with running(seed=7, faults=rules) as one, running(seed=7, faults=rules) as two:
        struck = []
        for server in (one, two):
            async with connected(server) as client:
                struck.append([(await post(client, f"K{n}")).status_code for n in range(12)])
    assert struck[0] == struck[1]
    assert set(struck[0]) == {201, 503}


async def test_a_wrong_rule_is_refused(sap: Sap):
    """An unknown fault or field is a 400 that lists what there is."""
    answer = await sap.client.post("/_sim/faults", json=[{"fault": "flood"}])
    assert answer.status_code == 400
    assert "answer_lost" in answer.json()["error"]
    assert (await sap.client.post("/_sim/faults", json=[{"fault": "hang", "speed": 1}])).status_code == 400


async def test_broken_requests_are_answered(server: Running, sap: Sap):
    """Bodies that are not JSON and unknown places are refused; the next good post goes through."""
    address = f"/sap/opu/odata/sap/{MATERIAL_DOCUMENTS}/{HEADERS}"
    for body in (b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b'"text"'):
        answer = await sap.client.post(address, content=body, headers={"x-csrf-token": sap.token})
        assert answer.status_code == 400, body[:10]
    assert (await sap.odata("GET", "NO_SUCH_SRV", "$metadata")).status_code == 403
    assert (await sap.odata("GET", MATERIAL_DOCUMENTS, "Nothing")).status_code == 404
    assert (await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentItem", {})).status_code == 405
    assert (await post(sap)).status_code == 201
    assert len(server.erp.books.documents) == 1


# ── logon, TLS, process ─────────────────────────────────────────────────────────────────────────────────────


async def test_bearer_tokens_expire():
    """Client credentials give a token that works until it expires; then 401."""
    async with (
        running(user="GATEPOST", password="secret") as server,
        httpx.AsyncClient(base_url=server.base_url) as client,
    ):
        form = {"grant_type": "client_credentials"}
        assert (await client.post("/oauth/token", data=form, auth=("GATEPOST", "no"))).status_code == 401
        token = (await client.post("/oauth/token", data=form, auth=("GATEPOST", "secret"))).json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"
        address = f"/sap/opu/odata/sap/{MATERIAL_DOCUMENTS}/"
        assert (await client.get(address)).status_code == 200
        assert (await client.get(address, params={"sap-client": "200"})).status_code == 401
        await client.post("/_sim/forget", json={"bearers": True})
        assert (await client.get(address)).status_code == 401


async def test_tls_with_its_own_authority_and_client_certificate():
    """The server's certificate is trusted through ca.pem; the client's certificate is a logon."""
    async with running(https=0, user="GATEPOST", password="secret") as server:
        assert server.certificates is not None
        context = ssl.create_default_context(cafile=str(server.certificates.ca))
        address = f"{server.https_url}/sap/opu/odata/sap/{MATERIAL_DOCUMENTS}/"
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get(address)).status_code == 401
            fetched = await client.get(address, auth=("GATEPOST", "secret"), headers={"x-csrf-token": "fetch"})
            assert len(client.cookies) == 3
            assert fetched.headers["x-csrf-token"]
        context.load_cert_chain(str(server.certificates.client))
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get(address)).status_code == 200
        async with httpx.AsyncClient() as stranger:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.get(address)


async def test_books_outlive_a_killed_process(tmp_path):
    """After kill -9 the file has every document that was answered; a new process goes on with them."""
    books = tmp_path / "books.jsonl"
    command = [sys.executable, "-m", "simulators.erp", "--books", str(books), "--user", "U", "--password", "P"]

    async def start() -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        return process, line.split()[-1]

    process, address = await start()
    async with httpx.AsyncClient(base_url=address, auth=("U", "P")) as client:
        sap = Sap(client)
        await sap.fetch_token()
        assert (await post(sap)).status_code == 201
        assert (await sap.post(CONFIRMATIONS, "ProdnOrdConf2", confirmation("K2", GUID))).status_code == 201
        before = (await client.get("/_sim/books")).json()
    process.kill()
    await process.wait()
    with books.open("a", encoding="utf-8") as file:
        file.write('{"kind":"material_doc')  # what a power cut leaves of a line
    assert [json.loads(line)["kind"] for line in books.read_text().splitlines()[:2]] == [
        "material_document",
        "confirmation",
    ]

    process, address = await start()
    async with httpx.AsyncClient(base_url=address, auth=("U", "P")) as client:
        sap = Sap(client)
        await sap.fetch_token()
        after = (await client.get("/_sim/books")).json()
        same = ("documents", "stock", "orders", "totals")
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        assert (await post(sap, "K3")).json()["d"]["MaterialDocument"] == "4900000002"
    process.terminate()
    assert await process.wait() == 0
