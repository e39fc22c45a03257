"""Versions of the model of shortages, held against what the plant used: on a real store, by the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.features.shortage_forecast import DAY, HISTORY, QUANTILES, features
from agent.oversight import past_use
from agent.scoring import registry
from agent.shortages.outlook import HORIZONS, begin_of
from agent.shortages.used import Place, Seen
from models.shortage_forecast.simulate import usage
from tests import stores
from tests.command_line import Ran, folder, gatepost_
from tests.trained import forecasts_moved, trust

NAME = "shortage_forecast"
BERLIN = ZoneInfo("Europe/Berlin")
SERIES = usage(3, 4)
DAYS = 23  # nine more than a forecast needs
MATERIALS = "material,base_unit\nRM-RESIN,KGM\n"
UNIT = "RM-RESIN", "171A"


def plant(place: Path, told: Sequence[float]) -> Path:
    """A plant that used this of resin up to now, with the shipped version."""
    forecasts_moved(place / "models", "1", 0.0)
    registry.name_champion(place / "models" / NAME, "1")
    trust(place / "keys")
    (place / "masterdata").mkdir()
    (place / "masterdata/materials.csv").write_text(MATERIALS)
    config = folder(place, "models: models\nmodel_keys: keys\nmasterdata: masterdata\nshortages: {}\n")
    now = datetime.now(UTC)
    payload = {"material": UNIT[0], "storage_location": UNIT[1], "unit": "KGM"}
    quarter = timedelta(minutes=15)
    issues = [
        (now - (len(told) - at) * quarter, {**payload, "quantity": f"{one}"}) for at, one in enumerate(told) if one
    ]
    with stores.opened(place / "data/gatepost.db", stores.Clock(now)) as writer:
        stores.booked(writer, issues)
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = plant(tmp_path_factory.mktemp("plant"), SERIES[: DAYS * DAY])
    forecasts_moved(file.parent / "models", "2", 0.5)
    forecasts_moved(file.parent / "models", "3", -0.2)
    soon = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    forecasts_moved(file.parent / "models", "4", 0.5, trained={"data": "this plant", "to": soon})
    return file


def models(config: Path, *words: str) -> Ran:
    return gatepost_(config, "models", *words)


def test_versions_are_compared_on_what_was_used(config: Path):
    """The forecasts of nine days are made again: who says too much by a constant loses, who is the same is as good."""
    ran = models(config, "compare", NAME, "1", "2")
    assert ran.code == 0, ran.out
    assert "1 place on " in ran.out
    assert "RM-RESIN at 171A" in ran.out
    assert "its pinball loss is worse beyond chance" in " ".join(ran.out.split())
    found = json.loads(models(config, "compare", NAME, "2", "1", "--json").out)
    assert (found["passes"], found["against"], found["places"]) == (True, [], 1)
    assert found["days"] in {9, 10}
    begun = next(at for at, one in enumerate(SERIES) if one)
    judged = 2 * len(range(begun + HISTORY, DAYS * DAY - max(HORIZONS) + 1, past_use.EVERY))
    assert 0 <= found["forecasts"] - judged <= 2  # a quarter of an hour may have ended meanwhile
    assert found["judged"]["pinball"]["high"] < 0
    same = json.loads(models(config, "compare", NAME, "1", "1", "--json").out)["judged"]["pinball"]
    assert (same["champion"] - same["challenger"], same["low"], same["high"]) == (0, 0, 0)


def test_a_version_that_is_no_better_is_not_promoted(config: Path):
    """Unless a person says so with a reason, which stays on record; then the better one may come back by itself."""
    act = ("--reason", "looked at it", "--by", "anna")
    ran = models(config, "promote", NAME, "2", *act)
    assert (ran.code, "has not shown here that it is better" in ran.out) == (1, True), ran.out
    assert models(config, "promote", NAME, "2", *act, "--anyway").code == 0
    assert models(config, "promote", NAME, "1", *act).code == 0
    assert registry.aliases(config.parent / "models" / NAME).champion == "1"


def test_what_one_has_learnt_from_does_not_count(config: Path):
    """A version of three days ago has three days to be judged by, which is no evidence."""
    found = json.loads(models(config, "compare", NAME, "4", "1", "--json").out)
    assert found["judged"] is None
    assert found["days"] in {3, 4}
    assert found["seen"] in {6, 7}
    assert "fewer than 7 are no evidence" in found["against"][0]


# ── what is made again ──────────────────────────────────────────────────────────────────────────────────────

UNTIL = 2_000_000


def rows(told: Sequence[float]) -> list[past_use.Row]:
    return past_use.rows([Seen(Place(*UNIT), "KGM", told, None, 0.0)], UNTIL, BERLIN)


def test_a_forecast_is_made_of_what_was_known_before_it():
    """As the agent would have: of the two weeks before, at the plant's time; what came later changes no row."""
    made = rows(SERIES[: 3 * 7 * DAY])
    first = UNTIL - 3 * 7 * DAY
    for one in made:
        at = one.slot - first
        slots = int(one.features[-1])
        assert one.features == features(SERIES[at - HISTORY : at], slots, begin_of(one.slot).astimezone(BERLIN))
        mean = sum(SERIES[at - HISTORY : at]) / HISTORY
        assert one.used == pytest.approx(sum(SERIES[at : at + slots]) / slots / mean)
    assert [int(one.features[-1]) for one in made[:2]] == list(HORIZONS)
    late = [one for one in made if one.slot > UNTIL - DAY]
    other = [value if at < 20 * DAY else value * 7 + 1 for at, value in enumerate(SERIES[: 3 * 7 * DAY])]
    assert [one.features for one in rows(other)[: -len(late)]] == [one.features for one in made[: -len(late)]]
    assert max(one.slot for one in made) + max(HORIZONS) <= UNTIL


def test_what_is_used_too_seldom_or_too_short_is_not_forecast():
    """As little as by the agent: fewer than 24 quarters of an hour in the two weeks before, or no two weeks."""
    assert rows([1.0] * 20 + [0.0] * (HISTORY + DAY) + [1.0] * 20) == []
    assert rows([1.0] * (HISTORY + 11)) == []
    assert len(rows([1.0] * (HISTORY + 12))) == 2


def test_many_places_get_fewer_forecasts_each():
    """So that it takes no longer, and still at every time of the day."""
    many = [Seen(Place(f"M{at}", ""), "KGM", [1.0] * (HISTORY + 28 * DAY), None, 0.0) for at in range(10)]
    made = past_use.rows(many, UNTIL, UTC)
    assert len(made) <= past_use.MOST + len(many) * 2
    assert len({one.slot % DAY for one in made if one.place == "M3"}) == DAY


def test_only_a_model_of_shortages_is_compared_by_use(config: Path):
    """Another row or other quantiles cannot be made of what was used: it is said which version it is."""
    forecasts_moved(config.parent / "models", "5", 0.0, quantiles=[0.04, *QUANTILES[1:]])
    ran = models(config, "compare", NAME, "1", "5")
    assert (ran.code, "shortage_forecast/5 does not take and tell what forecasts" in ran.out) == (1, True), ran.out


def test_a_challenger_that_forecasts_is_named_and_no_shadow_is_claimed(config: Path):
    """The command says where the comparison comes from; taken away it is named no more."""
    said = " ".join(models(config, "challenge", NAME, "2", "--reason", "trained on October").out.split())
    assert f"asked: {NAME}/2 as challenger (by " in said
    assert f"no shadow is needed: `gatepost models compare {NAME}`" in said
    said = models(config, "challenge", NAME, "--none", "--reason", "no better").out
    assert f"asked: no challenger of {NAME} any more" in said
