"""Every odd answer of SAP through the whole agent: the books hold each posting once, and nobody else waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.errors import Conflict
from simulators.erp.server import Running, running
from tests.plant import PASSWORD, PERSON, USER, Plant, Row, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><error><code>&c;</code><message>&c;</message></error>'
XXE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><error><code>X</code><message>&b;</message></error>'
HALF_A_PAIR = r'{"error":{"code":"RU/505","message":{"lang":"en","value":"lot \ud800 is \u0000 locked"}}}'


@dataclass(frozen=True, slots=True)
class Case:
    """One fault that strikes one posting, and how that ends; `words` are in what a person reads about it."""

    name: str
    rule: Mapping[str, Any]
    state: str = "acknowledged"
    words: str = ""


CASES = [
    Case("101 a login page", {"fault": "html"}),
    Case("102 an error with status 200", {"fault": "error_in_200"}),
    Case("102 an error in sap-message", {"fault": "message_error"}, words="Confirmation could not be saved"),
    Case("102 half a surrogate pair in sap-message", {"fault": "message_error", "value": "\ud800 odd"}, words="odd"),
    Case("103 no document number", {"fault": "no_document"}),
    Case("103 empty body", {"fault": "empty_body"}),
    Case("103 truncated", {"fault": "truncated"}),
    Case("103 50 MB", {"fault": "huge"}),
    Case("103 no items", {"fault": "empty_items"}),
    Case("106 to another host", {"fault": "redirect", "value": "http://127.0.0.1:9/sap/evil"}),
    Case("107 another content type", {"fault": "wrong_type"}),
    Case("107 entity bomb", {"fault": "xml_error", "value": BOMB}),
    Case("107 foreign entity", {"fault": "xml_error", "value": XXE}),
    Case("107 an error in XML", {"fault": "xml_error"}, "dead", "M7/021: Deficit of SL Unrestricted-use 1.000 KG"),
    Case("an error nobody can store", {"fault": "xml_error", "value": HALF_A_PAIR}, "dead", "RU/505: lot"),
    Case("109 503 without Retry-After", {"fault": "unavailable"}),
    Case("114 silence", {"fault": "hang", "seconds": 30}),
    Case("114 a byte now and then", {"fault": "trickle", "seconds": 0.2}),
    Case("slow", {"fault": "slow", "seconds": 0.5}),
    Case("52 the answer is lost", {"fault": "answer_lost"}),
    Case("52 an error after the commit", {"fault": "error_after_commit"}),
    Case("52 a proxy's error after the commit", {"fault": "bad_gateway"}),
    Case("53 booked after the connection broke", {"fault": "late_commit", "seconds": 0.1}),
    Case("53 booked after we gave up", {"fault": "commit_after_timeout", "seconds": 0.1}),
    Case("the connection breaks", {"fault": "reset"}),
    Case("56 the token has expired", {"fault": "expired_token"}),
    Case("423 the order is locked", {"fault": "locked"}),
]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a case ended: the posting, the one behind it on the same order, and its documents in SAP's books."""

    posting: Row
    behind: Row
    documents: list[str]
    bystander_waited: bool
    alarms: list[dict[str, Any]]


