"""The story: intake, process, dispatch. Read this first.

    source ──▶ INTAKE ──▶ event ──▶ PROCESS ──▶ posting ──▶ DISPATCH ──▶ ERP
               on disk,             read → recognise →       claim on disk,
               then the             score → propose →        then send; the
               sender's ack         authorise, one commit    answer on disk

Each loop takes from one durable place and returns only when the next place has it. A crash repeats a step; the
identity of the message and the idempotency key of the posting make repeating harmless. There is no shutdown to get
right: start-up is recovery. What decides (`judge`) is pure and sees neither a database nor a network.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol

import apsw

from agent import authority, strictjson
from agent.errors import (
    BadPayload,
    ErpError,
    ErpInDoubt,
    ErpRejected,
    ErpUnavailable,
    GatepostError,
    ModelUnfit,
)
from agent.facts import Fact, Facts, from_document, to_document
from agent.isa95 import SegmentResponse
from agent.mapping import Mappings
from agent.ports import (
    Batch,
    Clock,
    Decision,
    Draft,
    ErpTarget,
    Event,
    Features,
    GivesReceipts,
    Posting,
    Proposal,
    Receipt,
    Route,
    Score,
    Workflow,
)
from agent.store import file, inbox, masterdata, outbox
from agent.store.encode import to_us
from agent.store.keys import idempotency_key
from agent.store.writer import Transaction, Writer

log = logging.getLogger("gatepost.pipeline")

BATCH = 200  # events decided per commit: a few milliseconds of the event loop
EMPTY_LOOKUPS = 2  # before a posting is sent again, or given to a person
DOUBTS_BEFORE_PAUSE = 5  # answers lost in a row before the target gets a rest
LONGEST_PAUSE_S = 60.0


# ── 1 intake ────────────────────────────────────────────────────────────────────────────────────────────────


class Intake:
    """The door: a batch of deliveries becomes rows in `event`, then the sender hears that it is safe."""

    def __init__(self, writer: Writer, arrived: Callable[[], None]) -> None:
        self._writer = writer
        self._arrived = arrived

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        """See `ports.Intake`. A batch that cannot be stored is not acknowledged; its sender keeps it."""

        def then(error: BaseException | None) -> None:
            if error is not None:
                log.error("a batch from %s was not stored, its sender will repeat it: %s", batch.source, error)
                return
            batch.stored()
            self._arrived()

        size = sum(len(one.payload) + 200 for one in batch.deliveries)
        return self._writer.put(lambda tx: inbox.store(tx, batch), size, then, timeout)

    def checkpoint(self, key: str) -> bytes | None:
        """See `ports.Intake`."""
        with closing(file.reader(self._writer.path)) as reader:  # sources ask from threads of their own, and rarely
            return inbox.checkpoint(reader, key)


# ── 2 process ───────────────────────────────────────────────────────────────────────────────────────────────


class Model(Protocol):
    """What scores one workflow's features."""

    name: str

    def score(self, rows: Sequence[Features]) -> Sequence[Score | ModelUnfit]:
        """One answer per row; ModelUnfit where the row or the output is outside of what the card allows."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One workflow at work: where it posts, what it may do, and who scores for it."""

    workflow: Workflow
    target: ErpTarget
    rule: authority.Rule
    modes: Mapping[str, str]  # posting kind → off | dry-run | live
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides, in one version; swapped as a whole between two batches."""

    version: str
    mappings: Mappings
    facts: Facts
    assignments: Mapping[str, Assignment]  # kind of report → workflow


@dataclass(slots=True)
class Verdict:
    """What became of one event, ready to be written."""

    event: Event
    state: str
    action: str
    detail: dict[str, Any]
    message_key: str | None = None
    payload_hash: bytes | None = None
    reason: str | None = None
    postings: list[outbox.NewPosting] = field(default_factory=list)
    alarm: bool = False
    report: SegmentResponse | None = None


@dataclass(slots=True)
class Judgement:
    """What became of a batch: verdicts in order, the state they leave behind, and master data they carried."""

    verdicts: list[Verdict]
    states: dict[str, Any] = field(default_factory=dict)
    documents: list[masterdata.Document] = field(default_factory=list)
    learnt: list[Fact] = field(default_factory=list)


class Memory(Protocol):
    """What judging remembers of earlier events."""

    def known(self, message_keys: Iterable[str]) -> Mapping[str, tuple[bytes, int]]:
        """Message key → (payload hash, event id) of those seen before."""

    def states(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """Streaming state by key."""


@dataclass(slots=True)
class _Read:
    """An event that could be read, on its way to a verdict."""

    event: Event
    report: SegmentResponse
    assignment: Assignment
    message_key: str
    payload_hash: bytes
    score: Score | ModelUnfit | None = None


def judge(events: Sequence[Event], rules: Rules, memory: Memory, today: date, reconciled_us: int = 0) -> Judgement:
    """Decide a batch of events in order of arrival: read, recognise, score, propose, authorise. Pure.

    `reconciled_us` is when the store was found to be a restored backup: what is older is looked up before it is sent.
    """
    verdicts: dict[int, Verdict] = {}
    documents: list[masterdata.Document] = []
    learnt: list[Fact] = []
    read: list[_Read] = []
    for event in events:
        try:
            if "masterdata" in event.properties:
                fact, document = _learn(event)
                learnt.append(fact)
                documents.append(document)
                detail = {"kind": document[0], "key": document[1], "payload_sha256": sha256(event.payload).hexdigest()}
                verdicts[event.id] = Verdict(event, "ignored", "master_data", detail, reason="master data")
            else:
                read.append(_read(event, rules))
        except BadPayload as error:
            verdicts[event.id] = _quarantined(event, error.reason, str(error))
    facts = rules.facts.with_facts(learnt, orders_as_of=events[-1].received_at) if learnt else rules.facts
    fresh = _recognise(read, memory.known({one.message_key for one in read}), verdicts)
    _score(fresh, facts)
    keys = {key for one in fresh for key in (one.assignment.workflow.state_key(one.report), _sequence_key(one)) if key}
    states = dict(memory.states(keys))
    before = dict(states)
    for one in fresh:
        verdicts[one.event.id] = _conclude(one, facts, states, today, reconciled_us)
    changed = {key: value for key, value in states.items() if before.get(key) is not value}
    return Judgement([verdicts[event.id] for event in events], changed, documents, learnt)


def _learn(event: Event) -> tuple[Fact, masterdata.Document]:
    """Master data that a source delivered. Raises BadPayload."""
    kind, content = event.properties["masterdata"], strictjson.read(event.payload)
    fact = from_document(kind, content)
    return fact, (kind, fact.key, to_document(fact))


def _read(event: Event, rules: Rules) -> _Read:
    """Payload → report, and the workflow that reads its kind. Raises BadPayload."""
    if "oversize" in event.properties:
        raise BadPayload(f"larger than the source allows ({event.properties['oversize']})", reason="too_large")
    report = rules.mappings.read(event)
    assignment = rules.assignments.get(report.kind)
    if assignment is None:
        raise BadPayload(
            f"no workflow reads reports of kind {report.kind!r}; add it under workflows", reason="no_workflow"
        )
    own = f"{report.kind}:{report.id}" if report.id is not None else f"event:{event.source}:{event.id}"
    return _Read(event, report, assignment, own, sha256(event.payload).digest())


def _recognise(
    read: Iterable[_Read], known: Mapping[str, tuple[bytes, int]], verdicts: dict[int, Verdict]
) -> list[_Read]:
    """Keep what is new. The same id with the same body is a duplicate, with another body a conflict."""
    seen = dict(known)
    fresh = []
    for one in read:
        earlier = seen.get(one.message_key)
        if earlier is None:
            seen[one.message_key] = (one.payload_hash, one.event.id)
            fresh.append(one)
        elif earlier[0] == one.payload_hash:
            why = f"the same message as event {earlier[1]}"
            detail = {"of": earlier[1]}
            verdicts[one.event.id] = Verdict(
                one.event, "duplicate", "duplicate", detail, one.message_key, reason=why, report=one.report
            )
        else:
            why = f"message id {one.report.id!r} was used by event {earlier[1]} for another content"
            verdicts[one.event.id] = _quarantined(one.event, "conflict", why)
    return fresh


def _score(fresh: Sequence[_Read], facts: Facts) -> None:
    """One model run per model and batch."""
    rows: dict[int, tuple[Model, list[tuple[_Read, Features]]]] = {}
    for one in fresh:
        model = one.assignment.model
        features = one.assignment.workflow.features(one.report, facts) if model is not None else None
        if model is not None and features is not None:
            rows.setdefault(id(model), (model, []))[1].append((one, features))
    for model, scored in rows.values():
        answers = model.score([features for _, features in scored])
        for (one, _), answer in zip(scored, answers, strict=True):
            one.score = answer


def _conclude(one: _Read, facts: Facts, states: dict[str, Any], today: date, reconciled_us: int) -> Verdict:
    """Propose and authorise one report, and fold the streaming state."""
    workflow = one.assignment.workflow
    key = workflow.state_key(one.report)
    score = one.score if isinstance(one.score, Score) else None
    try:
        proposal, state = workflow.propose(one.report, facts, score, states.get(key, {}) if key else {})
        proposal = authority.redated(proposal, one.assignment.rule, today)
    except BadPayload as error:
        return _quarantined(one.event, error.reason, str(error))
    except Exception as error:  # a workflow's mistake costs its own event, never the line
        log.exception("workflow %s failed on event %d", workflow.name, one.event.id)
        return _quarantined(one.event, "workflow_error", f"workflow {workflow.name}: {type(error).__name__}: {error}")
    decision = authority.decide(proposal, one.assignment.rule, today, one.score)
    refusals = _refusals(one.assignment.target, proposal)
    if refusals and decision.route is not Route.ADVISE:
        return _quarantined(one.event, "erp_would_refuse", "; ".join(refusals))
    if key:
        states[key] = state
    gap = _follow_sequence(one, states)
    return _verdict(one, proposal, decision, gap, reconciled_us)


def _refusals(target: ErpTarget, proposal: Proposal) -> list[str]:
    return [said for draft in proposal.drafts for said in target.check(draft.kind, draft.payload)]


def _verdict(
    one: _Read, proposal: Proposal, decision: Decision, gap: dict[str, Any] | None, reconciled_us: int
) -> Verdict:
    """The decision as it is written: the event's end, its postings, and the record that explains both."""
    route, reasons = decision.route, decision.reasons
    drafts = [draft for draft in proposal.drafts if one.assignment.modes.get(draft.kind, "off") != "off"]
    if route in (Route.POST, Route.HOLD) and not drafts:
        route, reasons = Route.ADVISE, (*reasons, "this kind of posting is off for the target")
    postings: list[outbox.NewPosting] = []
    if route in (Route.POST, Route.HOLD):
        holds = (reasons or ("held",)) if route is Route.HOLD else ()
        early = to_us(one.report.occurred_at) < reconciled_us
        postings = [
            _posting(one, proposal, draft, number, holds, policy=decision.policy, check_first=early)
            for number, draft in enumerate(drafts)
        ]
    detail = _record(one, proposal, reasons, decision.policy, gap)
    if route is Route.ADVISE:
        detail["would_post"] = [dict(draft.payload) for draft in proposal.drafts]
    verdict = Verdict(one.event, route.value, "decided", detail, one.message_key, one.payload_hash)
    verdict.postings, verdict.alarm, verdict.report = postings, bool(gap), one.report
    return verdict


