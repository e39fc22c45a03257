"""A whole agent with its API, a simulated SAP, and reports handed in by HTTP: real sockets, real store, no broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import yaml

from agent import assembly
from agent.app import Agent
from agent.commands.run import server
from agent.configuration import config
from simulators.broker import free_port as free_port
from simulators.erp.server import Running, running

HOUSE = Path(__file__).resolve().parent.parent
CONSUMPTION = "plant/1710/mixing/MIX-01/consumption"
TOKENS: dict[str, dict[str, Any]] = {
    "anna": {"scopes": ["read", "approve", "replay", "pause", "reverse"]},
    "ben": {"scopes": ["read", "approve"]},
    "viewer": {"scopes": ["read"]},
    "scale": {"scopes": ["ingest"]},
    "stopper": {"scopes": ["pause"]},
    "moulder": {"scopes": ["read", "approve", "replay", "pause", "reverse"], "lines": ["molding"]},
    "mixer": {"scopes": ["read", "approve", "replay", "pause", "reverse"], "lines": ["mixing"]},
    "mixer_scale": {"scopes": ["ingest"], "lines": ["mixing"]},
    "nobody": {"scopes": ["read", "approve"], "roles": ["Unheard of"]},
    "ignition": {"scopes": ["read", "approve"], "acts_for_people": True},
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A running agent and how to reach it."""

    agent: Agent
    url: str
    management: str
    sap: Running
    client: httpx.AsyncClient

    def of(self, token: str) -> dict[str, str]:
        """The header of a token."""
        return {"Authorization": f"Bearer {token}-secret"}

    async def ask(self, method: str, path: str, token: str = "anna", **more: Any) -> httpx.Response:
        """One request."""
        headers = {**self.of(token), **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def get(self, path: str, token: str = "anna") -> Any:
        """The answer to a GET that must succeed."""
        answer = await self.ask("GET", path, token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def report(self, id: str, **changes: Any) -> httpx.Response:
        """Hand in a weighing."""
        return await self.ask("POST", f"/v1/events/{CONSUMPTION}", "scale", content=weighing(id, **changes))

    async def held(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many postings wait for a person."""
        found: list[dict[str, Any]] = await until(lambda: self._held(count))
        return found

    async def _held(self, count: int) -> list[dict[str, Any]] | None:
        items = (await self.get("/v1/approvals"))["items"]
        return items if len(items) >= count else None


def weighing(id: str, **changes: Any) -> bytes:
    """A report of a scale at the mixer."""
    report = {
        "id": id,
        "seq": int(id.rpartition("-")[2] or 0),
        "ts": datetime.now(UTC).isoformat(),
        "order": "1000100",
        "operation": "0010",
        "operator": "op-7",
        "material": "RM-RESIN",
        "quantity": 12.5,
        "unit": "KG",
        "batch": "0000000301",
        "location": "171A",
        "lot_quantity": 13,
    }
    return json.dumps({**report, **changes}).encode()


async def until(found: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    """Ask until there is an answer, with a deadline that no machine is too slow for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = await found()
        if answer:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError("what was waited for did not come")


def _mappings(folder: Path) -> Path:
    """Of what the workflows here read: a mapping that no workflow reads is refused at a reload."""
    place = folder / "mappings"
    place.mkdir(exist_ok=True)
    for name in ("confirmation.yaml", "consumption.yaml"):
        (place / name).write_bytes((HOUSE / "edge_config/mappings" / name).read_bytes())
    return place


def write(folder: Path, sap: str, **changes: Any) -> Path:
    """The configuration of the bench in this folder."""
    secret = folder / "secrets" / "erp_password"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("s3cret")
    secret.chmod(0o600)
    written: dict[str, Any] = {
        "plant": {"site": "1710", "time_zone": "Europe/Berlin", "currency": "EUR"},
        "store": {"path": str(folder / "data" / "gatepost.db"), "reserve_mb": 1},
        "sources": [
            {"name": "reports", "kind": "http"},
            {"name": "orders", "kind": "erp_orders", "target": "s4", "plant": "1710", "poll_s": 1},
        ],
        "targets": [
            {
                "name": "s4",
                "kind": "sap_s4",
                "url": sap,
                "path": "/sap/opu/odata/sap",
                "client": "100",
                "time_zone": "Europe/Berlin",
                "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp_password"}},
                "postings": {"goods_issue": "live", "confirmation": "live", "reversal": "live"},
            }
        ],
        "workflows": {"consumption": {"target": "s4"}, "confirmation": {"target": "s4"}},
        "authority": {"consumption": {"mode": "assist"}},
        "mappings": str(_mappings(folder)),
        "masterdata": str(HOUSE / "edge_config/masterdata"),
        "units": str(HOUSE / "edge_config/units.yaml"),
        "models": str(folder / "models"),
        "secrets_dir": str(secret.parent),
        "api": {
            "address": f"127.0.0.1:{free_port()}",
            "tokens": [
                {"name": name, "sha256": sha256(f"{name}-secret".encode()).hexdigest(), **token}
                for name, token in TOKENS.items()
            ],
            **changes.pop("api", {}),
        },
        "management": {"address": f"127.0.0.1:{free_port()}"},
        **changes,
    }
    for one in written["targets"]:
        if one["kind"] == "sap_s4":
            one["url"] = one["url"] or sap
    (folder / "models").mkdir(exist_ok=True)
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(written))
    return path


@contextlib.asynccontextmanager
async def bench(folder: Path, *, trust: Path | None = None, **changes: Any) -> AsyncIterator[Bench]:
    """A running agent; changed sections of its configuration as keywords."""
    async with running(user="GATEPOST", password="s3cret") as sap:
        loaded = config.load(write(folder, sap.base_url, **changes), assembly.resolver(), {})
        assert loaded.api is not None
        assert loaded.management is not None
        agent = Agent(loaded)
        life = asyncio.create_task(agent.run(server(loaded)))
        url = f"{'https' if trust else 'http'}://{loaded.api.address}"
        verify = ssl.create_default_context(cafile=str(trust)) if trust else True
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60.0, verify=verify) as client:
                bench = Bench(agent, url, f"http://{loaded.management.address}", sap, client)
                await until(lambda: _ready(bench, life))
                yield bench
        finally:
            agent.stop()
            await life


async def _ready(bench: Bench, life: asyncio.Task[None]) -> bool:
    if life.done():
        life.result()
    try:
        ready = await bench.client.get("/ready")
    except httpx.ConnectError:
        return False
    orders = bench.agent.process is not None and "1000100" in bench.agent.rules.facts.orders
    return ready.status_code == 200 and orders