def of_report(sap: Running, report: str) -> list[str]:
    """The documents that carry the id of a report as their text."""
    found = []
    for one in sap.erp.books.documents:
        texts = [one.header.get("ConfirmationText"), *(item.get("MaterialDocumentItemText") for item in one.items)]
        if report in texts and not one.reverses:
            found.append(one.number)
    return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Ended]]:
    """All cases in one running agent, each with an order of its own; between them reports that nothing ails."""
    async with plant(tmp_path_factory.mktemp("cases")) as line:
        orders = {case.name: str(1000110 + number) for number, case in enumerate(CASES)}
        line.faults(*({"count": 1, "method": "POST", "order": orders[one.name]} | dict(one.rule) for one in CASES))
        struck, behind, waited = {}, {}, {}
        for case in CASES:
            struck[case.name], behind[case.name] = (line.report(orders[case.name]) for _ in range(2))
            line.publish(struck[case.name])
            line.publish(behind[case.name])
            bystander = line.report("1000100")
            line.publish(bystander)
            await until(lambda case=case: line.posting_of(struck[case.name]), "it is decided")  # type: ignore[misc]
            sent = asyncio.get_running_loop().time()
            await line.settled(bystander["id"], "acknowledged")
            waited[case.name] = asyncio.get_running_loop().time() - sent > 10
        await until(lambda: not in_the_air(line), "nothing is sent or looked up any more")
        result = {}
        for case in CASES:
            one, two = line.posting_of(struck[case.name]), line.posting_of(behind[case.name])
            assert one is not None
            assert two is not None
            alarms = [row for row in line.audited(one.state, posting=one.id) if row["alarm"]]
            documents = of_report(line.sap, struck[case.name]["id"])
            result[case.name] = Ended(one, two, documents, waited[case.name], alarms)
        assert line.sound()
        assert line.sap.erp.books.duplicates() == {}
        yield result


def in_the_air(line: Plant) -> list[Any]:
    """Postings that go on by themselves; what stands behind a dead one does not."""
    return line.rows("SELECT 1 FROM lane WHERE state <> 'blocked' LIMIT 1")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_an_odd_answer_ends_in_one_document_or_with_a_person(ended: dict[str, Ended], case: Case):
    """The books hold the posting once, or a person reads SAP's own words; the order goes on, others never waited."""
    end = ended[case.name]
    assert end.posting.state == case.state, end.posting.reason
    assert not end.bystander_waited
    if case.state == "dead":
        assert end.documents == []
        assert case.words in end.posting.reason
        assert end.posting.reason.isprintable()
        assert end.behind.state == "ready", "what stands behind a dead letter of its order waits for a person"
    else:
        assert end.documents == [end.posting.document]
        assert end.behind.state == "acknowledged"
        assert [case.words in str(row["warnings"]) for row in end.alarms] == ([True] if case.words else [])


# ── what concerns the whole target, or needs a person ───────────────────────────────────────────────────────


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    """One running agent for the cases below; each takes an order that nobody else takes."""
    async with plant(tmp_path_factory.mktemp("line")) as made:
        yield made


def waiting(line: Plant) -> str:
    return line.agent.dispatches["s4"].availability.trouble


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "unavailable", "value": "1"},
        {"fault": "unavailable", "value": "-1"},
        {"fault": "too_many", "value": "1"},
        {"fault": "too_many"},
        {"fault": "unauthorized", "count": 2},
        {"fault": "forbidden"},
    ],
    ids=str,
)
async def test_a_target_that_says_no_rests_and_comes_back_by_itself(line: Plant, rule: Mapping[str, Any]):
    """54, 56: nothing was processed, so no attempt counts; after the pause everything is booked in its order, once."""
    line.faults({"method": "POST", "count": 1, **rule})
    reports = [line.report("1000101") for _ in range(3)]
    for report in reports:
        line.publish(report)
    for report in reports:
        await line.settled(report["id"], "acknowledged")
    order = [one.items[0]["MaterialDocumentItemText"] for one in line.sap.erp.books.documents[-3:]]
    assert order == [report["id"] for report in reports]
    first = line.posting_of(reports[0])
    assert first is not None
    assert line.audited("unsent", posting=first.id)
    assert line.rows("SELECT attempts FROM posting WHERE id = ?", first.id) == [(1,)]


@pytest.mark.parametrize(("value", "least", "most"), [("86400", 3000, 3600), ("x", 10, 30), ("Fri, 99 Foo", 10, 30)])
async def test_a_retry_after_that_makes_no_sense_is_clamped(line: Plant, value: str, least: float, most: float):
    """54, 109: a day is an hour at most, what is no time is half a minute; a restart of the agent tries at once."""
    line.faults({"fault": "unavailable", "value": value, "method": "POST", "count": 1})
    report = line.report("1000102")
    line.publish(report)
    await until(lambda: waiting(line), "the target rests")
    rests = line.agent.dispatches["s4"].availability.rests_until - asyncio.get_running_loop().time()
    assert least < rests <= most
    await line.restart()
    await line.settled(report["id"], "acknowledged")


