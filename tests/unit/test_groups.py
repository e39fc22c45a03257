"""Groups: one decision's postings are sent one after the other, stop together, and are decided as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.access.callers import Identity
from agent.access.tokens import Scope
from agent.errors import BadPayload, Conflict
from agent.judging import verdicts
from agent.judging.judgement import Judgement, Verdict
from agent.people.approving import Asked
from agent.people.desk import Desk
from agent.people.shown import Around, record
from agent.people.signatures import Signatures
from agent.ports import Acknowledgement, Event, Kind
from agent.store import approvals, archive, corrections, groups, lists, outbox, overdue, postings
from agent.store.approvals import Signature
from agent.store.postings import WAITS, Waiting
from agent.store.writer import Writer
from tests.stores import START, Clock, add, arrive, assert_sound, claim, opened, posting, reading, send, state
from tests.unit.test_workflow_consumption import FACTS

ANN = Signature("ann", "approve", "looked")
NO = Signature("ann", "refuse", "not ours")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with opened(tmp_path / "gp.db") as writer:
        yield writer
        with reading(tmp_path / "gp.db") as connection:
            assert_sound(connection)


def group(writer: Writer, *reasons: str, waits: bool = False) -> list[int]:
    """Scrap, a transfer at another target, a defect: one group."""
    kinds = (Kind.SCRAP, "s4"), (Kind.STOCK_TRANSFER, "wms"), (Kind.DEFECT, "s4")
    start = writer.call(lambda tx: tx.execute("SELECT count(*) FROM posting").get)
    news = [
        posting(start + number, kind=kind, target=target, follows=number > 0, reasons=reasons, waits=waits)
        for number, (kind, target) in enumerate(kinds)
    ]
    return add(writer, *news)


def booked(writer: Writer, one: Waiting, document: str = "") -> None:
    ack = Acknowledgement(document or f"2026/{one.posting.id}")
    writer.call(lambda tx: outbox.acknowledged(tx, one.posting, ack))


def states(writer: Writer, ids: list[int]) -> list[str]:
    return [state(writer, one) for one in ids]


def shown(writer: Writer, posting_id: int) -> dict[str, Any]:
    return writer.call(lambda tx: approvals.show(tx.connection, posting_id))


def decide(writer: Writer, posting_id: int, signature: Signature, four_eyes: tuple[str, ...] = ()) -> Any:
    version = shown(writer, posting_id)["version"]
    return writer.call(lambda tx: approvals.decide(tx, posting_id, version, signature, four_eyes))


def test_each_is_sent_when_the_one_before_it_is_booked(writer: Writer):
    """Over two targets: nothing of the second target goes before the first target's document is there."""
    ids = group(writer)
    assert [one.posting.id for one in claim(writer)] == ids[:1]
    assert claim(writer, target="wms") == []
    assert states(writer, ids) == ["sending", "held", "held"]
    with pytest.raises(Conflict, match="is sending"):
        writer.call(lambda tx: outbox.refuse(tx, ids[0], by="ann", reason="late"))
    booked(writer, writer.call(lambda tx: postings.read(tx.connection, ids[0])), "2026/4711")
    (second,) = claim(writer, target="wms")
    assert (second.posting.id, dict(second.posting.documents)) == (ids[1], {"scrap": "2026/4711"})
    assert claim(writer) == []
    booked(writer, second, "T1")
    (third,) = claim(writer)
    assert dict(third.posting.documents) == {"scrap": "2026/4711", "stock_transfer": "T1"}
    assert [one.kind for one in third.together] == [Kind.SCRAP, Kind.STOCK_TRANSFER, Kind.DEFECT]
    booked(writer, third)
    assert states(writer, ids) == ["acknowledged"] * 3


