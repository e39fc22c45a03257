"""Whether what a model is asked now is still what it knows: figures of the newest rows against those of before. Pure.

The population stability index (PSI) of a raw input is the sum of (now − before) · ln(now / before) over bins: up to ten
between the deciles of before, and one of what is missing or unknown. Customary bands: 0.1 a warning, 0.25 an alarm.
What chance makes of two samples of one distribution is taken off before it is held against them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log, sqrt
from statistics import quantiles
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from agent.configuration.settings import Drift
from agent.scoring.modelfiles import InputReference, Manifest, Reference
from agent.scoring.outcomes import Held, Outcome, Outcomes, judged, shift, worst
from agent.scoring.outcomes import Level as Level

WARN: Final = 0.1
ALARM: Final = 0.25
FLOOR: Final = 1e-4  # of a share: what was never seen before is no infinite surprise
ATOM: Final = 0.01  # so many rows of exactly one value are no chance
LONG: Final = timedelta(days=1)
TOLD: Final = 3  # inputs that people are told of, the worst first

Share = Annotated[float, Field(ge=0, le=1)]
Columns = Mapping[str, tuple[int, ...]]  # raw input → where it stands in a row: once, or once for each of its values
Values = tuple[float, ...]


class Row(NamedTuple):
    """What a model was asked, and what it said; None: it had no answer. `seq` is the decision's row in the trail."""

    seq: int
    features: Values
    confidence: float | None


class Spread(BaseModel):
    """How the rows of before lay: the share up to each edge, above the last one, and missing; or of each category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[FiniteFloat, ...] = ()
    shares: tuple[Share, ...]


class Figures(BaseModel):
    """What was found in the newest rows of one version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    psi: Mapping[str, float]  # by raw input
    level: Level
    missing: Share  # the largest share of rows in which one input was missing or unknown
    unanswered: Share  # rows that the model had no answer to
    abstained: Share  # answers below the bar of the configuration
    mean: float  # of the answers

    @property
    def worst(self) -> str:
        """The inputs that differ most, for people."""
        ranked = sorted(self.psi.items(), key=lambda one: -one[1])[:TOLD]
        far = [f"{name} {value:.2f}" for name, value in ranked if value >= WARN]
        found = [f"inputs are spread otherwise (PSI: {', '.join(far)})"] if far else []
        if self.unanswered >= WARN:
            found.append(f"{self.unanswered:.0%} had no answer")
        return "; ".join(found) or "inputs are as before"


# ── where the rows lie ──────────────────────────────────────────────────────────────────────────────────────


def columns(manifest: Manifest) -> Columns:
    """Where the raw inputs of a model stand in its rows."""
    at = {one.name: number for number, one in enumerate(manifest.features)}
    of = {name: tuple(at[f"{name}={value}"] for value in values) for name, values in manifest.categories.items()}
    expanded = {column for found in of.values() for column in found}
    return {name: (number,) for name, number in at.items() if number not in expanded} | of


def learnt(rows: Sequence[Row], where: Columns) -> Mapping[str, Spread]:
    """How these rows lie, to hold later ones against."""
    found = {}
    for name, at in where.items():
        edges = _edges(_present(rows, at)) if len(at) == 1 else ()
        found[name] = Spread(edges=edges, shares=_shares(_counts(rows, at, edges), len(rows)))
    return found


def trained(
    references: Mapping[str, InputReference], manifest: Manifest, rows: Sequence[Row], where: Columns
) -> Mapping[str, Spread]:
    """How the rows of training lay, as far as its deciles say so.

    Of a value that many rows have (`rows` are the new ones) a decile says its share only within a tenth: inside of that
    it is taken as it is now.
    """
    found = {}
    for name, at in where.items():
        one = references[name]
        if len(at) == 1:
            found[name] = _of_deciles(one, rows, at)
        else:
            shares = [one.shares.get(value, 0.0) for value in manifest.categories[name]]
            found[name] = Spread(shares=(*shares, one.nulls))
    return found


