"""What people decided, joined with what the model saw: who says what a label is, and what is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from agent.people.desk import Act, reverse
from agent.ports import Acknowledgement, Kind
from agent.store import approvals, archive, corrections, drifts, outbox, postings, scored, shadow
from agent.store import labels as people
from agent.store.approvals import Signature
from agent.store.labels import Label, labels
from agent.store.shadow import Mark, Said
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.stores import START, Clock, add, arrive, claim, opened, posting, reading

MODEL = "consumption_anomaly"


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with opened(tmp_path / "gatepost.db") as started:
        yield started


def decided(writer: Writer, event: int, *, held: bool = True, model: str = MODEL, **score: Any) -> int:
    """An event that this model has scored, and its posting."""
    arrive(writer, b"{}")
    told = {"model": f"{model}/1", "sha256": "ab", "confidence": 0.25, "features": [0.5, None], "bar": 0.9} | score
    detail = {"reasons": ["confidence 0.25 is below 0.90"] if held else [], "score": told}
    writer.call(lambda tx: tx.audit("decided", detail, event_id=event))
    (made,) = add(writer, posting(event, f"order/{event}", event_id=event, reasons=("doubt",) if held else ()))
    return made


def said(writer: Writer, posting_id: int, meaning: str, by: str = "anna") -> None:
    signature = Signature(by, meaning, "weighed again")
    writer.call(lambda tx: approvals.decide(tx, posting_id, 1, signature))


def found(writer: Writer, most: int | None = None) -> list[Label]:
    with reading(writer.path) as connection:
        return labels(connection, MODEL, most)


def booked(writer: Writer, event: int) -> str:
    """Its posting, posted and acknowledged; returns the document."""
    decided(writer, event, held=False)
    (one,) = claim(writer)
    document = f"2026/{event}"
    writer.call(lambda tx: outbox.acknowledged(tx, one.posting, Acknowledgement(document)))
    return document


def test_an_approval_says_normal_and_a_refusal_wrong(writer: Writer):
    """With the features of that moment, who said it and why."""
    said(writer, decided(writer, 1), "approve")
    said(writer, decided(writer, 2), "refuse", by="ben")
    one, two = found(writer)
    assert (one.scored.event_id, one.normal, one.how, one.by) == (1, True, "approved", "anna")
    assert (two.scored.event_id, two.normal, two.how, two.by, two.why) == (2, False, "refused", "ben", "weighed again")
    assert (one.scored.model, one.scored.said, one.scored.bar) == (f"{MODEL}/1", 0.25, 0.9)
    assert one.scored.features[0] == 0.5
    assert isnan(one.scored.features[1])


def test_an_account_is_a_label_of_the_model_that_looks_it_over(writer: Writer):
    """The one that was approved, or that a person put in its place; of the same decision the cause is another's."""
    looked = {"model": "posting/1", "sha256": "cd", "confidence": 0.9, "features": [0.5], "bar": 0.05, "said": "890010"}
    case = {"movement": "551", "cost_center": "1"}
    for event, account in ((1, "890000"), (2, "890000"), (3, "")):
        arrive(writer, b"{}")
        score = {**looked, "model": f"{MODEL}/1", "sha256": "ab", "said": "tool"}
        detail = {"subject": {"cause": "tool"}, "score": score, "account": {"account": account, "score": looked}}
        writer.call(partial(Transaction.audit, action="decided", detail=detail, event_id=event))
        told = {**case, "account": account, "cause": "tool", "quantity": "4"}
        one = posting(event, f"order/{event}", event_id=event, reasons=("doubt",), payload=told)
        (made,) = add(writer, one._replace(kind=Kind.SCRAP))
        if event == 1:
            signature, new = Signature("anna", "approve", "it is no resin"), {**told, "account": "890010"}
            writer.call(
                partial(
                    corrections.correct, posting_id=made, version=1, payload=new, value=Decimal(9), signature=signature
                )
            )
        else:
            said(writer, made, "approve")
    with reading(writer.path) as connection:
        accounts, causes = labels(connection, "posting"), labels(connection, MODEL)
        rows, _ = drifts.newest(connection, 0)
    assert [(one.scored.event_id, one.told, one.normal) for one in accounts] == [
        (1, "890010", True), (2, "890000", False), (3, "", True),
    ]  # fmt: skip
    assert [one.tells for one in accounts] == [True, True, False]  # where no rule fits, and nobody names one
    assert [one.told for one in causes] == ["tool", "tool", "tool"]
    assert {one.scored.sha256 for one in accounts} == {"cd"}
    assert Counter(digest for digest, _ in rows) == {"ab": 3, "cd": 3}  # the drift of each is seen from its own


