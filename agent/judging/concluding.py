"""What a decided report leaves: the end of its event, its postings, and the record that explains both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from agent import authority
from agent.errors import ModelUnfit
from agent.facts import Facts
from agent.judging import record
from agent.judging.judgement import Verdict
from agent.judging.reading import Case
from agent.judging.rules import Assignment, Door
from agent.ports import Draft, ErpTarget, Kind, Proposal, Route, TellsPeople
from agent.store.encode import to_us
from agent.store.keys import idempotency_key
from agent.store.postings import NewPosting, Tells
from agent.workflows import sentences

_POST, _HOLD, _ADVISE = Route.POST, Route.HOLD, Route.ADVISE
_TO_THE_OUTBOX: Final = (_POST, _HOLD)
_TELL: Final = Kind.NOTIFICATION
_NOT: Final = timedelta(0)

Sent = Sequence[tuple[Draft, Door]]  # the drafts that go somewhere, and where


def conclude(one: Case, facts: Facts, reconciled_us: int) -> Verdict:
    """The decision as it is written. What is older than `reconciled_us` is looked up before it is sent."""
    doors, proposal = one.assignment.doors, one.proposal
    sent = [(draft, door) for draft in proposal.drafts if (door := doors.get(draft.role)) and door.takes(draft.kind)]
    route, reasons = _route(one, sent)
    detail = _record(one, sent, route, reasons, facts)
    verdict = Verdict(one.event, str(route), "decided", detail, one.message_key, one.payload_hash)
    if route in _TO_THE_OUTBOX:
        early = bool(reconciled_us) and to_us(one.report.occurred_at) < reconciled_us
        holds = (reasons or ("held",)) if route is _HOLD else ()
        verdict.postings = _postings(one, sent, holds, check_first=early)
    if proposal.withdraws and one.decision.route is not _ADVISE:  # also where nobody is told of what stands in its way
        verdict.withdraws = one.assignment.workflow.name, one.assignment.target.name, proposal.withdraws
    verdict.alarm, verdict.report = one.gap is not None or bool(proposal.alarm), one.report
    return verdict


def _route(one: Case, sent: Sent) -> tuple[Route, tuple[str, ...]]:
    """Where it goes after all, and why: nothing is posted where every door is shut, nobody approves being told."""
    route, reasons = one.decision.route, one.decision.reasons
    if route in _TO_THE_OUTBOX and not sent:
        return _ADVISE, (*reasons, "this kind of posting is off for the target")
    if route is _HOLD and all(draft.kind is _TELL for draft, _ in sent):
        return _POST, reasons
    return route, reasons


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────


def _record(one: Case, sent: Sent, route: Route, reasons: tuple[str, ...], facts: Facts) -> dict[str, Any]:
    """What explains the decision."""
    assignment, proposal = one.assignment, one.proposal
    model = assignment.model
    detail = record.of(
        one.payload_hash, assignment.workflow.name, assignment.rule, proposal,
        route, reasons, score=one.score, seen=one.seen, gap=one.gap,
    )  # fmt: skip
    if isinstance(one.score, ModelUnfit) and model is not None and one.features is not None:
        detail["unfit"] = record.unfit(model.name, model.digest, one.features)
    if one.accounted is not None:
        detail["account"] = record.accounted(one.accounted)
    if said := proposal.said or (_said(proposal, facts) if route is not _POST else None):
        detail["said"] = dict(said)
    if len(sent) < len(proposal.drafts):
        why = [_left_out(assignment, draft) for draft in proposal.drafts]
        detail["left_out"] = [reason for reason in why if reason]
    if route is _HOLD and proposal.expected is not None:
        detail["expected"] = proposal.expected.written()
    if route is _HOLD and assignment.rule.mode is authority.Mode.ASSIST:
        detail["in_auto"] = one.decision.in_auto.value
    if route is _ADVISE:
        detail["would_post"] = [
            {"kind": draft.kind.value, "value": f"{draft.value:f}", "payload": dict(draft.payload)}
            for draft in proposal.drafts
        ]
        detail["in_auto"] = str(one.decision.in_auto if sent else _ADVISE)
    return detail


def _said(proposal: Proposal, facts: Facts) -> Mapping[str, str]:
    """The sentences for whoever looks at it. Of what is posted they are made when somebody asks: few ever do."""
    if not proposal.drafts:
        return {}
    first, expected = proposal.drafts[0], proposal.expected
    words = sentences.Words(facts.units, facts.plant.currency)
    return sentences.told(first.kind, first.payload, first.value, words, expected.written() if expected else None)


def _left_out(assignment: Assignment, draft: Draft) -> str:
    """Why a draft goes nowhere; empty: it does not."""
    door = assignment.doors.get(draft.role)
    if door is None:
        return f"{draft.kind}: no target is configured for role {draft.role!r}"
    return "" if door.takes(draft.kind) else f"{draft.kind}: off for target {door.target.name}"


# ── the postings ────────────────────────────────────────────────────────────────────────────────────────────


def _postings(one: Case, sent: Sent, holds: tuple[str, ...], *, check_first: bool) -> list[NewPosting]:
    """One for each draft that goes somewhere; of a group, those behind the first follow it."""
    made = [
        _posting(one, draft, door.target, number, () if draft.kind is _TELL else holds, check_first=check_first)
        for number, (draft, door) in enumerate(sent)
    ]
    if one.proposal.together:  # people are told at once: their messages stand behind the group
        made.sort(key=lambda new: new.kind is _TELL)
        group = sum(new.kind is not _TELL for new in made)
        made[1:group] = [new._replace(follows=True) for new in made[1:group]]
    return made


def _posting(
    one: Case, draft: Draft, to: ErpTarget, number: int, holds: tuple[str, ...], *, check_first: bool
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
