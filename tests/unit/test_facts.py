"""Facts: documents are read strictly, snapshots never change, indices find the right thing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BadPayload
from agent.facts import Facts, Plant
from agent.masterdata.documents import from_document, to_document
from agent.masterdata.entities import Component, Material, Order, Tolerance
from agent.units import UnitTable

PLANT = Plant(site="1710", zone=ZoneInfo("Europe/Berlin"), currency="EUR")
ORDER: dict[str, Any] = {
    "order": "1000100",
    "material": "CMP-BLUE",
    "plant": "1710",
    "quantity": "2000.000",
    "unit": "KGM",
    "status": "released",
    "operations": [{"operation": "0010", "work_center": "MIX-01", "unit": "KGM"}],
    "components": [
        {
            "material": "RM-RESIN",
            "reservation": "55",
            "item": "1",
            "required": "1921.500",
            "withdrawn": "0.000",
            "unit": "KGM",
            "storage_location": "171A",
            "batch": "",
            "operation": "0010",
            "backflush": False,
        }
    ],
    "changed_at": "2026-11-20T12:00:00+00:00",
}


T = TypeVar("T")


def empty() -> Facts:
    return Facts(plant=PLANT, units=UnitTable())


def order_of(**changes: Any) -> Order:
    order = from_document("order", ORDER | changes)
    assert isinstance(order, Order)
    return order


def known(found: T | None) -> T:
    assert found is not None
    return found


def test_order_document_of_the_sap_source_becomes_an_order():
    """The shape that the SAP order source delivers is read field by field."""
    order = order_of()
    assert order.quantity == Decimal("2000.000")
    assert order.component("RM-RESIN") == Component(
        "RM-RESIN", "55", "1", Decimal("1921.500"), Decimal("0.000"), "KGM", "171A", "", "0010"
    )
    assert order.changed_at == datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quantity": 12.5}, "order.quantity"),
        ({"quantity": "NaN"}, "order.quantity"),
        ({"quantity": "1e999999"}, "order.quantity"),
        ({"quantity": "-1"}, "order.quantity"),
        ({"quantity": True}, "order.quantity"),
        ({"order": ""}, "order.order"),
        ({"order": None}, "order.order"),
        ({"status": "REL"}, "order.status"),
        ({"colour": "blue"}, "order.colour"),
        ({"components": {}}, "order.components"),
        ({"components": [{"material": "A"}]}, "order.components[0].reservation"),
        ({"components": ["A"]}, "order.components[0]"),
        ({"changed_at": "2026-11-20T12:00:00"}, "order.changed_at"),
        ({"changed_at": "yesterday"}, "order.changed_at"),
        ({"changed_at": 5}, "order.changed_at"),
    ],
)
def test_a_wrong_document_is_refused_by_the_name_of_its_field(change, named):
    """Every refusal names the field, so that a person finds it."""
    with pytest.raises(BadPayload) as refused:
        from_document("order", ORDER | change)
    assert refused.value.field == named
    assert refused.value.reason == "masterdata"


@pytest.mark.parametrize("document", [[], None, "order"])
def test_what_is_no_object_is_refused(document):
    """A list, nothing or a text is no document."""
    with pytest.raises(BadPayload):
        from_document("order", document)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    """The message lists what would have been understood."""
    with pytest.raises(BadPayload, match="material, work_center, bom"):
        from_document("recipe", {})


def test_material_conversions_are_exact_fractions():
    """Per-material units are fractions, never floats, and must be positive."""
    material = from_document("material", {"material": "A", "base_unit": "KGM", "units": {"DR": "200", "GRM": "1/1000"}})
    assert isinstance(material, Material)
    assert material.units == {"DR": Fraction(200), "GRM": Fraction(1, 1000)}
    for wrong in ("0", "-1", "1/0", "many", 0.5, None):
        with pytest.raises(BadPayload, match=r"material\.units\.DR"):
            from_document("material", {"material": "A", "base_unit": "KGM", "units": {"DR": wrong}})


names = st.text("ABCDEFGHIJ-0123456789", min_size=1, max_size=10)
amounts = st.decimals(0, 10**9, allow_nan=False, allow_infinity=False, places=3)


@given(
    st.builds(
        Order,
        order=names,
        material=names,
        plant=names,
        quantity=amounts,
        unit=names,
        status=st.sampled_from(["created", "released", "closed"]),
        components=st.lists(
            st.builds(
                Component,
                material=names,
                reservation=names,
                item=names,
                required=amounts,
                withdrawn=amounts,
                unit=names,
                backflush=st.booleans(),
            ),
            max_size=3,
        ).map(tuple),
        changed_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    )
)
def test_every_order_survives_the_way_through_its_document(order):
    """`from_document` of `to_document` is the same order."""
    assert from_document("order", to_document(order)) == order


@given(
    st.builds(
        Material,
        material=names,
        base_unit=names,
        text=st.text(max_size=5),
        price=amounts,
        batch_managed=st.booleans(),
        units=st.dictionaries(names, st.fractions(min_value="1/1000", max_value=1000), max_size=3),
        safety_stock=amounts,
    )
)
def test_every_material_survives_the_way_through_its_document(material):
    """`from_document` of `to_document` is the same material."""
    assert from_document("material", to_document(material)) == material


def test_a_change_makes_a_new_snapshot_and_leaves_the_old_one():
    """A decision that holds a snapshot keeps looking at what it started with."""
    before = empty()
    after = before.with_documents([("order", ORDER)])
    assert before.order("1000100") is None
    assert after.order("1000100") is not None
    assert after.version == before.version + 1
    closed = after.with_documents([("order", ORDER | {"status": "closed"})])
    assert (known(after.order("1000100")).status, known(closed.order("1000100")).status) == ("released", "closed")


def test_indices_that_do_not_change_are_shared():
    """A change of orders copies the orders once and nothing else."""
    first = empty().with_documents([("material", {"material": "A", "base_unit": "KGM"})])
    second = first.with_documents([("order", ORDER)])
    assert second.materials is first.materials


def test_bom_lines_are_found_by_product_and_component():
    """A new BOM replaces the old one as a whole: a component that it dropped is gone."""
    item = {"material": "RM-RESIN", "quantity": "0.960", "unit": "KGM", "set_up": "1.500"}
    facts = empty().with_documents([("bom", {"product": "CMP-BLUE", "unit": "KGM", "items": [item]})])
    unit, line = known(facts.bom_item("CMP-BLUE", "RM-RESIN"))
    assert (unit, line.quantity, line.set_up) == ("KGM", Decimal("0.960"), Decimal("1.500"))
    facts = facts.with_documents([("bom", {"product": "CMP-BLUE", "unit": "KGM", "items": []})])
    assert facts.bom_item("CMP-BLUE", "RM-RESIN") is None


def test_the_most_specific_tolerance_wins():
    """Material at a work centre, then material, then work centre, then any."""

    def tolerance(material: str, work_center: str, over: str) -> Tolerance:
        return Tolerance(material, work_center, Decimal("0.05"), Decimal(over))

    facts = empty().with_facts(
        [tolerance("", "", "4"), tolerance("", "W", "3"), tolerance("M", "", "2"), tolerance("M", "W", "1")]
    )
    found = [known(facts.tolerance(*key)).over for key in [("M", "W"), ("M", "X"), ("Y", "W"), ("Y", "X")]]
    assert found == [Decimal(1), Decimal(2), Decimal(3), Decimal(4)]
    assert empty().tolerance("M", "W") is None


def test_a_component_that_occurs_twice_is_told_apart_by_its_operation():
    """Where the operation does not tell, nothing is guessed."""
    line = ORDER["components"][0]
    order = order_of(components=[line, line | {"item": "2", "operation": "0020"}])
    assert known(order.component("RM-RESIN", "20")).item == "2"
    assert order.component("RM-RESIN") is None


def test_operations_are_compared_without_leading_zeros():
    """SAP pads operation numbers to four digits; the floor may not."""
    order = order_of()
    assert order.operation("10") == order.operation("0010")
    assert order.operation("20") is None


def test_the_plants_day_is_not_the_utc_day():
    """23:30 UTC in November is already the next day in Berlin."""
    assert PLANT.day(datetime(2026, 11, 20, 23, 30, tzinfo=UTC)).isoformat() == "2026-11-21"


@given(
    st.sampled_from(["Europe/Berlin", "Africa/Cairo", "America/Santiago", "Asia/Kathmandu", "America/St_Johns"]),
    st.lists(
        st.integers(0, 365 * 96).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * n)), min_size=1
    ),
)
def test_the_day_as_text_is_the_day_whatever_was_asked_before(zone: str, moments: list[datetime]) -> None:
    """What is remembered of a day tells the moments of another day nothing, nor those after the clocks changed."""
    plant = Plant("1710", ZoneInfo(zone), "EUR")
    near = [moment + timedelta(hours=hours) for moment in moments for hours in (-24, -1, 0, 1, 23)]
    assert [plant.day_text(moment) for moment in near] == [plant.day(moment).isoformat() for moment in near]
