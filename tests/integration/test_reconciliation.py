"""From the line to SAP's books: what went wrong between them is found beside the loops, and put right by a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from agent import found as found_
from agent import reconciling
from agent.balances import accounts
from agent.detectors.balance import Change
from agent.errors import Conflict
from agent.own_events import SOURCE, event_of
from agent.people import counts
from agent.ports import Batch
from agent.reconciliation import stock as stock_
from agent.reconciliation.observed import Material, Place
from agent.store import corrections, inbox, movements
from agent.store.approvals import Signature
from tests.command_line import gatepost_
from tests.integration.erp_calls import MATERIAL_DOCUMENTS, connected, goods_issue
from tests.plant import PERSON, Plant, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
WAIT = 60  # minutes that anything may be late


def soon(content: dict[str, Any]) -> None:
    """Nothing is late for long, and stock is told."""
    content["workflows"]["reconciliation"]["options"] = {"wait_minutes": WAIT}
    content["workflows"]["consumption"]["options"] = {"double_report_seconds": 0}
    content["authority"]["consumption"]["audit_sample"] = 0
    next(one for one in content["sources"] if one["kind"] == "erp_orders")["stock"] = True


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("line"), change=soon) as made:
        await made.agent.reconciling.look()  # what was before does not count
        yield made


def postings(line: Plant, event: int) -> list[tuple[Any, ...]]:
    rows = line.rows("SELECT id, kind, state, version, payload, document FROM posting WHERE event_id = ?", event)
    return [(*row[:4], json.loads(row[4]), row[5]) for row in rows]


async def found(line: Plant, before: int) -> list[int]:
    """The events of what is found once everything is overdue."""
    await until(line.quiet, "nothing is under way")
    await until(lambda: known(line), "the agent knows what SAP has booked")
    await line.agent.reconciling.look()
    line.clock.start += timedelta(minutes=2 * WAIT)
    await line.agent.reconciling.look()
    await until(line.quiet, "it is decided")
    return findings(line, before)


def known(line: Plant, item: str = "1", material: str = "RM-RESIN") -> bool:
    """Whether the agent knows how much of a component SAP has booked for the order."""
    component = line.agent.rules.facts.orders["1000100"].component(material)
    in_sap = line.sap.erp.ledger.orders["1000100"].components[item]
    return component is not None and component.withdrawn == in_sap.withdrawn


def findings(line: Plant, before: int) -> list[int]:
    """Their events; others of the agent's own are about orders and facts."""
    return [one.id for one in line.since(before, "gatepost") if str(one.key).startswith("reconciliation:")]


def account_of(line: Plant, material: str) -> dict[str, str]:
    """Of the order's component: what was expected, used and booked; nothing before anything was reported."""
    facts = line.agent.rules.facts
    found = line.agent.desk.look(lambda reader: accounts(reader, facts, order="1000100"))
    parts = [part for one in found for part in one["components"] if part["material"] == material]
    return parts[0] if parts else {"expected": "0", "used": "0", "booked": "0"}


async def approve(line: Plant, id: int, version: int, meaning: str = "approve") -> None:
    await line.agent.desk.decide(id, version, Signature(PERSON.by, meaning, PERSON.reason))


async def test_what_two_reports_say_of_one_lot_is_taken_back_once(line: Plant):
    """A scale reports a lot twice under two ids: the second document is taken back, once a person has signed that."""
    before = line.last_event()
    first = await line.post(quantity=9.613, batch="B1")
    second = await line.post(quantity=9.613, batch="B1")
    await line.post(material="RM-PIGMENT", quantity=0.45)
    line.publish(line.confirmation(), "confirmation")
    (event,) = await found(line, before)
    ((id, kind, state, version, payload, _),) = postings(line, event)
    assert (kind, state, payload["document"]) == ("reversal", "held", second.document)
    (alarm,) = [one for one in line.audited("decided") if one.get("workflow") == "reconciliation"]
    assert "reported twice" in str(alarm["reasons"])
    assert await found(line, event) == []  # it is told once
    await approve(line, id, version)
    await until(lambda: postings(line, event)[0][2] == "acknowledged", "the second is taken back")
    taken_back = [one.reverses for one in line.sap.erp.books.documents if one.reverses]
    assert taken_back == [second.document]
    assert first.document not in taken_back
    assert await found(line, event) == []  # what was signed is no discrepancy itself
    resin = account_of(line, "RM-RESIN")
    assert (resin["used"], resin["booked"]) == ("9.613", "9.613")
    assert float(resin["expected"]) == pytest.approx(9.6, rel=0.01)  # of the one lot that was made


