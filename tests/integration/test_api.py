"""The API of a running agent: real uvicorn, real store, a simulated SAP; the ERP's own books are asserted."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from agent import assembly
from agent.app import Agent
from agent.configuration import config
from agent.errors import ConfigError
from agent.web.api import routes
from agent.web.server import serve
from simulators.erp.tls import make_certificates
from tests.api_bench import CONSUMPTION, HOUSE, Bench, bench, until, write
from tests.command_line import gatepost_

pytestmark = pytest.mark.asyncio(loop_scope="module")
BIDI = "looks\u202elike"
COUNT = ("document", "entry", "difference")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory) -> AsyncIterator[Bench]:
    async with bench(tmp_path_factory.mktemp("plant"), api={"rate_per_second": 2000, "max_body_kb": 64}) as one:
        yield one


async def fresh(plant: Bench, id: str, **changes: Any) -> dict[str, Any]:
    """A posting of this report that waits for a person."""
    assert (await plant.report(id, **changes)).status_code == 202
    found: dict[str, Any] = await until(lambda: waiting(plant, id))
    return found


async def waiting(plant: Bench, id: str) -> dict[str, Any] | None:
    items = (await plant.get("/v1/approvals?limit=500"))["items"]
    return next((one for one in items if one["payload"]["text"] == id), None)


async def in_state(plant: Bench, id: int, *states: str) -> dict[str, Any] | None:
    one = await plant.get(f"/v1/approvals/{id}")
    return one if one["state"] in states else None


def approval(one: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"expected_version": one["version"], "record_hash": one["record_hash"], "reason": "weighed again", **changes}


async def approve(plant: Bench, one: dict[str, Any], token: str = "anna", **more: Any) -> httpx.Response:
    return await plant.ask("POST", f"/v1/approvals/{one['id']}/approve", token, json=approval(one), **more)


# ── approvals ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_twenty_who_approve_at_once_one_wins(plant: Bench):
    """One answer is 200, the others are 409 and name the winner, and the ERP has one document."""
    one = await fresh(plant, "race-1")
    before = len(plant.sap.erp.books.documents)
    answers = await asyncio.gather(*(approve(plant, one, "anna" if n % 2 else "ben") for n in range(20)))

    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    for answer in answers:
        if answer not in won:
            told = answer.json()
            assert (answer.status_code, told["error"], told["decided_by"]) == (409, "conflict", won[0].json()["by"])
            assert told["state"] in {"ready", "sending", "acknowledged"}
            assert told["version"] > one["version"]
    done = await until(lambda: in_state(plant, one["id"], "acknowledged"))
    assert done["document"]
    assert len(plant.sap.erp.books.documents) == before + 1


async def test_a_repeated_approval_with_its_key_gets_the_same_answer(plant: Bench):
    """The key tells a repetition from a second decision; another request under it, or another token, is refused."""
    one = await fresh(plant, "key-2")
    key = {"Idempotency-Key": "k-1"}
    first = await approve(plant, one, headers=key)
    again = await approve(plant, one, headers=key)
    other = await plant.ask("POST", f"/v1/approvals/{one['id']}/refuse", headers=key, json=approval(one))
    stranger = await approve(plant, one, "ben", headers=key)

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert other.status_code == 409
    assert "idempotency key" in other.json()["message"]
    assert stranger.status_code == 409


async def test_what_was_not_shown_cannot_be_signed(plant: Bench):
    """A stale version and a stale record hash are refused; refusing it ends the posting for good."""
    one = await fresh(plant, "stale-3")
    path = f"/v1/approvals/{one['id']}"
    for wrong in ({"expected_version": one["version"] + 1}, {"record_hash": "0" * 64}):
        answer = await plant.ask("POST", f"{path}/approve", json=approval(one, **wrong))
        assert (answer.status_code, answer.json()["state"]) == (409, "held")
    refused = await plant.ask("POST", f"{path}/refuse", json=approval(one))
    assert refused.json()["state"] == "refused"
    assert (await approve(plant, one)).json()["decided_by"] == "anna"


async def test_a_token_corrects_and_the_erp_books_that(plant: Bench):
    """The posting with the new figure takes the place of the old one, once for a key; roles and fields are checked."""
    one = await fresh(plant, "amend-5", quantity=26)
    path, right = f"/v1/approvals/{one['id']}/correction", {"changes": {"quantity": "13.100"}}
    for token, body, status in (
        ("viewer", right, 403), ("nobody", right, 403), ("anna", {"changes": {"material": "X"}}, 422),
        ("anna", {"changes": {"quantity": "-1"}}, 422), ("anna", {}, 422),
        ("anna", {**right, "record_hash": "0" * 64}, 409),
    ):  # fmt: skip
        answer = await plant.ask("POST", path, token, json={**approval(one), **body})
        assert answer.status_code == status, answer.text
    wanted: dict[str, Any] = {"json": {**approval(one), **right}, "headers": {"Idempotency-Key": "amend-5"}}
    answers = [(await plant.ask("POST", path, **wanted)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    done = await until(lambda: in_state(plant, answers[0]["id"], "acknowledged"))
    assert (done["payload"]["quantity"], done["supersedes"]) == ("13.100", one["id"])
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "superseded"


async def test_a_gateway_names_the_person_it_acts_for(plant: Bench):
    """The audit trail has the person and the token; a token that is not trusted with it is refused."""
    one = await fresh(plant, "person-4")
    path = f"/v1/approvals/{one['id']}/approve"
    as_maria = approval(one, on_behalf_of="Maria Huber")
    assert (await plant.ask("POST", path, "ben", json=as_maria)).status_code == 403
    answer = await plant.ask("POST", path, "ignition", json=as_maria)
    assert answer.json()["by"] == "Maria Huber via ignition"
    history = (await plant.get(f"/v1/trace/posting:{one['id']}"))["history"]
    assert [row["actor"] for row in history if row["action"] == "approved"] == ["Maria Huber via ignition"]


async def test_pages_follow_each_other(plant: Bench):
    """`next` leads from page to page, and nothing is shown twice."""
    made = [await fresh(plant, f"page-{number}") for number in (5, 6, 7)]
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = await plant.get(f"/v1/approvals?limit=2&after={after}&line=mixing")
        seen += [one["id"] for one in page["items"]]
        after = page["next"]
    assert {one["id"] for one in made} <= set(seen)
    assert len(seen) == len(set(seen))
    assert (await plant.get("/v1/approvals?line=assembly"))["items"] == []


# ── dead letters, quarantine, reversal, pause ───────────────────────────────────────────────────────────────


async def stock(plant: Bench, quantity: str) -> None:
    await plant.client.post(f"{plant.sap.base_url}/_sim/stock", json={"material": "RM-RESIN", "quantity": quantity})


async def test_a_dead_letter_is_replayed_or_given_up(plant: Bench):
    """What the ERP refused waits with its words, is sent again by a named person, and ends as a document."""
    one = await fresh(plant, "dead-8")
    await stock(plant, "0")
    assert (await approve(plant, one)).status_code == 200
    dead = await until(lambda: in_state(plant, one["id"], "dead"))
    assert "M7/021" in dead["error"]
    await stock(plant, "250000")
    assert one["id"] in [each["id"] for each in (await plant.get("/v1/deadletters"))["items"]]
    assert (await plant.get("/v1/deadletters?state=doubtful"))["items"] == []

    held = await fresh(plant, "held-9")
    touched = await plant.ask("POST", f"/v1/deadletters/{held['id']}/refuse", json={"reason": "wrong door"})
    assert touched.status_code == 409, "what is held is for those who may approve"
    unsure = await plant.ask("POST", f"/v1/doubtful/{one['id']}/document", json={"document": "2026/1", "reason": "r"})
    assert (unsure.status_code, unsure.json()["state"]) == (409, "dead")

    again = await plant.ask("POST", f"/v1/deadletters/{one['id']}/replay", json={"reason": "period opened"})
    assert (again.status_code, again.json()["by"]) == (200, "anna")
    await until(lambda: in_state(plant, one["id"], "acknowledged"))


async def test_a_document_is_taken_back_once(plant: Bench):
    """A reversal is a posting of its own that the ERP books; a second one is told who was first."""
    one = await fresh(plant, "back-10")
    await approve(plant, one)
    booked = await until(lambda: in_state(plant, one["id"], "acknowledged"))
    asked = {"document": booked["document"], "reason": "wrong lot"}
    first = await plant.ask("POST", "/v1/reversals", json=asked)
    assert first.status_code == 200, first.text
    await until(lambda: in_state(plant, first.json()["id"], "acknowledged"))
    second = await plant.ask("POST", "/v1/reversals", "mixer", json=asked)
    assert (second.status_code, second.json()["decided_by"]) == (409, "anna")
    assert (await plant.get(f"/v1/trace/{booked['document']}"))["event"]["id"] == one["event_id"]


async def test_what_is_quarantined_can_be_read_again(plant: Bench):
    """The raw message is shown with its reason; replaying it without mending anything quarantines it again."""
    await plant.ask("POST", f"/v1/events/{CONSUMPTION}", "scale", content=b'{"id": "half')

    async def found() -> Any:
        items = (await plant.get("/v1/quarantine"))["items"]
        return next((one for one in items if one["payload"] == '{"id": "half'), None)

    event = (await until(found))["id"]
    answer = await plant.ask("POST", f"/v1/quarantine/{event}/replay", json={"reason": "mapping mended"})
    assert (answer.status_code, answer.json()["state"]) == (200, "undecided")
    await until(found)
    assert "replayed" in [row["action"] for row in (await plant.get(f"/v1/trace/{event}"))["history"]]


async def test_a_pause_holds_back_and_lets_go(plant: Bench):
    """While its line is paused an approved posting stays ready; after the resume it is booked."""
    one = await fresh(plant, "pause-11")
    stop = {"scope": "line", "key": "mixing", "reason": "stocktaking"}
    assert (await plant.ask("POST", "/v1/pause", "mixer", json=stop)).json()["paused"] is True
    assert (await plant.get("/v1/status"))["paused"][0]["by"] == "mixer"
    await approve(plant, one)
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "ready"
    assert (await plant.ask("POST", "/v1/resume", json=stop)).status_code == 200
    await until(lambda: in_state(plant, one["id"], "acknowledged"))
    assert (await plant.ask("POST", "/v1/resume", json=stop)).status_code == 404


async def test_what_nobody_knows_is_paused_only_by_force(plant: Bench):
    """404 with the known names for a mistyped line or order; `force` pauses what is still to come."""
    for scope, key in (("line", "mixng"), ("order", "7777777")):
        stop = {"scope": scope, "key": key, "reason": "stocktaking"}
        answer = await plant.ask("POST", "/v1/pause", json=stop)
        assert (answer.status_code, key in answer.json()["message"]) == (404, True)
    assert (await plant.ask("POST", "/v1/pause", json=stop | {"force": True})).status_code == 200
    assert (await plant.ask("POST", "/v1/resume", json=stop)).status_code == 200


async def test_a_target_that_is_not_there_cannot_be_paused(plant: Bench):
    """404 with the name: a mistyped pause must not look like one."""
    answer = await plant.ask("POST", "/v1/pause", json={"scope": "target", "key": "S4", "reason": "upgrade"})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert "'S4'" in answer.json()["message"]


# ── who may what ────────────────────────────────────────────────────────────────────────────────────────────


def every_route() -> list[tuple[str, str]]:
    paths = routes(None, docs=False).openapi()["paths"]
    return [(method.upper(), re.sub(r"\{\w+\}", "1", path)) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize(
    ("method", "path"), [*every_route(), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/x")]
)
async def test_nothing_answers_without_a_token(plant: Bench, method: str, path: str):
    """Every route, and what is none, says 401 and no more."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YW5uYTphbm5h"}):
        answer = await plant.client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), every_route())
