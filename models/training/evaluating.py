"""A version that is already there, judged on other rows: as the agent would ask it, in ONNX and within its ranges."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.errors import ConfigError, Finding, ModelUnfit
from agent.scoring.inference import Model
from agent.scoring.modelfiles import Manifest
from agent.scoring.registry import Version
from models.training import judged, table
from models.training.columns import Category, Columns, Number
from models.training.encoding import Encoding
from models.training.judged import Judged
from models.training.learners import Table
from models.training.table import Data

BATCH = 256  # rows of one run


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the model said about the rows that it may be asked about; the others go to a person."""

    judged: Judged
    rows: int
    not_asked: int


def evaluate(model: Model, version: Version, path: Path, columns: Columns) -> Evaluated:
    """Judge a classifier on a CSV. Raises ConfigError where the file does not fit it, ModelUnfit where no row does."""
    if not version.manifest.classes:
        raise ModelUnfit(f"{model.name} tells no classes; `make evaluate` measures the models of other kinds")
    return judge(model, version, table.read(path, columns), columns, str(path))


def judge(model: Model, version: Version, data: Data, columns: Columns, path: str) -> Evaluated:
    """The same with rows that are read already; `path` names them in errors."""
    manifest = version.manifest
    if strange := sorted(set(data.target) - set(manifest.classes)):
        told = f"the model knows {', '.join(manifest.classes)}; leave out the rows of other classes, or train again"
        raise ConfigError([Finding(path, 1, columns.target, told, strange[0])])
    encoding = Encoding(tuple(columns.numbers), manifest.categories)
    rows = encoding.table(data.rows)
    asked = np.flatnonzero(_fit(rows, manifest))
    if not len(asked):
        raise ModelUnfit(f"{path}: every row is outside of what {model.name} was trained for; are the units the same?")
    answers = [model.run(rows[asked[at : at + BATCH]]) for at in range(0, len(asked), BATCH)]
    truth = np.array([manifest.classes.index(data.target[at]) for at in asked], np.intp)
    bar = manifest.bars.get("auto", 1.0)
    drift = judged.drift(version.reference, data.rows)
    result = Judged(manifest.classes, truth, np.vstack(answers).astype(float), bar, manifest.conformal, drift)
    return Evaluated(result, len(rows), len(rows) - len(asked))


def _fit(rows: Table, manifest: Manifest) -> Any:
    """Which rows the agent would ask the model about."""
    least, most = (np.array([getattr(one, end) for one in manifest.features], np.float32) for end in ("least", "most"))
    may_miss = np.array([one.null == "allowed" for one in manifest.features])
    missing = np.isnan(rows)
    return np.where(missing, may_miss, (rows >= least) & (rows <= most)).all(axis=1)


def columns_of(manifest: Manifest, path: Path) -> Columns:
    """The columns that the manifest names; all others of the first line of the CSV are not looked at."""
    target, time = (str(manifest.trained.get(name, "")) for name in ("target", "time"))
    if not target:
        raise ModelUnfit(f"{manifest.name}/{manifest.version} does not say which column it tells; give --columns")
    expanded = {f"{name}={value}" for name, known in manifest.categories.items() for value in known}
    numbers = [one.name for one in manifest.features if one.name not in expanded]
    named = {target, time, *numbers, *manifest.categories}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            head = [name.strip() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Finding(str(path), 1, "", f"cannot be read: {error}")]) from None
    return Columns(
        target=target,
        time=time if time in head else None,
        numbers={name: Number() for name in numbers},
        categories={name: Category() for name in manifest.categories},
        ignore=tuple(dict.fromkeys(name for name in head if name not in named)),
    )
