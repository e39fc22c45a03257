"""The agent as an OPC UA server, asked by a real OPC UA client over real sockets; the ERP is the simulated SAP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua.common.node import Node
from asyncua.ua.status_codes import StatusCodes as Codes

from agent.app import Agent
from agent.opcua import figures
from tests.api_bench import Bench, bench, free_port, until
from tests.opcua_face_bench import SECURED, asking, listens, open_to_this_machine, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """An agent that holds everything for a person, open on this machine; who has no user may read."""
    opcua = {"address": f"127.0.0.1:{free_port()}", "security": ["none", *SECURED], "anonymous": True}
    async with bench(tmp_path_factory.mktemp("opcua"), opcua_server=opcua, sensitive=["batch"]) as made:
        await until(lambda: listens(made))
        yield made


async def fresh(plant: Bench, id: str, **changes: Any) -> dict[str, Any]:
    """A held posting of a new report."""
    assert (await plant.report(id, **changes)).status_code == 202

    async def there() -> Any:
        items = (await plant.get("/v1/approvals?limit=500"))["items"]
        return next((one for one in items if one["payload"]["text"] == id), None)

    found: dict[str, Any] = await until(there)
    return found


async def audited(plant: Bench, action: str) -> list[dict[str, Any]]:
    rows = (await plant.get("/v1/audit?limit=500"))["items"]
    return [one for one in rows if one["action"] == action]


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_state_is_there_and_goes_on(plant: Bench):
    """A client without a user finds the agent by its namespace URI, sees what it is made of, and a heart that beats."""
    async with asking(plant) as one:
        await one.becomes("Ready", True)
        assert await one.read("WhyNotReady") == ""
        first = await one.read("Heartbeat")
        await one.becomes("Heartbeat", lambda now: now > first)
        assert await one.read("Sources/reports/Connected") is True
        await one.becomes("Targets/s4/Available", True)
        names = {(await node.read_browse_name()).Name for node in await one.node("Lines").get_children()}
        assert {"mixing", "molding", "assembly"} <= names, "lines are there before anything was decided"
        assert await one.status("Lines/assembly/LastDecision/At") != Codes.Good, "nothing is made up"


async def test_values_change_with_what_happens(plant: Bench):
    """A report that is held is counted, shown as its line's last decision, and told to a subscriber."""
    async with asking(plant) as one:
        before = await one.read("Workflows/consumption/Held")
        told: asyncio.Queue[Any] = asyncio.Queue()

        class Heard:
            def datachange_notification(self, node: Node, value: Any, data: Any) -> None:
                told.put_nowait(value)

        subscription = await one.client.create_subscription(100, Heard())
        await subscription.subscribe_data_change(one.node("Workflows/consumption/Held"))
        held = await fresh(plant, "seen-1")
        async with asyncio.timeout(30):
            while await told.get() != before + 1:
                pass
        await one.becomes("Lines/mixing/LastDecision/Posting", held["id"])
        assert await one.read("Lines/mixing/LastDecision/State") == "held"
        assert "seen-1" in await one.read("Lines/mixing/LastDecision/Event")
        assert await one.read("Lines/mixing/LastDecision/Reason")
        assert (datetime.now(UTC) - (await one.read("Sources/reports/LastDeliveryAt")).replace(tzinfo=UTC)).days == 0
        await one.becomes("Held", (await plant.get("/v1/status"))["postings"]["held"])


def break_look(fault: pytest.MonkeyPatch, plant: Bench) -> None:
    """A mistake in reading the state of this agent."""

    whole = figures.parts_of

    def broken(agent: Agent, lines: Any) -> Any:
        if agent is plant.agent:
            raise RuntimeError("broken")
        return whole(agent, lines)

    fault.setattr("agent.opcua.figures.parts_of", broken)


