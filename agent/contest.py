"""Champion against challenger on what this plant has on record: the same features, and what people decided since.

What either said as it decided, or in shadow, is taken from the record; what it was not asked then, it is asked now.
What people decided about reports of the time from which one of them has learnt does not count: it has seen the answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import apsw

from agent import authority, comparison
from agent.comparison import Case, Comparison, Speed
from agent.errors import ModelUnfit
from agent.inference import Model
from agent.scores import Score
from agent.settings import AuthorityMode, Promotion
from agent.store import labels, scored, shadow
from agent.store.encode import to_us
from agent.store.labels import Label
from agent.store.scored import Scored

MOST: Final = 5000  # of the latest reports, and of the latest labels
BATCH: Final = 64  # rows of one run
BAR: Final = 0.9  # where neither the record nor the manifest tells one

Answers = Mapping[int, float | None]  # event → what a version said


def held(connection: apsw.Connection, champion: Model, challenger: Model, gate: Promotion) -> Comparison:
    """Compare two versions of one model, loaded apart and with `explain_below` 0.

    Raises ModelUnfit where they do not take the same features.
    """
    named = [[one.name for one in model.manifest.features] for model in (champion, challenger)]
    if named[0] != named[1]:
        raise ModelUnfit(f"{champion.name} and {challenger.name} take different features; no row fits both")
    if "classes" in (champion.manifest.kind, challenger.manifest.kind):
        raise ModelUnfit(
            f"{champion.name} and {challenger.name} tell classes: hold them against each other on labels of this plant "
            "with `gatepost models export-labels` and `gatepost models evaluate --data`"
        )
    name = champion.manifest.name
    latest = scored.newest(connection, name, MOST)
    all_decided = labels.labels(connection, name, MOST)
    learnt_to = max(_learnt_to(champion), _learnt_to(challenger))
    decided = [one for one in all_decided if one.scored.at_us > learnt_to]
    rows = {one.event_id: one for one in (*latest, *(label.scored for label in decided))}
    said = [_said(connection, model, list(rows.values())) for model in (champion, challenger)]
    bar = champion.manifest.bars.get("auto", BAR)
    reports = [_case(one, said, bar) for one in latest]
    labelled = [_labelled(one, said, bar) for one in decided]
    speed = _speed(champion, rows), _speed(challenger, rows)
    return comparison.compare(reports, labelled, speed, gate, seen=len(all_decided) - len(decided))


def _learnt_to(model: Model) -> int:
    """Until when its training data go, in microseconds; 0: they have no time, as those of a simulation."""
    told = model.manifest.trained.get("to")
    try:
        return to_us(datetime.fromisoformat(str(told))) if told else 0
    except (ValueError, TypeError):  # no time, or one without a zone: of a table that is not this plant's labels
        return 0


def unbiased(one: Scored) -> bool:
    """Whether this report came before a person whatever the model said of it."""
    return one.mode == AuthorityMode.ASSIST or any(reason.startswith(authority.SAMPLED) for reason in one.reasons)


def _case(one: Scored, said: Sequence[Answers], bar: float) -> Case:
    champion, challenger = (answers[one.event_id] for answers in said)
    return Case(one.event_id, champion, challenger, bar if one.bar is None else one.bar)


def _labelled(label: Label, said: Sequence[Answers], bar: float) -> Case:
    return _case(label.scored, said, bar)._replace(normal=label.normal, unbiased=unbiased(label.scored))


def _said(connection: apsw.Connection, model: Model, rows: Sequence[Scored]) -> Answers:
    """What this very version said or says about each row."""
    manifest = model.manifest
    events = [one.event_id for one in rows]
    known = shadow.said(connection, manifest.name, manifest.version, model.digest, events)
    known |= {one.event_id: one.said for one in rows if (one.model, one.sha256) == (model.name, model.digest)}
    missing = [one for one in rows if one.event_id not in known]
    return known | dict(_asked(model, missing))


def _asked(model: Model, rows: Sequence[Scored]) -> Iterator[tuple[int, float | None]]:
    most = min(BATCH, model.proven)
    for at in range(0, len(rows), most):
        part = rows[at : at + most]
        for one, answer in zip(part, model.score([row.features for row in part]), strict=True):
            yield one.event_id, answer.confidence if isinstance(answer, Score) else None


def _speed(model: Model, rows: Mapping[int, Scored]) -> Speed:
    """On this machine, now, without the time that other work on it takes; what the record says was measured with it."""
    row = next((one.features for one in rows.values()), None)
    if row is None:
        return Speed(0.0, 0.0)
    return comparison.speed(lambda: model.score([row]), time.thread_time)
