"""The simulated line: what its machines report, and how reports go wrong."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from typing import Any

import pytest

from simulators.line.cycles import cycles_of
from simulators.line.misbehaviour import NAMES, Sent, chances, misbehave
from simulators.line.plant import Report, lots, reports
from simulators.line.wire import encode
from simulators.scenario import load

SCENARIO = load()
ORDERS = {order.number: order for order in SCENARIO.orders()}


def some(count: int, seed: int = 7) -> list[Report]:
    return list(reports(SCENARIO, seed, count))


def wrong(name: str, count: int = 60, seed: int = 7) -> list[Sent]:
    return list(misbehave(reports(SCENARIO, seed, count), {name: 1.0}, seed, SCENARIO))


def bodies(sent: Sent) -> list[dict[str, Any]]:
    return [json.loads(message.payload, parse_float=Decimal) for message in sent.messages]


def consumptions(sent: list[Sent]) -> list[Sent]:
    return [item for item in sent if item.truth["kind"] == "consumption"]


def test_the_same_seed_reports_the_same_to_the_last_digit():
    """Two runs with one seed give identical messages, another seed gives others."""
    first, second, other = ([(report.topic, encode(report.body)) for report in some(300, seed)] for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_a_report_is_one_flat_json_object_with_exact_decimals():
    """What is on the wire reads back as the very quantity of the report."""
    for report in some(50):
        read = json.loads(encode(report.body), parse_float=Decimal, parse_int=Decimal)
        key = "quantity" if "quantity" in read else "yield"
        assert read[key] == report.body[key]
        assert f"{read[key]:f}" in encode(report.body).decode()


def test_topics_name_plant_line_work_centre_and_kind():
    """The topic says where a report comes from and what kind it is."""
    topics = {report.topic for report in some(500)}
    assert "plant/1710/mixing/MIX-01/consumption" in topics
    assert "plant/1710/assembly/ASSY-05/confirmation" in topics
    assert len(topics) == 6


def test_each_work_centre_numbers_its_reports_without_a_gap():
    """Sequence numbers count up from 1 per work centre, and the id carries them."""
    numbers = defaultdict(list)
    for report in some(500):
        numbers[report.truth["work_center"]].append(report.body["seq"])
        assert report.body["id"] == f"{report.truth['work_center']}-{report.body['seq']:06d}"
    assert len(numbers) == 3
    assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())


def test_every_order_is_made_completely_and_ends_with_one_final_confirmation():
    """Good and scrap of an order add up to its quantity, and only its last report is final."""
    made: dict[str, Decimal] = defaultdict(Decimal)
    last: dict[str, dict[str, Any]] = {}
    for report in reports(SCENARIO, 3):
        order = report.body["order"]
        assert not last.get(order, {}).get("final"), f"order {order} reports after its final confirmation"
        last[order] = report.body
        if report.truth["kind"] == "confirmation":
            made[order] += report.body["yield"] + report.body["scrap"]
    assert made == {number: order.quantity for number, order in ORDERS.items()}
    assert all(body["final"] for body in last.values())


def test_consumption_follows_the_standard_and_its_set_up():
    """Over a whole order each component comes within one percent of what the order reserves."""
    used: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for report in reports(SCENARIO, 3):
        if report.truth["kind"] == "consumption":
            used[report.truth["reservation"], report.truth["item"]] += Decimal(report.truth["quantity"])
    for order in ORDERS.values():
        for part in order.components:
            assert abs(used[part.reservation, part.item] / part.required - 1) < Decimal("0.01"), part


def test_the_truth_says_in_erp_units_what_the_floor_says_in_its_own():
    """kg, g and pcs on the floor are the same quantity in KG and PC in the truth."""
    factors = {("kg", "KG"): 1, ("g", "KG"): 1000, ("pcs", "PC"): 1}
    seen = set()
    for report in some(500):
        if report.truth["kind"] == "consumption":
            units = (report.body["unit"], report.truth["unit"])
            seen.add(units)
            assert report.body["quantity"] == Decimal(report.truth["quantity"]) * factors[units]
    assert seen == set(factors)


def test_scrap_is_rare_and_has_a_reason():
    """Between one and eight percent of the lots have scrap, each with a reason code."""
    lots = [report.body for report in reports(SCENARIO, 5, 20_000) if report.truth["kind"] == "confirmation"]
    scrapped = [body for body in lots if body["scrap"]]
    assert 0.01 < len(scrapped) / len(lots) < 0.08
    assert all(body["scrap_reason"] for body in scrapped)
    assert all(body["yield"] >= 0 for body in lots)


def test_a_live_line_stamps_its_reports_with_the_clock_it_is_given():
    """With `now` the time stamps are the given clock's, with the plant's offset."""
    now = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    for report in reports(SCENARIO, 1, 20, now=lambda: now):
        stamp = datetime.fromisoformat(report.body["ts"])
        assert timedelta(0) <= now - stamp < timedelta(seconds=5)
        assert stamp.utcoffset() == timedelta(hours=2)


def test_without_misbehaviour_every_report_is_one_honest_message():
    """Nothing is added, changed or marked when no misbehaviour is wanted."""
    made = some(100)
    sent = list(misbehave(iter(made), {}, 7, SCENARIO))
    assert [message.payload for item in sent for message in item.messages] == [encode(report.body) for report in made]
    assert {item.truth["misbehaviour"] for item in sent} == {""}


@pytest.mark.parametrize("name", NAMES)
def test_every_misbehaviour_is_deterministic_and_named_in_the_truth(name):
    """A seed goes wrong the same way twice, and the truth log says how."""
    assert wrong(name) == wrong(name)
    assert name in {item.truth["misbehaviour"] for item in wrong(name)}


def test_a_double_report_repeats_the_body_or_comes_under_a_new_id():
    """Both ways of reporting twice occur; a new id takes the next number, so it makes no gap."""
    ways: dict[str, int] = defaultdict(int)
    for item in wrong("double_report"):
        first, second = bodies(item)
        ways[item.truth["how"]] += 1
        if item.truth["how"] == "same_id":
            assert item.messages[0] == item.messages[1]
        else:
            assert second["seq"] == first["seq"] + 1
            assert {**second, "id": first["id"], "seq": first["seq"]} == first
    assert set(ways) == {"same_id", "new_id"}


def test_a_conflict_says_two_things_under_one_id():
    """The second message has the same id and another quantity."""
    for item in wrong("conflict"):
        first, second = bodies(item)
        assert first["id"] == second["id"]
        assert first != second


def test_a_wrong_unit_keeps_the_number():
    """Only the unit changes: what was kg is called g."""
    for item in consumptions(wrong("wrong_unit")):
        (body,) = bodies(item)
        if item.truth["misbehaviour"]:
            right = {"g": Decimal(item.truth["quantity"]), "kg": Decimal(item.truth["quantity"]) * 1000}
            assert body["quantity"] == right[body["unit"]]


def test_usage_200_reports_twice_what_was_used():
    """The quantity on the wire is double the truth."""
    for item in consumptions(wrong("usage_200")):
        (body,) = bodies(item)
        factor = 1000 if body["unit"] == "g" else 1
        assert body["quantity"] == 2 * factor * Decimal(item.truth["quantity"])


def test_a_swapped_component_is_none_that_the_order_needs():
    """The reported material is a known one that the order's list does not hold."""
    for item in consumptions(wrong("swapped_component")):
        (body,) = bodies(item)
        assert body["material"] in SCENARIO.materials
        assert body["material"] not in {part.material for part in ORDERS[body["order"]].components}


