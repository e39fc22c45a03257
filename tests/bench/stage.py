"""The stage of every measurement: a broker, a simulated ERP, an agent's configuration, and processes to measure in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from simulators.broker import Broker, find_mosquitto, free_port
from simulators.children import Child

ROOT = Path(__file__).resolve().parents[2]
CLIENT_ID = "gatepost-bench"
FILTERS = ("plant/1710/+/+/consumption", "plant/1710/+/+/confirmation")
BROKER = {"persistence": "false", "max_queued_messages": "0"}  # the broker's disk is not what is measured
CONCURRENCY = 8
ENVIRONMENT = {"GATEPOST_SECRET_ERP_PASSWORD": "bench", "PYTHONUNBUFFERED": "1"}
DEADLINE = 900.0  # the longest outage is of 600 s


@dataclass(slots=True)
class Stage:
    """What is running, and where."""

    folder: Path
    broker: Broker
    erp_url: str
    console: Console
    runs: int
    quick: bool
    template: Path  # a data folder whose store has read every order from the ERP

    async def side(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run one side of a measurement in a process of its own; what it measured."""
        told = {"broker": self.broker.port, "erp": self.erp_url, "client_id": CLIENT_ID, "filters": FILTERS}
        return await run_side(name, {**told, **arguments}, self.folder)

    def config(self, data: Path, *sources: str, **more: Any) -> Path:
        """Write an agent's configuration that keeps its data there and has these sources (mqtt, orders)."""
        path = data / "agent.yaml"
        path.write_text(yaml.safe_dump(self._configuration(data, sources) | more), encoding="utf-8")
        return path

    async def once(self, name: str, make: Callable[[str], Awaitable[Path]]) -> Path:
        """A data folder that several measurements share."""
        folder = self.folder / name
        return folder if folder.exists() else await make(name)

    def fresh(self, name: str, like: Path | None = None) -> Path:
        """A data folder of its own: a copy of another one, or of the one whose store knows the orders."""
        data = self.folder / name
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(like or self.template, data)
        return data

    async def sim(self, action: str, payload: Any = None) -> Any:
        """Tell the simulated ERP something, or ask it."""
        async with httpx.AsyncClient(base_url=self.erp_url, trust_env=False, timeout=60) as client:
            if payload is None:
                return (await client.get(f"/_sim/{action}")).raise_for_status().json()
            return (await client.post(f"/_sim/{action}", json=payload)).raise_for_status().json()

    def _mappings(self, shipped: Path) -> Path:
        """The shipped mappings of the two kinds that are measured: an agent wants a workflow for each kind it reads."""
        folder = self.folder / "mappings"
        folder.mkdir(exist_ok=True)
        for kind in ("consumption", "confirmation"):
            shutil.copyfile(shipped / f"{kind}.yaml", folder / f"{kind}.yaml")
        return folder

    def _configuration(self, data: Path, sources: tuple[str, ...]) -> dict[str, Any]:
        edge = ROOT / "edge_config"
        known = {
            "mqtt": {"name": "line", "kind": "mqtt", "brokers": [f"mqtt://127.0.0.1:{self.broker.port}"],
                     "client_id": CLIENT_ID, "topics": list(FILTERS)},
            "orders": {"name": "orders", "kind": "erp_orders", "target": "s4", "plant": "1710", "poll_s": 5},
        }  # fmt: skip
        return {
            "plant": {"site": "1710", "time_zone": "Europe/Berlin", "currency": "EUR"},
            "store": {"path": str(data / "gatepost.db")},
            "sources": [known[one] for one in sources],
            "targets": [{
                "name": "s4", "kind": "sap_s4", "url": self.erp_url, "path": "/sap/opu/odata/sap", "client": "100",
                "time_zone": "Europe/Berlin", "concurrency": CONCURRENCY,
                "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp_password"}},
                "postings": {"goods_issue": "live", "confirmation": "live"},
            }],
            "workflows": {
                "consumption": {"target": "s4", "model": "consumption_anomaly"},
                "confirmation": {"target": "s4", "options": {"backflush": False}},
            },
            "authority": {
                "consumption": {"mode": "auto", "min_confidence": 0.9, "max_value": 5000, "audit_sample": 0},
                "confirmation": {"mode": "auto"},
            },
            "drift": {"min_confidence": 0},  # what is held is not the bench's question
            "mappings": str(self._mappings(edge / "mappings")), "masterdata": str(edge / "masterdata"),
            "units": str(edge / "units.yaml"), "models": str(ROOT / "models"), "model_keys": str(edge / "trust/models"),
            "log": {"level": "info", "format": "text"},
        }  # fmt: skip


@asynccontextmanager
async def staged(console: Console, *, runs: int, quick: bool, orders: int | None = None) -> AsyncIterator[Stage]:
    """Start everything that stands around the agent; it ends with the block. `orders`: see `plant.busy_plant`."""
    executable = find_mosquitto()
    if executable is None:
        raise SystemExit("mosquitto is missing; install it (Debian: apt-get install mosquitto)")
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir=_disk()) as name:
        folder = Path(name)
        port = free_port()
        broker = Broker(folder / "broker", executable=executable, settings=BROKER)
        command = [sys.executable, "-m", "tests.bench.sides.erp", str(port), *([str(orders)] if orders else [])]
        erp = Child("simulated ERP", command, log=folder / "erp.log", env={**os.environ, **ENVIRONMENT}, folder=ROOT)
        async with broker, erp:
            stage = Stage(folder, broker, f"http://127.0.0.1:{port}", console, runs, quick, folder / "template")
            await erp.until(lambda: _answers(stage.erp_url), 30)
            stage.template.mkdir()
            await stage.side("learn", configuration=stage.config(stage.template, "orders"), orders=orders)
            yield stage


def _disk() -> Path:
    """The measurements are about a real disk: build/, not a /tmp that may be memory."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    return build


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{url}/_sim/settings")).is_success
    except httpx.HTTPError:
        return False


async def run_side(name: str, arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run `tests.bench.sides.NAME` with JSON arguments and read the JSON it prints last. Raises RuntimeError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.bench.sides.{name}", json.dumps(arguments, default=str),
        cwd=ROOT, env={**os.environ, **ENVIRONMENT}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE):
            said, complained = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    (folder / f"{name}.log").write_bytes(complained)
    if process.returncode != 0:
        told = complained.decode(errors="replace")[-4000:]
        raise RuntimeError(f"side {name} ended with {process.returncode}:\n{told}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found
