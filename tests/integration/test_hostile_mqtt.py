"""Hostile and unlucky MQTT messages against one running agent: each is shown, and the good one after it is posted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.ports import Delivery
from agent.sources.http import HttpSource
from agent.store import lists
from tests.plant import TOPIC, Plant, Row, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    """One running agent for all cases; its broker takes messages of any size."""
    async with plant(tmp_path_factory.mktemp("line"), broker_settings={"message_size_limit": "0"}) as made:
        yield made


Make = Callable[[Plant], bytes]


def said(**changes: Any) -> Make:
    """A report with other values; None leaves a field out."""
    return lambda line: json.dumps(line.report(**changes)).encode()


def literal(name: str, text: str) -> Make:
    """A report with one value written as it stands."""
    return lambda line: json.dumps(line.report(**{name: "HERE"})).encode().replace(b'"HERE"', text.encode())


def edited(edit: Callable[[bytes], bytes]) -> Make:
    """The bytes of a report, changed."""
    return lambda line: edit(json.dumps(line.report()).encode())


def at(**ago: float) -> Make:
    """A report about another time."""
    return lambda line: json.dumps(line.report(ts=(line.clock() - timedelta(**ago)).isoformat())).encode()


QUARANTINED: list[tuple[str, Make, str]] = [
    ("1 empty", lambda line: b"", "the message is empty"),
    ("2 300 KiB", said(device="x" * 300 * 1024), "larger than the source allows"),
    ("2 5 MiB", lambda line: b"x" * (5 << 20), "larger than the source allows (5242880 bytes, sha256"),
    ("3 not UTF-8", edited(lambda body: body.replace(b"4711", b"\xff\xfe")), "not UTF-8: byte 0xff"),
    ("4 UTF-16", edited(lambda body: body.decode().encode("utf-16")), "byte order mark"),
    ("4 byte order mark", edited(lambda body: b"\xef\xbb\xbf" + body), "byte order mark"),
    ("5 a hundred thousand lists", lambda line: b"[" * 100_000, "not with an object"),
    ("5 nested in a field", literal("device", "[" * 100_000), "nested deeper than 32 levels"),
    ("6 forty levels", literal("device", "[" * 40 + "]" * 40), "nested deeper than 32 levels"),
    ("7 1e400", literal("quantity", "1e400"), "exponent beyond"),
    ("7 NaN", literal("quantity", "NaN"), "NaN is not a number"),
    ("7 Infinity", literal("quantity", "-Infinity"), "-Infinity is not a number"),
    ("8 duplicate key", edited(lambda body: body[:-1] + b',"quantity":1000}'), "quantity: the key stands twice"),
    ("9 lone surrogate", literal("batch", r'"\ud800"'), "$.batch: half of a surrogate pair"),
    ("10 NUL", literal("batch", r'"03\u0000"'), "NUL character"),
    ("10 cut off", edited(lambda body: body[: len(body) // 2]), "not JSON"),
    ("11 turned writing", said(batch="abc\u202edcba"), "U+202E"),
    ("12 text", said(quantity="5"), "$.quantity: must be a number, not '5'"),
    ("12 comma", said(quantity="5,5"), "$.quantity"),
    ("12 with unit", said(quantity="5.0 kg"), "$.quantity"),
    ("12 true", said(quantity=True), "$.quantity"),
    ("12 null", literal("quantity", "null"), "$.quantity: is missing or null"),
    ("12 list", said(quantity=[]), "$.quantity"),
    ("13 negative", said(quantity=-1), "below the minimum 0"),
    ("13 1e9", literal("quantity", "1e9"), "above the maximum 100000"),
    ("13 negative lot", said(lot_quantity=-5), "$.lot_quantity"),
    ("14 unknown unit", said(unit="stone"), "$.unit"),
    ("14 other dimension", said(unit="m"), "MTR"),
    ("15 unknown order", said(order="9999999"), "order '9999999' is not known; the event is read again"),
    ("15 unknown material", said(material="RM-GOLD"), "material 'RM-GOLD' is not in the master data"),
    ("16 missing", said(ts=None), "$.ts"),
    ("16 1970", said(ts="1970-01-01T00:00:00Z"), "31 days before the arrival"),
    ("16 year 9999", said(ts="9999-12-31T23:59:59Z"), "after the arrival"),
    ("16 two hours ahead", at(hours=-2), "after the arrival"),
    ("16 no zone", said(ts="2026-11-20T13:00:00"), "names no offset"),
    ("16 milliseconds", said(ts=1795179605123), "must be a text"),
    ("22 unknown version", said(v="3"), "$.v: version '3' is unknown"),
    ("22 no version", said(v=None), "$.v"),
]
HELD: list[tuple[str, Make, str]] = [
    ("13 finer than the ERP keeps", literal("quantity", "9.60001"), "cannot be posted exactly"),
    ("13 nothing but dust", literal("quantity", "0.0000001"), "less than the ERP can keep"),
    ("15 other operation", said(operation="0099"), "operation '0099' is not in order 1000100"),
    ("15 no component", said(material="PT-SPRING", unit="pcs", quantity=3), "is no component of order 1000100"),
]


async def next_is_posted(line: Plant, payload: bytes, **options: Any) -> Row:
    """The event of a bad message, once the good message right behind it is booked in SAP."""
    before, booked = line.last_event(), len(line.booked())
    good = line.report()
    line.publish(payload, **options)
    line.publish(good)
    await line.settled(good["id"], "acknowledged")
    assert len(line.booked()) == booked + 1
    bad, after = line.since(before)
    assert after.key == f"consumption:{good['id']}"
    return bad


@pytest.mark.parametrize(("make", "words"), [pytest.param(make, words, id=name) for name, make, words in QUARANTINED])
async def test_a_bad_message_is_quarantined_with_its_reason(line: Plant, make: Make, words: str):
    """It is listed with a printable reason that names what is wrong, it alarms, and the next message is posted."""
    payload = make(line)
    bad = await next_is_posted(line, payload)
    assert (bad.state, words in bad.reason) == ("quarantined", True), bad.reason
    assert bad.reason.isprintable()
    (shown,) = line.agent.desk.look(lambda db: lists.quarantined(db, after=bad.id - 1, limit=1))
    assert (shown["id"], shown["reason"]) == (bad.id, bad.reason)
    ((kept,),) = line.rows("SELECT payload FROM event WHERE id = ?", bad.id)
    assert kept == (payload if len(payload) <= 256 * 1024 else payload[:4096])
    ((alarms,),) = line.rows(
        "SELECT count(*) FROM audit WHERE event_id = ? AND action = 'quarantined' AND alarm", bad.id
    )
    assert alarms == 1


@pytest.mark.parametrize(("make", "words"), [pytest.param(make, words, id=name) for name, make, words in HELD])
async def test_a_doubtful_message_is_held_with_its_reason(line: Plant, make: Make, words: str):
    """A person sees the posting and why it is held; the next message of the same order is posted meanwhile."""
    bad = await next_is_posted(line, make(line))
    held = line.posting(bad.id)
    assert held is not None
    assert (bad.state, held.state) == ("held", "held")
    assert words in held.reason


@pytest.mark.parametrize("lot", ["<SCRIPT>", '=CMD("A")', "';DROP--"])
async def test_text_that_looks_like_code_is_posted_as_text(line: Plant, lot: str):
    """11: a lot that looks like code stands in the store and in SAP as it was sent; a longer one SAP would refuse."""
    booked = await line.post(batch=lot)
    ((payload,),) = line.rows("SELECT payload FROM posting WHERE id = ?", booked.id)
    assert json.loads(payload)["batch"] == lot
    assert line.sap.erp.books.documents[-1].items[0]["Batch"] == lot
    bad = await next_is_posted(line, json.dumps(line.report(batch=lot * 2)).encode())
    assert (bad.state, "Batch" in bad.reason) == ("quarantined", True)


async def test_nothing_used_is_ignored(line: Plant):
    """13: a quantity of 0 is no posting and no error."""
    assert (await next_is_posted(line, said(quantity=0)(line))).state == "ignored"


async def test_a_topic_without_mapping_is_quarantined(line: Plant):
    """Topics that look like the agent's own, like master data or like nothing do nothing but stand in quarantine."""
    bad = await next_is_posted(line, b'{"order": "1"}', topic="plant/1710/\u2066/MIX-01/consumption")
    assert (bad.state, "could hide" in bad.reason) == ("quarantined", True)