async def test_a_finding_is_followed_from_its_evidence_to_the_books(line: Plant):
    """What was just taken back: by the first letters of its id, with the reports, the decision, the document."""
    config, facts = line.folder / "agent.yaml", line.agent.rules.facts
    (one,) = line.agent.desk.look(lambda reader: found_.listed(reader, facts))
    assert (one["cause"], one["state"], one["open"]) == ("double report", "put right", False)
    assert line.agent.desk.look(lambda reader: found_.listed(reader, facts, only_open=True)) == []
    assert Decimal(one["value"]) == round(Decimal("9.613") * facts.materials["RM-RESIN"].price, 2)
    for asked in (f"finding:{one['id'][:8]}", one["id"][:8]):
        told = (await asyncio.to_thread(gatepost_, config, "trace", asked)).out
        assert f"finding {one['id'][:8]}: double report of RM-RESIN at 171A, order 1000100: put right" in told
        for name in one["about"]:
            assert f"report {name}, event " in told
        assert "shown by: the lot was made once" in told
        assert f"approved by {PERSON.by} on " in told
        assert f"document {one['postings'][0]['document']}" in told
        assert "9.613 KG of RM-RESIN booked, 9.613 used" in told
    listed = await asyncio.to_thread(gatepost_, config, "findings", "--all")
    assert f"{one['id'][:8]}  " in listed.out
    assert "reported twice" in listed.out
    assert "nothing that was found is open" in (await asyncio.to_thread(gatepost_, config, "findings")).out


async def test_what_was_made_up_for_is_no_second_finding(line: Plant):
    """A lot that the pigment scale said nothing of is issued by a person's signature: expected, used and booked."""
    before, pigment = line.last_event(), account_of(line, "RM-PIGMENT")
    await line.post(quantity=9.611, batch="B1")
    line.publish(line.confirmation(), "confirmation")
    (event,) = await found(line, before)
    ((id, kind, state, version, payload, _),) = postings(line, event)
    assert (kind, state, payload["material"]) == ("goods_issue", "held", "RM-PIGMENT")
    await approve(line, id, version)
    await until(lambda: postings(line, event)[0][2] == "acknowledged", "it is issued")
    assert await found(line, event) == []
    after, issued = account_of(line, "RM-PIGMENT"), Decimal(payload["floor_quantity"])
    assert [Decimal(after[of]) - Decimal(pigment[of]) for of in ("used", "booked")] == [issued, issued]
    assert float(after["expected"]) == pytest.approx(2 * float(pigment["expected"]))


async def test_what_a_person_decided_about_a_report_is_no_finding_and_in_the_account(line: Plant):
    """Of two reports that wait one is refused and one corrected, and a third's document is taken back by hand."""
    before, resin = line.last_event(), account_of(line, "RM-RESIN")
    wrong, too_much = (line.report(quantity=quantity, batch="B1") for quantity in (403.1, 301.2))
    for body in (wrong, too_much):
        line.publish(body)
    held = [await line.settled(body["id"], "held") for body in (wrong, too_much)]
    line.publish(line.confirmation(), "confirmation")
    await line.post(material="RM-PIGMENT", quantity=0.45)
    assert await found(line, before) == []  # what waits for a person is not missing
    await approve(line, held[0].id, 1, "refuse")
    unread = line.agent.desk.look(lambda reader: movements.is_open(reader, wrong["id"], ["consumption"]))
    assert unread  # a look that has not read the refusal yet does not take it for booked
    await correct(line, held[1].id, "9.612")
    await line.settled(too_much["id"], "superseded")
    taken_back = await line.post(quantity=9.5, batch="B1")
    assert taken_back.document is not None
    await line.agent.desk.reverse(taken_back.document, PERSON)
    assert await found(line, before) == []
    after = account_of(line, "RM-RESIN")
    assert [Decimal(after[of]) - Decimal(resin[of]) for of in ("used", "booked")] == [Decimal("9.612")] * 2
    assert float(after["expected"]) - float(resin["expected"]) == pytest.approx(9.6, rel=0.01)


async def correct(line: Plant, id: int, quantity: str) -> None:
    """A person puts another quantity in the place of a held one."""
    payload = json.loads(line.rows("SELECT payload FROM posting WHERE id = ?", id)[0][0]) | {"quantity": quantity}
    signature = Signature(PERSON.by, "approve", PERSON.reason)
    await line.agent.desk.act(lambda tx: corrections.correct(tx, id, 1, payload, Decimal(1), signature))