def test_a_slip_of_the_decimal_point_is_a_factor_of_ten():
    """The quantity is ten times or a tenth of what was weighed."""
    for item, honest in zip(wrong("power_of_ten"), some(60), strict=True):
        key = "quantity" if "quantity" in honest.body else "yield"
        (body,) = bodies(item)
        assert body[key] in (honest.body[key] * 10, honest.body[key] / 10)


def test_transposed_digits_are_the_same_digits_in_another_order():
    """No digit is added or lost, two neighbours changed places."""
    for item, honest in zip(wrong("transposed"), some(60), strict=True):
        if item.truth["misbehaviour"]:
            key = "quantity" if "quantity" in honest.body else "yield"
            before, after = str(honest.body[key]), str(bodies(item)[0][key])
            assert sorted(before.replace("0", "")) == sorted(after.replace("0", ""))
            assert Decimal(before) != Decimal(after)


def test_an_unknown_order_is_in_nobodys_books():
    """The order number is none of the scenario's."""
    assert all(bodies(item)[0]["order"] not in ORDERS for item in wrong("unknown_order"))


def test_a_skewed_clock_is_at_least_an_hour_off_and_keeps_its_offset():
    """All time stamps of the report move together."""
    for item in wrong("clock_skew"):
        (body,) = bodies(item)
        assert abs(datetime.fromisoformat(body["ts"]) - datetime.fromisoformat(item.truth["ts"])) >= timedelta(hours=1)
        if "end" in body:
            assert body["end"] == body["ts"]


