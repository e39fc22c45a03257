"""The outbox against a small model: whatever people, the ERP and crashes do, in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.errors import Conflict, NotFound
from agent.ports import Acknowledgement, Kind
from agent.store import approvals, corrections, lanes, outbox, pauses, postings
from agent.store.approvals import Signature
from agent.store.writer import Writer
from tests.stores import Clock, assert_sound, posting, reading, send

ORDERS = ("order/1", "order/2")
SETTLE_US = 120_000_000
DONE = ("acknowledged", "simulated")


@dataclass
class Known:
    """What the model knows of one posting."""

    number: int
    order: str
    state: str
    waits: bool = False  # held for nothing but what is held before it
    final: bool = False  # never before what is held of its order
    stands: int = 0  # among the held ones: where it was made, or where what it corrects stood
    place: int = 0  # in its lane
    looking: bool = False  # a lookup is under way
    tries: int = 0
    signers: int = 1
    signed: list[str] = field(default_factory=list)
    group: list[int] = field(default_factory=list)  # of which it is one, in the order in which they are sent


@dataclass
class Model:
    """The outbox in plain words."""

    postings: dict[int, Known] = field(default_factory=dict)
    places: int = 0
    paused: set[str] = field(default_factory=set)

    def lane(self, order: str) -> list[int]:
        """The open postings of a lane, the head first."""
        is_open = ("ready", "sending", "in_doubt", "doubtful", "dead")
        found = [id for id, one in self.postings.items() if one.order == order and one.state in is_open]
        return sorted(found, key=lambda id: self.postings[id].place)

    def in_state(self, *states: str) -> list[int]:
        return [id for id, one in self.postings.items() if one.state in states]

    def ready(self, id: int) -> None:
        self.places += 1
        self.postings[id].state, self.postings[id].place = "ready", self.places

    def release(self, order: str) -> None:
        """What only waited for held ones before it goes."""
        for id in sorted(self.postings, key=lambda id: self.postings[id].stands):
            one = self.postings[id]
            if one.order == order and one.state == "held" and one.waits and not self.before(id):
                self.ready(id)

    def before(self, id: int) -> list[int]:
        """What is held of its order and stands before it."""
        mine = self.postings[id]
        held = [(other, self.postings[other]) for other in self.in_state("held")]
        return [other for other, one in held if one.order == mine.order and one.stands < mine.stands]

    def ahead(self, id: int) -> list[int]:
        """What must be booked before this one, in its group, and is not yet."""
        group = self.postings[id].group
        before = group[: group.index(id)] if id in group else []
        return [one for one in before if self.postings[one].state not in DONE]

    def go_on(self, id: int) -> None:
        """What follows in the group goes."""
        follower = next(iter(self.behind(id)), None)
        if follower is not None:
            self.ready(follower)
            self.release(self.postings[follower].order)

    def stop(self, id: int) -> None:
        """What follows in the group never goes."""
        for one in self.behind(id):
            self.postings[one].state = "refused"
            self.release(self.postings[one].order)

    def behind(self, id: int) -> list[int]:
        group = self.postings[id].group
        after = group[group.index(id) + 1 :] if id in group else []
        return [one for one in after if self.postings[one].state == "held"]


class Outbox(RuleBasedStateMachine):
    """Every rule does the same to the store and to the model."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.clock = Clock()
        self.model = Model()
        self.numbers = 0
        self.documents = 0
        self.sent: list[tuple[str, int, int]] = []
        self._start()

    def _start(self) -> None:
        self.writer = Writer(self.folder / "gp.db", self.clock)
        self.writer.start()

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.stop()
            shutil.rmtree(self.folder)

    def _do(self, job: Any) -> Any:
        return self.writer.call(job)

    def _posting(self, tx: Any, id: int) -> Any:
        return postings.read(tx.connection, id).posting

    # ── what the process loop does ──────────────────────────────────────────────────────────────────────

    @rule(order=st.sampled_from(ORDERS), held=st.booleans(), waits=st.booleans(), more=st.integers(1, 2))
    def add(self, order: str, held: bool, waits: bool, more: int) -> None:
        news: list[postings.NewPosting] = []
        known: list[Known] = []
        for _ in range(more):
            self.numbers += 1
            before = any(one.order == order and one.state == "held" for one in [*self.model.postings.values(), *known])
            is_held = held or (waits and before)
            reasons = ("200 % usage",) if held else ()
            kind = Kind.CONFIRMATION if waits else Kind.GOODS_ISSUE
            news.append(posting(self.numbers, order, kind=kind, reasons=reasons, waits=waits))
            state = "held" if is_held else "ready"
            known.append(Known(self.numbers, order, state, waits=is_held and not held, final=waits))
        made = self._do(lambda tx: postings.add_all(tx, news))
        for (id, state), one in zip(made, known, strict=True):
            assert state == one.state
            self.model.postings[id], one.stands = one, id
            if state == "ready":
                self.model.ready(id)

    @rule(orders=st.lists(st.sampled_from(ORDERS), min_size=2, max_size=3), held=st.booleans())
    def add_group(self, orders: list[str], held: bool) -> None:
        """Several of one decision: the first as ever, the others behind it."""
        news = []
        for number, order in enumerate(orders):
            self.numbers += 1
            news.append(posting(self.numbers, order, follows=number > 0, reasons=("200 % usage",) if held else ()))
        made = self._do(lambda tx: postings.add_all(tx, news))
        group = [id for id, _ in made]
        for (id, state), order in zip(made, orders, strict=True):
            assert state == ("held" if held or id != group[0] else "ready")
            self.model.postings[id] = Known(self.numbers, order, state, stands=id, group=group)
        if not held:
            self.model.ready(group[0])

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def add_a_known_key(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.numbers))
        try:
            self._do(lambda tx: postings.add_all(tx, [posting(1_000_000), posting(number)]))
        except apsw.ConstraintError:
            return
        raise AssertionError("a known idempotency key was written twice")

    # ── what dispatch does ──────────────────────────────────────────────────────────────────────────────

    @rule(limit=st.integers(1, 3))
    def claim_and_send(self, limit: int) -> None:
        self.claim(limit, "send")

    @rule(limit=st.integers(1, 3), answer=st.sampled_from(("hold", "simulate")))
    def claim_and_keep(self, limit: int, answer: str) -> None:
        self.claim(limit, answer)

    def claim(self, limit: int, answer: str) -> None:
        admit = {
            "send": send,
            "hold": lambda _: outbox.HoldBack(("tighter",)),
            "simulate": lambda _: outbox.Simulate(),
        }[answer]
        free = []
        for order in ORDERS:
            lane = self.model.lane(order)
            head = self.model.postings[lane[0]] if lane else None
            if head and order not in self.model.paused and head.state in ("ready", "in_doubt") and not head.looking:
                free.append(lane[0])
        expected = sorted(free, key=lambda id: self.model.postings[id].place)[:limit]
        claimed = self._do(lambda tx: outbox.claim(tx, "s4", limit, admit))
        told = []
        for id in expected:
            one = self.model.postings[id]
            if one.state == "in_doubt":
                one.looking = True
                told.append(id)
            elif one.final and self.model.before(id):
                one.state, one.waits = "held", True
            elif answer == "send":
                one.state, one.tries = "sending", one.tries + 1
                told.append(id)
                self.sent.append((one.order, one.place, id))
            else:
                one.state, one.waits = {"hold": "held", "simulate": "simulated"}[answer], False
                one.signed = []
                if answer == "simulate":
                    self.model.go_on(id)
        assert [waiting.posting.id for waiting in claimed] == told
        assert all(waiting.posting.wire == b"wire" for waiting in claimed)

    def _in_the_air(self, data: st.DataObject, *states: str) -> int:
        found = [
            id for id in self.model.in_state(*states) if self.model.postings[id].looking or "in_doubt" not in states
        ]
        return data.draw(st.sampled_from(sorted(found)))

    @precondition(lambda self: self.model.in_state("sending"))
    @rule(data=st.data(), answer=st.sampled_from(("lost", "yes", "refused", "unsent")))
    def answer(self, data: st.DataObject, answer: str) -> None:
        id = self._in_the_air(data, "sending")
        one = self.model.postings[id]
        self.documents += 1
        ack = Acknowledgement(f"2026/{self.documents}")
        jobs: dict[str, tuple[str, Any]] = {
            "yes": ("acknowledged", lambda tx: outbox.acknowledged(tx, self._posting(tx, id), ack)),
            "lost": ("in_doubt", lambda tx: outbox.in_doubt(tx, self._posting(tx, id), 0, "timed out")),
            "refused": ("dead", lambda tx: outbox.dead(tx, self._posting(tx, id), "no", code="M7/021")),
            "unsent": ("ready", lambda tx: outbox.unsent(tx, self._posting(tx, id), 0, "refused connection")),
        }
        one.state, job = jobs[answer]
        self._do(job)
        if answer == "yes":
            self.model.go_on(id)

    @precondition(lambda self: any(one.looking for one in self.model.postings.values()))
    @rule(data=st.data(), answer=st.sampled_from(("found", "nothing", "again", "doubtful")))
    def look(self, data: st.DataObject, answer: str) -> None:
        id = data.draw(st.sampled_from(sorted(id for id, one in self.model.postings.items() if one.looking)))
        one = self.model.postings[id]
        self.documents += 1
        ack = Acknowledgement(f"2026/{self.documents}", found=True)
        jobs: dict[str, tuple[str, Any]] = {
            "found": ("acknowledged", lambda tx: outbox.acknowledged(tx, self._posting(tx, id), ack)),
            "nothing": (
                "in_doubt",
                lambda tx: outbox.look_later(tx, self._posting(tx, id), 0, "no document", found_nothing=True),
            ),
            "again": ("sending", lambda tx: outbox.send_again(tx, self._posting(tx, id))),
            "doubtful": ("doubtful", lambda tx: outbox.doubtful(tx, self._posting(tx, id), "no proof")),
        }
        one.state, job = jobs[answer]
        one.looking = False
        self._do(job)
        if answer == "found":
            self.model.go_on(id)

    # ── what people do ──────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.model.in_state("held"))
    @rule(data=st.data(), approve=st.booleans())
    def decide(self, data: st.DataObject, approve: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.in_state("held"))))
        one = self.model.postings[id]
        version = self._do(lambda tx: self._posting(tx, id).version)
        person = "bob" if "ann" in one.signed else "ann"
        signature = Signature(person, "approve" if approve else "refuse", "looked")
        try:
            self._do(lambda tx: approvals.decide(tx, id, version, signature))
        except Conflict:
            assert self.model.ahead(id) or (approve and self.model.before(id))
            return
        assert not self.model.ahead(id)
        if approve:
            one.signed.append(person)
            if len(one.signed) < one.signers:
                return
            self.model.ready(id)
        else:
            one.state = "refused"
        self.model.release(one.order)
        if not approve:
            self.model.stop(id)

    @precondition(lambda self: self.model.in_state("held"))
    @rule(data=st.data(), two=st.booleans())
    def correct(self, data: st.DataObject, two: bool) -> None:
        """Another posting stands where the held one stood; with four eyes it is held for the second person."""
        id = data.draw(st.sampled_from(sorted(self.model.in_state("held"))))
        old = self.model.postings[id]
        now = self._do(lambda tx: self._posting(tx, id))
        payload, signature = {**now.payload, "quantity": "1.000"}, Signature("ann", "approve", "not tared")
        four_eyes = ("consumption",) if two else ()
        try:
            answer = self._do(
                lambda tx: corrections.correct(tx, id, now.version, payload, Decimal(1), signature, four_eyes)
            )
        except Conflict:
            assert self.model.ahead(id) or self.model.before(id)
            return
        assert not self.model.ahead(id)
        new = answer["id"]
        old.state = "superseded"
        signers = 2 if two else old.signers
        if id in old.group:
            old.group[old.group.index(id)] = new
        made = Known(0, old.order, "held", final=old.final, stands=old.stands, signers=signers, signed=["ann"])
        made.group = old.group
        self.model.postings[new] = made
        if signers == 1:
            self.model.ready(new)
        self.model.release(old.order)
        assert answer["state"] == self.model.postings[new].state

    @precondition(lambda self: self.model.in_state("dead"))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.in_state("dead"))))
        self._do(lambda tx: outbox.replay(tx, id, by="ann", reason="stock was posted"))
        self.model.postings[id].state = "ready"

    @precondition(lambda self: self.model.in_state("ready", "dead", "doubtful"))
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.in_state("ready", "dead", "doubtful"))))
        self._do(lambda tx: outbox.refuse(tx, id, by="ann", reason="booked by hand"))
        self.model.postings[id].state = "refused"
        self.model.release(self.model.postings[id].order)
        self.model.stop(id)

    @precondition(lambda self: self.model.in_state("doubtful"))
    @rule(data=st.data(), booked=st.booleans())
    def settle_doubt(self, data: st.DataObject, booked: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.in_state("doubtful"))))
        self.documents += 1
        document = f"2026/{self.documents}"
        if booked:
            self._do(lambda tx: outbox.name_document(tx, id, document, by="ann", reason="MB51"))
        else:
            self._do(lambda tx: outbox.not_booked(tx, id, by="ann", reason="MB51"))
        self.model.postings[id].state = "acknowledged" if booked else "ready"
        if booked:
            self.model.go_on(id)

    @rule(order=st.sampled_from(ORDERS))
    def pause_or_resume(self, order: str) -> None:
        if order in self.model.paused:
            self._do(lambda tx: pauses.resume(tx, "order", order, by="ann", reason="done"))
        else:
            self._do(lambda tx: pauses.pause(tx, "order", order, by="ann", reason="stock count"))
        self.model.paused ^= {order}

    @precondition(lambda self: self.model.in_state("acknowledged", "refused", "sending"))
    @rule(data=st.data())
    def act_too_late(self, data: st.DataObject) -> None:
        """Nobody can replay or refuse what is done or under way."""
        id = data.draw(st.sampled_from(sorted(self.model.in_state("acknowledged", "refused", "sending"))))
        for act in (outbox.replay, outbox.refuse):
            try:
                self._do(lambda tx, act=act: act(tx, id, by="bob", reason="late"))
            except (Conflict, NotFound):
                continue
            raise AssertionError(f"{act.__name__} was possible in state {self.model.postings[id].state}")

    # ── what the world does ─────────────────────────────────────────────────────────────────────────────

    @rule()
    def crash(self) -> None:
        """Everything in memory is gone; what was being sent is looked up after the settle time."""
        self.writer.stop()
        self._start()
        assert self.writer.findings == []
        settle = {"s4": SETTLE_US}
        flying = self.model.in_state("sending")
        assert self._do(lambda tx: outbox.recover_sending(tx, settle)) == len(flying)
        for id in flying:
            self.model.postings[id].state = "in_doubt"
        for one in self.model.postings.values():
            one.looking = False
        self.clock.forward(seconds=SETTLE_US / 1e6 + 1)

    @rule(days=st.sampled_from((-14, 14)))
    def clock_jumps(self, days: int) -> None:
        """The wall clock is wrong by two weeks, and the timers follow."""
        self.clock.forward(days=days)
        self._do(lambda tx: lanes.shift_timers(tx, days * 86_400_000_000))

    # ── what always holds ───────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_store_is_sound_and_as_the_model_says(self) -> None:
        if not hasattr(self, "writer"):
            return
        with reading(self.folder / "gp.db") as connection:
            assert_sound(connection)
            states = dict(connection.execute("SELECT id, state FROM posting"))
            keys = connection.execute("SELECT count(*), count(DISTINCT posting_id) FROM idempotency").fetchone()
            documents = connection.execute("SELECT count(document), count(DISTINCT document) FROM posting").fetchone()
        assert states == {id: one.state for id, one in self.model.postings.items()}
        assert keys == (len(states), len(states))
        assert documents is not None
        assert documents[0] == documents[1]

    @invariant()
    def one_lane_was_sent_in_its_order(self) -> None:
        """Nothing is sent before what was ahead of it in its lane has left the lane."""
        for order in ORDERS:
            lane = self.model.lane(order) if hasattr(self, "model") else []
            moving = [id for id in lane if self.model.postings[id].state in ("sending", "in_doubt")]
            assert moving in ([], lane[:1])

    @invariant()
    def a_group_is_sent_in_its_order(self) -> None:
        """Nothing of it moves before all that is ahead of it is booked, and nothing behind what is refused."""
        known = self.model.postings if hasattr(self, "model") else {}
        for group in {tuple(one.group) for one in known.values() if one.group}:
            states = [known[id].state for id in group]
            first = next((at for at, state in enumerate(states) if state not in DONE), len(states))
            assert set(states[first + 1 :]) <= ({"refused"} if "refused" in states[first:] else {"held"}), states


Outbox.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a failure is shown as it came: shrinking takes minutes
)
TestOutbox = Outbox.TestCase
