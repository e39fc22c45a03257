"""Train the model that says how much of a material a line will use within the next two or three hours.

    python -m models.shortage_forecast.train [folder]

The data are simulated: materials of many sizes, shifts and products. The features are computed by the same pure
function that serves, as shares of the material's own mean, so that one model serves every material. The same seeds give
the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version as package
from pathlib import Path
from typing import Final

import numpy as np

from agent.features.shortage_forecast import FEATURES, QUANTILES
from agent.scoring import modelfiles, onnxfile, registry
from agent.scoring.modelfiles import Input, InputReference, Manifest, Output, Reference
from models import shipped
from models.shortage_forecast.quantiles import OUTPUT, Forecaster, Rows, adapted, fit, joined, naive, pinball, rows
from models.shortage_forecast.simulate import usage
from models.training import graph, parity
from models.training.pipeline import PACKAGES

HERE: Final = Path(__file__).parent
VERSION: Final = "2"
SEEDS: Final = tuple(range(1, 17))  # one series each
WEEKS: Final = 14
HORIZONS: Final = (8, 12)  # slots of a quarter of an hour
EVERY: Final = 7  # slots between forecasts that are learnt from or judged
START: Final = datetime(2026, 1, 5)  # noqa: DTZ001  # a Monday, in the plant's local time
TEST_SHARE: Final = 0.25  # the last part of each series, in time
MOST: Final = 50.0  # times its own mean: no line uses more

TEXTS: Final = {
    "last": "use of the last quarter of an hour",
    "before_last": "use of the quarter before",
    "two_before_last": "use two quarters before",
    "three_before_last": "use three quarters before",
    "hour": "use of the last hour",
    "hour_before": "use of the hour before",
    "horizon": "use over as long as is forecast",
    "quarter_day": "use of the last six hours",
    "day": "use of the last day",
    "day_ahead": "use of the same hours yesterday",
    "week_ahead": "use of the same hours a week ago",
    "two_weeks_ahead": "use of the same hours two weeks ago",
    "week_past": "use of the last hour, a week ago",
    "day_past": "use of the last hour, yesterday",
    "week_next_hour": "use of the next hour, a week ago",
    "week_day": "use of this day, a week ago",
    "share_idle": "share of the last day without use",
    "weekday": "day of the week",
    "ends_weekday": "day of the week at the end",
    "slots": "quarters of an hour that are forecast",
}
RANGES: Final = {  # the others are uses: 0 to MOST times the mean
    "share_idle": (0.0, 1.0),
    "sin_day": (-1.0, 1.0),
    "cos_day": (-1.0, 1.0),
    "weekday": (0.0, 6.0),
    "ends_weekday": (0.0, 6.0),
    "slots": (float(min(HORIZONS)), float(max(HORIZONS))),
}

CARD: Final = """# Will a material run out at its place? (shortage_forecast, version {version})

**What it answers.** Seven quantiles ({quantiles}) of how much of one material will be used at one place within the next
two or three hours, as multiples of what it uses on average in as long a time. `agent.scoring.shortage` makes of them,
of the stock and of the safety stock the probability to run short.
**What it looks at.** The use of the last two weeks in quarters of an hour, the time of day and the day of the week.
**What it is.** Boosted trees of the mean and of seven quantiles of what deviates from it, one graph, {size} bytes of
ONNX, the same answer on every run.

## Trained on simulated line-side use
No real line is in it: {series} simulated materials of {weeks} weeks with shifts, breaks, product changes and
breakdowns. Learnt from the first {trained:.0%} of each, judged on the rest, in time.

| judged on {test} forecasts | |
|---|---|
{table}

A pinball of 1 would be as good as saying that the last hours go on, spread as such a forecast errs.

## Limits
- Quantiles drift with the plant: what is served is moved by adaptive offsets, learnt from each outcome when its hours
  are over, until so many outcomes lie below as should. They start at nothing and need some hundred outcomes.
