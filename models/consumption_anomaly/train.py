"""Train the model that says whether a reported consumption looks normal.

    python -m models.consumption_anomaly.train [folder of models]

The data are simulated: what the bench's machines report, with a share of reports distorted as on real floors. The
features are computed by the same pure function that serves. The same seeds give the same files, byte for byte; another
key only another signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from math import exp
from pathlib import Path
from random import Random
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import onnxruntime as ort
import skl2onnx
import sklearn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score

from agent.configuration.config import parse
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.masterdata import files as masterfiles
from agent.scoring import modelfiles, onnxfile, registry
from agent.scoring.inference import PARITY, Model
from agent.scoring.modelfiles import Input, InputReference, Manifest, Output, Reference
from agent.scoring.registry import MAX_BYTES
from agent.units import UnitsFile, UnitTable
from agent.workflows.consumption import FEATURES, features
from agent.workflows.use import use_of
from models import shipped
from models.training.graph import convert
from simulators import scenario as plant
from simulators.line.plant import Report, reports

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
VERSION: Final = "1"
RUNS: Final = ((11, 1), (12, 1), (13, 4), (14, 10), (15, 30))  # seed, and into how many small orders each is split
REPORTS: Final = 8_000  # of each run, confirmations included
ABNORMAL: Final = 0.15  # share of distorted reports; far more than on a floor, so that they can be learnt
ON_A_FLOOR: Final = 0.02  # the share that probabilities are stated for: distorted reports weigh so much less
TEST_SHARE: Final = 0.3  # the last part of each run, in time
PARITY_ROWS: Final = 600
EXTREMES: Final = 100  # of them, the last ones
TODAY: Final = date(2026, 11, 20)

RANGES: Final = {  # outside of these the model is not asked: six decades of deviation cover every unit error
    "deviation": (-14.0, 14.0),
    "distance": (0.0, 14.0),
    "log_expected": (-14.0, 21.0),
    "counted": (0.0, 1.0),
    "share_of_required": (0.0, 1000.0),
}
WORDS: Final[Mapping[str, tuple[str, Literal["plain", "log"]]]] = {
    "deviation": ("used over expected", "log"),
    "share_of_required": ("share of the order's requirement", "plain"),
}
NO_WORDS: Final[tuple[str, Literal["plain"]]] = ("", "plain")


# ── the data ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sample:
    """One report as the model sees it; `distortion` is empty for a normal one."""

    row: tuple[float, ...]
    distortion: str
    late: bool  # in the last part of its run


def split(scenario: plant.Scenario, parts: int) -> plant.Scenario:
    """The same plant with smaller orders: more of them are set up, and each report is more of its order."""
    plans = (replace(one, quantity=one.quantity / parts, count=one.count * parts) for one in scenario.plans)
    return replace(scenario, plans=tuple(plans))


def bench_facts(scenario: plant.Scenario) -> Facts:
    """The facts that the agent has on the bench: its master data files, and the orders that its ERP tells."""
    units = UnitTable.of(parse(ROOT / "edge_config" / "units.yaml", UnitsFile))
    files = masterfiles.load(ROOT / "edge_config" / "masterdata", units)
    here = Plant(scenario.plant, ZoneInfo(scenario.time_zone), scenario.currency)
    facts = Facts(plant=here, units=units).with_facts(files.facts(TODAY))
    return facts.with_documents(("order", _order(order, scenario.plant, units)) for order in scenario.orders())


def _order(order: plant.Order, site: str, units: UnitTable) -> dict[str, Any]:
    unit = units.from_sap(order.unit)
    return {
        "order": order.number,
        "material": order.product,
        "plant": site,
        "quantity": f"{order.quantity:f}",
        "unit": unit,
        "status": "released",
        "operations": [{"operation": order.operation, "work_center": order.work_center, "unit": unit}],
        "components": [
            {
                "material": part.material,
                "reservation": part.reservation,
                "item": part.item,
                "required": f"{part.required:f}",
                "withdrawn": "0",
                "unit": units.from_sap(part.unit),
                "storage_location": part.storage_location,
                "operation": order.operation,
            }
            for part in order.components
        ],
    }


def response(report: Report, facts: Facts) -> SegmentResponse | None:
    """A consumption report of the line as the mapping reads it; None for a confirmation."""
    body, order = report.body, facts.orders[report.body["order"]]
    if "quantity" not in body:
        return None
    consumed = Quantity(body["quantity"], facts.units.code(body["unit"]))
    return SegmentResponse(
        kind="consumption",
        id=body["id"],
        order=body["order"],
        operation=body["operation"],
        occurred_at=datetime.fromisoformat(body["ts"]),
        work_center=report.truth["work_center"],
        material_actuals=(
            MaterialActual(MaterialUse.CONSUMED, consumed, body["material"], body["batch"], body["location"]),
            MaterialActual(MaterialUse.PRODUCED, Quantity(body["lot_quantity"], order.unit)),
        ),
    )


def samples(facts: Facts, scenario: plant.Scenario, seed: int) -> Iterator[Sample]:
    """One run of the plant, some of its reports distorted."""
    random = Random(f"{seed}/consumption_anomaly")
    run = [report for one in reports(scenario, seed, REPORTS) if (report := response(one, facts)) is not None]
    for at, report in enumerate(run):
        name = random.choice(sorted(DISTORTIONS)) if random.random() < ABNORMAL else ""
        changed = _distorted(report, name, random, facts) if name else report
        row = features(use_of(changed, facts))
        if row is not None:
            yield Sample(row, name if changed is not report else "", late=at >= len(run) * (1 - TEST_SHARE))


def _times(low: float, high: float) -> Any:
    return lambda value, random: value * Decimal(f"{exp(random.uniform(np.log(low), np.log(high))):.4f}")


def _transposed(value: Decimal, random: Random) -> Decimal:
    text = f"{value:f}"
    places = [at for at in range(len(text) - 1) if text[at] != text[at + 1] and (text[at] + text[at + 1]).isdigit()]
    if not places:
        return value
    at = places[0] if random.random() < 0.7 else random.choice(places)
    return Decimal(text[:at] + text[at + 1] + text[at] + text[at + 2 :])


DISTORTIONS: Final[Mapping[str, Any]] = {
    "a little too much": _times(1.05, 1.3),
    "a little too little": _times(0.7, 0.95),
    "far too much": _times(1.3, 2.5),
    "far too little": _times(0.3, 0.7),
    "twice": lambda value, random: value * 2,
    "power of ten": lambda value, random: value.scaleb(random.choice((-1, 1))),
    "unit": lambda value, random: value * random.choice((Decimal("0.001"), Decimal(1000), Decimal("2.2046"))),
    "digits swapped": _transposed,
}


def _distorted(report: SegmentResponse, name: str, random: Random, facts: Facts) -> SegmentResponse:
    """The report with another quantity, as the same device would show it; the same report where nothing changes."""
    consumed, produced = report.material_actuals
    step = Decimal(1).scaleb(-max(0, -int(consumed.quantity.value.as_tuple().exponent)))
    value = DISTORTIONS[name](consumed.quantity.value, random).quantize(step, ROUND_HALF_UP)
    if value in (0, consumed.quantity.value):
        return report
    quantity = Quantity(value, consumed.quantity.unit)
    return report._replace(material_actuals=(consumed._replace(quantity=quantity), produced))


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────

Table = NDArray[np.float32]


def fit(rows: Table, normal: NDArray[np.int64]) -> GradientBoostingClassifier:
    """Few shallow trees: the features carry it, and a run of one row stays far below 50 µs."""
    model = GradientBoostingClassifier(
        n_estimators=40, max_depth=3, learning_rate=0.2, subsample=0.8, min_samples_leaf=30, random_state=7
    )
    rarer = ON_A_FLOOR / (1 - ON_A_FLOOR) * (1 - ABNORMAL) / ABNORMAL
    return model.fit(rows, normal, sample_weight=np.where(normal == 1, 1.0, rarer))


def export(model: GradientBoostingClassifier) -> bytes:
    """The graph with one float32 input and the probabilities as a plain tensor."""
    data: bytes = convert(model, len(FEATURES), zipmap=False).SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise SystemExit(f"the model has {len(data)} bytes, allowed are {MAX_BYTES}; use fewer or shallower trees")
    return data


def parity_rows(rows: Table) -> Table:
    """Rows of the test part and the corners of the ranges: where converters go wrong without a word."""
    random = np.random.default_rng(7)
    chosen = rows[random.choice(len(rows), PARITY_ROWS - EXTREMES, replace=False)]
    ranges = np.array([RANGES[name] for name in FEATURES], np.float32)
    corners = np.where(random.random((EXTREMES // 2, len(FEATURES))) < 0.5, ranges[:, 0], ranges[:, 1])
    inside = random.uniform(ranges[:, 0], ranges[:, 1], (EXTREMES // 2, len(FEATURES)))
    return np.vstack([chosen, corners, inside]).astype(np.float32)


def check_parity(model: GradientBoostingClassifier, graph: bytes, rows: Table) -> list[list[float]]:
    """What the graph computes for the rows; ends the program where it differs from scikit-learn."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(None, {"features": rows})
    expected = model.predict_proba(rows)
    difference = float(np.abs(probabilities - expected).max())
    changed = int((label != model.predict(rows)).sum())
    if difference > PARITY or changed:
        raise SystemExit(
            f"ONNX and scikit-learn differ by {difference:.2g} and in {changed} labels; nothing is written"
        )
    return [[round(float(value), 9) for value in row] for row in probabilities]