async def test_a_sap_that_refuses_the_password_is_not_asked_again_and_again(line: Plant):
    """56: 401 mid-run: one attempt asks twice at most, and the target rests longer and longer; then all is booked."""
    asked: list[str] = []
    line.faults({"fault": "unauthorized"})
    pick = line.sap.erp.faults.pick

    def counted(method: str, path: str, *order: Any) -> Any:
        if "PRODUCTION_ORDER" not in path:
            asked.append(f"{method} {path}")
        return pick(method, path, *order)

    line.sap.erp.faults.pick = counted  # type: ignore[assignment,method-assign]
    reports = [line.report(str(1000103 + number)) for number in range(5)]
    for report in reports:
        line.publish(report)
    await until(lambda: waiting(line), "the target rests")
    await asyncio.sleep(1.5)  # the time that is looked at, not a wait
    del line.sap.erp.faults.pick
    assert len(asked) <= 10 + 2 * len(reports), asked
    assert "not authorised (401)" in waiting(line)
    line.faults()
    for report in reports:
        await line.settled(report["id"], "acknowledged")


async def test_a_poison_posting_blocks_only_its_order(line: Plant):
    """55: SAP refuses one posting for good: a dead letter after one try; others flow, its order waits for a person."""
    line.faults({"fault": "xml_error", "method": "POST", "order": "1000108"})
    poison, behind = line.report("1000108"), line.report("1000108")
    line.publish(poison)
    line.publish(behind)
    others = [line.report(str(1000100 + number)) for number in range(8)]
    for other in others:
        line.publish(other)
    for other in others:
        await line.settled(other["id"], "acknowledged")
    dead = await line.settled(poison["id"], "dead")
    assert len(line.audited("sending", posting=dead.id)) == 1
    line.faults()
    await line.agent.desk.give_up(dead.id, PERSON)
    await line.settled(behind["id"], "acknowledged")
    assert of_report(line.sap, poison["id"]) == []


async def test_an_order_that_sap_cannot_answer_about_is_given_to_a_person(line: Plant):
    """55: a posting at which SAP fails every time without booking is not sent for ever: it becomes doubtful."""
    line.faults({"fault": "error_in_200", "method": "POST", "order": "1000109"})
    report = line.report("1000109")
    line.publish(report)
    doubtful = await line.settled(report["id"], "doubtful")
    assert "no document" in doubtful.reason
    tries = line.audited("in_doubt", posting=doubtful.id)
    assert 1 < len(tries) < 10
    assert all("Confirmation could not be saved" in told["why"] for told in tries)
    line.faults()
    await line.agent.desk.not_booked(doubtful.id, PERSON)
    await line.settled(report["id"], "acknowledged")


async def test_an_answer_that_never_comes_does_not_keep_a_due_order_waiting(line: Plant):
    """An order whose lock is over is sent although another order's call still hangs."""
    line.faults(
        {"fault": "hang", "seconds": 30, "method": "POST", "order": "1000111", "count": 1},
        {"fault": "unavailable", "seconds": 1, "method": "POST", "order": "1000112", "count": 1},
    )
    hangs, due = line.report("1000111"), line.report("1000112")
    line.publish(due)
    await line.settled(due["id"], "in_doubt")
    line.publish(hangs)
    await line.settled(hangs["id"], "sending")
    await line.settled(due["id"], "acknowledged")
    other = line.posting_of(hangs)
    assert other is not None
    assert other.state == "sending"
    line.faults()
    await line.settled(hangs["id"], "acknowledged")