def test_a_dead_member_stops_what_is_behind_it_until_a_person_acts(writer: Writer):
    """Replayed, the group goes on; what was booked before it stays booked."""
    ids = group(writer)
    (first,) = claim(writer)
    booked(writer, first)
    (second,) = claim(writer, target="wms")
    writer.call(lambda tx: outbox.dead(tx, second.posting, "no such batch"))
    assert states(writer, ids) == ["acknowledged", "dead", "held"]
    assert claim(writer) == []
    assert shown(writer, ids[2])["group"]["waits_for"] == ids[1]
    writer.call(lambda tx: outbox.replay(tx, ids[1], by="ann", reason="the batch is there now"))
    (second,) = claim(writer, target="wms")
    booked(writer, second)
    assert [one.posting.id for one in claim(writer)] == ids[2:]


def test_who_refuses_a_dead_member_refuses_what_is_behind_it(writer: Writer):
    """On record for each; nothing is taken back by itself."""
    ids = group(writer)
    (first,) = claim(writer)
    booked(writer, first)
    (second,) = claim(writer, target="wms")
    writer.call(lambda tx: outbox.dead(tx, second.posting, "no such batch"))
    writer.call(lambda tx: outbox.refuse(tx, ids[1], by="ann", reason="booked by hand"))
    assert states(writer, ids) == ["acknowledged", "refused", "refused"]
    acts: Any = writer.call(
        lambda tx: tx.execute("SELECT actor, action FROM audit WHERE posting_id = ? ORDER BY seq", (ids[2],)).fetchall()
    )
    assert acts == [("ann", "refused")]
    assert writer.call(lambda tx: tx.execute("SELECT count(*) FROM posting").get) == 3


@pytest.mark.parametrize("signature", [ANN, NO])
def test_a_group_that_is_held_is_decided_by_its_first(writer: Writer, signature: Signature):
    """One line in the list, one signature; those behind it cannot be decided alone."""
    ids = group(writer, "value above the limit")
    with reading(writer.path) as connection:
        (listed,) = lists.to_decide(connection)
    assert listed["id"] == ids[0]
    assert listed["group"]["goes_with_it"] == ids[1:]
    with pytest.raises(Conflict, match=f"decide about posting {ids[0]}"):
        decide(writer, ids[1], signature)
    with pytest.raises(Conflict, match=f"decide about posting {ids[0]}"):
        writer.call(lambda tx: outbox.refuse(tx, ids[2], by="ann", reason="only this one"))
    decide(writer, ids[0], signature)
    expected = ["ready", "held", "held"] if signature is ANN else ["refused"] * 3
    assert states(writer, ids) == expected


def test_what_is_signed_with_the_first_is_not_asked_for_again(writer: Writer):
    """The approval counts for all: each knows at its claim that a person released it."""
    ids = group(writer, "value above the limit")
    decide(writer, ids[0], ANN)
    for target, id in (("s4", ids[0]), ("wms", ids[1]), ("s4", ids[2])):
        (one,) = claim(writer, target=target)
        assert (one.posting.id, one.approved) == (id, True)
        booked(writer, one)


def test_the_hash_that_is_signed_covers_the_whole_group(writer: Writer):
    """Who was shown the first alone, or another follower, has not signed this group."""
    ids = group(writer, "value above the limit")
    alone: str = writer.call(lambda tx: tx.execute("SELECT hex(payload_hash) FROM posting WHERE id = ?", ids[:1]).get)
    whole = shown(writer, ids[0])["record_hash"]
    assert whole != alone.lower()
    with pytest.raises(Conflict, match="not what was shown"):
        decide(writer, ids[0], Signature("ann", "approve", "ok", record_hash=alone.lower()))
    decide(writer, ids[0], Signature("ann", "approve", "ok", record_hash=whole))
    assert state(writer, ids[0]) == "ready"


