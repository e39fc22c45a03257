"""The script library, as far as it is plain Python: words, boards, queues, envelopes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agent.access.envelope import SignatureRefused, verify
from simulators.gateway.project import Project
from simulators.gateway.tags import Dataset

PROJECT = Path(__file__).resolve().parents[2] / "ignition_project/Gatepost"
gatepost: Any = Project(PROJECT).library(None)["gatepost"]
words = gatepost.words
SECRET = "s" * 40


def approval(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1, "version": 1, "kind": "goods_issue", "module": "MM", "line": "mixing", "order": "1000100",
        "material": "RM-RESIN", "material_text": "Resin", "quantity": "26.000", "unit": "KG", "value": "83.2",
        "currency": "EUR", "risk": "high", "created_at": "2026-11-20T14:00:05.000000+00:00", "escalated": False,
        "signers": 1, "signed_by": [], "reason": "twice as much", **changes,
    }  # fmt: skip


def finding(**changes: Any) -> dict[str, Any]:
    return {
        "id": "3f0c52b1", "event": 412, "found_at": "2026-11-20T13:10:00.000000+00:00", "cause": "missing report",
        "material": "RM-PIGMENT", "material_text": "Pigment", "storage_location": "171A", "batch": "",
        "order": "1000100", "excess": "-4.500", "unit": "KG", "value": "81", "currency": "EUR",
        "evidence": ["made", "not reported"],
        "state": "waits for a person", "risk": "medium", "proposal": {
            "id": 19, "kind": "goods_issue", "state": "held", "quantity": "4.500", "unit": "KG", "takes_back": "",
        }, **changes,
    }  # fmt: skip


def board(
    *approvals: dict[str, Any], findings: list[dict[str, Any]] | None = None, lots: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    return {
        "version": "v1", "now": "2026-11-20T14:10:09.120000+00:00", "unchanged": False, "left_out": 0, "orders": [],
        "health": {"sources": [], "targets": [], "models": []}, "approvals": list(approvals),
        "findings": findings, "lots": list(lots),
    }  # fmt: skip


def found(*given: dict[str, Any], reconciles: bool = True, **filters: str) -> Any:
    """What the view of findings shows of these."""
    table = Dataset(*gatepost.board.tables(board(findings=list(given)))["Board/Findings"])
    asked = (filters.get(name, "") for name in ("material", "place", "words"))
    return gatepost.queue.findings(table, reconciles, *asked)


def queue(*approvals: dict[str, Any]) -> Dataset:
    return Dataset(*gatepost.board.tables(board(*approvals))["Board/Approvals"])


@given(some.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001  # made aware below
def test_a_time_is_the_same_after_it_was_written(at: datetime):
    """Milliseconds and ISO text in UTC tell the same moment, to the second that the agent's ages are counted in."""
    aware = at.replace(tzinfo=UTC)
    seconds = int(aware.timestamp())
    assert words.moment(aware.isoformat()) == seconds * 1000
    assert datetime.fromisoformat(words.iso(seconds * 1000)) == aware.replace(microsecond=0)


@given(some.decimals(-(10**12), 10**12, places=3))
def test_an_amount_loses_nothing_but_zeros(number: Decimal):
    """What people read is the same number as what is posted."""
    shown = words.amount(f"{number:f}", "KG")
    assert Decimal(shown.removesuffix(" KG").replace(" ", "")) == number


def test_amounts_money_and_ages_are_short():
    """Trailing zeros and false precision are left out."""
    assert words.amount("1234567.500", "KG") == "1 234 567.5 KG"
    assert words.amount("26.000", "KG") == "26 KG"
    assert words.amount("", "KG") == ""
    assert words.money("83.2", "EUR") == "83.20 EUR"
    assert [words.age(one) for one in (5, 90, 7300, 200000)] == ["now", "1 min", "2 h", "2 d"]


