"""The way of an event up to the decision: read, given to its workflow, recognised as new, or put into quarantine."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from agent import own_events
from agent.errors import BadPayload, ModelUnfit
from agent.isa95 import MaterialUse, SegmentResponse
from agent.judging import freshness
from agent.judging.accounting import Accounted
from agent.judging.judgement import Verdict
from agent.judging.rules import Assignment, Rules
from agent.masterdata.documents import from_document, to_document
from agent.masterdata.entities import Fact
from agent.ports import Decision, Event, Proposal, Route, Workflow
from agent.scores import Answer, Features
from agent.store import masterdata
from agent.strict import strictjson

log = logging.getLogger("gatepost.judge")

_NOTHING: Final = Proposal(())
_UNDECIDED: Final = Decision(Route.IGNORE, (), "", Route.IGNORE)


@dataclass(slots=True)
class Case:
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
    accounted: Accounted | None = None
    decision: Decision = _UNDECIDED


def learn(event: Event) -> tuple[Fact, masterdata.Document]:
    """Master data that a source delivered. Raises BadPayload."""
    kind, content = event.properties["masterdata"], strictjson.read(event.payload)
    fact = from_document(kind, content)
    return fact, (kind, fact.key, to_document(fact))


def read(event: Event, rules: Rules) -> SegmentResponse:
    """Payload → report. Raises BadPayload."""
    if "oversize" in event.properties:
        raise BadPayload(f"larger than the source allows ({event.properties['oversize']})", reason="too_large")
    if "refused" in event.properties:  # its source could not read it, and says why: ``code: sentence``
        code, _, why = event.properties["refused"].partition(": ")
        raise BadPayload(why, reason=code)
    if event.source == own_events.SOURCE:
        return own_events.read(event)
    return rules.mappings.read(event)


def assigned(event: Event, report: SegmentResponse, rules: Rules) -> Case:
    """A report and the workflow that reads its kind. Raises BadPayload."""
    assignment = rules.whose(report)
    if assignment is None and report.kind in rules.assignments:
        consumed = " and ".join(one.material for one in report.material_actuals if one.use is MaterialUse.CONSUMED)
        raise BadPayload(
            f"no workflow issues {consumed} at {report.work_center}; add it under `issues` of one", reason="no_workflow"
        )
    if assignment is None:
        raise BadPayload(
            f"no workflow reads reports of kind {report.kind!r}; add it under workflows", reason="no_workflow"
        )
    own = _message_key(event, report)
    try:
        keys = assignment.workflow.state_keys(report)
    except Exception as error:  # a workflow's mistake costs its own event, never the line
        raise workflow_failed(assignment.workflow, event, error) from error
    numbering = f"sequence/{event.source}/{report.sender}" if report.sequence is not None else None
    return Case(event, report, assignment, own, sha256(event.payload).digest(), keys, numbering)


def _message_key(event: Event, report: SegmentResponse) -> str:
    """Which message this is: by what its sender gives, else it is like no other."""
    return f"{report.kind}:{report.id}" if report.id is not None else f"event:{event.source}:{event.id}"


def workflow_failed(workflow: Workflow, event: Event, error: Exception) -> BadPayload:
    """A workflow's own mistake: logged with its traceback, and told as what keeps the event in quarantine."""
    log.error("workflow %s failed on event %d", workflow.name, event.id, exc_info=error)
    return BadPayload(f"workflow {workflow.name}: {type(error).__name__}: {error}", reason="workflow_error")


def recognise(
    cases: Iterable[Case], known: Mapping[str, tuple[bytes, int]], verdicts: dict[int, Verdict]
) -> list[Case]:
    """Keep what is new. The same id with the same body is a duplicate, with another body a conflict."""
    seen = dict(known)
    fresh = []
    for one in cases:
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


def case_quarantined(one: Case, code: str, why: str, awaits: tuple[str, str] | None = None) -> Verdict:
    """Into quarantine with its message key, which becomes known only where a person keeps it there."""
    verdict = named(quarantined(one.event, code, why, one.gap), one.report)
    verdict.awaits = awaits
    return verdict


def named(verdict: Verdict, report: SegmentResponse | None) -> Verdict:
    """What is in quarantine, with its message key and its order where it could be read."""
    if report is not None:
        verdict.message_key, verdict.of_order = _message_key(verdict.event, report), _overtaken(report)
    return verdict


def put_aside(event: Event, rules: Rules, code: str, why: str) -> Verdict:
    """An event that cannot be judged, or not be written as judged: into quarantine like any other report."""
    try:
        report = read(event, rules)
    except Exception:  # noqa: BLE001  # whatever is wrong with it, `why` says so already
        report = None
    return named(quarantined(event, code, why), report)


def _overtaken(report: SegmentResponse) -> str:
    """The order whose final confirmation must not overtake this report unseen."""
    return "" if report.final else report.order


def quarantined(event: Event, code: str, why: str, gap: dict[str, Any] | None = None) -> Verdict:
    """The end of an event that nobody could decide: kept, shown, exportable, replayable."""
    detail: dict[str, Any] = {"code": code, "why": why, "payload_sha256": sha256(event.payload).hexdigest()}
    if gap:
        detail["gap"] = gap
    return Verdict(event, "quarantined", "quarantined", detail, reason=why, alarm=True)
