"""The outbox: the state machine of a posting, its lane, and what people may do."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent.errors import BadPayload, Conflict, NotFound
from agent.people.desk import Act, reverse
from agent.ports import Acknowledgement, Kind
from agent.store import approvals, balance, corrections, outbox, pauses, postings
from agent.store.approvals import Signature
from agent.store.backup import changed_payloads
from agent.store.keys import idempotency_key, request_id
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.stores import Clock, add, claim, opened, posting, state

ACK = Acknowledgement("2026/4900000001")
YES = Signature("ann", "approve", "scale was checked")
NO = Signature("bob", "refuse", "typed twice")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock):
    with opened(tmp_path / "gp.db", clock) as writer:
        yield writer


def _acknowledge(writer: Writer, waiting: postings.Waiting, document: str = "2026/1") -> None:
    writer.call(lambda tx: outbox.acknowledged(tx, waiting.posting, replace(ACK, document=document)))


def test_a_posting_is_on_disk_as_sending_before_it_is_sent(writer: Writer):
    """The claim freezes the bytes and the request id, and they stay the same at every retry."""
    (one,) = add(writer, posting(1))
    (claimed,) = claim(writer)
    assert claimed.posting.state == "sending"
    assert claimed.posting.wire == b"wire"
    assert claimed.posting.request_id == request_id(claimed.posting.idempotency_key)
    writer.call(lambda tx: outbox.unsent(tx, claimed.posting, 0, "connection refused"))
    (again,) = claim(writer, admit=lambda _: outbox.Send(b"other bytes"))
    assert again.posting.wire == b"wire"
    assert again.posting.request_id == claimed.posting.request_id
    assert again.posting.first_sent_at == claimed.posting.first_sent_at
    assert again.posting.attempts == 0
    assert state(writer, one) == "sending"


def test_one_lane_sends_one_at_a_time_and_in_order(writer: Writer):
    """Postings of one order reach the ERP in order; another order does not wait for them."""
    first, second, other = add(writer, posting(1), posting(2), posting(3, "order/2"))
    claimed = claim(writer)
    assert [one.posting.id for one in claimed] == [first, other]
    assert claim(writer) == []
    _acknowledge(writer, claimed[0])
    assert [one.posting.id for one in claim(writer)] == [second]


def test_a_dead_posting_blocks_its_lane_and_no_other(writer: Writer):
    """A refusal stops what follows in its order until a named person decides."""
    first, second, other = add(writer, posting(1), posting(2), posting(3, "order/2"))
    claimed = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, claimed[0].posting, "Deficit of BA Unrestricted", code="M7/021"))
    assert claim(writer) == []
    writer.call(lambda tx: outbox.replay(tx, first, by="ann", reason="stock was posted"))
    (again,) = claim(writer)
    assert (again.posting.id, again.posting.attempts) == (first, 1)
    _acknowledge(writer, again)
    assert [one.posting.id for one in claim(writer)] == [second]
    assert state(writer, other) == "sending"


def test_refusing_a_dead_posting_lets_its_lane_go_on(writer: Writer):
    """What a person refuses is never posted, and what waited behind it is."""
    first, second = add(writer, posting(1), posting(2))
    (claimed,) = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, claimed.posting, "no"))
    writer.call(lambda tx: outbox.refuse(tx, first, by="ann", reason="booked by hand"))
    assert [one.posting.id for one in claim(writer)] == [second]


def test_a_lost_answer_is_looked_up_only_after_the_settle_time(writer: Writer, clock: Clock):
    """In doubt means: wait longer than the ERP's latest commit, then look."""
    add(writer, posting(1))
    (claimed,) = claim(writer)
    later = int((clock().timestamp() + 120) * 1e6)
    writer.call(lambda tx: outbox.in_doubt(tx, claimed.posting, later, "timed out"))
    assert claim(writer) == []
    clock.forward(seconds=121)
    (found,) = claim(writer)
    assert found.posting.state == "in_doubt"
    again = writer.call(lambda tx: outbox.send_again(tx, found.posting))
    assert (again.state, again.wire, again.attempts) == ("sending", b"wire", 1)


