"""A line that is an OPC UA server itself, while agent and server are killed and restarted; then SAP's totals."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from simulators.broker import free_port
from simulators.opcua.certificates import certificate_in
from simulators.opcua.control import DONE, tell
from simulators.opcua.server import APPLICATION
from tests.e2e.ordeal import Terms, drawn_moment
from tests.e2e.rig import PASSWORD, Rig, rig, until
from tests.e2e.tag_ordeal import Line, Result, judged

MODULE = "simulators.opcua"
ACCESS: Mapping[str, Any] = {
    "policy": "basic256sha256",
    "mode": "sign_and_encrypt",
    "user": "operator",
    "password": {"secret": "line"},
}
FAULTS = (  # of the line; each once, and over before an event has waited for its values too long
    "restart seconds=0 decoys=3",
    "bad seconds=1",
    "uncertain seconds=1",
    "silence seconds=2",
    "restart seconds=2 decoys=0",
)


async def opcua_ordeal(folder: Path, terms: Terms, *, secured: bool = False) -> Result:
    """Run it to the end: until SAP has booked everything. What restarts besides the agent is the server.

    `secured`: encrypted and signed, with certificates and a user, instead of in the open.
    """
    begun = time.monotonic()
    settings: dict[str, Any] = {"settle_s": terms.settle_s, "lookup_reliable": True, "connect_s": 0.9, "total_s": 2.0}
    control = free_port()
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}/line"
    async with rig(
        folder,
        source="opcua",
        endpoint=endpoint,
        access=ACCESS if secured else {},
        seed=terms.seed,
        faults=terms.faults,
        program=terms.program,
        **settings,
    ) as plant:
        options = [
            "--endpoint",
            endpoint,
            "--control",
            str(control),
            "--handshake",
            "--state",
            str(folder / "line-state.json"),
        ]
        if secured:
            options += _locks(folder)
        line = Line(folder, MODULE, [*options, "--seed", str(terms.seed), "--rate", str(terms.rate)], terms.events)
        plant.programs.append(line)
        await plant.sap.start()
        await started(line, 1)
        await plant.agent.start()
        await plant.subscribed()
        await until(lambda: plant.arrived() > 0, "the first lot has arrived")
        acts = await _torment(plant, line, control, terms)
        await until(lambda: line.done, "every lot is taken", terms.seconds)
        await until(
            lambda: plant.idle() and not plant.sap.show("books")["pending_commits"], "all is quiet", terms.seconds
        )
        exit_code = await plant.end_agent()
        return judged(plant, terms, line, time.monotonic() - begun, exit_code, acts)


def _locks(folder: Path) -> list[str]:
    """Certificates that the agent trusts, and the options by which the server has them and knows one user."""
    own = certificate_in(folder / "line", APPLICATION)
    trusted = folder / "opcua" / "trusted"
    trusted.mkdir(parents=True)
    shutil.copy(own.certificate, trusted)
    who = ["--user", ACCESS["user"], "--password", PASSWORD]
    return ["--policies", ACCESS["policy"], "--certificates", str(folder / "line"), *who]


async def started(line: Line, times: int) -> None:
    """Start the server, and wait until it listens; `times` counts its starts."""
    await line.start()
    await until(lambda: line.log.read_text(encoding="utf-8").count("simulated line at") == times, "the server listens")


async def _torment(plant: Rig, line: Line, control: int, terms: Terms) -> list[str]:
    """Kills, restarts and faults in a drawn order at drawn moments; half of the server's ends are kills too."""
    random = Random(f"{terms.seed}/acts")
    acts = ["kill"] * terms.kills + ["server"] * terms.broker_restarts + list(FAULTS)
    random.shuffle(acts)
    done, starts = [], 1
    for act in acts:
        moment = await drawn_moment(plant, line, terms, random)
        if act == "kill":
            assert await plant.agent.end(signal.SIGKILL) == -signal.SIGKILL, f"ended by itself: {plant.agent.tail()}"
            await plant.agent.start()
        elif act in FAULTS:
            assert await tell(control, act) == DONE
        else:
            starts += 1
            await line.end(random.choice([signal.SIGKILL, signal.SIGTERM]))
            await started(line, starts)
        done.append(f"{act} {moment}")
    return done
