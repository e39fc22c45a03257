"""POST /v1/feasibility/check by real HTTP: answered in line, on record, found again, never behind a backlog."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent import own_events
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
    assert found["model"] == "order_feasibility/3"
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
    """422 with the field and what to write; nothing is stored, and nothing lies in quarantine."""
    wrong: tuple[dict[str, Any], ...] = (
        {"quantity": -5}, {"quantity": 0}, {"quantity": 1e15}, {"quantity": "5_00"}, {"quantity": "٥٠"},
        {"quantity": "1.000,5"}, {"due_date": "tomorrow"}, {"due_date": "2030-06-15T18:00:00"},
        {"due_date": "2030-06-15"}, {"due_date": 1907690400}, {"due_date": "1907690400"}, {"due_date": None},
        {"due_date": "0001-01-01T00:00:00+14:00"}, {"due_date": "9999-12-31T23:59:59-12:00"},
        {"required_skill": "TORQUE\nCERT"}, {"order_id": "  "},
    )  # fmt: skip
    for changes in wrong:
        answer = await ask(running, **changes)
        assert answer.status_code == 422, changes
        assert answer.json()["error"] == "bad_request", answer.text
        assert next(iter(changes)) in answer.json()["message"]
    assert (await running.get("/v1/quarantine"))["items"] == []


async def test_what_is_written_in_another_way_is_the_same_question(running: Bench):
    """A quantity as a decimal string, a skill of blanks for none, a due date with another zone."""
    answer = await ask(running, quantity="500.0", required_skill="  ", due_date="2030-06-15T20:00:00+02:00")
    assert answer.status_code == 200, answer.text
    assert answer.json()["blocking_issues"] == []


async def test_a_repeated_question_with_its_key_gets_the_same_decision(running: Bench):
    """An answer that was lost is asked for again without a second decision; another question under its key is none."""
    first, second = [await ask(running, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert first.json()["decision_id"] == second.json()["decision_id"]
    assert second.json() == first.json()
    for changes in ({"quantity": 1}, {"order_id": "PROD-100235"}):
        other = await ask(running, headers={"Idempotency-Key": "k1"}, **changes)
        assert other.status_code == 409, (changes, other.text)


async def test_a_question_that_is_repeated_before_its_answer_is_asked_once(running: Bench):
    """The impatient get the one answer; of two questions under one key at the same moment one is refused."""
    answers = await asyncio.gather(*(ask(running, headers={"Idempotency-Key": "k2"}) for _ in range(4)))
    assert {one.status_code for one in answers} == {200}
    assert len({one.text for one in answers}) == 1
    other = await asyncio.gather(*(ask(running, order_id=f"PROD-{n}", headers={"Idempotency-Key": "k3"}) for n in "12"))
    assert sorted(one.status_code for one in other) == [200, 409]
    assert (await running.get("/v1/quarantine"))["items"] == []


async def test_a_question_that_the_store_refused_can_be_asked_again(running: Bench, monkeypatch: pytest.MonkeyPatch):
    """Nothing of it was kept, and the one who repeats it under its key is answered."""
    monkeypatch.setattr("agent.web.feasibility.ANSWER_S", 0.2)
    store, refused = inbox.store, list[Batch]()

    def refuses_the_first(tx: Any, batch: Batch) -> None:
        if batch.source == own_events.SOURCE and batch in (refused or [batch]):
            refused.append(batch)
            raise ValueError("as by a bug")
        store(tx, batch)

    monkeypatch.setattr(inbox, "store", refuses_the_first)

    async def answered() -> bool:
        answer = await ask(running, headers={"Idempotency-Key": "k5"})
        return bool(answer.status_code == 200)

    assert not await answered()
    await until(answered)
    assert refused


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
    """503 until it is on disk, then 202 with the id, however often it is asked; told under that id once decided."""
    monkeypatch.setattr("agent.web.feasibility.ANSWER_S", 0.0)
    process, key = running.agent.process, {"Idempotency-Key": "k4"}
    assert process is not None

    async def nobody_decides() -> bool:
        return process._turn.acquire(blocking=False)

    async def on_disk() -> Any:
        answer = await ask(running, headers=key)
        assert answer.status_code in (202, 503), answer.text
        return answer if answer.status_code == 202 else None

    await until(nobody_decides)
    answer = await until(on_disk)
    assert (await on_disk()).json() == answer.json()
    id = answer.json()["decision_id"]
    assert (await running.ask("GET", f"/v1/decisions/{id}", "viewer")).json()["status"] == "UNDECIDED"
    process._turn.release()
    process.arrived.set()

    async def decided() -> Any:
        found = await running.ask("GET", f"/v1/decisions/{id}", "viewer")
        return found.json() if found.status_code == 200 else None

    assert (await until(decided))["status"] != "UNDECIDED"
    assert (await ask(running, headers=key)).json()["decision_id"] == id
    assert (await running.get("/v1/quarantine"))["items"] == []