def test_what_was_being_sent_at_a_crash_is_in_doubt_at_the_start(writer: Writer, clock: Clock):
    """Start-up is recovery: nobody knows what became of `sending`, so it is looked up after the settle time."""
    (one,) = add(writer, posting(1))
    claim(writer)
    assert writer.call(lambda tx: outbox.recover_sending(tx, {"s4": 5_000_000})) == 1
    assert state(writer, one) == "in_doubt"
    assert claim(writer) == []
    clock.forward(seconds=6)
    assert [found.posting.id for found in claim(writer)] == [one]


def test_the_same_key_cannot_be_written_twice(writer: Writer):
    """The database refuses a second posting with a known idempotency key."""
    add(writer, posting(1))
    with pytest.raises(apsw.ConstraintError):
        add(writer, posting(1))


def test_the_first_to_decide_wins_and_the_loser_hears_by_whom(writer: Writer):
    """Approvals compare the version that was seen; the second decision is a conflict that names the first."""
    (one,) = add(writer, posting(1, reasons=("200 % usage",)))
    assert claim(writer) == []
    writer.call(lambda tx: approvals.decide(tx, one, 1, YES))
    with pytest.raises(Conflict, match=r"was already decided by ann: approved on 2026-11-20 at 12:00:00") as caught:
        writer.call(lambda tx: approvals.decide(tx, one, 1, NO))
    assert caught.value.by == "ann"
    assert [claimed.posting.id for claimed in claim(writer)] == [one]


def test_a_signature_for_another_record_is_void(writer: Writer):
    """A signature is bound to the hash of what was shown."""
    (one,) = add(writer, posting(1, reasons=("200 % usage",)))
    with pytest.raises(Conflict, match="not what was shown"):
        writer.call(lambda tx: approvals.decide(tx, one, 1, replace(YES, record_hash="00" * 32)))
    assert state(writer, one) == "held"


def test_four_eyes_need_two_different_people(writer: Writer):
    """Where two must sign, one person cannot sign twice, and the posting goes only after the second."""
    (one,) = add(writer, posting(1, reasons=("value",), signers=2))
    assert writer.call(lambda tx: approvals.decide(tx, one, 1, YES))["state"] == "held"
    with pytest.raises(Conflict, match="signed posting 1 already"):
        writer.call(lambda tx: approvals.decide(tx, one, 2, YES))
    writer.call(lambda tx: approvals.decide(tx, one, 2, replace(YES, by="carl")))
    assert state(writer, one) == "ready"


def test_four_eyes_of_today_count_for_what_was_held_before(writer: Writer):
    """The rule in force at the approval counts where it is stricter; it binds the second signature, too."""
    (one,) = add(writer, posting(1, reasons=("value",)))
    today = {"consumption"}
    first = writer.call(lambda tx: approvals.decide(tx, one, 1, YES, today))
    assert (first["state"], first["waits_for"]) == ("held", "a second person's signature")
    with pytest.raises(Conflict, match="signed posting 1 already"):
        writer.call(lambda tx: approvals.decide(tx, one, 2, YES))  # switched off meanwhile: still the same person
    writer.call(lambda tx: approvals.decide(tx, one, 2, replace(YES, by="carl")))
    assert state(writer, one) == "ready"


def test_four_eyes_of_the_record_outlast_the_rule(writer: Writer):
    """What was held for two people needs two although the rule of today asks for one, or is another workflow's."""
    (one,) = add(writer, posting(1, reasons=("value",), signers=2))
    assert writer.call(lambda tx: approvals.decide(tx, one, 1, YES, {"confirmation"}))["state"] == "held"


def test_who_decides_about_an_older_version_hears_what_happened(writer: Writer):
    """A posting that was signed meanwhile is still held; the conflict says by whom, when, and what to do."""
    (one,) = add(writer, posting(1, reasons=("value",), signers=2))
    writer.call(lambda tx: approvals.decide(tx, one, 1, YES))
    with pytest.raises(Conflict) as caught:
        writer.call(lambda tx: approvals.decide(tx, one, 1, replace(YES, by="carl")))
    assert str(caught.value) == (
        "nothing was changed: posting 1 was signed for the first time by ann on 2026-11-20 at 12:00:00 UTC, after it "
        "was shown to you; it is still held, now in version 2 (1 was shown). "
        "Look at it again (gatepost approvals show 1), then decide"
    )
    assert (caught.value.by, caught.value.state, caught.value.version) == ("ann", "held", 2)


