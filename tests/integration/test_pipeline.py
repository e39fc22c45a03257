"""The story on real parts: who may post, what a reload changes, what waits for what, and what people do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.errors import ConfigError, Conflict
from agent.people.desk import Signature
from agent.ports import Draft, Proposal
from agent.store import approvals
from agent.workflows.consumption import Consumption
from tests.plant import PERSON, Change, Plant, Row, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def mode(name: str, **limits: Any) -> Change:
    """The consumption workflow under another authority."""

    def change(content: dict[str, Any]) -> None:
        content["authority"]["consumption"] = {"mode": name, "min_confidence": 0, "audit_sample": 0, **limits}

    return change


def postings(kind: str, name: str) -> Change:
    """A posting kind off, in dry-run or live."""

    def change(content: dict[str, Any]) -> None:
        content["targets"][0]["postings"][kind] = name

    return change


def unchanged(content: dict[str, Any]) -> None:
    """The configuration as it was at the start."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("line")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def line(one_line: Plant) -> AsyncIterator[Plant]:
    """The running agent, with the configuration that it had at its start."""
    await one_line.reload(unchanged)
    yield one_line
    for scope, key in one_line.rows("SELECT scope, key FROM pause"):
        await one_line.agent.desk.resume(scope, key, PERSON)


async def approve(line: Plant, posting: int, meaning: str = "approve") -> Any:
    """Decide about a held posting as it stands."""
    shown = line.agent.desk.look(lambda db: approvals.show(db, posting))
    signature = Signature(PERSON.by, meaning, PERSON.reason, record_hash=shown["record_hash"])
    return await line.agent.desk.decide(posting, shown["version"], signature)


async def decided(line: Plant, body: dict[str, Any]) -> Row:
    """The event of a report, once it is decided."""
    line.publish(body)
    await until(lambda: line.alive() and line.event(body["id"]), "it is decided")
    event = line.event(body["id"])
    assert event is not None
    return event


async def test_advise_decides_and_shows_but_writes_nothing(line: Plant):
    """In advise no posting exists; what would have been posted stands in the audit trail."""
    await line.reload(mode("advise"))
    booked = len(line.booked())
    event = await decided(line, line.report())
    assert event.state == "advised"
    assert line.posting(event.id) is None
    told = line.audited("decided")[-1]
    assert told["would_post"][0]["payload"]["material"] == "RM-RESIN"
    assert told["in_auto"] == "posted"
    assert len(line.booked()) == booked


async def test_assist_holds_everything_and_an_approval_becomes_a_document(line: Plant):
    """In assist a person approves each posting; a refused one is never posted, an approved one is booked once."""
    await line.reload(mode("assist"))
    booked, kept, refused = len(line.booked()), line.report("1000101"), line.report("1000101")
    held = [await decided(line, body) for body in (kept, refused)]
    assert [one.state for one in held] == ["held", "held"]
    assert len(line.booked()) == booked
    one, two = (line.posting(event.id) for event in held)
    assert one is not None
    assert two is not None
    assert (await approve(line, two.id, "refuse"))["state"] == "refused"
    assert (await approve(line, one.id))["state"] == "ready"
    assert (await line.settled(kept["id"], "acknowledged")).document == line.booked()[-1]
    assert len(line.booked()) == booked + 1
    with pytest.raises(Conflict, match=f"already decided by {PERSON.by}: approved on .* acknowledged now, document "):
        await line.agent.desk.decide(one.id, 1, Signature("Otto", "approve", "late"))


async def test_four_eyes_switched_on_by_a_reload_count_for_what_is_held_already(line: Plant):
    """Held for one person; after a reload that asks for two, the first approval does not send it."""
    await line.reload(mode("assist"))
    held = line.posting((await decided(line, line.report("1000102"))).id)
    assert held is not None
    await line.reload(mode("assist", four_eyes=True))
    assert (await approve(line, held.id))["state"] == "held"


async def test_a_kind_that_is_off_is_only_advised(line: Plant):
    """With goods issues off nothing is written and the reason says so; confirmations go on."""
    await line.reload(postings("goods_issue", "off"))
    booked = len(line.booked())
    event = await decided(line, line.report("1000102"))
    assert (event.state, line.posting(event.id)) == ("advised", None)
    assert "off for the target" in str(line.audited("decided")[-1]["reasons"])
    confirmation = line.confirmation("1000102")
    line.publish(confirmation, "confirmation")
    await line.settled(confirmation["id"], "acknowledged", kind="confirmation")
    assert len(line.booked()) == booked + 1


async def test_a_dry_run_does_everything_but_send(line: Plant):
    """In dry-run all postings of an order end simulated, however many came at once; SAP has none of them."""
    await line.reload(postings("goods_issue", "dry-run"))
    booked = len(line.booked())
    bodies = [line.report("1000103") for _ in range(20)]
    for body in bodies:
        line.publish(body)
    for body in bodies:
        await line.settled(body["id"], "simulated")
    assert len(line.booked()) == booked