async def test_a_display_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Whatever goes wrong in showing is shown, to clients by the service level and in the status; reports go on."""
    async with bench(tmp_path, opcua_server=open_to_this_machine(anonymous=True)) as plant:
        await until(lambda: listens(plant))
        async with asking(plant) as one:
            await one.becomes("Ready", True)
            assert await one.level() == 255
            with monkeypatch.context() as fault:
                break_look(fault, plant)
                await one.becomes("Ready", False)
                assert "broken" in await one.read("WhyNotReady")
                await until(lambda: one.has_level(1))
                assert await one.status("Held") == Codes.UncertainLastUsableValue
                face = (await plant.get("/v1/status"))["faces"]["opcua_server"]
                assert "broken" in face["error"]
                beat = await one.read("Heartbeat")
                await one.becomes("Heartbeat", lambda now: now > beat + 1)
                assert caplog.text.count("the state cannot be read") == 1
                await fresh(plant, "shown-1")
            await one.becomes("Ready", True)
            await until(lambda: one.has_level(255))
            assert (await plant.get("/v1/status"))["faces"]["opcua_server"]["error"] is None


async def test_a_display_that_ends_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server that cannot even show that something is wrong is made anew; the agent goes on and says why."""
    monkeypatch.setattr("agent.opcua.server.AGAIN_S", 0.1)
    async with bench(tmp_path, opcua_server=open_to_this_machine(anonymous=True)) as plant:
        await until(lambda: listens(plant))

        async def face() -> Any:
            return (await plant.get("/v1/status"))["faces"]["opcua_server"]

        async def down() -> bool:
            told = await face()
            return not told["connected"] and "ZeroDivisionError" in (told["error"] or "")

        with monkeypatch.context() as fault:
            break_look(fault, plant)
            fault.setattr("agent.opcua.server.Shown._doubt", lambda *_: 1 / 0)
            await until(down)
            await fresh(plant, "shown-2")
        await until(lambda: listens(plant))
        async with asking(plant) as one:
            await one.becomes("Ready", True)
            page = (await plant.client.get(plant.management + "/metrics")).text
            assert 'gatepost_face_connected{face="opcua_server"} 1.0' in page
            told = await face()
            assert (told["connected"], told["error"], told["sessions"]) == (True, None, 1)


# ── deciding ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_approved_posting_reaches_the_erp(plant: Bench):
    """Approving by a method books the document, and the trail names the user and the reason."""
    held = await fresh(plant, "approve-2")
    async with asking(plant, "anna") as one:
        shown = next(each for each in await one.held() if each["id"] == held["id"])
        done, answer = await one.decide("Approve", shown, "weighed again")
        assert (done, answer["state"], answer["by"]) == (True, "ready", "anna")

        async def booked() -> Any:
            return (await plant.get(f"/v1/approvals/{shown['id']}"))["document"]

        assert await until(booked)
    history = (await plant.get(f"/v1/trace/posting:{shown['id']}"))["history"]
    signed = next(row for row in history if row["action"] == "approved")
    assert (signed["actor"], signed["detail"]["reason"], signed["detail"]["session"]) == (
        "anna", "weighed again", "token anna",
    )  # fmt: skip


async def test_who_comes_second_is_told_who_was_first(plant: Bench):
    """The loser of a race changes nothing and hears who decided, also when the first one came by HTTP."""
    held = await fresh(plant, "race-3")
    async with asking(plant, "anna") as anna, asking(plant, "ben") as ben:
        answers = await asyncio.gather(
            anna.decide("Approve", held, "mine"), ben.decide("Refuse", held, "no, mine"), return_exceptions=False
        )
        lost = next(answer for done, answer in answers if not done)
        won = next(answer for done, answer in answers if done)
        assert (lost["error"], lost["decided_by"]) == ("conflict", won["by"])

        other = await fresh(plant, "race-4")
        asked = {"expected_version": other["version"], "reason": "by HTTP"}
        assert (await plant.ask("POST", f"/v1/approvals/{other['id']}/refuse", json=asked)).status_code == 200
        done, answer = await ben.decide("Approve", other, "too late")
        assert (done, answer["decided_by"], answer["state"]) == (False, "anna", "refused")


async def test_a_version_that_is_not_the_shown_one_changes_nothing(plant: Bench):
    """Whoever signs something else than what is there now is told which version it has."""
    held = await fresh(plant, "stale-5")
    async with asking(plant, "anna") as one:
        done, answer = await one.decide("Approve", {**held, "version": held["version"] + 1}, "blind")
        assert (done, answer["error"], answer["version"], answer["state"]) == (
            False, "conflict", held["version"], "held",
        )  # fmt: skip


