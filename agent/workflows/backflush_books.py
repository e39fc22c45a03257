"""What is kept of an operation while it is backflushed: pieces, accounts, and what its work centre has learnt."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from agent.detectors import ratio
from agent.detectors.ratio import Ratio
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.masterdata.entities import Operation, Order
from agent.workflows import account as accounts
from agent.workflows.account import ZERO, Account, Made
from agent.workflows.use import Need, need_of

RECIPES: Final = 500  # ratios kept of a work centre; the one that was learnt longest ago goes first


class Place(NamedTuple):
    """One component at one operation of one order, with what one piece of the order's unit should take of it."""

    need: Need
    per_piece: Fraction  # by the bill of material alone, in the ERP's unit
    set_up: Fraction
    recipe: str  # under which its own ratio is kept

    @property
    def material(self) -> str:
        """Its number."""
        return self.need.material.material

    @property
    def step(self) -> Decimal:
        """The ERP's precision."""
        return self.need.into_unit.step


@dataclass(slots=True)
class Books:
    """What was kept of the operation and of the work centre, as it is changed by one report."""

    made: Made
    over: bool  # the last piece was reported
    accounts: dict[str, Any]  # by material, as they are kept: most reports touch few of them
    ratios: dict[str, Any]  # by material, and by material and product

    @classmethod
    def of(cls, kept: Any, ratios: Any, *, totals: bool) -> Books:
        """What `written` made."""
        made = accounts.made_restored(kept.get("made", {}), totals=totals)
        return cls(made, kept.get("over", False), dict(kept.get("of", {})), dict(ratios))

    def written(self) -> tuple[Any, Any]:
        """For the store: of the operation, and of the work centre."""
        return {"made": accounts.made_written(self.made), "over": self.over, "of": self.accounts}, self.ratios

    def account(self, place: Place) -> Account:
        """The component's account. What is set up before the first piece is still to come, unless the ERP has it."""
        kept = self.accounts.get(place.material)
        if kept is not None:
            return accounts.restored(kept)
        component = place.need.component
        begun = component is None or component.withdrawn > 0
        batch = component.batch if component is not None and place.need.material.batch_managed else ""
        new = Account(set_up=ZERO if begun else place.set_up, batch=batch)
        self.put(place, new)
        return new

    def put(self, place: Place, account: Account) -> None:
        """The account as it is now."""
        self.accounts[place.material] = accounts.written(account)

    def ratio(self, place: Place) -> tuple[Ratio, float]:
        """What was learnt of this recipe, and its centre: before anything is, that of the material at this place."""
        own = ratio.restored(self.ratios.get(place.recipe))
        of_material = ratio.restored(self.ratios.get(place.material))
        return own, ratio.centre(own, ratio.centre(of_material))

    def per_piece(self, place: Place) -> Fraction:
        """What a piece should take by the bill of material and the ratio."""
        return place.per_piece * Fraction(f"{self.ratio(place)[1]:.6f}")

    def learn(self, place: Place, used: float, expected: float) -> None:
        """From a lot that was measured and is not in doubt."""
        of_material = ratio.restored(self.ratios.pop(place.material, None))
        own = ratio.restored(self.ratios.pop(place.recipe, None))
        prior = ratio.centre(of_material)
        self.ratios[place.material] = list(ratio.learn(of_material, used, expected))
        self.ratios[place.recipe] = list(ratio.learn(own, used, expected, prior))
        while len(self.ratios) > RECIPES:
            self.ratios.pop(next(iter(self.ratios)))

    def forget(self, place: Place) -> None:
        """Most of what was learnt: another recipe, or another scale."""
        for name in (place.material, place.recipe):
            self.ratios[name] = list(ratio.shifted(ratio.restored(self.ratios.get(name))))


def components_of(order: Order, operation: Operation | None) -> list[str]:
    """The materials that an operation takes; what names none is taken by the first, as in SAP."""
    if operation is None or not order.operations:
        return []
    first, here = order.operations[0].operation, operation.operation.lstrip("0")
    return list(dict.fromkeys(one.material for one in order.components if (one.operation or first).lstrip("0") == here))


def place_of(report: SegmentResponse, material: str, facts: Facts) -> Place:
    """What one piece should take; remembered. Nothing where neither bill of material nor requirement says so."""
    key = ("backflush", report.order, material, report.operation, report.work_center)
    return facts.memo.get(key) or facts.remember(key, _place(need_of(report, material, facts)))


def _place(need: Need) -> Place:
    recipe = f"{need.material.material} for {need.order.material}"
    item = need.item
    if item is None:
        return Place(need, ZERO, ZERO, recipe)
    unit = Fraction(*need.into_unit[item.unit])
    per_piece = Fraction(item.quantity) * unit * Fraction(*need.into_lot[need.order.unit])
    return Place(need, per_piece, Fraction(item.set_up) * unit, recipe)