def _posting(
    one: _Read, proposal: Proposal, draft: Draft, number: int, holds: tuple[str, ...], *, policy: str, check_first: bool
) -> outbox.NewPosting:
    workflow, target, rule = one.assignment.workflow.name, one.assignment.target.name, one.assignment.rule
    return outbox.NewPosting(
        event_id=one.event.id,
        workflow=workflow,
        kind=draft.kind,
        target=target,
        ordering_key=draft.ordering_key,
        line=proposal.subject.get("line", ""),
        idempotency_key=idempotency_key(one.message_key, workflow, target, number),
        payload=draft.payload,
        value=draft.value,
        policy=policy,
        confidence=proposal.confidence,
        reasons=holds,
        waits=draft.waits_for_held,
        check_first=check_first,
        signers=2 if rule.four_eyes else 1,
    )


def _record(
    one: _Read, proposal: Proposal, reasons: tuple[str, ...], policy: str, gap: dict[str, Any] | None
) -> dict[str, Any]:
    """What the audit trail keeps of a decision: enough to understand it years later."""
    detail: dict[str, Any] = {
        "payload_sha256": one.payload_hash.hex(),
        "workflow": one.assignment.workflow.name,
        "policy": policy,
        "confidence": proposal.confidence,
        "reasons": reasons,
        "subject": dict(proposal.subject),
    }
    if isinstance(one.score, Score):
        detail["score"] = {
            "model": one.score.model,
            "sha256": one.score.model_hash,
            "confidence": one.score.confidence,
            "features": one.score.features,
            "reasons": one.score.reasons,
        }
    if gap:
        detail["gap"] = gap
    return detail


