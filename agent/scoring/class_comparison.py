"""Two versions of a model that tells classes, about the same reports and what these were, and the gate.

Pure: what both said comes in. A class that a version does not know has the probability 0 of it. What stands at or above
the bar is let pass by it; what else a workflow asks (as scrap does, of the conformal set) is not looked at here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.configuration.settings import Promotion
from agent.scoring import paired
from agent.scoring.paired import (
    Difference,
    Figure,
    Numbers,
    Share,
    Speed,
    Statistic,
    calibration_error,
    differences,
    mean,
)

NEAREST: Final = 1e-6  # to 0: the logarithm of a probability is finite
Table = NDArray[np.float64]
Said = Mapping[str, float]  # class → its probability


class Case(NamedTuple):
    """One report: what either said of it (None: it had no answer, so a person decides), and what a person said."""

    event_id: int
    champion: Said | None
    challenger: Said | None
    bar: float
    told: str = ""  # the class; empty: nobody has named one
    unbiased: bool = False  # shown to a person whatever the score was


@dataclass(frozen=True, slots=True)
class OfClass:
    """One class: how many labels it has, how much of it either finds, and how much of what either calls so is it."""

    name: str
    labels: int
    recall: Difference | None  # None: no label of it that both answered
    precision: tuple[float | None, float | None]  # champion, challenger; None: it called nothing so


@dataclass(frozen=True, slots=True)
class Judged:
    """Both versions beside what people said."""

    unbiased: int
    accuracy: Difference
    macro_f1: Difference  # over the classes that cases were
    log_loss: Difference
    brier: Difference  # summed over the classes
    cost: Difference  # per report
    accepted: Difference  # share at or above the bar
    right: Difference | None  # share of these that are right; None: one of both accepts nothing
    calibration: Share  # error of: how far the confidence lies from how often it is right


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """What both said of all reports, and, where the class is known, who was right."""

    reports: int
    agree: int  # the same class, on the same side of the bar
    would_post: tuple[int, ...]  # events that only the challenger would let pass, newest first
    would_hold: tuple[int, ...]  # events that only the champion did let pass
    otherwise: tuple[int, ...]  # events on the same side of the bar, taken for another class
    no_answer: Share  # shares of the reports
    judged: Judged | None  # None: no case whose class is known and which both answered
    classes: tuple[OfClass, ...]
    labels: int
    seen: int  # labels that do not count: one of both may have learnt from them
    left_out: int  # reports of which no row for both can be made: another version scored them
    against: tuple[str, ...]  # why the gate does not let the challenger pass; empty: it does


def compare(
    reports: Sequence[Case],
    labelled: Sequence[Case],
    known: Sequence[str],
    speed: tuple[Speed, Speed],
    gate: Promotion,
    *,
    seen: int = 0,
    left_out: int = 0,
) -> ClassComparison:
    """All figures. `reports` are the latest decisions, `labelled` those of which the class is known.

    `known` are the classes that one of both tells; `speed` is the champion's and the challenger's; `seen` is how many
    labels one of them has learnt from.
    """
    counted = Counter(one.told for one in labelled)
    names = sorted({*known, *counted})
    both = [one for one in labelled if one.champion is not None and one.challenger is not None]
    scored = _Scored.of(both, names) if both else None
    recalls = {f"recall of {name}": _recall(scored, at) for at, name in enumerate(names)} if scored else {}
    found = differences(_answered(scored) | _known(recalls), len(both)) if scored else {}
    judged = _judged(found, scored, labelled, float(gate.wrong_costs)) if scored else None
    classes = tuple(
        OfClass(name, counted[name], found.get(f"recall of {name}"), _precision(scored, at))
        for at, name in enumerate(names)
    )
    latest = sorted(reports, key=lambda one: -one.event_id)
    post = tuple(one.event_id for one in latest if _passes(one)[1] > _passes(one)[0])
    hold = tuple(one.event_id for one in latest if _passes(one)[1] < _passes(one)[0])
    otherwise = tuple(one.event_id for one in latest if len(set(_passes(one))) == 1 and _otherwise(one))
    return ClassComparison(
        len(reports),
        len(reports) - len(post) - len(hold) - len(otherwise),
        post,
        hold,
        otherwise,
        paired.unanswered([one.champion for one in reports], [one.challenger for one in reports]),
        judged,
        classes,
        len(labelled),
        seen,
        left_out,
        tuple(_against(judged, classes, len(labelled), speed[1], gate)),
    )


def _likeliest(said: Said) -> str:
    return max(said, key=said.__getitem__)


def _passes(one: Case) -> tuple[bool, bool]:
    """Whether champion and challenger let the report pass, as far as the model is asked."""
    champion, challenger = (said is not None and max(said.values()) >= one.bar for said in one[1:3])
    return champion, challenger


def _otherwise(one: Case) -> bool:
    champion, challenger = (said and _likeliest(said) for said in one[1:3])
    return champion != challenger


# ── beside what people said ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Scored:
    """What both answered: one row per report; of everything that either said, the champion's comes first."""

    truth: Table  # 1 in the column of the class that the person named
    told: tuple[Table, Table]  # probabilities
    taken: tuple[Table, Table]  # 1 in the column of the likeliest class

    @classmethod
    def of(cls, cases: Sequence[Case], names: Sequence[str]) -> _Scored:
        one = np.eye(len(names))
        truth = one[[names.index(case.told) for case in cases]]
        both = zip(*((case.champion or {}, case.challenger or {}) for case in cases), strict=True)
        told = [np.array([[said.get(name, 0.0) for name in names] for said in version]) for version in both]
        taken = [one[table.argmax(axis=1)] for table in told]
        return cls(truth, (told[0], told[1]), (taken[0], taken[1]))

    # Of each a row for either version, one value per report.

    @property
    def right(self) -> Numbers:
        """Whether the likeliest class is the one that the person named."""
        return np.array([(taken * self.truth).sum(axis=1) for taken in self.taken])

    @property
    def brier(self) -> Numbers:
        """The squared distance to the truth, summed over the classes."""
        return np.array([((told - self.truth) ** 2).sum(axis=1) for told in self.told])

    @property
    def log_loss(self) -> Numbers:
        """Of the probability that the named class was given."""
        of_truth = np.array([(told * self.truth).sum(axis=1) for told in self.told])
        return np.asarray(-np.log(np.clip(of_truth, NEAREST, 1.0)))


