"""What was issued and is not booked after all: whose no it was decides how it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.ports import Kind, Proposal
from agent.store import outbox, unbooked
from agent.store.approvals import Signature
from agent.store.corrections import correct
from agent.store.unbooked import Unbooked
from agent.store.writer import Writer
from agent.unbooked import reports
from tests.stores import Clock, add, opened, posting
from tests.unit.test_workflow_backflush import Line, quantities
from tests.unit.test_workflow_consumption import AT


def hear(line: Line, proposal: Proposal, action: str = "refused", *, sent: bool = False, **instead: str) -> str:
    """The line's workflow hears that its first issue of resin is not booked; returns why it says so."""
    payload = next(one.payload for one in proposal.drafts if one.payload["material"] == "RM-RESIN")
    other = {**payload, **instead} if instead else None
    one = Unbooked(7, "backflush", Kind.GOODS_ISSUE, AT, action, "anna", "no", payload, sent, other)
    (report,) = reports(one)
    heard = line.take(report)
    assert not heard.drafts
    return heard.reasons[0]


def test_what_the_erp_refused_goes_with_the_next_issue():
    """It is due as before: a period that was closed, say."""
    line = Line()
    said = hear(line, line.produced("100"), sent=True)
    assert said == "97.5 KG of RM-RESIN were refused by anna: what is due goes with the next issue"
    assert quantities(line.produced("100"))["RM-RESIN"] == "193.500"


def test_what_a_person_refused_is_not_issued_because_it_is_expected():
    """The next issue is for the pieces since then; when a scale has seen the others, all of it is due."""
    line = Line()
    said = hear(line, line.produced("100"))
    assert said.endswith("refused by anna: it is issued when it is measured")
    second = line.produced("100")
    assert quantities(second)["RM-RESIN"] == "96.000"
    assert any("97.5 KG of it not issued again before it is measured" in one for one in second.reasons)
    line.measured("97.000", "100")
    assert Decimal(quantities(line.produced("50"))["RM-RESIN"]) > 140


def test_what_was_measured_and_a_person_took_back_is_issued_again_only_by_a_person():
    """Scale and person contradict each other: whoever decides is told so."""
    line = Line()
    first = line.produced("100")
    line.measured("97.500", "100")
    assert hear(line, first, "reversed").endswith("taken back by anna: a person lets it be issued again")
    again = line.produced("100")
    assert quantities(again)["RM-RESIN"] == "193.500"
    assert again.holds == ("RM-RESIN was measured, and a person did not let all of it be booked: somebody decides",)
    assert not line.produced("100").holds


def test_what_a_person_corrected_counts_with_what_is_booked():
    """More than was decided makes the next issue smaller."""
    line = Line()
    hear(line, line.produced("100"), "superseded", quantity="100.000")
    assert quantities(line.produced("100"))["RM-RESIN"] == "93.500"


def test_the_difference_of_a_doubtful_measurement_counts_neither_way():
    """Its account was right before, and is right after."""
    line, other = Line(), Line()
    for one in (line, other):
        one.produced("100")
        doubtful = one.measured("212.400", "100")
    assert hear(line, doubtful).endswith("the account counts it neither way")
    assert quantities(line.produced("100")) == quantities(other.produced("100"))


# ── what the trail says ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with opened(tmp_path / "gatepost.db", Clock()) as one:
        yield one


def test_the_trail_tells_each_once_with_who_it_was(writer: Writer):
    """A refusal, an end of patience, a correction with what stands in its place; and nothing behind its mark."""
    payload: dict[str, Any] = {"material": "RM-RESIN", "quantity": "12.000", "unit": "KGM", "order": "1000100"}
    news = [posting(number, reasons=("odd",), payload=payload) for number in (1, 2, 3)]
    refused, expired, corrected = add(writer, *news)
    writer.call(lambda tx: outbox.refuse(tx, refused, by="anna", reason="a pallet"))
    writer.call(lambda tx: outbox.expire(tx, expired, "nobody decided"))
    new, sign = {**payload, "quantity": "10.000"}, Signature("ben", "approve", "weighed again")
    writer.call(lambda tx: correct(tx, corrected, 1, new, Decimal(10), sign))
    found, seen = writer.call(lambda tx: unbooked.since(tx.connection, 0))
    assert [(one.posting, one.action, one.by, one.why, one.was_sent) for one in found] == [
        (refused, "refused", "anna", "a pallet", False),
        (expired, "expired", "agent", "nobody decided", False),
        (corrected, "superseded", "ben", "weighed again", False),
    ]
    assert found[2].instead == new
    assert writer.call(lambda tx: unbooked.since(tx.connection, seen)) == ([], seen)