def _quarantined(event: Event, code: str, why: str) -> Verdict:
    detail = {"code": code, "why": why, "payload_sha256": sha256(event.payload).hexdigest()}
    return Verdict(event, "quarantined", "quarantined", detail, reason=why, alarm=True)


def _sequence_key(one: _Read) -> str | None:
    report = one.report
    return f"sequence/{one.event.source}/{report.sender}" if report.sequence is not None else None


def _follow_sequence(one: _Read, states: dict[str, Any]) -> dict[str, Any] | None:
    """Follow the sender's numbering; returns the first and last missing number of a gap."""
    key, number = _sequence_key(one), one.report.sequence
    if key is None or number is None:
        return None
    last = states.get(key, {}).get("last")
    if last is None or number == last + 1:
        states[key] = {"last": number}
        return None
    if number > last + 1:
        states[key] = {"last": number}
        return {"sender": one.report.sender, "first_missing": last + 1, "last_missing": number - 1}
    if number <= 1 < last:
        states[key] = {"last": number}  # the sender began anew
    return None


class Process:
    """Takes undecided events from disk, judges them, and commits what became of them in one transaction."""

    def __init__(
        self, writer: Writer, reader: apsw.Connection, rules: Rules, clock: Clock, dispatches: Mapping[str, Dispatch]
    ) -> None:
        self.rules = rules
        self.reconciled_us = 0
        self.arrived = asyncio.Event()
        self.receipts: Mapping[str, GivesReceipts] = {}  # by source, where the configuration wants them
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._dispatches = dispatches

    def known(self, message_keys: Iterable[str]) -> Mapping[str, tuple[bytes, int]]:
        """See `Memory`."""
        return inbox.known(self._reader, message_keys)

    def states(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """See `Memory`."""
        return inbox.states(self._reader, keys)

    async def run(self) -> None:
        """Decide what is undecided, for ever; not before every target can say what it would refuse."""
        for dispatch in self._dispatches.values():
            await dispatch.opened.wait()
        while True:
            self.arrived.clear()
            events = inbox.undecided(self._reader, 0, BATCH)
            if not events:
                await self.arrived.wait()
                continue
            await self._decide(events)

    async def _decide(self, events: Sequence[Event]) -> None:
        """Judge and commit; where the commit refuses a batch, each event alone, the culprit into quarantine."""
        judgement = judge(events, self.rules, self, self.rules.facts.plant.day(self._clock()), self.reconciled_us)
        try:
            await self._commit(judgement)
        except (apsw.Error, GatepostError) as error:
            if len(events) > 1:
                for event in events:
                    await self._decide([event])
                return
            log.exception("event %d could not be settled", events[0].id)
            why = f"the store refused it: {type(error).__name__}: {error}"
            alone = _quarantined(events[0], "store_refused", why)
            await self._commit(Judgement([alone]))

    async def _commit(self, judgement: Judgement) -> None:
        with_slots = [(dispatch, dispatch.reserve()) for dispatch in self._dispatches.values()]

        def job(tx: Transaction) -> list[list[outbox.Waiting]]:
            _write(tx, judgement)
            return [outbox.claim(tx, dispatch.name, slots, dispatch.admit) for dispatch, slots in with_slots]

        claimed: list[list[outbox.Waiting]] = [[] for _ in with_slots]
        try:
            claimed = await self._writer.run(job)
        finally:
            for (dispatch, slots), waiting in zip(with_slots, claimed, strict=True):
                dispatch.launch(waiting, slots)
        if judgement.learnt:
            self.learn(judgement.learnt)
        if self.receipts:
            self._give_receipts(judgement.verdicts)

    def learn(self, facts: Iterable[Fact], as_of: datetime | None = None) -> None:
        """Add to what decisions may look at, from the next batch on."""
        known = self.rules.facts.with_facts(facts, orders_as_of=as_of or self._clock())
        self.rules = replace(self.rules, facts=known)

    def _give_receipts(self, verdicts: Sequence[Verdict]) -> None:
        for one in verdicts:
            giver = self.receipts.get(one.event.source)
            if giver is not None and one.report is not None and one.report.id is not None:
                giver.give_receipt(Receipt(one.report.sender, one.report.id, one.event.id, one.state))


def _write(tx: Transaction, judgement: Judgement) -> None:
    """Events settled, postings made, state moved, all audited: one transaction."""
    inbox.settle(
        tx,
        [
            inbox.Settlement(one.event.id, one.state, one.message_key, one.payload_hash, one.reason)
            for one in judgement.verdicts
        ],
    )
    made = iter(outbox.add_all(tx, [new for one in judgement.verdicts for new in one.postings]))
    for one in judgement.verdicts:
        detail = one.detail
        if one.postings:
            detail["postings"] = [next(made) for _ in one.postings]
        tx.audit(one.action, detail, event_id=one.event.id, alarm=one.alarm)
    inbox.put_states(tx, judgement.states.items())
    masterdata.put(tx, judgement.documents, "erp")


# ── 3 dispatch ──────────────────────────────────────────────────────────────────────────────────────────────

Outcome = Callable[[Transaction], Posting | None]  # written to disk; a posting comes back to be sent again


class Dispatch:
    """One target's postings: claimed on disk, sent in a rolling window, one per lane, the answer on disk."""

    def __init__(
        self,
        target: ErpTarget,
        writer: Writer,
        reader: apsw.Connection,
        clock: Clock,
        *,
        window: int,
        admit: outbox.Admit,
    ) -> None:
        self.name = target.name
        self.target = target
        self.admit = admit
        self.paused_until: float = 0.0  # loop time; the target rests, nothing counts as an attempt
        self.trouble = "not opened yet"
        self.opened = asyncio.Event()  # once: from then on payloads can be checked and frozen
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._window = window
        self._taken = 0
        self._woken = asyncio.Event()
        self._flying: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._doubts = 0
        self._lane_waits: dict[str, int] = {}

    # the rolling window

    def reserve(self, at_most: int | None = None) -> int:
        """Take the free places of the window, so that a claim in somebody's commit cannot overfill it."""
        resting = self.trouble or self.paused_until > asyncio.get_running_loop().time()
        free = 0 if resting else self._window - self._taken
        taken = free if at_most is None else min(free, at_most)
        self._taken += taken
        return taken

    def launch(self, claimed: Sequence[outbox.Waiting], reserved: int) -> None:
        """Send what was claimed into reserved places; give back the rest."""
        self._taken -= reserved - len(claimed)
        for waiting in claimed:
            task = asyncio.create_task(self._carry(waiting), name=f"{self.name} posting {waiting.posting.id}")
            self._flying.add(task)
            task.add_done_callback(self._flying.discard)

    @property
    def in_the_air(self) -> int:
        """How many postings are being sent or looked up now."""
        return len(self._flying)

    def wake(self) -> None:
        """Something may have become ready."""
        self._woken.set()

    async def run(self) -> None:
        """Open the target, then claim whenever something is ready and a place is free."""
        while True:
            if self.trouble:
                await self._reopen()
            self._woken.clear()
            slots = self.reserve()
            if slots:
                await self._claim(slots)
            await self._wait()

    async def _claim(self, slots: int) -> None:
        claimed: list[outbox.Waiting] = []
        try:
            claimed = await self._writer.run(lambda tx: outbox.claim(tx, self.name, slots, self.admit))
        finally:
            self.launch(claimed, slots)

    async def _wait(self) -> None:
        """Until woken, or until the time of the next lane that waits for its time."""
        due = outbox.next_due(self._reader, self.name) if not self._taken else None
        seconds = max(0.01, (due - to_us(self._clock())) / 1e6) if due is not None else None
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return

    # one posting

    async def _carry(self, waiting: outbox.Waiting) -> None:
        """Try one posting; its answer and the claim of the next share a commit, and the next is carried on."""
        current: outbox.Waiting | None = waiting
        try:
            while current is not None:
                outcome = await self._try(current)
                current = await self._writer.run(lambda tx, outcome=outcome: self._settle(tx, outcome))  # type: ignore[misc]
        finally:
            self._taken -= 1
            self.wake()

    def _settle(self, tx: Transaction, outcome: Outcome) -> outbox.Waiting | None:
        again = outcome(tx)
        if again is not None:
            return outbox.read(tx.connection, again.id)
        if self.trouble:
            return None
        return next(iter(outbox.claim(tx, self.name, 1, self.admit)), None)

    async def _try(self, waiting: outbox.Waiting) -> Outcome:
        """Send (or look up) one posting and say what to write about it."""
        one = waiting.posting
        try:
            if one.state == "in_doubt":
                return await self._look(one)
            ack = await self.target.find(one) if waiting.check_first and not one.attempts else None
            ack = ack or await self.target.post(one)
        except ErpUnavailable as error:
            return self._not_sent(one, error)
        except ErpRejected as error:
            self._answered(one)
            return _told(outbox.dead, one, str(error), code=error.code, details=error.details)
        except ErpInDoubt as error:
            return self._in_doubt(one, str(error), error.details)
        except Exception as error:  # a target's mistake after the first byte: nobody knows, so look
            log.exception("target %s failed on posting %d", self.name, one.id)
            return self._in_doubt(one, f"{type(error).__name__}: {error}", {})
        self._answered(one)
        return _told(outbox.acknowledged, one, ack)

    async def _look(self, one: Posting) -> Outcome:
        """Nobody knows what became of it: look for its key before anything else."""
        later = self._after(self.target.settle_seconds)
        try:
            ack = await self.target.find(one)
        except ErpRejected as error:
            return _told(outbox.doubtful, one, str(error))
        except ErpUnavailable as error:
            self._pause(error)
            return _told(outbox.look_later, one, self._after(1.0), str(error), found_nothing=False)
        except ErpError as error:
            return _told(outbox.look_later, one, later, str(error), found_nothing=False)
        self._answered(one)
        if ack is not None:
            return _told(outbox.acknowledged, one, ack)
        if one.lookups + 1 < EMPTY_LOOKUPS:
            return _told(outbox.look_later, one, later, "no document carries the key", found_nothing=True)
        if self.target.lookup_reliable:
            return lambda tx: outbox.send_again(tx, one)
        return _told(outbox.doubtful, one, "two lookups found nothing, and this target's lookup is no proof")

    def _not_sent(self, one: Posting, error: ErpUnavailable) -> Outcome:
        if error.scope == "lane":
            tries = self._lane_waits[one.ordering_key] = self._lane_waits.get(one.ordering_key, 0) + 1
            wait = error.retry_after or min(LONGEST_PAUSE_S, 2.0**tries)
            return _told(outbox.unsent, one, self._after(wait), str(error))
        self._pause(error)
        return _told(outbox.unsent, one, 0, str(error))

    def _in_doubt(self, one: Posting, why: str, details: Mapping[str, str]) -> Outcome:
        self._doubts += 1
        if self._doubts >= DOUBTS_BEFORE_PAUSE:
            self._pause(ErpUnavailable(f"{self._doubts} answers in a row were lost; the last: {why}"))
        return _told(outbox.in_doubt, one, self._after(self.target.settle_seconds), why, details=details)

    # the target's health

    def _answered(self, one: Posting) -> None:
        self._failures = self._doubts = 0
        self._lane_waits.pop(one.ordering_key, None)

    def _pause(self, error: ErpUnavailable) -> None:
        """The target rests: capped exponential wait with full jitter, or what the ERP asked for."""
        loop = asyncio.get_running_loop()
        if not self.trouble:
            log.warning("target %s is not available, postings wait: %s", self.name, error)
            self._failures += 1
            base = min(LONGEST_PAUSE_S, 2.0 ** min(self._failures, 10))
            wait = min(3600.0, max(1.0, error.retry_after)) if error.retry_after else random.uniform(0.2, base)  # noqa: S311  # jitter
            self.paused_until = loop.time() + wait
        self.trouble = str(error)

    async def _reopen(self) -> None:
        """Wait, then ask the target with a read; only an answer opens it again."""
        loop = asyncio.get_running_loop()
        while self.trouble:
            await asyncio.sleep(max(0.0, self.paused_until - loop.time()))
            try:
                await self.target.open()
            except ErpError as error:
                before, self.trouble = self.trouble, ""
                self._pause(error if isinstance(error, ErpUnavailable) else ErpUnavailable(str(error)))
                self.trouble = before or str(error)
                continue
            log.warning("target %s is available", self.name)
            self.trouble = ""
            self._doubts = 0
            self.opened.set()

    def _after(self, seconds: float) -> int:
        return to_us(self._clock() + timedelta(seconds=seconds))

    async def drain(self, seconds: float) -> None:
        """At a calm stop: let what is in the air come back, for a while."""
        if self._flying:
            await asyncio.wait(set(self._flying), timeout=seconds)


def _told(write: Callable[..., None], one: Posting, *args: Any, **kwargs: Any) -> Outcome:
    def outcome(tx: Transaction) -> None:
        write(tx, one, *args, **kwargs)

    return outcome