def _answered(scored: _Scored) -> dict[str, Figure]:
    """What is judged of the reports that both answered."""
    champion, challenger = scored.taken
    return {
        "accuracy": mean(scored.right, more_is_better=True),
        "macro-F1": Figure(_macro_f1(scored.truth, champion), _macro_f1(scored.truth, challenger), more_is_better=True),
        "log loss": mean(scored.log_loss),
        "brier": mean(scored.brier),
    }


def _judged(found: Mapping[str, Difference], scored: _Scored, labelled: Sequence[Case], wrong_costs: float) -> Judged:
    """Of all labels cost and share accepted (what has no answer is a person's), of the answered ones all else."""
    passes = np.array([_passes(one) for one in labelled], np.float64).T
    hit = np.array([[bool(said) and _likeliest(said or {}) == one.told for said in one[1:3]] for one in labelled]).T
    of_all = {
        "cost": mean(np.where(passes == 0, 1.0, wrong_costs * ~hit)),
        "accepted": mean(passes, more_is_better=True),
        **_known({"right of these": _share(passes * hit, passes)}),
    }
    more = differences(of_all, len(labelled))
    confidence = [told.max(axis=1) for told in scored.told]
    return Judged(
        sum(one.unbiased for one in labelled),
        found["accuracy"],
        found["macro-F1"],
        found["log loss"],
        found["brier"],
        more["cost"],
        more["accepted"],
        more.get("right of these"),
        Share(*(calibration_error(said, of) for said, of in zip(confidence, scored.right, strict=True))),
    )


def _known(figures: Mapping[str, Figure | None]) -> dict[str, Figure]:
    """Without those that there are no cases for."""
    return {name: one for name, one in figures.items() if one is not None}


def _macro_f1(truth: Table, taken: Table) -> Statistic:
    """The mean F1 of the classes that cases were; one that is not among those drawn says nothing."""
    there = truth.any(axis=0)
    truth, taken = truth[:, there], taken[:, there]

    def of(drawn: Numbers) -> Numbers:
        hits, either = drawn @ (truth * taken), drawn @ truth + drawn @ taken
        f1 = np.divide(2 * hits, either, out=np.full_like(hits, np.nan), where=either > 0)
        return np.asarray(np.nanmean(f1, axis=1))

    return of


def _share(parts: Numbers, wholes: Numbers) -> Figure | None:
    """Of either row the share that `parts` are of `wholes`; None where one of both has nothing to share."""
    return paired.ratio(parts, wholes, more_is_better=True) if wholes.any(axis=1).all() else None


def _recall(scored: _Scored, at: int) -> Figure | None:
    truth = scored.truth[:, at]
    return _share(np.array([truth * taken[:, at] for taken in scored.taken]), np.array([truth, truth]))


def _precision(scored: _Scored | None, at: int) -> tuple[float | None, float | None]:
    if scored is None:
        return None, None
    called = [float(taken[:, at].sum()) for taken in scored.taken]
    hits = [float((scored.truth[:, at] * taken[:, at]).sum()) for taken in scored.taken]
    champion, challenger = (of / count if count else None for of, count in zip(hits, called, strict=True))
    return champion, challenger


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────


def _against(
    judged: Judged | None, classes: Sequence[OfClass], labels: int, speed: Speed, gate: Promotion
) -> Iterator[str]:
    """Every reason not to promote: too little is known, or it is no better, worse somewhere, or slow."""
    if labels < gate.min_labels:
        yield (f"the class is known of {labels} reports that neither has learnt from; {gate.min_labels} are needed")
    if few := [f"{one.labels} of {one.name}" for one in classes if one.labels < gate.min_of_class]:
        yield f"too few labels of a class: {', '.join(few)}; {gate.min_of_class} of each are needed"
    yield from paired.too_slow(speed, float(gate.max_p99_ms))
    if judged is None:
        yield "there is nothing to judge by: both must have answered about reports of which the class is known"
        return
    if not (judged.brier.better or judged.cost.better):
        yield "neither its Brier score nor its cost is better than the champion's beyond chance"
    for words, one in _figures(judged):
        if one is not None and one.worse:
            yield f"its {words} is worse beyond chance: {one.challenger:.4g} instead of {one.champion:.4g}"
    most = float(gate.max_recall_drop)
    for of in classes:
        if of.recall is not None and of.recall.worse and of.recall.challenger < of.recall.champion - most:
            yield (
                f"it finds less of {of.name}, beyond chance: {of.recall.challenger:.1%} of {of.labels} instead of "
                f"{of.recall.champion:.1%}, a loss of {most:.1%} is allowed"
            )
    yield from paired.miscalibrated(judged.calibration, float(gate.max_ece))


def _figures(judged: Judged) -> tuple[tuple[str, Difference | None], ...]:
    return (
        ("accuracy", judged.accuracy),
        ("macro-F1", judged.macro_f1),
        ("log loss", judged.log_loss),
        ("Brier score", judged.brier),
        ("cost", judged.cost),
        ("share right of what it lets pass", judged.right),
    )
