"""`make run`: starts broker, simulated SAP, agent, bench gateway and line, tells what happens, and stops all again."""

from __future__ import annotations

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
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from simulators.ask import ask
from simulators.broker import Broker, BrokerError, broker_program
from simulators.children import Child, ChildDied, log_tail
from simulators.own_config import at_ports
from simulators.people import PEOPLE, SIGNING, with_gateway
from simulators.plan import ROOT, Plan, parser, plan_of
from simulators.scenario import Bench as Ports
from simulators.scenario import load
from simulators.stories.stage import Stage, StoryError, player, staged
from simulators.ticker import LOOK, Ticker, many, progress, tell, totals, unconnected

MARK = "made-by-the-bench"  # a file in each data folder of the bench: only such a folder is ever moved away
READY_SECONDS = 30.0
SCRAPE_SECONDS = 1.0
PROJECT = ROOT / "ignition_project"

Ready = Callable[[], Awaitable[bool]]


class BenchError(Exception):
    """The bench cannot start; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 0 when a person or --duration ended it, 1 when something did not start or died."""
    ticker = Ticker(lambda text: print(text, flush=True))
    try:
        return asyncio.run(_main(plan_of(parser(__doc__ or "").parse_args(arguments)), ticker))
    except (BenchError, BrokerError, ChildDied, StoryError) as error:
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
    reports, documents = many(ticker.counts["line"], "report"), many(ticker.counts["SAP"], "document")
    ticker.say("bench", f"all stopped; {reports}, {documents} in SAP")
    return 0


async def _bench(plan: Plan, ticker: Ticker, stop: asyncio.Event) -> None:
    """Start everything and watch until one program dies; leaving stops them, the last started first."""
    _check_ports(plan)
    _fresh_folder(plan.data)
    password = secrets.token_urlsafe(24)
    _prepare(plan, password)
    plan = _with_gateway(plan, ticker)
    died: Exception | None = None
    try:
        async with AsyncExitStack() as running, asyncio.TaskGroup() as watch:
            if not plan.line_serves:
                await _start_broker(plan, ticker, running, watch)
            await _start_programs(plan, ticker, _environment(plan, password), running, watch)
            if plan.duration is not None:
                watch.create_task(_end_after(plan.duration, ticker, stop))
    except* (ChildDied, BrokerError, StoryError) as deaths:
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
        await _add_people(plan, environment)
        watch.create_task(_tell_agent(plan, ticker))
    _point_the_way(plan, ticker)
    if plan.story:
        watch.create_task(_tell_story(plan, ticker))
    elif not plan.line_serves:
        line = await running.enter_async_context(_line(plan, environment))
        watch.create_task(_line_lives(line, ticker))


async def _add_people(plan: Plan, environment: Mapping[str, str]) -> None:
    """The people of the bench may log in at the console, too."""
    for name, person in PEOPLE.items():
        command = ["-m", "agent", "user", "add", name, "--full-name", f"{person.role} of the bench"]
        command += [part for scope in person.scopes for part in ("--scope", scope)]
        command += ["--role", person.role] if plan.gateway else []  # a configuration of one's own has roles of its own
        command += ["--password-stdin", "--config", str(plan.agent_config)]
        adding = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        await adding.communicate(plan.keys.password.encode())
        if adding.returncode:
            raise BenchError(f"`gatepost user add {name}` ended with code {adding.returncode}")


def _children(plan: Plan, environment: Mapping[str, str]) -> Sequence[tuple[Child, Ready, str]]:
    """SAP, a line that is a server, the agent: what to start, how to see that it is ready, where people find it."""
    ports = plan.ports
    sap_url = f"http://127.0.0.1:{ports.erp_http}"
    sap = ["simulators.erp", "--http", str(ports.erp_http), "--books", str(plan.books), "--dates"]
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
    if plan.gateway:
        url = f"http://127.0.0.1:{ports.gateway}"
        children.append((_gateway(plan, environment), partial(_answers, url), url))
    return children


def _gateway(plan: Plan, environment: Mapping[str, str]) -> Child:
    module = [
        "simulators.gateway",
        "--project",
        str(PROJECT / "Gatepost"),
        "--tags",
        str(PROJECT / "tags/gatepost.json"),
    ]
    module += ["--port", str(plan.ports.gateway), "--password-file", str(plan.gateway["password"])]
    module += [f"--secret=gatepost-{name}={plan.gateway[name]}" for name in ("token", "signing")]
    module += [f"--user={name}:{one.role}:of the bench:{one.role}" for name, one in PEOPLE.items()]
    module += [f"--value=Gatepost/Settings/Address=http://127.0.0.1:{plan.ports.api}"]
    module += ["--value=Gatepost/Settings/GatewayName=bench-gateway"]
    return _child("bench gateway", "gateway", module, plan, environment)


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


