"""What goes wrong on a shop floor, as pure transformations of a stream of reports: seeded, one wrong per report.

what the operator or the device did            how it reaches the broker
double_report      the same message twice, or the same content again under a new id and number
conflict           a second message with the same id and another quantity
wrong_unit         g where kg is meant, or kg where g is meant, with the same number
usage_200          twice the quantity that was used
swapped_component  a material that the order does not need
power_of_ten       the decimal point one place off
transposed         two digits exchanged
unknown_order      an order number that the ERP does not have
clock_skew         time stamps an hour or a day off
broken_json        bytes that are no JSON object
retained           published with the retain flag
gap                numbers left out before this report
burst              nothing is sent for a while, then everything at once
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

from simulators.line.plant import Report, report_id
from simulators.line.wire import Message, encode
from simulators.scenario import Scenario

Body = dict[str, Any]
DEFAULT_CHANCE = 0.02
BURST_REPORTS = (10, 40)
SKEWS = (timedelta(days=-1), timedelta(hours=-1), timedelta(hours=1), timedelta(days=1))
FAR_AWAY = 1_000_000  # orders this far up are nobody's


@dataclass(frozen=True, slots=True)
class Sent:
    """One intended report and the messages it became.

    `truth` is the report's own truth with `misbehaviour` ("" for none), `how`, and `ids` of its messages. `held`
    messages wait with those before them until the next report that is not held.
    """

    truth: dict[str, Any]
    messages: tuple[Message, ...]
    held: bool = False


def chances(text: str) -> dict[str, float]:
    """Read `name[=probability],...`; raises ValueError that names what is unknown or out of range."""
    wanted: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, chance = part.partition("=")
        if name not in NAMES:
            raise ValueError(f"misbehaviour {name!r} is unknown; known are {', '.join(NAMES)}")
        wanted[name] = float(chance) if chance else DEFAULT_CHANCE
    if any(chance < 0 for chance in wanted.values()) or sum(wanted.values()) > 1:
        raise ValueError(f"probabilities in {text!r} must not be negative and must add up to at most 1")
    return wanted


def misbehave(reports: Iterable[Report], wanted: Mapping[str, float], seed: int, scenario: Scenario) -> Iterator[Sent]:
    """Turn reports into messages, each going wrong at most once, with the probabilities `wanted` by name."""
    random = Random(f"{seed}/misbehaviour")
    foreign = _foreign_materials(scenario)
    extra = Counter[str]()  # numbers that misbehaviour used up or left out, by work centre
    hold = 0  # reports that a burst still holds back
    for report in reports:
        center = report.truth["work_center"]
        name = "burst" if hold else _draw(wanted, random)
        if name == "burst":
            hold = hold - 1 if hold else random.randint(*BURST_REPORTS) - 1
        if name == "gap":
            extra[center] += random.randint(1, 5)
        sent = _send(_numbered(report, extra[center]), name, random, foreign)
        extra[center] += len(set(sent.truth["ids"])) - 1
        yield replace(sent, held=True) if name == "burst" and hold else sent


def _draw(wanted: Mapping[str, float], random: Random) -> str:
    point = random.random()
    for name, chance in wanted.items():
        if point < chance:
            return name
        point -= chance
    return ""


def _foreign_materials(scenario: Scenario) -> dict[str, list[str]]:
    """By order: the materials it neither needs nor makes."""
    return {
        order.number: sorted(set(scenario.materials) - {part.material for part in order.components} - {order.product})
        for order in scenario.orders()
    }


def _numbered(report: Report, extra: int) -> Report:
    if not extra:
        return report
    number = report.body["seq"] + extra
    identity = report_id(report.truth["work_center"], number)
    return replace(
        report,
        body=report.body | {"id": identity, "seq": number},
        truth=report.truth | {"id": identity},
    )


def _send(report: Report, name: str, random: Random, foreign: Mapping[str, list[str]]) -> Sent:
    """Apply one misbehaviour; a report that it does not fit (a wrong unit of a confirmation) goes out as it is."""
    if name in REPEATS:
        bodies, how = REPEATS[name](report, random)
        return _as_sent(report, bodies, name, how)
    if name in DISTORTIONS:
        body = DISTORTIONS[name](report.body, random, foreign)
        return _as_sent(report, [body or report.body], name if body else "", "")
    sent = _as_sent(report, [report.body], name, "")
    if name == "broken_json":
        return replace(sent, messages=(Message(report.topic, _broken(sent.messages[0].payload, random)),))
    if name == "retained":
        return replace(sent, messages=(replace(sent.messages[0], retain=True),))
    return sent


def _as_sent(report: Report, bodies: list[Body], name: str, how: str) -> Sent:
    truth = report.truth | {"misbehaviour": name, "how": how, "ids": [body["id"] for body in bodies]}
    return Sent(truth, tuple(Message(report.topic, encode(body)) for body in bodies))


# Repeats: more than one message for one report.


def _double_report(report: Report, random: Random) -> tuple[list[Body], str]:
    if random.random() < 0.5:
        return [report.body, report.body], "same_id"
    number = report.body["seq"] + 1
    again = report.body | {"id": report_id(report.truth["work_center"], number), "seq": number}
    return [report.body, again], "new_id"


def _conflict(report: Report, _random: Random) -> tuple[list[Body], str]:
    key = _amount_key(report.body)
    return [report.body, report.body | {key: report.body[key] + 1}], key


# Distortions: another body; None where the misbehaviour does not fit the report.


def _wrong_unit(body: Body, _random: Random, _foreign: Mapping[str, list[str]]) -> Body | None:
    swapped = {"kg": "g", "g": "kg"}.get(body.get("unit", ""))
    return body | {"unit": swapped} if swapped and "quantity" in body else None


def _usage_200(body: Body, _random: Random, _foreign: Mapping[str, list[str]]) -> Body | None:
    return body | {"quantity": body["quantity"] * 2} if "quantity" in body else None


def _swapped_component(body: Body, random: Random, foreign: Mapping[str, list[str]]) -> Body | None:
    return body | {"material": random.choice(foreign[body["order"]])} if "material" in body else None


def _power_of_ten(body: Body, random: Random, _foreign: Mapping[str, list[str]]) -> Body | None:
    key = _amount_key(body)
    return body | {key: body[key].scaleb(random.choice((-1, 1)))} if body[key] else None


def _transposed(body: Body, random: Random, _foreign: Mapping[str, list[str]]) -> Body | None:
    key = _amount_key(body)
    text = f"{body[key]:f}"
    places = [i for i, (a, b) in enumerate(pairwise(text)) if a != b and (a + b).isdigit()]
    if not places:
        return None
    at = random.choice(places)
    return body | {key: Decimal(text[:at] + text[at + 1] + text[at] + text[at + 2 :])}


def _unknown_order(body: Body, _random: Random, _foreign: Mapping[str, list[str]]) -> Body | None:
    return body | {"order": str(int(body["order"]) + FAR_AWAY)}


def _clock_skew(body: Body, random: Random, _foreign: Mapping[str, list[str]]) -> Body | None:
    skew = random.choice(SKEWS)
    times = {key: datetime.fromisoformat(body[key]) + skew for key in ("ts", "start", "end") if key in body}
    return body | {key: time.isoformat(timespec="milliseconds") for key, time in times.items()}


def _amount_key(body: Body) -> str:
    return next(name for name in ("quantity", "yield", "good") if name in body)


def _broken(payload: bytes, random: Random) -> bytes:
    """Bytes that a careless sender puts on the wire: cut off, not UTF-8, not finite, not an object, a key twice."""
    return random.choice(
        (
            payload[: len(payload) // 2],
            payload.replace(b'"operator"', b'"operator\xff"'),
            payload[:-1] + b',"extra":NaN}',
            b"[" + payload + b"]",
            payload[:-1] + b',"id":"twice"}',
            b"",
        )
    )


REPEATS: Mapping[str, Callable[[Report, Random], tuple[list[Body], str]]] = {
    "double_report": _double_report,
    "conflict": _conflict,
}
DISTORTIONS: Mapping[str, Callable[[Body, Random, Mapping[str, list[str]]], Body | None]] = {
    "wrong_unit": _wrong_unit,
    "usage_200": _usage_200,
    "swapped_component": _swapped_component,
    "power_of_ten": _power_of_ten,
    "transposed": _transposed,
    "unknown_order": _unknown_order,
    "clock_skew": _clock_skew,
}
NAMES = (*REPEATS, *DISTORTIONS, "broken_json", "retained", "gap", "burst")
