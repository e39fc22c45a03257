"""POST /v1/feasibility/check by real HTTP: answered in line, on record, found again, never behind a backlog."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.ports import Batch, Delivery
from agent.store import inbox
from tests.api_bench import CONSUMPTION, HOUSE, Bench, bench, until, weighing

ASKED = {
    "order_id": "PROD-100234",
    "material": "VALVE-55",
    "quantity": 500,
    "required_work_center": "ASSY-05",
    "required_skill": "TORQUE_CERT",
    "due_date": "2030-06-15T18:00:00Z",
}
WORKFLOWS = {
    "consumption": {"target": "s4"},
    "confirmation": {"target": "s4"},
    "order_release": {"target": "s4", "model": "order_feasibility"},
}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Bench]:
    models, keys = str(HOUSE / "models"), str(HOUSE / "edge_config/trust/models")
    async with bench(tmp_path, workflows=WORKFLOWS, models=models, model_keys=keys) as one:
        await until(lambda: _stock_is_known(one))
        yield one


async def _stock_is_known(one: Bench) -> bool:
    return "BODY-55/171A" in one.agent.rules.facts.stocks


async def ask(one: Bench, token: str = "scale", **changes: Any) -> Any:
    headers = changes.pop("headers", {})
    return await one.ask("POST", "/v1/feasibility/check", token, json={**ASKED, **changes}, headers=headers)


async def test_a_question_is_answered_in_line_and_found_again(running: Bench):
    """Status, score, issues and what to do, with the facts and their age; the same by the decision's id later."""
    answer = await ask(running)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["status"] in ("FEASIBLE", "FEASIBLE_WITH_NOTES", "AT_RISK")
    assert found["model"] == "order_feasibility/2"
    assert 0 <= found["feasibility_score"] <= 1
    assert found["blocking_issues"] == []
    assert found["earliest_start"]
    assert {one["fact"] for one in found["facts"]} >= {"free stock of BODY-55 at any place"}
    assert all(one["age_s"] is not None for one in found["facts"])
    again = (await running.ask("GET", f"/v1/decisions/{found['decision_id']}", "viewer")).json()
    assert {name: again[name] for name in found} == found
    assert again["event"]
    traced = await running.get(f"/v1/trace/{again['event']}")
    assert traced["event"]["source"] == "gatepost"


async def test_what_cannot_be_made_is_blocked_with_the_reason(running: Bench):
    """An unknown material or work centre, more than there is, a skill that nobody has."""
    for changes, issue in (
        ({"material": "VALVE-99"}, "material 'VALVE-99' is not in the master data"),
        ({"required_work_center": "WC-99"}, "work centre 'WC-99' is not in the master data"),
        ({"quantity": 999_999_999}, "component"),
        ({"required_skill": "DIVING"}, "no certified operator"),
    ):
        found = (await ask(running, **changes)).json()
        assert (found["status"], found["recommended_action"]) == ("BLOCKED", "DO_NOT_RELEASE")
        assert any(issue in one for one in found["blocking_issues"]), found


async def test_an_absurd_question_is_refused_at_the_door(running: Bench):
    """422 with the field; nothing is stored."""
    wrong: tuple[dict[str, Any], ...] = (
        {"quantity": -5}, {"quantity": 0}, {"quantity": 1e15}, {"due_date": "tomorrow"},
    )  # fmt: skip
    for changes in wrong:
        answer = await ask(running, **changes)
        assert answer.status_code == 422
        assert next(iter(changes)) in answer.json()["message"]


async def test_a_repeated_question_with_its_key_gets_the_same_decision(running: Bench):
    """An answer that was lost is asked for again without a second decision."""
    first, second = [await ask(running, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert first.json()["decision_id"] == second.json()["decision_id"]
    assert second.json() == first.json()
    other = await ask(running, quantity=1, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 409


async def test_who_may_not_report_may_not_ask(running: Bench):
    """A question can lead to a release."""
    assert (await ask(running, token="viewer")).status_code == 403
    assert (await running.ask("GET", "/v1/decisions/nothing-of-the-kind", "viewer")).status_code == 404


async def test_a_token_of_one_line_asks_about_that_line_alone(running: Bench):
    """Neither seen nor decided: a question about another line's order can release it. The ERP says whose it is."""
    assert (await ask(running, token="mixer_scale")).status_code == 403
    assert (
        await ask(running, token="mixer_scale", order_id="1000120", required_work_center="MIX-01")
    ).status_code == 403
    assert (await ask(running, token="mixer_scale", required_work_center="NOWHERE")).status_code == 403
    answer = await ask(running, token="mixer_scale", required_work_center="MIX-01")
    assert answer.status_code == 200, answer.text


async def test_a_backlog_does_not_keep_a_question_waiting(running: Bench):
    """Ten thousand reports wait to be decided; a question that comes then is decided while most of them still wait."""
    intake = running.agent.intake
    assert intake is not None
    reports = [Delivery(CONSUMPTION, weighing(f"B-{number}")) for number in range(10_000)]
    stored = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_disk() -> None:
        loop.call_soon_threadsafe(stored.set)

    batch = Batch("reports", reports, running.agent.clock(), on_disk)
    assert await asyncio.to_thread(intake.put, batch, 10.0)
    await stored.wait()
    answer = await ask(running)
    left = running.agent.desk.look(lambda connection: len(inbox.undecided(connection, 10_000)))
    assert answer.status_code == 200, answer.text
    assert left > 5_000


async def test_what_is_not_decided_in_time_is_asked_for_later(running: Bench, monkeypatch: pytest.MonkeyPatch):
    """202 with the id; the decision is made all the same, and told under that id."""
    monkeypatch.setattr("agent.web.feasibility.ANSWER_S", 0.0)
    answer = await ask(running)
    assert answer.status_code == 202, answer.text
    id = answer.json()["decision_id"]

    async def decided() -> Any:
        found = await running.ask("GET", f"/v1/decisions/{id}", "viewer")
        return found.json() if found.status_code == 200 else None

    assert (await until(decided))["status"] != "UNDECIDED"
