"""The SAP target against the ERP simulator: what is asserted is what the ERP has booked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.access.secrets import Secret
from agent.erp.sap_s4 import SapS4, SapS4Config
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import Acknowledgement, Kind, Posting
from agent.sap.connection import BasicAuth, CertificateAuth, OAuth2
from agent.sap.formats import key_guid
from simulators.erp.faults import read_rules
from simulators.erp.server import Running, running
from simulators.erp.state import Settings

NOW = datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)
KEY = "3R8Z0K5XQH7M2V9C"
ORDER = "1000100"


def issue(**changes: Any) -> dict[str, Any]:
    return {
        "plant": "1710",
        "material": "RM-RESIN",
        "order": ORDER,
        "operation": "0010",
        "quantity": "12.5",
        "unit": "KGM",
        "storage_location": "171A",
        "posting_date": "2026-11-20",
        "document_date": "2026-11-20",
        "text": "scale 3",
    } | changes


def confirmation(**changes: Any) -> dict[str, Any]:
    return {
        "plant": "1710",
        "order": ORDER,
        "operation": "10",
        "sequence": "0",
        "yield": "100",
        "scrap": "2",
        "rework": "0",
        "unit": "KGM",
        "final": False,
        "scrap_reason": "0001",
        "posting_date": "2026-11-20",
        "start": "2026-11-20T13:05:09+00:00",
        "end": "2026-11-20T14:00:00+00:00",
        "activities": {"1": {"quantity": "20", "unit": "MIN"}},
        "backflush": False,
        "text": "shift 1",
        "personnel": "",
    } | changes


def posting(kind: Kind, payload: dict[str, Any], key: str = KEY) -> Posting:
    return Posting(
        id=1,
        event_id=1,
        kind=kind,
        target="s4",
        ordering_key=ORDER,
        idempotency_key=key,
        payload=payload,
        state="sending",
        version=1,
        created_at=NOW,
        first_sent_at=NOW,
        request_id=key_guid(key).replace("-", "").upper(),
    )


def frozen(target: SapS4, one: Posting) -> Posting:
    return one._replace(wire=target.freeze(one))


def settings(url: str, **changes: Any) -> SapS4Config:
    shared: dict[str, Any] = {"name": "s4", "url": url, "time_zone": "Europe/Berlin", "total_s": 1.5, "connect_s": 0.7}
    auth = BasicAuth(user="GATEPOST", password=Secret("erp", "s3cret"))
    return SapS4Config(**({"auth": auth} | shared | changes))


@contextlib.asynccontextmanager
async def target_of(url: str, kept: dict[str, bytes] | None = None, **changes: Any) -> AsyncIterator[SapS4]:
    disk = {} if kept is None else kept
    target = SapS4(settings(url, **changes), keep=disk.__setitem__, kept=disk.get, clock=lambda: NOW)
    try:
        await target.open()
        yield target
    finally:
        await target.close()


@contextlib.asynccontextmanager
async def bench(*faults: dict[str, Any], **changes: Any) -> AsyncIterator[tuple[Running, SapS4]]:
    """A simulated SAP and a target that is open; faults begin after that."""
    options = Settings(idempotency=changes.pop("idempotency", False), locking=changes.pop("locking", True))
    async with (
        running(user="GATEPOST", password="s3cret", settings=options) as sap,
        target_of(sap.base_url, **changes) as target,
    ):
        set_faults(sap, *faults)
        yield sap, target


def set_faults(sap: Running, *faults: dict[str, Any]) -> None:
    sap.erp.faults.replace(read_rules(list(faults)))


def booked(sap: Running) -> list[str]:
    return [document.number for document in sap.erp.books.documents]


async def post(target: SapS4, kind: Kind, payload: dict[str, Any], key: str = KEY) -> Acknowledgement:
    return await target.post(frozen(target, posting(kind, payload, key)))


async def test_goods_issue_is_booked_with_its_key_and_found_again():
    """A goods issue becomes one document that carries the key, and `find` names the same document."""
    async with bench(read_back=True) as (sap, target):
        assert target.check(Kind.GOODS_ISSUE, issue()) == []
        answer = await post(target, Kind.GOODS_ISSUE, issue())
        (document,) = sap.erp.books.documents
        assert (answer.document, answer.found, answer.warnings) == (document.number, False, ())
        assert document.header["ReferenceDocument"] == KEY
        assert document.items[0]["QuantityInEntryUnit"] == "12.500"
        found = await target.find(posting(Kind.GOODS_ISSUE, issue()))
        assert found is not None
        assert (found.document, found.found) == (document.number, True)


async def test_confirmation_is_booked_with_local_times_and_found_again():
    """A confirmation carries the GUID of its key and the plant's wall clock, and moves nothing when told so."""
    async with bench() as (sap, target):
        assert target.check(Kind.CONFIRMATION, confirmation()) == []
        answer = await post(target, Kind.CONFIRMATION, confirmation())
        (document,) = sap.erp.books.documents
        assert answer.document == document.number
        assert document.header["ExternalSystemConfirmation"] == key_guid(KEY)
        assert document.header["ConfirmedExecutionStartTime"] == "PT14H05M09S"
        assert document.header["OpConfirmedWorkQuantity1"] == "20.000"
        assert document.movement is None
        found = await target.find(posting(Kind.CONFIRMATION, confirmation()))
        assert found is not None
        assert found.document == answer.document


