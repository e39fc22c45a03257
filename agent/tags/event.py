"""One declared event: it looks at the changes of its tags, and is made, waits for a tag, or is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.ports import Delivery, Notice
from agent.tags import handshake
from agent.tags.config import TagEvent, Weighed
from agent.tags.counting import Counting, frozen, thawed
from agent.tags.handshake import Code, Phase
from agent.tags.origin import same_place
from agent.tags.scale import armed_after, gone, weigh
from agent.tags.snapshot import Current, Lack, Values, moment, payload, shown, take
from agent.tags.trigger import look, truth
from agent.tags.values import Change, Quality, Scalar, Write

SAY_AGAIN: Final = timedelta(seconds=5)  # an answer of a handshake
LONG: Final = timedelta(minutes=1)  # a timer that was silent for so long is told; less is a busy moment
RELEASES: Final = 2  # times that a release is said again; nothing shows that it was understood
AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)  # when a timer wants to be asked that has never been


@dataclass(slots=True)
class Outcome:
    """What one call makes, of all events together."""

    source: str
    numbers: dict[str, int]  # of the senders, by topic without its last level
    now: datetime
    deliveries: list[Delivery] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    keep: bool = False  # the state must be on disk, although nothing is delivered
    past: bool = False  # what the tags say is of a time that is over


class Said(NamedTuple):
    """What was written to the controller last, and may have to be said again: not every protocol knows it arrived."""

    at: datetime
    writes: tuple[Write, ...]
    left: int | None  # how often; None: as long as the request stands


class Waiting(NamedTuple):
    """A trigger has fired, and a tag has no good value yet."""

    since: datetime
    at: datetime  # the source's time of the trigger
    values: Values  # as they were then


class OneEvent:
    """The state of one event; `kept` is what the checkpoint holds of it."""

    def __init__(self, event: TagEvent, addresses: Mapping[str, str], kept: Mapping[str, Any]) -> None:
        self.event = event
        self.tags = frozenset(tag for _, tag in event.reads())
        self.beats = event.when is not None and event.when.every_s is not None
        self._trigger = event.when.tag if event.when is not None else None
        self._scale = next(iter(event.weighed.values())) if event.when is None else None
        self._scale_tags = frozenset(tag for key, tag in event.reads() if key.startswith("weighed."))
        self._wait = timedelta(seconds=event.wait_s)
        self._n = int(kept.get("n", 0))
        self._trigger_at = addresses.get(self._trigger or "", "")
        same_tag = same_place(self._trigger, self._trigger_at, kept.get("trigger"), kept.get("trigger_at", ""))
        answered = same_tag and event.handshake is not None  # the request of another tag was answered by nobody
        self._phase = Phase(kept.get("phase", Phase.IDLE)) if answered else Phase.IDLE
        self._code = int(kept.get("code", 0)) if answered else 0
        self._last: Scalar = thawed(kept["last"]) if same_tag and "last" in kept else None
        self._kept_last = self._last  # what the checkpoint says while a fired trigger waits
        self._net = Decimal(kept["net"]) if kept.get("net") else None  # of the last load, in the scale's unit
        self._fired = datetime.fromisoformat(kept["fired"]) if kept.get("fired") else None
        self.counting = Counting(event, addresses, kept)
        self._waiting: Waiting | None = None
        self._said: Said | None = None
        self._fresh = True  # nothing was heard of the request since the connection was made
        self._overdue: datetime | None = None
        self._told: set[str] = set()  # what was noticed once and is not over
        self.dirty = True

    def kept(self) -> dict[str, Any]:
        """For the checkpoint."""
        self.dirty = False
        return {
            "n": self._n,
            "phase": self._phase,
            "code": self._code,
            "trigger": self._trigger,
            "trigger_at": self._trigger_at,
            "last": frozen(self._kept_last),
            "net": None if self._net is None else str(self._net),
            "fired": self._fired and self._fired.isoformat(),
            **self.counting.kept(),
        }

    # ── the entries ─────────────────────────────────────────────────────────────────────────────────────────

    def before(self, touched: Sequence[Change], current: Current, out: Outcome) -> None:
        """Report what was counted for a value that this message changes; `current` is still without it."""
        if not self.event.closed_by or not self.counting.switched(touched, current):
            return
        out.keep = True
        if self.counting.any_pending():
            values = self.counting.values(current)
            if values is None:
                pending = {name: str(quantity) for name, quantity in self.counting.pending().items()}
                why = "nobody knows the values under which this was counted; it joins what is counted next"
                out.notices.append(Notice("event_refused", {"event": self.event.name, "why": why, "counted": pending}))
            else:
                self._deliver(values, self.counting.grown_at or out.now, out)
        self.counting.forget_values()

    def after(self, touched: Sequence[Change], current: Current, out: Outcome) -> None:
        """Count, and look at the trigger; `current` is with this message."""
        if self.event.counted:
            out.notices += self.counting.read(touched, current, out.now)
            self.dirty = self.dirty or self.counting.moved
        if self.event.handshake is not None:
            self._answer(touched, current, out)
        if self._waiting is not None:
            self._again(current, out)
        if self._scale is not None:
            self._look_at_scale(self._scale, touched, current, out)
        elif self._trigger is not None and self.event.handshake is None:
            self._look(touched, current, out)
        self._by_time(current, out)

    def tick(self, current: Current, out: Outcome) -> None:
        """Do what is due."""
        if self._said is not None and out.now >= self._said.at + SAY_AGAIN:
            self._say_again(self._said, out)
        if self._waiting is not None:
            self._again(current, out)
        self._by_time(current, out)

    def lost(self, tags: Collection[str] | None) -> None:
        """Nobody says any more what these tags are (None: all of them)."""
        self.counting.lost(tags)
        watched = self._scale_tags if self._scale is not None else {self._trigger}
        if tags is None or not watched.isdisjoint(tags):
            self._fresh, self._said = True, None
            self._waiting, self._last = None, self._kept_last  # the connection shows the trigger again

    def set_back(self, now: datetime) -> None:
        """The clock says less than it did. What began in the future begins now, so that nothing waits for it."""
        if self._fired is not None and self._fired > now:
            self._fired, self.dirty = now, True
        if self._said is not None and self._said.at > now:
            self._said = self._said._replace(at=now)
        if self._waiting is not None and self._waiting.since > now:
            self._waiting = self._waiting._replace(since=now)
        if self._overdue is not None and self._overdue > now:
            self._overdue = now

    def due(self) -> datetime | None:
        """When `tick` has something to do."""
        if self._waiting is not None:
            return self._waiting.since + self._wait
        if self._said is not None:
            return self._said.at + SAY_AGAIN
        when = self.event.when
        if when is not None and when.every_s is not None:
            return AT_ONCE if self._fired is None else self._fired + timedelta(seconds=when.every_s)
        if when is None or when.counts is None or not self.counting.reaches(when.counts.least):
            return None
        if self._overdue is not None:
            return None if "overdue" in self._told else self._overdue + self._wait
        return AT_ONCE if self._fired is None else self._fired + timedelta(seconds=when.counts.every_s)

    # ── triggers ────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, touched: Sequence[Change], current: Current, out: Outcome) -> None:
        """At a tag whose edge makes the event: once a message, whatever it did in between."""
        when, edges, at = self.event.when, 0, out.now
        assert when is not None  # noqa: S101  # there is a tag to look at
        for change in touched:
            if change.tag != self._trigger or change.historical or change.now.quality is not Quality.GOOD:
                continue
            before = self._last
            self._last, fires, wrong, back = look(when, before, change.now.value)
            self._refused_value(change, wrong, out)
            if back:
                went = {"event": self.event.name, "before": str(before), "now": str(change.now.value)}
                out.notices.append(Notice("step_back", went))
            if fires:
                edges, at = edges + 1, change.now.at
        if edges > 1 and when.step is None:
            detail: dict[str, Any] = {"event": self.event.name, "tag": self._trigger, "edges": edges}
            out.notices.append(Notice("edges_merged", detail))
        if edges:
            self._fire(at, current, out)
        elif self._waiting is None:
            self._remember(out)

    def _answer(self, touched: Sequence[Change], current: Current, out: Outcome) -> None:
        """At the request of a handshake, phase by phase."""
        pins = self.event.handshake
        for change in touched:
            if change.tag != self._trigger or change.historical or change.now.quality is not Quality.GOOD:
                continue
            up = truth(change.now.value)
            self._refused_value(change, "" if up is not None else "is neither true or false nor a number", out)
            if up is None or pins is None:
                continue
            if not up and self._waiting is not None:
                self._withdrawn(out)
            turn = handshake.requested(pins, self._phase, self._code, up=up, fresh=self._fresh)
            self._fresh = False
            if turn.phase is not self._phase:
                self._phase, self._code, self.dirty, out.keep = turn.phase, 0, True, True
            self._say(turn.writes, out, left=None if up else RELEASES)
            if turn.fires and self._waiting is None:
                self._fire(change.now.at, current, out)

    def _look_at_scale(self, rule: Weighed, touched: Sequence[Change], current: Current, out: Outcome) -> None:
        """At a scale that makes the event by itself: once a load."""
        live = [change for change in touched if change.tag in self._scale_tags and not change.historical]
        if not live:
            return
        weighing = weigh(rule, current)
        for change in live:
            wrong = "is no weight or flag" if (weighing.code, weighing.tag) == (Code.UNREADABLE, change.tag) else ""
            self._refused_value(change, wrong, out)
        armed = armed_after(rule, weighing, armed=self._last is not False)
        if not weighing.code:
            self._compare_load(rule, weighing.net, out, armed=armed)
        if weighing.code or not armed:
            self._last = armed
            if self._waiting is None:
                self._remember(out)
            return
        self._last, self._net = False, weighing.net
        self._fire(max(change.now.at for change in live), current, out)

    def _compare_load(self, rule: Weighed, net: Decimal, out: Outcome, *, armed: bool) -> None:
        """At the first look since the connection was made: is this the load that was weighed?"""
        if self._fresh and not armed and self._net is not None and abs(net - self._net) > gone(rule):
            detail = {"event": self.event.name, "before": str(self._net), "now": str(net)}
            out.notices.append(Notice("load_changed", detail))
            self._net = net
        self._fresh = False

    def _by_time(self, current: Current, out: Outcome) -> None:
        when = self.event.when
        if when is None or self._waiting is not None:
            return
        if when.every_s is not None:
            if not out.past:
                self._beat(timedelta(seconds=when.every_s), current, out)
        elif when.counts is not None and self.counting.reaches(when.counts.least):
            rest = timedelta(seconds=when.counts.every_s)
            if self._fired is None or self._fired + rest <= out.now:
                self._report(current, out)

    def _beat(self, every: timedelta, current: Current, out: Outcome) -> None:
        """A timer: what cannot be told at its time is not told late."""
        if self._fired is None:
            self._fired, self.dirty, out.keep = out.now, True, True
            return
        due = self._fired + every
        if due > out.now:
            return
        missed = (out.now - due) // every
        self._fired = out.now if missed else due
        self.dirty = True
        if missed and out.now - due >= LONG:
            since = {"event": self.event.name, "count": missed, "since": due.isoformat()}
            out.notices.append(Notice("beats_missed", since, alarm=False))
        values, lacks = take(self.event, current, {}, counters=True)
        if not lacks:
            self._told.discard("overdue")
            self._deliver(values, out.now, out)
        elif "overdue" not in self._told:
            self._told.add("overdue")
            out.notices.append(Notice("event_refused", {"event": self.event.name, "why": shown(lacks)}))

    def _report(self, current: Current, out: Outcome) -> None:
        """What was counted: it can wait, for as long as its values take."""
        values, lacks = take(self.event, current, {}, counters=False)
        if not lacks:
            self._overdue, self._fired = None, out.now
            self._told.discard("overdue")
            self._deliver(values, self.counting.grown_at or out.now, out)
            return
        self._overdue = self._overdue or out.now
        if out.now >= self._overdue + self._wait and "overdue" not in self._told:
            self._told.add("overdue")
            pending = {name: str(quantity) for name, quantity in self.counting.pending().items()}
            detail = {"event": self.event.name, "why": shown(lacks), "counted": pending}
            out.notices.append(Notice("event_waits", detail))

    # ── what a trigger does ─────────────────────────────────────────────────────────────────────────────────

    def _fire(self, at: datetime, current: Current, out: Outcome) -> None:
        if self._waiting is not None:
            self._refuse(take(self.event, current, self._waiting.values, counters=True)[1], out)
        values, lacks = take(self.event, current, {}, counters=True)
        if not lacks:
            self._make(values, at, out)
        elif self._wait:
            self._waiting = Waiting(out.now, at, values)
        else:
            self._refuse(lacks, out)

    def _again(self, current: Current, out: Outcome) -> None:
        """Look whether what was missing has come, or the time is over."""
        waiting = self._waiting
        assert waiting is not None  # noqa: S101  # asked before
        values, lacks = take(self.event, current, waiting.values, counters=True)
        if not lacks:
            self._make(values, waiting.at, out)
        elif out.now >= waiting.since + self._wait:
            self._refuse(lacks, out)
        else:
            self._waiting = waiting._replace(values=values)

    def _make(self, values: Values, at: datetime, out: Outcome) -> None:
        self._deliver(values, at, out)
        self._settled()
        if self.event.handshake is not None:
            self._phase, self._code = Phase.STORED, 0
            self._say(handshake.accepted(self.event.handshake), out)

    def _deliver(self, values: Values, at: datetime, out: Outcome) -> None:
        self._n, self.dirty = self._n + 1, True
        sender = self.event.topic.rpartition("/")[0] or self.event.topic
        out.numbers[sender] = out.numbers.get(sender, 0) + 1
        identity = f"{out.source}/{self.event.name}/{self._n}"
        head: dict[str, Scalar] = {"id": identity, "seq": out.numbers[sender], "ts": moment(at)}
        quantities: Mapping[str, Decimal] = self.counting.take()
        out.deliveries.append(Delivery(self.event.topic, payload(self.event, head, values, quantities)))

    def _refuse(self, lacks: Sequence[Lack], out: Outcome) -> None:
        code = lacks[0].code if lacks else Code.MISSING
        detail = {"event": self.event.name, "why": shown(lacks), "code": int(code)}
        out.notices.append(Notice("event_refused", detail))
        self._settled()
        if self.event.handshake is not None:
            self._phase, self._code = Phase.REFUSED, int(code)
            self._say(handshake.refused(self.event.handshake, code), out)

    def _withdrawn(self, out: Outcome) -> None:
        detail = {"event": self.event.name, "why": "the request fell before it was answered"}
        out.notices.append(Notice("event_refused", detail))
        self._settled()
        if self.event.handshake is not None:
            self._say(handshake.released(self.event.handshake), out, left=RELEASES)

    def _say(self, writes: tuple[Write, ...], out: Outcome, left: int | None = None) -> None:
        """Write, and remember it; nothing to write is nothing new, unless it is a new request."""
        out.writes += writes
        if writes:
            self._said = Said(out.now, writes, left)
        elif left is None:
            self._said = None

    def _say_again(self, said: Said, out: Outcome) -> None:
        out.writes += said.writes
        left = None if said.left is None else said.left - 1
        self._said = None if left == 0 else Said(out.now, said.writes, left)

    def _settled(self) -> None:
        """The trigger has had its effect: the checkpoint may say so."""
        self._waiting, self._kept_last, self.dirty = None, self._last, True

    def _remember(self, out: Outcome) -> None:
        """A trigger that went back without an effect must be on disk, or the next edge would not be seen as one."""
        if self._kept_last is not self._last and self._kept_last != self._last:
            self._kept_last, self.dirty, out.keep = self._last, True, True

    def _refused_value(self, change: Change, wrong: str, out: Outcome) -> None:
        """Somebody hears once of a value that cannot be judged, until there is a good one again."""
        if not wrong:
            self._told.discard(change.tag)
        elif change.tag not in self._told:
            self._told.add(change.tag)
            about = {"event": self.event.name, "tag": change.tag, "value": str(change.now.value)[:100], "why": wrong}
            out.notices.append(Notice("tag_refused", about))
