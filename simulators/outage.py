"""`python -m simulators.outage`: pull a cable of the running bench, and plug it in again."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

from simulators.arguments import port_number
from simulators.ask import ask
from simulators.scenario import load

ROOT = Path(__file__).resolve().parent.parent
FAULTS: dict[str, list[dict[str, Any]]] = {
    "sap": [{"fault": "unavailable", "value": "2"}],  # 503 with Retry-After, to whatever is asked
    "answer": [{"fault": "answer_lost", "method": "POST", "count": 1}],
}
OUTAGES = {
    "sap": "SAP answers 503 to everything",
    "answer": "SAP books the next posting, and its answer is lost on the way",
    "broker": "the broker freezes: connections stay, nothing moves",
    "over": "everything is well again",
}


def main(arguments: list[str] | None = None) -> int:
    """Do it and say so; 1 when there is no bench to do it to."""
    options = _parser().parse_args(arguments)
    port = load().bench.erp_http if options.first_port is None else options.first_port + 1
    try:
        if options.outage == "broker":
            _signal_broker(options.data, signal.SIGSTOP)
        else:
            _faults(port, FAULTS.get(options.outage, []))
        if options.outage == "over":
            _signal_broker(options.data, signal.SIGCONT)
    except OSError as error:
        print(f"outage: no bench runs here ({error}); start it with `make run`", file=sys.stderr)
        return 1
    print(OUTAGES[options.outage])
    return 0


def _faults(port: int, rules: list[dict[str, Any]]) -> None:
    """Put these in the place of all faults of the simulated SAP. Raises OSError."""
    status, said = ask(f"http://127.0.0.1:{port}/_sim/faults", rules)
    if status != HTTPStatus.OK:
        raise ConnectionError(f"answered {status}: {said[:200]}")


def _signal_broker(data: Path, number: signal.Signals) -> None:
    """Send a signal to the bench's broker, and to nobody who got its number later. Raises OSError."""
    broker = int((data / "broker" / "pid").read_text(encoding="ascii"))
    if "broker" not in Path(f"/proc/{broker}/cmdline").read_text(encoding="utf-8", errors="replace"):
        raise ProcessLookupError("its broker has ended")
    os.kill(broker, number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.outage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Pull a cable of the running bench, and plug it in again:\n\n"
        + "\n".join(f"  {name:<8}{what}" for name, what in OUTAGES.items()),
    )
    parser.add_argument("outage", choices=OUTAGES, help="one of the above")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "bench", metavar="DIR", help="default: var/bench")
    parser.add_argument("--first-port", type=port_number, metavar="N", help="where the bench was started with it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
