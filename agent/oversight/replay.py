"""Decisions on record, computed again: the same file, given the same row, must answer the same, bit by bit.

What follows from the record alone is compared: the answer of the model, whether the bar was passed, and whether the
route fits that. What other rules said of it (limits, tolerances, live facts) stands in the reasons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from agent import authority, selfcheck
from agent.configuration.settings import AuthorityMode
from agent.errors import GatepostError, ModelUnfit
from agent.judging import record
from agent.judging.accounting import ACCOUNT
from agent.masterdata.accounts import disagrees
from agent.ports import Route
from agent.scores import Features
from agent.scoring import registry
from agent.scoring.inference import PATIENCE_S, Model
from agent.scoring.recalibration import shifted
from agent.scoring.registry import Keys
from agent.store import decisions
from agent.store.decisions import Decided

ROUNDING: Final = 1e-6  # between float32 answers of one model: where a record does not say which row of a run it was
OFF: Final = "off for the target"  # ends the reason of what would have gone to a target that takes nothing of its kind


class Difference(NamedTuple):
    """What is on record, and what it is now."""

    field: str
    recorded: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of computing one answer of a decision again. `problem` says why it could not be computed."""

    decided: Decided
    model: str = ""  # name/version; empty: none was asked
    exact: bool = True  # to the last bit; else within rounding: an older release kept less
    differences: tuple[Difference, ...] = ()
    problem: str = ""
    reasons: tuple[str, ...] = ()  # as they would be told now, where another release worded them
    account: Replayed | None = None  # the same of the model that looked over the account, where one did

    @property
    def same(self) -> bool:
        """Whether all of it is as it was."""
        return not self.differences and not self.problem and (self.account is None or self.account.same)


# ── the very file ───────────────────────────────────────────────────────────────────────────────────────────


class Versions:
    """Models by the hash of their file, each loaded once, wherever in the folder of models it lies."""

    def __init__(self, models: Path, keys: Keys) -> None:
        self._models = models
        self._keys = keys
        self._loaded: dict[str, Model | ModelUnfit] = {}

    def find(self, name: str, sha256: str) -> Model:
        """The version that had this name and file. Raises ModelUnfit, saying what to do."""
        if sha256 not in self._loaded:
            try:
                self._loaded[sha256] = Model.load(
                    registry.holding(self._models, name, sha256), self._keys, explain_below=0.0, deadline_s=PATIENCE_S
                )
            except GatepostError as error:
                self._loaded[sha256] = ModelUnfit(str(error))
        found = self._loaded[sha256]
        if isinstance(found, ModelUnfit):
            raise ModelUnfit(str(found))
        return found

    def close(self) -> None:
        """End their threads."""
        for one in self._loaded.values():
            if isinstance(one, Model):
                one.close()


# ── computing ───────────────────────────────────────────────────────────────────────────────────────────────


def replay(found: Sequence[Decided], versions: Versions) -> list[Replayed]:
    """Each of these decisions computed again. Of few, or of one after the other as they were made, this is quick."""
    answers = _answers(found, versions)
    return [_compared(one, answers, versions) for one in found]


_Key = tuple[int, str]  # row of the trail, and about what of it: "" or ACCOUNT


class _Asked(NamedTuple):
    key: _Key
    row: Features
    at: int
    of: int


Answer = tuple[float, ...] | ModelUnfit


def _answers(found: Iterable[Decided], versions: Versions) -> dict[_Key, Answer]:
    """What models say now."""
    answers: dict[_Key, Answer] = {}
    asked: dict[tuple[str, str], list[_Asked]] = defaultdict(list)
    for one in found:
        for about, part in zip(("", ACCOUNT), decisions.asked(one.detail), strict=False):
            if score := part.get("score"):
                at, of = score.get("run", (0, 1))
                question = _Asked((one.seq, about), record.values(score["features"]), at, of)
                asked[score["model"], score["sha256"]].append(question)
    for (name, sha256), questions in asked.items():
        try:
            model = versions.find(name, sha256)
            for run in _runs(questions):
                answers |= _run(model, run)
        except ModelUnfit as error:
            answers |= {one.key: error for one in questions if one.key not in answers}
    return answers


