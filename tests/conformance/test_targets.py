"""What every ERP target promises: one table, one row per kind of target, against the ERP that it speaks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent import assembly
from agent.erp import TARGETS
from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import ErpTarget, Kind, Posting, Surroundings
from agent.secrets import SecretPlaces
from agent.store.keys import idempotency_key, request_id
from simulators.erp.faults import read_rules
from simulators.erp.server import running

NOW = datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bench:
    """A target that is open, and its ERP: what it has booked, and how to make it fail once at the next posting."""

    target: ErpTarget
    booked: Callable[[], list[str]]
    fail: Callable[[str], None]  # "lost": booked, no answer · "down": nothing is taken · "refused": in its own words
    payloads: Mapping[Kind, Mapping[str, Any]]


ISSUE = {
    "plant": "1710", "material": "RM-RESIN", "order": "1000100", "operation": "0010", "quantity": "12.500",
    "unit": "KGM", "storage_location": "171A", "posting_date": "2026-11-20", "document_date": "2026-11-20", "text": "a",
}  # fmt: skip
CONFIRMATION = {
    "plant": "1710", "order": "1000101", "operation": "0010", "sequence": "0", "yield": "100.000", "scrap": "0",
    "rework": "0", "unit": "KGM", "final": False, "posting_date": "2026-11-20", "backflush": False, "text": "b",
}  # fmt: skip
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
            "connect_s": 1, "total_s": 3, "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp"}},
        }  # fmt: skip
        target = assembly._plug_in("targets", "sap_s4").of(_parsed("sap_s4", settings), around)
        await target.open()

        def fail(how: str) -> None:
            sap.erp.faults.replace(read_rules([SAP_FAULTS[how] | {"method": "POST", "count": 1}]))

        payloads: dict[Kind, Mapping[str, Any]] = {Kind.GOODS_ISSUE: ISSUE, Kind.CONFIRMATION: CONFIRMATION}
        try:
            yield Bench(target, lambda: [one.number for one in sap.erp.books.documents], fail, payloads)
        finally:
            await target.close()


def _parsed(kind: str, settings: Mapping[str, Any]) -> Any:
    places = SecretPlaces.of({"GATEPOST_SECRET_ERP": "s3cret"})
    return assembly.resolver()("targets", kind).model_validate(dict(settings), context={"secrets": places})


BENCHES: Mapping[str, Callable[[], AbstractAsyncContextManager[Bench]]] = {"sap_s4": sap_s4}
CASES = [
    pytest.param(kind, posting_kind, id=f"{kind} {posting_kind}")
    for kind in BENCHES
    for posting_kind in (Kind.GOODS_ISSUE, Kind.CONFIRMATION)
]
each = pytest.mark.parametrize(("kind", "what"), CASES)


def posting(bench: Bench, what: Kind, number: int = 1, **changes: Any) -> Posting:
    """A posting at its first claim, its bytes frozen."""
    key = idempotency_key(f"{what}:{number}", "conformance", "erp")
    one = Posting(
        number, number, what, bench.target.name, "order/1", key, {**bench.payloads[what], **changes}, "sending", 1, NOW,
        first_sent_at=NOW, request_id=request_id(key),
    )  # fmt: skip
    return one._replace(wire=bench.target.freeze(one))


def test_every_kind_of_target_has_its_bench():
    """A new target in the table needs a row here, and gets every test below."""
    assert set(BENCHES) == set(TARGETS)


@each
async def test_what_is_posted_is_booked_once_and_found_again(kind: str, what: Kind):
    """One document; `find` names the same one and says that it looked; a key that nobody used is not found."""
    async with BENCHES[kind]() as bench:
        assert bench.target.check(what, bench.payloads[what]) == []
        one = posting(bench, what)
        answer = await bench.target.post(one)
        assert bench.booked() == [answer.document]
        assert not answer.found
        found = await bench.target.find(one)
        assert found is not None
        assert (found.document, found.found) == (answer.document, True)
        assert await bench.target.find(posting(bench, what, 2)) is None


@each
async def test_frozen_bytes_are_the_same_at_every_retry(kind: str, what: Kind):
    """Whatever is known later of a posting (tries, state, time), its bytes stay; another posting has others."""
    async with BENCHES[kind]() as bench:
        one = posting(bench, what)
        later = one._replace(
            attempts=3, lookups=2, state="ready", version=9, last_sent_at=datetime(2027, 1, 1, tzinfo=UTC)
        )
        assert bench.target.freeze(later) == one.wire
        assert posting(bench, what, 2).wire != one.wire


@each
async def test_a_lost_answer_is_a_doubt_that_find_clears_up(kind: str, what: Kind):
    """Booked without an answer: ErpInDoubt, never anything else; `find` names the document."""
    async with BENCHES[kind]() as bench:
        bench.fail("lost")
        one = posting(bench, what)
        with pytest.raises(ErpInDoubt):
            await bench.target.post(one)
        found = await bench.target.find(one)
        assert found is not None
        assert bench.booked() == [found.document]


@each
@pytest.mark.parametrize(
    ("how", "error"), [("down", ErpUnavailable), ("refused", ErpRejected)], ids=["down", "refused"]
)
async def test_a_no_books_nothing_and_the_next_try_goes_through(
    kind: str, what: Kind, how: str, error: type[ErpUnavailable | ErpRejected]
):
    """Not available is no refusal and the other way round; nothing is found; the same bytes are booked later."""
    async with BENCHES[kind]() as bench:
        bench.fail(how)
        one = posting(bench, what)
        with pytest.raises(error) as told:
            await bench.target.post(one)
        assert told.type is error
        assert str(told.value).isprintable()
        assert await bench.target.find(one) is None
        answer = await bench.target.post(one)
        assert bench.booked() == [answer.document]


@each
@pytest.mark.parametrize(
    "changes", [{"unit": "BUCKET"}, {"posting_date": "20.11.2026"}, {"text": "x" * 200}], ids=["unit", "date", "text"]
)
async def test_what_the_erp_would_refuse_is_said_before_it_is_sent(kind: str, what: Kind, changes: Mapping[str, str]):
    """`check` is pure and names the field and the value."""
    async with BENCHES[kind]() as bench:
        (words,) = bench.target.check(what, {**bench.payloads[what], **changes})
        assert words.isprintable()
        assert bench.booked() == []


@pytest.mark.parametrize("kind", BENCHES)
async def test_its_status_says_whether_it_is_connected_and_what_is_wrong(kind: str):
    """Every target shows `connected` and `error`; a refusal of one posting is no trouble of the target."""
    async with BENCHES[kind]() as bench:
        assert (bench.target.status()["connected"], bench.target.status()["error"]) == (True, "")
        bench.fail("refused")
        with pytest.raises(ErpRejected):
            await bench.target.post(posting(bench, Kind.GOODS_ISSUE))
        assert bench.target.status()["connected"]
        bench.fail("down")
        with pytest.raises(ErpUnavailable):
            await bench.target.post(posting(bench, Kind.GOODS_ISSUE))
        assert not bench.target.status()["connected"]
        assert bench.target.settle_seconds > 0
