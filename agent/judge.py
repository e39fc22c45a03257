"""How a batch of events is decided: read, recognise, score, propose, authorise. Pure: no database, network or clock."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from agent import authority, freshness, numbering, own_events, record, strictjson
from agent.errors import BadPayload, ModelUnfit
from agent.facts import Fact, Facts, LiveState, from_document, to_document
from agent.isa95 import SegmentResponse
from agent.judgement import Judgement, Memory, Verdict
from agent.mapping import Mappings
from agent.ports import (
    Answer,
    Classified,
    Classifies,
    Decision,
    Draft,
    ErpTarget,
    Event,
    Features,
    Kind,
    Proposal,
    Route,
    Score,
    TellsPeople,
    Workflow,
)
from agent.store import masterdata
from agent.store.encode import to_us
from agent.store.keys import idempotency_key
from agent.store.postings import NewPosting, Tells
from agent.workflows import sentences

log = logging.getLogger("gatepost.judge")

_HOLD: Final = Route.HOLD
_TELL: Final = Kind.NOTIFICATION
_NOT: Final = timedelta(0)
_ADVISE: Final = Route.ADVISE
_TO_THE_OUTBOX: Final = (Route.POST, Route.HOLD)
NOTHING_TOLD: Final = LiveState()
_NOTHING: Final = Proposal(())
_UNDECIDED: Final = Decision(Route.IGNORE, (), "", Route.IGNORE)


class Model(Protocol):
    """What scores one workflow's features."""

    name: str
    digest: str  # SHA-256 of its file; empty: there is none
    unfit: str  # why no version of it fits, and every answer is a refusal; empty: one fits

    def score(self, rows: Sequence[Features]) -> Sequence[Score | ModelUnfit]:
        """One answer per row; ModelUnfit where the row or the output is outside of what the card allows."""

    def classify(self, rows: Sequence[Features]) -> Sequence[Classified | ModelUnfit]:
        """The same of a model that tells classes."""

    def row(self, values: Mapping[str, float | str | None]) -> Features:
        """The row of these raw inputs."""


class Door(NamedTuple):
    """Where postings of one role go."""

    target: ErpTarget
    modes: Mapping[str, str]  # posting kind → off | dry-run | live


