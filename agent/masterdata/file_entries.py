"""What an entry of each master data file holds: one model per file, whose descriptions become the reference page.

Days and quantities are checked here; what entries name of each other is checked by `masterfiles`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints, model_validator

from agent.strict.schema import Settings

ZERO: Final = Decimal(0)
HOURS: Final = r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$"


class Entry(Settings):
    """One entry of a file; both days inclusive, an absent one is open."""

    valid_from: date | None = Field(default=None, description="first day on which the entry counts")
    valid_to: date | None = Field(default=None, description="last day on which the entry counts")

    @model_validator(mode="after")
    def _in_order(self) -> Entry:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError(f"valid_to {self.valid_to} is before valid_from {self.valid_from}")
        return self


def _conversions(written: object) -> object:
    """``DR=200; GRM=1/1000`` of a CSV cell: how many base units one of the other unit is."""
    if not isinstance(written, str):
        return written
    pairs = [part.partition("=") for part in written.split(";") if part.strip()]
    try:
        found = {unit.strip(): Fraction(factor.strip()) for unit, _, factor in pairs}
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be like DR=200; GRM=1/1000 (base units in one of the other unit)") from None
    if any(factor <= 0 for factor in found.values()):
        raise ValueError("conversion factors must be above 0")
    return found


class MaterialEntry(Entry):
    """A row of ``materials.csv``."""

    material: str = Field(min_length=1, max_length=40, description="number of the material in the ERP")
    base_unit: str = Field(description="base unit of the material in the ERP")
    text: str = Field(default="", description="what people call it")
    price: Decimal = Field(default=ZERO, ge=0, description="money per base unit, in the plant's currency")
    batch_managed: bool = Field(default=False, description="true: every consumption names a batch")
    units: Annotated[dict[str, Fraction], BeforeValidator(_conversions)] = Field(
        default_factory=dict, description="other units of the material, like DR=200; GRM=1/1000"
    )
    material_type: str = Field(
        default="", pattern=r"^[0-9A-Z]{0,4}$", description="its type in the ERP, like HALB; for `accounts`"
    )
    valuation_class: str = Field(
        default="", pattern=r"^([0-9A-Z]{4})?$", description="its valuation class in the ERP, like 7900; for `accounts`"
    )
    safety_stock: Decimal = Field(
        default=ZERO, ge=0, description="what should always be left of it where it is used from, in base units"
    )


class BomLine(Settings):
    """One component of a bill of material."""

    material: str = Field(min_length=1, description="the component")
    quantity: Decimal = Field(gt=0, description="what one unit of the product takes")
    unit: str = Field(description="unit of quantity and set_up")
    set_up: Decimal = Field(default=ZERO, ge=0, description="what is used up once per order")


class BomEntry(Entry):
    """One bill of material of ``boms.yaml``."""

    product: str = Field(min_length=1, description="the material that is made")
    unit: str = Field(description="unit of the product that the quantities are per")
    items: tuple[BomLine, ...] = Field(min_length=1, description="the components")


class WorkCenterEntry(Entry):
    """One work centre of ``work_centers.yaml``."""

    work_center: str = Field(min_length=1, description="the work centre as the ERP calls it")
    line: str = Field(min_length=1, description="the line it belongs to")
    text: str = Field(default="", description="what people call it")
    set_up: Decimal = Field(default=ZERO, ge=0, description="minutes of a change to another set-up family")
    changes: dict[Annotated[str, StringConstraints(pattern=r"^[^>]+ > [^>]+$")], Annotated[Decimal, Field(ge=0)]] = (
        Field(default_factory=dict, description="changes that take other minutes, like red > clear: 60")
    )
    oee: Decimal = Field(
        default=Decimal(1), gt=0, le=1, description="its usual effectiveness, 0 to 1, where no tag tells `oee`"
    )


class RoutingEntry(Entry):
    """What one unit of a product takes at a work centre: an entry of ``routings.yaml``."""

    material: str = Field(min_length=1, description="the product")
    work_center: str = Field(min_length=1, description="where it is made")
    minutes: Decimal = Field(gt=0, description="minutes of the work centre per unit, without set-up")
    unit: str = Field(description="the unit that the minutes are per")
    family: str = Field(default="", description="what the work centre must be set up for; without it anything does")
    certificate: str = Field(default="", description="what whoever makes it must have; without it anybody may")
    tool: str = Field(default="", description="tool that must be there")
    recipe: str = Field(default="", description="recipe that must be there")


class OperatorEntry(Entry):
    """A person who makes orders: an entry of ``operators.yaml``."""

    operator: str = Field(min_length=1, description="how they log on at the work centre")
    certificates: dict[str, date | None] = Field(
        default_factory=dict, description="each with its last day; without one it holds for good"
    )
    hours: str = Field(
        default="", pattern=HOURS, description="when they are there by the plant's clock, like 06:00-14:00; else always"
    )
    days: str = Field(
        default="", pattern=r"^([1-7]-[1-7])?$", description="on which days, like 1-5 (Monday to Friday); else on all"
    )


class ToleranceEntry(Entry):
    """One tolerance of ``tolerances.yaml``; without material or work centre it counts for all."""

    material: str = Field(default="", description="for this material only")
    work_center: str = Field(default="", description="for this work centre only")
    under: Decimal = Field(ge=0, le=1, description="how much less than expected, as a fraction")
    over: Decimal = Field(ge=0, le=10, description="how much more than expected, as a fraction")


class OperationLine(Settings):
    """One operation of an order."""

    operation: str = Field(min_length=1, description="number of the operation, such as 0010")
    work_center: str = Field(min_length=1, description="where it is done")
    unit: str = Field(description="unit in which it is confirmed")
    minutes: Decimal = Field(default=ZERO, ge=0, description="planned time for the whole order; 0: not known")
    confirmed: bool = Field(default=False, description="true: nothing of it is left to do")
    confirmed_yield: Decimal = Field(default=ZERO, ge=0, description="good ones that are confirmed of it already")
    confirmed_scrap: Decimal = Field(default=ZERO, ge=0, description="scrap that is confirmed of it already")
    started: AwareDatetime | None = Field(default=None, description="when it was begun")
    finished: AwareDatetime | None = Field(default=None, description="when it was finished, where it is confirmed")


class ComponentLine(Settings):
    """One component of an order, with its reservation where there is one."""

    material: str = Field(min_length=1, description="the component")
    required: Decimal = Field(ge=0, description="what the whole order needs")
    unit: str = Field(description="unit of the requirement")
    reservation: str = Field(default="", description="number of the reservation in the ERP")
    item: str = Field(default="", description="item of the reservation")
    withdrawn: Decimal = Field(default=ZERO, ge=0, description="what was consumed before the agent started")
    storage_location: str = Field(default="", description="where it is taken from")
    batch: str = Field(default="", description="which batch is taken")
    operation: str = Field(default="", description="at which operation it is used")
    backflush: bool = Field(default=False, description="true: the ERP consumes it with the confirmation")


class OrderEntry(Entry):
    """One order of ``orders.yaml``, for plants whose orders do not come from the ERP."""

    order: str = Field(min_length=1, description="number of the order")
    material: str = Field(min_length=1, description="the product")
    plant: str = Field(min_length=1, description="the plant")
    quantity: Decimal = Field(gt=0, description="how much is to be made")
    unit: str = Field(description="unit of the quantity")
    status: Literal["created", "released", "completed", "closed", "locked", "deleted"] = Field(
        default="released", description="only released orders are posted to"
    )
    operations: tuple[OperationLine, ...] = Field(min_length=1, description="what is done")
    components: tuple[ComponentLine, ...] = Field(default=(), description="what is used")
    changed_at: AwareDatetime | None = Field(default=None, description="when the order was last changed")
    planned_start: AwareDatetime | None = Field(default=None, description="when it shall be begun")
    due: AwareDatetime | None = Field(default=None, description="when it shall be finished")
    weight: Decimal = Field(default=Decimal(1), ge=0, description="how much more its lateness counts than another's")


class ReasonEntry(Entry):
    """What one cause of scrap means in the ERP: an entry of ``scrap_reasons.yaml``."""

    cause: str = Field(min_length=1, description="the cause, as the model and people call it")
    work_center: str = Field(default="", description="for this work centre only; it counts before the one for all")
    reason: str = Field(min_length=1, max_length=4, description="reason code of the goods movement in the ERP")
    variance_reason: str = Field(default="", max_length=4, description="variance reason of a confirmation in the ERP")
    movement: Literal["551", "553", "555"] = Field(
        default="551", description="from unrestricted (551), inspection (553) or blocked stock (555)"
    )
    cost_center: str = Field(default="", max_length=10, description="cost centre that bears it; without one the order")
    text: str = Field(default="", description="what people call it, where that is more than its name")
    severity: Literal["", "minor", "major", "critical"] = Field(
        default="", description="scrap of this cause is never less; empty: share and repetition alone say it"
    )


class DefectEntry(Entry):
    """One code by which defects are reported: an entry of ``defect_codes.yaml``."""

    defect: str = Field(min_length=1, max_length=4, description="the code, as the floor and the ERP's catalogue say it")
    group: str = Field(min_length=1, max_length=8, description="its code group in the ERP's catalogue")
    text: str = Field(default="", description="what people call it")


class ReceiptEntry(Entry):
    """What is expected of a material: an entry of ``receipts.yaml``. Take out what has come, or what will not."""

    receipt: str = Field(min_length=1, description="what people find it by, like 4500017/10 of a purchase order")
    material: str = Field(min_length=1, description="what comes")
    quantity: Decimal = Field(gt=0, description="how much of it")
    unit: str = Field(description="unit of the quantity")
    expected_at: AwareDatetime = Field(description="when it can be used; from then on the entry says nothing any more")
    storage_location: str = Field(default="", description="where it comes to; empty: to wherever it is needed")
    text: str = Field(default="purchase order", description="what people call it, before its number")


class ResourceEntry(Entry):
    """A tool, recipe or work centre that is not simply there: an entry of ``resources.yaml``."""

    resource: str = Field(min_length=1, description="the tool or recipe, as routings name it; or a work centre")
    available: bool = Field(default=True, description="whether it is there")
    back_at: AwareDatetime | None = Field(default=None, description="when it will be there, where that is known")
    text: str = Field(default="", description="why it is not, for people")
