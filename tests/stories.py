"""One posting from the report to the books, whoever decides about it: what every door's story has in common."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from simulators.line.misbehaviour import DISTORTIONS
from tests.api_bench import HOUSE, Bench, until

SEEN_S: Final = 5.0  # from the report's publication until every open session shows it: what an operator is promised
SCORED: Final[dict[str, Any]] = {  # a posting goes by itself where the shipped model is sure, else to a person
    "models": str(HOUSE / "models"),
    "model_keys": str(HOUSE / "edge_config/trust/models"),
    "workflows": {"consumption": {"target": "s4", "model": "consumption_anomaly"}},
    "authority": {"consumption": {"mode": "auto", "min_confidence": 0.9, "audit_sample": 0}},
}


class Published:
    """A report that was handed in just now; `left` is what remains of the five seconds."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds until everybody must have seen it."""
        return max(0.001, self.at + SEEN_S - time.monotonic())


async def usual(agent: Bench, id: str) -> None:
    """A report as expected, set-up and all, is booked without anybody; from then on the plant is at work."""
    assert (await agent.report(id, quantity=13.98, lot_quantity=13)).status_code == 202

    async def there() -> bool:
        return bool(agent.sap.erp.report()["documents"])

    await until(there)
    assert (await agent.get("/v1/approvals"))["items"] == []


async def twice_the_usage(agent: Bench, id: str) -> Published:
    """A report of 200 % of what the order takes, wrong as the line simulator sends it wrong (`usage_200`)."""
    wrong = DISTORTIONS["usage_200"]({"quantity": 12.48, "lot_quantity": 13}, Random(0), {})
    assert wrong is not None
    published = Published()
    assert (await agent.report(id, **wrong)).status_code == 202
    return published


async def in_time(published: Published, seen: Callable[[], Awaitable[Any]]) -> Any:
    """What a session shows, before the five seconds are over."""
    return await until(seen, published.left)


async def booked(agent: Bench, id: int) -> str:
    """The document that the agent names; it is the last one in the simulator's books."""

    async def document() -> Any:
        return (await agent.get(f"/v1/approvals/{id}"))["document"]

    found: str = await until(document)
    book = agent.sap.erp.report()["documents"][-1]
    assert found.endswith(book["number"]), book
    return found


async def what_the_trace_must_tell(agent: Bench, id: int, report: str, document: str) -> tuple[str, ...]:
    """Tag, report, reason, score and document."""
    score = (await agent.get(f"/v1/approvals/{id}"))["record"]["confidence"]
    return ("MIX-01/consumption", report, "200 %", f"{score:.2f}", document)