# ── what is written ─────────────────────────────────────────────────────────────────────────────────────────


def figures(normal: NDArray[np.float64], test: list[Sample], bar: float = 0.9) -> dict[str, float]:
    """How well the model does on the last part of each run, which it has not seen."""
    truth = np.array([not sample.distortion for sample in test])
    found = {
        "auc": float(roc_auc_score(truth, normal)),
        "brier": float(brier_score_loss(truth, normal)),
        "normal_accepted_at_0.9": float((normal[truth] >= bar).mean()),
        "distorted_accepted_at_0.9": float((normal[~truth] >= bar).mean()),
    }
    for name in DISTORTIONS:
        of_kind = np.array([sample.distortion == name for sample in test])
        found[f"found: {name}"] = float((normal[of_kind] < bar).mean())
    return {name: round(value, 4) for name, value in found.items()}


def manifest(
    graph: bytes,
    rows: Table,
    normal: NDArray[np.int64],
    trained: Mapping[str, str | int | float],
    told: Mapping[str, float],
) -> Manifest:
    """What the agent checks before it believes the files."""
    usual = np.quantile(rows[normal == 1].astype(np.float64), (0.005, 0.995), axis=0)
    inputs = []
    for at, name in enumerate(FEATURES):
        text, scale = WORDS.get(name, NO_WORDS)
        least, most = RANGES[name]
        low, high = (round(float(value), 6) for value in usual[:, at])
        inputs.append(Input(name=name, least=least, most=most, low=low, high=high, text=text, scale=scale))
    return Manifest(
        name=HERE.name,
        version=VERSION,
        kind="probability",
        files=dict.fromkeys(modelfiles.FILES, "0" * 64),  # filled in when they are written
        features=tuple(inputs),
        output=Output(name="probabilities", column=1, columns=2),
        bars={"auto": 0.9},
        opsets=onnxfile.read(graph).opsets,
        trained=trained,
        metrics=told,
    )