def _of_deciles(reference: InputReference, rows: Sequence[Row], at: tuple[int, ...]) -> Spread:
    edges = tuple(sorted(set(reference.deciles)))
    counts = _counts(rows, at, edges)
    values, here = _present(rows, at), 0
    cumulative: list[float] = []
    for edge, count in zip(edges, counts[:-2], strict=True):
        here += count
        below = (len(reference.deciles) - reference.deciles[::-1].index(edge)) / 10
        atom = sum(_same(value, edge) for value in values) > ATOM * len(rows)
        now = here / len(values) if values else 0.0
        cumulative.append(min(max(now, below), below + 0.1) if atom else below)
    steps = [high - low for low, high in zip([0.0, *cumulative], [*cumulative, 1.0], strict=True)]
    shares = [max(0.0, step) * (1 - reference.nulls) for step in steps]
    return Spread(edges=edges, shares=(*(min(share, 1.0) for share in shares), reference.nulls))


def _present(rows: Iterable[Row], at: tuple[int, ...]) -> list[float]:
    return [value for row in rows if (value := row.features[at[0]]) == value]


def _edges(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted(set(quantiles(values, n=10, method="inclusive")))) if len(values) > 1 else ()


def _counts(rows: Iterable[Row], at: tuple[int, ...], edges: Sequence[float]) -> list[int]:
    """Rows in each bin; the last one is of what is missing or unknown."""
    bins = (len(edges) + 1 if len(at) == 1 else len(at)) + 1
    counted = Counter(_bin(row.features, at, edges, bins) for row in rows)
    return [counted[number] for number in range(bins)]


def _bin(features: Values, at: tuple[int, ...], edges: Sequence[float], bins: int) -> int:
    if len(at) > 1:
        return next((number for number, column in enumerate(at) if features[column] > 0.5), bins - 1)
    value = features[at[0]]
    if value != value:
        return bins - 1
    number = bisect_left(edges, value)
    return number - 1 if number and _same(edges[number - 1], value) else number


def _same(value: float, edge: float) -> bool:
    """As far as float32 and a rounded decile tell."""
    return abs(value - edge) <= 1e-6 * max(1.0, abs(edge))


def _shares(counts: Sequence[int], rows: int) -> tuple[float, ...]:
    return tuple(count / rows for count in counts)


# ── how far apart ───────────────────────────────────────────────────────────────────────────────────────────


def psi(before: Sequence[float], now: Sequence[float]) -> float:
    """The population stability index of two sets of shares over the same bins: 0 where they are equal, else more."""
    pairs = [(max(one, FLOOR), max(other, FLOOR)) for one, other in zip(before, now, strict=True)]
    return sum((other - one) * log(other / one) for one, other in pairs)


def noise(bins: int, rows: float, rows_before: float) -> float:
    """What chance makes of the PSI of two samples of one distribution: its mean and three of its standard deviations.

    It is distributed like chi-squared with bins − 1 degrees of freedom, times (1/rows + 1/rows before).
    """
    freedom = bins - 1
    return (freedom + 3 * sqrt(2 * freedom)) * (1 / rows + 1 / rows_before)


def level(value: float) -> Level:
    """In which band a PSI, or a share that should be 0, lies."""
    return Level.ALARM if value >= ALARM else Level.WARN if value >= WARN else Level.GREEN


def measured(
    rows: Sequence[Row],
    where: Columns,
    before: Mapping[str, Spread],
    rows_before: int,
    bar: float,
    alike: float = 1.0,
) -> Figures:
    """The figures of these rows, at least one, against how those of before lay. `bar` is the configuration's.

    So many rows (`alike`) tell as much as one that depends on no other: chance makes more of them.
    """
    found, far, missing = {}, 0.0, 0.0
    for name, at in where.items():
        spread = before[name]
        now = _shares(_counts(rows, at, spread.edges), len(rows))
        found[name] = psi(spread.shares, now)
        far = max(far, found[name] - noise(len(now), len(rows) / alike, rows_before / alike))
        missing = max(missing, now[-1])
    answers = [row.confidence for row in rows if row.confidence is not None]
    unanswered = 1 - len(answers) / len(rows)
    return Figures(
        rows=len(rows),
        psi={name: round(value, 4) for name, value in found.items()},
        level=level(max(far, unanswered)),
        missing=missing,
        unanswered=unanswered,
        abstained=sum(answer < bar for answer in answers) / len(answers) if answers else 0.0,
        mean=sum(answers) / len(answers) if answers else 0.0,
    )