async def test_every_route_asks_for_its_scope(plant: Bench, method: str, path: str):
    """A token without the scope gets 403: one that may only stop where it is read, one that may only read to act."""
    body = {"expected_version": 1, "reason": "r", "document": "2026/1", "scope": "line", "key": "mixing"}
    token = "stopper" if method == "GET" else "viewer"
    answer = await plant.ask(method, path, token, **({"json": body} if method == "POST" else {}))
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_the_release_sequence_of_a_work_centre(plant: Bench):
    """Of the open orders, with their reasons; a work centre that nobody knows, or of a line not seen, is not found."""
    found = await plant.get("/v1/sequence/MIX-01?set_up_for=blue")
    assert found["work_center"] == "MIX-01"
    assert found["whole_search"]
    assert (found["machine"]["state"], found["machine"]["running"]) == ("unknown", "")
    assert len(found["orders"]) + len(found["left_out"]) > 0
    assert all(one["reasons"] for one in found["orders"])
    answer = await plant.ask("GET", "/v1/sequence/NONE")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_what_is_worth_counting_and_what_orders_took(plant: Bench):
    """Both lists answer; a day that is none is refused, and what nothing is known of is an empty list."""
    values = [one["value"] for one in (await plant.get("/v1/counts?costs=5&limit=3"))["items"]]
    assert values == sorted(values, reverse=True)
    assert (await plant.get("/v1/variance?order=NONE"))["items"] == []
    for day in ("yesterday", "2026-13-01", "2026-02-30"):
        assert (await plant.ask("GET", f"/v1/variance?day={day}")).status_code == 422


