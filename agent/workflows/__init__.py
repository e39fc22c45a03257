"""What is decided about a report: one file of pure functions per workflow, one line in the table below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# name in the configuration → "module:class"; the module's `Config` holds its options
WORKFLOWS: Final[Mapping[str, str]] = {
    "order_release": "agent.workflows.order_release:OrderRelease",
    "consumption": "agent.workflows.consumption:Consumption",
    "confirmation": "agent.workflows.confirmation:Confirmation",
    "scrap": "agent.workflows.scrap:Scrap",
    "backflush": "agent.workflows.backflush:Backflush",
    "reconciliation": "agent.workflows.reconciliation:Reconciliation",
}
