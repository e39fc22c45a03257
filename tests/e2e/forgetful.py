"""`gatepost` with one remedy taken out: what the counters counted last does not go to disk with the events."""

from __future__ import annotations

from dataclasses import replace

from agent.cli import main
from agent.pipeline import Intake
from agent.ports import Batch

_put = Intake.put


def _forgotten(self: Intake, batch: Batch, timeout: float | None = None) -> bool:
    kept = tuple((key, value) for key, value in batch.checkpoints if not key.endswith("/tags"))
    return _put(self, replace(batch, checkpoints=kept), timeout)


if __name__ == "__main__":
    Intake.put = _forgotten  # type: ignore[method-assign]  # the point of this program
    main()
