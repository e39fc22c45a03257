"""Changes of what is in SAP already: read, decided, written with the ETag, read again; never blindly, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agent.access.secrets import Secret
from agent.erp.sap_s4 import SapS4, SapS4Config
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import Kind, Posting
from agent.sap.connection import BasicAuth
from simulators.erp.batches import noted
from simulators.erp.faults import read_rules
from simulators.erp.ledger import Batch, Order
from simulators.erp.server import Running, running
from tests.plant import until

NOW = datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)
ORDER = "1000102"
NOTE = {"order": ORDER, "plant": "1710", "text": "resin is short: start delayed by 4 hours"}
RELEASE = {"order": ORDER, "plant": "1710"}
COUNT = {
    "plant": "1710", "storage_location": "171A", "items": [{"material": "RM-RESIN"}, {"material": "RM-PIGMENT"}],
    "planned_count_date": "2026-11-20", "document_date": "2026-11-20", "text": "cycle count",
}  # fmt: skip
COUNTED: Mapping[str, Any] = {
    "document_of": "count_document",
    "items": [
        {"material": "RM-RESIN", "quantity": "249990.5", "unit": "KGM"},
        {"material": "RM-PIGMENT", "quantity": "0", "unit": "KGM"},
    ],
}
DEFECT = {
    "plant": "1710", "order": ORDER, "operation": "10", "material": "CMP-BLUE", "batch": "", "work_center": "MIX-01",
    "defect_code": "0010", "defect_code_group": "SURFACE", "quantity": "2", "unit": "KGM", "severity": "", "text": "a",
}  # fmt: skip
DIFFERENCE = {"document_of": "count_document", "posting_date": "2026-11-20"}


@dataclass(frozen=True, slots=True)
class Bench:
    """An open target and its simulated SAP."""

    target: SapS4
    sap: Running

    @property
    def order(self) -> Order:
        return self.sap.erp.ledger.orders[ORDER]

    @property
    def text(self) -> str:
        return str(self.order.entered.get("OrderLongText", ""))

    def faults(self, *rules: Mapping[str, Any]) -> None:
        self.sap.erp.faults.replace(read_rules(list(rules)))

    def booked(self, kind: str) -> list[str]:
        return [one.number for one in self.sap.erp.books.documents if one.kind == kind]

    def posting(self, kind: Kind, payload: Mapping[str, Any], key: str = "K", **documents: str) -> Posting:
        one = Posting(
            1, 1, kind, "s4", ORDER, key.rjust(16, "0"), payload, "sending", 1, NOW,
            first_sent_at=NOW, request_id="A" * 32, documents=documents,
        )  # fmt: skip
        return one._replace(wire=self.target.freeze(one))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A target with every service, and an order that is not released yet."""
    async with AsyncExitStack() as stack:
        sap = await stack.enter_async_context(running(user="GATEPOST", password="s3cret"))
        kept: dict[str, bytes] = {}
        config = SapS4Config(
            name="s4",
            url=sap.base_url,
            time_zone="Europe/Berlin",
            connect_s=1,
            total_s=5,
            auth=BasicAuth(user="GATEPOST", password=Secret("erp", "s3cret")),
            order_service="API_PRODUCTION_ORDER_2_SRV",
            defect_service="API_DEFECT_SRV",
            batch_service="API_BATCH_SRV",
            count_service="API_PHYSICAL_INVENTORY_DOC_SRV",
        )
        target = SapS4(config, keep=kept.__setitem__, kept=kept.get, clock=lambda: NOW)
        await target.open()
        stack.push_async_callback(target.close)
        sap.erp.ledger.orders[ORDER].released = False
        yield Bench(target, sap)


async def overtaken(bench: Bench, calling: Awaitable[Any], meanwhile: Callable[[], None], times: int = 1) -> Any:
    """Make a call; at each of its first `times` writes somebody else is quicker, maybe more than once."""
    bench.faults({"fault": "slow", "seconds": 0.2, "method": "PATCH", "count": times})
    task = asyncio.ensure_future(calling)
    struck = 0
    while not task.done():
        if bench.sap.erp.locked and (times > 1 or not struck):
            meanwhile()
            struck += 1
        await asyncio.sleep(0.005)
    assert struck
    return await task


# ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_order_that_is_released_already_counts_as_done(bench: Bench):
    """Released by a person meanwhile: acknowledged as found, and SAP is sent nothing."""
    one = bench.posting(Kind.ORDER_RELEASE, RELEASE)
    assert not (await bench.target.post(one)).found
    again = await bench.target.post(bench.posting(Kind.ORDER_RELEASE, RELEASE, "OTHER"))
    assert (again.document, again.found) == (ORDER, True)
    assert bench.booked("order_release") == [f"{ORDER}/1"]


@pytest.mark.parametrize("flag", ["deleted", "closed", "technically_completed"])
async def test_an_order_that_is_no_more_to_release_is_refused_with_its_status(bench: Bench, flag: str):
    """Nothing is sent; a person reads what the order is."""
    setattr(bench.order, flag, True)
    one = bench.posting(Kind.ORDER_RELEASE, RELEASE)
    for call in (bench.target.post, bench.target.find):
        with pytest.raises(ErpRejected, match=flag.replace("_", " ")) as told:
            await call(one)
        assert told.value.code == "ORDER_NOT_OPEN"
    assert bench.sap.erp.books.documents == []


@pytest.mark.parametrize(("kind", "payload"), [(Kind.ORDER_RELEASE, RELEASE), (Kind.ORDER_NOTE, NOTE)])
async def test_an_order_that_is_gone_is_a_clear_no(bench: Bench, kind: Kind, payload: Mapping[str, Any]):
    """Deleted in SAP since it was decided: refused, with what to do."""
    del bench.sap.erp.ledger.orders[ORDER]
    with pytest.raises(ErpRejected, match=f"order {ORDER} is not in SAP .*refuse this posting") as told:
        await bench.target.post(bench.posting(kind, payload))
    assert told.value.code == "GONE"


async def test_what_somebody_wrote_meanwhile_stays_in_the_text_of_the_order(bench: Bench):
    """412: the order is read again, and the note is appended to what it says now."""
    one = bench.posting(Kind.ORDER_NOTE, NOTE)

    def write() -> None:
        bench.order.entered["OrderLongText"] = "customer calls at noon"
        bench.order.touch(NOW)

    answer = await overtaken(bench, bench.target.post(one), write)
    assert answer.document == ORDER
    assert bench.text == f"customer calls at noon\n{NOTE['text']} [{one.idempotency_key}]"
    assert len(bench.booked("order_change")) == 1


async def test_who_is_overtaken_again_and_again_waits_and_writes_nothing(bench: Bench):
    """Four times somebody was quicker: the lane waits, the text is theirs."""
    with pytest.raises(ErpUnavailable, match="changed by others 4 times") as told:
        await overtaken(
            bench, bench.target.post(bench.posting(Kind.ORDER_NOTE, NOTE)), lambda: bench.order.touch(NOW), times=4
        )
    assert (told.value.scope, told.value.code) == ("lane", "412")
    assert bench.text == ""


async def test_a_note_that_is_booked_late_is_not_booked_twice(bench: Bench):
    """The first try is committed after the second one: its ETag is of the past, and the note stands there once."""
    one = bench.posting(Kind.ORDER_NOTE, NOTE)
    bench.faults({"fault": "late_commit", "seconds": 0.3, "method": "PATCH", "count": 1})
    with pytest.raises(ErpInDoubt):
        await bench.target.post(one)
    assert await bench.target.find(one) is None
    assert not (await bench.target.post(one)).found
    await until(lambda: not bench.sap.erp.pending, "the first try is committed, or not")
    assert bench.text.count(one.idempotency_key) == 1
    assert len(bench.booked("order_change")) == 1


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────

BATCH = {"plant": "1710", "material": "RM-RESIN", "batch": "l7", "restricted": True}


def in_sap(bench: Bench) -> Batch:
    return noted(bench.sap.erp.ledger, "RM-RESIN", "L7", NOW)