def test_a_posting_that_waits_for_nobody_cannot_be_decided(writer: Writer):
    """Where no person had to decide the conflict names none."""
    (one,) = add(writer, posting(1))
    with pytest.raises(Conflict, match="posting 1 waits for nobody, and it is ready now"):
        writer.call(lambda tx: approvals.decide(tx, one, 1, YES))


def test_a_held_posting_does_not_block_what_follows(writer: Writer):
    """A posting joins its lane when it becomes ready, not before."""
    held, ready = add(writer, posting(1, reasons=("value",)), posting(2))
    assert [one.posting.id for one in claim(writer)] == [ready]
    assert state(writer, held) == "held"


def test_a_final_confirmation_waits_for_held_consumption(writer: Writer):
    """It is held while something before it in its order is, goes by itself after, and cannot be approved around."""
    held, final = add(writer, posting(1, reasons=("value",)), posting(2, kind=Kind.CONFIRMATION, waits=True))
    assert claim(writer) == []
    with pytest.raises(Conflict, match=f"approve or refuse posting {held} first"):
        writer.call(lambda tx: approvals.decide(tx, final, 1, YES))
    writer.call(lambda tx: approvals.decide(tx, held, 1, YES))
    (first,) = claim(writer)
    assert first.posting.id == held
    _acknowledge(writer, first)
    assert [one.posting.id for one in claim(writer)] == [final]


def test_tightened_authority_holds_what_was_ready(writer: Writer):
    """At the claim mode and limits are checked again; what no longer may go is held with the reason."""
    (one,) = add(writer, posting(1))
    assert claim(writer, admit=lambda _: outbox.HoldBack(("mode is now assist",))) == []
    assert state(writer, one) == "held"
    assert writer.call(lambda tx: approvals.show(tx.connection, one))["reasons"] == ["mode is now assist"]


def test_a_dry_run_ends_as_simulated(writer: Writer):
    """In dry-run everything happens but the sending, and the lane goes on."""
    first, second = add(writer, posting(1), posting(2))
    claim(writer, admit=lambda _: outbox.Simulate())
    claim(writer, admit=lambda _: outbox.Simulate())
    assert (state(writer, first), state(writer, second)) == ("simulated", "simulated")


@pytest.mark.parametrize(("scope", "key"), [("target", "s4"), ("target", "*"), ("line", "mixing"), ("order", "1")])
def test_what_is_paused_is_not_sent(writer: Writer, scope: str, key: str):
    """A target, a line or an order can be stopped and let go again."""
    (one,) = add(writer, posting(1))
    writer.call(lambda tx: pauses.pause(tx, scope, key, by="ann", reason="stock count"))
    assert claim(writer) == []
    writer.call(lambda tx: pauses.resume(tx, scope, key, by="ann", reason="done"))
    assert [claimed.posting.id for claimed in claim(writer)] == [one]


def test_a_doubtful_posting_gets_its_document_from_a_person(writer: Writer, clock: Clock):
    """Where nobody can tell, a person names the document or says that it is not booked."""
    first, second = add(writer, posting(1), posting(2, "order/2"))
    for claimed in claim(writer):
        writer.call(lambda tx, one=claimed.posting: outbox.in_doubt(tx, one, 0, "timed out"))  # type: ignore[misc]
    for found in claim(writer):
        writer.call(lambda tx, one=found.posting: outbox.doubtful(tx, one, "no proof"))  # type: ignore[misc]
    writer.call(lambda tx: outbox.name_document(tx, first, "2026/7", by="ann", reason="seen in MB51"))
    writer.call(lambda tx: outbox.not_booked(tx, second, by="ann", reason="not in MB51"))
    assert state(writer, first) == "acknowledged"
    assert [one.posting.id for one in claim(writer)] == [second]


