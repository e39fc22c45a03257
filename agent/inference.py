"""A trained version → scores: loaded only when it does what its manifest says, and cut off when it is late.

Whatever does not fit is ModelUnfit: the event is held for a person, never decided by a default.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import chain
from math import exp, nan
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent import onnxfile, registry
from agent.errors import ModelUnfit
from agent.ports import Features, Score
from agent.registry import MAX_BYTES, Keys, Manifest, Version

__all__ = ["MAX_BYTES", "PARITY", "Model"]

PARITY: Final = 1e-5
DEADLINE_S: Final = 0.25
OPSETS: Final = {"": range(15, 23), "ai.onnx.ml": range(1, 5)}  # what the pinned converter writes
PROVIDERS: Final = ["CPUExecutionProvider"]


# ── a loaded model ──────────────────────────────────────────────────────────────────────────────────────────


class Model:
    """A model that fits its manifest. `score` is safe to call from one thread at a time."""

    def __init__(self, manifest: Manifest, session: ort.InferenceSession, digest: str, deadline_s: float) -> None:
        self.manifest = manifest
        self.name = f"{manifest.name}/{manifest.version}"
        self.digest = digest
        self._session = session
        self._watch = _Watch(deadline_s)
        self._usual = tuple((one.low, one.high) for one in manifest.features)
        self._least = np.array([one.least for one in manifest.features], np.float32)
        self._most = np.array([one.most for one in manifest.features], np.float32)

    @classmethod
    def load(
        cls,
        folder: Path,
        keys: Keys,
        features: Sequence[str] | None = None,
        *,
        explain_below: float = 1.0,
        deadline_s: float = DEADLINE_S,
    ) -> Model:
        """The model of a version's folder, after every check. Raises ModelUnfit naming the file and what to do.

        `keys` are those that may have signed it. `features` are the names that the workflow computes; they must be
        the manifest's. Reasons for people are given for scores below `explain_below`.
        """
        version = registry.read(folder, keys)
        manifest = version.manifest
        _check_features(manifest, features, folder)
        session = _session(version.files["model.onnx"], manifest, folder / "model.onnx")
        model = cls(manifest, session, manifest.files["model.onnx"], deadline_s)
        model.explain_below = explain_below
        model._replay(version)
        return model

    explain_below = 1.0

    def score(self, rows: Sequence[Features]) -> list[Score | ModelUnfit]:
        """One answer per row, in one run. ModelUnfit where the row is out of range or the output is no probability."""
        if not rows:
            return []
        table = self._table(rows)
        with np.errstate(invalid="ignore"):
            fit = np.all((table >= self._least) & (table <= self._most), axis=1).tolist()
        if all(fit):
            return self._answers(rows, table)
        answers = iter(self._answers([row for row, good in zip(rows, fit, strict=True) if good], table[fit]))
        return [next(answers) if good else self._out_of_range(row) for row, good in zip(rows, fit, strict=True)]

    def close(self) -> None:
        """End the watch thread."""
        self._watch.close()

    def _table(self, rows: Sequence[Features]) -> NDArray[np.float32]:
        """The rows as float32; a row of another length becomes NaN, which is out of every range."""
        width = len(self.manifest.features)
        if set(map(len, rows)) != {width}:
            rows = [row if len(row) == width else (np.nan,) * width for row in rows]
        with np.errstate(over="ignore"):
            return np.fromiter(chain.from_iterable(rows), np.float32, len(rows) * width).reshape(-1, width)

    def _answers(self, rows: Sequence[Features], table: NDArray[np.float32]) -> list[Score | ModelUnfit]:
        if not rows:
            return []
        try:
            normal = self.run(table)[:, self.manifest.output.column]
        except ModelUnfit as error:
            return [error for _ in rows]
        name, digest, usual = self.name, self.digest, max(self.explain_below, 0.0)
        return [
            Score(value, name, digest, row) if usual <= value <= 1.0 else self._unusual(row, value)
            for row, value in zip(rows, normal.tolist(), strict=True)
        ]

    def _unusual(self, row: Features, normal: float) -> Score | ModelUnfit:
        if not 0.0 <= normal <= 1.0:  # NaN included
            return ModelUnfit(f"model {self.name} answered {normal}, which is no probability")
        return Score(normal, self.name, self.digest, row, self._reasons(row))

    def run(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """All columns of the output for each row. Raises ModelUnfit when cut off, failed or of another shape."""
        output = self.manifest.output
        try:
            (answer,) = self._watch.run(self._session, [output.name], {self.manifest.input: table})
        except Exception as error:  # noqa: BLE001  # onnxruntime's exceptions have no other common base
            late = "was cut off at its deadline" if "erminate" in str(error) else "failed"
            raise ModelUnfit(f"model {self.name} {late}: {str(error)[:200]}") from None
        if answer.shape != (len(table), output.columns) or answer.dtype != np.float32:
            raise ModelUnfit(f"model {self.name} answered {answer.dtype}{list(answer.shape)} for {len(table)} rows")
        columns: NDArray[np.float32] = answer
        return columns

    def _out_of_range(self, row: Features) -> ModelUnfit:
        if len(row) != len(self.manifest.features):
            return ModelUnfit(f"model {self.name} takes {len(self.manifest.features)} features, not {len(row)}")
        wrong = [
            f"{one.name} is {value:g}, outside of {one.least:g} to {one.most:g}"
            for one, value in zip(self.manifest.features, row, strict=True)
            if not one.least <= value <= one.most
        ]
        return ModelUnfit(f"model {self.name} was not trained for this: {'; '.join(wrong) or 'a value at the edge'}")

    def _reasons(self, row: Features) -> tuple[str, ...]:
        """What is unlike the training data, worst first: how far outside of low to high, in widths of that range."""
        found = []
        for one, (low, high), value in zip(self.manifest.features, self._usual, row, strict=True):
            if low <= value <= high:
                continue
            beyond = max(low - value, value - high) / ((high - low) or 1.0)
            if one.text and beyond > 0:
                seen, low, high = (exp(x) if one.scale == "log" else x for x in (value, low, high))
                found.append((beyond, f"{one.text} is {seen:.3g}, usually {low:.3g} to {high:.3g}"))
        return tuple(reason for _, reason in sorted(found, reverse=True))

    def _replay(self, version: Version) -> None:
        """The cases of training, computed here. Raises ModelUnfit at a difference above PARITY."""
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
        difference = float(np.abs(self.run(rows) - np.array(parity.outputs)).max())
        if not difference <= PARITY:
            raise ModelUnfit(
                f"{version.folder / 'model.onnx'} computes something else here than in training (difference "
                f"{difference:.2g}, allowed {PARITY:g}); train the model again with the pinned packages"
            )


def _check_features(manifest: Manifest, features: Sequence[str] | None, folder: Path) -> None:
    names = [one.name for one in manifest.features]
    if features is not None and list(features) != names:
        raise ModelUnfit(
            f"{folder / 'manifest.json'}: the model takes {', '.join(names)}, the workflow computes "
            f"{', '.join(features)}; train the model with this version of the agent"
        )


def _session(data: bytes, manifest: Manifest, path: Path) -> ort.InferenceSession:
    """The session from the bytes that were hashed, if the graph is as the manifest says."""
    try:
        told = onnxfile.read(data)
    except ModelUnfit as error:
        raise ModelUnfit(f"{path} {error}") from None
    if told.external:
        raise ModelUnfit(f"{path} keeps data outside of the file; export it in one file")
    if told.opsets != manifest.opsets or any(v not in OPSETS.get(domain, ()) for domain, v in told.opsets.items()):
        raise ModelUnfit(f"{path} uses the operator sets {told.opsets}; manifest: {manifest.opsets}, known: {OPSETS}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the other cores belong to the line
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and told once
    try:
        session = ort.InferenceSession(data, options, providers=PROVIDERS)
    except Exception as error:  # noqa: BLE001  # onnxruntime's exceptions have no other common base
        raise ModelUnfit(f"{path} is refused by onnxruntime: {str(error)[:200]}") from None
    _check_graph(session, manifest, path)
    return session


def _check_graph(session: ort.InferenceSession, manifest: Manifest, path: Path) -> None:
    inputs = [(one.name, one.type, len(one.shape), one.shape[-1:]) for one in session.get_inputs()]
    width = len(manifest.features)
    if inputs != [(manifest.input, "tensor(float)", 2, [width])]:
        raise ModelUnfit(f"{path} takes {inputs}, the manifest says {manifest.input}: float, {width} columns")
    output = manifest.output
    outputs = {one.name: (one.type, len(one.shape), one.shape[-1:]) for one in session.get_outputs()}
    if outputs.get(output.name) != ("tensor(float)", 2, [output.columns]) or output.column >= output.columns:
        raise ModelUnfit(f"{path} gives {outputs}, the manifest says {output.name}: float, {output.columns} columns")


class _Watch:
    """Cuts off runs that are late: one thread that sleeps while nothing runs and looks up once per deadline otherwise.

    A run ends between one and two deadlines after its start, at the latest; a run that is in time costs no wake-up.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._running: Any = None  # the options of the run under way
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self, session: ort.InferenceSession, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        """Run the session, or raise what onnxruntime raises when the run is cut off."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="model-deadline", daemon=True)
            self._thread.start()
        options = ort.RunOptions()
        self._running = options
        if not self._wake.is_set():
            self._wake.set()
        try:
            answers: list[Any] = session.run(outputs, inputs, options)
        finally:
            self._running = None
        return answers

    def close(self) -> None:
        """End the thread, if one was started."""
        self._closed.set()
        self._wake.set()

    def _look(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            seen = self._running
            if seen is None:
                self._wake.clear()
                seen = self._running  # a run that began between the look and the clear saw no need to wake us
            if seen is not None and not self._closed.wait(self._deadline_s) and self._running is seen:
                seen.terminate = True
