"""When an order that was decided is put before its workflow again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agent import watching
from agent.authority import Rule
from agent.ports import Batch
from agent.rules import OWN, Assignment, Door
from agent.settings import LiveKind
from agent.watching import Watching
from tests.unit.test_judge import Narrow, rules_of
from tests.unit.test_workflow_order_release import AT, FLOW, RUNS, facts_of, report, scored


class Put:
    """Where what is put before the workflow ends."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        self.batches.append(batch)
        return True

    def checkpoint(self, key: str) -> bytes | None:
        return None


@pytest.mark.parametrize(("live", "looks"), [(RUNS, 0), (RUNS | {(LiveKind.OEE, "ASSY-05"): 1}, 1)])
def test_what_depends_on_an_oee_is_looked_at_again_from_time_to_time(monkeypatch, live: Any, looks: int):
    """An order at nothing's risk is decided once; where a tag tells an OEE, every quarter of an hour, for the trend."""
    facts = facts_of(live=live)
    _, (state, _) = FLOW.propose(report(), facts, scored(0.9), [{}, {}])
    rules = replace(
        rules_of(), facts=facts, assignments={"order_release": Assignment(FLOW, {OWN: Door(Narrow(), {})}, Rule())}
    )
    one = Watching(lambda: rules, lambda: facts.live, lambda _: {"order_release/1000200": state}, lambda: AT)
    put = Put()
    assert asyncio.run(one.once(put)) == 0
    monkeypatch.setattr(watching, "ANYWAY_S", -1.0)
    monkeypatch.setattr(watching, "AGAIN_S", -1.0)
    assert asyncio.run(one.once(put)) == looks == len(put.batches)
