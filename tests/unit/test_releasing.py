"""From what is known to a release sequence: what cannot be planned is left out with its reason, nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.configuration.settings import LiveKind
from agent.errors import NotFound
from agent.facts import Facts, LiveState, Plant
from agent.sequence.releasing import release_sequence, shown
from agent.tags.values import LivePart, Quality, Told
from agent.units import UnitTable
from agent.workflows.order_release import Config
from tests.unit.test_workflow_consumption import FACTS

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)  # a Monday, 6:00 at the plant
UNITS: UnitTable = FACTS.units
HOUR = timedelta(hours=1)
LIMITS = Config().limits


def order(number: int, material: str = "A", **told: Any) -> tuple[str, Mapping[str, Any]]:
    document = {
        "order": str(number), "material": material, "plant": "1710", "quantity": "60", "unit": "C62",
        "status": "released", "operations": [{"operation": "0010", "work_center": "W", "unit": "C62"}],
        "planned_start": (NOW + number * HOUR).isoformat(), "due": (NOW + 8 * HOUR).isoformat(),
    }  # fmt: skip
    return "order", document | told


def part(material: str, required: str, **told: Any) -> dict[str, Any]:
    return {
        "material": material, "reservation": "1", "item": "1", "required": required, "withdrawn": "0", "unit": "C62",
        "storage_location": "171A",
    } | told  # fmt: skip


def stock(material: str, quantity: str) -> tuple[str, Mapping[str, Any]]:
    return "stock", {"material": material, "storage_location": "171A", "quantity": quantity, "unit": "C62"}


def facts(*documents: tuple[str, Mapping[str, Any]]) -> Facts:
    """One work centre that makes A (red) and B (blue), a minute each, C for those with TORQUE, and D with a tool."""
    made = [("A", "red", "", ""), ("B", "blue", "", ""), ("C", "", "TORQUE", ""), ("D", "", "", "T")]
    return Facts(plant=Plant("1710", ZoneInfo("Europe/Berlin"), "EUR"), units=UNITS).with_documents(
        [
            ("work_center", {"work_center": "W", "line": "one", "set_up": "30", "changes": {"red > blue": "45"}}),
            *(
                (
                    "routing",
                    {"material": material, "work_center": "W", "minutes": "1", "unit": "C62", "family": family,
                     "certificate": certificate, "tool": tool},
                )
                for material, family, certificate, tool in made
            ),
            *documents,
        ]
    )  # fmt: skip


def told(known: Facts, now: datetime = NOW, **options: Any) -> dict[str, Any]:
    return shown(release_sequence(known, "W", now, LIMITS, effort=500, **options))


def operation(**confirmed: str) -> list[dict[str, str]]:
    return [{"operation": "0010", "work_center": "W", "unit": "C62"} | confirmed]


def saying(state: str, known: Facts) -> Facts:
    """With a tag that tells the state of the machine."""
    tag = Told(state, "", Quality.GOOD, NOW, NOW)
    return known.seeing(LiveState((LivePart({(LiveKind.EQUIPMENT_STATE, "W"): tag}, 0.0),)))


def test_orders_are_put_together_by_their_set_ups():
    """Beside the order of the ERP (by planned start), with what it gains."""
    known = facts(*(order(number, "AB"[number % 2]) for number in range(1, 5)))
    found = told(known, set_up_for="blue")
    assert [(one["order"], one["position_erp"]) for one in found["orders"]] == [("1", 1), ("3", 3), ("2", 2), ("4", 4)]
    assert found["erp"]["set_ups"] == 3
    assert (found["here"]["set_ups"], found["here"]["set_up_minutes"]) == (1, 30)
    first = found["orders"][0]
    assert first["begin"] == NOW.isoformat(timespec="minutes")
    assert first["end"] == (NOW + HOUR).isoformat(timespec="minutes")
    assert "goes on with blue, no set-up" in first["reasons"]
    assert told(known, set_up_for="red")["orders"][0]["family"] == "red"


def test_what_is_due_comes_first_and_its_weight_counts():
    """Where not all can be in time."""
    due = (NOW + HOUR).isoformat()
    known = facts(order(1, due=due), order(2, due=due, weight="3"), order(3, due=None))
    found = told(known, set_up_for="red")
    assert [one["order"] for one in found["orders"]] == ["2", "1", "3"]
    assert "has no due date, so it is never late" in found["orders"][2]["reasons"]


@pytest.mark.parametrize(
    ("changed", "documents", "why"),
    [
        ({"material": "Z"}, (), "routings.yaml has no entry for Z at W"),
        ({"material": "C"}, (), "nobody in operators.yaml has the certificate TORQUE for as long as is planned"),
        ({"material": "C"}, [("operator", {"operator": "o", "certificates": {"TORQUE": "2026-11-22"}})], "TORQUE"),
        ({"components": [part("P", "60")]}, [stock("P", "59")], "needs 60 PC of P, 59 PC are there"),
        ({"quantity": "0"}, (), "its quantity is 0"),
        ({"unit": "KGM"}, (), "KG"),
        ({"operations": operation(confirmed_yield="55", confirmed_scrap="5")}, (), "all of its 60 PC are confirmed"),
        ({"material": "D"}, [("resource", {"resource": "T", "available": False})], "tool T is absent"),
    ],
)
def test_what_cannot_be_planned_is_left_out_with_its_reason(changed, documents, why):
    """And costs the others nothing."""
    found = told(facts(order(1, **changed), order(2), *documents))
    assert [one["order"] for one in found["orders"]] == ["2"]
    (left,) = found["left_out"]
    assert left["order"] == "1"
    assert why in left["why"]


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "completed"},
        {"status": "locked"},
        {"operations": [{"operation": "0010", "work_center": "V", "unit": "C62"}]},
        {"operations": [{"operation": "0010", "work_center": "W", "unit": "C62", "confirmed": True}]},
    ],
)
def test_only_open_orders_of_the_work_centre_are_in_it(changed):
    """Created or released ones."""
    found = told(facts(order(1, **changed)))
    assert (found["orders"], found["left_out"]) == ([], [])


def test_what_is_not_known_of_stock_keeps_no_order_out():
    """A material of which the ERP tells no stock here is taken as there; of what is there for two, it is said."""
    known = facts(
        order(1, components=[part("P", "60"), part("UNKNOWN", "5"), part("ELSE", "9", operation="0020")]),
        order(2, components=[part("P", "60")]),
        stock("P", "100"),
        stock("ELSE", "0"),
    )
    first, second = told(known)["orders"]
    assert not any("there" in reason for reason in first["reasons"])
    assert "needs 60 PC of P, 40 PC are there after the orders before it" in second["reasons"]


def test_an_order_waits_for_somebody_who_may_make_it():
    """By hours of the plant's clock on working days, over midnight too, until the certificate ends."""
    night = ("operator", {"operator": "o", "certificates": {"TORQUE": ""}, "hours": "22:00-06:30", "days": "1-5"})
    (one,) = told(facts(order(1, "C"), night))["orders"]
    assert one["begin"] == (NOW + 16 * HOUR).isoformat(timespec="minutes")  # Sunday is none of its days
    assert "waits 16 h for somebody with TORQUE" in one["reasons"]
    late = ("operator", {"operator": "p", "certificates": {"TORQUE": "2026-11-24"}, "hours": "10:00-18:00"})
    (one,) = told(facts(order(1, "C"), night, late))["orders"]
    assert one["begin"] == (NOW + 4 * HOUR).isoformat(timespec="minutes")
    always = ("operator", {"operator": "q", "certificates": {"TORQUE": ""}})
    (one,) = told(facts(order(1, "C"), night, always))["orders"]
    assert one["begin"] == NOW.isoformat(timespec="minutes")