async def test_find_without_a_document_is_none():
    """Nothing was posted, so nothing is found, of any kind."""
    async with bench() as (_, target):
        assert await target.find(posting(Kind.GOODS_ISSUE, issue())) is None
        assert await target.find(posting(Kind.CONFIRMATION, confirmation())) is None
        reversal = {"of_kind": "goods_issue", "document": "2026/4900000001", "posting_date": "2026-11-20"}
        assert await target.find(posting(Kind.REVERSAL, reversal)) is None


@pytest.mark.parametrize(("kind", "payload"), [(Kind.GOODS_ISSUE, issue()), (Kind.CONFIRMATION, confirmation())])
async def test_reversal_is_booked_once_and_found(kind: Kind, payload: dict[str, Any]):
    """A reversal cancels the document, is found afterwards, and the original is still found as one."""
    async with bench() as (sap, target):
        original = await post(target, kind, payload)
        content = {"of_kind": kind.value, "document": original.document, "posting_date": "2026-11-20", "reason": "typo"}
        assert target.check(Kind.REVERSAL, content) == []
        other = "7777777777777777"
        assert await target.find(posting(Kind.REVERSAL, content, other)) is None
        answer = await post(target, Kind.REVERSAL, content, other)
        assert booked(sap) == [original.document, answer.document]
        found = await target.find(posting(Kind.REVERSAL, content, other))
        assert found is not None
        assert found.document == answer.document
        first = await target.find(posting(kind, payload))
        assert first is not None
        assert first.document == original.document


def taking_back(kind: Kind, original: Acknowledgement, attempts: int = 0) -> Posting:
    content = {"of_kind": kind.value, "document": original.document, "posting_date": "2026-11-20", "order": ORDER}
    return posting(Kind.REVERSAL, content, "9999999999999999")._replace(attempts=attempts)


@pytest.mark.parametrize(("kind", "payload"), [(Kind.GOODS_ISSUE, issue()), (Kind.CONFIRMATION, confirmation())])
async def test_what_somebody_took_back_in_sap_is_not_taken_back_on_top(kind: Kind, payload: dict[str, Any]):
    """SAP is asked before a reversal is sent: it stops, and says by what; replayed, that counts as its document."""
    async with bench() as (sap, target):
        original = await post(target, kind, payload)
        content = {"of_kind": kind.value, "document": original.document, "posting_date": "2026-11-20"}
        theirs = await post(target, Kind.REVERSAL, content, "8888888888888888")
        calls = len(sap.erp.books.documents)
        with pytest.raises(ErpRejected, match=f"{original.document} does not stand any more") as told:
            await target.post(frozen(target, taking_back(kind, original)))
        assert told.value.code == "TAKEN_BACK"
        answer = await target.post(frozen(target, taking_back(kind, original, attempts=1)))
        assert (answer.found, answer.document) == (
            True,
            theirs.document if kind is Kind.GOODS_ISSUE else original.document,
        )
        assert len(booked(sap)) == calls