async def test_the_same_message_again_is_one_document(line: Plant):
    """17: redelivery, with or without the DUP flag, is a duplicate of the first, also long after."""
    body = line.report()
    line.publish(body)
    first = await line.settled(body["id"], "acknowledged")
    booked = len(line.booked())
    for _ in range(3):
        line.publish(body)
    await line.post()
    states = line.rows("SELECT state FROM event WHERE message_key = ? ORDER BY id", f"consumption:{body['id']}")
    assert [state for (state,) in states] == ["posted", "duplicate", "duplicate", "duplicate"]
    assert len(line.booked()) == booked + 1
    assert line.posting_of(body) == first


async def test_the_same_id_with_another_content_is_a_conflict(line: Plant):
    """17: the same id with another quantity is quarantined and names the event that had the id first."""
    body = line.report()
    line.publish(body)
    await line.settled(body["id"], "acknowledged")
    first = line.event(body["id"])
    assert first is not None
    bad = await next_is_posted(line, json.dumps(body | {"quantity": 9.7}).encode())
    assert bad.state == "quarantined"
    assert bad.reason == f"message id {body['id']!r} was used by event {first.id} for another content"


async def test_a_retained_message_is_never_posted(tmp_path: Path):
    """19: an old report that the broker kept is told in the audit trail; it becomes no event and no document."""
    async with plant(tmp_path, running_agent=False) as line:
        line.publish(line.report(), retain=True).wait_for_publish(10)
        await line.start()
        body = line.report()
        line.publish(body)
        await line.settled(body["id"], "acknowledged")
        assert [one.key for one in line.since(0)] == [f"consumption:{body['id']}"]
        assert len(line.booked()) == 1
        (told,) = line.audited("retained_ignored")
        assert told["topics"] == [TOPIC + "consumption"]


