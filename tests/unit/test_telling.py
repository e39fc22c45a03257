"""The same cause is told once in its time, and where nobody reacts who is next is told; both on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import assembly
from agent.errors import Conflict
from agent.health import Health
from agent.housekeeping import Housekeeping
from agent.judging.judge import judge
from agent.judging.rules import Door
from agent.judging.verdicts import write
from agent.people.desk import Act, Desk
from agent.people.telling import Telling
from agent.ports import Acknowledgement, Draft, Kind
from agent.store import approvals, notices, outbox, stuck
from agent.store.approvals import Signature
from agent.store.postings import Tells
from agent.store.writer import Writer
from agent.workflows.consumption import Config
from tests.plant import configured
from tests.stores import Clock, add, arrive, claim, opened, posting, state
from tests.unit.test_judge import TODAY, Nothing, event, rules_of
from tests.unit.test_notified import Asking
from tests.unit.test_workflow_consumption import FACTS

PEOPLE = {
    "name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "planner",
    "channels": {"web": {"kind": "webhook", "url": "http://127.0.0.1:9/x"}},
    "people": {role: ["web"] for role in ("planner", "shift-lead", "manager")},
    "next": {"planner": "shift-lead", "shift-lead": "manager"}, "escalate_minutes": 30, "repeat_minutes": 60,
}  # fmt: skip
NOTICE = {
    "to": ["planner"], "severity": "warning", "subject": "short of resin", "text": "500 KG needed", "cause": "short/1",
}  # fmt: skip


class Keeper:
    """The agent's jobs about people, whose clock a test moves."""

    def __init__(self, writer: Writer, clock: Clock, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
        self.writer, self.clock = writer, clock

        def people(content: dict[str, Any]) -> None:
            content["targets"].append(dict(PEOPLE))
            content["workflows"]["consumption"]["targets"] = {"notify": "people"}
            change(content)

        self.config = configured(folder, 1883, "http://127.0.0.1:9", people)
        self.targets = assembly.targets(self.config, clock)
        desk = Desk(writer, clock)
        self.desk = desk
        self.telling = Telling(desk, clock, self.targets, lambda: self.config, lambda: FACTS.units)
        steady = lambda: clock().timestamp()  # noqa: E731  # it never jumps
        self.keeping = Housekeeping(self.config, desk, clock, Health(clock(), ready=True), monotonic=steady)
        self.keeping.tell_held = self.telling.about_held
        self.keeping.tell_expired = self.telling.about_expired

    def tell(self, cause: str = "short/1", event: int | None = None, **changes: Any) -> int | None:
        """A notification, as a decision makes it."""
        payload = {**NOTICE, "cause": cause, **changes}
        once, later = self.targets["people"].patience(payload)  # type: ignore[attr-defined]
        tells = Tells(cause, int(once.total_seconds() * 1e6), int((later or timedelta(0)).total_seconds() * 1e6))
        number = self.writer.call(lambda tx: tx.execute("SELECT count(*) FROM posting").get)
        new = posting(900 + number, f"notify/{cause}", event_id=event, kind=Kind.NOTIFICATION, target="people",
                      payload=payload, tells=tells)  # fmt: skip
        return self.writer.call(lambda tx: notices.tell(tx, new))

    async def after(self, **span: float) -> None:
        """So much later it looks again, twice: nothing is told twice."""
        self.clock.forward(**span)
        for _ in range(2):
            await self.keeping.end_holds()
            await self.telling.look_stuck()
            await self.telling.look()

    def told(self) -> list[list[str]]:
        """To whom each notification goes, in order."""
        ids = self.writer.call(lambda tx: list(tx.execute("SELECT id FROM posting WHERE kind = 'notification'")))
        return [self.payload(id)["to"] for (id,) in ids]

    def payload(self, id: int) -> dict[str, Any]:
        found: dict[str, Any] = self.writer.call(lambda tx: approvals.show(tx.connection, id))["payload"]
        return found

    def trail(self, action: str) -> int:
        return int(
            self.writer.call(lambda tx: tx.execute("SELECT count(*) FROM audit WHERE action = ?", (action,)).get)
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Iterator[Writer]:
    with opened(tmp_path / "gatepost.db", clock) as one:
        yield one


@pytest.fixture
def keeper(writer: Writer, clock: Clock, tmp_path: Path) -> Keeper:
    def change(content: dict[str, Any]) -> None:
        rule = {"escalate_hours": 8, "escalate_to": ["planner"], "stuck_to": ["planner"]}
        content["authority"]["consumption"] |= rule

    return Keeper(writer, clock, tmp_path, change)


# ── one per cause ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_cause_is_told_once_in_its_time(keeper: Keeper, clock: Clock):
    """Another cause is another one; an hour after it was told it is told anew."""
    assert keeper.tell() is not None
    assert keeper.tell() is None
    assert keeper.tell("short/2") is not None
    clock.forward(minutes=59)
    assert keeper.tell() is None
    clock.forward(minutes=1.1)
    assert keeper.tell() is not None
    assert keeper.told() == [["planner"]] * 3


def two_short(keeper: Keeper, writer: Writer, *, group: bool = False) -> Any:
    """Two reports are decided that each hold a goods issue, or a `group` of two, and tell of one cause."""

    class Twice(Asking):
        def propose(self, *given: Any) -> Any:
            proposal, after = super().propose(*given)
            tell = Draft(Kind.NOTIFICATION, "notify/short", NOTICE, role="notify")
            issues = proposal.drafts[:-1] * (2 if group else 1)
            return proposal._replace(drafts=(*issues, tell), together=group), after

    rules = rules_of()
    one = rules.assignments["consumption"]
    doors = {**one.doors, "notify": Door(keeper.targets["people"], {"notification": "live"})}
    one = replace(one, workflow=Twice(Config()), doors=doors)
    events = [event(1, "A"), event(2, "B")]
    arrive(writer, *(each.payload for each in events))
    judged = judge(events, replace(rules, assignments={"consumption": one}), Nothing(), TODAY)
    writer.call(lambda tx: write(tx, judged, 0))
    return judged


def test_two_reports_of_one_cause_in_one_batch_are_one_notification(keeper: Keeper, writer: Writer):
    """Both are decided, one tells; the other's record says that the cause was told."""

    judged = two_short(keeper, writer)
    assert keeper.told() == [["planner"]]
    assert [one.detail.get("told_before") for one in judged.verdicts] == [None, ["short/1"]]
    assert writer.call(lambda tx: tx.execute("SELECT count(*) FROM posting WHERE state = 'held'").get) == 2


# ── nobody reacts ───────────────────────────────────────────────────────────────────────────────────────────


async def test_where_nobody_reacts_who_is_next_is_told_until_there_is_nobody(keeper: Keeper):
    """Each once, with who was told before; the last without a reaction is an alarm, too."""
    assert keeper.tell() is not None
    await keeper.after(minutes=29)
    assert keeper.told() == [["planner"]]
    await keeper.after(minutes=2)
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"], ["shift-lead"], ["manager"]]
    last = keeper.payload(3)
    assert last["subject"] == "Nobody has reacted: short of resin"
    assert last["text"].splitlines() == [
        "shift-lead heard of this 31 min ago, and nobody has reacted.",
        "planner heard of this 31 min ago, and nobody has reacted.",
        "500 KG needed",
    ]
    await keeper.after(days=2)
    assert len(keeper.told()) == 3
    assert keeper.trail("nobody_reacted") == 2


async def test_beside_a_group_a_cause_is_told_once_and_who_is_next_is_told_too(keeper: Keeper, writer: Writer):
    """At once, although the group waits for a person; both groups stay whole."""
    two_short(keeper, writer, group=True)
    assert keeper.told() == [["planner"]]
    assert [one.posting.kind for one in claim(writer, target="people")] == [Kind.NOTIFICATION]
    assert writer.call(lambda tx: tx.execute("SELECT count(*) FROM member").get) == 4
    await keeper.after(minutes=31)
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"], ["shift-lead"], ["manager"]]


async def test_what_is_only_worth_knowing_waits_for_no_reaction(keeper: Keeper):
    """Severity info, or a role without a next one."""
    keeper.tell(severity="info")
    keeper.tell("other", to=["manager"])
    await keeper.after(days=1)
    assert keeper.told() == [["planner"], ["manager"]]


@pytest.mark.parametrize("how", ["approved", "refused", "released", "seen"])
async def test_a_reaction_ends_it(keeper: Keeper, writer: Writer, how: str):
    """A person who decides about what it is about, or has seen it; or what was held goes on by itself."""
    arrive(writer, b"{}")
    (held,) = add(writer, posting(1, event_id=1, reasons=("short",)))
    writer.call(lambda tx: tx.audit("decided", {"route": "held"}, event_id=1))
    told = keeper.tell(event=1)
    assert told is not None
    if how in ("approved", "refused"):
        sign = Signature("anna", "approve" if how == "approved" else "refuse", "looked at it")
        writer.call(lambda tx: approvals.decide(tx, held, 1, sign))
    elif how == "released":
        writer.call(lambda tx: outbox._make_ready(tx, held, "released", {}, actor="agent"))
    else:
        await keeper.desk.seen(told, Act("anna", "on my way"))
    await keeper.after(hours=1)
    assert keeper.told() == [["planner"]]


async def test_somebody_elses_act_is_no_reaction(keeper: Keeper, writer: Writer):
    """What a person did before it was told, or about something else, does not count."""
    arrive(writer, b"{}", b"{}")
    first, other = add(
        writer, posting(1, event_id=1, reasons=("a",), signers=2), posting(2, "order/2", event_id=2, reasons=("b",))
    )
    writer.call(lambda tx: tx.audit("decided", {"route": "held"}, event_id=1))
    writer.call(lambda tx: approvals.decide(tx, first, 1, Signature("anna", "approve", "early")))
    keeper.clock.forward(seconds=1)
    keeper.tell(event=1)
    writer.call(lambda tx: approvals.decide(tx, other, 1, Signature("anna", "approve", "another")))
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"], ["shift-lead"]]


async def test_only_a_notification_can_be_seen(keeper: Keeper, writer: Writer):
    """Whoever says so of a goods issue is told what it is."""
    (one,) = add(writer, posting(1))
    with pytest.raises(Conflict, match="is a goods issue, no notification"):
        await keeper.desk.seen(one, Act("anna", "looked"))


# ── held postings ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_held_posting_that_nobody_decides_about_is_told_in_plain_words(keeper: Keeper, writer: Writer):
    """To the roles of escalate_to, once, and from there on as every notification."""
    arrive(writer, b"{}")
    payload = {
        "material": "RM-RESIN", "quantity": "26.000", "unit": "KGM", "order": "1000100", "operation": "0010",
        "posting_date": "2026-11-20", "storage_location": "171A",
    }  # fmt: skip
    (held,) = add(writer, posting(1, event_id=1, reasons=("200 % of what is usual",), payload=payload))
    writer.call(lambda tx: tx.audit("decided", {"route": "held"}, event_id=1))
    await keeper.after(hours=7.9)
    assert keeper.told() == []
    await keeper.after(hours=0.2)
    assert keeper.told() == [["planner"]]
    found = keeper.payload(2)
    assert found["subject"] == "Held for 8 h: goods issue for order 1000100"
    assert found["link"] == f"#/held/{held}"
    for words in ("26 KG of RM-RESIN was used", "worth 40.00 EUR", "Held because: 200 % of what is usual"):
        assert words in found["text"]
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"], ["shift-lead"]]
    assert state(writer, held) == "held"
    assert [one.posting.target for one in claim(writer, target="people")] == ["people", "people"]


async def test_what_is_never_posted_because_nobody_decided_is_told(writer: Writer, clock: Clock, tmp_path: Path):
    """To the roles of escalate_to, once, with what to do."""

    def change(content: dict[str, Any]) -> None:
        content["authority"]["consumption"] |= {"expire_hours": 24, "escalate_to": ["planner"]}

    keeper = Keeper(writer, clock, tmp_path, change)
    arrive(writer, b"{}")
    payload = {"material": "RM-RESIN", "quantity": "26.000", "unit": "KGM", "order": "1000100", "operation": "0010",
               "posting_date": "2026-11-20", "storage_location": "171A"}  # fmt: skip
    (held,) = add(writer, posting(1, event_id=1, reasons=("200 % of what is usual",), payload=payload))
    writer.call(lambda tx: tx.audit("decided", {"route": "held"}, event_id=1))
    await keeper.after(hours=23.9)
    assert (state(writer, held), keeper.told()) == ("held", [])
    await keeper.after(hours=0.2)
    assert (state(writer, held), keeper.told()) == ("refused", [["planner"]])
    found = keeper.payload(2)
    assert (found["subject"], found["severity"]) == (
        "Not decided about, never posted: goods issue for order 1000100", "alarm"
    )  # fmt: skip
    for words in ("Nobody has decided about this for 24 h", "report it anew", "26 KG of RM-RESIN was used", "200 %"):
        assert words in found["text"]
    assert "is charged" not in found["text"], "nothing is"


# ── stuck postings ──────────────────────────────────────────────────────────────────────────────────────────


def half_sent(writer: Writer) -> int:
    """A group that a person approved: its first is booked, the ERP has refused the second, which is returned."""
    arrive(writer, b"{}")
    kinds = (Kind.SCRAP, Kind.DEFECT, Kind.STOCK_TRANSFER)
    first, second, _ = add(
        writer, *(posting(n, event_id=1, kind=kind, follows=n > 0) for n, kind in enumerate(kinds))
    )  # fmt: skip
    writer.call(lambda tx: tx.audit("decided", {"route": "held"}, event_id=1))
    (sent,) = claim(writer)
    assert sent.posting.id == first
    writer.call(lambda tx: outbox.acknowledged(tx, sent.posting, Acknowledgement("2026/49")))
    refuse_next(writer)
    return second


def refuse_next(writer: Writer) -> None:
    """What is sent now is refused by the ERP."""
    (sent,) = claim(writer)
    writer.call(lambda tx: outbox.dead(tx, sent.posting, "defect code 0001 is not allowed", code="QM/1"))


async def test_a_group_that_is_half_sent_is_told_at_once_with_what_is_booked_of_it(keeper: Keeper, writer: Writer):
    """Once, in the ERP's words; where nobody reacts who is next is told."""
    dead = half_sent(writer)
    await keeper.after(seconds=2)
    assert keeper.told() == [["planner"]]
    found = keeper.payload(4)
    assert (found["severity"], found["subject"]) == ("alarm", "Refused by the ERP: defect")
    for words in (
        "defect code 0001 is not allowed", "stays booked: scrap 2026/49.", "Not sent, waits for it: stock transfer.",
        f"gatepost deadletter show {dead}",
    ):  # fmt: skip
        assert words in found["text"]
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"], ["shift-lead"]]


async def test_what_is_stuck_again_is_told_again_and_nothing_where_somebody_reacted(keeper: Keeper, writer: Writer):
    """A person replays it in time: nobody is next; the ERP refuses it once more: that is news."""
    dead = half_sent(writer)
    await keeper.after(seconds=2)
    await keeper.desk.replay(dead, Act("anna", "the code is allowed now"))
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"]]
    refuse_next(writer)
    await keeper.after(seconds=2)
    assert keeper.told() == [["planner"]] * 2


async def test_a_clock_that_is_set_back_tells_what_is_stuck_once(keeper: Keeper, writer: Writer):
    """It became stuck in what is the future now."""
    half_sent(writer)
    await keeper.after(hours=-1)
    assert writer.call(lambda tx: stuck.untold(tx.connection, "consumption")) == []
    await keeper.after(hours=0.4)
    assert keeper.told() == [["planner"]]


async def test_the_last_posting_of_what_was_held_is_stuck_until_somebody_reacts(keeper: Keeper, writer: Writer):
    """That nothing is held any more is no reaction."""
    arrive(writer, b"{}")
    add(writer, posting(1, event_id=1))
    writer.call(lambda tx: tx.audit("decided", {"route": "held"}, event_id=1))
    refuse_next(writer)
    await keeper.after(seconds=2)
    await keeper.after(minutes=31)
    assert keeper.told() == [["planner"], ["shift-lead"]]