@pytest.mark.parametrize(("quantity", "first"), [("12.5", False), ("12.4", False), ("12.5", True)])
async def test_an_issue_that_went_back_by_hand_without_its_number_is_not_cancelled_on_top(quantity: str, first: bool):
    """SAP does not see that 262 of as much took it back: a person looks. Another amount, or earlier, it is not."""
    async with bench() as (sap, target):
        if first:
            await post(target, Kind.GOODS_ISSUE, issue(), "AAAAAAAAAAAAAAAA")
            await post(target, Kind.GOODS_ISSUE, issue(movement="262"), "BBBBBBBBBBBBBBBB")
        original = await post(target, Kind.GOODS_ISSUE, issue())
        if not first:
            back = await post(target, Kind.GOODS_ISSUE, issue(movement="262", quantity=quantity), "BBBBBBBBBBBBBBBB")
        before, reversal = len(booked(sap)), taking_back(Kind.GOODS_ISSUE, original)
        if first or quantity == "12.4":
            await target.post(frozen(target, reversal))
        else:
            with pytest.raises(ErpRejected, match=f"taken back in SAP by {back.document}, so nothing was sent"):
                await target.post(frozen(target, reversal))
            assert len(booked(sap)) == before
            await target.post(frozen(target, reversal._replace(attempts=1)))  # somebody has looked: it was another one
        assert len(booked(sap)) == before + 1


async def test_a_document_that_sap_does_not_have_is_refused_by_it():
    """Nobody can look whether it stands: the reversal is sent, and SAP says what it thinks of it."""
    async with bench() as (_, target):
        with pytest.raises(ErpRejected) as told:
            await target.post(frozen(target, taking_back(Kind.GOODS_ISSUE, Acknowledgement("2026/4911111111"))))
        assert told.value.code != "TAKEN_BACK"


async def test_a_confirmation_that_somebody_else_reversed_is_found_with_a_warning():
    """The effect is there, so the reversal is not posted again; whose document it is, a person may look up."""
    async with bench() as (sap, target):
        original = await post(target, Kind.CONFIRMATION, confirmation())
        content = {"of_kind": "confirmation", "document": original.document, "posting_date": "2026-11-20"}
        await post(target, Kind.REVERSAL, content, "8888888888888888")
        found = await target.find(posting(Kind.REVERSAL, content, "9999999999999999"))
        assert found is not None
        assert (found.document, len(found.warnings)) == (original.document, 1)
        unknown = content | {"document": "99/1"}
        assert await target.find(posting(Kind.REVERSAL, unknown)) is None
        still = await target.find(posting(Kind.CONFIRMATION, confirmation()))
        assert still is not None
        assert "reversed" in still.warnings[0]
        assert len(booked(sap)) == 2


async def test_read_back_notices_that_sap_moved_something_else():
    """A movement that differs from what was sent is a warning with both quantities; the document stands."""
    async with bench(read_back=True) as (sap, target):
        sent = frozen(target, posting(Kind.GOODS_ISSUE, issue()))
        answer = await target.post(sent._replace(payload=issue(quantity="13")))
        assert answer.warnings == (f"{answer.document} moved 12.500 KG of RM-RESIN, but 13 KG were sent",)
        set_faults(sap, {"fault": "html", "method": "GET"})
        (words,) = (await post(target, Kind.GOODS_ISSUE, issue(), "5555555555555555")).warnings
        assert "could not be read back" in words