def test_the_queue_is_filtered_by_line_risk_and_words():
    """Each filter takes away; an empty one takes nothing away."""
    table = queue(approval(), approval(id=2, line="molding", risk="low", reason="every posting is approved"))

    def ids(*filters: str) -> list[int]:
        return [one["id"] for one in gatepost.queue.shown(table, *filters)]

    assert ids("", "", "") == [1, 2]
    assert ids("molding", "", "") == [2]
    assert ids("", "high", "") == [1]
    assert ids("", "", "TWICE") == [1]
    assert ids("molding", "high", "") == []
    assert gatepost.queue.lines(table)[1:] == [{"value": one, "label": one} for one in ("mixing", "molding")]
    assert (gatepost.queue.version(table, 2), gatepost.queue.version(table, 3)) == (1, 0)


def test_a_row_tells_age_money_and_whose_signature_is_missing():
    """The row of a posting that needs two signatures says so before its reason."""
    (row,) = gatepost.queue.rows(queue(approval(signers=2, signed_by=["anna"], escalated=True)))
    assert row["age"] == "9 min !"
    assert row["worth"] == "83.20 EUR"
    assert row["reason"] == "1 of 2 signed: twice as much"
    assert "value" not in row, "a table takes a row with `value` and `style` for a dressed one"


def test_a_finding_says_what_is_wrong_how_much_and_what_puts_it_right():
    """Risk in a word, place, quantity and money with their units, age, evidence, and the way to the signature."""
    (card,) = found(finding())["rows"]
    assert (card["risk"], card["cause"]) == ("MEDIUM", "Missing report")
    assert card["where"] == "Pigment  RM-PIGMENT at 171A"
    assert (card["amount"], card["sense"], card["worth"]) == ("4.5 KG", "too little booked", "81.00 EUR")
    assert card["about"] == "order 1000100,  found 1 h ago,  waits for a person"
    assert (card["evidence"], card["proposal"]) == ("Made; not reported", "Proposed: goods issue 4.5 KG (posting 19)")
    assert (card["page"], card["button"]) == ("/approval/19", "Look and sign")
    advice = {**finding()["proposal"], "id": None, "state": "advised"}
    (card,) = found(finding(state="advised", risk="low", proposal=advice))["rows"]
    assert card["proposal"] == "Advised, nothing is written: goods issue 4.5 KG"
    assert (card["page"], card["button"]) == ("/trace/event:412", "Look")
    back = {"id": 20, "kind": "reversal", "state": "dead", "quantity": "", "unit": "", "takes_back": "2026/49"}
    (card,) = found(finding(state="stuck", risk="high", excess="96", proposal=back))["rows"]
    assert (card["sense"], card["proposal"]) == (
        "too much booked",
        "Correction: take back document 2026/49 (posting 20)",
    )
    assert card["about"].endswith("stuck: the ERP refused the correction, or may have booked it")
    (card,) = found(finding(state="under way", risk="low", proposal=None))["rows"]
    assert (card["page"], card["proposal"], card["button"]) == ("/trace/event:412", "", "Look")


def test_findings_are_filtered_and_an_empty_list_says_why():
    """Nobody compares, nothing is open, or nothing fits: three different things."""
    two = finding(), finding(id="9a", material="RM-RESIN", storage_location="172B", order="1000101")
    assert [one["where"] for one in found(*two, place="172B")["rows"]] == ["Pigment  RM-RESIN at 172B"]
    assert len(found(*two, material="RM-PIGMENT")["rows"]) == len(found(*two, words="1000101")["rows"]) == 1
    assert "fits these filters" in found(*two, material="RM-RESIN", place="171A")["said"]
    assert found()["said"].startswith("Nothing is open")
    assert found(reconciles=False)["said"].startswith("Nobody compares")
    table = Dataset(*gatepost.board.tables(board(findings=list(two)))["Board/Findings"])
    assert [one["label"] for one in gatepost.queue.choices(table, "location", "All")] == ["All", "171A", "172B"]