def reference(rows: Table, answers: NDArray[np.float64]) -> Reference:
    """What the training data looked like."""
    deciles = np.quantile(rows.astype(np.float64), np.arange(1, 10) / 10, axis=0)
    return Reference(
        rows=len(rows),
        inputs={
            name: InputReference(deciles=tuple(round(float(x), 6) for x in deciles[:, at]))
            for at, name in enumerate(FEATURES)
        },
        mean=tuple(round(float(x), 6) for x in answers.mean(axis=0)),
    )


CARD: Final = """# Does this consumption look normal? (consumption_anomaly, version {version})

**What it answers.** For one report of a component used for one lot: the probability that the report is normal.
**What it looks at.** Used over expected (bill of material times lot, with or without the set-up), how much is
expected, whether it is counted or weighed, and the share of the order's requirement. Nothing about people.
**What it is.** {trees} shallow gradient-boosted trees, {size} bytes of ONNX, the same answer on every run.

## Trained on a simulated plant
No real floor is in it. {reports} reports of {runs} simulated runs (the line simulator of this project), with orders of
the bench's size down to one in {parts} of it. {abnormal:.0%} were distorted on purpose; on a floor far fewer are, so
they weigh less: the probability is stated for a floor where {floor:.0%} of the reports are wrong. Trained on the first
{trained:.0%} of each run, judged on the rest, in time. Its figures say that it finds what was put in, not what your
plant will do.

| judged on {test} reports | |
|---|---|
{table}

## Limits
- A deviation inside the weighing noise, a slow leak, or a wrong bill of material is not found from one report.
- The first lot of an order: what setting up takes varies more than a weighing, and the model does not know which lot is
  the first. Of good first lots about 7 in 100 wait for a person, of later ones 4 in 1000.
- Parts that are counted in small lots: one part more of six is 17 %, and sometimes somebody really dropped one.
- Before `auto`, run `advise` or `assist` beside your own postings and look at the confidences of what people approve.
- Retrain on the plant's own reports when the noise of its scales is another than the simulator's.

Outside of the ranges in manifest.json the model is not asked: the posting waits for a person.
"""