def test_what_was_booked_and_taken_back_was_wrong(writer: Writer):
    """Also where nobody had looked at it, and also where a person had approved it before."""
    document = booked(writer, 1)
    writer.call(lambda tx: reverse(tx, document, Act("anna", "wrong lot")))
    approved = decided(writer, 2)
    said(writer, approved, "approve")
    one = next(one for one in claim(writer) if one.posting.id == approved)
    writer.call(lambda tx: outbox.acknowledged(tx, one.posting, Acknowledgement("2026/2")))
    writer.call(lambda tx: reverse(tx, "2026/2", Act("ben", "wrong lot after all")))
    assert [(one.normal, one.how, one.by) for one in found(writer)] == [
        (False, "reversal_signed", "anna"),
        (False, "reversal_signed", "ben"),
    ]


def test_a_correction_says_that_the_report_was_wrong(writer: Writer):
    """Although the posting that takes its place is approved by the same signature."""
    first = decided(writer, 1)
    signature = Signature("anna", "approve", "12.5, not 125")
    payload = {"material": "RM-RESIN", "quantity": "125", "unit": "KGM", "number": 1}
    writer.call(lambda tx: corrections.correct(tx, first, 1, payload, Decimal(400), signature))
    assert [(one.normal, one.how) for one in found(writer)] == [(False, "superseded")]


def test_who_corrects_the_quantity_alone_has_said_that_the_cause_is_so(writer: Writer):
    """It stands in what was signed."""
    decided(writer, 1)
    payload = {"material": "RM-RESIN", "quantity": "12", "unit": "KGM", "cause": "tool"}
    before = payload | {"quantity": "125"}
    (scrapped,) = add(writer, posting(9, "order/9", event_id=1, reasons=("doubt",), payload=before))
    signature = Signature("anna", "approve", "counted again")
    writer.call(lambda tx: corrections.correct(tx, scrapped, 1, payload, Decimal(400), signature))
    assert [one.told for one in found(writer)] == ["tool"]


def test_of_a_class_the_label_is_what_was_approved_or_put_in_its_place(writer: Writer):
    """The corrected cause, not the model's; what was refused names none."""
    first, second, third = (decided(writer, event) for event in (1, 2, 3))
    for event in (1, 2, 3):
        detail = {"subject": {"cause": "tool"}, "reasons": [], "score": {
            "model": f"{MODEL}/1", "sha256": "ab", "confidence": 0.5, "features": [0.5, None], "bar": 0.9}}  # fmt: skip
        writer.call(lambda tx, event=event, detail=detail: tx.audit("decided", detail, event_id=event))  # type: ignore[misc]
    said(writer, first, "approve")
    payload = {"material": "RM-RESIN", "quantity": "12.5", "unit": "KGM", "number": 1, "cause": "material"}
    signature = Signature("anna", "approve", "another granulate")
    writer.call(lambda tx: corrections.correct(tx, second, 1, payload, Decimal(40), signature))
    said(writer, third, "refuse")
    fourth = decided(writer, 4)
    detail["score"]["said"] = "machine"  # type: ignore[index]  # and whoever reported it said tool
    writer.call(lambda tx: tx.audit("decided", detail, event_id=4))
    said(writer, fourth, "approve")
    told = [("tool", True), ("material", False), ("", False), ("tool", False)]
    assert [(one.told, one.normal) for one in found(writer)] == told


def test_whoever_refuses_a_class_says_nothing_of_the_model(writer: Writer):
    """A double report that is refused counts neither for nor against the cause, wherever its labels are counted."""
    refused, approved = (decided(writer, event) for event in (1, 2))
    for event in (1, 2):
        score = {"model": f"{MODEL}/1", "sha256": "ab", "confidence": 0.5, "features": [0.5], "said": "tool"}
        detail = {"subject": {"cause": "tool"}, "reasons": [], "score": score}
        writer.call(lambda tx, event=event, detail=detail: tx.audit("decided", detail, event_id=event))  # type: ignore[misc]
    said(writer, refused, "refuse")
    said(writer, approved, "approve")
    assert [one.tells for one in found(writer)] == [False, True]
    with reading(writer.path) as connection:
        (counted,) = drifts.outcomes(connection, f"{MODEL}/1", "ab", 0)
    assert counted.normal


def test_what_nobody_judged_has_no_label(writer: Writer):
    """Booked and left alone, held and waiting, signed by the first of two, given up because SAP refused it."""
    booked(writer, 1)
    decided(writer, 2)
    arrive(writer, b"{}")
    (twice,) = add(writer, posting(3, "order/3", event_id=3, reasons=("four eyes",), signers=2))
    said(writer, twice, "approve")
    decided(writer, 4, held=False)
    (one,) = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, one.posting, "period closed"))
    writer.call(lambda tx: outbox.refuse(tx, one.posting.id, by="anna", reason="booked by hand", only=("dead",)))
    assert found(writer) == []


