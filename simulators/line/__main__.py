"""`python -m simulators.line`: run the simulated line against a broker until its reports are out or Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TextIO

from simulators.arguments import how_many, not_negative
from simulators.line import misbehaviour, plant
from simulators.line.cycles import cycles_of
from simulators.line.inspection import inspected
from simulators.line.publisher import Address, LogonError, Publisher, publish
from simulators.scenario import Scenario, load

GOODBYE_SECONDS = 5.0  # what Ctrl-C allows for the last acknowledgements


def main(arguments: list[str] | None = None) -> int:
    """Run the line; 0 when every message was acknowledged, 1 when the broker refused or some were not, 2 for usage."""
    options = _parser().parse_args(arguments)
    scenario, stop = load(options.scenario), Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    publisher = Publisher(_address(options, scenario), client_id=options.client_id, stop=stop)
    try:
        with _truth_log(options.truth) as truth:
            return _run(options, scenario, publisher, stop, truth)
    except LogonError as refusal:
        print(f"line: {refusal}", file=sys.stderr)
        return 1


def _run(
    options: argparse.Namespace, scenario: Scenario, publisher: Publisher, stop: Event, truth: TextIO | None
) -> int:
    def note(item: misbehaviour.Sent) -> None:
        if truth:
            truth.write(json.dumps(item.truth) + "\n")
            truth.flush()

    count = publish(_messages(options, scenario), publisher, rate=options.rate, stop=stop, note=note)
    complete = publisher.drain() or publisher.drain(GOODBYE_SECONDS)
    left = publisher.unacknowledged
    publisher.close()
    print(f"line: {count} reports, {'every message acknowledged' if complete else f'{left} messages unacknowledged'}")
    return 0 if complete else 1


def _messages(options: argparse.Namespace, scenario: Scenario) -> Iterator[misbehaviour.Sent]:
    """The stream that --seed, --events and --misbehave describe, stamped now or, with --start, in simulated time."""
    told = cycles_of if options.pieces else inspected if options.inspect else None
    if options.start:
        made = plant.reports(scenario, options.seed, options.events, start=options.start, told=told)
    else:
        made = plant.reports(scenario, options.seed, options.events, now=lambda: datetime.now(UTC), told=told)
    return misbehaviour.misbehave(made, options.misbehave, options.seed, scenario)


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
    parser = argparse.ArgumentParser(prog="python -m simulators.line", description=__doc__)
    parser.add_argument("--broker", metavar="HOST:PORT", help="default: the port of the scenario on 127.0.0.1")
    parser.add_argument("--rate", type=not_negative, default=2.0, help="reports per second; 0: as fast as possible")
    parser.add_argument("--events", type=how_many, help="stop after so many reports; default: when all orders are done")
    parser.add_argument(
        "--pieces", action="store_true", help="tell pieces as they are made and measurements, not consumption"
    )
    parser.add_argument(
        "--inspect", action="store_true", help="report also what an inspection finds: scrap in good lots"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed reports the same quantities")
    parser.add_argument(
        "--misbehave",
        type=_chances,
        default={},
        metavar="NAME[=P],...",
        help=f"what goes wrong, each with its probability per report (default {misbehaviour.DEFAULT_CHANCE}): "
        + ", ".join(misbehaviour.NAMES),
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write what was meant, a JSON line per report")
    parser.add_argument("--start", type=_aware, metavar="TIME", help="stamp in simulated time from here, not with now")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="another plant than simulators/scenario.yaml")
    parser.add_argument("--client-id", help="MQTT client id; default: line-PID")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--ca", default="", metavar="PEM", help="certificate authority of the broker; turns TLS on")
    return parser


def _chances(text: str) -> dict[str, float]:
    try:
        return misbehaviour.chances(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _aware(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset; write for example 2026-11-20T06:00+01:00")
    return time


if __name__ == "__main__":
    sys.exit(main())
