"""`python -m simulators.sparkplug`: run the simulated line as a Sparkplug B edge node until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TextIO

from simulators.arguments import how_many, not_negative
from simulators.line.publisher import Address, LogonError, Publisher
from simulators.line.tags import TagLot, lots, tags
from simulators.line.wire import Message
from simulators.scenario import Scenario, load
from simulators.sparkplug.edge import Edge, control_topic
from simulators.sparkplug.faults import FAULTS, Faults, Rule, named, read_rules
from simulators.sparkplug.link import Link
from simulators.sparkplug.node import EdgeNode
from simulators.sparkplug.production import Production

GROUP, NODE, HOST = "1710", "line", "gatepost"
GOODBYE_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run the node; 0 when it was ended by a signal, 1 when the broker refused it, 2 for usage."""
    options = _parser().parse_args(arguments)
    scenario, stop = load(), Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        if options.send is not None:
            return _send(options, scenario)
        with _truth_log(options.truth) as truth:
            _run(options, scenario, stop, truth)
    except LogonError as refusal:
        print(f"sparkplug: {refusal}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, scenario: Scenario, stop: Event, truth: TextIO | None) -> None:
    reported = 0

    def done(lot: TagLot) -> None:
        nonlocal reported
        reported += len(lot.truths)
        if truth:
            truth.writelines(json.dumps({**one, "misbehaviour": "", "how": ""}) + "\n" for one in lot.truths)
            truth.flush()

    made = lots(scenario, options.seed, options.events, lots_per_order=options.lots_per_order)
    devices = {center: tags(scenario, center) for center in scenario.work_centers}
    faults = Faults(options.seed, options.faults)
    Edge(
        EdgeNode(options.group, options.node, devices, options.host),
        Link(_address(options, scenario), options.client_id or f"{options.group}-{options.node}", stop),
        Production(made, options.rate, handshake=options.handshake),
        faults,
        heartbeat=options.heartbeat,
        done=done,
        say=_say,
    ).run(stop)
    _say(f"{reported} reports shown; faults struck: {json.dumps(faults.struck())}")


def _send(options: argparse.Namespace, scenario: Scenario) -> int:
    """Hand fault rules to the node that runs."""
    publisher = Publisher(_address(options, scenario), client_id="sparkplug-faults")
    publisher.send(Message(control_topic(options.group, options.node), options.send.encode()))
    arrived = publisher.drain(GOODBYE_SECONDS)
    publisher.close()
    print("sparkplug: sent" if arrived else "sparkplug: no broker took it; start the bench with make run")
    return 0 if arrived else 1


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} sparkplug: {text}", flush=True)


@contextmanager
def _truth_log(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        yield file


def _address(options: argparse.Namespace, scenario: Scenario) -> Address:
    host, _, port = (options.broker or f"127.0.0.1:{scenario.bench.broker}").rpartition(":")
    return Address(host, int(port), options.user, options.password, options.ca)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.sparkplug",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The simulated line as a Sparkplug B edge node, until Ctrl-C.\n"
        "One device per work centre; the tags are those of simulators/line/tags.py.",
        epilog="faults:\n" + "\n".join(f"  {name:<14}{what}" for name, what in FAULTS.items()),
    )
    parser.add_argument("--broker", metavar="HOST:PORT", help="default: the port of the scenario on 127.0.0.1")
    parser.add_argument("--group", default=GROUP, help=f"default: {GROUP}")
    parser.add_argument("--node", default=NODE, help=f"default: {NODE}")
    parser.add_argument(
        "--host",
        default=HOST,
        metavar="ID",
        help=f'primary host: nothing is published while its STATE says offline (default: {HOST}; "": none)',
    )
    parser.add_argument("--handshake", action="store_true", help="begin no lot before Lot/Ack was written for the last")
    parser.add_argument("--rate", type=not_negative, default=2.0, help="reports per second; 0: as fast as possible")
    parser.add_argument("--events", type=how_many, help="stop the line, not the node, after so many reports")
    parser.add_argument("--lots-per-order", type=how_many, metavar="N", help="go on to the next order after N lots")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same quantities and faults")
    parser.add_argument("--heartbeat", type=not_negative, default=1.0, metavar="S", help="seconds between two NDATA")
    parser.add_argument(
        "--faults",
        type=_rules,
        default=[],
        metavar="NAME[=P],…|FILE",
        help="what goes wrong, with its probability per scan (0.02), or a JSON file of rules",
    )
    parser.add_argument(
        "--send",
        type=_checked,
        metavar="JSON",
        help='give the running node new rules and end, as \'{"fault": "lost", "count": 1}\' or [] for none; '
        "also: probability, device, seconds",
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write what was meant, a JSON line per report")
    parser.add_argument("--client-id", help="MQTT client id; default: GROUP-NODE")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--ca", default="", metavar="PEM", help="certificate authority of the broker; turns TLS on")
    return parser


def _rules(text: str) -> list[Rule]:
    try:
        return read_rules(Path(text).read_text(encoding="utf-8")) if Path(text).is_file() else named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _checked(text: str) -> str:
    try:
        read_rules(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


if __name__ == "__main__":
    sys.exit(main())