def test_a_repeated_request_gets_the_same_answer(writer: Writer):
    """The same idempotency key runs an act once; another request under it is a conflict."""
    (one,) = add(writer, posting(1, reasons=("value",)))

    def approve(tx: Transaction, request: dict[str, int]) -> Any:
        return approvals.once(tx, "k1", request, lambda: approvals.decide(tx, one, 1, YES))

    first = writer.call(lambda tx: approve(tx, {"id": one}))
    assert writer.call(lambda tx: approve(tx, {"id": one})) == first
    with pytest.raises(Conflict, match="used for another request"):
        writer.call(lambda tx: approve(tx, {"id": 99}))


def test_refusing_behind_a_head_that_is_looked_up_does_not_let_it_be_claimed_twice(writer: Writer):
    """What leaves from behind the head does not touch its lane: one lookup at a time, and no second sending."""
    _, second = add(writer, posting(1), posting(2))
    (claimed,) = claim(writer)
    writer.call(lambda tx: outbox.in_doubt(tx, claimed.posting, 0, "timed out"))
    (found,) = claim(writer)
    writer.call(lambda tx: outbox.refuse(tx, second, by="ann", reason="booked by hand"))
    assert claim(writer) == []
    writer.call(lambda tx: outbox.send_again(tx, found.posting))
    with pytest.raises(Conflict, match="no longer in_doubt"):
        writer.call(lambda tx: outbox.send_again(tx, found.posting))


def test_what_was_approved_and_held_back_can_be_approved_again(writer: Writer):
    """Authority became tighter after the signature: the same person signs anew what is shown now."""
    (one,) = add(writer, posting(1, reasons=("200 % usage",)))
    writer.call(lambda tx: approvals.decide(tx, one, 1, YES))
    claim(writer, admit=lambda _: outbox.HoldBack(("mode is now assist",)))
    version = writer.call(lambda tx: postings.read(tx.connection, one).posting.version)
    writer.call(lambda tx: approvals.decide(tx, one, version, YES))
    assert [claimed.posting.id for claimed in claim(writer)] == [one]


def test_a_correction_lets_go_what_waited_for_the_held_one(writer: Writer):
    """A superseded posting is no longer held: the final confirmation behind it goes on."""
    held, final = add(writer, posting(1, reasons=("value",)), posting(2, kind=Kind.CONFIRMATION, waits=True))
    writer.call(lambda tx: outbox.supersede(tx, held, 99, by="ann", reason="typed wrong"))
    assert [one.posting.id for one in claim(writer)] == [final]


def test_unknown_postings_are_named(writer: Writer):
    """Asking for what does not exist says what was looked for."""
    with pytest.raises(NotFound, match="no posting 42"):
        writer.call(lambda tx: outbox.replay(tx, 42, by="ann", reason="x"))


def test_both_balances_hold_after_all_of_it(writer: Writer, clock: Clock):
    """Created = the sum over all states, by running totals and by counting rows."""
    add(writer, *(posting(n, f"order/{n % 3}", reasons=("value",) if n % 4 == 0 else ()) for n in range(1, 13)))
    for waiting in claim(writer):
        _acknowledge(writer, waiting, f"2026/{waiting.posting.id}")
    for waiting in claim(writer):
        writer.call(lambda tx, one=waiting.posting: outbox.dead(tx, one, "no"))  # type: ignore[misc]
    running, counted = writer.call(lambda tx: (balance.running(tx.connection), balance.counted(tx.connection)))
    assert [one.difference for one in (*running, *counted)] == [0, 0, 0, 0]
    assert running[1].by_state == counted[1].by_state


def test_the_key_is_sixteen_characters_that_nobody_misreads():
    """80 bits of Crockford base32, upper case, without I, L, O and U; the same input gives the same key."""
    key = idempotency_key("consumption:MIX-01-000123", "consumption", "s4")
    assert len(key) == 16
    assert set(key) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert key == idempotency_key("consumption:MIX-01-000123", "consumption", "s4")
    assert key != idempotency_key("consumption:MIX-01-000123", "consumption", "s4", 1)


def test_a_payload_that_was_changed_on_disk_is_not_sent(writer: Writer):
    """What is sent is what was decided: a posting whose content and hash disagree is held with the reason."""
    (one,) = add(writer, posting(1))
    writer.call(lambda tx: tx.execute("UPDATE posting SET payload = replace(payload, '12.500', '92.500')"))
    assert claim(writer) == []
    assert state(writer, one) == "held"
    assert "not what was decided" in writer.call(lambda tx: approvals.show(tx.connection, one))["reasons"][0]


