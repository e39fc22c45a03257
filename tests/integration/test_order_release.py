"""Orders of the ERP are released by themselves: real SAP simulator, real broker, a line and people who are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from agent.store import lists
from simulators.receivers.hook import Hook, hook
from simulators.receivers.topic_line import TopicLine, topic_line
from tests.api_bench import HOUSE, Bench, bench, until
from tests.conformance.test_told_targets import broker

ORDER = "1000120"  # valves
SPRINGS = "PT-SPRING"


@asynccontextmanager
async def plant(folder: Path, mode: str = "auto") -> AsyncIterator[tuple[Bench, TopicLine, Hook]]:
    """An agent with three targets: SAP, the line and people."""
    async with (
        broker() as there,
        hook() as web,
        topic_line(there.port, "plant/ASSY-05/dispatch", "plant/taken") as line,
    ):
        targets = [
            {
                "name": "s4", "kind": "sap_s4", "url": "", "path": "/sap/opu/odata/sap", "client": "100",
                "time_zone": "Europe/Berlin",
                "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp_password"}},
                "settle_s": 1, "lookup_reliable": True, "order_service": "API_PRODUCTION_ORDER_2_SRV",
                "postings": dict.fromkeys(("goods_issue", "confirmation", "order_release", "order_note"), "live"),
            },
            {
                "name": "line", "kind": "line", "postings": {"dispatch": "live"},
                "mqtt": {"brokers": [f"mqtt://127.0.0.1:{there.port}"], "topic": "plant/{work_center}/dispatch",
                         "answers": "plant/taken"},
            },
            {
                "name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "planner",
                "channels": {"web": {"kind": "webhook", "url": web.url}}, "people": {"planner": ["web"]},
            },
        ]  # fmt: skip
        release = {
            "target": "s4",
            "targets": {"line": "line", "notify": "people"},
            "model": "order_feasibility",
            "options": {"at_risk_below": 0.0},
        }
        async with bench(
            folder,
            targets=targets,
            workflows={"order_release": release, "consumption": {"target": "s4"}, "confirmation": {"target": "s4"}},
            authority={"order_release": {"mode": mode, "min_confidence": 0.0, "audit_sample": 0}},
            models=str(HOUSE / "models"),
            model_keys=str(HOUSE / "edge_config/trust/models"),
        ) as one:
            yield one, line, web


async def sap(one: Bench, what: str, **changes: Any) -> None:
    """What somebody does in SAP."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{one.sap.base_url}/_sim/{what}", json=changes, auth=("GATEPOST", "s3cret"))
    assert answer.status_code == 200, answer.text


async def postings(one: Bench, kind: str, state: str) -> list[dict[str, Any]]:
    found = one.agent.desk.look(lambda connection: lists.postings(connection, state))
    return [posting for posting in found if posting["kind"] == kind]


async def test_a_blocked_order_is_told_and_released_by_itself_when_the_cause_is_gone(tmp_path: Path):
    """No springs: not released, the planner hears it once. Springs arrive: released in SAP, then sent to its line."""
    async with plant(tmp_path) as (one, line, web):
        await sap(one, "stock", material=SPRINGS, quantity="10")
        await until(lambda: _known(one, "10"))
        await sap(one, "order", order=ORDER, released=False, due="2030-01-01T12:00:00")

        async def told() -> bool:
            return any(b"blocked" in each.body for each in web.posted)

        await until(told)
        (message,) = [json.loads(each.body) for each in web.posted]
        assert message["subject"].startswith(
            f"order {ORDER} is blocked: component {SPRINGS} is missing: 4000 PC needed"
        )
        assert message["severity"] == "alarm"
        assert await postings(one, "order_release", "acknowledged") == []
        await sap(one, "stock", material=SPRINGS, quantity="900000")

        async def dispatched() -> Any:
            return await postings(one, "dispatch", "acknowledged")

        (sent,) = await until(dispatched)
        (released,) = await postings(one, "order_release", "acknowledged")
        assert released["group"]["postings"][1]["id"] == sent["id"]
        assert [order["order"] for order in line.orders] == [ORDER]
        assert line.orders[0]["work_center"] == "ASSY-05"

        async def known() -> bool:
            return one.agent.rules.facts.orders[ORDER].status == "released"

        await until(known)
        assert len(web.posted) == 1
        trace = await one.get(f"/v1/trace/posting:{sent['id']}")
        assert [posting["kind"] for posting in trace["postings"]] == ["order_release", "dispatch"]


