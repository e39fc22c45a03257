"""Scrap from the floor to the ERP's own books: real broker, whole agent, simulated SAP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent import follow_ons
from agent.access.callers import Identity
from agent.access.tokens import Scope
from agent.errors import Conflict
from agent.people.approving import Asked
from agent.people.desk import Act
from agent.store import approvals, inbox, labels
from agent.store.approvals import Signature
from agent.web.gateway import signatures
from agent.workflows.scrap import lot_key
from simulators.scenario import load as scenario
from tests.plant import Plant, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLACE = "plant/1710/molding/MOLD-02/"
ORDER = "1000110"
BODY = ("BODY-55", "171A")
PERSON = Identity("quality", frozenset({Scope.APPROVE}))
WORN = {"tool_used": 0.97, "cycle_off": 0.4, "since_set_up": 4000, "since_stop": 200, "temperature_off": 0.1,
        "pressure_off": 0.1}  # fmt: skip


def careful(content: dict[str, Any]) -> None:
    """The bench's own rule for scrap."""
    content["authority"]["scrap"] = {"mode": "auto", "min_confidence": 0.76, "audit_sample": 0}
    (line,) = (one for one in content["sources"] if one["kind"] == "mqtt")
    next(one for one in content["sources"] if one["kind"] == "erp_orders")["stock"] = True
    channels = {"panel": {"kind": "mqtt", "brokers": [*line["brokers"]]}}
    content["targets"].append({
        "name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "quality",
        "channels": channels, "people": {"quality": ["panel:people/quality"]},
    })  # fmt: skip
    content["workflows"]["scrap"] |= {"targets": {"notify": "people"}, "options": {"notify": ["quality"]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(Path(tmp_path_factory.mktemp("scrap")), change=careful, plan=scenario()) as one:
        yield one


def report(floor: Plant, id: str, quantity: float, lot: str, **changes: Any) -> dict[str, Any]:
    """Defective valve bodies, found after they went into stock."""
    body = {
        "id": id, "ts": floor.clock().isoformat(timespec="milliseconds"), "order": ORDER, "operation": "0010",
        "material": "BODY-55", "quantity": quantity, "unit": "pcs", "lot": lot, "location": "171A", "operator": "4711",
        "origin": "vision", "defect": "0002", "lot_quantity": 200, "lot_stock": 200, "made_before": 1000,
    }  # fmt: skip
    return {name: value for name, value in (body | WORN | changes).items() if value is not None}


async def postings(floor: Plant, body: Mapping[str, Any], *states: str, kind: str = "scrap") -> list[dict[str, Any]]:
    """All postings of a report, once each of them is in one of these states."""
    floor.publish(body, topic=PLACE + kind)
    found: list[dict[str, Any]] = []

    def there() -> bool:
        floor.alive()
        event = floor.event(str(body["id"]), kind)
        rows = floor.rows(
            f"SELECT {approvals.SHOWN} FROM posting WHERE event_id = ? ORDER BY id", event.id if event else 0
        )
        found[:] = [approvals.shown(row) for row in rows]
        return bool(found) and all(one["state"] in states for one in found)

    try:
        await until(there, f"all postings of {body['id']} are {' or '.join(states)}")
    except AssertionError as late:
        seen = [(one["kind"], one["state"], one["reasons"], one["error"]) for one in found]
        raise AssertionError(f"{late}; {floor.event(str(body['id']), kind)}; {seen}") from None
    return found


def moved(floor: Plant, since: int = 0) -> list[tuple[str, str, str]]:
    """What the ERP has in its books: kind or movement type, quantity, cost centre."""
    found = []
    for one in floor.sap.erp.books.documents[since:]:
        for item in one.items:
            kind = item.get("GoodsMovementType") or one.kind
            quantity = item.get("QuantityInEntryUnit") or item.get("DefectiveQuantity") or ""
            found.append((kind, str(quantity).rstrip("0").rstrip("."), item.get("CostCenter") or ""))
    return found


async def test_a_sure_report_goes_to_the_books_by_itself_and_once(floor: Plant):
    """Twice on the wire, once in the books: 551 on the tool's cost centre, then the record of the defect."""
    before = len(floor.sap.erp.books.documents)
    body = report(floor, "S-1", 4, "L1")
    floor.publish(body, topic=PLACE + "scrap")
    scrap, defect = await postings(floor, body, "acknowledged")
    assert (scrap["payload"]["cause"], scrap["kind"], defect["kind"]) == ("tool", "scrap", "defect")
    await until(floor.quiet, "all is decided")
    assert moved(floor, before)[0] == ("551", "4", "17101300")
    assert [one.kind for one in floor.sap.erp.books.documents[before:]] == ["material_document", "defect"]


async def test_a_bad_lot_is_blocked_and_a_person_decides_what_becomes_of_it(floor: Plant):
    """The rest goes to blocked stock; the follow-on is held, and signed it is scrapped from there."""
    before = len(floor.sap.erp.books.documents)
    told: list[dict[str, Any]] = []
    floor.publisher.on_message = lambda _client, _data, message: told.append(json.loads(message.payload))
    floor.publisher.subscribe("people/quality", qos=1)
    done = await postings(floor, report(floor, "S-2", 20, "L2", cause="tool"), "acknowledged")
    assert [one["kind"] for one in done] == ["scrap", "defect", "stock_transfer", "notification"]
    await until(lambda: told, "quality is told")
    assert (told[0]["severity"], told[0]["order"]) == ("warning", ORDER)
    assert "10 % of the lot" in told[0]["text"]
    assert [one[0] for one in moved(floor, before) if one[0].isdigit()] == ["551", "344"]
    assert floor.sap.erp.ledger.withheld["blocked"][BODY] == 180
    block = done[2]["id"]
    one = floor.readers[0]
    offer = follow_ons.shown(follow_ons.kept(one, block), floor.agent.rules.facts, Decimal("0.3"))
    assert (offer["quantity"], offer["suggested"], offer["decided"]) == ("180", "rework", False)
    assert offer["costs"] == {"scrap": "414.00", "rework": "124.20", "use_as_is": "0.00"}
    with pytest.raises(Conflict, match=f"posting {done[0]['id']} keeps no lot from use"):
        follow_ons.kept(one, done[0]["id"])
    entered = await follow_ons.enter(floor.agent.desk, block, "rework", Decimal(20), Act("jo", "can be polished"))

    def waits() -> bool:
        event = floor.event(entered["report"], "follow_on")
        return event is not None and event.state == "held"

    await until(waits, "the choice waits for its signature")
    assert follow_ons.kept(one, block).decided
    body = report(floor, "F-2", 180, "L2", choice="scrap")
    (held,) = await postings(floor, body, "held", kind="follow_on")
    assert held["reasons"][0] == "what becomes of a blocked lot is signed by a person"
    asked = Asked("approve", held["id"], held["version"], "agreed with quality")
    signature = approvals.Signature(PERSON.name, "approve", asked.reason)
    await floor.agent.desk.decide(held["id"], held["version"], signature)
    await postings(floor, body, "acknowledged", kind="follow_on")
    assert floor.sap.erp.ledger.withheld["blocked"][BODY] == 0


async def test_where_the_model_abstains_a_person_says_the_cause_and_that_is_a_label(floor: Plant):
    """Nothing is booked before; then on the cost centre of the corrected cause, and training learns the class."""
    before = len(floor.sap.erp.books.documents)
    unclear = dict.fromkeys(("tool_used", "since_set_up", "since_stop", "cycle_off", "temperature_off", "pressure_off"))
    body = report(floor, "S-3", 4, "L3", defect="0001", **unclear)
    first, second = await postings(floor, body, "held")
    assert any("abstains" in one or "is below" in one for one in first["reasons"])
    assert len(floor.sap.erp.books.documents) == before
    wanted = Asked("correct", first["id"], first["version"], "the edge is worn")
    answer = await signatures(floor.agent).correct(wanted, {"cause": "handling"}, PERSON)
    assert answer["supersedes"] == first["id"]
    old, booked, new = await postings(floor, body, "superseded", "acknowledged")
    assert (old["id"], booked["id"], new["payload"]["cause"]) == (first["id"], second["id"], "handling")
    assert moved(floor, before)[0] == ("551", "4", "17101400")
    with_labels = labels.labels(floor.readers[0], "scrap_classification")
    assert [one.told for one in with_labels if one.scored.event_id == first["event_id"]] == ["handling"]


async def test_a_person_corrects_how_much_was_scrapped_and_all_of_the_group_says_so(floor: Plant):
    """One signature: scrap, defect and what is left to be blocked are booked with the corrected number."""
    before, blocked = len(floor.sap.erp.books.documents), floor.sap.erp.ledger.withheld["blocked"][BODY]
    body = report(floor, "S-6", 300, "L6", cause="tool", lot_stock=400)
    first, *_ = await postings(floor, body, "held", "acknowledged")
    assert "300 PC scrapped of a lot of 200 PC" in first["reasons"]
    wanted = Asked("correct", first["id"], first["version"], "counted again: 30")
    await signatures(floor.agent).correct(wanted, {"quantity": "30"}, PERSON)
    await postings(floor, body, "superseded", "acknowledged")
    await until(floor.quiet, "all is booked")
    assert [one[:2] for one in moved(floor, before)] == [("551", "30"), ("344", "370")]
    (defect,) = (one for one in floor.sap.erp.books.documents[before:] if one.kind == "defect")
    assert defect.header["DefectiveQuantity"] == "30.000"
    assert floor.sap.erp.ledger.withheld["blocked"][BODY] - blocked == 370
    with_labels = labels.labels(floor.readers[0], "scrap_classification")
    assert [one.told for one in with_labels if one.scored.event_id == first["event_id"]] == ["tool"]
    await until(lambda: lot(floor, "L6") == ("370", 30.0), "the history of the lot has the corrected numbers")


def lot(floor: Plant, name: str) -> tuple[str, float]:
    """How much of it the workflow takes for blocked, and for scrapped."""
    (state,) = inbox.states(floor.readers[0], [lot_key("BODY-55", name)]).values()
    assert isinstance(state, dict)
    return state["blocked"], state["scrapped"]


async def test_two_reports_of_one_defect_are_booked_once(floor: Plant):
    """The camera and then the operator: the second waits for a person, who refuses it with all its group."""
    await postings(floor, report(floor, "S-4", 3, "L4"), "acknowledged")
    body = report(floor, "S-5", 3, "L4", origin="operator")
    held = await postings(floor, body, "held")
    assert "two reports of one defect" in held[0]["reasons"][0]
    signature = approvals.Signature(PERSON.name, "refuse", "the camera saw it")
    await floor.agent.desk.decide(held[0]["id"], held[0]["version"], signature)
    assert {one["state"] for one in await postings(floor, body, "refused")} == {"refused"}


async def test_a_defect_code_that_is_added_lets_its_report_in(floor: Plant):
    """By the reload that brings it, without a person; the report is booked once."""
    body = report(floor, "S-9", 3, "L9", defect="0816")
    floor.publish(body, topic=PLACE + "scrap")
    await until(lambda: (one := floor.event("S-9", "scrap")) is not None and one.state == "quarantined", "quarantined")
    codes = floor.folder / "masterdata" / "defect_codes.yaml"
    codes.write_text(codes.read_text(encoding="utf-8") + '  - {defect: "0816", group: SHAPE, text: "flash"}\n')
    await floor.reload(careful)

    def booked() -> bool:
        floor.alive()
        event = floor.event("S-9", "scrap")
        found[:] = floor.rows(
            "SELECT kind, state, json_extract(payload, '$.quantity') FROM posting WHERE event_id = ? ORDER BY id",
            event.id if event else 0,
        )
        return bool(found) and all(state == "acknowledged" for _, state, _ in found)

    found: list[tuple[Any, ...]] = []
    await until(booked, "the report is booked")
    assert found == [("scrap", "acknowledged", "3"), ("defect", "acknowledged", "3")]
    event = floor.event("S-9", "scrap")
    told = "SELECT json_extract(detail, '$.score.unknown') FROM audit WHERE action = 'decided' AND event_id = ?"
    assert event is not None
    assert floor.rows(told, event.id)[-1] == ('{"defect":"0816"}',)  # for the next training


async def test_scrap_at_a_storage_location_that_sap_does_not_have_waits_for_a_person(floor: Plant):
    """It is no dead letter: held with the location and those that are known, and refused it leaves nothing behind."""
    before = len(floor.sap.erp.books.documents)
    await until(lambda: floor.agent.rules.facts.stocks, "the stock is known")
    first, *_ = await postings(floor, report(floor, "S-17", 3, "L17", location="17lA"), "held", "acknowledged")
    assert first["state"] == "held"  # who must know has been told beside it
    assert any(one.startswith("storage location '17lA' is not among those that") for one in first["reasons"])
    refuse = Signature("quality", "refuse", "mistyped at the terminal")
    await floor.agent.desk.decide(first["id"], first["version"], refuse)
    await postings(floor, report(floor, "S-18", 3, "L18", lot_stock=0), "acknowledged")
    assert [one for one in floor.sap.erp.books.documents[before:] if "L17" in str(one)] == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"quantity": -3}, "below the minimum"),
        ({"quantity": 10_000_000}, "100000"),
        ({"defect": "0815"}, "'0815' is not in the master data"),
        ({"material": "NO-SUCH"}, "'NO-SUCH' is not in the master data"),
    ],
)
async def test_what_cannot_be_is_kept_and_the_next_goes_through(floor: Plant, changes: dict[str, Any], why: str):
    """In quarantine with its reason; the good report behind it is booked."""
    number = floor.last_event()
    bad = report(floor, f"B-{number}", 3, "L5") | changes
    floor.publish(bad, topic=PLACE + "scrap")
    await postings(floor, report(floor, f"G-{number}", 2, f"L{number}"), "acknowledged")
    event = floor.event(bad["id"], "scrap") or next(one for one in floor.since(number) if one.state == "quarantined")
    assert event.state == "quarantined"
    assert why in event.reason
