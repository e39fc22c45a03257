"""How long after the restart of an OPC UA server data flow again, by how long it was away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulators.broker import free_port
from tests.bench.results import Result
from tests.bench.sides.opcua_server import NAMESPACE
from tests.bench.stage import Stage

NAMES = ("opcua_outage_s",)
SHORT_S, LONG_S = (3, 15), 600  # long enough for every back-off to have reached its end


async def measure(stage: Stage) -> list[Result]:
    """The longest of all; the short outages as often as everything is run, the long one once."""
    outages = SHORT_S[:1] if stage.quick else (*SHORT_S * stage.runs, LONG_S)
    found: dict[str, list[float]] = {}
    for number, seconds in enumerate(outages):
        port = free_port()
        configuration = stage.config(stage.fresh(f"outage-{number}"), sources=[_source(port)])
        told = await stage.side("outage", configuration=configuration, port=port, outage_s=seconds)
        found.setdefault(f"after_{seconds}_s", []).append(told["flows_after_s"])
        stage.console.print(f"  away for {seconds} s: data flow {told['flows_after_s']:.2f} s after it listens again")
    return [Result("opcua_outage_s", max(map(max, found.values())), found)]


def _source(port: int) -> Mapping[str, Any]:
    """One totaliser; every change that arrives is a delivery."""
    return {
        "name": "line",
        "kind": "opcua",
        "endpoints": [f"opc.tcp://127.0.0.1:{port}/bench"],
        "policy": "none",
        "namespaces": {"bench": NAMESPACE},
        "publishing_ms": 100,
        "tags": {"t0": "ns=bench;s=t0"},
        "events": [
            {
                "name": "counter-0",
                "topic": "plant/1710/bench/C-0/consumption",
                "when": {"counts": {"least": "1"}},
                "counted": {"quantity": {"tag": "t0", "max_step": "1000000"}},
                "constants": {"unit": "PC"},
            }
        ],
    }