async def test_a_release_that_nobody_has_signed_is_withdrawn_when_the_order_cannot_be_made_any_more(tmp_path: Path):
    """Held in assist; the springs are gone: nobody can sign it, the planner is told, and it is proposed again later."""
    async with plant(tmp_path, mode="assist") as (one, line, web):
        await sap(one, "stock", material=SPRINGS, quantity="900000")
        await until(lambda: _known(one, "900000"))
        await sap(one, "order", order=ORDER, released=False, due="2030-01-01T12:00:00")
        (held,) = await one.held()
        assert held["kind"] == "order_release"
        await sap(one, "stock", material=SPRINGS, quantity="10")
        await until(lambda: _posted(web))
        answer = await one.ask(
            "POST",
            f"/v1/approvals/{held['id']}/approve",
            json={"expected_version": held["version"], "record_hash": held["record_hash"], "reason": "quickly"},
        )
        assert answer.status_code == 409, answer.text
        gone = [kind for kind in ("order_release", "dispatch") if await postings(one, kind, "refused")]
        assert gone == ["order_release", "dispatch"]
        await sap(one, "stock", material=SPRINGS, quantity="900000")
        (again,) = await one.held()
        assert again["id"] > held["id"]
        assert line.orders == []


async def test_an_order_at_risk_waits_for_the_planner_with_a_note_drafted(tmp_path: Path):
    """It is due in an hour and takes a day: the note is held, the planner knows at once; signed, it stands in SAP."""
    async with plant(tmp_path) as (one, line, web):
        await sap(one, "order", order=ORDER, released=False, due="2026-01-01T12:00:00")
        held = await one.held()
        (note,) = [posting for posting in held if posting["kind"] == "order_note"]
        assert "after it is due" in note["payload"]["text"]
        await until(lambda: _posted(web))
        answer = await one.ask(
            "POST",
            f"/v1/approvals/{note['id']}/approve",
            json={"expected_version": note["version"], "record_hash": note["record_hash"], "reason": "known"},
        )
        assert answer.status_code == 200, answer.text

        async def written() -> Any:
            return await postings(one, "order_note", "acknowledged")

        await until(written)
        assert await postings(one, "order_release", "acknowledged") == []
        assert line.orders == []


async def _known(one: Bench, quantity: str) -> bool:
    stock = one.agent.rules.facts.stocks.get(f"{SPRINGS}/171A")
    return stock is not None and stock.quantity == Decimal(quantity)


async def _posted(web: Hook) -> bool:
    return len(web.posted) == 1


async def test_an_order_that_is_deleted_in_sap_is_left_alone(tmp_path: Path):
    """Created and deleted before anybody looked: nothing is released, nobody is told."""
    async with plant(tmp_path) as (one, line, web):
        await sap(one, "order", order=ORDER, released=False, deleted=True)

        async def known() -> bool:
            return one.agent.rules.facts.orders[ORDER].status == "deleted"

        await until(known)
        question = {
            "order_id": ORDER, "material": "VALVE-55", "quantity": 4000, "required_work_center": "ASSY-05",
            "due_date": "2030-01-01T00:00:00Z",
        }  # fmt: skip
        found = (await one.ask("POST", "/v1/feasibility/check", "scale", json=question)).json()
        assert found["status"] == "BLOCKED"
        assert found["blocking_issues"][0] == f"order {ORDER} is deleted in the ERP"
        assert (line.orders, web.posted) == ([], [])


async def test_a_release_that_nobody_has_signed_is_withdrawn_when_its_order_is_deleted_in_sap(tmp_path: Path):
    """Held in assist, then deleted in SAP: there is nothing left to sign, and nobody is alarmed."""
    async with plant(tmp_path, mode="assist") as (one, line, web):
        await sap(one, "stock", material=SPRINGS, quantity="900000")
        await until(lambda: _known(one, "900000"))
        await sap(one, "order", order=ORDER, released=False, due="2030-01-01T12:00:00")
        (held,) = await one.held()
        await sap(one, "order", order=ORDER, released=False, deleted=True)

        async def withdrawn() -> bool:
            return [kind for kind in ("order_release", "dispatch") if await postings(one, kind, "refused")] != []

        await until(withdrawn)
        (release,) = await postings(one, "order_release", "refused")
        assert release["id"] == held["id"]
        assert await postings(one, "dispatch", "held") == []
        assert (line.orders, web.posted) == ([], [])