def _runs(questions: Iterable[_Asked]) -> Iterator[dict[int, _Asked]]:
    """Rows that can share a run, by their place in it: what was decided together comes together again."""
    open_: dict[int, dict[int, _Asked]] = {}  # by number of rows
    for one in questions:
        run = open_.setdefault(one.of, {})
        if one.at in run:
            yield run
            run = open_[one.of] = {}
        run[one.at] = one
    yield from open_.values()


def _run(model: Model, run: Mapping[int, _Asked]) -> dict[_Key, Answer]:
    """One run with as many rows as then: the last bit of some graphs depends on place and number, not on the others."""
    some = next(iter(run.values()))
    rows = [run.get(at, some).row for at in range(some.of)]
    outputs = model.run(np.array(rows, np.float32)).tolist()
    return {one.key: tuple(outputs[at]) for at, one in run.items()}


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────


def _compared(one: Decided, answers: Mapping[_Key, Answer], versions: Versions) -> Replayed:
    if not one.detail:
        return Replayed(one, problem="its record is damaged: `gatepost audit verify` shows which rows are")
    found = _again(one, one.detail, answers.get((one.seq, "")), versions)
    if found.model and not found.problem and "score" in one.detail:
        found = replace(found, differences=(*found.differences, *_route(one.detail, one.detail["score"])))
    account = one.detail.get(ACCOUNT)
    if account is None or not account.keys() & {"score", "unfit"}:
        return found
    looked = _again(one, account, answers.get((one.seq, ACCOUNT)), versions)
    if not looked.problem and "score" in account:
        looked = replace(looked, differences=(*looked.differences, *_doubted(one.detail, account, versions)))
    return replace(found, account=looked)


def _again(one: Decided, part: Mapping[str, Any], answer: Answer | None, versions: Versions) -> Replayed:
    """What this part of the record holds of a model, and what that says now."""
    unfit = part.get("unfit")
    if unfit and unfit["sha256"]:  # else there was no model that fitted
        return _still_unfit(one, unfit, versions)
    score = part.get("score")
    if score is None:
        return Replayed(one)
    if answer is None or isinstance(answer, ModelUnfit):
        return Replayed(one, score["model"], problem=str(answer))
    model = versions.find(score["model"], score["sha256"])
    column = max(range(len(answer)), key=answer.__getitem__) if score.get("kind") == "classes" else None
    meant = model.manifest.output.column if column is None else column
    differences = tuple(_outputs(score, answer, meant))
    return Replayed(one, score["model"], "outputs" in score, differences, reasons=_reworded(score, model))


def _outputs(score: Mapping[str, Any], now: tuple[float, ...], column: int) -> Iterator[Difference]:
    """Every column that is not what it was."""
    if "outputs" not in score:
        if not abs(score["confidence"] - now[column]) <= ROUNDING:
            yield Difference("confidence", score["confidence"], now[column])
        return
    then = record.values(score["outputs"])
    if len(then) != len(now):
        yield Difference("outputs", list(then), list(now))
        return
    for at, (old, new) in enumerate(zip(then, now, strict=True)):
        if bits(old) != bits(new):
            yield Difference(f"outputs[{at}]", old, new)
    meant = shifted(now[column], score["shift"]) if "shift" in score else now[column]
    if bits(score["confidence"]) != bits(meant):
        yield Difference("confidence", score["confidence"], meant)


def bits(value: float) -> str:
    """The four bytes of a float32, in hexadecimal."""
    return np.array([value], ">f4").tobytes().hex()


