"""More than the ERP can take, for long: memory stays where it was, nothing is dropped, and relief needs no restart."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rig import Rig, rig, until
from tests.e2e.test_outages import everything_started, sent, some

MOST_MB = 200.0
TARGET: dict[str, Any] = {"settle_s": 1.0, "lookup_reliable": True, "connect_s": 0.4, "total_s": 5.0, "concurrency": 8}


def memory_mb(plant: Rig, which: str = "VmHWM") -> float:
    """The memory of the agent: VmHWM is the most it ever had, VmRSS what it has now."""
    process = plant.agent._process
    assert process is not None
    found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) / 1024


def undecided(plant: Rig) -> int:
    return plant.count("SELECT count(*) FROM event WHERE state = 'undecided'")


async def test_a_backlog_is_decided_in_slices(tmp_path: Path):
    """F23, F24: 8 000 reports wait for SAP's orders; decided at once when it comes, in the memory of a few of them."""
    many = some(8000)
    async with rig(tmp_path, **TARGET) as plant:
        await plant.broker.start()
        await plant.agent.start()
        await until(lambda: plant.agent.said("source line connected"), "the agent is connected")
        await sent(plant, many)
        await until(lambda: plant.arrived() == len(many), "all is on disk", 120)
        before = memory_mb(plant)
        await plant.sap.start()
        await until(lambda: not undecided(plant), "all is decided", 300)
        assert sum(plant.states().values()) == len(many)
        assert memory_mb(plant) < MOST_MB
        assert memory_mb(plant) - before < 40, "the backlog was read as a whole"
        booked = len(plant.sap.booked())
        await until(lambda: len(plant.sap.booked()) > booked, "postings go on")


@pytest.mark.soak
async def test_twice_of_what_the_erp_takes_for_long(tmp_path: Path):
    """F23: SOAK_MINUTES (20; F23 says 60) at twice the speed of SAP: memory flat and bounded, all of it is on disk."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 20)
    slow = {"fault": "slow", "seconds": 0.1, "method": "POST"}  # eight at a time: less than 80 documents a second
    async with rig(tmp_path, faults=[slow], **TARGET) as plant:
        await everything_started(plant)
        sender = plant.send((one.message for one in some(int(160 * 60 * minutes))), rate=160)
        measured: list[float] = []
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            await asyncio.sleep(60 * minutes / 30)  # one of thirty looks, not a wait
            measured.append(memory_mb(plant, "VmRSS"))
            print(f"{measured[-1]:.1f} MB, {plant.arrived()} arrived, {len(plant.sap.booked())} booked", flush=True)
        sender.allowed = 0
        await until(lambda: plant.arrived() == sender.sent, "what was sent is on disk")
        await until(lambda: not undecided(plant), "all is decided")
        assert plant.states()["acknowledged"] < 0.8 * plant.arrived(), "SAP kept up: this was no overload"
        assert memory_mb(plant) < MOST_MB, measured
        assert max(measured[-10:]) - max(measured[5:15]) < 15, measured
        plant.sap.change("faults", [])
        booked = len(plant.sap.booked())
        await until(lambda: len(plant.sap.booked()) > booked + 1000, "relief: postings flow faster, without a restart")