async def test_tightened_authority_holds_what_was_ready_and_loosened_releases_nothing(line: Plant):
    """What waited in a paused target is held once the mode is assist; in auto again it stays held."""
    await line.agent.desk.pause("target", "s4", PERSON)
    bodies = [line.report("1000104") for _ in range(3)]
    for body in bodies:
        line.publish(body)
    for body in bodies:
        await line.settled(body["id"], "ready")
    await line.reload(mode("assist"))
    await line.agent.desk.resume("target", "s4", PERSON)
    held = [await line.settled(body["id"], "held") for body in bodies]
    assert all("its mode is assist" in one.reason for one in held)
    await line.reload(unchanged)
    await line.post("1000105")
    assert [(await line.settled(body["id"], "held")).id for body in bodies] == [one.id for one in held]
    assert line.booked("1000104") == []
    for one in held:
        await approve(line, one.id)
    for body in bodies:
        await line.settled(body["id"], "acknowledged")


async def test_a_limit_holds_what_is_above_it(line: Plant):
    """Auto posts inside of its limits only: value and quantity above them are held with limit and value in words."""
    await line.reload(mode("auto", max_value=35, max_quantity={"KGM": 10}))
    within = line.report("1000105")
    above = await decided(line, line.report("1000105", quantity=20, lot_quantity=20))
    posting = line.posting(above.id)
    assert posting is not None
    assert "value 64.00 EUR is above the limit of 35.00" in posting.reason
    assert "quantity 20.000 KG is above the limit of 10" in posting.reason
    line.publish(within)
    await line.settled(within["id"], "acknowledged")


async def test_a_hundred_reloads_under_load_lose_nothing(line: Plant):
    """F4: while the configuration is read again a hundred times, every report and every new order is taken."""
    sent: list[str] = []
    over = asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            body = line.report(str(1000106 + len(sent) % 10), quantity=1, lot_quantity=1)
            line.publish(body)
            sent.append(body["id"])
            await asyncio.sleep(0.005)

    sending = asyncio.create_task(load())
    for number in range(100):
        if number % 20 == 0:
            line.new_order(f"30000{number:02d}")
        await line.reload(mode("auto", max_value=5000 + number))
    over.set()
    await sending
    for report in sent:
        await line.settled(report, "acknowledged")
    assert len(sent) > 20
    assert line.sap.erp.books.duplicates() == {}
    await until(
        lambda: line.orders() == len(line.sap.erp.ledger.orders), "every order that was told meanwhile is known"
    )
    assert len(line.audited("configuration")) >= 100


async def test_a_reload_that_is_wrong_changes_nothing(line: Plant):
    """F16: a broken file is refused with all findings, and the agent goes on with the old one."""
    before = line.agent.config.version

    def broken(content: dict[str, Any]) -> None:
        content["authority"]["consumption"] = {"mode": "automatic"}
        content["posting_date"] = {"policy": "never"}

    with pytest.raises(ConfigError) as refused:
        await line.reload(broken)
    assert len(refused.value.findings) == 2
    assert line.agent.config.version == before
    await line.post("1000117")


async def test_a_target_cannot_move_while_postings_are_open(line: Plant):
    """Another address or stamp is refused by name while something is open: its documents would not be found again."""
    await line.agent.desk.pause("order", "1000118", PERSON)
    body = line.report("1000118")
    line.publish(body)
    await line.settled(body["id"], "ready")

    def moved(content: dict[str, Any]) -> None:
        content["targets"][0]["url"] = "http://127.0.0.1:9"

    with pytest.raises(ConfigError, match="targets s4"):
        await line.reload(moved)
    await line.reload(unchanged)
    await line.agent.desk.resume("order", "1000118", PERSON)
    await line.settled(body["id"], "acknowledged")


async def test_a_final_confirmation_waits_for_the_held_consumption_of_its_order(line: Plant):
    """It is held without anybody's doing, cannot be approved out of turn, and goes when the consumption is decided."""
    doubtful, final = line.report("1000119", operation="0099"), line.confirmation("1000119", final=True)
    event = await decided(line, doubtful)
    line.publish(final, "confirmation")
    waits = await line.settled(final["id"], "held", kind="confirmation")
    assert "waits for the held postings" in waits.reason
    with pytest.raises(Conflict, match="approve or refuse posting"):
        await approve(line, waits.id)
    held = line.posting(event.id)
    assert held is not None
    await approve(line, held.id)
    booked = await line.settled(final["id"], "acknowledged", kind="confirmation")
    first = line.posting(event.id)
    assert first is not None
    assert line.booked("1000119") == [first.document, booked.document]


@pytest.mark.parametrize(
    ("scope", "key", "stops"),
    [("target", "s4", "1000120"), ("line", "mixing", "1000121"), ("order", "1000122", "1000122")],
)
async def test_what_is_paused_waits_until_it_is_resumed(line: Plant, scope: str, key: str, stops: str):
    """A paused target, line or order takes reports but sends nothing; a paused order stops no other order."""
    await line.agent.desk.pause(scope, key, PERSON)
    bodies = [line.report(stops) for _ in range(3)]
    for body in bodies:
        line.publish(body)
    for body in bodies:
        await line.settled(body["id"], "ready")
    if scope == "order":
        await line.post("1000123")
    assert line.booked(stops) == []
    await line.agent.desk.resume(scope, key, PERSON)
    for body in bodies:
        await line.settled(body["id"], "acknowledged")
    assert [line.audited(action)[-1]["key"].endswith(key) for action in ("paused", "resumed")] == [True, True]


