"""The line speaks in counters while the agent is killed and the broker restarted; then SAP's totals are compared."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from agent.store import audit
from tests.e2e.ordeal import Terms, drawn_moment
from tests.e2e.rig import Program, Rig, rig, until
from tests.e2e.totals import booked_totals, differences, meant_totals

LOTS_PER_ORDER = 6  # so that orders change often: that is where a quantity can end up at the wrong one


class Line(Program):
    """A simulated line as a process; like a `Sender` it says how much it has shown, but nobody holds it back."""

    def __init__(self, folder: Path, module: str, options: Sequence[str], reports: int) -> None:
        self.truth = folder / "line-truth.jsonl"
        self.total = self.allowed = reports
        command = ["-m", module, "--events", str(reports), "--lots-per-order", str(LOTS_PER_ORDER)]
        super().__init__("line", folder, [*command, "--truth", str(self.truth), *options], {})

    @property
    def sent(self) -> int:
        """How many reports it has shown; those of the last lot may be more than were asked for."""
        return self.truth.read_bytes().count(b"\n") if self.truth.exists() else 0

    @property
    def done(self) -> bool:
        """Every lot is shown, and taken where it is acknowledged."""
        return self.said("the line has made all it had to make")

    def faults(self) -> dict[str, int]:
        """Which faults of the line struck how often, as it says at its end."""
        said = re.findall(r"faults struck: (\{.*\})", self.log.read_text(encoding="utf-8"))
        return dict(json.loads(said[-1])) if said else {}


@dataclass(slots=True)
class Result:
    """What SAP and the agent's file say afterwards."""

    terms: Terms
    seconds: float
    reports: int
    orders: int
    differences: list[str]
    doubled_keys: Mapping[str, Sequence[str]]
    faults: Counter[str]
    line_faults: Mapping[str, int]
    states: Mapping[str, int]
    events: Mapping[str, int]
    chain_broken_at: int | None
    exit_code: int
    acts: list[str]

    def figures(self) -> dict[str, Any]:
        """What `build/e2e.json` holds of it."""
        return {
            "reports": self.reports,
            "orders": self.orders,
            "kills": self.terms.kills,
            "broker_restarts": self.terms.broker_restarts,
            "totals_that_differ": len(self.differences),
            "doubled": len(self.doubled_keys),
            "seed": self.terms.seed,
            "seconds": round(self.seconds, 1),
            "event_states": dict(self.events),
            "posting_states": dict(self.states),
            "faults_struck": dict(self.faults),
            "faults_of_the_line": dict(self.line_faults),
        }

    def told(self) -> str:
        """The result for a person."""
        struck = ", ".join(f"{name} {hits}" for name, hits in self.faults.most_common())
        terms = self.terms
        return "\n".join(
            [
                f"seed {terms.seed}: {self.reports} reports of {self.orders} orders in counters, "
                f"{terms.kills} x kill -9, {terms.broker_restarts} broker restarts, {self.seconds:.0f} s",
                f"faults of SAP: {struck or 'none'}",
                f"faults of the line: {dict(self.line_faults) or 'none'}",
                f"postings {dict(self.states)}, events {dict(self.events)}",
                f"{len(self.differences)} totals differ, {len(self.doubled_keys)} keys doubled",
                *self.differences,
                *self.acts,
            ]
        )


async def tag_ordeal(folder: Path, source: str, terms: Terms, module: str, options: Sequence[str]) -> Result:
    """Run it to the end: until SAP has booked everything that will ever come. `options` may name `{broker}`."""
    begun = time.monotonic()
    settings: dict[str, Any] = {"settle_s": terms.settle_s, "lookup_reliable": True, "connect_s": 0.9, "total_s": 2.0}
    async with rig(
        folder, source=source, seed=terms.seed, faults=terms.faults, program=terms.program, **settings
    ) as plant:
        broker = f"127.0.0.1:{plant.broker.port}"
        words = [*(word.format(broker=broker) for word in options), "--seed", str(terms.seed)]
        line = Line(folder, module, [*words, "--rate", str(terms.rate)], terms.events)
        plant.programs.append(line)
        await plant.broker.start()
        await plant.sap.start()
        await plant.agent.start()
        await plant.subscribed()
        await line.start()
        await until(lambda: plant.arrived() > 0, "the first lot has arrived")
        acts = await _torment(plant, line, terms)
        await until(lambda: line.done, "every lot is taken", terms.seconds)
        await until(
            lambda: plant.idle() and not plant.sap.show("books")["pending_commits"], "all is quiet", terms.seconds
        )
        exit_code = await plant.end_agent()
        await line.end()
        return judged(plant, terms, line, time.monotonic() - begun, exit_code, acts)


async def _torment(plant: Rig, line: Line, terms: Terms) -> list[str]:
    """Kills and restarts in a drawn order at drawn moments."""
    random = Random(f"{terms.seed}/acts")
    acts = ["kill"] * terms.kills + ["broker"] * terms.broker_restarts
    random.shuffle(acts)
    done = []
    for act in acts:
        moment = await drawn_moment(plant, line, terms, random)
        if act == "kill":
            assert await plant.agent.end(signal.SIGKILL) == -signal.SIGKILL, f"ended by itself: {plant.agent.tail()}"
            await plant.agent.start()
        else:
            await plant.broker.restart(kill=random.random() < 0.5)
        done.append(f"{act} {moment}")
    return done


def judged(plant: Rig, terms: Terms, line: Line, seconds: float, exit_code: int, acts: list[str]) -> Result:
    books = plant.folder / "books.jsonl"
    faults = Counter[str]()
    for rule in plant.sap.show("faults"):
        faults[rule["fault"]] += rule["hits"]
    return Result(
        terms=terms,
        seconds=seconds,
        reports=line.sent,
        orders=len({order for order, _ in meant_totals(line.truth)} & {order for order, _ in booked_totals(books)}),
        differences=differences(books, line.truth),
        doubled_keys=plant.sap.show("books")["duplicates"],
        faults=faults,
        line_faults=line.faults(),
        states=plant.states(),
        events=plant.read(
            lambda db: dict(db.execute("SELECT state, count(*) FROM event WHERE source = 'line' GROUP BY 1"))
        ),
        chain_broken_at=plant.read(audit.verify_file).broken_at,
        exit_code=exit_code,
        acts=acts,
    )


def written(path: Path, name: str, figures: Mapping[str, Any]) -> None:
    """Put a result beside those that are in the file already."""
    path.parent.mkdir(exist_ok=True)
    others = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**others, name: figures}, indent=2) + "\n", encoding="utf-8")
