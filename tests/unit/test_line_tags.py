"""The simulated line as tags: what a controller shows, scan by scan, and what the ERP must have of it."""

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

from simulators.line import plant
from simulators.line.tags import Kind, Tag, TagLot, Value, lots, tags, totals
from simulators.scenario import load

SCENARIO = load()
CENTERS = tuple(SCENARIO.work_centers)


def shown_after(made: list[TagLot]) -> dict[str, dict[str, Value]]:
    """What the tags of each work centre show when all of it is done."""
    values: dict[str, dict[str, Value]] = {
        center: {tag.name: tag.initial for tag in tags(SCENARIO, center)} for center in CENTERS
    }
    for lot in made:
        for scan in lot.scans:
            values[lot.work_center].update(scan)
    return values


def counters(center: str) -> list[Tag]:
    return [tag for tag in tags(SCENARIO, center) if tag.kind is Kind.COUNTER and tag.unit]


def test_the_same_seed_shows_the_same():
    """Two runs with one seed are equal to the last scan, another seed is not."""
    first, again, other = (list(lots(SCENARIO, seed, 200)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_truth_is_the_lines_truth():
    """The same reports are meant as by the line that reports over MQTT: same numbers, orders and quantities."""
    meant = {truth["id"]: truth for lot in lots(SCENARIO, 3, 400) for truth in lot.truths}
    over_mqtt = {report.truth["id"]: report.truth for report in plant.reports(SCENARIO, 3, 300)}
    both = meant.keys() & over_mqtt.keys()
    assert len(both) > 250
    for id in both:
        assert {**over_mqtt[id], "lot": meant[id]["lot"]} == meant[id]


def test_totalisers_grow_by_exactly_what_the_truth_says():
    """Over every rollover, a totaliser's growth times its step is the sum of the quantities that were meant."""
    made = list(lots(SCENARIO, 5, 900))
    expected: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for lot in made:
        for (_, what), quantity in totals(lot.truths).items():
            expected[lot.work_center, what] += quantity
    names = {"Made/Good": "yield", "Made/Scrap": "scrap", "Made/Total": "made"}
    for center in CENTERS:
        expected[center, "made"] = expected[center, "yield"] + expected[center, "scrap"]
    rolled = set()
    for center in CENTERS:
        for tag in counters(center):
            grown, last = 0, int(tag.initial)
            for lot in (one for one in made if one.work_center == center):
                for update in (one for scan in lot.scans for one in scan if one.tag == tag.name):
                    value = int(update.value)
                    if value < last:
                        assert tag.modulus == 65536
                        rolled.add(center)
                    grown += (value - last) % (tag.modulus or 1 << 32)
                    last = value
            what = names.get(tag.name) or tag.name.split("/")[1]
            assert grown * tag.step == expected[center, what]
    assert rolled == {"MIX-01", "ASSY-05"}, "the scenario gives a modulus to these two"


def test_a_lot_is_complete_when_its_number_is_shown():
    """`Lot/Number` grows by one with each lot, in its last scan, behind everything that the lot is about."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for lot in lots(SCENARIO, 1, 300):
        places = [(at, update) for at, scan in enumerate(lot.scans) for update in scan]
        ((at, shown),) = [(at, update) for at, update in places if update.tag == "Lot/Number"]
        assert at == len(lot.scans) - 1
        assert shown.value == lot.number
        assert [update.tag for _, update in places][-2:] == ["Lot/Number", "Lot/Done"]
        numbers[lot.work_center].append(lot.number)
    assert numbers.keys() == set(CENTERS)
    assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())


def test_an_order_changes_before_anything_is_counted_for_it():
    """A new order is shown in a scan in which no totaliser moves, and each lot is counted under its own order."""
    made = list(lots(SCENARIO, 1, 400, lots_per_order=3))
    current: dict[str, Value] = {}
    for lot in made:
        first = {update.tag for update in lot.scans[0]}
        assert not any(tag.name in first for tag in counters(lot.work_center))
        assert lot.changes_order == ((lot.number - 1) % 3 == 0)
        current |= {lot.work_center: dict(lot.scans[0]).get("Order/Number", current.get(lot.work_center, ""))}
        assert {truth["order"] for truth in lot.truths} == {current[lot.work_center]} == {lot.order}
    assert len({lot.order for lot in made}) > 20


def test_every_tag_is_declared_and_no_update_repeats_a_value():
    """Controllers show what was declared, in its kind, and report only what changes."""
    kinds: dict[Kind, type | tuple[type, ...]] = {
        Kind.TEXT: str,
        Kind.COUNTER: int,
        Kind.NUMBER: Decimal,
        Kind.FLAG: bool,
    }
    declared = {(center, tag.name): tag for center in CENTERS for tag in tags(SCENARIO, center)}
    values = {key: tag.initial for key, tag in declared.items()}
    for lot in lots(SCENARIO, 2, 400, lots_per_order=5):
        for update in (one for scan in lot.scans for one in scan):
            key = (lot.work_center, update.tag)
            assert type(update.value) is kinds[declared[key].kind]
            assert not declared[key].writable
            assert values[key] != update.value
            values[key] = update.value


def test_the_scale_shows_what_the_totaliser_counts():
    """A stable scale shows gross minus tare as the quantity of the first weighed component of the lot."""
    for lot in lots(SCENARIO, 4, 200):
        if lot.work_center == "ASSY-05":
            assert not any(update.tag.startswith("Scale/") for scan in lot.scans for update in scan)
            continue
        shown = shown_after([one for one in lots(SCENARIO, 4, 200) if one.work_center == lot.work_center][: lot.number])
        scale = shown[lot.work_center]
        assert scale["Scale/Stable"] is True
        weighed = next(truth for truth in lot.truths if truth["kind"] == "consumption")
        assert Decimal(str(scale["Scale/Gross"])) - Decimal(str(scale["Scale/Tare"])) == Decimal(weighed["quantity"])
        if lot.number == 4:
            break


def test_so_many_reports_and_no_more():
    """A count ends the line after the lot with which it is reached, and the totals are of those lots alone."""
    made = list(lots(SCENARIO, 1, 50))
    reported = [truth for lot in made for truth in lot.truths]
    assert 50 <= len(reported) < 54
    assert sum(totals(reported).values()) == sum(
        Decimal(truth.get("quantity", 0)) + Decimal(truth.get("yield", 0)) + Decimal(truth.get("scrap", 0))
        for truth in reported
    )
    done = [lot.number for lot in made if lot.work_center == "MIX-01"]
    assert all(after == before + 1 for before, after in pairwise(done))


def test_the_oee_is_what_good_pieces_should_have_taken():
    """Of the last ten lots, never above 1; after the first lot of the shift it is that of this lot."""
    made = list(lots(SCENARIO, 7, 200))
    told = [value for one in made for scan in one.scans for name, value in scan if name == "OEE"]
    assert len(told) > 20
    assert all(isinstance(value, Decimal) and Decimal("0.7") < value <= 1 for value in told)
    center = next(one for one in made if one.number == 1).work_center
    orders = [order for order in SCENARIO.orders() if order.work_center == center]
    first = next(plant.shift(SCENARIO.work_centers[center], orders, 7, plant.START))
    shown = shown_after([one for one in made if one.work_center == center][:1])[center]["OEE"]
    assert shown == min(Decimal(1), first.good * first.order.minutes / first.minutes).quantize(Decimal("0.001"))
