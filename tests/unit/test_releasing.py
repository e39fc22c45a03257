"""From what is known to a release sequence: what cannot be planned is left out with its reason, nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.errors import NotFound
from agent.facts import Facts, Plant
from agent.releasing import release_sequence, shown
from agent.units import UnitTable
from tests.unit.test_workflow_consumption import FACTS

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)  # a Monday, 6:00 at the plant
UNITS: UnitTable = FACTS.units
HOUR = timedelta(hours=1)


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
    """One work centre that makes A (red) and B (blue), a minute each, and C for those who have TORQUE."""
    made = [("A", "red", ""), ("B", "blue", ""), ("C", "", "TORQUE")]
    return Facts(plant=Plant("1710", ZoneInfo("Europe/Berlin"), "EUR"), units=UNITS).with_documents(
        [
            ("work_center", {"work_center": "W", "line": "one", "set_up": "30", "changes": {"red > blue": "45"}}),
            *(
                (
                    "routing",
                    {"material": material, "work_center": "W", "minutes": "1", "unit": "C62", "family": family,
                     "certificate": certificate},
                )
                for material, family, certificate in made
            ),
            *documents,
        ]
    )  # fmt: skip


def told(known: Facts, **options: Any) -> dict[str, Any]:
    return shown(release_sequence(known, "W", NOW, effort=500, **options))


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
    assert "has no due date" in found["orders"][2]["reasons"]


@pytest.mark.parametrize(
    ("changed", "documents", "why"),
    [
        ({"material": "Z"}, (), "routings.yaml has no entry for Z at W"),
        ({"material": "C"}, (), "nobody in operators.yaml has the certificate TORQUE for as long as is planned"),
        ({"material": "C"}, [("operator", {"operator": "o", "certificates": {"TORQUE": "2026-11-22"}})], "TORQUE"),
        ({"components": [part("P", "60")]}, [stock("P", "59")], "needs 60 PC of P, 59 PC are there"),
        ({"quantity": "0"}, (), "its quantity is 0"),
        ({"unit": "KGM"}, (), "KG"),
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
    (one,) = shown(release_sequence(facts(order(1, "C", quantity="200"), day), "W", evening, effort=50))["orders"]
    assert one["begin"] == (NOW + 24 * HOUR).isoformat(timespec="minutes")


def test_a_work_centre_that_nobody_knows_is_refused():
    """With those that are known."""
    with pytest.raises(NotFound, match="'X' is not known; known: W"):
        release_sequence(facts(), "X", NOW)
