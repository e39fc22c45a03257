"""Shortage forecast on a real series: energy of a steel works in quarters of an hour, a stand-in for line-side use.

Learnt from the first three quarters of what is there, judged on the last; quantiles are adapted while it goes on, each
outcome when its hours are over. Without the data: simulated line-side use.
"""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.metrics import roc_auc_score

from agent.features.shortage_forecast import QUANTILES
from agent.scoring.shortage import exceeds
from models.evaluation.figures import Figure, dataset
from models.shortage_forecast.quantiles import Rows, Values, adapted, fit, joined, naive, pinball, rows
from models.shortage_forecast.simulate import usage

HORIZONS: Final = {"2 h": 8, "3 h": 12}
LEARNT: Final = 0.75
RUNNING_SHORT: Final = 0.87  # the use of so many of the rows learnt from is in stock: 13 % would run short
BLOCKS: Final = 5  # of the judged part, for the spread


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Pinball against naive, coverage, and how well a shortage is seen, for each horizon."""
    place = dataset(data, "steel_industry_energy")
    if place:
        series, start, name = *energy(place), "UCI Steel Industry Energy Consumption (DAEWOO, 2018)"
    else:
        series, start, name = usage(1, 30), datetime(2026, 1, 5), "simulated line-side use"  # noqa: DTZ001  # local
    parts = {words: rows(series, start, slots) for words, slots in HORIZONS.items()}
    cut = int(len(series) * LEARNT)
    model = fit(joined([part.of(part.at + HORIZONS[words] <= cut) for words, part in parts.items()]))
    found = []
    goal = 0.5 if place else None  # simulated use changes its product by chance: nobody can foresee that
    for words, part in parts.items():
        known, fresh = part.of(part.at + HORIZONS[words] <= cut), part.of(part.at >= cut)
        protocol = f"{name}, {len(series)} slots, first {LEARNT:.0%} learnt, {len(fresh.used)} forecasts on the rest"
        said = model.shares(fresh.features)
        found += _figures(words, known, fresh, said, adapted(said, fresh, HORIZONS[words]), protocol, goal)
    return found


def energy(place: Path) -> tuple[list[float], datetime]:
    """The series of the folder's files, which follow each other in time; the first slot's local time."""
    table = [row for path in sorted(place.glob("*.csv")) for row in _lines(path)]
    days: dict[str, list[float]] = {}
    for row in table:
        day, month, year = row["date"][:10].split("/")
        days.setdefault(f"{year}-{month}-{day}", []).append(float(row["Usage_kWh"]))
    start = datetime.fromisoformat(min(days))  # the day's last slot is written 00:00 of the same day
    return [value for _, values in sorted(days.items()) for value in values], start


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _figures(
    words: str, known: Rows, fresh: Rows, raw: Values, said: Values, protocol: str, goal: float | None
) -> list[Figure]:
    usual = naive(known, fresh)
    blocks = np.array_split(np.arange(len(fresh.used)), BLOCKS)
    ratios = [pinball(said[one], fresh.used[one]) / pinball(usual[one], fresh.used[one]) for one in blocks]
    goal = goal if words == "2 h" else None
    spread = float(np.std(ratios, ddof=1))
    ratio = pinball(said, fresh.used) / pinball(usual, fresh.used)
    found = [
        Figure(f"shortage {words}: pinball over naive", ratio, goal, at_least=False, spread=spread, protocol=protocol),
        Figure(f"shortage {words}: pinball", pinball(said, fresh.used), protocol=protocol),
    ]
    for quantile in (0.9, 0.95):
        column = QUANTILES.index(quantile)
        below = fresh.used <= said[:, column]
        spread = float(np.std([below[one].mean() for one in blocks], ddof=1))
        off, share = abs(float(below.mean()) - quantile), f"shortage {words}: {quantile:.0%} covered"
        found += [
            Figure(share, float(below.mean()), spread=spread, protocol=protocol),
            Figure(f"{share}, off by", off, 0.01, at_least=False, spread=spread, protocol=protocol),
            Figure(
                f"{share}, not adapted",
                float((fresh.used <= raw[:, column] * fresh.unit).mean()),
                protocol=protocol,
            ),
        ]
    limit = float(np.quantile(known.used, RUNNING_SHORT))
    chance = [exceeds(QUANTILES, row, limit) for row in said.tolist()]
    short = fresh.used > limit
    words = f"usage above {limit:.0f}, {short.mean():.1%} of the forecasts; {protocol}"
    return [
        *found,
        Figure(
            f"{found[0].name.split(':')[0]}: AUC of running short", float(roc_auc_score(short, chance)), protocol=words
        ),
    ]