@pytest.mark.parametrize("damage", ["x'7b226d22'", "x'ff7b7d'", "x'5b5d'"], ids=["cut", "no UTF-8", "no object"])
def test_a_payload_that_cannot_be_read_any_more_stops_nobody_else(writer: Writer, damage: str):
    """Flash forgets bits: the damaged posting is held and can be shown, its neighbour is sent."""
    one, other = add(writer, posting(1), posting(2, "order/2"))
    writer.call(lambda tx: tx.connection.pragma("ignore_check_constraints", True))
    writer.call(lambda tx: tx.execute(f"UPDATE posting SET payload = CAST({damage} AS TEXT) WHERE id = {one}"))
    writer.call(lambda tx: tx.connection.pragma("ignore_check_constraints", False))
    assert [claimed.posting.id for claimed in claim(writer)] == [other]
    shown = writer.call(lambda tx: approvals.show(tx.connection, one))
    assert shown["state"] == "held"
    assert "not what was decided" in shown["reasons"][0]
    assert writer.call(lambda tx: changed_payloads(tx.connection)) == [f"posting {one} is not what was decided"]


def test_a_final_confirmation_does_not_overtake_what_was_held_back(writer: Writer):
    """Authority became tighter after both were ready: the confirmation waits, and keeps its signature."""
    issue, final = add(writer, posting(1), posting(2, kind=Kind.CONFIRMATION, waits=True))
    assert claim(writer, admit=lambda _: outbox.HoldBack(("mode is now assist",))) == []
    assert claim(writer) == []
    assert (state(writer, issue), state(writer, final)) == ("held", "held")
    version = writer.call(lambda tx: postings.read(tx.connection, issue).posting.version)
    writer.call(lambda tx: approvals.decide(tx, issue, version, YES))
    (first,) = claim(writer)
    assert first.posting.id == issue
    _acknowledge(writer, first)
    assert [one.posting.id for one in claim(writer)] == [final]


def test_what_only_waited_is_not_approved_by_being_let_go(writer: Writer):
    """Nobody has signed it: at its claim the limits are asked as for any other."""
    held, final = add(writer, posting(1, reasons=("value",)), posting(2, kind=Kind.CONFIRMATION, waits=True))
    writer.call(lambda tx: approvals.decide(tx, held, 1, YES))
    assert writer.call(lambda tx: postings.read(tx.connection, held)).approved
    assert not writer.call(lambda tx: postings.read(tx.connection, final)).approved


def test_a_document_that_two_postings_carry_is_not_taken_back(writer: Writer):
    """Two systems may number alike: nobody guesses which of the two is meant."""
    add(writer, posting(1), posting(2, "order/2"))
    for waiting in claim(writer):
        _acknowledge(writer, waiting, "2026/1")
    with pytest.raises(Conflict, match="more than one posting"):
        writer.call(lambda tx: reverse(tx, "2026/1", Act("ann", "wrong batch")))


def _ask(writer: Writer, by: str = "ann") -> int:
    """Somebody takes the document back."""
    return int(writer.call(lambda tx: reverse(tx, "2026/1", Act(by, "wrong batch")))["id"])


def _refused(writer: Writer, asked: int) -> None:
    writer.call(lambda tx: outbox.refuse(tx, asked, by="ben", reason="not so"))


def _simulated(writer: Writer, asked: int) -> None:
    assert claim(writer, admit=lambda _: outbox.Simulate()) == []


def _dead_and_refused(writer: Writer, asked: int) -> None:
    """SAP said no: while that can be sent again nobody asks anew."""
    (sent,) = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, sent.posting, "the period is closed"))
    with pytest.raises(Conflict, match=f"the ERP refused: `gatepost deadletter replay {asked}`"):
        _ask(writer)
    _refused(writer, asked)


