"""How a batch of events is decided: read, recognise, score, propose, authorise. Pure: no database, network or clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import date
from hashlib import sha256
from itertools import groupby
from typing import Any, Final, NamedTuple

from agent import authority
from agent.errors import BadPayload, ModelUnfit
from agent.facts import Facts, LiveState
from agent.judging import freshness, numbering
from agent.judging.accounting import accounted
from agent.judging.concluding import conclude
from agent.judging.judgement import Judgement, Memory, Verdict
from agent.judging.reading import (
    Case,
    assigned,
    case_quarantined,
    learn,
    named,
    quarantined,
    read,
    recognise,
    workflow_failed,
)
from agent.judging.rules import Model, Rules, SecondLook
from agent.masterdata.entities import Fact
from agent.ports import Event, Route
from agent.scores import Features
from agent.store import masterdata

NOTHING_TOLD: Final = LiveState()


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
    cases: list[Case] = []
    for event in events:
        report = None
        try:
            if "masterdata" in event.properties:
                fact, document = learn(event)
                learnt.append(fact)
                documents.append(document)
                detail = {"kind": document[0], "key": document[1], "payload_sha256": sha256(event.payload).hexdigest()}
                verdicts[event.id] = Verdict(event, "ignored", "master_data", detail, reason="master data")
            else:
                report = read(event, rules)
                cases.append(assigned(event, report, rules))
        except BadPayload as error:
            verdicts[event.id] = named(quarantined(event, error.reason, str(error)), report)
    facts = rules.facts.with_facts(learnt, orders_as_of=events[-1].received_at) if learnt else rules.facts
    if live is not None and live.parts:
        facts = facts.seeing(live)
    fresh = recognise(cases, memory.known({one.message_key for one in cases}), verdicts)
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
    around = _Around(facts, rules.second_look, today)
    decided, states = _decide(fresh, around, states, waiting, verdicts)
    for one in decided:
        verdicts[one.event.id] = conclude(one, facts, reconciled_us)
    changed = {key: value for key, value in states.items() if before.get(key) is not value}
    return Judgement([verdicts[event.id] for event in events], changed, documents, learnt)


class _Around(NamedTuple):
    """What counts for every report of a batch."""

    facts: Facts
    second_look: SecondLook | None
    today: date


def of_one_sort(events: Iterable[Event]) -> list[Event]:
    """The first of these events, and those behind it that are master data, or reports, as it is."""
    return list(next((alike for _, alike in groupby(events, lambda event: "masterdata" in event.properties)), ()))


def _score(fresh: Sequence[Case], facts: Facts) -> None:
    """One model run per model and batch."""
    rows: dict[int, tuple[Model, list[tuple[Case, Features]]]] = {}
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


def _features(one: Case, facts: Facts) -> Features | None:
    """What the model looks at; where the workflow fails at it a person looks instead."""
    try:
        return one.assignment.workflow.features(one.report, facts)
    except Exception as error:  # noqa: BLE001  # a workflow's mistake costs its own event, never the line
        one.score = ModelUnfit(str(workflow_failed(one.assignment.workflow, one.event, error)))
        return None


def _classify(one: Case, facts: Facts, states: Sequence[Any]) -> None:
    """Ask what kind of thing it is. Each by itself: what it looks at depends on those before it. Raises BadPayload."""
    workflow, model = one.assignment.classifies, one.assignment.model
    values = workflow.values(one.report, facts, states) if workflow is not None and model is not None else None
    if values is not None and model is not None:
        sensitive = one.assignment.sensitive
        values = {name: None if name in sensitive else value for name, value in values.items()}
        one.features = model.row(values)
        (answer,) = model.classify([one.features])
        one.score = answer if isinstance(answer, ModelUnfit) else answer._replace(unknown=model.unknown(values))


def _look(fresh: Iterable[Case], live: LiveState, facts: Facts, today: date) -> None:
    """At the live facts that decisions want to be fresh."""
    for one in fresh:
        if needs := one.assignment.rule.needs_fresh:
            one.seen = freshness.look(needs, live, one.report)
            one.not_fresh = tuple(freshness.not_fresh(one.seen, facts.plant.zone, today))


def _decide(
    fresh: Sequence[Case],
    around: _Around,
    before: dict[str, Any],
    waiting: Set[tuple[str, int]],
    verdicts: dict[int, Verdict],
) -> tuple[Sequence[Case], dict[str, Any]]:
    """Propose and authorise; returns what was decided, and the states after it.

    What the ERP would refuse must leave no trace in the states: the others are decided again as if it had not come.
    """
    while True:
        states = dict(before)
        proposed = [one for one in fresh if _propose(one, around, states, verdicts)]
        for one in proposed:
            if one.report.final:
                _overtake_nothing_unseen(one, waiting | Judgement([*verdicts.values()]).in_quarantine())
            one.decision = authority.decide(
                one.proposal, one.assignment.rule, around.today, one.score, one.not_fresh, one.message_key
            )
        fresh = [one for one in proposed if _acceptable(one, verdicts)]
        if len(fresh) == len(proposed):
            return proposed, states


def _propose(one: Case, around: _Around, states: dict[str, Any], verdicts: dict[int, Verdict]) -> bool:
    """Propose one report and fold the streaming states; False: it went into quarantine."""
    workflow, keys, facts = one.assignment.workflow, one.state_keys, around.facts
    before = [states.get(key, {}) for key in keys]
    try:
        if one.assignment.classifies is not None:
            _classify(one, facts, before)
        score = None if isinstance(one.score, ModelUnfit) else one.score
        proposal, after = workflow.propose(one.report, facts, score, before)
        proposal, one.accounted = accounted(proposal, facts, around.second_look, one.assignment.sensitive)
        one.proposal = authority.redated(proposal, one.assignment.rule, around.today)
    except BadPayload as error:
        verdicts[one.event.id] = case_quarantined(one, error.reason, str(error), error.awaits)
        return False
    except Exception as error:  # noqa: BLE001  # a workflow's mistake costs its own event, never the line
        failed = workflow_failed(workflow, one.event, error)
        verdicts[one.event.id] = case_quarantined(one, failed.reason, str(failed))
        return False
    states.update(zip(keys, after, strict=True))
    return True


def _acceptable(one: Case, verdicts: dict[int, Verdict]) -> bool:
    """Whether the ERP would take the payloads; what it would refuse goes into quarantine, unless it is only advice."""
    refusals: list[str] = []
    for draft in one.proposal.drafts:
        if (door := one.assignment.doors.get(draft.role)) is not None:
            refusals += door.target.check(draft.kind, draft.payload)
    if not refusals or one.decision.route is Route.ADVISE:
        return True
    verdicts[one.event.id] = case_quarantined(one, "erp_would_refuse", "; ".join(refusals))
    return False


def _overtake_nothing_unseen(one: Case, waiting: Set[tuple[str, int]]) -> None:
    """A final confirmation may close its order in the ERP: what is not booked of it is shown to a person first."""
    if events := sorted(event for order, event in waiting if order == one.report.order):
        named = ", ".join(map(str, events[:5])) + (" and more" if len(events) > 5 else "")
        why = f"order {one.report.order} has reports in quarantine: event {named}"
        one.proposal = one.proposal._replace(holds=(*one.proposal.holds, why))