def test_an_order_of_more_than_a_day_of_cover_is_worked_on_every_day():
    """Two shifts have the certificate, and it takes 33 h: it is in time, as order release says, too."""
    early = ("operator", {"operator": "o", "certificates": {"TORQUE": ""}, "hours": "06:00-14:00", "days": "1-5"})
    next_ = ("operator", {"operator": "p", "certificates": {"TORQUE": ""}, "hours": "14:00-22:00", "days": "1-5"})
    long = order(1, "C", quantity="2000", due=(NOW + 14 * 24 * HOUR).isoformat())
    (one,) = told(facts(long, early, next_))["orders"]
    assert one["begin"] == NOW.isoformat(timespec="minutes")
    assert one["end"] == (NOW + 49 * HOUR + 20 * timedelta(minutes=1)).isoformat(timespec="minutes")
    assert one["late_minutes"] == 0
    assert "pauses 16 h in all, while nobody with TORQUE is there" in one["reasons"]


def test_what_is_left_of_a_shift_is_not_all_of_it():
    """Late in the evening an order of a few hours waits for the morning, in one piece."""
    day = ("operator", {"operator": "o", "certificates": {"TORQUE": ""}, "hours": "06:00-22:00"})
    evening = NOW + 15.5 * HOUR
    (one,) = told(facts(order(1, "C", quantity="200"), day), evening)["orders"]
    assert one["begin"] == (NOW + 24 * HOUR).isoformat(timespec="minutes")