def test_a_member_that_authority_holds_back_is_decided_with_the_rest(writer: Writer):
    """Rules became tighter after the first was booked: a person decides about the second and what is behind it."""
    ids = group(writer)
    (first,) = claim(writer)
    booked(writer, first)
    claim(writer, admit=lambda _: outbox.HoldBack(("tighter",)), target="wms")
    assert states(writer, ids) == ["acknowledged", "held", "held"]
    with reading(writer.path) as connection:
        assert [one["id"] for one in lists.to_decide(connection)] == [ids[1]]
    decide(writer, ids[1], NO)
    assert states(writer, ids) == ["acknowledged", "refused", "refused"]


@pytest.mark.parametrize("reasons", [("value above the limit",), ()])
def test_what_is_decided_otherwise_before_it_was_sent_is_withdrawn_as_a_whole(writer: Writer, reasons: tuple[str, ...]):
    """Held or ready, the whole group; not what another workflow, order or later event proposed, nor what was sent."""
    arrive(writer, *(b"%d" % number for number in range(4)))
    ids = add(
        writer,
        posting(0, event_id=1, reasons=reasons),
        posting(1, event_id=1, target="wms", follows=True),
        posting(2, event_id=1, reasons=reasons, workflow="scrap"),
        posting(3, "order/2", event_id=1, reasons=reasons),
        posting(4, event_id=3, reasons=reasons),
    )
    before = states(writer, ids)
    verdict = Verdict(_event(2), "ignored", "decided", {}, withdraws=("consumption", "s4", "order/1"))
    writer.call(lambda tx: verdicts.write(tx, Judgement([verdict]), 0))
    assert states(writer, ids) == ["refused", "refused", *before[2:]]
    with pytest.raises(Conflict):
        decide(writer, ids[0], ANN)
    acts: Any = writer.call(lambda tx: tx.execute("SELECT posting_id FROM audit WHERE action = 'withdrawn'").fetchall())
    assert acts == [(ids[0],), (ids[1],)]


def test_what_may_have_left_the_box_is_not_withdrawn(writer: Writer):
    """While it is sent, or in doubt, nobody can take it back; what the ERP never heard of can be."""
    arrive(writer, b"1", b"2")
    ids = add(writer, posting(0, event_id=1), posting(1, event_id=1, target="wms", follows=True))
    (one,) = claim(writer)
    verdict = Verdict(_event(2), "ignored", "decided", {}, withdraws=("consumption", "s4", "order/1"))
    writer.call(lambda tx: outbox.withdraw(tx, "consumption", "s4", "order/1", 2))
    assert states(writer, ids) == ["sending", "held"]
    writer.call(lambda tx: outbox.unsent(tx, one.posting, 0, "no connection"))
    writer.call(lambda tx: verdicts.write(tx, Judgement([verdict]), 0))
    assert states(writer, ids) == ["refused", "refused"]


def _event(number: int) -> Event:
    return Event(number, "line", "plant/x/consumption", b"%d" % number, START)


def test_a_dry_run_lets_the_next_go(writer: Writer):
    """What was simulated is done, as far as its group is concerned."""
    ids = group(writer)
    claim(writer, admit=lambda _: outbox.Simulate())
    assert states(writer, ids) == ["simulated", "ready", "held"]


def test_a_correction_takes_the_place_of_the_first(writer: Writer):
    """The new figures are sent first, the others follow them."""
    news = [posting(0, reasons=("odd",)), posting(1, target="wms", follows=True)]
    ids = add(writer, *news)
    payload = {**news[0].payload, "quantity": "1.000"}
    answer = writer.call(lambda tx: corrections.correct(tx, ids[0], 1, payload, Decimal(1), ANN))
    assert states(writer, ids) == ["superseded", "held"]
    (first,) = claim(writer)
    assert first.posting.id == answer["id"]
    booked(writer, first)
    assert [one.posting.id for one in claim(writer, target="wms")] == ids[1:]


