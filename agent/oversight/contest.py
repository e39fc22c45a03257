"""Champion against challenger on what this plant has on record: the same features, and what people decided since.

Of orders counts what became of them (`order_outcomes`).

What either said as it decided, or in shadow, is taken from the record; what it was not asked then, it is asked now.
What people decided about reports of the time from which one of them has learnt does not count: it has seen the answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import apsw

from agent import authority
from agent.configuration.settings import AuthorityMode, Promotion
from agent.errors import ModelUnfit
from agent.oversight import order_outcomes
from agent.oversight.rows import Rows
from agent.scores import Answer, Classified, Features
from agent.scoring import class_comparison, comparison, paired
from agent.scoring.class_comparison import ClassComparison
from agent.scoring.comparison import Comparison
from agent.scoring.inference import DEADLINE_S, Model
from agent.scoring.modelfiles import Manifest
from agent.scoring.paired import Ask, Speed
from agent.store import labels, scored, shadow
from agent.store.encode import to_us
from agent.store.labels import Label
from agent.store.scored import Scored

MOST: Final = 5000  # of the latest reports, and of the latest labels
BATCH: Final = 64  # rows of one run
BAR: Final = 0.9  # where neither the record nor the manifest tells one

Outputs = tuple[float, ...]  # the probability that is meant; of classes that of each
Answers = Mapping[int, Outputs | None]  # event → what a version said


def held(
    connection: apsw.Connection, champion: Model, challenger: Model, gate: Promotion, rows: Rows
) -> Comparison | ClassComparison:
    """Compare two versions of one model, loaded apart and with `explain_below` 0.

    Raises ModelUnfit where they do not take the same features, or answer another kind of question.
    """
    _check(champion.manifest, challenger.manifest)
    of = _Record.read(connection, champion, challenger, rows)
    said = [_said(connection, model, of.rows, rows) for model in (champion, challenger)]
    quick = _speed(champion, of.rows, rows), _speed(challenger, of.rows, rows)
    bar = champion.manifest.bars.get("auto", BAR)
    if champion.manifest.kind == "classes":
        return _classes(of, champion, challenger, said, bar, quick, gate)
    reports = [_case(one, said, bar) for one in of.latest]
    labelled = [_case(label.scored, said, bar, label) for label in of.decided]
    return comparison.compare(reports, labelled, quick, gate, seen=of.seen)


def _check(champion: Manifest, challenger: Manifest) -> None:
    """Raises ModelUnfit."""
    names = [f"{one.name}/{one.version}" for one in (champion, challenger)]
    if champion.kind != challenger.kind:
        raise ModelUnfit(f"{names[0]} gives {champion.kind}, {names[1]} {challenger.kind}: they cannot be compared")
    named = [[one.name for one in manifest.features] for manifest in (champion, challenger)]
    if champion.kind == "probability" and named[0] != named[1]:
        raise ModelUnfit(f"{names[0]} and {names[1]} take different features; no row fits both")


@dataclass(frozen=True, slots=True)
class _Record:
    """What is on record about a model, and what of it both can be asked about."""

    latest: Sequence[Scored]
    decided: Sequence[Label]
    rows: Sequence[Scored]  # of both, each once
    seen: int  # labels from whose time one of both has learnt
    left_out: int  # no row for both can be made of what is on record

    @classmethod
    def read(cls, connection: apsw.Connection, champion: Model, challenger: Model, rows: Rows) -> _Record:
        """Raises ModelUnfit where one of both takes what is on no record."""
        name = champion.manifest.name
        latest = scored.newest(connection, name, MOST)
        if order_outcomes.tells(champion.manifest):
            every = order_outcomes.labels(connection, latest)
        else:
            every = [one for one in labels.labels(connection, name, MOST) if one.tells]
        seen_to = max(learnt_to(champion), learnt_to(challenger))
        decided = [one for one in every if one.scored.at_us > seen_to]
        once = {one.event_id: one for one in (*latest, *(label.scored for label in decided))}
        unfit = dict(_unfit(once.values(), [model.manifest for model in (champion, challenger)], rows))
        if once and len(unfit) == len(once):
            raise unfit[max(unfit)]
        return cls(
            [one for one in latest if one.event_id not in unfit],
            [one for one in decided if one.scored.event_id not in unfit],
            [one for event, one in once.items() if event not in unfit],
            len(every) - len(decided),
            len(unfit),
        )


def _unfit(found: Iterable[Scored], manifests: Sequence[Manifest], rows: Rows) -> Iterator[tuple[int, ModelUnfit]]:
    """Events whose row one of these versions cannot take, and why."""
    for one in found:
        try:
            for manifest in manifests:
                rows.taken_by(manifest, one)
        except ModelUnfit as error:
            yield one.event_id, error


def learnt_to(model: Model) -> int:
    """Until when its training data go, in microseconds; 0: they have no time, as those of a simulation."""
    told = model.manifest.trained.get("to")
    try:
        return to_us(datetime.fromisoformat(str(told))) if told else 0
    except (ValueError, TypeError):  # no time, or one without a zone: of a table that is not this plant's labels
        return 0


def unbiased(one: Scored) -> bool:
    """Whether this report came before a person whatever the model said of it."""
    return one.mode == AuthorityMode.ASSIST or any(reason.startswith(authority.SAMPLED) for reason in one.reasons)


def _case(one: Scored, said: Sequence[Answers], bar: float, label: Label | None = None) -> comparison.Case:
    champion, challenger = (told[0] if (told := answers[one.event_id]) else None for answers in said)
    case = comparison.Case(one.event_id, champion, challenger, bar if one.bar is None else one.bar)
    return case if label is None else case._replace(normal=label.normal, unbiased=unbiased(one))


def _classes(
    of: _Record,
    champion: Model,
    challenger: Model,
    said: Sequence[Answers],
    bar: float,
    quick: tuple[Speed, Speed],
    gate: Promotion,
) -> ClassComparison:
    classes = [model.manifest.classes for model in (champion, challenger)]

    def case(one: Scored, told: str = "") -> class_comparison.Case:
        both = [answers[one.event_id] for answers in said]
        by_class = [
            None if values is None else dict(zip(names, values, strict=True))
            for names, values in zip(classes, both, strict=True)
        ]
        least = bar if one.bar is None else one.bar
        return class_comparison.Case(one.event_id, by_class[0], by_class[1], least, told, unbiased(one))

    return class_comparison.compare(
        [case(one) for one in of.latest],
        [case(one.scored, one.told) for one in of.decided],
        [name for names in classes for name in names],
        quick,
        gate,
        seen=of.seen,
        left_out=of.left_out,
    )


# ── what either said ────────────────────────────────────────────────────────────────────────────────────────


def outputs(answer: Answer) -> Outputs:
    """What is compared of an answer."""
    return answer.probabilities if isinstance(answer, Classified) else (answer.confidence,)


def _said(connection: apsw.Connection, model: Model, rows: Sequence[Scored], known: Rows) -> Answers:
    """What this very version said or says about each row."""
    manifest = model.manifest
    classes = len(manifest.classes)
    in_shadow = shadow.said(connection, manifest.name, manifest.version, model.digest, [one.event_id for one in rows])
    told: dict[int, Outputs | None] = {
        one.event_id: None if one.said is None else one.outputs or (one.said,) for one in in_shadow
    }
    own = [one for one in rows if (one.model, one.sha256) == (model.name, model.digest)]
    told |= {one.event_id: one.outputs or (one.said,) for one in own}
    if classes:  # a release that kept no probabilities of a challenger: it is asked again
        told = {event: values for event, values in told.items() if values is None or len(values) == classes}
    missing = [one for one in rows if one.event_id not in told]
    return told | dict(_asked(model, missing, known))


def _asked(model: Model, rows: Sequence[Scored], known: Rows) -> Iterator[tuple[int, Outputs | None]]:
    most = min(BATCH, model.proven)
    for at in range(0, len(rows), most):
        part = rows[at : at + most]
        taken: list[Features] = [known.taken_by(model.manifest, row) for row in part]
        for one, answer in zip(part, model.answers(taken), strict=True):
            yield one.event_id, None if isinstance(answer, ModelUnfit) else outputs(answer)


def _speed(model: Model, rows: Sequence[Scored], known: Rows) -> Speed:
    if not rows:
        return Speed(0.0, 0.0)
    row = known.taken_by(model.manifest, rows[0])
    return speed(lambda: model.answers([row]))


def speed(ask: Ask) -> Speed:
    """On this machine, now, without the time that other work on it takes; what the record says was measured with it."""
    once = paired.speed(ask, time.thread_time, times=1, rounds=1)
    if once.p99 > DEADLINE_S * 1e3:  # it would be cut off at work: by how much does not matter
        return once
    return paired.speed(ask, time.thread_time)
