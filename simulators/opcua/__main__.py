"""`python -m simulators.opcua`: the simulated line as an OPC UA server, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from simulators.arguments import how_many, not_negative
from simulators.opcua.control import door
from simulators.opcua.controller import Controller, at_work
from simulators.opcua.faults import FAULTS, Fault, FaultError, Faults
from simulators.opcua.progress import ProgressFile, TruthFile
from simulators.opcua.server import POLICIES, LineServer, Settings, listening
from simulators.opcua.space import NAMESPACE
from simulators.scenario import Scenario, load


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; 0, or 2 for usage."""
    return asyncio.run(_serve(_parser().parse_args(arguments)))


async def _serve(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    scenario = _scenario(options)
    with closing(TruthFile(options.truth)) as truth:
        controllers = at_work(
            scenario,
            options.seed,
            options.events,
            lots_per_order=options.lots_per_order,
            rate=options.rate,
            handshake=options.handshake,
            progress=ProgressFile(options.state),
            truth=truth,
        )
        async with listening(_settings(options), controllers) as line:
            faults = Faults(line, {one.center: one for one in controllers})
            async with door(options.control, faults) as control, asyncio.TaskGroup() as group:
                print(
                    f"simulated line at {options.endpoint}, namespace {NAMESPACE}, faults at port {control}", flush=True
                )
                tasks = [group.create_task(_strike(faults, one)) for one in options.fault]
                tasks.append(group.create_task(_tell_the_end(line)))
                await stop.wait()
                for task in tasks:
                    task.cancel()
        print(f"line: {truth.reports} reports shown, {_so_far(controllers)}", flush=True)
    return 0


async def _tell_the_end(line: LineServer) -> None:
    await line.finished.wait()
    print("the line has made all it had to make", flush=True)


async def _strike(faults: Faults, fault: Fault) -> None:
    try:
        await faults.strike(fault)
    except FaultError as refusal:
        print(f"line: {fault.name}: {refusal}", file=sys.stderr, flush=True)


def _so_far(controllers: Sequence[Controller]) -> str:
    return ", ".join(f"{one.center} {one.lots_done} lots" for one in controllers)


def _scenario(options: argparse.Namespace) -> Scenario:
    scenario = load(options.scenario)
    if options.modulus is None:
        return scenario
    centers = {name: replace(one, counter_modulus=options.modulus) for name, one in scenario.work_centers.items()}
    return replace(scenario, work_centers=centers)


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        endpoint=options.endpoint,
        certificates=options.certificates,
        policies=options.policies,
        user=options.user,
        password=os.environ[options.password_env] if options.password_env else options.password,
        decoys=options.decoys,
    )


def _parser() -> argparse.ArgumentParser:
    ports = load().bench
    parser = argparse.ArgumentParser(
        prog="python -m simulators.opcua",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{__doc__}\n\nfaults:\n" + "\n".join(f"  {name:<12}{what}" for name, what in FAULTS.items()),
    )
    parser.add_argument("--endpoint", default=f"opc.tcp://127.0.0.1:{ports.opcua}/line", metavar="URL")
    parser.add_argument(
        "--control", type=int, default=ports.opcua_control, metavar="PORT", help="for faults; 0: a free one"
    )
    parser.add_argument(
        "--fault", type=_fault, action="append", default=[], metavar="WORDS", help="repeat; with after=S"
    )
    parser.add_argument(
        "--rate", type=not_negative, default=1.0, help="reports per second, about; 0: as fast as possible"
    )
    parser.add_argument("--events", type=how_many, help="stop after so many reports; default: when all orders are done")
    parser.add_argument("--lots-per-order", type=how_many, metavar="N", help="go to the next order after N lots")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same quantities")
    parser.add_argument(
        "--handshake", action="store_true", help="the next lot waits until Lot/Ack was raised and lowered"
    )
    parser.add_argument("--modulus", type=how_many, metavar="N", help="of every totaliser, in place of the scenario's")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write what was meant, a JSON line per report")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the totals over the end of the process")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="another plant than simulators/scenario.yaml")
    parser.add_argument("--policies", type=_policies, default=("none",), metavar="NAME,...", help=", ".join(POLICIES))
    parser.add_argument("--certificates", type=Path, metavar="DIR", help="server.der and its key; made when missing")
    parser.add_argument("--user", default="", help="without a user anybody may come in")
    parser.add_argument("--password", default="")
    parser.add_argument("--password-env", metavar="NAME", help="read the password from this environment variable")
    parser.add_argument("--decoys", type=int, default=1, metavar="N", help="namespaces of nobody before the line's own")
    return parser


def _fault(text: str) -> Fault:
    try:
        return Fault.read(text)
    except FaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _policies(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(POLICIES):
        raise argparse.ArgumentTypeError(f"no policy {', '.join(sorted(unknown))}; there are {', '.join(POLICIES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
