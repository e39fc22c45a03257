"""A trained version → scores: loaded only when it does what its manifest says, and cut off when it is late.

Whatever does not fit is ModelUnfit: the event is held for a person, never decided by a default.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from operator import le
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Final, TypeVar, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent.errors import ModelUnfit
from agent.features.row import row as row_of
from agent.features.row import unknown as unknown_of
from agent.scores import Answer, Classified, Features, Forecast, Score
from agent.scoring import onnxsession, registry
from agent.scoring.modelfiles import Input, Manifest
from agent.scoring.reasons import Effect, Reasons
from agent.scoring.recalibration import shifted
from agent.scoring.registry import Keys, Version

PARITY: Final = 1e-5
DEADLINE_S: Final = 0.25
PATIENCE_S: Final = 10.0  # for all parity cases at once, on a busy box: nobody waits for them
SUM: Final = 1e-3  # how far the probabilities of all classes may be from 1 together
Told = TypeVar("Told")
Table = NDArray[np.float32]
Limits = tuple[float, float, bool]  # least, most, whether it may be missing


class Absent:
    """Stands for a model of which no version fits: it refuses every row with the reason, and a person decides."""

    def __init__(self, name: str, why: ModelUnfit) -> None:
        self.name, self.digest = name, ""
        self.unfit = str(why)

    def score(self, rows: Sequence[Features]) -> list[Score | ModelUnfit]:
        """Why not, for each row."""
        return [ModelUnfit(self.unfit) for _ in rows]

    def classify(self, rows: Sequence[Features]) -> list[Classified | ModelUnfit]:
        """Why not, for each row."""
        return [ModelUnfit(self.unfit) for _ in rows]

    def forecast(self, rows: Sequence[Features]) -> list[Forecast | ModelUnfit]:
        """Why not, for each row."""
        return [ModelUnfit(self.unfit) for _ in rows]

    def row(self, values: Mapping[str, float | str | None]) -> Features:
        """It knows no inputs."""
        return ()

    def unknown(self, values: Mapping[str, float | str | None]) -> Mapping[str, str]:
        """It knows no categories either."""
        return {}

    def why(self, answer: Classified) -> tuple[str, ...]:
        """It gave no answer."""
        return ()


class Model:
    """A model that fits its manifest. It is safe to ask from one thread at a time.

    `score`, `classify` and `forecast` are for the three kinds of manifest. Each gives one answer per row, in one run;
    ModelUnfit where the row is out of range or the output is not what the kind promises.
    """

    def __init__(
        self, version: Version, session: ort.InferenceSession, *, explain_below: float, deadline_s: float
    ) -> None:
        self.unfit = ""
        self.manifest: Manifest = version.manifest
        self.name = f"{self.manifest.name}/{self.manifest.version}"
        self.digest = self.manifest.files["model.onnx"]
        self.signer = version.signer
        self.proven = 0  # rows: so many at once it has computed here within its memory
        self._session = session
        self._watch = onnxsession.Watch(deadline_s)
        weakref.finalize(self, self._watch.close)  # after a reload nobody asks it any more
        self._explain_below = max(explain_below, 0.0)
        self._shift = 0.0
        self.reference = version.reference
        self._reasons = Reasons(self.manifest, self.reference)
        features = self.manifest.features
        self._limits = tuple(map(_limits, features))
        self._least = tuple(least for least, _, _ in self._limits)
        self._most = tuple(most for _, most, _ in self._limits)
        self._numbers = [one.name for one in features if "=" not in one.name]
        self._sets = tuple((alpha, 1 - limit) for alpha, limit in self.manifest.conformal.items())

    @classmethod
    def load(
        cls,
        folder: Path,
        keys: Keys,
        features: Sequence[str] | None = None,
        *,
        kind: str | None = None,
        explain_below: float = 1.0,
        deadline_s: float = DEADLINE_S,
        patience_s: float = PATIENCE_S,
        apart: bool = False,
    ) -> Model:
        """The model of a version's folder, after every check. Raises ModelUnfit naming the file and what to do.

        `keys` are those that may have signed it. `features` are the names that are computed for it, `kind` is what it
        is asked for; they must be the manifest's. Reasons for people are given for scores below `explain_below`.
        `apart`: what it needs at work is not taken from what all models may have together, so it is to be asked about
        no more than `proven` rows at once.
        """
        version = registry.read(folder, keys)
        _check_fit(version.manifest, features, kind, folder)
        graph, path = version.files["model.onnx"], folder / "model.onnx"
        session = onnxsession.session(graph, version.manifest, path)
        model = cls(version, session, explain_below=explain_below, deadline_s=deadline_s)
        watch = onnxsession.Watch(patience_s)
        try:
            model.proven = model._replay(version, watch)
        finally:
            watch.close()
        if apart:  # only after it has shown within the limit what it needs
            model._session = onnxsession.session(graph, version.manifest, path, apart=True)
        return model

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────

    def score(self, rows: Sequence[Features]) -> list[Score | ModelUnfit]:
        """The probability that is meant, and why where a person will look."""
        return self._asked("probability", rows, self._scores)

    def classify(self, rows: Sequence[Features]) -> list[Classified | ModelUnfit]:
        """The probability of every class, and by share of error the classes that cannot be ruled out."""
        return self._asked("classes", rows, self._classes)

    def forecast(self, rows: Sequence[Features]) -> list[Forecast | ModelUnfit]:
        """The value below which each share of the outcomes will stay."""
        return self._asked("quantiles", rows, self._forecasts)

    def answers(self, rows: Sequence[Features]) -> Sequence[Answer | ModelUnfit]:
        """What a workflow would be given: of the kind that the manifest names."""
        return self.classify(rows) if self.manifest.kind == "classes" else self.score(rows)

    def row(self, values: Mapping[str, float | str | None]) -> Features:
        """The row of these raw inputs: categories with the values that the manifest knows."""
        return row_of(values, self._numbers, self.manifest.categories)

    def unknown(self, values: Mapping[str, float | str | None]) -> Mapping[str, str]:
        """Category → its value, which the manifest does not know: in the row it is none of the known ones."""
        return unknown_of(values, self.manifest.categories)

    def run(self, table: Table, watch: onnxsession.Watch | None = None) -> Table:
        """All columns of the output for each row. Raises ModelUnfit when cut off, failed or of another shape."""
        output = self.manifest.output
        try:
            (answer,) = (watch or self._watch).run(self._session, [output.name], {self.manifest.input: table})
        except Exception as error:  # noqa: BLE001  # onnxruntime's exceptions have no other common base
            raise ModelUnfit(f"model {self.name} {onnxsession.why(error)}") from None
        if answer.shape != (len(table), output.columns) or answer.dtype != np.float32:
            raise ModelUnfit(f"model {self.name} answered {answer.dtype}{list(answer.shape)} for {len(table)} rows")
        columns: Table = answer
        return columns

    def reasons(self, rows: Table) -> list[tuple[str, ...]]:
        """For each row what a person should know, worst first; of classes what speaks for the likeliest.

        Raises ModelUnfit.
        """
        if self.manifest.kind == "classes":
            return [self._speaking(row) for row in rows[:, None]]
        column = self.manifest.output.column
        return self._reasons.of(rows, lambda asked: self.run(asked)[:, column])

    def why(self, answer: Classified) -> tuple[str, ...]:
        """What speaks for the likeliest class of this answer of its; nothing where it was cut off in telling."""
        try:
            return self._speaking(np.array([answer.features], np.float32))
        except ModelUnfit:
            return ()

    def _speaking(self, row: Table) -> tuple[str, ...]:
        likeliest = int(self.run(row).argmax())
        told = self._reasons.speaking(row, lambda asked: self.run(asked)[:, likeliest])
        return tuple([f"speaks for {self.manifest.classes[likeliest]}: {one}" for one in told])

    def effects(self, row: Table) -> list[Effect]:
        """What every input of this one row does, with sixteen usual values in its place. Raises ModelUnfit.

        Of classes it is told about the likeliest.
        """
        column = self.manifest.output.column
        if self.manifest.kind == "classes":
            column = int(self.run(row).argmax())
        return self._reasons.closely(row, lambda asked: self.run(asked)[:, column])

    def explain_below(self, bar: float) -> None:
        """Give reasons for scores below this from the next run on."""
        self._explain_below = bar

    def recalibrate(self, shift: float) -> None:
        """Move the log-odds of a probability by this from the next run on; 0: it is as the graph says."""
        self._shift = shift

    def close(self) -> None:
        """End the watch thread."""
        self._watch.close()

    # ── rows in, columns out ────────────────────────────────────────────────────────────────────────────

    def _asked(
        self,
        kind: str,
        rows: Sequence[Features],
        answers: Callable[[Sequence[Features], Table], list[Told | ModelUnfit]],
    ) -> list[Told | ModelUnfit]:
        """The answers for the rows that fit, in one run, and a refusal for each of the others."""
        if self.manifest.kind != kind:
            raise ValueError(f"model {self.name} gives {self.manifest.kind}, not {kind}")
        if not rows:
            return []
        fit = [self._fits(row) for row in rows]
        if all(fit):
            return self._tried(rows, answers)
        good = [row for row, fits in zip(rows, fit, strict=True) if fits]
        each = iter(self._tried(good, answers) if good else ())
        return [next(each) if fits else self._out_of_range(row) for row, fits in zip(rows, fit, strict=True)]

    def _fits(self, row: Features) -> bool:
        """Whether every value is inside of its range; plain Python is faster than numpy on a row or a few."""
        if len(row) != len(self._least):
            return False
        if all(map(le, self._least, row)) and all(map(le, row, self._most)):
            return True  # no value is missing: NaN is not at least anything
        return all(map(_inside, row, self._limits))

    def _tried(
        self,
        rows: Sequence[Features],
        answers: Callable[[Sequence[Features], Table], list[Told | ModelUnfit]],
    ) -> list[Told | ModelUnfit]:
        try:
            return answers(rows, np.array(rows, np.float32))
        except ModelUnfit as error:
            return [error for _ in rows]

    def _scores(self, rows: Sequence[Features], table: Table) -> list[Score | ModelUnfit]:
        column, name, digest, bar = self.manifest.output.column, self.name, self.digest, self._explain_below
        shift = self._shift
        columns, ms = self._timed(table)
        of = len(columns)
        answers: list[Score | ModelUnfit] = []
        unusual = []
        for at, (row, outputs) in enumerate(zip(rows, columns, strict=True)):
            value = outputs[column]
            if not (0.0 <= value <= 1.0 and isfinite(sum(outputs))):  # NaN included
                said = value if isfinite(sum(outputs)) else outputs
                answers.append(ModelUnfit(f"model {name} answered {said}, which is no probability"))
                continue
            if shift:
                value = shifted(value, shift)
            if value < bar:
                unusual.append(at)
            answers.append(Score(value, name, digest, row, (), tuple(outputs), (at, of), ms, shift))
        if unusual:
            told = self.reasons(table[unusual])
            for at, reasons in zip(unusual, told, strict=True):
                answers[at] = cast(Score, answers[at])._replace(reasons=reasons)
        return answers

    def _timed(self, table: Table) -> tuple[list[list[float]], float]:
        """The columns for each row, and the milliseconds of one."""
        before = perf_counter()
        columns = self.run(table).tolist()
        return columns, round((perf_counter() - before) * 1e3 / len(columns), 3)

    def _classes(self, rows: Sequence[Features], table: Table) -> list[Classified | ModelUnfit]:
        classes, name, digest = self.manifest.classes, self.name, self.digest
        columns, ms = self._timed(table)
        answers: list[Classified | ModelUnfit] = []
        for at, (row, values) in enumerate(zip(rows, columns, strict=True)):
            if not (abs(sum(values) - 1) <= SUM and min(values) >= 0):  # the sum first: it is NaN where one is
                answers.append(ModelUnfit(f"model {name} answered {values}, which are no probabilities"))
                continue
            possible = {
                alpha: tuple([one for one, value in zip(classes, values, strict=True) if value >= least])
                for alpha, least in self._sets
            }
            why = self.reasons(table[[at]])[0] if self._explained(values, possible) else ()
            sets, run = MappingProxyType(possible), (at, len(columns))
            answers.append(Classified(classes, tuple(values), name, digest, row, sets, run, ms, why))
        return answers

    def _explained(self, values: Sequence[float], possible: Mapping[str, Sequence[str]]) -> bool:
        """Whether a person will look: the likeliest is not sure enough, or not the only one that is possible."""
        bar = self._explain_below
        return bar > 0 and (max(values) < bar or any(len(left) != 1 for left in possible.values()))

    def _forecasts(self, rows: Sequence[Features], table: Table) -> list[Forecast | ModelUnfit]:
        columns = map(sorted, self.run(table).tolist())  # each was trained by itself: neighbours may have crossed
        levels, name, digest = self.manifest.quantiles, self.name, self.digest
        return [
            Forecast(levels, tuple(values), name, digest, row)
            if all(map(isfinite, values))
            else ModelUnfit(f"model {name} answered {values}, which is no forecast")
            for row, values in zip(rows, columns, strict=True)
        ]

    def _out_of_range(self, row: Features) -> ModelUnfit:
        if len(row) != len(self.manifest.features):
            return ModelUnfit(f"model {self.name} takes {len(self.manifest.features)} features, not {len(row)}")
        wrong = [
            f"{one.name} is {value:g}, outside of {one.least:g} to {one.most:g}"
            for one, value in zip(self.manifest.features, row, strict=True)
            if not one.least <= value <= one.most and not (one.null == "allowed" and value != value)
        ]
        return ModelUnfit(f"model {self.name} was not trained for this: {'; '.join(wrong)}")

    def _replay(self, version: Version, watch: onnxsession.Watch) -> int:
        """The cases of training, computed here; returns how many. Raises ModelUnfit at a difference above PARITY."""
        parity, width, columns = version.parity, len(self.manifest.features), self.manifest.output.columns
        if (
            len(parity.rows) != len(parity.outputs)
            or {len(row) for row in parity.rows} != {width}
            or {len(row) for row in parity.outputs} != {columns}
        ):
            raise ModelUnfit(
                f"{version.folder / 'parity.json'}: rows and results do not belong together; train the model again"
            )
        rows = np.array([[nan if value is None else value for value in row] for row in parity.rows], np.float32)
        difference = float(np.abs(self.run(rows, watch) - np.array(parity.outputs)).max())
        if not difference <= PARITY:
            raise ModelUnfit(
                f"{version.folder / 'model.onnx'} computes something else here than in training (difference "
                f"{difference:.2g}, allowed {PARITY:g}); train the model again with the pinned packages"
            )
        return len(rows)


def _limits(one: Input) -> Limits:
    """The ends are inside, as they are told and as 32 bits tell them."""
    ends = (one.least, one.most, float(np.float32(one.least)), float(np.float32(one.most)))
    return min(ends), max(ends), one.null == "allowed"


def _inside(value: float, limits: Limits) -> bool:
    least, most, may_miss = limits
    return least <= value <= most or (may_miss and value != value)


def _check_fit(manifest: Manifest, features: Sequence[str] | None, kind: str | None, folder: Path) -> None:
    names = [one.name for one in manifest.features]
    if features is not None and not features:
        raise ModelUnfit(f"{folder / registry.MANIFEST}: this workflow asks no model; remove `model` from it")
    if kind == "classes":  # its row is made by name: it may do without an input, and knows its own categories
        inputs = set(features or ()) & {name.partition("=")[0] for name in names}
        features = [name for name in names if name.partition("=")[0] in inputs] if features is not None else None
    if features is not None and list(features) != names:
        raise ModelUnfit(
            f"{folder / registry.MANIFEST}: the model takes {', '.join(names)}, this agent computes "
            f"{', '.join(features)}; train the model with this version of the agent"
        )
    if kind is not None and kind != manifest.kind:
        raise ModelUnfit(f"{folder / registry.MANIFEST}: the model gives {manifest.kind}, it is asked for {kind} here")
