"""The plant of the measurements: the bench's plant with more orders, and what its line reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

from simulators import scenario
from simulators.line import plant, wire
from simulators.line.wire import Message
from simulators.scenario import Scenario

SEED = 7
COUNTS = {"CMP-BLUE": 60, "BODY-55": 14, "VALVE-55": 12}  # orders; each work centre makes about 8 000 lots
STOCK = Decimal("9999999")
LOTS = 24_500  # of all orders
PERIOD = timedelta(hours=1)  # in which all lots were made; the last one is about now


def busy_plant() -> Scenario:
    """The scenario of `make run` with more orders, and stock that never runs short."""
    base = scenario.load()
    plans = tuple(replace(one, count=COUNTS[one.material]) for one in base.plans)
    materials = {name: replace(one, stock=STOCK) for name, one in base.materials.items()}
    return replace(base, plans=plans, materials=materials)


def messages(count: int, *, spread: bool = False) -> list[Message]:
    """The first `count` reports of about 300 bytes as the line sends them, stamped in the recent past.

    `spread` takes them from all orders in turn instead of three at a time, and leaves final confirmations out, so
    that any number of orders is under way at once.
    """
    reports = plant.reports(busy_plant(), SEED, now=_clock())
    if spread:
        chosen = islice(_in_turn([one for one in reports if not one.body.get("final")]), count)
    else:
        chosen = islice(reports, count)
    made = [Message(one.topic, wire.encode(one.body)) for one in chosen]
    if len(made) < count:
        raise ValueError(f"the plant makes only {len(made)} reports; ask for fewer, or raise COUNTS")
    return made


def _clock() -> Callable[[], datetime]:
    """A moment later at every lot."""
    moment = datetime.now(UTC) - PERIOD

    def now() -> datetime:
        nonlocal moment
        moment += PERIOD / LOTS
        return moment

    return now


def _in_turn(reports: Sequence[plant.Report]) -> Iterator[plant.Report]:
    """The first report of every order, then the second of every order, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for number, one in enumerate(reports):
        order = one.body["order"]
        ranked.append((seen[order], number))
        seen[order] += 1
    return (reports[number] for _, number in sorted(ranked))