def test_a_work_centre_that_nobody_knows_is_refused():
    """With those that are known."""
    with pytest.raises(NotFound, match="'X' is not known; known: W"):
        release_sequence(facts(), "X", NOW, LIMITS)


def test_what_is_confirmed_of_an_order_is_not_made_again():
    """Good or scrap; the order that it was told of last is at the machine: it stays first and keeps its set-up."""
    begun = {"changed_at": NOW.isoformat(), "operations": operation(confirmed_yield="40", confirmed_scrap="5")}
    older = begun | {"changed_at": (NOW - HOUR).isoformat()}
    known = facts(order(1, "A"), order(2, "B", due=None, **begun), order(3, "A", **older))
    found = told(known)
    assert found["machine"]["running"] == "2"
    first, *others = found["orders"]
    assert (first["order"], first["set_up_minutes"]) == ("2", 0)
    assert first["end"] == (NOW + HOUR / 4).isoformat(timespec="minutes")
    assert {"is being made", "goes on with blue, no set-up", "15 PC of 60 PC are left to make"} <= set(first["reasons"])
    assert {one["order"]: "15 PC of 60 PC are left to make" in one["reasons"] for one in others} == {
        "1": False,
        "3": True,
    }
    assert (found["here"]["due"], len(found["orders"])) == (2, 3)


def test_somebody_may_say_which_order_the_machine_is_at():
    """Or what it is set up for: then no order of another family is being made. An order that is not open is refused."""
    begun = {"operations": operation(confirmed_yield="40")}
    known = facts(order(1, "A"), order(2, "B", **begun))
    assert told(known, running="1")["orders"][0]["order"] == "1"
    assert told(known, set_up_for="blue")["machine"]["running"] == "2"
    assert told(known, set_up_for="red")["machine"]["running"] == ""
    with pytest.raises(NotFound, match=r"'bleu' is no set-up family of W; known: .*blue, .*red"):
        told(known, set_up_for="bleu")
    with pytest.raises(NotFound, match="order '9' is not open at W; open: 1, 2"):
        told(known, running="9")


