"""Totals through OPC UA counters and handshakes are exact: whatever is killed or restarted, SAP has what was made."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.e2e.opcua_ordeal import opcua_ordeal
from tests.e2e.ordeal import Terms
from tests.e2e.rig import ROOT
from tests.e2e.tag_ordeal import written
from tests.e2e.test_sparkplug import assert_exact


async def test_totals_are_exact_through_kills_and_restarts_of_the_server(tmp_path: Path):
    """A small ordeal with a new seed each time: 90 reports, 4 kills of the agent, 2 of the server, faults of both."""
    terms = Terms(seed=int(time.time()), events=90, kills=4, broker_restarts=2, rate=12.0)
    result = await opcua_ordeal(tmp_path, terms)
    print(result.told())
    assert_exact(result)


@pytest.mark.e2e
@pytest.mark.soak
async def test_totals_are_exact_where_messages_are_encrypted_and_a_user_is_asked_for(tmp_path: Path):
    """The small ordeal over Basic256Sha256, signed and encrypted: each kill and each restart needs new keys."""
    terms = Terms(seed=int(time.time()), events=60, kills=3, broker_restarts=2, rate=12.0)
    result = await opcua_ordeal(tmp_path, terms, secured=True)
    print(f"\n{result.told()}")
    assert_exact(result)


@pytest.mark.e2e
@pytest.mark.soak
async def test_the_totals_at_full_size(tmp_path: Path):
    """SEED, EVENTS and KILLS from the environment; the figures go into build/e2e.json under `opcua`."""
    events, kills = int(os.environ.get("EVENTS") or 400), int(os.environ.get("KILLS") or 12)
    seed = int(os.environ.get("SEED") or time.time())
    terms = Terms(seed=seed, events=events, kills=kills, broker_restarts=max(3, kills // 4))
    result = await opcua_ordeal(tmp_path, terms)
    written(ROOT / "build" / "e2e.json", "opcua", result.figures())
    print(f"\n{result.told()}")
    assert_exact(result)