async def test_a_shortage_is_replayed_after_the_stock_is_there(line: Plant):
    """M7/021: dead in SAP's words with the transaction id; replayed by a named person when the stock is posted."""
    place = ("RM-RESIN", "171A")
    stock = line.sap.erp.ledger.stock[place]
    line.sap.erp.ledger.stock[place] = Decimal("0.000")
    report = line.report("1000113")
    line.publish(report)
    dead = await line.settled(report["id"], "dead")
    assert dead.reason.startswith("M7/021: Deficit of SL Unrestricted-use 9.600 KG")
    assert line.audited("dead", posting=dead.id)[0]["transactionid"]
    await line.agent.desk.replay(dead.id, PERSON)
    await until(lambda: len(line.audited("dead", posting=dead.id)) == 2, "it is dead again: there is still no stock")
    line.sap.erp.ledger.stock[place] = stock
    await line.agent.desk.replay(dead.id, PERSON)
    booked = await line.settled(report["id"], "acknowledged")
    assert of_report(line.sap, report["id"]) == [booked.document]
    who = line.rows("SELECT actor FROM audit WHERE posting_id = ? AND action = 'replayed'", dead.id)
    assert who == [(PERSON.by,), (PERSON.by,)]
    with pytest.raises(Conflict):
        await line.agent.desk.replay(dead.id, PERSON)


async def test_two_documents_with_one_key_wait_for_a_person(line: Plant):
    """104: the same key twice in SAP: doubtful with both numbers; a person names the one that stands."""
    line.faults({"fault": "answer_lost", "method": "POST", "order": "1000114", "count": 1})
    report = line.report("1000114")
    line.publish(report)
    await line.settled(report["id"], "in_doubt", "acknowledged")
    books = line.sap.erp.books
    first = books.documents[-1]
    header = dict(first.header) | {"MaterialDocument": "4999999999"}
    books.headers.add(header)  # somebody booked it a second time, by hand, with the same reference
    doubtful = await line.settled(report["id"], "doubtful")
    assert "two documents carry" in doubtful.reason
    assert first.number in doubtful.reason
    assert "4999999999" in doubtful.reason
    await line.agent.desk.name_document(doubtful.id, first.number, PERSON)
    assert (await line.settled(report["id"], "acknowledged")).document == first.number


async def test_garbage_from_the_order_service_ends_nothing(line: Plant):
    """108: orders that no file can keep, login pages and 50 MB instead of orders are shown; the agent goes on."""

    def orders_from_sap() -> Mapping[str, Any]:
        assert line.alive()
        return line.status()["orders"]

    before = line.last_event()
    line.new_order("2000009", unit="")
    line.new_order("2000010", product="lot \ud800")
    line.new_order("2000011")
    await until(lambda: "2000011" in line.agent.rules.facts.orders, "the order behind them is known")
    refused = [one.reason for one in line.since(before, "orders") if one.state == "quarantined"]
    assert len(refused) == 2, refused
    for number in ("2000009", "2000010"):
        del line.sap.erp.ledger.orders[number]
    for fault in ("html", "huge", "truncated"):
        line.faults({"fault": fault, "method": "GET", "path": "PRODUCTION_ORDER"})
        await until(lambda: orders_from_sap()["error"], f"{fault}: the source says so")
        await line.post("1000115")
        line.faults()
        await until(lambda: not orders_from_sap()["error"], f"{fault}: orders are read again")
    line.new_order("2000012")
    await until(lambda: "2000012" in line.agent.rules.facts.orders, "the new order is known")
    await line.post("2000012")


async def test_a_lost_oauth_or_session_is_no_attempt(line: Plant):
    """56: all sessions thrown away mid-run: one new token, every posting booked once."""
    await line.post("1000115")  # now there is a token that can be lost
    line.sap.erp.sessions.sessions.clear()
    fetches = line.sap.erp.sessions.fetches
    reports = [line.report(str(1000116 + number)) for number in range(6)]
    for report in reports:
        line.publish(report)
    for report in reports:
        booked = await line.settled(report["id"], "acknowledged")
        assert of_report(line.sap, report["id"]) == [booked.document]
    assert line.sap.erp.sessions.fetches - fetches <= 2