async def test_a_batch_gets_into_restricted_use_once_and_out_of_it(bench: Bench):
    """By its flag: what is so already counts as done, whoever did it, and other fields of the batch stay."""
    batch = in_sap(bench)
    batch.entered["BatchBySupplier"] = "0815"
    first = await bench.target.post(bench.posting(Kind.BATCH_STATUS, BATCH))
    assert (first.document, first.found, batch.restricted) == ("RM-RESIN/L7", False, True)
    again = await bench.target.post(bench.posting(Kind.BATCH_STATUS, BATCH, "OTHER"))
    assert (again.found, again.details["state"]) == (True, "in restricted use")
    assert bench.booked("batch_change") == ["RM-RESIN/L7/1"]
    free = await bench.target.post(bench.posting(Kind.BATCH_STATUS, BATCH | {"restricted": False}))
    assert (free.details["state"], batch.restricted, batch.entered) == ("free", False, {"BatchBySupplier": "0815"})


async def test_a_batch_that_was_changed_meanwhile_is_read_again(bench: Bench):
    """412: its ETag was of the past. What somebody else had done by then is not done again."""
    batch = in_sap(bench)

    def change(*, restricted: bool) -> None:
        batch.restricted, batch.version = restricted, batch.version + 1

    one = bench.posting(Kind.BATCH_STATUS, BATCH)
    answer = await overtaken(bench, bench.target.post(one), lambda: change(restricted=False))
    assert (answer.found, batch.restricted, len(bench.booked("batch_change"))) == (False, True, 1)
    batch.restricted = False
    answer = await overtaken(bench, bench.target.post(one), lambda: change(restricted=True))
    assert (answer.found, len(bench.booked("batch_change"))) == (True, 1)


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        ({"fault": "no_etag", "method": "GET"}, ErpUnavailable, "came without an ETag"),
        ({"fault": "false_yes"}, ErpInDoubt, "answered that it is done, but it is not"),
        ({"fault": "unavailable", "value": "1"}, ErpUnavailable, "503"),
    ],
)
async def test_a_batch_is_never_written_blindly_nor_believed_to_be(bench: Bench, rule, error, words):
    """And the next try goes through; a batch that SAP does not have is a clear no."""
    batch, one = in_sap(bench), bench.posting(Kind.BATCH_STATUS, BATCH)
    bench.faults({"count": 1, "method": "PATCH"} | rule)
    with pytest.raises(error, match=words):
        await bench.target.post(one)
    bench.faults()
    assert not batch.restricted
    assert not (await bench.target.post(one)).found
    with pytest.raises(ErpRejected, match="batch L9 of RM-RESIN is not in SAP") as told:
        await bench.target.post(bench.posting(Kind.BATCH_STATUS, BATCH | {"batch": "L9"}))
    assert told.value.code == "GONE"


HOSTILE: list[tuple[Mapping[str, Any], type[ErpError], str]] = [
    ({"fault": "html"}, ErpInDoubt, "Logon"),
    ({"fault": "error_in_200"}, ErpInDoubt, "RU/500"),
    ({"fault": "false_yes"}, ErpInDoubt, "answered that it is done, but it is not"),
    ({"fault": "function_error"}, ErpRejected, "CO/688: Order cannot be released"),
    ({"fault": "redirect"}, ErpInDoubt, "302"),
    ({"fault": "hang", "seconds": 0.1}, ErpInDoubt, "no answer"),
    ({"fault": "locked"}, ErpUnavailable, "423"),
    ({"fault": "unavailable", "value": "1"}, ErpUnavailable, "503"),
    ({"fault": "no_etag", "method": "GET"}, ErpUnavailable, "came without an ETag"),
    ({"fault": "truncated", "method": "GET"}, ErpUnavailable, "without the entity"),
]


@pytest.mark.parametrize(("kind", "payload"), [(Kind.ORDER_RELEASE, RELEASE), (Kind.ORDER_NOTE, NOTE)])
@pytest.mark.parametrize(("rule", "error", "words"), HOSTILE, ids=[str(rule["fault"]) for rule, _, _ in HOSTILE])
async def test_an_odd_answer_changes_nothing_and_the_next_try_goes_through(
    bench: Bench, kind: Kind, payload: Mapping[str, Any], rule: Mapping[str, Any], error: type[ErpError], words: str
):
    """A yes that is none is a doubt, a no stays a no; what was not done is not found, and is done later, once."""
    one = bench.posting(kind, payload)
    method = "PATCH" if kind is Kind.ORDER_NOTE else "POST"
    bench.faults({"method": method, "count": 1, "path": "PRODUCTION_ORDER"} | dict(rule))
    with pytest.raises(error, match=words) as told:
        await bench.target.post(one)
    assert told.type is error
    assert str(told.value).isprintable()
    bench.faults()
    assert await bench.target.find(one) is None
    assert not (await bench.target.post(one)).found
    assert len(bench.sap.erp.books.documents) == 1