async def test_a_booked_document_is_reversed_once(line: Plant):
    """A reversal is a posting of its own, signed by who asked; the second one is refused."""
    stock = line.sap.erp.ledger.stock["RM-RESIN", "171A"]
    booked = await line.post("1000124")
    assert booked.document is not None
    told = await line.agent.desk.reverse(booked.document, PERSON)
    await until(
        lambda: line.rows("SELECT 1 FROM posting WHERE id = ? AND state = 'acknowledged'", told["id"]), "reversed"
    )
    assert line.sap.erp.ledger.stock["RM-RESIN", "171A"] == stock
    assert line.sap.erp.books.documents[-1].reverses == booked.document
    with pytest.raises(Conflict, match="already being taken back"):
        await line.agent.desk.reverse(booked.document, PERSON)
    ((who,),) = line.rows("SELECT actor FROM audit WHERE action = 'reversal_signed'")
    assert who == PERSON.by


async def test_inputs_that_the_model_never_saw_are_held(line: Plant):
    """A report beyond the ranges of the model card is not decided by a default: a person looks."""
    event = await decided(line, line.report("1000125", quantity=99999, lot_quantity=0.0000001))
    held = line.posting(event.id)
    assert held is not None
    assert (event.state, "not scored by consumption_anomaly" in held.reason) == ("held", True), held.reason


@pytest.mark.parametrize("method", ["propose", "features", "state_keys"])
async def test_a_workflow_that_fails_costs_only_its_own_event(
    line: Plant, method: str, monkeypatch: pytest.MonkeyPatch
):
    """Whatever of a workflow raises, its event ends with a person, with the error; the ones around it are posted."""
    bodies = [line.report("1000126") for _ in range(3)]
    whole = getattr(Consumption, method)

    def fails(self: Consumption, report: Any, *rest: Any) -> Any:
        if report.id == bodies[1]["id"]:
            raise ZeroDivisionError("nobody thought of this")
        return whole(self, report, *rest)

    monkeypatch.setattr(Consumption, method, fails)
    before = line.last_event()
    for body in bodies:
        line.publish(body)
    for body in (bodies[0], bodies[2]):
        await line.settled(body["id"], "acknowledged")
    event = line.since(before)[1]
    posting = line.posting(event.id)
    assert event.state == ("held" if method == "features" else "quarantined")
    assert "ZeroDivisionError: nobody thought of this" in (posting.reason if posting else event.reason)


@pytest.mark.parametrize("odd_value", [object(), float("nan"), "half \ud800"], ids=["object", "nan", "surrogate"])
async def test_a_workflow_whose_words_cannot_be_stored_costs_only_its_own_event(
    line: Plant, odd_value: object, monkeypatch: pytest.MonkeyPatch
):
    """A payload that no column can keep (no value of JSON, half a surrogate pair) is quarantined alone."""
    bodies, whole = [line.report("1000127") for _ in range(3)], Consumption.propose

    def odd(self: Consumption, report: Any, *rest: Any) -> Any:
        proposal, state = whole(self, report, *rest)
        if report.id == bodies[1]["id"]:
            (one,) = proposal.drafts
            draft = Draft(one.kind, one.ordering_key, {**one.payload, "odd": odd_value}, one.value)
            proposal = Proposal((draft,), proposal.confidence, proposal.holds, proposal.reasons, proposal.subject)
        return proposal, state

    monkeypatch.setattr(Consumption, "propose", odd)
    before = line.last_event()
    for body in bodies:
        line.publish(body)
    for body in (bodies[0], bodies[2]):
        await line.settled(body["id"], "acknowledged")
    event = line.since(before)[1]
    assert (event.state, "the store refused it" in event.reason) == ("quarantined", True)


async def test_everything_is_accounted_for(line: Plant):
    """After all of this both balances are even and the chain is whole."""
    await until(line.quiet, "all is quiet")
    assert line.sound()


# ── plants of their own ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_calm_stop_lets_what_is_in_the_air_come_back(tmp_path: Path):
    """Stopped while SAP takes its time, the agent waits for the answer; the next life finds nothing in doubt."""
    async with plant(tmp_path) as line:
        line.faults({"fault": "slow", "seconds": 0.5, "method": "POST", "count": 1})
        body = line.report()
        line.publish(body)
        sending = await line.settled(body["id"], "sending")
        await line.stop()
        assert line.rows("SELECT state FROM posting WHERE id = ?", sending.id) == [("acknowledged",)]
        assert len(line.booked()) == 1
        await line.restart()
        await line.post("1000101")
        assert not line.audited("in_doubt")
