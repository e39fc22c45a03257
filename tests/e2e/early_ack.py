"""`gatepost` with one remedy taken out: a batch is acknowledged before it is on disk, as clients do by themselves."""

from __future__ import annotations

from dataclasses import replace

from agent.cli import main
from agent.pipeline import Intake
from agent.ports import Batch

_put = Intake.put


def _acknowledged_first(self: Intake, batch: Batch, timeout: float | None = None) -> bool:
    batch.stored()
    return _put(self, replace(batch, stored=lambda: None), timeout)


if __name__ == "__main__":
    Intake.put = _acknowledged_first  # type: ignore[method-assign]  # the point of this program
    main()