def test_what_is_being_made_goes_on_whoever_has_left_and_whatever_lacks():
    """It pauses where nobody with the certificate is there, and has the material that it is made of."""
    day = ("operator", {"operator": "o", "certificates": {"TORQUE": ""}, "hours": "06:00-14:00"})
    begun = operation(confirmed_yield="20")
    late = NOW + 7.5 * HOUR  # half an hour before the shift ends
    known = facts(order(1, "C", operations=begun, components=[part("P", "60")]), stock("P", "0"), day)
    (one,) = told(known, late)["orders"]
    assert one["begin"] == late.isoformat(timespec="minutes")
    assert one["end"] == (NOW + 24 * HOUR + timedelta(minutes=10)).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("state", "resource", "expected", "begins", "said"),
    [
        ("running", None, "up", 0, ""),
        ("running", {"back_at": (NOW + 3 * HOUR).isoformat()}, "up", 0, ""),  # a plan; the tag is newer
        ("Faulted", {"back_at": (NOW + 3 * HOUR).isoformat(), "text": "gear"}, "down", 3,
         "W is down: it says Faulted, gear; nothing begins before 2026-11-23 08:00 UTC"),
        ("Faulted", None, "down", 0, "nobody says until when (back_at in resources.yaml)"),
        (None, {"back_at": (NOW + 3 * HOUR).isoformat()}, "down", 3, "W is down; nothing begins before"),
        (None, {"back_at": (NOW - HOUR).isoformat()}, "unknown", 0, "no tag tells it here"),
        (None, None, "unknown", 0, "nobody knows whether W runs: no tag tells it here; the times count as if it ran"),
    ],
)  # fmt: skip
def test_nothing_begins_on_a_machine_that_is_down_until_it_is_told_to_be_up(state, resource, expected, begins, said):
    """By its tag, and by resources.yaml; where nobody knows, that is said."""
    entry = [("resource", {"resource": "W", "available": False, **resource})] if resource else []
    known = facts(order(1), *entry)
    found = told(saying(state, known) if state else known, set_up_for="red")
    assert found["machine"]["state"] == expected
    assert said in found["machine"]["said"]
    assert bool(said) == bool(found["machine"]["said"])
    assert found["machine"]["begins"] == (NOW + begins * HOUR).isoformat(timespec="minutes")
    assert found["orders"][0]["begin"] == (NOW + begins * HOUR).isoformat(timespec="minutes")


@pytest.mark.parametrize(("tag", "oee"), [(None, 0.8), ("0.5", 0.5)], ids=["of the master data", "of the tag"])
def test_work_takes_as_much_longer_as_the_work_centre_is_less_effective(tag, oee):
    """Its minutes are divided by its OEE, as in the earliest start of an order; a set-up is not."""
    place = ("work_center", {"work_center": "W", "line": "one", "set_up": "30", "oee": "0.8"})
    known = facts(order(1), place)
    if tag:
        value = Told(Decimal(tag), "", Quality.GOOD, NOW, NOW)
        known = known.seeing(LiveState((LivePart({(LiveKind.OEE, "W"): value}, 0.0),)))
    found = told(known, set_up_for="blue")
    assert found["machine"]["oee"] == oee
    (one,) = found["orders"]
    assert one["set_up_minutes"] == 30
    assert one["end"] == (NOW + timedelta(minutes=30 + 60 / oee)).isoformat(timespec="minutes")


def test_an_order_waits_for_material_from_elsewhere_and_for_its_tool():
    """By the minutes that order release counts for it, and until the tool is back; others go before it."""
    elsewhere = ("stock", {"material": "P", "storage_location": "171B", "quantity": "60", "unit": "C62"})
    known = facts(order(1, components=[part("P", "60")]), order(2), stock("P", "10"), elsewhere)
    _, first = told(known, set_up_for="red")["orders"]
    assert (first["order"], first["begin"]) == ("1", (NOW + 4 * HOUR).isoformat(timespec="minutes"))
    assert "waits 3 h for P from elsewhere in the plant" in first["reasons"]
    away = ("resource", {"resource": "T", "available": False, "back_at": (NOW + 2 * HOUR).isoformat()})
    (one,) = told(facts(order(1, "D"), away))["orders"]
    assert one["begin"] == (NOW + 2 * HOUR).isoformat(timespec="minutes")
    assert "waits 2 h for tool T" in one["reasons"]