LOT = {
    "posting": 14, "material": "BODY-55", "material_text": "Valve body 55", "lot": "L-2", "order": "1000110",
    "work_center": "MOLD-02", "since": "2026-11-20T13:10:00.000000+00:00", "left": "180", "unit": "PC",
    "severity": "major", "suggested": "rework", "currency": "EUR", "storage_location": "171A", "quantity": "200",
    "costs": {"scrap": "414.00", "rework": "124.20", "use_as_is": "0.00"}, "decided": True, "may": True,
    "shown_sha256": "0" * 64,
}  # fmt: skip
BATCH = {**LOT, "left": None, "quantity": None, "costs": dict.fromkeys(("scrap", "rework", "use_as_is"))}


def test_a_lot_says_how_bad_it_is_what_is_left_and_what_each_choice_costs():
    """In the list and when it is opened; of a whole batch nobody knows the cost."""
    lots = [Dataset(*gatepost.board.tables(board(lots=[one]))["Board/Lots"]) for one in (LOT, BATCH)]
    (row,), (batch,) = [gatepost.queue.lots(one) for one in lots]
    assert (row["left"], row["usual"], row["since"]) == ("180 PC", "Rework, costs 124.20 EUR", "1 h")
    assert row["severity"] == {"value": "MAJOR", "style": {"classes": "Gatepost/Risk/Medium"}}
    assert (batch["left"], batch["usual"]) == ("the whole batch", "Rework")
    now = words.moment("2026-11-20T14:10:00.000000+00:00")
    it = gatepost.lot.shown(LOT, now)
    assert (it["left"], it["figure"], it["open"]) == ("180 PC", "180", True)
    assert it["costs"] == {"scrap": "414.00 EUR", "rework": "124.20 EUR", "use_as_is": "nothing"}
    assert {"name": "Kept from use", "value": "for 1 h"} in it["facts"]
    assert gatepost.lot.shown({**LOT, "left": "0.000"}, now)["open"] is False
    assert gatepost.lot.shown(BATCH, now)["costs"]["scrap"] == "price times quantity"


@given(some.lists(some.integers(0, 59), min_size=1), some.integers(0, 59), some.integers(0, 59))
def test_ages_change_once_a_minute(created: list[int], one: int, other: int):
    """Within a minute the tables stay the same, however many rows there are: nothing is sent to the sessions."""
    rows = [approval(id=at, created_at=f"2026-11-20T14:00:{at:02}.000000+00:00") for at in created]
    moments = [f"2026-11-20T14:10:{at:02}.500000+00:00" for at in (one, other)]
    first, second = [gatepost.board.tables({**board(*rows), "now": now}) for now in moments]
    assert first == second


@given(some.text(max_size=60), some.text(max_size=30))
def test_the_envelope_holds_for_every_text(comment: str, name: str):
    """What the gateway seals the agent opens, whatever people write; one changed byte and it does not."""
    body = gatepost.envelope.body({"nonce": "n", "comment": comment, "signer": {"full_name": name}})
    now = datetime(2026, 11, 20, 14, tzinfo=UTC)
    headers = gatepost.envelope.headers(body, "n", SECRET, int(now.timestamp() * 1000))
    told = headers["X-Gatepost-Timestamp"], headers["X-Gatepost-Signature"], "n"
    verify(SECRET, *told, body.encode(), now)
    assert json.loads(body)["comment"] == comment
    with pytest.raises(SignatureRefused):
        verify(SECRET, *told, body.encode() + b" ", now)


def test_a_step_tells_the_score_whatever_held_it():
    """How sure the model was stands beside the decision, also where nothing was held for it."""
    told = gatepost.trace._told(
        {
            "reasons": ["every posting is approved"],
            "said": {"operator": "x"},
            "score": {"confidence": 0.97, "model": "m/1"},
        }
    )
    assert told == "reasons: every posting is approved | score: 0.97 by m/1"
    assert gatepost.trace._told({"document": "2026/1"}) == "document: 2026/1"