async def test_a_message_of_qos_0_is_taken_and_flagged(line: Plant):
    """21: what the sender did not protect is posted all the same, and the event says so."""
    body = line.report()
    line.publish(body, qos=0)
    await line.settled(body["id"], "acknowledged")
    event = line.event(body["id"])
    assert event is not None
    ((properties,),) = line.rows("SELECT properties FROM event WHERE id = ?", event.id)
    assert json.loads(properties) == {"qos": "0"}


async def test_a_gap_in_the_numbers_names_the_first_and_the_last_missing(line: Plant):
    """18: numbers that never came are an alarm with first and last; the message behind them is posted."""
    before = await line.post()
    assert before.state == "acknowledged"
    first = line.numbers + 1
    line.numbers += 7
    await line.post()
    gaps = [detail["gap"] for detail in line.audited("decided") if detail.get("gap")]
    assert gaps[-1] == {"sender": "MIX-01", "first_missing": first, "last_missing": first + 6}
    alarmed = [detail["alarm"] for detail in line.audited("decided") if detail.get("gap")]
    assert all(alarmed)


async def test_a_message_of_an_unknown_order_leaves_no_gap(line: Plant):
    """18: what stands in quarantine has arrived: the number behind it is no alarm."""
    await line.post()
    gaps = sum(1 for detail in line.audited("decided") if detail.get("gap"))
    await next_is_posted(line, said(order="9999998")(line))
    assert sum(1 for detail in line.audited("decided") if detail.get("gap")) == gaps


async def test_a_report_of_an_order_that_is_told_later_is_read_again_and_posted(line: Plant):
    """15: quarantined while SAP has not told the order; read again by itself after that, and booked once."""
    body = line.report("2000001")
    bad = await next_is_posted(line, json.dumps(body).encode())
    assert (bad.state, "2000001" in bad.reason) == ("quarantined", True)
    line.new_order("2000001")
    await line.settled(body["id"], "acknowledged")
    assert len(line.booked("2000001")) == 1
    assert line.audited("replayed")[-1]["reason"] == "order 2000001 became known"


@pytest.mark.parametrize(
    ("number", "flags", "status"),
    [
        ("2000002", {"released": False}, "created"),
        ("2000003", {"technically_completed": True}, "completed"),
        ("2000004", {"closed": True}, "closed"),
    ],
)
async def test_a_report_of_an_order_that_takes_none_is_held(
    line: Plant, number: str, flags: Mapping[str, bool], status: str
):
    """15: an order that is not released or closed holds its reports with its status; nothing goes to SAP."""
    line.new_order(number, **flags)
    await until(lambda: number in line.agent.rules.facts.orders, "the order is known")
    bad = await next_is_posted(line, json.dumps(line.report(number)).encode())
    held = line.posting(bad.id)
    assert held is not None
    assert f"order {number} is {status}, not released" in held.reason
    assert not line.booked(number)


async def test_a_burst_of_garbage_does_not_keep_others_waiting(line: Plant):
    """23: while one source floods, a report by another one is booked; everything is accounted for, nothing dropped."""
    before, flood = line.last_event(), 4000
    for number in range(flood):
        line.publish(b'{"id": "flood %d", "quantity": ' % number)
    reports = next(one for one in line.agent.sources if isinstance(one, HttpSource))
    body = line.report()
    assert line.agent.intake is not None
    await reports.submit(line.agent.intake, [Delivery(TOPIC + "consumption", json.dumps(body).encode())])
    await line.settled(body["id"], "acknowledged")
    await until(lambda: len(line.since(before)) == flood, "the flood is on disk")
    await until(line.quiet, "the flood is decided")
    assert {one.state for one in line.since(before)} == {"quarantined"}
    assert (await line.post()).state == "acknowledged"


async def test_everything_is_accounted_for(line: Plant):
    """After all of this both balances are even, the chain is whole, and no document was booked twice."""
    await until(line.quiet, "all is quiet")
    assert line.sound()
    assert line.sap.erp.books.duplicates() == {}
    acknowledged = {document for (document,) in line.rows("SELECT document FROM posting WHERE state = 'acknowledged'")}
    assert acknowledged == set(line.booked())