async def double(line: Plant, quantity: float) -> tuple[int, str]:
    """A lot that two reports tell of: the event of the finding, and the document that it proposes to take back."""
    before = line.last_event()
    for _ in range(2):
        await line.post(quantity=quantity, batch="B1")
    await line.post(material="RM-PIGMENT", quantity=0.45)
    line.publish(line.confirmation(), "confirmation")
    (event,) = await found(line, before)
    ((*_, payload, _),) = postings(line, event)
    return event, payload["document"]


def withdrawn(line: Plant, event: int) -> str:
    """Why nobody shall sign any more what this finding proposed; and it counts as open no longer."""
    ((_, _, state, *_),) = postings(line, event)
    facts = line.agent.rules.facts
    (one,) = [one for one in line.agent.desk.look(lambda reader: found_.listed(reader, facts)) if one["event"] == event]
    assert (state, one["state"], one["open"], one["decided"]["did"]) == ("refused", "withdrawn", False, "withdrawn")
    return str(one["decided"]["reason"])


async def test_what_a_person_takes_back_otherwise_is_not_to_be_signed_any_more(line: Plant):
    """Here, or in SAP, after it was found: the proposal is withdrawn, and until then its signature is refused."""
    event, document = await double(line, 9.615)
    ((id, _, _, version, *_),) = postings(line, event)
    reversal = await line.agent.desk.reverse(document, PERSON)
    with pytest.raises(Conflict, match=f"posting {reversal['id']} takes back {document} already: refuse posting {id}"):
        await approve(line, id, version)
    await until(line.quiet, "it is taken back")
    await line.agent.reconciling.look()
    assert "was taken back by a person" in withdrawn(line, event)
    assert await found(line, event) == []
    event, document = await double(line, 9.622)
    year, number = document.split("/")
    async with connected(line.sap) as sap:
        address = {"MaterialDocumentYear": f"'{year}'", "MaterialDocument": f"'{number}'"}
        assert (await sap.post(MATERIAL_DOCUMENTS, "Cancel", params=address)).status_code == 200
    await until(lambda: known(line), "the agent knows that it was taken back")
    await line.agent.reconciling.look()
    line.clock.start += timedelta(minutes=1)
    await line.agent.reconciling.look()
    assert "9.622 KG of RM-RESIN were taken back in the ERP by others" in withdrawn(line, event)
    assert await found(line, event) == []
    resin = account_of(line, "RM-RESIN")
    assert resin["used"] == resin["booked"]


