"""One answer of each shipped model, one beside scikit-learn's, how long a model loads, what those shipped weigh.

The one beside scikit-learn is as a plant may train it: boosted trees on 27 numbers, 7 classes. Both answer the same
rows in turns, each on one thread, so that a busy machine slows both. What has nothing to stand beside is the quietest
of several short runs: other programs only make it slower.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from agent.scoring import registry
from agent.scoring.inference import Model
from agent.scoring.modelfiles import Input
from models.training import learners, pipeline, split
from tests.bench.results import Result, median
from tests.bench.stage import ROOT, Stage
from tests.trained import KEYS, put

NAMES = ("model_score_us", "model_score_ratio", "model_load_ms", "models_rss_mb")
MODELS = ROOT / "models"
WIDTH, CLASSES, ROWS, BATCH = 27, 7, 600, 256
QUIET = 20  # short runs, of which the quietest counts
SHIPPED = """
import os
import sys
from pathlib import Path
from agent import assembly
from agent.scoring import registry
from agent.scoring.inference import Model
from tests.bench.sides import rss_mb
models, keys = Path(sys.argv[1]), registry.trusted(Path(sys.argv[2]))
before = rss_mb(os.getpid())
kept = [Model.load(registry.champion(models / name), keys) for name in registry.names(models)]
print(len(kept), rss_mb(os.getpid()) - before)
"""


async def measure(stage: Stage) -> list[Result]:
    """Fit, load, and let both answer one row again and again."""
    calls = 200 if stage.quick else 2000
    classifier, table = _fitted()
    with tempfile.TemporaryDirectory() as folder:
        version = _version(Path(folder), classifier, table)
        loads = {name: _load_ms(registry.champion(MODELS / name)) for name in registry.names(MODELS)}
        loads["boosted trees"] = _load_ms(version)
        model = Model.load(version, KEYS, explain_below=0.0)
    rows = [tuple(map(float, row)) for row in table]
    turn = iter(range(10**9))

    def ours(count: int) -> Any:
        at = next(turn) % (ROWS - count)
        return model.classify(rows[at : at + count])

    def theirs(count: int) -> Any:
        at = next(turn) % (ROWS - count)
        return classifier.members[0].predict_proba(table[at : at + count])

    with threadpool_limits(1):
        one, other = _in_turns(lambda: ours(1), lambda: theirs(1), calls)
        many, others = _in_turns(lambda: ours(BATCH), lambda: theirs(BATCH), calls // 50)
    model.close()
    alone = {name: _shipped_us(name, calls) for name in registry.names(MODELS)}
    batch = {"batch_256_us": many * 1e6, "scikit_learn_batch_256_us": others * 1e6, "batch_256_ratio": others / many}
    count, weight = _shipped()
    return [
        Result("model_score_us", max(alone.values()), {"shipped_us": alone}),
        Result("model_score_ratio", other / one, {"us": one * 1e6, "scikit_learn_us": other * 1e6, **batch}),
        Result("model_load_ms", max(loads.values()), {"loads_ms": loads}),
        Result("models_rss_mb", weight, {"models": count}),
    ]


def _fitted() -> tuple[learners.Classifier, learners.Table]:
    random = np.random.default_rng(7)
    table = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
    truth = (table[:, :CLASSES] + random.normal(size=(ROWS, CLASSES))).argmax(axis=1)
    with threadpool_limits(1):
        return learners.fit(table, truth, list(split.folds(truth)), ["boosting"]).classifier, table


def _version(models: Path, classifier: learners.Classifier, table: learners.Table) -> Path:
    names = [f"f{at}" for at in range(WIDTH)]
    classes = tuple(f"class {at}" for at in range(CLASSES))
    inputs = [Input(name=name, least=-100, most=100, low=-2, high=2) for name in names]
    fitted = learners.Fitted("boosting", classifier, classifier.probabilities(table), {})
    files = pipeline.prove("test", "1", fitted, table, inputs, [], classes)
    parity = json.loads(files["parity.json"])
    return put(
        models,
        files["model.onnx"],
        features=names,
        parity=(parity["rows"], parity["outputs"]),
        kind="classes",
        classes=classes,
        conformal={"0.1": 0.8},
        input="features",
        output={"name": "probabilities", "columns": CLASSES},
    )


def _in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Median seconds of each; twenty calls of ours, then one of theirs, which take about as long."""
    mine, other = [], []
    for _ in range(max(calls // 20, 3)):
        mine += [_seconds(ours) for _ in range(20)]
        other.append(_seconds(theirs))
    return median(mine), median(other)


def _shipped_us(name: str, calls: int) -> float:
    """Median µs of one answer of a champion that is shipped, to the first of its parity cases."""
    folder = registry.champion(MODELS / name)
    model = Model.load(folder, KEYS, explain_below=0.0)
    row = tuple(nan if value is None else value for value in registry.read(folder, KEYS).parity.rows[0])
    ask: Any = {"probability": model.score, "classes": model.classify, "quantiles": model.forecast}[model.manifest.kind]
    seconds = min(median(_seconds(lambda: ask([row])) for _ in range(calls // QUIET)) for _ in range(QUIET))
    model.close()
    return seconds * 1e6


def _load_ms(folder: Path) -> float:
    """Milliseconds to load this version with all its checks."""
    return min(_seconds(lambda: Model.load(folder, KEYS).close()) for _ in range(QUIET // 2)) * 1e3


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _shipped() -> tuple[int, float]:
    """How many models are shipped, and the MB that a process grows by when it loads them all."""
    places = [str(MODELS), str(ROOT / "edge_config" / "trust" / "models")]
    run = subprocess.run([sys.executable, "-c", SHIPPED, *places], cwd=ROOT, capture_output=True, text=True, check=True)
    count, weight = run.stdout.split()
    return int(count), float(weight)
