"""Totals through Sparkplug counters are exact: whatever is killed, restarted or lost, SAP has what was made."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.e2e.ordeal import Terms
from tests.e2e.rig import ROOT
from tests.e2e.tag_ordeal import Result, tag_ordeal, written

MODULE = "simulators.sparkplug"
FAULTS = (
    "lost=0.04,swapped=0.03,duplicated=0.03,aliases=0.01,unknown_alias=0.01,wrong_bdseq=0.01,stale=0.01,vanish=0.01"
)
OPTIONS = ("--broker", "{broker}", "--handshake", "--heartbeat", "0.2", "--faults", FAULTS)


def assert_exact(result: Result) -> None:
    """Every total at SAP is the simulated one, nothing doubled, nothing left over."""
    told = result.told()
    assert result.differences == [], told
    assert not result.doubled_keys, told
    assert result.states.keys() == {"acknowledged"}, told
    assert result.orders >= 3, told
    assert result.chain_broken_at is None, told
    assert result.exit_code == 0, told


async def test_totals_are_exact_through_kills_restarts_and_lost_messages(tmp_path: Path):
    """A small ordeal with a new seed each time: 60 reports, 3 kills, 1 broker restart, faults of node and SAP on."""
    terms = Terms(seed=int(time.time()), events=60, kills=3, broker_restarts=1, rate=20.0)
    result = await tag_ordeal(tmp_path, "sparkplug", terms, MODULE, OPTIONS)
    print(result.told())
    assert_exact(result)


@pytest.mark.e2e
@pytest.mark.soak
async def test_the_totals_at_full_size(tmp_path: Path):
    """SEED, EVENTS and KILLS from the environment; the figures go into build/e2e.json under `sparkplug`."""
    events, kills = int(os.environ.get("EVENTS") or 400), int(os.environ.get("KILLS") or 12)
    seed = int(os.environ.get("SEED") or time.time())
    terms = Terms(seed=seed, events=events, kills=kills, broker_restarts=max(3, kills // 4))
    result = await tag_ordeal(tmp_path, "sparkplug", terms, MODULE, OPTIONS)
    written(ROOT / "build" / "e2e.json", "sparkplug", result.figures())
    print(f"\n{result.told()}")
    assert_exact(result)


@pytest.mark.soak
async def test_without_the_counters_on_disk_totals_are_wrong(tmp_path: Path):
    """What was counted last commits with the event: where it does not, a kill loses or doubles quantities."""
    program = ("-m", "tests.e2e.forgetful", "run")
    terms = Terms(events=90, kills=4, broker_restarts=0, rate=20.0, faults=(), moments=("arrivals",), program=program)
    result = await tag_ordeal(tmp_path, "sparkplug", terms, MODULE, OPTIONS)
    print(f"\n{result.told()}")
    assert result.differences
