"""Two versions of a model about the same reports: figures with their spread, and whether the gate lets the newer pass.

Of models that tell how normal a report is; `agent.scoring.class_comparison` is for those that tell classes. Pure:
what both said comes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from agent.configuration.settings import Promotion
from agent.scoring import paired
from agent.scoring.paired import Difference, Numbers, Share, Speed, calibration_error, difference

NEAREST: Final = 1e-6  # to 0 and 1: the logarithm of a probability is finite


class Case(NamedTuple):
    """One report: what either said of it (None: it had no answer, so a person decides), and what a person said."""

    event_id: int
    champion: float | None
    challenger: float | None
    bar: float
    normal: bool | None = None  # None: nobody has decided about it
    unbiased: bool = False  # shown to a person whatever the score was


@dataclass(frozen=True, slots=True)
class Judged:
    """Both versions beside what people said."""

    normal: int
    wrong: int
    unbiased: int
    brier: Difference
    log_loss: Difference
    cost: Difference  # per report
    caught: Share  # of what was wrong, below the bar
    passed: Share  # of what was normal, at or above it
    calibration: Share  # error of: how far what is said lies from how often it is so


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both said of all reports, and, where people decided, who was right."""

    reports: int
    agree: int  # both above their bar, or both below it
    would_post: tuple[int, ...]  # events that only the challenger would let pass, newest first
    would_hold: tuple[int, ...]  # events that only the champion did let pass
    no_answer: Share  # shares of the reports
    judged: Judged | None  # None: nothing normal, nothing wrong, or nothing that both answered
    normal: int
    wrong: int
    seen: int  # labels that do not count: one of both may have learnt from them
    against: tuple[str, ...]  # why the gate does not let the challenger pass; empty: it does


def compare(
    reports: Sequence[Case], labelled: Sequence[Case], speed: tuple[Speed, Speed], gate: Promotion, *, seen: int = 0
) -> Comparison:
    """All figures. `reports` are the latest decisions, `labelled` those about which a person decided.

    `speed` is the champion's and the challenger's; `seen` is how many labels one of them has learnt from.
    """
    normal = sum(one.normal is True for one in labelled)
    wrong = len(labelled) - normal
    both = any(one.champion is not None and one.challenger is not None for one in labelled)
    judged = _judged(labelled, float(gate.wrong_costs)) if normal and wrong and both else None
    latest = sorted(reports, key=lambda one: -one.event_id)
    post = tuple(one.event_id for one in latest if _passes(one)[1] > _passes(one)[0])
    hold = tuple(one.event_id for one in latest if _passes(one)[1] < _passes(one)[0])
    return Comparison(
        len(reports),
        len(reports) - len(post) - len(hold),
        post,
        hold,
        paired.unanswered([one.champion for one in reports], [one.challenger for one in reports]),
        judged,
        normal,
        wrong,
        seen,
        tuple(_against(judged, normal, wrong, speed[1], gate)),
    )


def _passes(one: Case) -> tuple[bool, bool]:
    """Whether champion and challenger let the report pass, as far as the model is asked."""
    champion, challenger = ((said is not None and said >= one.bar) for said in (one.champion, one.challenger))
    return champion, challenger


# ── beside what people said ─────────────────────────────────────────────────────────────────────────────────


def _judged(cases: Sequence[Case], wrong_costs: float) -> Judged:
    truth = np.array([one.normal for one in cases], np.float64)
    passes = np.array([_passes(one) for one in cases], np.float64).T
    said = np.array([[np.nan if one is None else one for one in case[1:3]] for case in cases], np.float64).T
    answered = ~np.isnan(said).any(axis=0)  # what one of them did not answer is a person's: it has a cost, no score
    true, told = truth[answered], said[:, answered]
    costs = np.where(truth == 1, 1 - passes, wrong_costs * passes)
    return Judged(
        int(truth.sum()),
        int((1 - truth).sum()),
        sum(one.unbiased for one in cases),
        difference((told - true) ** 2),
        difference(_log_loss(told, true)),
        difference(costs),
        Share(*(float((1 - row[truth == 0]).mean()) for row in passes)),
        Share(*(float(row[truth == 1].mean()) for row in passes)),
        Share(*(calibration_error(row, true) for row in told)),
    )


def _log_loss(told: Numbers, truth: Numbers) -> Numbers:
    kept = np.clip(told, NEAREST, 1 - NEAREST)
    loss: Numbers = -(truth * np.log(kept) + (1 - truth) * np.log(1 - kept))
    return loss


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────


def _against(judged: Judged | None, normal: int, wrong: int, speed: Speed, gate: Promotion) -> Iterator[str]:
    """Every reason not to promote: too little is known, or it is no better, worse somewhere, or slow."""
    if normal + wrong < gate.min_labels or wrong < gate.min_wrong:
        yield (
            f"people have decided about {normal + wrong} reports that neither has learnt from, {wrong} of them wrong; "
            f"{gate.min_labels} are needed, {gate.min_wrong} of them wrong"
        )
    yield from paired.too_slow(speed, float(gate.max_p99_ms))
    if judged is None:
        yield "there is nothing to judge by: both must have answered, about some normal reports and some wrong ones"
        return
    if not (judged.brier.better or judged.cost.better):
        yield "neither its Brier score nor its cost is better than the champion's beyond chance"
    for name, one in (("Brier score", judged.brier), ("cost", judged.cost)):
        if one.worse:
            yield f"its {name} is worse: {one.challenger:.4g} instead of {one.champion:.4g}"
    yield from _less(judged, float(gate.max_recall_drop))
    yield from paired.miscalibrated(judged.calibration, float(gate.max_ece))


def _less(judged: Judged, most: float) -> Iterator[str]:
    told: tuple[tuple[str, Share], ...] = (
        ("it finds less of what is wrong", judged.caught),
        ("it lets less pass of what is normal", judged.passed),
    )
    for words, one in told:
        if one.challenger < one.champion - most:
            yield f"{words}: {one.challenger:.1%} instead of {one.champion:.1%}, a loss of {most:.1%} is allowed"
