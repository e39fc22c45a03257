"""What every ERP target promises: one table, one row per kind of target, against the ERP that it speaks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent import assembly
from agent.access.secrets import SecretPlaces
from agent.erp import TARGETS
from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import ErpTarget, Kind, Posting, SaysInErpWords, Surroundings
from agent.store.keys import idempotency_key, request_id
from simulators.erp.batches import noted
from simulators.erp.faults import read_rules
from simulators.erp.server import running
from tests.conformance.test_told_targets import TOLD

NOW = datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bench:
    """A target that is open, and its ERP."""

    target: ErpTarget
    booked: Callable[[Kind], list[str]]  # what the ERP has of a kind, called as the target calls it
    fail: Callable[[str], None]  # once at the next write. "lost": booked, no answer · "down" · "refused": in its words
    payloads: Mapping[Kind, Mapping[str, Any]]
    wrong: Mapping[Kind, Sequence[Mapping[str, Any]]]  # changes of a payload that the ERP would refuse
    prepare: Callable[[Kind], Awaitable[Mapping[str, str]]]  # books what must come before, as a group would


ISSUE = {
    "plant": "1710", "material": "RM-RESIN", "order": "1000100", "operation": "0010", "quantity": "12.500",
    "unit": "KGM", "storage_location": "171A", "posting_date": "2026-11-20", "document_date": "2026-11-20", "text": "a",
}  # fmt: skip
CONFIRMATION = {
    "plant": "1710", "order": "1000101", "operation": "0010", "sequence": "0", "yield": "100.000", "scrap": "0",
    "rework": "0", "unit": "KGM", "final": False, "posting_date": "2026-11-20", "backflush": False, "text": "b",
}  # fmt: skip
PLACE = {"plant": "1710", "storage_location": "171A"}
DAYS = {"posting_date": "2026-11-20", "document_date": "2026-11-20"}
SCRAP = {
    **PLACE, **DAYS, "material": "RM-RESIN", "quantity": "3.500", "unit": "KGM", "batch": "", "movement": "551",
    "cost_center": "4711", "order": "", "reason": "0007", "text": "c",
}  # fmt: skip
TRANSFER = {**PLACE, **DAYS, "material": "RM-RESIN", "quantity": "8", "unit": "KGM", "movement": "344", "text": "d"}
DEFECT = {
    "plant": "1710", "order": "1000100", "operation": "10", "material": "CMP-BLUE", "batch": "L7",
    "work_center": "MIX-01", "defect_code": "0010", "defect_code_group": "SURFACE", "quantity": "2", "unit": "KGM",
    "severity": "major", "text": "specks in every second bag of this lot", "detected_at": "2026-11-20T13:05:09+00:00",
}  # fmt: skip
COUNT = {
    **PLACE, "items": [{"material": "RM-RESIN", "batch": ""}],
    "planned_count_date": "2026-11-20", "document_date": "2026-11-20", "text": "e",
}  # fmt: skip
COUNTED = {
    "document_of": "count_document",
    "items": [{"material": "RM-RESIN", "quantity": "249990.5", "unit": "KGM"}],
}
SAP_PAYLOADS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.GOODS_ISSUE: ISSUE,
    Kind.CONFIRMATION: CONFIRMATION,
    Kind.ORDER_RELEASE: {"order": "1000102", "plant": "1710"},
    Kind.ORDER_NOTE: {"order": "1000102", "plant": "1710", "text": "resin is short: start delayed by 4 hours"},
    Kind.BATCH_STATUS: {"plant": "1710", "material": "RM-RESIN", "batch": "L7", "restricted": True},
    Kind.SCRAP: SCRAP,
    Kind.STOCK_TRANSFER: TRANSFER,
    Kind.DEFECT: DEFECT,
    Kind.COUNT_DOCUMENT: COUNT,
    Kind.COUNT_ENTRY: COUNTED,
    Kind.COUNT_DIFFERENCE: {"document_of": "count_document", "posting_date": "2026-11-20"},
}
_MOVEMENT = ({"unit": "BUCKET"}, {"posting_date": "20.11.2026"}, {"text": "x" * 200})
SAP_WRONG: Mapping[Kind, Sequence[Mapping[str, Any]]] = {
    Kind.GOODS_ISSUE: _MOVEMENT,
    Kind.CONFIRMATION: _MOVEMENT,
    Kind.ORDER_RELEASE: ({"order": ""},),
    Kind.ORDER_NOTE: ({"text": " "}, {"order": ""}),
    Kind.BATCH_STATUS: ({"batch": ""}, {"material": ""}, {"restricted": "yes"}, {"batch": "x" * 11}),
    Kind.SCRAP: (*_MOVEMENT, {"movement": "261"}, {"reason": "TOO LONG"}, {"quantity": "-1"}),
    Kind.STOCK_TRANSFER: (*_MOVEMENT, {"movement": "551"}, {"movement": "311"}),
    Kind.DEFECT: ({"unit": "BUCKET"}, {"defect_code": "TOO LONG"}, {"material": "x" * 41}),
    Kind.COUNT_DOCUMENT: ({"items": []}, {"document_date": "20.11.2026"}, {"items": [{"material": "A"}] * 2}),
    Kind.COUNT_ENTRY: (
        {"items": [{"material": "RM-RESIN", "quantity": "1.2345", "unit": "KGM"}]},
        {"document_of": "invoice"},
    ),
    Kind.COUNT_DIFFERENCE: ({"posting_date": "20.11.2026"},),
}
REPEATABLE = {
    Kind.ORDER_RELEASE,
    Kind.BATCH_STATUS,
    Kind.COUNT_ENTRY,
    Kind.COUNT_DIFFERENCE,
}  # the same call brings about the same state
BEFORE = {Kind.COUNT_ENTRY: (Kind.COUNT_DOCUMENT,), Kind.COUNT_DIFFERENCE: (Kind.COUNT_DOCUMENT, Kind.COUNT_ENTRY)}
SAP_BOOKS = {
    Kind.GOODS_ISSUE: "material_document",
    Kind.SCRAP: "material_document",
    Kind.STOCK_TRANSFER: "material_document",
    Kind.ORDER_NOTE: "order_change",
    Kind.BATCH_STATUS: "batch_change",
}
CHANGES = {
    "order_release",
    "order_change",
    "batch_change",
    "count_entry",
}  # called NUMBER/…/how-many-th: the target says what changed
SAP_FAULTS = {
    "lost": {"fault": "answer_lost"},
    "down": {"fault": "unavailable", "value": "1"},
    "refused": {"fault": "xml_error"},
}


@asynccontextmanager
async def sap_s4() -> AsyncIterator[Bench]:
    """The simulated SAP, and the target as the app makes it."""
    kept: dict[str, bytes] = {}
    around = Surroundings(lambda: NOW, "1710", ZoneInfo("Europe/Berlin"), kept.__setitem__, kept.get)
    async with running(user="GATEPOST", password="s3cret") as sap:
        settings = {
            "name": "erp", "url": sap.base_url, "time_zone": "Europe/Berlin", "settle_s": 0.1, "lookup_reliable": True,
            "batch_service": "API_BATCH_SRV",
            "order_service": "API_PRODUCTION_ORDER_2_SRV", "defect_service": "API_DEFECT_SRV",
            "count_service": "API_PHYSICAL_INVENTORY_DOC_SRV", "defect": {"classes": {"major": "02"}},
            "connect_s": 1, "total_s": 3, "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp"}},
        }  # fmt: skip
        target = assembly._plug_in("targets", "sap_s4").of(_parsed("sap_s4", settings), around)
        await target.open()
        noted(sap.erp.ledger, "RM-RESIN", "L7", NOW)

        def fail(how: str) -> None:
            sap.erp.faults.replace(
                read_rules([SAP_FAULTS[how] | {"method": method, "count": 1} for method in ("POST", "PATCH")])
            )

        def booked(what: Kind) -> list[str]:
            book = SAP_BOOKS.get(what, what.value)
            numbers = [one.number for one in sap.erp.books.documents if one.kind == book]
            depth = 2 if what in (Kind.COUNT_ENTRY, Kind.BATCH_STATUS) else 1
            return ["/".join(one.split("/")[:depth]) for one in numbers] if book in CHANGES else numbers

        async def prepare(what: Kind) -> Mapping[str, str]:
            documents: dict[str, str] = {}
            for number, kind in enumerate(BEFORE.get(what, ()), start=100):
                made = frozen(target, kind, SAP_PAYLOADS[kind], number, documents)
                documents[kind] = (await target.post(made)).document
            return documents

        sap.erp.ledger.orders["1000102"].released = False
        try:
            yield Bench(target, booked, fail, SAP_PAYLOADS, SAP_WRONG, prepare)
        finally:
            await target.close()


def _parsed(kind: str, settings: Mapping[str, Any]) -> Any:
    places = SecretPlaces.of({"GATEPOST_SECRET_ERP": "s3cret"})
    return assembly.resolver()("targets", kind).model_validate(dict(settings), context={"secrets": places})


BENCHES: Mapping[str, Callable[[], AbstractAsyncContextManager[Bench]]] = {"sap_s4": sap_s4}
CASES = [
    pytest.param(kind, posting_kind, id=f"{kind} {posting_kind}") for kind in BENCHES for posting_kind in SAP_PAYLOADS
]
each = pytest.mark.parametrize(("kind", "what"), CASES)


def frozen(
    target: ErpTarget, what: Kind, payload: Mapping[str, Any], number: int, documents: Mapping[str, str]
) -> Posting:
    """A posting at its first claim, its bytes frozen."""
    key = idempotency_key(f"{what}:{number}", "conformance", "erp")
    one = Posting(
        number, number, what, target.name, "order/1", key, payload, "sending", 1, NOW,
        first_sent_at=NOW, request_id=request_id(key), documents=documents,
    )  # fmt: skip
    return one._replace(wire=target.freeze(one))


async def posting(bench: Bench, what: Kind) -> Posting:
    """The posting of a kind, behind what must come before it."""
    return frozen(bench.target, what, bench.payloads[what], 1, await bench.prepare(what))


def another(bench: Bench, one: Posting) -> Posting:
    """The same with another key."""
    return frozen(bench.target, one.kind, one.payload, 2, one.documents)


def test_every_kind_of_target_has_its_bench():
    """A new target in the table needs a row here, and gets every test below."""
    assert set(BENCHES) | TOLD == set(TARGETS)


@each
async def test_what_is_posted_is_booked_once_and_found_again(kind: str, what: Kind):
    """One document; `find` names the same one and says that it looked; a key that nobody used is not found.

    What only brings about a state is done where that is so already, whoever did it.
    """
    async with BENCHES[kind]() as bench:
        assert bench.target.check(what, bench.payloads[what]) == []
        one = await posting(bench, what)
        answer = await bench.target.post(one)
        assert bench.booked(what) == [answer.document]
        assert not answer.found
        found = await bench.target.find(one)
        assert found is not None
        assert (found.document, found.found) == (answer.document, True)
        assert what in REPEATABLE or await bench.target.find(another(bench, one)) is None
        again = await bench.target.post(one) if what in REPEATABLE else answer
        assert again.document == answer.document
        assert bench.booked(what) == [answer.document], "what has come about already counts as done"


@each
async def test_frozen_bytes_are_the_same_at_every_retry(kind: str, what: Kind):
    """Whatever is known later of a posting (tries, state, time), its bytes stay; another posting has others."""
    async with BENCHES[kind]() as bench:
        one = await posting(bench, what)
        later = one._replace(
            attempts=3, lookups=2, state="ready", version=9, last_sent_at=datetime(2027, 1, 1, tzinfo=UTC)
        )
        assert bench.target.freeze(later) == one.wire
        assert what in REPEATABLE or another(bench, one).wire != one.wire


@each
async def test_a_lost_answer_is_a_doubt_that_find_clears_up(kind: str, what: Kind):
    """Booked without an answer: ErpInDoubt, never anything else; `find` names the document."""
    async with BENCHES[kind]() as bench:
        one = await posting(bench, what)
        bench.fail("lost")
        with pytest.raises(ErpInDoubt):
            await bench.target.post(one)
        found = await bench.target.find(one)
        assert found is not None
        assert bench.booked(what) == [found.document]


@each
@pytest.mark.parametrize(
    ("how", "error"), [("down", ErpUnavailable), ("refused", ErpRejected)], ids=["down", "refused"]
)
async def test_a_no_books_nothing_and_the_next_try_goes_through(
    kind: str, what: Kind, how: str, error: type[ErpUnavailable | ErpRejected]
):
    """Not available is no refusal and the other way round; nothing is found; the same bytes are booked later."""
    async with BENCHES[kind]() as bench:
        one = await posting(bench, what)
        bench.fail(how)
        with pytest.raises(error) as told:
            await bench.target.post(one)
        assert told.type is error
        assert str(told.value).isprintable()
        assert await bench.target.find(one) is None
        answer = await bench.target.post(one)
        assert bench.booked(what) == [answer.document]


@each
async def test_what_the_erp_would_refuse_is_said_before_it_is_sent(kind: str, what: Kind):
    """`check` is pure and names the field and the value."""
    async with BENCHES[kind]() as bench:
        for changes in bench.wrong[what]:
            (words,) = bench.target.check(what, {**bench.payloads[what], **changes})
            assert words.isprintable()
        assert bench.booked(what) == []


@each
async def test_what_would_be_sent_can_be_shown_in_the_words_of_the_erp(kind: str, what: Kind):
    """Field and value, without the key; a person signs what they read."""
    async with BENCHES[kind]() as bench:
        if isinstance(bench.target, SaysInErpWords):
            said = dict(bench.target.in_its_words(what, bench.payloads[what]))
            assert said
            assert all(value.isprintable() and "0000000000" not in value for value in said.values())


@pytest.mark.parametrize("kind", BENCHES)
async def test_its_status_says_whether_it_is_connected_and_what_is_wrong(kind: str):
    """Every target shows `connected` and `error`; a refusal of one posting is no trouble of the target."""
    async with BENCHES[kind]() as bench:
        assert (bench.target.status()["connected"], bench.target.status()["error"]) == (True, "")
        bench.fail("refused")
        with pytest.raises(ErpRejected):
            await bench.target.post(await posting(bench, Kind.GOODS_ISSUE))
        assert bench.target.status()["connected"]
        bench.fail("down")
        with pytest.raises(ErpUnavailable):
            await bench.target.post(await posting(bench, Kind.GOODS_ISSUE))
        assert not bench.target.status()["connected"]
        assert bench.target.settle_seconds > 0