async def test_a_quantity_is_corrected_in_the_whole_group_by_one_signature(writer: Writer):
    """Every member anew and signed as one, on record with what it was; that group is sent, in order."""
    counts = {"yield": "0", "scrap": "20", "rework": "0"}
    ids = add(
        writer,
        posting(0, kind=Kind.CONFIRMATION, payload=counts, reasons=("odd",)),
        posting(1, kind=Kind.DEFECT, payload={"quantity": "20", "unit": "H87"}, follows=True),
    )
    around = Around(FACTS, lambda *_: ())
    signatures = Signatures(Desk(writer, Clock()), (), around, lambda *_: ())
    person = Identity("ann", frozenset({Scope.APPROVE}))
    with reading(writer.path) as connection:
        before = record(connection, approvals.show(connection, ids[0]), around).content
    assert before["correctable"] == ["scrap", "scrap_reason"]
    answer = await signatures.correct(Asked("correct", ids[0], 1, "miscounted"), {"scrap": "1"}, person)
    new = [answer["id"], answer["id"] + 1]
    assert (states(writer, ids), states(writer, new)) == (["superseded", "superseded"], ["ready", "held"])
    with reading(writer.path) as connection:
        group = groups.members(connection, new[0])
        assert [(one.id, one.payload.get("scrap") or one.payload["quantity"]) for one in group] == [
            (new[0], "1"),
            (new[1], "1"),
        ]
        signed = approvals.show(connection, new[0])["record_hash"]
        assert signed not in (before["payload_sha256"], group[0].payload_hash.hex())
        rows = connection.execute("SELECT posting_id, detail FROM audit WHERE action = 'corrected' ORDER BY seq")
        changes = {number: json.loads(detail)["changes"] for number, detail in rows}
    assert changes == {new[0]: {"scrap": ["20", "1"]}, new[1]: {"quantity": ["20", "1"]}}
    (first,) = claim(writer)
    assert first.posting.id == new[0]
    booked(writer, first)
    assert [one.posting.id for one in claim(writer)] == new[1:]


async def test_a_quantity_of_a_group_that_is_no_scrap_is_not_corrected_in_its_first(writer: Writer):
    """Neither offered nor taken: nobody knows what it means for the rest. Alone it is."""
    counts = {"yield": "0", "scrap": "20", "rework": "0"}
    news = [
        posting(0, kind=Kind.CONFIRMATION, payload=counts, reasons=("odd",)),
        posting(1, follows=True),
        posting(2, "order/2", kind=Kind.CONFIRMATION, payload=counts, reasons=("odd",)),
    ]
    first, _, alone = add(writer, *news)
    around = Around(FACTS, lambda *_: ())
    signatures = Signatures(Desk(writer, Clock()), (), around, lambda *_: ())
    person = Identity("ann", frozenset({Scope.APPROVE}))
    with pytest.raises(BadPayload, match="stands in its whole group"):
        await signatures.correct(Asked("correct", first, 1, "miscounted"), {"scrap": "1"}, person)
    assert states(writer, [first]) == ["held"]
    with reading(writer.path) as connection:
        offered = [record(connection, approvals.show(connection, id), around).content for id in (first, alone)]
    assert [one["correctable"] for one in offered] == [["scrap_reason"], ["yield", "scrap", "rework", "scrap_reason"]]
    await signatures.correct(Asked("correct", alone, 1, "miscounted"), {"scrap": "1"}, person)
    assert states(writer, [alone]) == ["superseded"]


def test_what_nobody_decides_about_expires_as_a_whole(writer: Writer):
    """Those behind the first are not overdue by themselves, and are refused with it."""
    ids = group(writer, "value above the limit")
    with reading(writer.path) as connection:
        late = overdue.overdue(connection, "consumption", START + timedelta(hours=3), 1, told=True)
    assert late == ids[:1]
    writer.call(lambda tx: overdue.expire(tx, late, 1))
    assert states(writer, ids) == ["refused"] * 3