@dataclass(frozen=True, slots=True)
class Assignment:
    """One workflow at work: where it posts, what it may do, and who scores for it."""

    workflow: Workflow
    target: ErpTarget
    rule: authority.Rule
    modes: Mapping[str, str]  # posting kind → off | dry-run | live
    model: Model | None = None
    classifies: Classifies | None = None  # the workflow, where it is one: its model is asked as it proposes
    roles: Mapping[str, Door] = field(default_factory=lambda: MappingProxyType({}))  # who else gets something
    sensitive: frozenset[str] = frozenset()  # fields that no model looks at

    def door(self, draft: Draft) -> Door | None:
        """Where this draft goes; None: nobody is configured for its role, or the kind is off there."""
        found = self.roles.get(draft.role) if draft.role else Door(self.target, self.modes)
        return found if found is not None and found.modes.get(draft.kind, "off") != "off" else None


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides, in one version; swapped as a whole between two batches."""

    version: str
    mappings: Mappings
    facts: Facts
    assignments: Mapping[str, Assignment]  # kind of report → workflow
    patience: timedelta  # how long after its arrival a report is read again when what it names becomes known

    @property
    def four_eyes(self) -> frozenset[str]:
        """The workflows whose postings two people must approve."""
        return frozenset(one.workflow.name for one in self.assignments.values() if one.rule.four_eyes)

    @property
    def models(self) -> Mapping[str, Model]:
        """What scores, by the name that workflows ask for."""
        return {one.rule.model: one.model for one in self.assignments.values() if one.model is not None}


@dataclass(slots=True)
class _Case:
    """A report on its way to a verdict, filled in step by step."""

    event: Event
    report: SegmentResponse
    assignment: Assignment
    message_key: str
    payload_hash: bytes
    state_keys: tuple[str, ...]  # where its workflow keeps what came before
    sequence_key: str | None  # where its sender's numbering stands
    gap: dict[str, Any] | None = None
    features: Features | None = None  # that a model was asked about
    score: Answer | ModelUnfit | None = None
    seen: tuple[freshness.Seen, ...] = ()  # live facts that its rule asks for
    not_fresh: tuple[str, ...] = ()
    proposal: Proposal = _NOTHING
    decision: Decision = _UNDECIDED


def judge(
    events: Sequence[Event],
    rules: Rules,
    memory: Memory,
    today: date,
    reconciled_us: int = 0,
    live: LiveState | None = NOTHING_TOLD,
) -> Judgement:
    """Decide a batch of events in order of arrival: read, recognise, score, propose, authorise. Pure.

    Each step is done for the whole batch before the next: one model run, and code that stays in the processor's caches.
    `reconciled_us` is when the store was found to be a restored backup: what is older is looked up before it is sent.
    `live` is what tags say the plant is now, one state for the whole batch; None: there is no plant (`gatepost cases`).
    """
    verdicts: dict[int, Verdict] = {}
    documents: list[masterdata.Document] = []
    learnt: list[Fact] = []
    read: list[_Case] = []
    for event in events:
        report = None
        try:
            if "masterdata" in event.properties:
                fact, document = _learn(event)
                learnt.append(fact)
                documents.append(document)
                detail = {"kind": document[0], "key": document[1], "payload_sha256": sha256(event.payload).hexdigest()}
                verdicts[event.id] = Verdict(event, "ignored", "master_data", detail, reason="master data")
            else:
                report = _read(event, rules)
                read.append(_assigned(event, report, rules))
        except BadPayload as error:
            verdicts[event.id] = _named(quarantined(event, error.reason, str(error)), report)
    facts = rules.facts.with_facts(learnt, orders_as_of=events[-1].received_at) if learnt else rules.facts
    if live is not None and live.parts:
        facts = facts.seeing(live)
    fresh = _recognise(read, memory.known({one.message_key for one in read}), verdicts)
    _score(fresh, facts)
    keys = {key for one in fresh for key in (*one.state_keys, one.sequence_key) if key}
    before = memory.states(keys)
    states = dict(before)
    if live is not None:
        _look(fresh, live, facts, today)
    for one in fresh:  # also what ends in quarantine has arrived
        one.gap = numbering.follow(states, one.sequence_key, one.report, one.event.id)
    finals = {one.report.order for one in fresh if one.report.final}
    waiting = memory.in_quarantine(finals) if finals else frozenset[tuple[str, int]]()
    decided, states = _decide(fresh, facts, states, today, waiting, verdicts)
    for one in decided:
        verdicts[one.event.id] = _verdict(one, reconciled_us, facts)
    changed = {key: value for key, value in states.items() if before.get(key) is not value}
    return Judgement([verdicts[event.id] for event in events], changed, documents, learnt)


def of_one_sort(events: Iterable[Event]) -> list[Event]:
    """The first of these events, and those behind it that are master data, or reports, as it is."""
    return list(next((alike for _, alike in groupby(events, lambda event: "masterdata" in event.properties)), ()))


def _learn(event: Event) -> tuple[Fact, masterdata.Document]:
    """Master data that a source delivered. Raises BadPayload."""
    kind, content = event.properties["masterdata"], strictjson.read(event.payload)
    fact = from_document(kind, content)
    return fact, (kind, fact.key, to_document(fact))


def _read(event: Event, rules: Rules) -> SegmentResponse:
    """Payload → report. Raises BadPayload."""
    if "oversize" in event.properties:
        raise BadPayload(f"larger than the source allows ({event.properties['oversize']})", reason="too_large")
    if "refused" in event.properties:  # its source could not read it, and says why: ``code: sentence``
        code, _, why = event.properties["refused"].partition(": ")
        raise BadPayload(why, reason=code)
    if event.source == own_events.SOURCE:
        return own_events.read(event)
    return rules.mappings.read(event)


def _assigned(event: Event, report: SegmentResponse, rules: Rules) -> _Case:
    """A report and the workflow that reads its kind. Raises BadPayload."""
    assignment = rules.assignments.get(report.kind)
    if assignment is None:
        raise BadPayload(
            f"no workflow reads reports of kind {report.kind!r}; add it under workflows", reason="no_workflow"
        )
    own = _message_key(event, report)
    try:
        keys = assignment.workflow.state_keys(report)
    except Exception as error:  # a workflow's mistake costs its own event, never the line
        raise _failed(assignment.workflow, event, error) from error
    numbering = f"sequence/{event.source}/{report.sender}" if report.sequence is not None else None
    return _Case(event, report, assignment, own, sha256(event.payload).digest(), keys, numbering)


def _message_key(event: Event, report: SegmentResponse) -> str:
    """Which message this is: by what its sender gives, else it is like no other."""
    return f"{report.kind}:{report.id}" if report.id is not None else f"event:{event.source}:{event.id}"


def _failed(workflow: Workflow, event: Event, error: Exception) -> BadPayload:
    log.error("workflow %s failed on event %d", workflow.name, event.id, exc_info=error)
    return BadPayload(f"workflow {workflow.name}: {type(error).__name__}: {error}", reason="workflow_error")


def _recognise(
    read: Iterable[_Case], known: Mapping[str, tuple[bytes, int]], verdicts: dict[int, Verdict]
) -> list[_Case]:
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
            conflict = verdicts[one.event.id] = quarantined(one.event, "conflict", why)
            conflict.of_order = _overtaken(one.report)
    return fresh


def _score(fresh: Sequence[_Case], facts: Facts) -> None:
    """One model run per model and batch."""
    rows: dict[int, tuple[Model, list[tuple[_Case, Features]]]] = {}
    for one in fresh:
        model = one.assignment.model if one.assignment.classifies is None else None
        features = _features(one, facts) if model is not None else None
        if model is not None and features is not None:
            one.features = features
            rows.setdefault(id(model), (model, []))[1].append((one, features))
    for model, scored in rows.values():
        answers = model.score([features for _, features in scored])
        for (one, _), answer in zip(scored, answers, strict=True):
            one.score = answer


def _features(one: _Case, facts: Facts) -> Features | None:
    """What the model looks at; where the workflow fails at it a person looks instead."""
    try:
        return one.assignment.workflow.features(one.report, facts)
    except Exception as error:  # noqa: BLE001 - a workflow's mistake costs its own event, never the line
        one.score = ModelUnfit(str(_failed(one.assignment.workflow, one.event, error)))
        return None


def _classify(one: _Case, facts: Facts, states: Sequence[Any]) -> None:
    """Ask what kind of thing it is. Each by itself: what it looks at depends on those before it. Raises BadPayload."""
    workflow, model = one.assignment.classifies, one.assignment.model
    values = workflow.values(one.report, facts, states) if workflow is not None and model is not None else None
    if values is not None and model is not None:
        sensitive = one.assignment.sensitive
        one.features = model.row({name: None if name in sensitive else value for name, value in values.items()})
        (one.score,) = model.classify([one.features])


def _look(fresh: Iterable[_Case], live: LiveState, facts: Facts, today: date) -> None:
    """At the live facts that decisions want to be fresh."""
    for one in fresh:
        if needs := one.assignment.rule.needs_fresh:
            one.seen = freshness.look(needs, live, one.report)
            one.not_fresh = tuple(freshness.not_fresh(one.seen, facts.plant.zone, today))


def _decide(
    fresh: Sequence[_Case],
    facts: Facts,
    before: dict[str, Any],
    today: date,
    waiting: Set[tuple[str, int]],
    verdicts: dict[int, Verdict],
) -> tuple[Sequence[_Case], dict[str, Any]]:
    """Propose and authorise; returns what was decided, and the states after it.

    What the ERP would refuse must leave no trace in the states: the others are decided again as if it had not come.
    """
    while True:
        states = dict(before)
        proposed = [one for one in fresh if _propose(one, facts, states, today, verdicts)]
        for one in proposed:
            if one.report.final:
                _overtake_nothing_unseen(one, waiting | Judgement([*verdicts.values()]).in_quarantine())
            one.decision = authority.decide(
                one.proposal, one.assignment.rule, today, one.score, one.not_fresh, one.message_key
            )
        fresh = [one for one in proposed if _acceptable(one, verdicts)]
        if len(fresh) == len(proposed):
            return proposed, states


def _propose(one: _Case, facts: Facts, states: dict[str, Any], today: date, verdicts: dict[int, Verdict]) -> bool:
    """Propose one report and fold the streaming states; False: it went into quarantine."""
    workflow, keys = one.assignment.workflow, one.state_keys
    before = [states.get(key, {}) for key in keys]
    try:
        if one.assignment.classifies is not None:
            _classify(one, facts, before)
        score = None if isinstance(one.score, ModelUnfit) else one.score
        proposal, after = workflow.propose(one.report, facts, score, before)
        one.proposal = authority.redated(proposal, one.assignment.rule, today)
    except BadPayload as error:
        verdicts[one.event.id] = _quarantined(one, error.reason, str(error), error.awaits)
        return False
    except Exception as error:  # noqa: BLE001 - a workflow's mistake costs its own event, never the line
        failed = _failed(workflow, one.event, error)
        verdicts[one.event.id] = _quarantined(one, failed.reason, str(failed))
        return False
    states.update(zip(keys, after, strict=True))
    return True


def _acceptable(one: _Case, verdicts: dict[int, Verdict]) -> bool:
    """Whether the ERP would take the payloads; what it would refuse goes into quarantine, unless it is only advice."""
    refusals: list[str] = []
    for draft in one.proposal.drafts:
        door = one.assignment.roles.get(draft.role) if draft.role else None
        if door is not None or not draft.role:
            target = door.target if door is not None else one.assignment.target
            refusals += target.check(draft.kind, draft.payload)
    if not refusals or one.decision.route is _ADVISE:
        return True
    verdicts[one.event.id] = _quarantined(one, "erp_would_refuse", "; ".join(refusals))
    return False


def _overtake_nothing_unseen(one: _Case, waiting: Set[tuple[str, int]]) -> None:
    """A final confirmation may close its order in the ERP: what is not booked of it is shown to a person first."""
    if events := sorted(event for order, event in waiting if order == one.report.order):
        named = ", ".join(map(str, events[:5])) + (" and more" if len(events) > 5 else "")
        why = f"order {one.report.order} has reports in quarantine: event {named}"
        one.proposal = one.proposal._replace(holds=(*one.proposal.holds, why))


def _quarantined(one: _Case, code: str, why: str, awaits: tuple[str, str] | None = None) -> Verdict:
    """Into quarantine with its message key, which becomes known only where a person keeps it there."""
    verdict = _named(quarantined(one.event, code, why, one.gap), one.report)
    verdict.awaits = awaits
    return verdict


def _named(verdict: Verdict, report: SegmentResponse | None) -> Verdict:
    """What is in quarantine, with its message key and its order where it could be read."""
    if report is not None:
        verdict.message_key, verdict.of_order = _message_key(verdict.event, report), _overtaken(report)
    return verdict


def put_aside(event: Event, rules: Rules, code: str, why: str) -> Verdict:
    """An event that cannot be judged, or not be written as judged: into quarantine like any other report."""
    try:
        report = _read(event, rules)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, `why` says so already
        report = None
    return _named(quarantined(event, code, why), report)


def _overtaken(report: SegmentResponse) -> str:
    """The order whose final confirmation must not overtake this report unseen."""
    return "" if report.final else report.order


def _verdict(one: _Case, reconciled_us: int, facts: Facts) -> Verdict:
    """The decision as it is written: the event's end, its postings, and the record that explains both."""
    proposal = one.proposal
    route, reasons = one.decision.route, one.decision.reasons
    drafts = [(draft, door) for draft in proposal.drafts if (door := one.assignment.door(draft)) is not None]
    if route in _TO_THE_OUTBOX and not drafts:
        route, reasons = _ADVISE, (*reasons, "this kind of posting is off for the target")
    if route is _HOLD and all(draft.kind is _TELL for draft, _ in drafts):
        route = Route.POST  # to be told is nobody's to approve
    detail = record.of(
        one.payload_hash, one.assignment.workflow.name, one.assignment.rule, proposal,
        route, reasons, score=one.score, seen=one.seen, gap=one.gap,
    )  # fmt: skip
    model = one.assignment.model
    if isinstance(one.score, ModelUnfit) and model is not None and one.features is not None:
        detail["unfit"] = record.unfit(model.name, model.digest, one.features)
    if route is _HOLD and proposal.expected is not None:
        detail["expected"] = proposal.expected.written()
    if said := proposal.said or (_said(proposal, facts) if route is not Route.POST else None):
        detail["said"] = dict(said)
    if len(drafts) < len(proposal.drafts):
        why = [_left_out(one.assignment, draft) for draft in proposal.drafts]
        detail["left_out"] = [reason for reason in why if reason]
    if one.assignment.rule.mode is authority.Mode.ASSIST and route is _HOLD:
        detail["in_auto"] = one.decision.in_auto.value
    verdict = Verdict(one.event, str(route), "decided", detail, one.message_key, one.payload_hash)
    if route in _TO_THE_OUTBOX:
        holds = (reasons or ("held",)) if route is _HOLD else ()
        early = bool(reconciled_us) and to_us(one.report.occurred_at) < reconciled_us
        verdict.postings = [
            _posting(one, draft, door.target, number, () if draft.kind is _TELL else holds, check_first=early)
            for number, (draft, door) in enumerate(drafts)
        ]
        if proposal.together:  # people are told at once: their messages stand behind the group
            verdict.postings.sort(key=lambda new: new.kind is _TELL)
            group = sum(new.kind is not _TELL for new in verdict.postings)
            verdict.postings[1:group] = [new._replace(follows=True) for new in verdict.postings[1:group]]
    elif route is _ADVISE:
        verdict.detail["would_post"] = [
            {"kind": draft.kind.value, "value": f"{draft.value:f}", "payload": dict(draft.payload)}
            for draft in proposal.drafts
        ]
        verdict.detail["in_auto"] = str(one.decision.in_auto if drafts else _ADVISE)
    if proposal.withdraws and route is not _ADVISE:
        verdict.withdraws = one.assignment.workflow.name, one.assignment.target.name, proposal.withdraws
    verdict.alarm, verdict.report = one.gap is not None or bool(proposal.alarm), one.report
    return verdict


