"""Groups of every kind of posting under `kill -9` and SAP's faults: each effect once, none half sent unseen."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.groups_ordeal import FAULTS, SETTLE_S, Outcome, ordeal
from tests.e2e.ordeal import Terms

HASTE: dict[str, Any] = {"moments": ("time", "arrivals", "documents"), "faults": FAULTS, "settle_s": SETTLE_S}


def assert_whole_or_seen(outcome: Outcome) -> None:
    """Each effect is in SAP's books once and in its order; what broke was shown, ended and taken back by a person."""
    told = outcome.told()
    expected = Counter(effect for one in outcome.asked for effect in one.effects)
    broken = [one for one in outcome.asked if one.plan.startswith("broken")]
    expected.update(("552", one.id) for one in broken)  # by `gatepost reverse`, and nothing else takes anything back
    assert Counter(outcome.done) == expected, told
    place = {effect: number for number, effect in enumerate(outcome.done)}
    for one in outcome.asked:
        places = [place[effect] for effect in one.effects]
        assert places == sorted(places), f"{one.id}: {places}; {told}"
    assert outcome.doubled_keys == {}, told
    whole = [one for one in outcome.asked if one.plan == "scrap"]
    assert outcome.blocked == {"RM-RESIN/171A": f"{len(whole)}.000"}, told
    assert [one["state"] for one in outcome.seen] == ["dead"] * len(broken), told
    for dead in outcome.seen:
        states = [member["state"] for member in dead["group"]["postings"]]
        assert states == ["acknowledged", "dead", "held"], told
    acknowledged = sum(len(one.effects) for one in outcome.asked) + len(broken)
    assert outcome.states == {"acknowledged": acknowledged, "refused": 2 * len(broken)}, told
    assert outcome.alarms == ["dead"] * len(broken), told
    assert outcome.chain_broken_at is None, told


async def test_groups_are_whole_or_seen_with_kills_and_faults(tmp_path: Path):
    """A small ordeal with a new seed each time: 7 groups, one of them broken, 3 kills, faults on."""
    seed = int(time.time())
    terms = Terms(seed, events=6, kills=2, broker_restarts=0, rate=8.0, **HASTE)
    outcome = await ordeal(tmp_path, terms, broken=1)
    print(f"seed {seed}: {outcome.told()}")
    assert_whole_or_seen(outcome)


@pytest.mark.e2e
@pytest.mark.soak
async def test_groups_at_full_size(tmp_path: Path):
    """SEED and KILLS from the environment; 30 groups, three of them broken."""
    kills, seed = int(os.environ.get("KILLS") or 12), int(os.environ.get("SEED") or time.time())
    terms = Terms(seed, events=27, kills=kills, broker_restarts=2, rate=4.0, **HASTE)
    outcome = await ordeal(tmp_path, terms, broken=3)
    print(f"\nseed {seed}: {outcome.told()}")
    assert_whole_or_seen(outcome)