@pytest.mark.parametrize("kind", [Kind.COUNT_ENTRY, Kind.COUNT_DIFFERENCE])
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"fault": "html"}, ErpInDoubt),
        ({"fault": "false_yes"}, ErpInDoubt),
        ({"fault": "answer_lost"}, ErpInDoubt),
        ({"fault": "locked"}, ErpUnavailable),
        ({"fault": "no_etag", "method": "GET"}, ErpUnavailable),
        ({"fault": "truncated", "method": "GET"}, ErpUnavailable),
    ],
    ids=lambda value: str(value["fault"]) if isinstance(value, dict) else "",
)
async def test_an_odd_answer_to_a_count_is_seen_through_once(
    bench: Bench, kind: Kind, rule: Mapping[str, Any], error: type[ErpError]
):
    """Whatever was said: the next try, or the look, ends with one entry and one movement for each material."""
    document, one = await counted(bench)
    method = "PATCH"
    if kind is Kind.COUNT_DIFFERENCE:
        await bench.target.post(one)
        one, method = bench.posting(kind, DIFFERENCE, count_document=document), "POST"
    bench.faults({"method": method, "count": 1, "path": "PHYSICAL_INVENTORY"} | dict(rule))
    with pytest.raises(error) as told:
        await bench.target.post(one)
    assert told.type is error
    bench.faults()
    assert (await bench.target.post(one)).document == document
    assert len(bench.booked("count_entry")) == 2
    assert len(bench.booked("count_difference")) == (1 if kind is Kind.COUNT_DIFFERENCE else 0)


@pytest.mark.parametrize("fault", ["html", "error_in_200", "truncated", "empty_body", "no_document", "answer_lost"])
@pytest.mark.parametrize(("kind", "payload"), [(Kind.DEFECT, DEFECT), (Kind.COUNT_DOCUMENT, COUNT)])
async def test_an_odd_answer_to_a_new_document_is_cleared_up_by_its_key(
    bench: Bench, kind: Kind, payload: Mapping[str, Any], fault: str
):
    """In doubt; found where it was booked, posted again where it was not; the books hold it once."""
    one = bench.posting(kind, payload)
    bench.faults({"fault": fault, "method": "POST", "count": 1})
    with pytest.raises(ErpInDoubt):
        await bench.target.post(one)
    answer = await bench.target.find(one) or await bench.target.post(one)
    assert bench.booked(kind.value) == [answer.document]
    assert bench.sap.erp.books.duplicates() == {}


async def test_a_text_that_sap_does_not_tell_is_not_written_over(bench: Bench):
    """Without OrderLongText in the answer nobody knows what a note would replace."""
    one = bench.posting(Kind.ORDER_NOTE, NOTE)
    bench.sap.erp.settings.hidden = frozenset({"OrderLongText"})
    with pytest.raises(ErpUnavailable, match="does not tell OrderLongText of order"):
        await bench.target.post(one)
    assert bench.sap.erp.books.documents == []


# ── physical inventory ──────────────────────────────────────────────────────────────────────────────────────


async def counted(bench: Bench, payload: Mapping[str, Any] = COUNTED) -> tuple[str, Posting]:
    """A new physical inventory document, and the posting of what was counted."""
    document = (await bench.target.post(bench.posting(Kind.COUNT_DOCUMENT, COUNT))).document
    return document, bench.posting(Kind.COUNT_ENTRY, payload, count_document=document)


async def test_a_count_is_created_entered_and_posted(bench: Bench):
    """The books hold each step once; the stock is what was counted; the material document is told."""
    document, entry = await counted(bench)
    assert (await bench.target.post(entry)).document == document
    answer = await bench.target.post(bench.posting(Kind.COUNT_DIFFERENCE, DIFFERENCE, count_document=document))
    assert answer.document == document
    assert answer.details["material_documents"] == "2026/4900000001"
    stock = bench.sap.erp.ledger.stock
    assert (stock["RM-RESIN", "171A"], stock["RM-PIGMENT", "171A"]) == (Decimal("249990.500"), Decimal("0.000"))
    assert [one.kind for one in bench.sap.erp.books.documents] == [
        "count_document", "count_entry", "count_entry", "count_difference"
    ]  # fmt: skip


