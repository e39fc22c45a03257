"""SAP books after the agent was killed or had given up: the document is found, never made a second time."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.e2e.rig import Rig, rig, until
from tests.e2e.test_outages import all_booked, everything_started, postings, sent, some

SETTLE_S = 1.5
TARGET: dict[str, Any] = {"settle_s": SETTLE_S, "lookup_reliable": True, "connect_s": 0.4, "total_s": 1.0}


def looked_in_vain(plant: Rig) -> int:
    return plant.count("SELECT count(*) FROM audit WHERE action = 'looked_in_vain'")


async def test_killed_while_sap_is_asked_the_document_is_found(tmp_path: Path):
    """Row 3: killed between the request and its booking; the next life waits the settle time, looks, and finds it."""
    (one,) = few = some(1)
    slow = {"fault": "commit_after_timeout", "count": 1, "method": "POST", "seconds": SETTLE_S / 2}
    target = {**TARGET, "total_s": 30.0}
    async with rig(tmp_path, faults=[slow], **target) as plant:
        await everything_started(plant)
        await sent(plant, few)
        await until(lambda: plant.sap.show("faults")[0]["hits"] == 1, "SAP has the request")
        assert plant.states() == {"sending": 1}, "on disk before the first byte left"
        await plant.agent.end(signal.SIGKILL)
        await plant.agent.start()
        await all_booked(plant, few)
        assert plant.count("SELECT count(*) FROM audit WHERE action = 'sending'") == 1, one.id
        assert looked_in_vain(plant) == 0
        waited = plant.count("SELECT detail ->> 'look_not_before_us' - at_us FROM audit WHERE action = 'in_doubt'")
        assert waited == SETTLE_S * 1e6


async def test_a_booking_later_than_the_settle_time_is_found_by_the_second_look(tmp_path: Path):
    """Row 53: one empty look is no proof even where lookups are reliable; the second finds what came late."""
    few = some(1)
    late = {"fault": "late_commit", "count": 1, "method": "POST", "seconds": SETTLE_S * 1.5}
    async with rig(tmp_path, faults=[late], **TARGET) as plant:
        await everything_started(plant)
        await sent(plant, few)
        await all_booked(plant, few)
        assert looked_in_vain(plant) == 1
        assert plant.count("SELECT count(*) FROM audit WHERE action = 'sending'") == 1
        assert {one.attempts for one in postings(plant, "acknowledged")} == {1}
