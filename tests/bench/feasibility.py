"""Questions at a rate while the line runs and a backlog drains, over a commit and an empty request in between."""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent.app import utc_now
from agent.store import pauses
from agent.store.writer import Writer
from simulators.broker import free_port
from simulators.children import Child
from tests.bench import plant
from tests.bench.preload import preload
from tests.bench.results import Result, median, percentile
from tests.bench.sides.live import Totals
from tests.bench.stage import CLIENT_ID, CONCURRENCY, ENVIRONMENT, FILTERS, ROOT, Stage, staged

NAMES = ("feasibility_p99_over_floor",)
RATE = 100.0  # questions per second
LINE = 50.0  # reports per second that come meanwhile
SECONDS = 30.0
READY_S = 5.0  # until it begins to ask
BACKLOG = 60_000  # reports in the session of the agent at its start: more than it works off in that time
TOKEN = "bench-asks"  # of this measurement's own agent


async def measure(stage: Stage) -> list[Result]:
    """An agent of its own process; who asks, who reports and what is the floor are in another."""
    async with staged(stage.console, runs=stage.runs, quick=stage.quick, orders=plant.AT_WORK) as large:
        return await _measure(large)


async def _measure(stage: Stage) -> list[Result]:
    runs = [await _run(stage, number) for number in range(stage.runs)]
    for one in runs:
        stage.console.print(f"  p99 {one['asked_ms']['p99']} ms over a floor of {one['floor_ms']['p99']} ms: {one}",
                            highlight=False)  # fmt: skip
    ratios = [one["asked_ms"]["p99"] / one["floor_ms"]["p99"] for one in runs]
    return [
        Result(NAMES[0], median(ratios), {"ratios": ratios, "rate_per_s": RATE, "line_per_s": LINE, "agents": runs})
    ]


async def _run(stage: Stage, number: int) -> dict[str, Any]:
    seconds, backlog = (5.0, BACKLOG // 6) if stage.quick else (SECONDS, BACKLOG)
    await stage.sim("reset", {})
    data = stage.fresh(f"feasibility-{number}")
    _post(data)
    messages = plant.of_large_plant(backlog + round(LINE * (seconds + READY_S)))
    preload(stage.broker.port, CLIENT_ID, FILTERS, messages[:backlog])
    plant.write(data / "reports", messages[backlog:])
    port = free_port()
    written = stage.config(data, "mqtt", **_asked(stage, data, port))
    command = [str(part) for part in ("-m", "tests.bench.sides.serve", written)]
    agent = Child(
        "agent",
        [sys.executable, *command],
        log=stage.folder / "agent.log",
        env={**os.environ, **ENVIRONMENT},
        folder=ROOT,
    )
    async with agent:
        found = await stage.side(
            "ask", port=port, token=TOKEN, rate=RATE, seconds=seconds, line=LINE, reports=data / "reports",
            folder=stage.fresh("feasibility-floor"),
        )  # fmt: skip
    asked, floor = _percentiles(found.pop("asked_ms")), _percentiles(found.pop("floor_ms"))
    became = Totals(data / "gatepost.db").all()
    return {"asked_ms": asked, "floor_ms": floor, "backlog": backlog, "became": became, **found}


def _post(data: Path) -> None:
    """What is decided goes to SAP, too."""
    writer = Writer(data / "gatepost.db", utc_now)
    writer.start()
    writer.call(lambda tx: pauses.resume(tx, "target", "s4", by="bench", reason="measured"))
    writer.stop()


def _asked(stage: Stage, data: Any, port: int) -> dict[str, Any]:
    """What the agent that is asked has beside the others."""
    usual = stage._configuration(data, ("mqtt",))  # the bench's own
    token = {"name": "bench", "sha256": sha256(TOKEN.encode()).hexdigest(), "scopes": ["ingest", "read"]}
    return {
        "workflows": {**usual["workflows"], "order_release": {"target": "s4", "model": "order_feasibility"}},
        "targets": [{**usual["targets"][0], "concurrency": CONCURRENCY}],
        "api": {"address": f"127.0.0.1:{port}", "tokens": [token], "rate_per_second": 100_000},
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{percent}": round(percentile(values, percent), 3) for percent in (50, 99)}