async def test_two_documents_with_one_key_are_shown_to_a_person():
    """Two documents that carry the same key are refused as a duplicate that names both."""
    async with bench() as (sap, target):
        await post(target, Kind.GOODS_ISSUE, issue())
        await post(target, Kind.GOODS_ISSUE, issue())
        with pytest.raises(ErpRejected) as refused:
            await target.find(posting(Kind.GOODS_ISSUE, issue()))
        assert refused.value.code == "DUPLICATE_AT_ERP"
        assert all(number in str(refused.value) for number in booked(sap))


async def test_backflush_reads_its_movements_back_and_suspects_cogi():
    """A backflush whose movements failed is booked, with a warning that points to COGI; one that worked has none."""
    async with bench() as (sap, target):
        for part in sap.erp.ledger.orders[ORDER].components.values():
            part.backflush = True
        payload = confirmation(backflush=True)
        assert (await post(target, Kind.CONFIRMATION, payload)).warnings == ()
        set_faults(sap, {"fault": "cogi"})
        answer = await post(target, Kind.CONFIRMATION, payload, "1111111111111111")
        assert len(answer.warnings) == 1
        assert "COGI" in answer.warnings[0]
        assert len(booked(sap)) == 2


async def test_business_error_is_a_refusal_in_saps_words():
    """A stock shortage is refused with message class, number, words and the transaction id."""
    async with bench() as (sap, target):
        with pytest.raises(ErpRejected, match=r"(?i)deficit") as refused:
            await post(target, Kind.GOODS_ISSUE, issue(quantity="9999999"))
        assert refused.value.code == "M7/021"
        assert refused.value.details["transactionid"]
        assert refused.value.details["timestamp"]
        assert booked(sap) == []


async def test_an_sap_that_is_down_is_not_told_to_activate_a_service():
    """503 for $metadata is an outage; only another refusal says that the service is not there."""
    async with bench() as (sap, target):
        set_faults(sap, {"fault": "unavailable", "value": "1"})
        with pytest.raises(ErpUnavailable, match=r"\$metadata: SAP cannot answer now \(status 503"):
            await target.open()


Case = tuple[dict[str, Any], type[ErpError] | None]  # a fault, and what the posting is told
NOTHING_BOOKED: list[Case] = [  # faults before the commit
    ({"fault": "unavailable", "value": "7"}, ErpUnavailable),
    ({"fault": "unavailable", "value": "x"}, ErpUnavailable),
    ({"fault": "too_many", "value": "-1"}, ErpUnavailable),
    ({"fault": "too_many", "value": "86400"}, ErpUnavailable),
    ({"fault": "hang", "seconds": 5}, ErpInDoubt),
    ({"fault": "reset"}, ErpInDoubt),
    ({"fault": "html"}, ErpInDoubt),
    ({"fault": "error_in_200"}, ErpInDoubt),
    ({"fault": "redirect", "value": "http://127.0.0.1:9/evil"}, ErpInDoubt),
    ({"fault": "unauthorized"}, ErpUnavailable),
    ({"fault": "forbidden"}, ErpUnavailable),
    ({"fault": "locked"}, ErpUnavailable),
    ({"fault": "xml_error"}, ErpRejected),
    ({"fault": "xml_error", "value": '<!DOCTYPE a [<!ENTITY b "c">]><error><code>&b;</code></error>'}, ErpInDoubt),
]
ALL_BOOKED: list[Case] = [  # faults after the commit: never anything but a yes or a doubt
    ({"fault": "answer_lost"}, ErpInDoubt),
    ({"fault": "error_after_commit"}, ErpInDoubt),
    ({"fault": "bad_gateway"}, ErpInDoubt),
    ({"fault": "truncated"}, ErpInDoubt),
    ({"fault": "empty_body"}, ErpInDoubt),
    ({"fault": "no_document"}, ErpInDoubt),
    ({"fault": "huge"}, ErpInDoubt),
    ({"fault": "trickle", "seconds": 0.1}, ErpInDoubt),
    ({"fault": "empty_items"}, None),
    ({"fault": "wrong_type"}, None),
    ({"fault": "message_error"}, None),
]