@pytest.mark.parametrize("came_to_nothing", [_refused, _simulated, _dead_and_refused])
def test_a_reversal_that_came_to_nothing_is_asked_anew(writer: Writer, came_to_nothing):
    """Refused by a person or the ERP, or a dry run: another one may be asked, and only one is ever booked."""
    add(writer, posting(1))
    _acknowledge(writer, claim(writer)[0], "2026/1")
    first = _ask(writer)
    with pytest.raises(Conflict, match=f"already being taken back by posting {first}"):
        _ask(writer, "ben")
    came_to_nothing(writer, first)
    second = _ask(writer)
    (sent,) = claim(writer)
    assert sent.posting.id == second
    _acknowledge(writer, sent, "2026/2")
    with pytest.raises(Conflict, match=f"already being taken back by posting {second}"):
        _ask(writer)


def test_who_takes_a_document_back_behind_a_dead_letter_hears_that_it_waits(writer: Writer):
    """What blocks the lane is named with its command; once that is decided about, the reversal goes."""
    add(writer, posting(1), posting(2))
    _acknowledge(writer, claim(writer)[0], "2026/1")
    (dead,) = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, dead.posting, "the period is closed"))
    answer = writer.call(lambda tx: reverse(tx, "2026/1", Act("ann", "wrong batch")))
    assert answer["waits_for"] == "posting 2, which is dead and blocks its lane: gatepost deadletter show 2"
    assert claim(writer) == []
    _refused(writer, 2)
    assert [one.posting.id for one in claim(writer)] == [answer["id"]]


@pytest.mark.parametrize("held", [True, False], ids=["signed", "asked"])
def test_the_database_refuses_a_second_reversal_of_a_document(writer: Writer, held: bool):
    """Whatever the code before it thinks: what another posting takes back joins no lane."""
    back: dict[str, Any] = {
        "kind": Kind.REVERSAL,
        "payload": {"of_kind": "goods_issue", "document": "2026/1", "of_key": "K"},
    }
    add(writer, posting(1, **back))
    other = posting(2, "order/2", reasons=("value",) if held else (), **back)
    (second,) = add(writer, other) if held else (0,)
    join = (lambda tx: outbox.approved(tx, second, {}, by="ann")) if held else (lambda tx: postings.add(tx, other))
    with pytest.raises(apsw.ConstraintError, match="taken back once"):
        writer.call(join)
    assert len(claim(writer)) == 1


def test_what_a_lookup_finds_was_sent_once(writer: Writer, clock: Clock):
    """Looking is no attempt: the number of tries is the number of times it was sent."""
    (one,) = add(writer, posting(1))
    (sent,) = claim(writer)
    writer.call(lambda tx: outbox.in_doubt(tx, sent.posting, 0, "timed out"))
    (looked,) = claim(writer)
    _acknowledge(writer, looked)
    assert writer.call(lambda tx: postings.read(tx.connection, one)).posting.attempts == 1


def test_finished_rows_are_not_walked_at_a_start(writer: Writer):
    """A year of finished postings costs a start nothing: what was being sent is found by the index of what is open."""
    plan = writer.call(lambda tx: tx.execute(f"EXPLAIN QUERY PLAN {outbox.SENDING}").fetchall())
    assert [row[3] for row in plan] == ["SEARCH posting USING COVERING INDEX posting_state (state=?)"]


@pytest.mark.parametrize("second", ["ANN", "ann via gateway", "\uff41nn", "a\u200bnn", "ann\u00ad via gateway"])
def test_the_same_name_in_other_letters_is_the_same_person(writer: Writer, second):
    """Capitals, wide letters and letters that nobody sees make no second person."""
    (held,) = add(writer, posting(1, reasons=("value",), signers=2))
    writer.call(lambda tx: approvals.decide(tx, held, 1, YES))
    with pytest.raises(Conflict, match="another person must"):
        writer.call(lambda tx: approvals.decide(tx, held, 2, replace(YES, by=second)))
    assert state(writer, held) == "held"


def test_who_reported_it_is_none_of_the_two_who_sign(writer: Writer):
    """At whichever door they sign; to refuse their own report they may."""
    payload = {"order": "1", "quantity": "12.5", "personnel": "Ann"}
    one, other = add(writer, *(posting(n, reasons=("value",), signers=2, payload=payload) for n in (1, 2)))
    with pytest.raises(Conflict, match="reported posting"):
        writer.call(lambda tx: approvals.decide(tx, one, 1, replace(YES, by="ann via gateway")))
    writer.call(lambda tx: approvals.decide(tx, other, 1, replace(YES, meaning="refuse")))
    assert (state(writer, one), state(writer, other)) == ("held", "refused")