- With less than two weeks of history the model is not asked: the weekly profile forecasts, after about two days.
- It knows nothing of what is planned. A product change that the schedule knows is a surprise to it.
- Intermittent use (some pieces a day) is no use per quarter of an hour: count it over longer slots.
- Retrain on the plant's own use: how well this does on a real series is shown by `make evaluate`.
"""


def _series(horizon: int) -> tuple[list[Rows], list[Rows]]:
    """Of every series the forecasts that are learnt from, and those that are judged."""
    known, fresh = [], []
    for seed in SEEDS:
        series = usage(seed, WEEKS)
        part, cut = rows(series, START, horizon, EVERY), int(len(series) * (1 - TEST_SHARE))
        known.append(part.of(part.at + horizon <= cut))
        fresh.append(part.of(part.at >= cut))
    return known, fresh


def inputs(table: np.ndarray) -> tuple[Input, ...]:
    """What the manifest says about each feature."""
    found = []
    for at, name in enumerate(FEATURES):
        least, most = RANGES.get(name, (0.0, MOST))
        low, high = (float(value) for value in np.quantile(table[:, at].astype(np.float64), (0.005, 0.995)))
        unit = "" if name in RANGES else "× its mean"
        found.append(Input(name=name, least=least, most=most, low=low, high=high, text=TEXTS.get(name, ""), unit=unit))
    return tuple(found)


def measured(model: Forecaster, parts: Mapping[int, tuple[list[Rows], list[Rows]]]) -> dict[str, float]:
    """What the model says of the last part of each series, by horizon: against the naive forecast, and covered."""
    metrics: dict[str, float] = {}
    for horizon, (learnt, fresh) in parts.items():
        ratios, covered = [], []
        for before, after in zip(learnt, fresh, strict=True):
            said = adapted(model.shares(after.features), after, horizon)
            ratios.append(pinball(said, after.used) / pinball(naive(before, after), after.used))
            covered.append((after.used[:, None] <= said).mean(axis=0))
        hours = f"{horizon / 4:g} h"
        metrics[f"pinball over naive, {hours}"] = round(float(np.mean(ratios)), 4)
        for quantile in (0.9, 0.95):
            share = float(np.mean(covered, axis=0)[QUANTILES.index(quantile)])
            metrics[f"{quantile:.0%} covered, {hours}"] = round(share, 4)
    return metrics


def main() -> None:
    """Train into the folder given, or beside this file's folder."""
    parts = {horizon: _series(horizon) for horizon in HORIZONS}
    known = joined([one for learnt, _ in parts.values() for one in learnt])
    model = fit(known)
    told_inputs = inputs(known.features)
    data = model.graph({"name": HERE.name, "version": VERSION, "features": ",".join(FEATURES)})
    cases = parity.rows(known.features, told_inputs)
    answer = parity.gate(data, cases, model.shares(cases), OUTPUT)
    metrics = measured(model, parts)
    judged = sum(len(one.used) for _, fresh in parts.values() for one in fresh)
    card = CARD.format(
        version=VERSION,
        quantiles=", ".join(f"{one:g}" for one in QUANTILES),
        size=len(data),
        series=len(SEEDS),
        weeks=WEEKS,
        trained=1 - TEST_SHARE,
        test=judged,
        table="\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items()),
    )
    deciles = np.quantile(known.features.astype(np.float64), np.arange(1, 10) / 10, axis=0).T
    reference = Reference(
        rows=len(known.used),
        inputs={name: InputReference(deciles=tuple(one.tolist())) for name, one in zip(FEATURES, deciles, strict=True)},
        mean=tuple(float(one) for one in answer.mean(axis=0)),
    )
    manifest = Manifest(
        name=HERE.name,
        version=VERSION,
        kind="quantiles",
        files=dict.fromkeys(modelfiles.FILES, "0" * 64),  # filled in when they are written
        input=graph.INPUT,
        features=told_inputs,
        output=Output(name=OUTPUT, columns=len(QUANTILES)),
        quantiles=QUANTILES,
        opsets=onnxfile.read(data).opsets,
        trained={
            "data": f"simulated line-side use, {len(SEEDS)} materials of {WEEKS} weeks",
            "data_sha256": sha256(known.features.tobytes() + known.used.tobytes()).hexdigest(),
            "rows": len(known.used),
            "protocol": f"temporal, the last {TEST_SHARE:.0%} of each series",
            **{name: package(name) for name in PACKAGES},
        },
        metrics=metrics,
    )
    files = {
        "model.onnx": data,
        "parity.json": parity.cases(cases, answer),
        "card.md": card.encode(),
        "reference.json": reference.model_dump_json().encode(),
    }
    folder = registry.write(shipped.destination(), manifest, files, shipped.key_of_the_bench())
    registry.name_champion(folder.parent, VERSION)
    for name, value in metrics.items():
        print(f"{name:32} {value:.4f}")
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
