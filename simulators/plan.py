"""What `make run` is asked to start, and where: its options, the ports, how the line speaks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from simulators.arguments import how_many, not_negative, port_number
from simulators.people import Keys
from simulators.scenario import Bench as Ports
from simulators.scenario import load
from simulators.stories import STORIES

ROOT = Path(__file__).resolve().parent.parent


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and where."""

    ports: Ports
    data: Path
    agent_config: Path | None  # None: without the agent
    line: Sequence[str]  # the module that plays the line, and its options
    line_serves: bool  # see `Speech.serves`
    duration: float | None  # seconds
    story: str = ""  # what is played in the place of the line; empty: the line works
    pause_s: float = 0.0  # that a reader of the story has, before it goes on
    keys: Keys = field(default_factory=Keys.new)
    gateway: Mapping[str, Path] = field(default_factory=dict)  # files of its keys; none: without the bench gateway

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


def _ports(first: int | None) -> Ports:
    ports = load().bench
    if first is None:
        return ports
    numbered = replace(ports, broker=first, erp_http=first + 1, api=first + 2, management=first + 3)
    return replace(numbered, opcua=first + 4, opcua_control=first + 5, gateway=first + 6)


def plan_of(options: argparse.Namespace) -> Plan:
    """What these options ask for."""
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
        story=options.story or "",
        pause_s=options.pause,
    )


def _story(name: str) -> str:
    """As people write it: `Order_Release` is `order-release`. Ends the program where there is none of this name."""
    found = name.strip().lower().replace("_", "-")
    if found not in STORIES:
        print(f"there is no story {name!r}; the stories are {', '.join(STORIES)}", file=sys.stderr)
        raise SystemExit(2)  # one plain line: a newcomer needs no list of all options
    return found


def parser(what: str) -> argparse.ArgumentParser:
    """The options of the bench; `what` says what it does."""
    parser = argparse.ArgumentParser(prog="python -m simulators.bench", description=what)
    parser.add_argument(
        "--story", type=_story, help=f"play this over MQTT in the place of the line: {', '.join(STORIES)}"
    )
    parser.add_argument(
        "--pause", type=not_negative, default=2.5, metavar="S", help="seconds that a reader has before a story goes on"
    )
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
        help="broker on N, SAP on N+1, API on N+2, metrics on N+3, OPC UA on N+4, its faults on N+5, "
        "bench gateway on N+6, in the agent's configuration too; with --data of its own, beside another bench",
    )
    return parser