# ── corrections ─────────────────────────────────────────────────────────────────────────────────────────────


def shown_as(id: int, kind: Kind, value: int, **payload: Any) -> dict[str, Any]:
    """A posting as approvals show it."""
    return {"id": id, "kind": kind.value, "payload": payload, "value": str(value)}


def _correct(writer: Writer, id: int, quantity: str, who: Signature = YES, four_eyes: tuple[str, ...] = ()) -> Any:
    def job(tx: Transaction) -> Any:
        one = postings.read(tx.connection, id).posting
        name = "quantity" if one.kind is Kind.GOODS_ISSUE else "yield"
        shown = shown_as(id, one.kind, 40, **{"yield": "5", **one.payload})
        (new,) = corrections.corrected(shown, {name: quantity})
        return corrections.correct(tx, id, one.version, new.payload, new.value, who, four_eyes)

    return writer.call(job)


def test_a_correction_goes_in_the_place_of_the_held_one(writer: Writer):
    """The old posting is kept as superseded, the new one is sent with its figure; once, and by one person."""
    (held,) = add(writer, posting(1, reasons=("200 % usage",)))
    made = _correct(writer, held, "6.250")
    assert (made["state"], made["supersedes"], state(writer, held)) == ("ready", held, "superseded")
    (sent,) = claim(writer)
    assert (sent.posting.id, sent.posting.payload["quantity"], sent.value) == (made["id"], "6.250", Decimal("20.00"))
    with pytest.raises(Conflict, match="already decided by ann: replaced by a correction"):
        _correct(writer, held, "7")


def test_a_final_confirmation_does_not_overtake_a_correction_that_waits(writer: Writer):
    """A correction that waits for a second person stands where the old one stood, also when it is corrected again."""
    held, final = add(writer, posting(1, reasons=("value",)), posting(2, kind=Kind.CONFIRMATION, waits=True))
    once = _correct(writer, held, "6", four_eyes=("consumption",))
    again = _correct(writer, once["id"], "7")
    assert (again["state"], state(writer, final)) == ("held", "held")
    with pytest.raises(Conflict, match="another person must"):
        writer.call(lambda tx: approvals.decide(tx, again["id"], 2, YES))
    writer.call(lambda tx: approvals.decide(tx, again["id"], 2, replace(YES, by="bob")))
    (first,) = claim(writer)
    assert first.posting.id == again["id"]
    _acknowledge(writer, first)
    assert [one.posting.id for one in claim(writer)] == [final]


def test_what_waits_is_let_go_in_the_order_in_which_it_stands(writer: Writer):
    """A corrected confirmation goes before one that was made after the old one, and neither is forgotten."""
    first, old, last = add(
        writer,
        posting(1),
        posting(2, kind=Kind.CONFIRMATION, waits=True, reasons=("value",)),
        posting(3, kind=Kind.CONFIRMATION, waits=True),
    )
    made = _correct(writer, old, "6")
    for _ in range(3):  # authority became tighter: the goods issue is held back, and what is behind it waits for it
        claim(writer, admit=lambda _: outbox.HoldBack(("mode is now assist",)))
    assert {state(writer, one) for one in (first, made["id"], last)} == {"held"}
    version = writer.call(lambda tx: postings.read(tx.connection, first).posting.version)
    writer.call(lambda tx: approvals.decide(tx, first, version, YES))
    went = []
    while sent := claim(writer):
        went += [one.posting.id for one in sent]
        _acknowledge(writer, sent[0], f"2026/{sent[0].posting.id}")
    assert went == [first, made["id"], last]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Kind.GOODS_ISSUE, {"quantity": "0"}),
        (Kind.GOODS_ISSUE, {"quantity": "-1"}),
        (Kind.GOODS_ISSUE, {"quantity": "NaN"}),
        (Kind.GOODS_ISSUE, {"quantity": "1e3"}),
        (Kind.GOODS_ISSUE, {"quantity": "12.500"}),
        (Kind.GOODS_ISSUE, {"quantity": "1_000"}),
        (Kind.GOODS_ISSUE, {"quantity": "+5"}),
        (Kind.GOODS_ISSUE, {"quantity": "5."}),
        (Kind.GOODS_ISSUE, {"quantity": "\u0663"}),  # an Arabic three, which Decimal reads
        (Kind.GOODS_ISSUE, {"quantity": "\uff15"}),  # a wide five
        (Kind.GOODS_ISSUE, {"quantity": "5\n"}),
        (Kind.GOODS_ISSUE, {"quantity": "12345678901"}),
        (Kind.GOODS_ISSUE, {"quantity": f"0.{'0' * 50}1"}),
        (Kind.CONFIRMATION, {"yield": "-0"}),
        (Kind.GOODS_ISSUE, {"material": "RM-OTHER"}),
        (Kind.CONFIRMATION, {"quantity": "1"}),
        (Kind.REVERSAL, {"document": "2026/1"}),
    ],
)
def test_what_is_no_correction_is_refused(kind, changes):
    """No quantity, nothing that differs, or a field that is not for people to change: the field is named."""
    payload = {"material": "RM-RESIN", "quantity": "12.500", "yield": "5"}
    with pytest.raises(BadPayload, match="changes"):
        corrections.corrected(shown_as(1, kind, 40, **payload), changes)


