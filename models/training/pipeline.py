"""From rows to a signed version, in one go: split, fit, convert, prove, judge, write. Nothing is written that fails.

read   columns.py, table.py           what the columns are, and the CSV strictly
split  split.py                       later rows are judged where there is a time, else a stratified share
fit    encoding.py, learners.py       float32 first; the best of the learners, and its temperature
prove  graph.py, trees.py, parity.py  ONNX computes what scikit-learn computes, or the run ends here
judge  doubt.py, judged.py            bar and sets from rows of the folds; figures and drift from the judged rows
write  card.py, page.py               manifest, card, cases, reference, signature; a page for people
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version as package
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import ConfigError, Finding
from agent.scoring import onnxfile, registry
from agent.scoring.modelfiles import Input, Manifest, Output, Reference
from models.training import doubt, graph, judged, learners, parity, split
from models.training.card import card
from models.training.columns import Columns
from models.training.encoding import Encoding, Rows
from models.training.judged import Judged
from models.training.learners import Classes, Fitted, Learner, Table
from models.training.page import page
from models.training.table import Data

TRIED: Final[dict[str, tuple[Learner, ...]]] = {
    "auto": ("linear", "boosting", "blend"),
    "linear": ("linear",),
    "boosting": ("boosting",),
    "forest": ("forest",),
    "blend": ("blend",),
}
WHAT: Final = {
    "linear": "Logistic regression",
    "boosting": "Gradient-boosted trees",
    "forest": "A random forest",
    "blend": "Gradient-boosted and extremely randomised trees, averaged",
}
PACKAGES: Final = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the data are from, for the card: `data` names them, `about` and `limits` are sentences of their own.

    A model that only warns `decides` nothing.
    """

    data: str
    about: str = ""
    limits: str = "It knows only what its data show. Read the table of classes before you trust it with a rare one."
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Trained:
    """A version that passed: everything that will be written."""

    manifest: Manifest
    files: dict[str, bytes]
    judged: Judged
    page: str

    def write(self, models: Path, key: Ed25519PrivateKey) -> Path:
        """Into ``models/<name>/<version>/``, signed. The first version of a model decides, a later one is compared."""
        folder = registry.write(models, self.manifest, self.files, key)
        if not (folder.parent / registry.ALIASES).exists():
            registry.name_champion(folder.parent, self.manifest.version)
        return folder


def train(name: str, data: Data, columns: Columns, origin: Origin, *, version: str) -> Trained:
    """Train, prove and judge; nothing is written yet.

    Raises ConfigError where the rows do not suffice, ModelUnfit where ONNX would compute something else.
    """
    classes = _classes(data, columns)
    truth = np.array([classes.index(one) for one in data.target], np.intp)
    learnt, kept, protocol = _split(data, truth, columns)
    split.check(origin.data, columns.target, [data.target[at] for at in learnt], [data.target[at] for at in kept])
    rows = [data.rows[at] for at in learnt]
    encoding = Encoding.of(rows, columns)
    table = encoding.table(rows)
    inputs = encoding.inputs(table, columns)
    directions = [columns.numbers[one.name].direction if one.name in columns.numbers else 0 for one in inputs]
    fitted = learners.fit(table, truth[learnt], list(split.folds(truth[learnt])), TRIED[columns.learner], directions)
    proven = prove(name, version, fitted, table, inputs, encoding.groups, classes)
    judged_rows = [data.rows[at] for at in kept]
    reference = _reference(encoding, rows, fitted)
    result = Judged(
        classes,
        truth[kept],
        fitted.classifier.probabilities(encoding.table(judged_rows)),
        doubt.bar(fitted.unseen, truth[learnt], float(columns.right)),
        doubt.conformal(fitted.unseen, truth[learnt]),
        judged.drift(reference, judged_rows),
    )
    told = {
        "name": name,
        "version": version,
        "what": WHAT[fitted.learner],
        "size": str(len(proven["model.onnx"])),
        "data": f"{origin.data}, {len(rows)} rows",
        "protocol": protocol,
    }
    told_of = {"about": origin.about, "limits": origin.limits}
    text = card(told | told_of, inputs, result, float(columns.right), decides=origin.decides)
    files = proven | {"card.md": text.encode(), "reference.json": reference.model_dump_json().encode()}
    manifest = _manifest(told, data, columns, encoding, inputs, fitted, result, files)
    shown = {"Data": told["data"], "Judged by": protocol, "Learner": WHAT[fitted.learner]}
    return Trained(manifest, files, result, page(f"{name}, version {version}", shown, result))