def card(found: Mapping[str, float], size: int, trees: int, reports_used: int, test: int) -> str:
    """The page for people."""
    return CARD.format(
        version=VERSION,
        trees=trees,
        size=size,
        reports=reports_used,
        runs=len(RUNS),
        abnormal=ABNORMAL,
        floor=ON_A_FLOOR,
        parts=RUNS[-1][1],
        trained=1 - TEST_SHARE,
        test=test,
        table="\n".join(f"| {name.replace('_', ' ')} | {value:.4f} |" for name, value in found.items()),
    )


def _run(scenario: plant.Scenario, seed: int) -> Iterator[Sample]:
    return samples(bench_facts(scenario), scenario, seed)


def data_sha256(found: Sequence[Sample]) -> str:
    """What was trained and judged on: features, distortions and the split, in order."""
    rows = np.array([one.row for one in found], np.float32).tobytes()
    said = "\n".join(f"{one.distortion} {one.late:d}" for one in found)
    return sha256(rows + said.encode()).hexdigest()


def train(models: Path, key: Ed25519PrivateKey) -> dict[str, float]:
    """Train, check, write below `models`, load what was written as the agent would, and return the figures."""
    found = [sample for seed, parts in RUNS for sample in _run(split(plant.load(), parts), seed)]
    early, late = [one for one in found if not one.late], [one for one in found if one.late]
    rows = np.array([one.row for one in early], np.float32)  # cast before fit: the graph computes in float32
    normal = np.array([not one.distortion for one in early], np.int64)
    model = fit(rows, normal)
    graph = export(model)
    test_rows = np.array([one.row for one in late], np.float32)
    checked = parity_rows(test_rows)
    parity = {"rows": [[float(x) for x in row] for row in checked], "outputs": check_parity(model, graph, checked)}
    told = figures(model.predict_proba(test_rows)[:, 1], late)
    page = card(told, len(graph), model.n_estimators_, len(found), len(late))
    files = {
        "model.onnx": graph,
        "parity.json": json.dumps(parity).encode(),
        "card.md": page.encode(),
        "reference.json": reference(rows, model.predict_proba(rows)).model_dump_json(indent=1).encode() + b"\n",
    }
    trained: dict[str, str | int | float] = {
        "data": "simulators.line, seeds " + ", ".join(f"{seed} (orders split into {parts})" for seed, parts in RUNS),
        "data_sha256": data_sha256(found),
        "rows": len(found),
        "protocol": f"temporal {1 - TEST_SHARE:.0%} / {TEST_SHARE:.0%} of each run",
        "scikit-learn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
    }
    folder = registry.write(models, manifest(graph, rows, normal, trained, told), files, key)
    Model.load(folder, {"trained": key.public_key()}, FEATURES).close()
    registry.name_champion(folder.parent, VERSION)
    return told


def main() -> None:
    """Train into the folder given, or beside this file."""
    models = shipped.destination()
    for name, value in train(models, shipped.key_of_the_bench()).items():
        print(f"{name:32} {value:.4f}")
    print(f"written to {models / HERE.name / VERSION}")


if __name__ == "__main__":
    main()