# ── what follows ────────────────────────────────────────────────────────────────────────────────────────────


class State(BaseModel):
    """Where one version stands: kept over restarts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = ""  # of the file whose rows these are
    level: Level = Level.LEARNING
    inputs: Level = Level.LEARNING  # of them alone
    since: str = ""  # when this level began; empty: it never was another
    raised: bool = False  # the bar: from an alarm until all is as before, or a person ends it
    after: int = 0  # rows of the trail up to this one do not count
    before: Mapping[str, Spread] | None = None  # None: what training saw
    rows_before: int = 0
    learning: bool = True  # what it is held against is not chosen yet
    accepted: bool = False  # a person said that what comes now is right
    figures: Figures | None = None
    outcomes: Outcomes | None = None  # what people found since `judged_after`
    held: Held | None = None  # of a model that forecasts: how often its limit held
    judged_after: int = 0  # rows of the trail: labels of decisions up to this one do not count
    shift: float = 0.0  # of the log-odds of what the model says, since a recalibration

    @property
    def drifted(self) -> bool:
        """Whether there is something to accept."""
        return self.raised or self.level in (Level.WARN, Level.ALARM)


@dataclass(frozen=True, slots=True)
class Watched:
    """What one version takes, and what training saw of it."""

    manifest: Manifest
    reference: Reference
    alike: float = 1.0  # rows that tell as much as one that depends on no other
    unlike: bool = False  # what it was trained on was of many places: no plant lies like that


def step(state: State, rows: Sequence[Row], watched: Watched, settings: Drift, bar: float, at: str) -> State:
    """The state after the newest rows of a version; the same one where there are too few of them yet.

    `bar` is the least score by the configuration, `at` the time. First it is chosen what rows are held against: what
    training saw where the first rows here lie like that (or the configuration wants it), else these first rows.
    """
    rows = [row for row in rows if row.seq > state.after][-settings.rows :]
    where = columns(watched.manifest)
    if state.learning:
        if len(rows) < settings.rows:
            return state
        figures = _against_training(rows, where, watched, bar)
        elsewhere = watched.unlike or figures.level is not Level.GREEN
        own = state.accepted or (settings.compare_with == "plant" and elsewhere)
        state = state.model_copy(update={"learning": False, "before": learnt(rows, where) if own else None})
        if own:
            known = {
                "after": rows[-1].seq,
                "rows_before": len(rows),
                "level": Level.GREEN,
                "inputs": Level.GREEN,
                "figures": figures,
            }
            return state.model_copy(update=known)
    if len(rows) < settings.rows // 2:
        return state
    if state.before is None:
        return moved(state, _against_training(rows, where, watched, bar), at)
    return moved(state, measured(rows, where, state.before, state.rows_before, bar, watched.alike), at)


def _against_training(rows: Sequence[Row], where: Columns, watched: Watched, bar: float) -> Figures:
    before = trained(watched.reference.inputs, watched.manifest, rows, where)
    return measured(rows, where, before, watched.reference.rows, bar, watched.alike)


def moved(state: State, figures: Figures, at: str) -> State:
    """The state after these figures of the inputs."""
    return _levelled(state.model_copy(update={"figures": figures, "inputs": figures.level}), at)


def heard(state: State, cases: Sequence[Outcome], settings: Drift, at: str) -> State:
    """The state after what people found about decisions since `judged_after`."""
    return _levelled(state.model_copy(update={"outcomes": judged(cases, settings.labels)}), at)


def holding(state: State, held: Held | None, at: str) -> State:
    """The state after what came of what was forecast."""
    return _levelled(state.model_copy(update={"held": held}), at)


def _levelled(state: State, at: str) -> State:
    """The worst of inputs and outcomes; the same level keeps its beginning.

    After a recalibration the bar stays up until what people found is known again.
    """
    found_by_people = state.outcomes.level if state.outcomes else Level.LEARNING
    found = worst(state.inputs, found_by_people, state.held.level if state.held else Level.LEARNING)
    waiting = state.shift != 0 and found_by_people is Level.LEARNING
    raised = found is Level.ALARM or (state.raised and (waiting or found is not Level.GREEN))
    since = state.since if state.level is found else at
    return state.model_copy(update={"level": found, "since": since, "raised": raised})


def to_recalibrate(state: State, settings: Drift) -> bool:
    """Whether the next step is another intercept: what it says is off, it was not moved yet, and it is wanted."""
    off = state.outcomes is not None and state.outcomes.level is Level.ALARM
    return settings.recalibrate and off and not state.shift


def recalibrated(state: State, cases: Sequence[Outcome], after: int) -> State:
    """With the odds moved to what people found; from row `after` of the trail on it is looked anew."""
    return state.model_copy(update={"shift": shift(cases), "judged_after": after})


def accepted(state: State, after: int) -> State:
    """A person said that what comes behind this row of the trail is right: later rows are held against that."""
    return State(sha256=state.sha256, after=after, accepted=True, judged_after=after, shift=state.shift)


def advice(name: str, state: State, now: datetime) -> str:
    """What it means and what a person does about it, step by step; empty where there is nothing to do."""
    if state.level not in (Level.WARN, Level.ALARM):
        return ""
    said = [f"{name}: {worst_words(state)}"]
    if state.raised:
        said.append("what it forecasts is in doubt" if state.held else "the bar is raised")
    said.append("look at the sensor, the product and the recipe first")
    missed = state.held is not None and state.held.level is Level.ALARM
    if state.raised and not (missed and state.inputs in (Level.LEARNING, Level.GREEN)):
        said.append(f"if it is meant to be like that: `gatepost models accept-drift {name.partition('/')[0]}`")
    if state.raised:
        if state.outcomes is not None and state.outcomes.level is Level.ALARM:
            said.append(_about_outcomes(state))
        elif missed:
            said.append(
                "its quantiles followed what came, and it was not enough: train a version on the reports of today"
            )
        elif now - datetime.fromisoformat(state.since) >= LONG:
            said.append("it has lasted for a day: train a version on the reports of today")
    return "; ".join(said)


def _about_outcomes(state: State) -> str:
    """The next step where people found something else than what the model says."""
    if state.shift:
        return (
            "another intercept was not enough: train a version on what people decided (`gatepost models export-labels`)"
        )
    return "`drift.recalibrate: true` moves its odds to what people found; it is on record and can be taken back"


def worst_words(state: State) -> str:
    """What is found, for people: inputs, and what people decided where that is no longer as the model says."""
    said = [state.figures.worst] if state.figures is not None else []
    if state.outcomes is not None and state.outcomes.level in (Level.WARN, Level.ALARM):
        said.append(state.outcomes.words)
    if state.held is not None and state.held.level in (Level.WARN, Level.ALARM):
        said.append(state.held.words)
    return "; ".join(said)


def shown(states: Mapping[str, State], now: datetime) -> dict[str, dict[str, Any]]:
    """Where each version stands, for programs and people."""
    return {
        version: {
            "level": state.level.value,
            "since": state.since,
            "bar_raised": state.raised,
            "figures": state.figures.model_dump(mode="json") if state.figures else None,
            "outcomes": state.outcomes.model_dump(mode="json") if state.outcomes else None,
            "held": state.held.model_dump(mode="json") if state.held else None,
            "shift": state.shift,
            "what": advice(version, state, now),
        }
        for version, state in states.items()
    }
