"""`make run`: starts broker, simulated SAP, agent and simulated line, tells what happens, and stops all of it again."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from simulators.arguments import how_many, not_negative, port_number
from simulators.ask import ask
from simulators.broker import Broker, BrokerError, broker_program
from simulators.children import Child, ChildDied, log_tail
from simulators.scenario import Bench as Ports
from simulators.scenario import load
from simulators.ticker import Ticker, progress, tell, totals, unconnected

ROOT = Path(__file__).resolve().parent.parent
MARK = "made-by-the-bench"  # a file in each data folder of the bench: only such a folder is ever moved away
READY_SECONDS = 30.0
SCRAPE_SECONDS = 1.0
PEOPLE: Mapping[str, Sequence[str]] = {
    "supervisor": ("read", "approve", "replay", "pause"),
    "manager": ("read", "approve"),
}

Ready = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Speech:
    """How the line speaks: the module that plays it, the agent's configuration for it, the module's options."""

    module: str
    agent_config: Path
    options: Sequence[str] = ()
    alone: Sequence[str] = ()  # the options instead where there is no agent
    misbehaves: bool = False  # whether the module knows --misbehave
    serves: bool = False  # a server that the agent connects to: it is there before the agent, and needs no broker


SOURCES: Mapping[str, Speech] = {
    "mqtt": Speech("simulators.line", ROOT / "edge_config" / "agent.yaml", misbehaves=True),
    "sparkplug": Speech(
        "simulators.sparkplug", ROOT / "edge_config" / "sparkplug.yaml", ["--handshake"], ["--host", ""]
    ),
    "opcua": Speech("simulators.opcua", ROOT / "edge_config" / "opcua.yaml", ["--handshake"], serves=True),
}


class BenchError(Exception):
    """The bench cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and where."""

    ports: Ports
    data: Path
    agent_config: Path | None  # None: without the agent
    line: Sequence[str]  # the module that plays the line, and its options
    line_serves: bool  # see `Speech.serves`
    duration: float | None  # seconds

    @property
    def books(self) -> Path:
        """Where the simulated SAP writes down what it booked."""
        return self.data / "sap-books.jsonl"

    @property
    def truth(self) -> Path:
        """Where the line writes down what it meant to report."""
        return self.data / "line-truth.jsonl"

    def log(self, name: str) -> Path:
        """The log file of one program."""
        return self.data / f"{name}.log"


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 0 when a person or --duration ended it, 1 when something did not start or died."""
    ticker = Ticker(lambda text: print(text, flush=True))
    try:
        return asyncio.run(_main(_plan(_parser().parse_args(arguments)), ticker))
    except (BenchError, BrokerError, ChildDied) as error:
        ticker.say("bench", f"stopped: {error}")
        return 1


