"""An agent that stands still for longer than its broker waits, as a machine does while it is copied or moved."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import yaml

from tests.e2e.rig import rig, until
from tests.e2e.test_outages import SETTLE, all_booked, everything_started, sent, some


async def test_frozen_for_longer_than_the_keep_alive(tmp_path: Path):
    """Row 10: the broker has hung up meanwhile; thawed, the agent connects again, and all is booked once, in order."""
    few = some(60)
    async with rig(tmp_path, **SETTLE) as plant:
        path = tmp_path / "agent.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["sources"][0]["keep_alive_s"] = 2
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        await everything_started(plant)
        await sent(plant, few[:20])
        process = plant.agent._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        await sent(plant, few[20:])
        await until(lambda: "exceeded timeout" in plant.broker.log.read_text(), "the broker has hung up")
        os.kill(process.pid, signal.SIGCONT)
        await all_booked(plant, few)
        alarms = plant.read(lambda db: [row[0] for row in db.execute("SELECT action FROM audit WHERE alarm")])
        assert alarms == []
        assert await plant.end_agent() == 0