def test_four_eyes_see_the_group_twice(writer: Writer):
    """Two people sign the first; then all of it is approved."""
    ids = group(writer, "value above the limit")
    assert decide(writer, ids[0], ANN, ("consumption",))["state"] == "held"
    assert decide(writer, ids[0], Signature("bob", "approve", "looked, too"), ("consumption",))["state"] == "ready"
    (one,) = claim(writer)
    booked(writer, one)
    (second,) = claim(writer, target="wms")
    assert second.approved


def test_a_follower_that_waits_for_held_ones_of_its_order_still_does(writer: Writer):
    """Its turn in the group has come, but something of its order is held: it waits for that, then goes."""
    (held,) = add(writer, posting(100, reasons=("odd",)))
    news = [posting(101, "order/2"), posting(102, kind=Kind.CONFIRMATION, follows=True, waits=True)]
    first, final = add(writer, *news)
    (one,) = claim(writer)
    assert one.posting.id == first
    booked(writer, one)
    assert shown(writer, final)["reasons"] == [WAITS]
    decide(writer, held, NO)
    assert state(writer, final) == "ready"


def test_a_crash_between_two_members_forgets_nothing(tmp_path: Path):
    """The first was being sent: it is looked up, found, and the second goes, with its document."""
    clock = Clock()
    with opened(tmp_path / "gp.db", clock) as writer:
        ids = group(writer)
        claim(writer)
    clock.forward(minutes=5)
    with opened(tmp_path / "gp.db", clock) as writer:
        assert writer.call(lambda tx: outbox.recover_sending(tx, {"s4": 0})) == 1
        (first,) = claim(writer)
        assert first.posting.state == "in_doubt"
        booked(writer, first, "2026/1")
        (second,) = claim(writer, target="wms", admit=send)
        assert (second.posting.id, dict(second.posting.documents)) == (ids[1], {"scrap": "2026/1"})


def test_a_booked_member_is_archived_only_with_its_group(writer: Writer, tmp_path: Path):
    """Its document is needed by those behind it, and a person sees what was booked."""
    ids = group(writer)
    (first,) = claim(writer)
    booked(writer, first)
    later = START + timedelta(days=100)
    with reading(writer.path) as live:
        archive.archive(writer, live, tmp_path / "archive", later, timedelta(days=90))
        assert [one.id for one in groups.members(live, ids[1])] == ids
    (second,) = claim(writer, target="wms")
    writer.call(lambda tx: outbox.dead(tx, second.posting, "no"))
    writer.call(lambda tx: outbox.refuse(tx, ids[1], by="ann", reason="by hand"))
    with reading(writer.path) as live:
        archive.archive(writer, live, tmp_path / "archive", later, timedelta(days=90))
        assert live.execute("SELECT count(*) FROM posting").get == 0
        assert live.execute("SELECT count(*) FROM member").get == 0


def test_what_waits_is_counted_as_it_is_listed(writer: Writer, tmp_path: Path):
    """A group is one entry, also in the counts; of a line only its own; a dead member is a dead letter of its own."""
    ids = group(writer, "scrap is 10 % of the lot")
    alone = add(writer, posting(9, "order/9", line="filling", reasons=("look",)))[0]

    def waiting(**asked: Any) -> dict[str, int]:
        with reading(tmp_path / "gp.db") as connection:
            told = lists.waiting(connection, **asked)
            assert told["to_decide"] == len(lists.to_decide(connection, **asked))
            return told

    assert waiting() == {"to_decide": 2, "dead": 0, "quarantined": 0}
    assert waiting(lines=["filling"])["to_decide"] == 1
    decide(writer, ids[0], ANN)
    assert waiting()["to_decide"] == 1
    (first,) = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, first.posting, "locked"))
    writer.call(lambda tx: outbox.refuse(tx, alone, by="ann", reason="no"))
    assert waiting() == {"to_decide": 0, "dead": 1, "quarantined": 0}