async def _main(plan: Plan, ticker: Ticker) -> int:
    """Run until a signal, the end of --duration, or the death of a program."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bench = asyncio.create_task(_bench(plan, ticker, stop), name="bench")
    stopper = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({bench, stopper}, return_when=asyncio.FIRST_COMPLETED)
    stopper.cancel()
    if not bench.done():
        ticker.say("bench", "stopping")
        bench.cancel()
    with suppress(asyncio.CancelledError):
        await bench
    ticker.say("bench", f"all stopped; {ticker.counts['line']} reports, {ticker.counts['SAP']} documents in SAP")
    return 0


async def _bench(plan: Plan, ticker: Ticker, stop: asyncio.Event) -> None:
    """Start everything and watch until one program dies; leaving stops them, the last started first."""
    _check_ports(plan)
    _fresh_folder(plan.data)
    password = secrets.token_urlsafe(24)
    _prepare(plan, password)
    died: Exception | None = None
    try:
        async with AsyncExitStack() as running, asyncio.TaskGroup() as watch:
            if not plan.line_serves:
                await _start_broker(plan, ticker, running, watch)
            await _start_programs(plan, ticker, _environment(plan, password), running, watch)
            if plan.duration is not None:
                watch.create_task(_end_after(plan.duration, ticker, stop))
    except* (ChildDied, BrokerError) as deaths:
        died = deaths.exceptions[0]
    if died is not None:  # raised here, because what leaves an except* is a group again
        raise died


async def _start_broker(plan: Plan, ticker: Ticker, running: AsyncExitStack, watch: asyncio.TaskGroup) -> None:
    executable = await asyncio.to_thread(broker_program, lambda text: ticker.say("bench", text))
    broker = Broker(plan.data / "broker", plan.ports.broker, executable=executable)
    await running.enter_async_context(broker)
    watch.create_task(_broker_lives(broker))
    ticker.say("bench", f"broker is up on mqtt://{broker.host}:{broker.port}")


async def _start_programs(
    plan: Plan,
    ticker: Ticker,
    environment: Mapping[str, str],
    running: AsyncExitStack,
    watch: asyncio.TaskGroup,
) -> None:
    """Start SAP, the agent and the line, each when the one before is ready, and tell what they do."""
    watch.create_task(tell(ticker, plan.truth, plan.books, plan.log("agent")))
    for child, ready, where in _children(plan, environment):
        await running.enter_async_context(child)
        await child.until(ready, READY_SECONDS)
        watch.create_task(child.lives())
        ticker.say("bench", f"{child.name} is up, {where}")
    if plan.agent_config:
        await _add_people(plan, environment, ticker)
        watch.create_task(_tell_agent(plan, ticker))
    _point_the_way(plan, ticker)
    if not plan.line_serves:
        line = await running.enter_async_context(_line(plan, environment))
        watch.create_task(_line_lives(line, ticker))


async def _add_people(plan: Plan, environment: Mapping[str, str], ticker: Ticker) -> None:
    """Two people who may log in at the console; their password is made anew for every bench."""
    password = "-".join(secrets.token_hex(2) for _ in range(3))
    for name, rights in PEOPLE.items():
        command = ["-m", "agent", "user", "add", name, "--full-name", f"{name.capitalize()} of the bench"]
        command += [part for right in rights for part in ("--scope", right)]
        command += ["--password-stdin", "--config", str(plan.agent_config)]
        adding = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        await adding.communicate(password.encode())
        if adding.returncode:
            raise BenchError(f"`gatepost user add {name}` ended with code {adding.returncode}")
    ticker.say(
        "bench", f"console           http://127.0.0.1:{plan.ports.api}/     log in as {' or '.join(PEOPLE)}: {password}"
    )


def _children(plan: Plan, environment: Mapping[str, str]) -> Sequence[tuple[Child, Ready, str]]:
    """SAP, a line that is a server, the agent: what to start, how to see that it is ready, where people find it."""
    ports = plan.ports
    sap_url = f"http://127.0.0.1:{ports.erp_http}"
    sap = ["simulators.erp", "--http", str(ports.erp_http), "--books", str(plan.books)]
    sap += ["--user", ports.erp_user, "--password-env", ports.erp_password_env]
    children = [(_child("simulated SAP", "sap", sap, plan, environment), partial(_answers, sap_url), sap_url)]
    if plan.line_serves:
        children.append(
            (_line(plan, environment), partial(_listens, ports.opcua), f"opc.tcp://127.0.0.1:{ports.opcua}")
        )
    if plan.agent_config:
        agent = ["agent", "run", str(plan.agent_config)]
        api = f"http://127.0.0.1:{ports.api}"
        children.append((_child("agent", "agent", agent, plan, environment), partial(_agent_listens, ports), api))
    return children


def _line(plan: Plan, environment: Mapping[str, str]) -> Child:
    ports = plan.ports
    where = ["--broker", f"127.0.0.1:{ports.broker}"]
    if plan.line_serves:
        where = ["--endpoint", f"opc.tcp://127.0.0.1:{ports.opcua}/line", "--control", str(ports.opcua_control)]
    return _child("line", "line", [*plan.line, *where, "--truth", str(plan.truth)], plan, environment)


def _child(name: str, log: str, module: list[str], plan: Plan, environment: Mapping[str, str]) -> Child:
    return Child(name, [sys.executable, "-m", *module], log=plan.log(log), env=environment, folder=ROOT)


async def _answers(url: str) -> bool:
    """Whether a server is there and does not call itself unready; a missing log-on counts as there."""
    answer = await _get(url)
    return answer is not None and answer[0] != HTTPStatus.SERVICE_UNAVAILABLE


async def _listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _agent_listens(ports: Ports) -> bool:
    """Whether the agent is ready and its sources are connected: what the line says before, nobody keeps for it."""
    metrics = await _get(f"http://127.0.0.1:{ports.management}/metrics")
    return metrics is not None and not unconnected(metrics[1]) and await _answers(f"http://127.0.0.1:{ports.api}/ready")


async def _get(url: str) -> tuple[int, str] | None:
    """Status and text; None where nobody answers."""
    try:
        return await asyncio.to_thread(ask, url)
    except OSError:
        return None


async def _broker_lives(broker: Broker) -> None:
    code = await broker.wait()
    raise ChildDied(f"the broker ended with code {code}; {log_tail(broker.log)}")


async def _line_lives(line: Child, ticker: Ticker) -> None:
    await line.lives(may_finish=True)
    ticker.say("bench", "the line has made all it had to make; the rest keeps running until Ctrl-C")


async def _end_after(seconds: float, ticker: Ticker, stop: asyncio.Event) -> None:
    """Counted from the first report: how long a program takes to start is the machine's business."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ticker.reported.wait(), READY_SECONDS)
    await asyncio.sleep(seconds)
    stop.set()


async def _tell_agent(plan: Plan, ticker: Ticker) -> None:
    """Say what the agent's counters gained; they need no token and are there as soon as it runs."""
    before = Counter[str]()
    while True:
        await asyncio.sleep(SCRAPE_SECONDS)
        metrics = await _get(f"http://127.0.0.1:{plan.ports.management}/metrics")
        if metrics is None:
            continue  # its death is noticed elsewhere
        after = totals(metrics[1])
        if done := progress(before, after):
            ticker.happened("agent", done)
        before = after


