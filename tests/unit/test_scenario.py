"""The scenario of the bench, as both simulators read it."""

from decimal import Decimal

from simulators import scenario


def test_orders_carry_numbered_reservations_with_set_up_in_the_required_quantity():
    """A component's required quantity is the order quantity times the quantity per unit, plus the set-up."""
    plant = scenario.load()
    first = plant.orders()[0]
    assert (first.number, first.product, first.work_center) == ("1000100", "CMP-BLUE", "MIX-01")
    resin = first.components[0]
    assert (resin.reservation, resin.item, resin.material) == ("0000050001", "0001", "RM-RESIN")
    assert resin.required == Decimal("1921.500")
    assert resin.storage_location == "171A"


def test_every_order_has_its_own_number_and_reservation():
    """Numbers of orders and reservations never repeat."""
    orders = scenario.load().orders()
    assert len(orders) == 30
    assert len({order.number for order in orders}) == 30
    assert len({order.components[0].reservation for order in orders}) == 30