def prove(
    name: str,
    version: str,
    fitted: Fitted,
    table: Table,
    inputs: Sequence[Input],
    groups: Sequence[Sequence[int]],
    classes: Sequence[str],
) -> dict[str, bytes]:
    """``model.onnx`` and ``parity.json`` of a classifier whose graph passes the gate. Raises ModelUnfit."""
    told = {"name": name, "version": version, "features": ",".join(one.name for one in inputs)}
    model = graph.classifier(fitted.classifier, len(inputs), len(classes), told | {"classes": ",".join(classes)})
    cases = parity.rows(table, inputs, groups)
    answer = parity.gate(model, cases, fitted.classifier.probabilities(cases))
    return {"model.onnx": model, "parity.json": parity.cases(cases, answer)}


def next_version(models: Path, name: str) -> str:
    """The number after the highest one there is; ``1`` for a new model."""
    taken = set(registry.versions(models, name))
    return next(f"{number}" for number in count(len(taken) + 1) if f"{number}" not in taken)


def _classes(data: Data, columns: Columns) -> tuple[str, ...]:
    """The classes in the order of the columns; `positive` is the last of two. Raises ConfigError."""
    known = sorted(set(data.target))
    if columns.order:
        if sorted(columns.order) != known:
            why = f"names other classes than the data, which have {', '.join(known)}"
            raise ConfigError([Finding("columns", 1, "order", why, ", ".join(columns.order))])
        return columns.order
    return tuple(sorted(known, key=lambda one: one == columns.positive))


def _split(data: Data, truth: Classes, columns: Columns) -> tuple[split.Indices, split.Indices, str]:
    share = float(columns.test_share)
    parts = f"{1 - share:.0%} / {share:.0%}"
    if columns.time is None:
        return *split.stratified(truth, share), f"stratified {parts}"
    return *split.temporal(data.times, share), f"temporal {parts}: the last rows in time"


def _reference(encoding: Encoding, rows: Rows, fitted: Fitted) -> Reference:
    mean = tuple(float(value) for value in fitted.unseen.mean(axis=0))
    return Reference(rows=len(rows), inputs=encoding.reference(rows), mean=mean)


def _manifest(
    told: dict[str, str],
    data: Data,
    columns: Columns,
    encoding: Encoding,
    inputs: tuple[Input, ...],
    fitted: Fitted,
    result: Judged,
    files: dict[str, bytes],
) -> Manifest:
    probability = columns.positive is not None
    trained: dict[str, str | int | float] = {
        "data": told["data"],
        "data_sha256": data.sha256,
        "target": columns.target,
        "time": columns.time or "",
        "protocol": told["protocol"],
        "judged_rows": len(result.truth),
        "learner": fitted.learner,
    }
    if data.times:
        trained |= {"from": min(data.times).isoformat(), "to": max(data.times).isoformat()}
    trained |= {f"log_loss_of_{learner}": round(loss, 4) for learner, loss in fitted.losses.items()}
    return Manifest(
        name=told["name"],
        version=told["version"],
        kind="probability" if probability else "classes",
        files={name: sha256(content).hexdigest() for name, content in files.items()},
        input=graph.INPUT,
        features=inputs,
        categories=encoding.categories,
        output=Output(name=graph.OUTPUT, column=int(probability), columns=len(result.classes)),
        classes=result.classes,
        temperature=fitted.classifier.temperature,
        conformal=result.conformal,
        bars={"auto": result.bar},
        opsets=onnxfile.read(files["model.onnx"]).opsets,
        trained=trained | {name: package(name) for name in PACKAGES},
        metrics=result.figures(),
    )
