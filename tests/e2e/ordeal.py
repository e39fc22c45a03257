"""Reports flow while the agent is killed, the broker restarted and SAP misbehaves; then SAP's books are read."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Protocol

from agent.store import audit, balance
from simulators.scenario import load
from tests.e2e.reports import Report, messages, reports
from tests.e2e.rig import Booked, Rig, Sender, rig, until

LATEST_COMMIT_S = 0.8  # the longest that the simulated SAP books after it was given up
SETTLE_S = 3.0


def _fault(name: str, probability: float, **more: object) -> Mapping[str, Any]:
    return {"fault": name, "probability": probability, "method": "POST", **more}


FAULTS = (
    _fault("answer_lost", 0.04),
    _fault("late_commit", 0.04, seconds=LATEST_COMMIT_S),
    _fault("commit_after_timeout", 0.015, seconds=LATEST_COMMIT_S / 2),
    _fault("error_after_commit", 0.025),
    _fault("bad_gateway", 0.015),
    _fault("truncated", 0.02),
    _fault("empty_body", 0.01),
    _fault("no_document", 0.01),
    _fault("slow", 0.04, seconds=0.3),
    _fault("unavailable", 0.01, value="1"),
    _fault("unavailable", 0.015),
    _fault("unavailable", 0.02, method="GET"),
    _fault("too_many", 0.005, value="1"),
    _fault("reset", 0.025),
    _fault("html", 0.01),
    _fault("locked", 0.03),
    _fault("expired_token", 0.02),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What one ordeal is made of; the same seed draws the same reports, kills and restarts."""

    seed: int = 1
    events: int = 400
    kills: int = 12
    broker_restarts: int = 3
    rate: float = 15.0  # messages per second while there are some to send; 0: as fast as the broker takes them
    settle_s: float = SETTLE_S
    faults: Sequence[Mapping[str, Any]] = FAULTS
    moments: Sequence[str] = ("time", "arrivals", "documents")  # when it is killed: see `drawn_moment`
    program: Sequence[str] = ("-m", "agent", "run")
    seconds: float = 300.0  # until everything is booked after the last kill


@dataclass(slots=True)
class Outcome:
    """What the books of SAP and the file of the agent say afterwards."""

    terms: Terms
    seconds: float
    lost: list[str]
    doubled: dict[str, int]
    out_of_order: list[str]
    doubled_keys: Mapping[str, Sequence[str]]
    latest_commit_s: float
    messages: int
    received: int
    states: Mapping[str, int]
    events: Mapping[str, int]
    faults: Counter[str]
    differences: list[int]
    chain_broken_at: int | None
    alarms: list[str]
    exit_code: int
    acts: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """What `build/e2e.json` holds."""
        return {
            "events": self.terms.events,
            "kills": self.terms.kills,
            "broker_restarts": self.terms.broker_restarts,
            "lost": len(self.lost),
            "doubled": sum(self.doubled.values()),
            "out_of_order": len(self.out_of_order),
            "seed": self.terms.seed,
            "latest_commit_s": round(self.latest_commit_s, 3),
            "settle_s": self.terms.settle_s,
            "seconds": round(self.seconds, 1),
            "messages_sent": self.messages,
            "messages_received": self.received,
            "event_states": dict(self.events),
            "posting_states": dict(self.states),
            "faults_struck": dict(self.faults),
        }

    def told(self) -> str:
        """The result for a person, the settle wait beside what it must be longer than."""
        struck = ", ".join(f"{name} {hits}" for name, hits in self.faults.most_common())
        terms = self.terms
        lines = [
            f"seed {terms.seed}: {terms.events} reports, {self.messages} messages sent, {self.received} received, "
            f"{terms.kills} x kill -9, {terms.broker_restarts} broker restarts, {self.seconds:.0f} s",
            f"faults of SAP: {struck or 'none'}",
            f"SAP's latest commit {self.latest_commit_s:.2f} s after it was given up, settle wait {terms.settle_s} s",
            f"postings {dict(self.states)}, events {dict(self.events)}",
            f"lost {len(self.lost)}, doubled {sum(self.doubled.values())}, out of order {len(self.out_of_order)}",
        ]
        return "\n".join(lines)


async def ordeal(folder: Path, terms: Terms) -> Outcome:
    """Run it to the end: until SAP has booked everything that will ever come."""
    begun = time.monotonic()
    sent = reports(load(), terms.seed, terms.events, datetime.now(UTC))
    settings: dict[str, Any] = {"settle_s": terms.settle_s, "lookup_reliable": True, "connect_s": 0.9, "total_s": 2.0}
    async with rig(folder, seed=terms.seed, faults=terms.faults, program=terms.program, **settings) as plant:
        await plant.broker.start()
        await plant.sap.start()
        await plant.agent.start()
        await plant.subscribed()
        sender = plant.send(messages(sent, terms.seed), terms.rate, allowed=0)
        acts = await torment(plant, sender, terms)
        await until(lambda: sender.done, "everything is published")
        await until(lambda: _last_is_in(plant, sent[-1]), "the last report has arrived")
        await until(
            lambda: plant.idle() and not plant.sap.show("books")["pending_commits"], "all is quiet", terms.seconds
        )
        exit_code = await plant.end_agent()
        return _judged(plant, terms, sent, sender, time.monotonic() - begun, exit_code, acts)


