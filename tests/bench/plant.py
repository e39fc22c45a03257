"""The plant of the measurements: the bench's plant with more orders, and what its line reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path

from simulators import scenario
from simulators.line import plant, wire
from simulators.line.wire import Message
from simulators.scenario import Scenario

SEED = 7
COUNTS = {"CMP-BLUE": 60, "BODY-55": 14, "VALVE-55": 12}  # orders; each work centre makes about 8 000 lots
STOCK = Decimal("9999999")
LOTS = 24_500  # of all orders
PERIOD = timedelta(hours=1)  # in which all lots were made; the last one is about now
AT_WORK = 3_000  # orders of the large plant, all under way: at 300 to 700 postings/s each has 6 to 14 a minute


def busy_plant(orders: int | None = None) -> Scenario:
    """The scenario of `make run` with more orders (so many, each product's share alike), and endless stock."""
    base = scenario.load()
    counts = dict.fromkeys(COUNTS, orders // len(COUNTS)) if orders else COUNTS
    plans = tuple(replace(one, count=counts[one.material]) for one in base.plans)
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


def of_large_plant(count: int, *, under_way: int = AT_WORK) -> list[Message]:
    """The first `count` reports of the plant with AT_WORK orders, of which so many are under way at a time, in turn.

    Final confirmations are left out. Senders number what they send.
    """
    large = busy_plant(AT_WORK)
    share, slots, numbers = AT_WORK // len(large.plans), under_way // len(large.plans), Counter[str]()
    orders = [
        _one_by_one(replace(large, plans=(replace(plan, count=1),)), range(of * share + slot, (of + 1) * share, slots))
        for slot in range(slots)
        for of, plan in enumerate(large.plans)
    ]
    in_turn = (report for turn in zip(*orders, strict=False) for report in turn)
    return [_numbered(one, numbers) for one in islice(in_turn, count)]


def write(path: Path, messages: Iterable[Message]) -> None:
    """Keep messages for another process: making them takes longer than many a measurement."""
    path.write_bytes(b"".join(b"%s %s\n" % (one.topic.encode(), one.payload) for one in messages))


def read(path: Path) -> list[Message]:
    """What `write` kept."""
    kept = (line.partition(b" ") for line in path.read_bytes().splitlines())
    return [Message(topic.decode(), payload) for topic, _, payload in kept]


def _one_by_one(alone: Scenario, orders: Iterable[int]) -> Iterator[plant.Report]:
    """What orders of one product report, one order after the other; `alone` is the plant with a single one."""
    clock = _clock()
    for order in orders:
        number = alone.first_order + order
        reports = plant.reports(replace(alone, first_order=number), SEED + number, now=clock)
        yield from (one for one in reports if not one.body.get("final"))


def _numbered(one: plant.Report, numbers: Counter[str]) -> Message:
    center = one.topic.split("/")[3]
    numbers[center] += 1
    body = one.body | {"id": plant.report_id(center, numbers[center]), "seq": numbers[center]}
    return Message(one.topic, wire.encode(body))


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