@pytest.mark.parametrize(("fault", "error"), NOTHING_BOOKED + ALL_BOOKED, ids=lambda value: str(value)[:60])
async def test_answers_are_judged_and_the_next_posting_goes_through(
    fault: dict[str, Any], error: type[ErpError] | None
):
    """Each odd answer gets its error, find tells what was booked, and the good posting after it goes through."""
    async with bench(fault | {"method": "POST"}) as (sap, target):
        if error is None:
            await post(target, Kind.GOODS_ISSUE, issue())
        else:
            with pytest.raises(error) as raised:
                await post(target, Kind.GOODS_ISSUE, issue())
            assert raised.type is error
            wait = raised.value.retry_after
            assert wait is None or 1 <= wait <= 3600
        set_faults(sap)
        found = await target.find(posting(Kind.GOODS_ISSUE, issue()))
        assert (found is not None) == ((fault, error) in ALL_BOOKED)
        answer = await post(target, Kind.GOODS_ISSUE, issue(), "2222222222222222")
        assert booked(sap)[-1] == answer.document


async def test_message_with_severity_error_beside_a_document_is_a_warning():
    """A document number is a yes; what SAP says beside it in sap-message is shown to people."""
    async with bench({"fault": "message_error"}) as (_, target):
        answer = await post(target, Kind.GOODS_ISSUE, issue())
        assert answer.document
        assert any(warning.startswith("SAP error") for warning in answer.warnings)
        assert answer.details["sap_message"]


async def test_locked_order_stops_its_lane_only():
    """423 concerns one order: the lane waits, not the target."""
    async with bench({"fault": "locked", "method": "POST"}) as (_, target):
        with pytest.raises(ErpUnavailable) as locked:
            await post(target, Kind.CONFIRMATION, confirmation())
        assert locked.value.scope == "lane"
        assert target.status()["connected"]


async def test_expired_token_is_renewed_once_for_all_and_the_posting_goes_through():
    """Ten postings that meet an expired session fetch one new token and book ten documents."""
    async with bench(locking=False) as (sap, target):
        await post(target, Kind.GOODS_ISSUE, issue())
        sap.erp.sessions.sessions.clear()
        keys = [f"{number:016d}" for number in range(10)]
        answers = await asyncio.gather(*(post(target, Kind.GOODS_ISSUE, issue(), key) for key in keys))
        assert len({answer.document for answer in answers}) == 10
        assert len(booked(sap)) == 11
        assert len(sap.erp.sessions.sessions) == 1


async def test_retry_with_idempotency_switched_on_books_once():
    """The same frozen bytes answered twice are one document where SAP honours RequestID."""
    async with bench({"fault": "answer_lost", "count": 1}, idempotency=True) as (sap, target):
        one = frozen(target, posting(Kind.GOODS_ISSUE, issue()))
        with pytest.raises(ErpInDoubt):
            await target.post(one)
        answer = await target.post(one)
        assert booked(sap) == [answer.document]
        assert answer.details["repeatability"] == "accepted"


async def test_outdated_request_id_is_read_back_as_already_posted():
    """/IWBEP/CM_COS 005 is no error: the document is found by its key."""
    async with bench(idempotency=True) as (sap, target):
        one = frozen(target, posting(Kind.GOODS_ISSUE, issue()))
        first = await target.post(one)
        sap.erp.settings.response_seconds = -1
        again = await target.post(one)
        assert (again.document, again.found) == (first.document, True)
        assert booked(sap) == [first.document]