async def test_a_count_that_is_entered_is_held_for_a_signature(tmp_path: Path):
    """POST /v1/counts, also by `gatepost counts enter`: one group of three; who may not report, or slips, is told."""
    place = tmp_path / "counting"
    place.mkdir()
    for name in ("consumption", "confirmation", "stock_count"):
        shutil.copy(HOUSE / f"edge_config/mappings/{name}.yaml", place)
    flows: dict[str, Any] = {name: {"target": "s4"} for name in ("consumption", "confirmation")}
    flows["reconciliation"] = {"target": "s4", "mapping": ["reconciliation", "stock_count"]}
    signed = {"reconciliation": {"mode": "assist"}}
    written: list[dict[str, Any]] = yaml.safe_load(write(tmp_path, "").read_text())["targets"]
    written[0]["count_service"] = "API_PHYSICAL_INVENTORY_DOC_SRV"
    written[0]["postings"] |= {f"count_{part}": "live" for part in COUNT}
    async with bench(tmp_path, mappings=str(place), workflows=flows, authority=signed, targets=written) as one:
        body = {"material": "RM-RESIN", "storage_location": "171A", "quantity": "12.5", "unit": "kg", "reason": "cycle"}
        assert (await one.ask("POST", "/v1/counts", "anna", json=body)).status_code == 403
        for slip, status in (({"material": "NONE"}, 404), ({"unit": "stone"}, 422), ({"quantity": "-1"}, 422)):
            assert (await one.ask("POST", "/v1/counts", "scale", json=body | slip)).status_code == status
        answer = await one.ask("POST", "/v1/counts", "scale", json=body)
        assert answer.status_code == 202, answer.text
        assert [row["kind"] for row in await one.held(1)] == ["count_document"]  # the first of its group
        kinds = one.agent.desk.look(lambda at: [kind for (kind,) in at.execute("SELECT kind FROM posting ORDER BY id")])
        assert kinds == [f"count_{part}" for part in COUNT]
        words = ("counts", "enter", "RM-PIGMENT", "171A", "3", "kg", "--by", "E. Muster", "--reason", "cycle")
        ran = await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", *words)
        assert ran.code == 0, ran.out
        await one.held(2)