def _said(proposal: Proposal, facts: Facts) -> Mapping[str, str]:
    """The sentences for whoever looks at it. Of what is posted they are made when somebody asks: few ever do."""
    if not proposal.drafts:
        return {}
    first, expected = proposal.drafts[0], proposal.expected
    words = sentences.Words(facts.units, facts.plant.currency)
    return sentences.told(first.kind, first.payload, first.value, words, expected.written() if expected else None)


def _left_out(assignment: Assignment, draft: Draft) -> str:
    """Why a draft goes nowhere; empty: it does not."""
    if assignment.door(draft) is not None:
        return ""
    if draft.role and draft.role not in assignment.roles:
        return f"{draft.kind}: no target is configured for role {draft.role!r}"
    target = assignment.roles[draft.role].target if draft.role else assignment.target
    return f"{draft.kind}: off for target {target.name}"


def _posting(
    one: _Case, draft: Draft, to: ErpTarget, number: int, holds: tuple[str, ...], *, check_first: bool
) -> NewPosting:
    workflow, rule, target = one.assignment.workflow.name, one.assignment.rule, to.name
    return NewPosting(
        event_id=one.event.id,
        workflow=workflow,
        kind=draft.kind,
        target=target,
        ordering_key=draft.ordering_key,
        line=one.proposal.subject.get("line", ""),
        idempotency_key=idempotency_key(one.message_key, workflow, target, number),
        payload=draft.payload,
        value=draft.value,
        policy=one.decision.policy,
        confidence=one.proposal.confidence,
        reasons=holds,
        waits=draft.waits_for_held,
        check_first=check_first,
        signers=2 if rule.four_eyes else 1,
        tells=_tells(draft.payload, to) if draft.kind is _TELL else None,
    )


def _tells(payload: Mapping[str, Any], target: ErpTarget) -> Tells | None:
    """What a notification tells, and how long its target waits for a reaction."""
    if not isinstance(target, TellsPeople):
        return None
    once, later = target.patience(payload)
    return Tells(str(payload["cause"]), round(once.total_seconds() * 1e6), round((later or _NOT).total_seconds() * 1e6))


def quarantined(event: Event, code: str, why: str, gap: dict[str, Any] | None = None) -> Verdict:
    """The end of an event that nobody could decide: kept, shown, exportable, replayable."""
    detail: dict[str, Any] = {"code": code, "why": why, "payload_sha256": sha256(event.payload).hexdigest()}
    if gap:
        detail["gap"] = gap
    return Verdict(event, "quarantined", "quarantined", detail, reason=why, alarm=True)