async def test_who_hears_no_answer_is_told_what_to_do_in_their_own_words(plant: Bench, monkeypatch: pytest.MonkeyPatch):
    """A commit that does not come back in time: each face says how to ask again, and asking again decides once."""
    held = await fresh(plant, "late-5")
    async with asking(plant, "anna") as one:
        with monkeypatch.context() as fault:
            fault.setattr("agent.people.approving.ACT_S", 0.0)
            done, answer = await one.decide("Approve", held, "in a hurry")
            asked = {"expected_version": held["version"], "reason": "in a hurry"}
            by_http = (await plant.ask("POST", f"/v1/approvals/{held['id']}/approve", json=asked)).json()
        assert (done, answer["error"]) == (False, "store_unavailable")
        assert answer["message"].endswith("; call again with the same ExpectedVersion: it is decided once at most")
        assert by_http["message"].endswith("; send the same request with the same Idempotency-Key again")
        done, answer = await one.decide("Approve", held, "in a hurry")
        assert (done, answer["error"], answer["decided_by"]) == (False, "conflict", "anna")


async def test_a_gateway_signs_for_a_person(plant: Bench):
    """A token with acts_for_people names the person in the trail; another token may not, and that is audited."""
    held = await fresh(plant, "person-6")
    async with asking(plant, "ben") as ben:
        assert await refused(ben.decide("Approve", held, "ok", "Maria Huber")) == Codes.BadUserAccessDenied
    async with asking(plant, "ignition") as gateway:
        done, answer = await gateway.decide("Approve", held, "ok", "Maria Huber")
        assert (done, answer["by"]) == (True, "Maria Huber via ignition")
    assert [row["detail"]["method"] for row in await audited(plant, "call_refused") if row["actor"] == "ben"] == [
        "Approve"
    ]


async def test_a_wrong_scope_is_refused_and_audited(plant: Bench):
    """Who may only read cannot decide: nothing changes, and the trail says who tried, once however often it was."""
    held = await fresh(plant, "scope-7")
    async with asking(plant, "viewer") as one:
        assert [each["id"] for each in await one.held()], "reading is allowed"
        for _ in range(3):
            assert await refused(one.decide("Approve", held, "let me")) == Codes.BadUserAccessDenied
    assert (await plant.get(f"/v1/approvals/{held['id']}"))["state"] == "held"
    assert [row["detail"]["method"] for row in await audited(plant, "call_refused") if row["actor"] == "viewer"] == [
        "Approve"
    ]


async def test_roles_count_at_this_door_too(plant: Bench):
    """A token whose roles have no right may list, does not see what is sensitive, and decides nothing."""
    held = await fresh(plant, "roles-8")
    async with asking(plant, "nobody") as one:
        assert {each["payload"]["batch"] for each in await one.held()} == {"***"}
        assert await refused(one.decide("Approve", held, "let me")) == Codes.BadUserAccessDenied
    async with asking(plant, "ben") as other:
        assert held["payload"]["batch"] in [each["payload"]["batch"] for each in await other.held()]
    (row,) = [row for row in await audited(plant, "signature_refused") if row["actor"] == "nobody"]
    assert row["detail"]["error"] == "no_right"


async def test_a_token_of_one_line_sees_that_line_only(plant: Bench):
    """Postings of other lines do not exist for a token that is limited to lines."""
    held = await fresh(plant, "line-8")
    async with asking(plant, "moulder") as one:
        assert held["id"] not in [each["id"] for each in await one.held()]
        done, answer = await one.decide("Approve", held, "not mine")
        assert (done, answer["error"]) == (False, "not_found")


async def test_arguments_that_do_not_fit_are_refused(plant: Bench):
    """Each wrong argument gets a status code of its own, and a reason that cannot be read is an answer."""
    async with asking(plant, "anna") as one:
        assert await refused(one.call("ListHeld", 0)) == Codes.BadInvalidArgument
        assert await refused(one.call("ListHeld", "all")) == Codes.BadInvalidArgument
        assert await refused(one.call("Approve", 1, 1)) == Codes.BadArgumentsMissing
        assert await refused(one.call("Approve", 1, 1, "r", "p", "x")) == Codes.BadTooManyArguments
        assert await refused(one.call("Approve", True, 1, "r")) == Codes.BadInvalidArgument
        for reason in ("", "two\nlines", "x" * 1001):
            done, answer = await one.decide("Approve", {"id": 1, "version": 1}, reason)
            assert (done, answer["error"]) == (False, "bad_request")
        done, answer = await one.decide("Approve", {"id": 2**62, "version": 1}, "there is none")
        assert (done, answer["error"]) == (False, "not_found")