async def test_refused_acts_are_in_the_trail_and_cannot_fill_it(tmp_path: Path):
    """Many refused acts leave one row with who, what and from where; looking leaves none."""
    async with bench(tmp_path) as one:
        await asyncio.gather(*(one.ask("POST", "/v1/pause", "stranger", json={}) for _ in range(20)))
        await one.ask("GET", "/v1/status", "stranger")
        rows = [row for row in (await one.get("/v1/audit?limit=500"))["items"] if row["action"] == "act_refused"]
        assert [(row["actor"], row["detail"]["path"], row["alarm"]) for row in rows] == [("unknown", "/v1/pause", True)]


async def test_a_token_of_a_line_sees_and_does_nothing_elsewhere(plant: Bench):
    """Postings of other lines do not exist for it: not in lists, not by number, not in traces, not to act on."""
    one = await fresh(plant, "line-12")
    assert (await plant.get("/v1/approvals", "moulder"))["items"] == []
    assert (await plant.get("/v1/approvals?line=mixing", "moulder"))["items"] == []
    assert (await plant.get("/v1/events/recent", "moulder"))["items"] == []
    assert one["id"] in [each["id"] for each in (await plant.get("/v1/approvals", "mixer"))["items"]]
    event, again, why = (
        f"/v1/{of}"
        for of in (
            f"trace/{one['event_id']}",
            *(f"decisions/{one['event_id']}/{what}" for what in ("replay", "reasons")),
        )
    )
    for path in (f"/v1/approvals/{one['id']}", event, f"/v1/trace/posting:{one['id']}", again, why):
        assert (await plant.ask("GET", path, "moulder")).status_code == 404
        assert (await plant.ask("GET", path, "mixer")).status_code == 200
    assert (await approve(plant, one, "moulder")).status_code == 404
    for path, wanted in (("/v1/quarantine", 403), ("/v1/audit", 403), ("/v1/audit/checkpoint", 403)):
        assert (await plant.ask("GET", path, "moulder")).status_code == wanted
    for scope, key, wanted in (("target", "s4", 403), ("line", "mixing", 404), ("order", "1000100", 404)):
        stop = {"scope": scope, "key": key, "reason": "r"}
        assert (await plant.ask("POST", "/v1/pause", "moulder", json=stop)).status_code == wanted
    assert (await approve(plant, one, "mixer")).status_code == 200
    booked = await until(lambda: in_state(plant, one["id"], "acknowledged"))
    take_back = {"document": booked["document"], "reason": "r"}
    assert (await plant.ask("POST", "/v1/reversals", "moulder", json=take_back)).status_code == 404