def test_broken_json_is_no_report():
    """A strict reader refuses every variant: not JSON, not an object, not finite, or a key twice."""

    def once(pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def refuse(constant):
        raise ValueError(constant)

    for item in wrong("broken_json"):
        (message,) = item.messages
        try:
            read = json.loads(message.payload.decode(), object_pairs_hook=once, parse_constant=refuse)
        except ValueError:
            continue
        assert not isinstance(read, dict)


def test_a_gap_leaves_numbers_out_and_loses_no_report():
    """Numbers jump, the reports themselves all arrive."""
    sent = wrong("gap", 60)
    assert len(sent) == 60
    assert all(len(item.messages) == 1 for item in sent)
    numbers = [bodies(item)[0]["seq"] for item in sent if item.truth["work_center"] == "MIX-01"]
    assert all(later > earlier + 1 for earlier, later in pairwise(numbers))


def test_a_burst_holds_reports_back_and_keeps_their_order():
    """Held reports are followed by one that releases them."""
    sent = list(misbehave(reports(SCENARIO, 7, 400), {"burst": 0.02}, 7, SCENARIO))
    held = [item.held for item in sent]
    assert any(held)
    assert not all(held)
    assert [item.truth["id"] for item in sent] == [report.body["id"] for report in some(400)]


def test_misbehaviour_is_chosen_by_name_and_probability():
    """A name alone gets the default probability; what is unknown or impossible is refused with its name."""
    assert chances("gap=0.5, conflict") == {"gap": 0.5, "conflict": 0.02}
    with pytest.raises(ValueError, match="'gab' is unknown"):
        chances("gab=0.1")
    with pytest.raises(ValueError, match="at most 1"):
        chances("gap=0.6,conflict=0.6")


def test_a_line_that_backflushes_tells_the_same_lots_piece_by_piece():
    """Its pieces and measurements add up to what the lots made and took, and its numbers have no gap."""
    shift = [*islice(reports(SCENARIO, 7, told=cycles_of), 400)]
    made = list(islice(lots(SCENARIO, 7), 60))
    of_center: dict[str, list[int]] = defaultdict(list)
    pieces: dict[str, Decimal] = defaultdict(Decimal)
    for one in shift:
        of_center[one.truth["work_center"]].append(one.body["seq"])
        if one.truth["kind"] == "production":
            pieces[one.truth["work_center"]] += one.body["good"] + one.body["scrap"]
        if one.truth["kind"] == "confirmation":  # the lot is complete
            assert pieces.pop(one.truth["work_center"]) == one.body["yield"] + one.body["scrap"]
    assert all(numbers == [*range(1, len(numbers) + 1)] for numbers in of_center.values())
    measured = [one for one in shift if one.truth["kind"] == "measured"]
    told = [(one.truth["order"], one.truth["material"], Decimal(one.truth["quantity"])) for one in measured]
    weighed = [(lot.order.number, w.component.material, w.quantity) for lot in made for w in lot.weighings]
    near = {(order, material): Decimal("0.0005") if material == "RM-PIGMENT" else 0 for order, material, _ in weighed}
    assert len(told) > 50
    assert all(
        (order, material) == expected[:2] and abs(quantity - expected[2]) <= near[order, material]
        for (order, material, quantity), expected in zip(told, weighed, strict=False)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_line_that_backflushes_can_misbehave_too(name: str):
    """Whatever can go wrong with a report can go wrong with these."""
    assert len(list(misbehave(reports(SCENARIO, 7, 40, told=cycles_of), {name: 1.0}, 7, SCENARIO))) == 40
