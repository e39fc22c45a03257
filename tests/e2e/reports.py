"""What the senders of an ordeal report: clean, seeded, spread over many orders, numbered, now and then sent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

from simulators.line.wire import Message, encode
from simulators.scenario import Order, Scenario

CONFIRMATIONS = 0.3  # of the reports; the others are consumptions
SENT_TWICE = 0.05  # of the reports: the same bytes again, as a sender does that missed an acknowledgement
STEP = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class Report:
    """One report; its id comes back as the text of the document that it becomes."""

    id: str
    order: str
    message: Message


def reports(scenario: Scenario, seed: int, count: int, start: datetime, orders: int = 30) -> list[Report]:
    """`count` reports about the first `orders` orders, in the order in which their senders number them."""
    random, numbers = Random(f"{seed}/reports"), Counter[str]()
    chosen = scenario.orders()[:orders]
    made = []
    for index in range(count):
        order = random.choice(chosen)
        numbers[order.work_center] += 1
        at = (start + timedelta(milliseconds=index)).astimezone(ZoneInfo(scenario.time_zone))
        write = _confirmation if random.random() < CONFIRMATIONS else _consumption
        made.append(write(scenario, order, numbers[order.work_center], at, random))
    return made


def messages(sent: list[Report], seed: int) -> Iterator[Message]:
    """Every report's message in order; some come a second time, a few reports later."""
    random, again = Random(f"{seed}/again"), list[Message]()
    for report in sent:
        yield report.message
        if random.random() < SENT_TWICE:
            again.append(report.message)
        if again and random.random() < 0.5:
            yield again.pop(0)


def _consumption(scenario: Scenario, order: Order, number: int, at: datetime, random: Random) -> Report:
    component = random.choice(order.components)
    lot = Decimal(random.randint(2, 6))
    body = {
        **_head(order, number, at),
        "material": component.material,
        "quantity": (component.per_unit * lot).quantize(STEP if component.unit == "KG" else Decimal(1)),
        "unit": component.unit,
        "batch": f"B{number:06d}",  # so that no two weighings look like one that was reported twice
        "location": component.storage_location,
        "lot_quantity": lot,
        "operator": "4711",
    }
    return _report(scenario, order, body, "consumption")


def _confirmation(scenario: Scenario, order: Order, number: int, at: datetime, random: Random) -> Report:
    body = {
        **_head(order, number, at),
        "yield": Decimal(random.randint(1, 5)),
        "scrap": Decimal(0),
        "unit": order.unit,
        "scrap_reason": "",
        "final": False,
        "start": (at - timedelta(minutes=3)).isoformat(timespec="milliseconds"),
        "end": at.isoformat(timespec="milliseconds"),
        "machine_minutes": Decimal("3.0"),
        "labor_minutes": Decimal("2.5"),
        "operator": "4711",
    }
    return _report(scenario, order, body, "confirmation")


def _head(order: Order, number: int, at: datetime) -> dict[str, object]:
    return {
        "id": f"{order.work_center}-{number:06d}",
        "seq": number,
        "ts": at.isoformat(timespec="milliseconds"),
        "order": order.number,
        "operation": order.operation,
    }


def _report(scenario: Scenario, order: Order, body: dict[str, object], kind: str) -> Report:
    line = scenario.work_centers[order.work_center].line
    topic = f"plant/{scenario.plant}/{line}/{order.work_center}/{kind}"
    return Report(str(body["id"]), order.number, Message(topic, encode(body)))