GROUP = [
    shown_as(1, Kind.SCRAP, 40, quantity="20", cause="tool", movement="551"),
    shown_as(2, Kind.DEFECT, 0, quantity="20"),
    shown_as(3, Kind.STOCK_TRANSFER, 360, quantity="180", movement="344"),
]


def test_a_quantity_of_scrap_is_corrected_in_its_whole_group():
    """In the defect, too, and of the lot so much more or less is blocked: all of it is worth what it was before."""
    scrap, *others = GROUP
    assert corrections.correctable(scrap, others) == ("cause", "quantity")
    new = corrections.corrected(scrap, {"quantity": "5"}, others)
    told = [(one.id, one.payload["quantity"], int(one.value)) for one in new]
    assert told == [(1, "5", 10), (2, "5", 0), (3, "195", 390)]
    assert new[2].payload["movement"] == "344"
    assert [one.id for one in corrections.corrected(scrap, {"cause": "handling"}, others)] == [1]
    with pytest.raises(BadPayload, match="180 would be blocked beside it, so there is not that much"):
        corrections.corrected(scrap, {"quantity": "200"}, others)
    floor = shown_as(1, Kind.CONFIRMATION, 40, **{"yield": "0", "scrap": "20", "rework": "0", "scrap_reason": ""})
    new = corrections.corrected(floor, {"scrap": "5"}, others)  # the stock stays as it is
    assert [(one.id, int(one.value)) for one in new] == [(1, 10), (2, 0)]


def test_of_another_group_only_words_are_corrected():
    """Nobody knows what its quantity means for the rest of it: nobody changes it in one of them."""
    told = shown_as(1, Kind.CONFIRMATION, 40, **{"yield": "0", "scrap": "20", "rework": "0", "scrap_reason": ""})
    issue = [shown_as(2, Kind.GOODS_ISSUE, 1, quantity="1")]
    with pytest.raises(BadPayload, match="whole group: refuse it, and report it anew"):
        corrections.corrected(told, {"scrap": "1"}, issue)
    (new,) = corrections.corrected(told, {"scrap_reason": "0003"}, issue)
    assert (new.payload["scrap_reason"], new.value) == ("0003", Decimal(40))
    assert corrections.correctable(issue[0], [told]) == ()
    made = shown_as(1, Kind.CONFIRMATION, 40, **{"yield": "9", "scrap": "20", "rework": "0"})
    assert "scrap" not in corrections.correctable(made, [shown_as(2, Kind.DEFECT, 0, quantity="20")])


def test_what_was_worth_nothing_is_not_corrected_to_any_quantity():
    """Of a posting of no yield nobody knows a price: it must not pass limits of value with a million pieces."""
    payload = {"yield": "0", "scrap": "0", "rework": "3"}
    with pytest.raises(BadPayload, match="report it anew"):
        corrections.corrected(shown_as(1, Kind.CONFIRMATION, 0, **payload), {"yield": "1000000"})
    (new,) = corrections.corrected(shown_as(1, Kind.CONFIRMATION, 0, **payload), {"rework": "4"})
    assert new.value == 0