async def _tell_story(plan: Plan, ticker: Ticker) -> None:
    stage = Stage(
        plan.ports, plan.data, partial(ticker.say, "story"), partial(ticker.happened, "line"), pause_s=plan.pause_s
    )
    await player(plan.story)(stage)
    ticker.say("bench", "the story is over; look around, or Ctrl-C")


async def _end_after(seconds: float, ticker: Ticker, stop: asyncio.Event) -> None:
    """Counted from the first report: how long a program takes to start is the machine's business."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ticker.reported.wait(), READY_SECONDS)
    await asyncio.sleep(seconds)
    stop.set()


async def _tell_agent(plan: Plan, ticker: Ticker) -> None:
    """Say what the agent's counters gained; they need no token and are there as soon as it runs."""
    before, look = Counter[str](), {} if plan.story else LOOK  # a story decides by itself, and says how
    while True:
        await asyncio.sleep(SCRAPE_SECONDS)
        metrics = await _get(f"http://127.0.0.1:{plan.ports.management}/metrics")
        if metrics is None:
            continue  # its death is noticed elsewhere
        after = totals(metrics[1])
        if done := progress(before, after, look):
            ticker.happened("agent", done)
        before = after


def _point_the_way(plan: Plan, ticker: Ticker) -> None:
    if plan.agent_config:
        _tell_where_people_decide(plan, ticker)
        token = f'"Authorization: Bearer $(cat {_short(plan.data / "operator.token")})"'
        own = f" --config {_short(plan.agent_config)}" if plan.ports != load().bench else ""
        also = "(also: approvals list, trace ID of a report, --help)"
        ticker.say("bench", f"ask the agent     .venv/bin/gatepost status{own}     {also}")
        ticker.say("bench", f"ask its API       curl -H {token} http://127.0.0.1:{plan.ports.api}/v1/status")
    ticker.say("bench", "pull a cable      .venv/bin/python -m simulators.outage --help")
    if plan.line_serves:
        ticker.say("bench", "disturb the line  .venv/bin/python -m simulators.opcua.control --help")
    ticker.say("bench", f"data and logs     {_short(plan.data)}     pages: docs/index.md")
    starts = f"the story {plan.story}" if plan.story else "the line"
    ticker.say("bench", f"{starts} starts now; Ctrl-C ends everything")


def _tell_where_people_decide(plan: Plan, ticker: Ticker) -> None:
    ticker.say("bench", f"console           http://127.0.0.1:{plan.ports.api}/")
    if plan.gateway:
        ticker.say(
            "bench",
            f"bench gateway     http://127.0.0.1:{plan.ports.gateway}/     the Ignition project, without Ignition",
        )
    ticker.say("bench", f"log in as         {', '.join(PEOPLE)}     password: {plan.keys.password}")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _environment(plan: Plan, password: str) -> dict[str, str]:
    """What every program gets: the password of the simulated SAP, and where the agent keeps its file."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        plan.ports.erp_password_env: password,
        "GATEPOST_SECRET_ERP_PASSWORD": password,  # the name by which the agent's configuration asks for it
        SIGNING: plan.keys.signing,
        "GATEPOST_DATA": str(plan.data),
    }


def _check_ports(plan: Plan) -> None:
    ports = plan.ports
    wanted = {ports.erp_http: "simulated SAP"}
    wanted |= (
        {ports.opcua: "line", ports.opcua_control: "line's faults"} if plan.line_serves else {ports.broker: "broker"}
    )
    if plan.agent_config:
        wanted |= {ports.api: "agent's API", ports.management: "agent's metrics", ports.gateway: "bench gateway"}
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


def _with_gateway(plan: Plan, ticker: Ticker) -> Plan:
    """The plan with a configuration at its ports, and the bench gateway where the configuration leaves room for it."""
    if plan.agent_config is None:
        return plan
    plan = replace(plan, agent_config=at_ports(plan.agent_config, plan.data, load().bench, plan.ports))
    assert plan.agent_config is not None
    config = with_gateway(plan.agent_config, plan.data, plan.keys.token)
    if config is None:
        ticker.say("bench", "without the bench gateway: the configuration has tokens or rights of its own, or no api")
        return plan
    staged(config, plan.story)
    return replace(plan, agent_config=config, gateway=plan.keys.write(plan.data / "secrets"))


if __name__ == "__main__":
    sys.exit(main())