def test_another_models_reports_are_not_this_models(writer: Writer):
    """Nor those that no model scored."""
    said(writer, decided(writer, 1, model="other"), "approve")
    said(writer, decided(writer, 2, model=f"{MODEL}_2"), "approve")
    arrive(writer, b"{}")
    writer.call(lambda tx: tx.audit("decided", {"reasons": []}, event_id=3))
    said(writer, add(writer, posting(3, "order/3", event_id=3, reasons=("x",)))[0], "approve")
    assert found(writer) == []


def test_the_newest_labels_are_taken_where_there_are_too_many(writer: Writer):
    """In the order in which the reports were decided."""
    for event in range(1, 6):
        said(writer, decided(writer, event), "approve")
    assert [one.scored.event_id for one in found(writer, 2)] == [4, 5]


def test_labels_are_found_without_walking_the_trail(writer: Writer, monkeypatch: pytest.MonkeyPatch):
    """By the index of what others than the agent did, in as many pieces as it takes."""
    with reading(writer.path) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {people._ACTS}", (0, 1)).fetchall()
    assert [row[3] for row in plan] == ["SEARCH audit USING INDEX audit_of_others (seq>?)"]
    monkeypatch.setattr(scored, "PIECE", 2)
    for event in range(1, 6):
        said(writer, decided(writer, event), "approve")
    assert len(found(writer)) == 5


def test_decisions_are_found_from_either_end(writer: Writer, monkeypatch: pytest.MonkeyPatch):
    """Behind a mark as they come, or the latest, also where the trail is looked at in many pieces."""
    monkeypatch.setattr(scored, "PIECE", 3)
    for event in range(1, 8):
        decided(writer, event)
        strange = {"score": {"model": f"{MODEL}/1"}}  # not as any release writes it: it says nothing here
        writer.call(lambda tx: tx.audit("decided", strange, event_id=1))  # noqa: B023  # called at once
        writer.call(lambda tx: tx.audit("noted", {}))
    with reading(writer.path) as connection:
        seen, mark = scored.after(connection, MODEL, 0, 4)
        assert [one.event_id for one in seen] == [1, 2, 3, 4]
        rest, mark = scored.after(connection, MODEL, mark, 10)
        assert [one.event_id for one in rest] == [5, 6, 7]
        assert scored.after(connection, MODEL, mark, 10) == ([], mark)
        assert [one.event_id for one in scored.newest(connection, MODEL, 3)] == [5, 6, 7]
        assert [one.event_id for one in scored.newest(connection, MODEL, 99)] == [1, 2, 3, 4, 5, 6, 7]


def test_labels_are_read_from_archives_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the decision was archived, and where what a person said of it was, or only one of both."""
    monkeypatch.setattr(scored, "PIECE", 2)
    clock = Clock(START)
    with opened(tmp_path / "gatepost.db", clock) as writer:
        said(writer, decided(writer, 1), "refuse")
        waiting = decided(writer, 2)
        clock.forward(days=5)
        said(writer, waiting, "approve")
        said(writer, decided(writer, 3), "approve")
        with reading(writer.path) as live:
            archive.archive(writer, live, tmp_path / "archive", clock(), timedelta(days=2))
            with archive.readers(tmp_path / "archive") as archives:
                every = labels(live, MODEL, archives=archives)
            assert [(one.scored.event_id, one.normal) for one in every] == [(1, False), (2, True), (3, True)]
            assert [one.scored.event_id for one in labels(live, MODEL)] == [3]


def test_what_a_challenger_said_leaves_with_its_event(tmp_path: Path):
    """The archive takes the event and its decision; the live file keeps nothing about it."""
    clock = Clock(START)
    with opened(tmp_path / "gatepost.db", clock) as writer:
        for event in (1, 2):
            decided(writer, event)
        writer.call(lambda tx: tx.execute("UPDATE event SET state = 'ignored', settled_us = received_us WHERE id = 1"))
        writer.call(lambda tx: tx.execute("UPDATE posting SET event_id = NULL WHERE event_id = 1"))
        both = [Said(1, 0.5, outputs=(0.5, 0.25, 0.25)), Said(2, None, "out of range")]
        writer.call(lambda tx: shadow.put(tx, MODEL, "2", "ab", both, 0.1))
        writer.call(lambda tx: shadow.put_mark(tx, MODEL, Mark("2", 4)))
        clock.forward(days=10)
        with reading(writer.path) as connection:
            assert shadow.said(connection, MODEL, "2", "ab", (1, 2)) == both
            moved = archive.archive(writer, connection, tmp_path / "archive", clock(), clock() - START)
            assert moved.events == 0
            archive.archive(writer, connection, tmp_path / "archive", clock(), (clock() - START) / 2)
            assert shadow.said(connection, MODEL, "2", "ab", (1, 2)) == both[1:]
            assert shadow.said(connection, MODEL, "2", "another file", (1, 2)) == []
            assert shadow.mark(connection, MODEL) == Mark("2", 4)
            assert postings.read(connection, 2).posting.event_id == 2