async def torment(plant: Rig, sender: Sender, terms: Terms) -> list[str]:
    """Kills and restarts in a drawn order at drawn moments; each life of the agent gets its share of the reports."""
    random = Random(f"{terms.seed}/acts")
    acts = ["kill"] * terms.kills + ["broker"] * terms.broker_restarts
    random.shuffle(acts)
    done = []
    for number, act in enumerate(acts, start=1):
        sender.allowed = sender.total * number // (len(acts) + 1)
        moment = await drawn_moment(plant, sender, terms, random)
        if act == "kill":
            assert await plant.agent.end(signal.SIGKILL) == -signal.SIGKILL, f"ended by itself: {plant.agent.tail()}"
            await plant.agent.start()
        else:
            await plant.broker.restart()
        done.append(f"{act} {moment}")
    sender.allowed = sender.total
    return done


class Paced(Protocol):
    """Who reports: how much there is, how much of it may be reported by now, how much is."""

    @property
    def total(self) -> int: ...
    @property
    def allowed(self) -> int: ...
    @property
    def sent(self) -> int: ...


async def drawn_moment(plant: Rig, sender: Paced, terms: Terms, random: Random) -> str:
    """Some seconds from now, start-up and recovery included; or while reports are stored; or while they are posted."""
    share = sender.total // (terms.kills + terms.broker_restarts + 1)
    kind, seconds, by = random.choice(terms.moments), random.uniform(0.05, 3), random.randint(1, max(1, share // 2))
    if kind == "time":
        await asyncio.sleep(seconds)
        return f"after {seconds:.2f} s"
    if kind == "arrivals":
        return await _grown(plant, sender, plant.arrived, by, "arrivals")
    return await _grown(plant, sender, lambda: len(plant.sap.booked()), by, "documents")


async def _grown(plant: Rig, sender: Paced, count: Callable[[], int], by: int, what: str) -> str:
    """Wait until there are `by` more; no longer than until there is nothing left to come in this life of the agent."""
    before, end = count(), time.monotonic() + 15.0  # where SAP or the broker rests, the moment comes all the same
    while count() < before + by and time.monotonic() < end:
        if sender.sent >= sender.allowed and plant.arrived() >= sender.sent and plant.idle():
            break
        await asyncio.sleep(0.003)
    return f"after {count() - before} {what}"


def _last_is_in(plant: Rig, last: Report) -> bool:
    kind = last.message.topic.rpartition("/")[2]
    return plant.count("SELECT count(*) FROM identity WHERE message_key = ?", f"{kind}:{last.id}") == 1


def _judged(
    plant: Rig, terms: Terms, sent: Sequence[Report], sender: Sender, seconds: float, exit_code: int, acts: list[str]
) -> Outcome:
    booked, books = plant.sap.booked(), plant.sap.show("books")
    times = Counter(one.report for one in booked)
    balances = [*plant.read(balance.running), *plant.read(balance.counted)]
    events = plant.read(
        lambda db: dict(db.execute("SELECT state, count(*) FROM event WHERE source = 'line' GROUP BY 1"))
    )
    faults = Counter[str]()
    for rule in plant.sap.show("faults"):
        faults[rule["fault"]] += rule["hits"]
    return Outcome(
        terms=terms,
        seconds=seconds,
        lost=[one.id for one in sent if not times[one.id]],
        doubled={report: number - 1 for report, number in times.items() if number > 1},
        out_of_order=out_of_order(sent, booked),
        doubled_keys=books["duplicates"],
        latest_commit_s=books["latest_commit_after_disconnect_seconds"],
        messages=sender.total,
        received=plant.arrived(),
        states=plant.states(),
        events=events,
        faults=faults,
        differences=[one.difference for one in balances],
        chain_broken_at=plant.read(audit.verify_file).broken_at,
        alarms=plant.read(
            lambda db: [f"{a}: {d}" for a, d in db.execute("SELECT action, detail FROM audit WHERE alarm")]
        ),
        exit_code=exit_code,
        acts=acts,
    )


def out_of_order(sent: Sequence[Report], booked: Sequence[Booked]) -> list[str]:
    """Reports that were first booked after one of their order that was reported later."""
    place = {report.id: number for number, report in enumerate(sent)}
    highest: dict[str, int] = {}
    late = []
    for report in dict.fromkeys(one.report for one in booked):
        number = place[report]
        order = sent[number].order
        if number < highest.get(order, -1):
            late.append(report)
        highest[order] = max(number, highest.get(order, -1))
    return late