async def test_everything_is_accounted_for(line: Plant):
    """After all of this both balances are even, the chain is whole, and nothing was booked that nobody asked for."""
    await until(lambda: not in_the_air(line), "all is quiet")
    assert line.sound()
    acknowledged = {document for (document,) in line.rows("SELECT document FROM posting WHERE state = 'acknowledged'")}
    assert acknowledged == set(line.booked())


# ── plants of their own ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "state", "day"),
    [("current", "acknowledged", date(2026, 12, 10)), ("event", "dead", None), ("hold", "held", None)],
)
async def test_a_closed_period_is_treated_as_configured(tmp_path: Path, policy: str, state: str, day: date | None):
    """A report of November on December 10th: posted today, refused by SAP in its words, or shown to a person."""

    def change(content: dict[str, Any]) -> None:
        content["posting_date"] = {"policy": policy, "closes_on_day": 3}

    async with plant(tmp_path, change=change, start=datetime(2026, 12, 10, 12, tzinfo=UTC)) as line:
        line.sap.erp.settings.open_from = date(2026, 12, 1)
        late = line.report(ts=(line.clock() - timedelta(days=20)).isoformat())
        line.publish(late)
        ended = await line.settled(late["id"], state)
        if state == "dead":
            assert "M7/053" in ended.reason
        if state == "held":
            assert "decide on the posting date" in ended.reason
        if day:
            (document,) = line.sap.erp.books.documents
            assert document.number.startswith(f"{day.year}/")
            assert line.rows("SELECT payload ->> 'posting_date' FROM posting") == [(day.isoformat(),)]
        await line.post("1000101")


async def test_movements_that_failed_behind_a_confirmation_alarm(tmp_path: Path):
    """A backflush that SAP answered with yes but whose movements went to COGI is booked, with an alarm for people."""

    def change(content: dict[str, Any]) -> None:
        content["workflows"]["confirmation"]["options"] = {"backflush": True}
        content["targets"][0]["postings"]["goods_issue"] = "off"

    async with plant(tmp_path, change=change) as line:
        for part in line.sap.erp.ledger.orders["1000100"].components.values():
            part.backflush = True
        good, bad = line.confirmation(), line.confirmation() | {"yield": 11}
        line.publish(good, "confirmation")
        booked = await line.settled(good["id"], "acknowledged", kind="confirmation")
        assert [row["alarm"] for row in line.audited("acknowledged", posting=booked.id)] == [False]
        line.faults({"fault": "cogi", "count": 1})
        line.publish(bad, "confirmation")
        suspect = await line.settled(bad["id"], "acknowledged", kind="confirmation")
        (told,) = line.audited("acknowledged", posting=suspect.id)
        assert told["alarm"]
        assert "COGI" in told["warnings"][0]


async def test_another_certificate_is_not_trusted(tmp_path: Path):
    """111: when the address suddenly shows another authority's certificate, nothing is sent and the posting waits."""
    async with AsyncExitStack() as first:
        secure = await first.enter_async_context(running(https=0, user=USER, password=PASSWORD))
        assert secure.certificates is not None
        (tmp_path / "ca.pem").write_bytes(secure.certificates.ca.read_bytes())

        def change(content: dict[str, Any]) -> None:
            content["targets"][0] |= {"url": secure.https_url, "ca_file": str(tmp_path / "ca.pem")}

        async with plant(tmp_path, change=change, running_agent=False) as line:
            await line.start(knows_orders=False)
            await until(lambda: line.orders() == len(secure.erp.ledger.orders), "the orders are known")
            before, after = line.report("1000100"), line.report("1000101")
            line.publish(before)
            await line.settled(before["id"], "acknowledged")
            await first.aclose()
            port = int(secure.https_url.rpartition(":")[2])
            async with running(https=port, user=USER, password=PASSWORD) as impostor:
                line.publish(after)
                await until(lambda: "certificate" in waiting(line).lower(), "the target says why it rests")
                waits = await line.settled(after["id"], "ready")
                assert line.rows("SELECT attempts FROM posting WHERE id = ?", waits.id) == [(0,)]
                assert impostor.erp.books.documents == []
                assert impostor.erp.sessions.fetches == 0