def _reworded(score: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    """The reasons as they are told now where a person read others: words, and the last figure, are no decision."""
    then = tuple(score["reasons"])
    (now,) = model.reasons(np.array([record.values(score["features"])], np.float32)) if then else ((),)
    return now if now != then else ()


def _route(detail: Mapping[str, Any], score: Mapping[str, Any]) -> Iterator[Difference]:
    """Whether bar, reasons and route fit each other, where there was anything to post."""
    if "bar" not in score or detail["route"] == Route.IGNORE:
        return
    below = authority.below(detail["confidence"], score["bar"])
    told = next((one for one in detail["reasons"] if one.startswith("confidence ")), None)
    if told != below:
        yield Difference("reasons", told, below)
    possible = _possible(detail, held=below is not None)
    if detail["route"] not in possible:
        yield Difference("route", detail["route"], " or ".join(possible))


def _doubted(detail: Mapping[str, Any], account: Mapping[str, Any], versions: Versions) -> Iterator[Difference]:
    """Whether what the model held for unlikely waited for a person."""
    score = account["score"]
    classes = versions.find(score["model"], score["sha256"]).manifest.classes
    probabilities = dict(zip(classes, score["outputs"], strict=True))
    likely = disagrees(account[ACCOUNT], probabilities, score["bar"])
    if likely is not None and detail["route"] == Route.POST:
        yield Difference("route", detail["route"], "held")


def _possible(detail: Mapping[str, Any], *, held: bool) -> Sequence[str]:
    """Where a decision may have gone by mode and bar; other rules can only hold it."""
    if detail["mode"] == AuthorityMode.ADVISE or any(one.endswith(OFF) for one in detail["reasons"]):
        return ("advised",)
    if held or detail["mode"] == AuthorityMode.ASSIST:
        return ("held",)
    return ("posted", "held")


def _still_unfit(one: Decided, unfit: Mapping[str, Any], versions: Versions) -> Replayed:
    """A row that the model had no answer for must still have none."""
    try:
        model = versions.find(unfit["model"], unfit["sha256"])
    except ModelUnfit as error:
        return Replayed(one, unfit["model"], problem=str(error))
    (now,) = model.answers([record.values(unfit["features"])])
    if isinstance(now, ModelUnfit):
        return Replayed(one, unfit["model"])
    return Replayed(one, unfit["model"], differences=(Difference("score", None, now.confidence),))


def alone(found: Decided, models: Path, keys: Path, ran_with: Mapping[str, str]) -> dict[str, Any]:
    """One decision, as programs read it. `keys` is the folder of those whose models are believed."""
    versions = Versions(models, registry.trusted(keys))
    try:
        (replayed,) = replay([found], versions)
    finally:
        versions.close()
    return as_data(replayed, ran_with)


def as_data(replayed: Replayed, ran_with: Mapping[str, str]) -> dict[str, Any]:
    """One replay, as programs read it. `ran_with` is what the agent computed with then."""
    decided = replayed.decided
    return {
        "event": decided.event, "decided_at": decided.at.isoformat(), "model": replayed.model or None,
        "same": replayed.same, "exact": replayed.exact, "problem": replayed.problem or None,
        "differences": [one._asdict() for one in replayed.differences], "reasons_now": list(replayed.reasons),
        "likely": likely(replayed, ran_with, selfcheck.computes_with()),
        "account": as_data(replayed.account, ran_with) if replayed.account else None,
    }  # fmt: skip


def likely(replayed: Replayed, then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Why it may differ. `then` and `now` say what the agent computed with."""
    if not replayed.differences:
        return []
    changed = [f"{name} {value} then, {now.get(name, 'none')} now" for name, value in then.items()
               if value != now.get(name)]  # fmt: skip
    if any(one.field in ("route", "reasons") for one in replayed.differences):
        return ["the row of the trail is not as it was written: `gatepost audit verify` tells"]
    if any(one.field == "score" for one in replayed.differences):
        return ["the model was cut off at its deadline then, or was short of memory", *changed]
    if changed or not then:
        return changed or ["another onnxruntime, numpy or processor: the record does not say which there were"]
    return ["packages and processor are the same: the record is not as it was written (`gatepost audit verify`)"]