def _point_the_way(plan: Plan, ticker: Ticker) -> None:
    if plan.agent_config:
        token = f'"Authorization: Bearer $(cat {_short(plan.data / "operator.token")})"'
        ticker.say("bench", "ask the agent     .venv/bin/gatepost status     (also: trace ID, approvals list, --help)")
        ticker.say("bench", f"ask its API       curl -H {token} http://127.0.0.1:{plan.ports.api}/v1/status")
    ticker.say("bench", "pull a cable      .venv/bin/python -m simulators.outage --help")
    if plan.line_serves:
        ticker.say("bench", "disturb the line  .venv/bin/python -m simulators.opcua.control --help")
    ticker.say("bench", f"data and logs     {_short(plan.data)}     pages: docs/index.md")
    ticker.say("bench", "the line starts now; Ctrl-C ends everything")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _environment(plan: Plan, password: str) -> dict[str, str]:
    """What every program gets: the password of the simulated SAP, and where the agent keeps its file."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        plan.ports.erp_password_env: password,
        "GATEPOST_SECRET_ERP_PASSWORD": password,  # the name by which the agent's configuration asks for it
        "GATEPOST_DATA": str(plan.data),
    }


def _check_ports(plan: Plan) -> None:
    ports = plan.ports
    wanted = {ports.erp_http: "simulated SAP"}
    wanted |= (
        {ports.opcua: "line", ports.opcua_control: "line's faults"} if plan.line_serves else {ports.broker: "broker"}
    )
    if plan.agent_config:
        wanted |= {ports.api: "agent's API", ports.management: "agent's metrics"}
    for port, name in wanted.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise BenchError(
                    f"port {port} of the {name} is not free ({error.strerror}); is another bench running? "
                    f"`ss -ltnp 'sport = :{port}'` shows who has it"
                ) from None


def _fresh_folder(data: Path) -> None:
    """Start with empty books on both sides; the last run's folder is kept once, as NAME.previous."""
    try:
        if data.exists() and any(data.iterdir()):
            _set_aside(data)
        data.mkdir(parents=True, exist_ok=True)
        (data / MARK).touch()
    except OSError as error:
        raise BenchError(f"{data} cannot be used ({error.strerror}); name another folder with --data") from None


def _set_aside(data: Path) -> None:
    if not (data / MARK).exists():
        raise BenchError(f"{data} is not empty and not from an earlier bench; name another folder with --data")
    previous = data.with_name(f"{data.name}.previous")
    if (previous / MARK).exists():
        shutil.rmtree(previous)
    data.rename(previous)


def _prepare(plan: Plan, password: str) -> None:
    """The files that the bench reads while others write them, and the secret that the agent's commands look up."""
    for read in (plan.books, plan.truth, plan.log("agent")):
        read.touch()
    secret = plan.data / "secrets" / "erp_password"
    secret.parent.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="utf-8")


def _ports(first: int | None) -> Ports:
    ports = load().bench
    if first is None:
        return ports
    numbered = replace(ports, broker=first, erp_http=first + 1, api=first + 2, management=first + 3)
    return replace(numbered, opcua=first + 4, opcua_control=first + 5)


def _plan(options: argparse.Namespace) -> Plan:
    speech = SOURCES[options.source]
    own = speech.alone if options.without_agent else speech.options
    line = [speech.module, *own, "--rate", str(options.rate), "--seed", str(options.seed)]
    line += ["--misbehave", options.misbehave] if options.misbehave and speech.misbehaves else []
    line += ["--events", str(options.events)] if options.events is not None else []
    return Plan(
        ports=_ports(options.first_port),
        data=options.data.resolve(),
        agent_config=None if options.without_agent else (options.agent_config or speech.agent_config).resolve(),
        line=line,
        line_serves=speech.serves,
        duration=options.duration,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators.bench", description=__doc__)
    parser.add_argument("--source", choices=SOURCES, default="mqtt", help="how the line reports (default: mqtt)")
    parser.add_argument("--rate", type=not_negative, default=1.0, help="reports per second; 0: as fast as possible")
    parser.add_argument("--seed", type=int, default=1, help="the same seed reports the same quantities")
    parser.add_argument("--events", type=how_many, help="stop the line after so many reports")
    parser.add_argument(
        "--misbehave",
        default="double_report,usage_200=0.03",
        metavar="NAME[=P],...",
        help='what goes wrong on a line that reports over MQTT (python -m simulators.line --help); "" for nothing',
    )
    parser.add_argument(
        "--duration", type=not_negative, metavar="S", help="end by itself S seconds after the first report"
    )
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "bench", metavar="DIR", help="default: var/bench")
    parser.add_argument("--agent-config", type=Path, metavar="FILE", help="default: that of edge_config for the source")
    parser.add_argument("--without-agent", action="store_true", help="start only what stands around the agent")
    parser.add_argument(
        "--first-port",
        type=port_number,
        metavar="N",
        help="broker on N, SAP on N+1, API on N+2, metrics on N+3, OPC UA on N+4, its faults on N+5; "
        "as --agent-config must say too",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
