"""Shortage forecast on a real series: energy of a steel works in quarters of an hour, a stand-in for line-side use.

Learnt from the first three quarters of what is there, judged on the last; quantiles are adapted while it goes on, each
outcome when its hours are over. Without the data: simulated line-side use. Beside it the shipped version on simulated
materials that it has not seen. Of both: where it says that so many of a hundred stocks run short, how many did?
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from agent.features.shortage_forecast import FEATURES, QUANTILES
from agent.scoring import registry
from agent.scoring.inference import Model
from agent.scoring.shortage import exceeds
from models.evaluation.figures import Figure, dataset
from models.shortage_forecast.quantiles import Rows, Values, adapted, fit, joined, naive, pinball, rows
from models.shortage_forecast.simulate import usage

HORIZONS: Final = {"2 h": 8, "3 h": 12}
LEARNT: Final = 0.75
RUNNING_SHORT: Final = 0.87  # the use of so many of the rows learnt from is in stock: 13 % would run short
BLOCKS: Final = 5  # of the judged part, for the spread
UNSEEN: Final = range(101, 117)  # seeds of materials that no version has learnt from
WEEKS: Final = 6  # of each: two are history
STOCKS: Final = (1 / 3, 2.5)  # times the mean use of the hours: what may lie there
EACH: Final = 4  # stocks by forecast
START: Final = datetime(2026, 1, 5)  # noqa: DTZ001  # a Monday, in the plant's local time
BANDS: Final = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
ENOUGH: Final = 300  # forecasts in a band: fewer are no evidence
HOUSE: Final = Path(__file__).parents[2]


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Pinball against naive, coverage, and how well a shortage is seen, for each horizon."""
    place = dataset(data, "steel_industry_energy")
    if place:
        series, start, name = *energy(place), "UCI Steel Industry Energy Consumption (DAEWOO, 2018)"
    else:
        series, start, name = usage(1, 30), START, "simulated line-side use"
    parts = {words: rows(series, start, slots) for words, slots in HORIZONS.items()}
    cut = int(len(series) * LEARNT)
    model = fit(joined([part.of(part.at + HORIZONS[words] <= cut) for words, part in parts.items()]))
    found = []
    goal = 0.5 if place else None  # simulated use changes its product by chance: nobody can foresee that
    for words, part in parts.items():
        known, fresh = part.of(part.at + HORIZONS[words] <= cut), part.of(part.at >= cut)
        protocol = f"{name}, {len(series)} slots, first {LEARNT:.0%} learnt, {len(fresh.used)} forecasts on the rest"
        said = model.shares(fresh.features)
        told = adapted(said, fresh, HORIZONS[words])
        found += _figures(words, known, fresh, said, told, protocol, goal)
        found += _of_bands(f"shortage {words}", [(told / fresh.unit[:, None], fresh.used / fresh.unit)], protocol)
    for words, slots in HORIZONS.items():
        protocol = f"shipped version, {len(UNSEEN)} unseen simulated materials of {WEEKS} weeks"
        found += _of_bands(f"shortage {words}, simulated", [shipped(seed, slots) for seed in UNSEEN], protocol, 0.05)
    return found


class Band(NamedTuple):
    """Forecasts with a chance from `least` on to `most`: how many, what they said on average, what came."""

    least: float
    most: float
    stocks: int
    said: float
    came: float


def shipped(seed: int, slots: int, every: int = 1) -> tuple[Values, Values]:
    """What the shipped version would have said of an unseen material, and what was used: shares of the unit."""
    part = rows(usage(seed, WEEKS), START, slots, every)
    folder = registry.champion(HOUSE / "models" / "shortage_forecast")
    with closing(Model.load(folder, registry.trusted(HOUSE / "edge_config/trust/models"), FEATURES)) as model:
        told = np.concatenate([model.run(some) for some in np.array_split(part.features, len(part.used) // 256 + 1)])
    return adapted(told.astype(np.float64), part, slots) / part.unit[:, None], part.used / part.unit


def bands(parts: Sequence[tuple[Values, Values]]) -> list[Band]:
    """By what was said: of stocks that are drawn evenly within STOCKS, how many ran short."""
    random = np.random.default_rng(1)
    chances, came = [], []
    for told, used in parts:
        for row, outcome in zip(told.tolist(), used, strict=True):
            stocks = random.uniform(*STOCKS, EACH)
            chances += [exceeds(QUANTILES, row, stock) for stock in stocks]
            came += (outcome > stocks).tolist()
    chance, short = np.array(chances), np.array(came)
    found = []
    for least, most in pairwise(BANDS):
        within = (chance >= least) & ((chance < most) | (most == 1))
        if within.any():
            said, happened = float(chance[within].mean()), float(short[within].mean())
            found.append(Band(least, most, int(within.sum()), said, happened))
    return found


def _of_bands(
    name: str, parts: Sequence[tuple[Values, Values]], protocol: str, goal: float | None = None
) -> list[Figure]:
    """What came in each band; and by how much the worst with enough forecasts is off."""
    found = bands(parts)
    figures = [
        Figure(
            f"{name}: ran short where {one.least:.0%} to {one.most:.0%} is said", one.came,
            protocol=f"said {one.said:.3f} on average, {one.stocks} stocks; {protocol}",
        )
        for one in found
    ]  # fmt: skip
    worst = max(abs(one.came - one.said) for one in found if one.stocks >= ENOUGH)
    return [*figures, Figure(f"{name}: worst band, off by", worst, goal, at_least=False, protocol=protocol)]


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