def test_bars_are_shares_of_the_widest():
    """The widest bar is full; outside of the usual range is told."""
    expected = {"quantity": "13", "least": "12", "most": "14", "unit": "KG"}
    bars = gatepost.approval.bars({}, expected, "26", "KG")
    assert (bars["actual"], bars["expected"], bars["outside"]) == (100, 50, True)
    assert bars["share"] == "200 % of what was expected"
    assert gatepost.approval.bars({}, expected, "13", "KG")["outside"] is False
    assert gatepost.approval.bars({}, None, "13", "KG")["known"] is False


def test_each_reader_has_a_sentence_unless_it_is_masked():
    """In the order of the readers; a masked sentence is left out, and none at all is no line."""
    said = {"accountant": "It costs 83.20 EUR.", "planner": "***", "operator": "26 KG was used."}
    sentences = gatepost.approval._sentences({"said": said})
    assert sentences == ["For the operator: 26 KG was used.", "For the accountant: It costs 83.20 EUR."]
    assert gatepost.approval._sentences({"said": {}}) == []


def test_what_may_have_caused_scrap_is_offered_beside_each_other():
    """Scrap of every reason and confirmations without one stand in the view; a press fills the field that is meant."""
    table = queue(
        approval(),
        approval(id=2, kind="scrap", reason="scrap_classification/1 abstains: it cannot rule out tool, machine"),
        approval(id=3, kind="confirmation", reason="2 KG of scrap without a reason"),
        approval(id=4, kind="confirmation", reason="2 KG of yield in all, 1 KG ordered"),
    )
    assert [one["id"] for one in gatepost.queue.scrap(table)] == [2, 3]
    told = {"field": "cause", "value": "tool", "times": None, "of": None, "share": 0.617}
    assert gatepost.approval._cause(told) == {"value": "tool", "text": "tool  (62 %)"}
    usual = {"field": "scrap_reason", "value": "0002", "times": 2, "of": 3, "share": None}
    assert gatepost.approval._cause(usual) == {"value": "0002", "text": "0002  (2 of 3 here)"}
    called = gatepost.approval._cause({**usual, "text": "worn tool"})
    assert called == {"value": "0002", "text": "0002: worn tool  (2 of 3 here)"}


def test_nothing_is_signed_without_a_reason():
    """A reason, a comment where the reason is in it, and what a correction changes are asked for first."""
    whole = {"decision": "approve", "reason": "Agreed with the shift lead", "comment": "", "field": "", "value": ""}
    missing = gatepost.signing.missing
    assert missing(whole) == ""
    assert missing({**whole, "reason": ""}) == "Choose a reason first."
    assert missing({**whole, "reason": words.OTHER}) == "Say the reason in the comment."
    assert missing({**whole, "decision": "correct"}) == "Say what is to be corrected, and to what."
    assert missing({**whole, "decision": "correct", "field": "quantity", "value": "12.5"}) == ""


def test_what_is_typed_is_signed_in_one_line():
    """Line breaks of a text field do not reach the record; a comment that is the reason is said once."""
    wanted = {"reason": words.OTHER, "comment": "scale\n stuck ", "field": "quantity", "value": " 12,5 "}
    asked = {"version": 3, "decision": "correct", "session_user": "panel"}
    said = gatepost.signing.content(wanted, asked, {"nonce": "n", "shown_sha256": "0" * 64})
    assert (said["reason"], said["comment"], said["changes"]) == ("scale stuck", "", {"quantity": "12.5"})


def test_names_are_safe_in_an_address():
    """Whatever somebody looks for stays one part of the path."""
    assert gatepost.agent.quoted("order:1000100") == "order%3A1000100"
    assert gatepost.agent.quoted("5000/2026?ü") == "5000%2F2026%3F%C3%BC"