async def test_a_count_that_broke_off_is_seen_through_without_entering_anything_twice(bench: Bench):
    """The answer to the first item is lost: not all is entered, so it is not found; the next try enters the rest."""
    document, entry = await counted(bench)
    bench.faults({"fault": "answer_lost", "method": "PATCH", "count": 1})
    with pytest.raises(ErpInDoubt):
        await bench.target.post(entry)
    assert await bench.target.find(entry) is None
    await bench.target.post(entry)
    assert bench.booked("count_entry") == [f"{document}/1/1", f"{document}/2/1"]
    found = await bench.target.find(entry)
    assert found is not None
    assert found.document == document


async def test_what_somebody_else_counted_otherwise_is_left_to_a_person(bench: Bench):
    """Both quantities are named; their count stays, and it is told how much of ours is entered."""
    _, entry = await counted(bench)
    (row,) = [row for row in bench.sap.erp.books.count_items.rows if row["Material"] == "RM-PIGMENT"]
    row |= {"PhysicalInventoryItemIsCounted": True, "QuantityInUnitOfEntry": "7.000", "UnitOfEntry": "KG"}
    with pytest.raises(ErpRejected, match=r"RM-PIGMENT was counted as 7.000 KG .* 1 of its items are entered") as told:
        await bench.target.post(entry)
    assert told.value.code == "COUNTED_OTHERWISE"


async def test_differences_are_posted_only_of_what_is_counted_and_only_once(bench: Bench):
    """Not counted is a clear no; posted by a person already is done; a material that is not in it is named."""
    document, entry = await counted(bench)
    posted = bench.posting(Kind.COUNT_DIFFERENCE, DIFFERENCE, count_document=document)
    with pytest.raises(ErpRejected, match="RM-RESIN, RM-PIGMENT is not counted; count first"):
        await bench.target.post(posted)
    other = {"document_of": "count_document", "items": [{"material": "BODY-55", "quantity": "3", "unit": "C62"}]}
    with pytest.raises(ErpRejected, match="has no item for BODY-55"):
        await bench.target.post(bench.posting(Kind.COUNT_ENTRY, other, count_document=document))
    await bench.target.post(entry)
    await bench.target.post(posted)
    assert (await bench.target.post(posted)).found
    assert len(bench.booked("count_difference")) == 1


async def test_a_count_whose_document_was_deleted_or_posted_meanwhile_has_a_clear_end(bench: Bench):
    """Deleted is a clear no that says what to do, before and after the count; what a person posted is taken as done."""
    document, entry = await counted(bench)
    posted, rows = (
        bench.posting(Kind.COUNT_DIFFERENCE, DIFFERENCE, count_document=document), bench.sap.erp.books.count_items.rows
    )  # fmt: skip
    for row in rows:
        row["PhysInvtryItemIsDeleted"] = True
    for posting, what in ((entry, "RM-RESIN"), (posted, "each item")):
        with pytest.raises(
            ErpRejected, match=f"{what} was deleted in SAP meanwhile; refuse .*, and count again"
        ) as told:
            await bench.target.post(posting)
        assert told.value.code == "GONE"
    for row in rows:
        row["PhysInvtryItemIsDeleted"] = False
    await bench.target.post(entry)
    for row in rows:
        row |= {"PhysInvtryDifferenceIsPosted": True, "MaterialDocumentYear": "2026", "MaterialDocument": "4900000077"}
    assert (await bench.target.post(entry)).found
    assert (await bench.target.post(posted)).details["material_documents"] == "2026/4900000077"
    assert bench.booked("count_difference") == []


def test_a_posting_that_needs_the_document_of_its_group_cannot_be_frozen_without_it(bench: Bench):
    """The message names the kind that must be booked first."""
    with pytest.raises(ValueError, match="no count_document of the same group is booked yet"):
        bench.posting(Kind.COUNT_ENTRY, COUNTED)
