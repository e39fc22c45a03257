"""Exactly once: whatever is killed or restarted, SAP's own books hold every report once, in order."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.e2e.ordeal import LATEST_COMMIT_S, Outcome, Terms, ordeal
from tests.e2e.rig import ROOT


def assert_exactly_once(outcome: Outcome) -> None:
    """0 lost, 0 doubled, in order, both balances, the chain, and no alarm; the premise of it all first."""
    told = outcome.told() + "\n" + "\n".join(outcome.acts)
    assert outcome.latest_commit_s < outcome.terms.settle_s, (
        f"the simulated SAP was slower than the settle wait: {told}"
    )
    assert (outcome.lost, outcome.doubled, outcome.out_of_order) == ([], {}, []), told
    assert not outcome.doubled_keys, told
    assert outcome.states == {"acknowledged": outcome.terms.events}, told
    assert outcome.differences == [0, 0, 0, 0], told
    assert outcome.chain_broken_at is None, told
    assert outcome.alarms == [], told
    assert outcome.exit_code == 0, told


async def test_nothing_is_lost_or_doubled_with_kills_restarts_and_faults(tmp_path: Path):
    """A small ordeal with a new seed each time: 120 reports, 4 kills, 1 broker restart, faults on."""
    terms = Terms(seed=int(time.time()), events=120, kills=4, broker_restarts=1, rate=30.0)
    outcome = await ordeal(tmp_path, terms)
    print(outcome.told())
    assert_exactly_once(outcome)


@pytest.mark.e2e
@pytest.mark.soak
async def test_the_promise_at_full_size(tmp_path: Path):
    """SEED, EVENTS and KILLS from the environment; the figures go to build/e2e.json, whatever they are."""
    events, kills = int(os.environ.get("EVENTS") or 400), int(os.environ.get("KILLS") or 12)
    seed = int(os.environ.get("SEED") or time.time())
    outcome = await ordeal(tmp_path, Terms(seed=seed, events=events, kills=kills, broker_restarts=max(3, kills // 4)))
    path = ROOT / "build" / "e2e.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(outcome.figures(), indent=2) + "\n", encoding="utf-8")
    print(f"\n{outcome.told()}")
    assert_exactly_once(outcome)


LATE = {"fault": "late_commit", "probability": 0.3, "method": "POST", "seconds": LATEST_COMMIT_S}


@pytest.mark.soak
async def test_without_the_settle_wait_it_is_doubled(tmp_path: Path):
    """The wait before the lookup is what keeps late commits from being booked twice: without it they are."""
    outcome = await ordeal(tmp_path, Terms(events=120, kills=2, broker_restarts=0, settle_s=0.05, faults=(LATE,)))
    print(f"\n{outcome.told()}")
    assert outcome.doubled
    assert outcome.doubled_keys


@pytest.mark.soak
async def test_with_early_acknowledgements_it_is_lost(tmp_path: Path):
    """The acknowledgement after the commit is what the broker's redelivery rests on: given before, reports are lost."""
    program = ("-m", "tests.e2e.early_ack", "run")
    terms = Terms(events=3000, kills=6, broker_restarts=0, rate=1500, faults=(), moments=("arrivals",), program=program)
    outcome = await ordeal(tmp_path, terms)
    print(f"\n{outcome.told()}")
    assert outcome.lost
    assert any(alarm.startswith("decided") and "first_missing" in alarm for alarm in outcome.alarms)