async def test_the_operator_of_this_machine_has_a_token_of_this_run(tmp_path: Path):
    """The file can be read by its owner only, opens everything, and is gone after the stop."""
    async with bench(tmp_path) as one:
        file = tmp_path / "data" / "operator.token"
        assert file.stat().st_mode & 0o777 == 0o600
        headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
        stop = {"scope": "target", "key": "s4", "reason": "r", "on_behalf_of": "root"}
        answer = await one.client.post("/v1/pause", json=stop, headers=headers)
        assert answer.json()["by"] == "root via operator"
    assert not file.exists()


async def test_with_a_certificate_only_tls_is_spoken(tmp_path: Path):
    """The API answers over TLS 1.2 and newer, asks browsers to stay there, and is deaf to plain HTTP."""
    made = make_certificates(tmp_path / "tls", "GATEPOST")
    tls = {"cert": str(made.server), "key": str(made.server)}
    async with bench(tmp_path, trust=made.ca, api={"tls": tls}) as one:
        answer = await one.ask("GET", "/v1/health")
        assert "strict-transport-security" in answer.headers
        with pytest.raises(httpx.RemoteProtocolError):
            await one.client.get(one.url.replace("https", "http") + "/live")


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_report_is_on_disk_byte_for_byte_when_it_is_answered(plant: Bench):
    """The trace shows the same bytes, whichever way the topic was named; a repetition is recognised."""
    raw = b'{ "id" : "raw-13",\t"x": 1.50 }'
    ways: tuple[tuple[str, dict[str, str]], ...] = (
        ("/v1/events/lab/one", {}),
        ("/v1/events", {"X-Topic": "lab/one"}),
        ("/v1/events?topic=lab/one", {}),
        ("/v1/events/lab%2fone", {"Content-Type": "text/plain"}),
    )
    for path, headers in ways:
        answer = await plant.ask("POST", path, "scale", content=raw, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"stored": 1})
        last = (await plant.get("/v1/events/recent?limit=1"))["items"][-1]
        assert (last["source"], last["topic"]) == ("reports", "lab/one")
        event = (await plant.get(f"/v1/trace/{last['id']}"))["event"]
        assert event["payload"].encode() == raw
        assert event["properties"] == {"user": "scale"}
    one = await fresh(plant, "twice-14")
    first = (await plant.get(f"/v1/trace/{one['event_id']}"))["event"]["payload"]
    await plant.ask("POST", f"/v1/events/{CONSUMPTION}", "scale", content=first.encode())

    async def repeated() -> Any:
        return (await plant.get("/v1/status"))["events"]["duplicate"] or None

    assert await until(repeated) == 1