async def test_what_went_back_in_sap_just_now_is_not_taken_back_on_top(line: Plant):
    """Somebody books 262 there, and a person signs before the agent has seen that: SAP is asked, nothing is sent."""
    event, document = await double(line, 9.651)
    ((id, _, _, version, *_),) = postings(line, event)
    async with connected(line.sap) as sap:
        back = goods_issue("BY-HAND", quantity="9.651", GoodsMovementType="262")
        assert (await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", back)).status_code == 201
    before = len(line.sap.erp.books.documents)
    await approve(line, id, version)
    await until(lambda: postings(line, event)[0][2] == "dead", "it is given to a person")
    ((error,),) = line.rows("SELECT error FROM posting WHERE id = ?", id)
    assert error.startswith(f"TAKEN_BACK: {document} does not stand any more")
    assert len(line.sap.erp.books.documents) == before
    await line.agent.desk.give_up(id, PERSON)
    await until(lambda: known(line), "the agent knows what SAP has booked")
    line.clock.start += timedelta(minutes=1)
    assert await found(line, event) == []
    resin = account_of(line, "RM-RESIN")
    assert resin["used"] == resin["booked"]


async def missing(line: Plant, resin: float) -> tuple[int, Decimal]:
    """A lot of which the pigment scale said nothing: the event of the finding, and how much of it is missing."""
    before = line.last_event()
    await line.post(quantity=resin, batch="B1")
    line.publish(line.confirmation(), "confirmation")
    (event,) = await found(line, before)
    facts = line.agent.rules.facts
    (one,) = [one for one in line.agent.desk.look(lambda reader: found_.listed(reader, facts)) if one["event"] == event]
    return event, -Decimal(one["excess"])


async def booked_in_sap(line: Plant, quantity: Decimal) -> None:
    """Somebody books the pigment there, and the agent has seen it for so long that it believes it."""
    async with connected(line.sap) as sap:
        body = goods_issue(f"HAND-{quantity}", quantity=f"{quantity:f}", Material="RM-PIGMENT", ReservationItem="0002")
        answer = await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", body)
        assert answer.status_code == 201, answer.text
    await until(lambda: known(line, "2", "RM-PIGMENT"), "the agent knows what SAP has booked")
    await line.agent.reconciling.look()
    line.clock.start += timedelta(minutes=1)
    await line.agent.reconciling.look()


async def test_what_others_book_of_what_was_missing_is_not_issued_a_second_time(line: Plant):
    """SAP shows it booked: the issue that waited is withdrawn, cannot be signed, and nothing is found of it again."""
    event, quantity = await missing(line, 9.634)
    ((id, kind, state, version, *_),) = postings(line, event)
    assert (kind, state) == ("goods_issue", "held")
    await booked_in_sap(line, quantity)
    assert f"{quantity.normalize():f} KG of RM-PIGMENT were booked in the ERP by others" in withdrawn(line, event)
    with pytest.raises(Conflict, match=r"it is refused now: .* booked in the ERP by others"):
        await approve(line, id, version)
    assert await found(line, event) == []
    pigment = account_of(line, "RM-PIGMENT")
    assert pigment["used"] == pigment["booked"]
    traced = await asyncio.to_thread(gatepost_, line.folder / "agent.yaml", "trace", f"event:{event}")
    assert "withdrawn by agent on " in traced.out


def advising(content: dict[str, Any]) -> None:
    soon(content)
    content["authority"]["reconciliation"] = {"mode": "advise"}


async def test_what_was_only_advised_is_open_until_others_did_it(line: Plant):
    """Under `advise` nobody can sign it: it leaves the list of what is open when SAP shows it booked."""
    facts = line.agent.rules.facts
    await line.reload(advising)
    event, quantity = await missing(line, 9.641)
    assert postings(line, event) == []
    await booked_in_sap(line, quantity)
    assert line.agent.desk.look(lambda reader: found_.listed(reader, facts, only_open=True)) == []
    one = next(
        one for one in line.agent.desk.look(lambda reader: found_.listed(reader, facts)) if one["event"] == event
    )
    assert (one["state"], one["decided"]["did"]) == ("put right", "put_right")
    assert "booked in the ERP by others" in one["decided"]["reason"]
    await line.reload(soon)


async def test_a_taken_back_document_is_not_taken_back_twice(line: Plant):
    """What a correction took back, a person cannot take back once more."""
    event, document = await double(line, 9.628)
    ((id, _, _, version, *_),) = postings(line, event)
    await approve(line, id, version)
    with pytest.raises(Conflict, match=f"already being taken back by posting {id}"):
        await line.agent.desk.reverse(document, PERSON)


async def test_a_restart_tells_no_finding_twice(line: Plant):
    """What was found and how far it has read commit together: another life goes on from there."""
    before = line.last_event()
    kept = line.agent.desk.look(reconciling.kept)
    await line.restart()
    await line.agent.reconciling.look()
    after = line.agent.desk.look(reconciling.kept)
    assert kept is not None
    assert after is not None
    assert after.seq >= kept.seq
    assert findings(line, before) == []


def broken() -> Any:
    raise RuntimeError("a mistake")


async def test_what_it_kept_and_cannot_read_costs_nothing_else(line: Plant, caplog: pytest.LogCaptureFixture):
    """A state of another release, or a mistake of its own, never ends the agent: it begins anew, or tries again."""
    put = "INSERT OR REPLACE INTO checkpoint (key, value) VALUES (?, ?)"
    await line.agent.writer.run(lambda tx: tx.execute(put, (reconciling.KEY, b"{}")))
    await line.agent.reconciling.look()
    assert line.agent.desk.look(reconciling.kept) is not None
    assert "begins anew" in caplog.text
    rules, line.agent.reconciling._rules = line.agent.reconciling._rules, broken
    line.agent.reconciling._due = 0.0
    await line.agent.reconciling.tick()
    line.agent.reconciling._rules = rules
    assert "it tries again" in caplog.text
    assert line.alive()


async def test_what_is_worth_counting_and_why_an_order_took_more_is_told(line: Plant):
    """`gatepost counts` ranks the places by money, `gatepost variance` has the order with its sentence."""
    config = line.folder / "agent.yaml"
    await line.post(quantity=9.7)
    await line.agent.reconciling.look()
    await until(lambda: line.agent.rules.facts.stocks, "the stock is known")
    counts = await asyncio.to_thread(gatepost_, config, "counts", "--json")
    listed = json.loads(counts.out)
    assert any(one["material"] == "RM-RESIN" and one["moved"] > 0 for one in listed)
    assert [one["value"] for one in listed] == sorted((one["value"] for one in listed), reverse=True)
    variance = await asyncio.to_thread(gatepost_, config, "variance", "1000100")
    assert "Order 1000100 took material for" in variance.out
    assert "more of RM-RESIN" in variance.out


async def test_a_count_goes_into_the_books_with_one_signature(line: Plant):
    """Document, count and difference are one group: a person signs it, and SAP's stock is what was counted."""
    await until(lambda: line.agent.rules.facts.stock("RM-RESIN", "171A") is not None, "the stock is known")
    stock = line.agent.rules.facts.stock("RM-RESIN", "171A")
    assert stock is not None
    counted = stock.quantity - Decimal("12.5")
    at = line.clock().isoformat()
    body = {"id": "C1", "ts": at, "counted_by": "E", "material": "RM-RESIN", "unit": "kg", "location": "171A"}
    line.publish({**body, "quantity": float(counted)}, topic="plant/1710/stores/171A/count")
    await until(lambda: (one := line.event("C1", "stock_count")) and one.state == "held", "it is held")
    event = line.event("C1", "stock_count")
    assert event is not None
    group = postings(line, event.id)
    assert [one[1] for one in group] == ["count_document", "count_entry", "count_difference"]
    await approve(line, group[0][0], group[0][3])
    await until(lambda: {one[2] for one in postings(line, event.id)} == {"acknowledged"}, "all three are booked")
    assert line.sap.erp.ledger.stock["RM-RESIN", "171A"] == counted


async def counted_event(line: Plant, report: str) -> int:
    """The event of a count, once it waits for a person."""
    await until(lambda: (one := line.event(report, "stock_count")) and one.state == "held", "it is held")
    event = line.event(report, "stock_count")
    assert event is not None
    return event.id


async def test_a_recount_takes_the_place_of_a_count_that_waits(line: Plant):
    """Who counts again, and finds nothing there, has one group to sign: the first count can be signed no more."""
    stock, events = line.sap.erp.ledger.stock, []
    for quantity in (Decimal(7), Decimal(0)):
        counted = counts.Counted("PT-SEAL-20", "171A", quantity, "C62")
        report = (await counts.enter(line.agent.desk, counted, PERSON))["report"]
        events.append(await counted_event(line, report))
    assert {one[2] for one in postings(line, events[0])} == {"refused"}
    (first, *_), before = postings(line, events[0]), stock["PT-SEAL-20", "171A"]
    with pytest.raises(Conflict):
        await approve(line, first[0], first[3])
    assert stock["PT-SEAL-20", "171A"] == before
    (second, *_) = postings(line, events[1])
    await approve(line, second[0], second[3])
    await until(lambda: {one[2] for one in postings(line, events[1])} == {"acknowledged"}, "all three are booked")
    assert stock["PT-SEAL-20", "171A"] == 0


async def test_two_locations_that_were_mixed_up_are_right_in_the_books_after_one_signature(line: Plant):
    """A finding of that kind becomes a transfer that a person signs: so much less there, so much more here, once."""
    stock = line.sap.erp.ledger.stock
    line.sap.erp.ledger.storage_locations.add("171B")
    before = stock["RM-RESIN", "171A"], stock.get(("RM-RESIN", "171B"), Decimal(0))
    here, there, at = Place("RM-RESIN", "171B"), Place("RM-RESIN", "171A"), line.clock().timestamp()
    change = Change(at, 3600.0, 7.0, 0.2, False, at)
    report = line.agent.reconciling._report(
        stock_.instead(here, change, there, "KG", sure=True), {"RM-RESIN": Material("KG", Decimal("0.001"), code="KGM")}
    )
    batch = Batch(SOURCE, (event_of(report),), line.clock(), lambda: None)
    await line.agent.desk.act(lambda tx: inbox.store(tx, batch))
    await until(lambda: (one := line.event(str(report.id), "reconciliation")) and one.state == "held", "it is held")
    event = line.event(str(report.id), "reconciliation")
    assert event is not None
    ((id, kind, _, version, payload, _),) = postings(line, event.id)
    assert (kind, payload["movement"], payload["quantity"]) == ("stock_transfer", "311", "7.000")
    await approve(line, id, version)
    await until(lambda: {one[2] for one in postings(line, event.id)} == {"acknowledged"}, "it is booked")
    assert (stock["RM-RESIN", "171A"], stock["RM-RESIN", "171B"]) == (before[0] - 7, before[1] + 7)
