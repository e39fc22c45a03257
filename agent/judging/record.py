"""The record of a decision, as the audit trail keeps it (action ``decided``): enough to compute it again years later.

    payload_sha256, workflow, policy, mode     what was decided about, by which rules
    route, reasons, confidence, subject        where it went, and why
    score                                      only where a model scored:
        kind, model, sha256                    which file gave which kind of answer (probability, classes)
        features, outputs, run                 all that it was given and gave; its place among the rows of the run
        confidence, bar, ms                    the probability that is meant, what it was held against, what it cost
        raised_from                            the bar of the configuration, where a drift had raised it
        shift                                  by which the log-odds were moved, where the model was recalibrated
        reasons                                in the user's words, where a person was to see them
        said, top, possible                    of classes: the likeliest, three with their probabilities, and by share
                                               of error those that cannot be ruled out
        unknown                                of classes: values of categories that the model does not know
    unfit                                      instead of a score, where the model was asked and had no answer
        model, sha256, features                which file was given what; the reasons say why
    account                                    where a table gives postings their G/L account:
        movement, valuation_class, cost_object what it was asked
        account, cost_center                   what it says; an empty account: no rule fits
        score, unfit                           as above, of the model that looks it over; `bar` is what it must give
                                               the table's account at least
    said                                       reader → sentence, where a person looks; else made when it is shown
    live, gap, why                             live facts that were looked at, missing numbers, the alarm
    answer                                     what a program that asked was told

Features and outputs are written as decimal numbers from which the same float32 is read back, bit by bit; ``null`` is a
value that was missing. Rows of releases before this one have no ``mode``, ``route``, ``kind``, ``outputs``, ``run``,
``bar`` and ``ms``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isnan, nan
from typing import Any

from agent.authority import Rule
from agent.errors import ModelUnfit
from agent.judging import freshness
from agent.judging.accounting import Accounted
from agent.ports import Proposal, Route
from agent.scores import Answer, Classified, Features, Score


def of(
    payload_hash: bytes,
    workflow: str,
    rule: Rule,
    proposal: Proposal,
    route: Route,
    reasons: tuple[str, ...],
    *,
    score: Answer | ModelUnfit | None,
    seen: tuple[freshness.Seen, ...] = (),
    gap: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the audit trail keeps of a decision. `rule` is the one that was applied."""
    record: dict[str, Any] = {
        "payload_sha256": payload_hash.hex(),
        "workflow": workflow,
        "policy": rule.version,
        "mode": rule.mode.value,  # as text: encoding a member of an enumeration takes longer
        "route": route.value,
        "confidence": proposal.confidence,
        "reasons": reasons,
        "subject": dict(proposal.subject),
    }
    if isinstance(score, Score | Classified):
        record["score"] = scored(score, rule.min_confidence)
        if rule.raised_from is not None:
            record["score"]["raised_from"] = rule.raised_from
    if seen:
        record["live"] = freshness.recorded(seen)
    if gap:
        record["gap"] = gap
    if proposal.alarm:
        record["why"] = proposal.alarm
    if proposal.answer:
        record["answer"] = dict(proposal.answer)
    return record


def scored(score: Answer, bar: float) -> dict[str, Any]:
    """What is kept of an answer that was held against `bar`."""
    if isinstance(score, Classified):
        return _classified(score, bar)
    kept: dict[str, Any] = {
        "kind": "probability",
        "model": score.model,
        "sha256": score.model_hash,
        "confidence": score.confidence,
        "bar": bar,
        "features": numbers(score.features),
        "outputs": score.outputs,
        "run": score.run,
        "ms": score.ms,
        "reasons": score.reasons,
    }
    if score.shift:
        kept["shift"] = score.shift
    return kept


def _classified(score: Classified, bar: float) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "kind": "classes",
        "model": score.model,
        "sha256": score.model_hash,
        "confidence": score.confidence,
        "bar": bar,
        "features": numbers(score.features),
        "outputs": score.probabilities,
        "run": score.run,
        "ms": score.ms,
        "reasons": score.reasons,
        "said": score.likeliest,
        "top": score.top(),
        "possible": dict(score.possible),
    }
    if score.unknown:
        kept["unknown"] = dict(score.unknown)
    return kept


def unfit(model: str, sha256: str, features: Features) -> dict[str, Any]:
    """What is kept where the model had no answer: it may just be that a number was out of every range."""
    given = [str(value) if value in (inf, -inf) else value for value in numbers(features)]
    return {"model": model, "sha256": sha256, "features": given}


def accounted(found: Accounted) -> dict[str, Any]:
    """What is kept of the account of a posting."""
    kept: dict[str, Any] = {**found.case._asdict(), "account": ""}
    if found.rule is not None:
        kept |= found.rule.given()
    look, answer = found.look, found.answer
    if look is not None and isinstance(answer, Classified):
        kept["score"] = scored(answer, look.least)
        if look.raised_from is not None:
            kept["score"]["raised_from"] = look.raised_from
    elif look is not None and found.features is not None:
        kept["unfit"] = unfit(look.model.name, look.model.digest, found.features)
    return kept


def numbers(values: Sequence[float]) -> Sequence[float | None]:
    """Numbers for JSON, which knows no NaN: what is missing becomes null. Infinite ones `encode` refuses."""
    if not isnan(sum(values)):  # as nearly always: then they are as they are
        return values
    return [None if value != value else value for value in values]


def values(recorded: Iterable[float | str | None]) -> tuple[float, ...]:
    """The numbers that `numbers` and `unfit` wrote."""
    return tuple([nan if value is None else float(value) for value in recorded])