@pytest.mark.parametrize("topic", ["", "plant/+/x", "plant/%23", "a%00b", "a%0db", "%ff", "x" * 600])
async def test_a_topic_that_is_none_is_refused(plant: Bench, topic: str):
    """Wildcards, control characters, broken UTF-8 and endless names never reach the store."""
    answer = await plant.ask("POST", f"/v1/events/{topic}", "scale", content=b"{}")
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_topic")


async def test_a_path_upwards_is_a_topic_and_no_path(plant: Bench):
    """Dots and encoded slashes name no file: the report is stored under that topic and quarantined."""
    answer = await plant.ask("POST", "/v1/events/..%2f..%2fetc%2fpasswd", "scale", content=b"{}")
    assert answer.status_code == 202
    assert (await plant.ask("GET", "/v1/trace/..%2f..%2fdata%2foperator.token")).status_code == 404


async def test_a_full_disk_is_told_to_sender_and_supervisor(tmp_path: Path):
    """Below the reserve nothing is taken in: 503 with Retry-After, /ready says why, and it goes on by itself."""
    async with bench(tmp_path) as one:
        before = one.agent.config
        store = before.store.model_copy(update={"reserve_mb": 1 << 40})
        one.agent.config = before.model_copy(update={"store": store})

        async def unready() -> Any:
            answer = await one.client.get("/ready")
            return answer if answer.status_code == 503 else None

        answer = await until(unready)
        assert (answer.headers["x-reason"], answer.content) == ("disk_reserve", b"")
        assert (await one.client.get("/live")).status_code == 200
        refused = await one.report("full-15")
        assert (refused.status_code, refused.json()["error"]) == (503, "store_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert (await one.get("/v1/health"))["reason"] == "disk_reserve"
        one.agent.config = before

        async def taken() -> bool:
            return (await one.report("full-15")).status_code == 202

        await until(taken)


# ── state, metrics, description ─────────────────────────────────────────────────────────────────────────────


async def test_probes_need_no_token_and_say_nothing(plant: Bench):
    """/live and /ready answer on both addresses without a body; /metrics on the management address only."""
    async with httpx.AsyncClient() as client:
        for base in (plant.url, plant.management):
            for path in ("/live", "/ready"):
                for method in ("GET", "HEAD"):
                    answer = await client.request(method, base + path)
                    assert (answer.status_code, answer.content) == (200, b"")
        assert (await client.get(plant.url + "/metrics")).status_code == 401
        assert (await plant.ask("GET", "/metrics")).status_code == 404
        assert (await client.get(plant.management + "/v1/status")).status_code == 404
        assert (await client.post(plant.management + "/metrics")).status_code == 405


async def test_a_loop_that_owes_a_step_is_not_alive(plant: Bench):
    """A batch that is being decided for half a minute fails /live with the name of the loop, and /v1/health says so."""
    process = plant.agent.process
    assert process is not None
    process.busy_since = time.monotonic() - 31.0
    try:
        answer = await plant.client.get("/live")
        assert (answer.status_code, answer.headers["x-reason"], answer.content) == (503, "process", b"")
        assert (await plant.get("/v1/health"))["stuck"] == ["process"]
    finally:
        process.busy_since = 0.0
    assert (await plant.client.get("/live")).status_code == 200


async def test_metrics_tell_what_happened(plant: Bench):
    """Events, decisions, postings, requests to the ERP and commits are counted as the plant lived them."""
    one = await fresh(plant, "metric-16")
    await approve(plant, one)
    await until(lambda: in_state(plant, one["id"], "acknowledged"))
    async with httpx.AsyncClient() as client:
        text = (await client.get(plant.management + "/metrics")).text
    shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    for name in (
        'gatepost_events_total{result="stored",source="reports"}',
        'gatepost_decisions_total{route="held",workflow="consumption"}',
        'gatepost_postings_total{kind="goods_issue",result="acknowledged",target="s4"}',
        'gatepost_erp_request_duration_seconds_count{operation="post",result="ok",target="s4"}',
        "gatepost_store_commit_duration_seconds_count",
        'gatepost_source_connected{source="reports"}',
        'gatepost_target_open{target="s4"}',
        'gatepost_progress_timestamp_seconds{loop="process"}',
    ):
        assert float(shown[name]) > 0, name
    assert float(shown['gatepost_balance_difference{balance="events"}']) == 0
    assert float(shown["gatepost_audit_chain_ok"]) == 1


async def test_the_state_of_the_whole(plant: Bench):
    """Status, health, audit and checkpoint answer, and the audit is read on from where it ended."""
    status = await plant.get("/v1/status")
    assert status["balance"] == {"events": 0, "postings": 0}
    assert status["targets"]["s4"]["waiting"] == ""
    health = await plant.get("/v1/health")
    assert (health["ready"], health["reason"], health["stuck"]) == (True, None, [])
    page = await plant.get("/v1/audit?after=1&limit=3")
    assert [row["seq"] for row in page["items"]] == [2, 3, 4]
    assert (await plant.get(f"/v1/audit?after={page['next']}&limit=1"))["items"][0]["seq"] == 5
    assert "gatepost audit checkpoint" in (await plant.get("/v1/audit/checkpoint"))["checkpoint"]


async def test_the_description_loads_nothing_from_anywhere(plant: Bench):
    """/docs is one page without a script or a foreign address, and names every route of /openapi.json."""
    docs = await plant.ask("GET", "/docs")
    assert docs.headers["content-type"].startswith("text/html")
    assert not re.search(r"<script|<link|src=|https?://", docs.text)
    assert "script" not in docs.headers["content-security-policy"]
    described = await plant.get("/openapi.json")
    for path in described["paths"]:
        assert path in docs.text


async def test_an_address_that_is_taken_is_told_in_a_sentence(plant: Bench, tmp_path: Path):
    """The second agent does not start, and says which setting to change."""
    file = write(tmp_path, plant.sap.base_url, api={"address": plant.url.removeprefix("http://"), "tokens": []})
    second = Agent(config.load(file, assembly.resolver(), {}))
    with pytest.raises(ExceptionGroup) as raised:
        await second.run(serve)
    (error,) = leaves(raised.value)
    assert isinstance(error, ConfigError)
    assert "api.address: cannot be listened on" in str(error)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]