async def test_sap_that_is_down_has_been_sent_nothing():
    """A refused connection is no doubt: nothing was sent, neither by post nor by find."""
    async with bench() as (sap, target):
        one = frozen(target, posting(Kind.GOODS_ISSUE, issue()))
        url = sap.base_url
    disk: dict[str, bytes] = {}
    gone = SapS4(settings(url), keep=disk.__setitem__, kept=disk.get, clock=lambda: NOW)
    await gone.session.open()
    for call in (gone.post(one), gone.find(one)):
        with pytest.raises(ErpUnavailable, match="not reachable"):
            await call
    assert not gone.status()["connected"]
    await gone.close()


async def test_cold_start_with_sap_down_uses_the_metadata_read_last(caplog: pytest.LogCaptureFixture):
    """With SAP down payloads are checked against the kept $metadata, said once; with none kept, opening says so."""
    kept: dict[str, bytes] = {}
    async with running(user="GATEPOST", password="s3cret") as sap, target_of(sap.base_url, kept):
        url = sap.base_url
    assert set(kept) == {"API_MATERIAL_DOCUMENT_SRV", "API_PROD_ORDER_CONFIRMATION_2_SRV"}
    async with target_of(url, kept) as target:
        assert target.check(Kind.GOODS_ISSUE, issue()) == []
        assert target.check(Kind.GOODS_ISSUE, issue(batch="B" * 11))
        assert target.status()["services"]["API_MATERIAL_DOCUMENT_SRV"]["metadata"] == "kept"
    assert caplog.text.count("payloads are checked against the $metadata kept") == 1
    with pytest.raises(ErpUnavailable):
        async with target_of(url):
            pass


async def test_a_field_that_a_release_has_lost_is_drift_and_refused_before_it_is_sent():
    """A field that vanished from $metadata is reported, and payloads that need it are refused."""
    kept: dict[str, bytes] = {}
    async with running(user="GATEPOST", password="s3cret") as sap:
        async with target_of(sap.base_url, kept):
            pass
        sap.erp.settings.hidden = frozenset({"MaterialDocumentItemText"})
        async with target_of(sap.base_url, kept) as target:
            (words,) = target.check(Kind.GOODS_ISSUE, issue())
            assert "MaterialDocumentItemText" in words
            (line,) = target.status()["services"]["API_MATERIAL_DOCUMENT_SRV"]["drift"]
            assert "MaterialDocumentItemText" in line


async def test_client_certificate_over_tls_is_the_identity():
    """With its own authority and a client certificate the agent posts without any password."""
    async with running(https=0, user="GATEPOST", password="s3cret") as sap:
        files = sap.certificates
        assert files is not None
        mine: dict[str, Any] = {
            "auth": CertificateAuth(kind="certificate"),
            "ca_file": files.ca,
            "client_certificate": files.client,
        }
        async with target_of(sap.https_url, **mine) as target:
            assert (await post(target, Kind.GOODS_ISSUE, issue())).document == booked(sap)[0]


async def test_unknown_authority_is_refused_before_anything_is_sent():
    """A certificate of an unknown authority is no doubt: the handshake failed, nothing was sent."""
    async with running(https=0, user="GATEPOST", password="s3cret") as sap:
        with pytest.raises(ErpUnavailable, match="certificate"):
            async with target_of(sap.https_url):
                pass


async def test_oauth_token_is_fetched_and_renewed_after_a_refusal():
    """An access token that SAP forgot is fetched anew, once, and the posting goes through."""
    async with running(https=0, user="GATEPOST", password="s3cret") as sap:
        files = sap.certificates
        assert files is not None
        auth = OAuth2(
            kind="oauth2",
            token_url=f"{sap.https_url}/oauth/token",
            client_id="GATEPOST",
            client_secret=Secret("erp", "s3cret"),
        )
        async with target_of(sap.https_url, auth=auth, ca_file=files.ca) as target:
            await post(target, Kind.GOODS_ISSUE, issue())
            sap.erp.sessions.bearers.clear()
            await post(target, Kind.GOODS_ISSUE, issue(), "4444444444444444")
            assert len(booked(sap)) == 2
