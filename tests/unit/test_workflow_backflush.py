"""Backflush: pieces become goods issues, measurements put them right, and what is odd waits for a person."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.ports import Proposal
from agent.workflows.backflush import Backflush, Config
from agent.workflows.sentences import Words, told
from tests.unit.test_workflow_consumption import AT, FACTS, MIXING, component

CALM: dict[str, Any] = {"every_pieces": Decimal(50), "every_s": 10_000}


class Line:
    """One work centre with the workflow behind it, and what would be booked if every posting were approved."""

    def __init__(self, facts: Facts = FACTS, **options: Any) -> None:
        self.facts = facts
        self.flow = Backflush(Config(**CALM | options))
        self.states: dict[str, Any] = {}
        self.booked: dict[str, Decimal] = {}
        self.number = 0

    def take(self, report: SegmentResponse, *, refused: bool = False) -> Proposal:
        keys = self.flow.state_keys(report)
        proposal, after = self.flow.propose(report, self.facts, None, [self.states.get(key, {}) for key in keys])
        self.states.update(zip(keys, after, strict=True))
        for draft in proposal.drafts if not refused else ():
            material, sign = draft.payload["material"], -1 if "movement" in draft.payload else 1
            self.booked[material] = self.booked.get(material, Decimal(0)) + sign * Decimal(draft.payload["quantity"])
        return proposal

    def produced(self, good: str, **changes: Any) -> Proposal:
        scrap = changes.pop("scrap", None)
        actuals = [MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(good), "C62"))]
        if scrap is not None:
            actuals.append(MaterialActual(MaterialUse.SCRAP, Quantity(Decimal(scrap), "C62")))
        return self.take(self._report("production", actuals, **changes))

    def measured(self, quantity: str, lot: str | None = None, **changes: Any) -> Proposal:
        unit, material, batch = (
            changes.pop("unit", "KGM"),
            changes.pop("material", "RM-RESIN"),
            changes.pop("batch", ""),
        )
        actuals = [MaterialActual(MaterialUse.CONSUMED, Quantity(Decimal(quantity), unit), material, batch)]
        if lot is not None:
            actuals.append(MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(lot), "C62")))
        refused = changes.pop("refused", False)
        return self.take(self._report("measured", actuals, **changes), refused=refused)

    def _report(self, kind: str, actuals: list[MaterialActual], **changes: Any) -> SegmentResponse:
        self.number += 1
        at = changes.pop("at", 60 * self.number)
        return SegmentResponse(
            kind, f"MIX-01-{self.number:06d}", "1000100", "0010", AT + timedelta(seconds=at), "MIX-01",
            material_actuals=tuple(actuals),
        )._replace(**changes)  # fmt: skip


def quantities(proposal: Proposal) -> dict[str, str]:
    return {draft.payload["material"]: draft.payload["quantity"] for draft in proposal.drafts}


def test_pieces_become_one_goods_issue_for_each_component():
    """Good and scrap have taken their components, and setting up comes on top; every field is what the ERP needs."""
    proposal = Line().produced("98", scrap="2")
    assert quantities(proposal) == {"RM-RESIN": "97.500", "RM-PIGMENT": "4.550"}
    assert proposal.holds == ()
    draft = proposal.drafts[0]
    assert (draft.kind, draft.ordering_key, draft.value) == (
        "goods_issue",
        "order/1000100",
        Decimal("97.5") * Decimal("3.20"),
    )
    assert draft.payload == {
        "plant": "1710", "material": "RM-RESIN", "order": "1000100", "operation": "0010",
        "reservation": "0000050001", "reservation_item": "0001", "quantity": "97.500", "unit": "KGM",
        "floor_quantity": "97.500", "floor_unit": "KGM", "storage_location": "171A", "batch": "",
        "posting_date": "2026-11-20", "document_date": "2026-11-20", "text": "MIX-01-000001",
    }  # fmt: skip


def test_the_erp_is_not_flooded():
    """Nothing is issued before enough pieces were made; then for all of them, and rounding is never lost."""
    line = Line()
    told = [line.produced("7") for _ in range(16)]
    assert [bool(one.drafts) for one in told] == [False] * 7 + [True] + [False] * 7 + [True]
    assert told[0].reasons == ("7 KG made so far: counted, and no issue is due yet",)
    assert line.booked == {"RM-RESIN": Decimal("109.020"), "RM-PIGMENT": Decimal("5.090")}  # of 112, with the set-up


def test_few_pieces_are_issued_when_time_has_passed():
    """A slow line is issued by the clock of its reports."""
    line = Line(every_s=600)
    assert not line.produced("5", at=0).drafts
    assert not line.produced("5", at=599).drafts
    assert quantities(line.produced("5", at=600))["RM-RESIN"] == "15.900"


def test_a_correction_by_more_than_the_order_is_kept_and_counts_for_nothing():
    """A counter that began anew: the pieces after it would else be issued for only when it had come so far again."""
    line = Line()
    line.produced("100")
    with pytest.raises(BadPayload) as refused:
        line.produced("-65536")
    assert refused.value.reason == "out_of_range"
    line.produced("-10")
    line.produced("110")
    assert line.booked["RM-RESIN"] == Decimal(quantities(Line().produced("200"))["RM-RESIN"])


def test_the_last_pieces_are_issued_at_once():
    """What no scale measures is issued to the last piece when the order says that it was the last."""
    line = Line()
    assert quantities(line.produced("3", final=True)) == {"RM-RESIN": "4.380", "RM-PIGMENT": "0.185"}


def test_a_measurement_takes_the_place_of_what_was_expected():
    """Issued for 100 on expectations; the scale saw 2 kg less: the next issue is less by that much."""
    line = Line()
    line.produced("100")
    assert not line.measured("95.500", "100").drafts
    line.produced("100")
    line.measured("96.000", "100")
    line.produced("1", final=True)
    line.measured("0.960", "1")
    assert line.booked["RM-RESIN"] == Decimal("192.460")


def test_what_was_learnt_is_expected_the_next_time():
    """The ratio belongs to the material, the work centre and the product, and is told with its interval."""
    line = Line()
    for _ in range(12):
        line.produced("100")
        line.measured("98.400", "100")  # 2.5 % more than the bill of material says
    told = line.produced("100")
    assert Decimal(quantities(told)["RM-RESIN"]) == pytest.approx(Decimal("98.4"), rel=Decimal("0.004"))
    assert "ratio 1.02" in told.reasons[0]
    assert "±" in told.reasons[0]
    assert "RM-RESIN for CMP-BLUE" in line.states["ratio/MIX-01"]


def test_a_measurement_beyond_its_tolerance_waits_with_the_difference():
    """Approved the books have what was measured, refused what was expected; nothing is booked twice either way."""
    for refused, known in ((False, "130.000"), (True, "97.500")):
        line = Line()
        line.produced("100")
        held = line.measured("130.000", "100", refused=refused)
        assert held.holds == ("130 KG reported, 97.5 KG expected: 133 %",)
        assert quantities(held) == {"RM-RESIN": "32.500"}
        assert held.reasons == (
            "130 KG measured, 97.5 KG of it issued ahead: 32.5 KG is to be issued if this is right; "
            "refused, nothing changes",
        )
        assert held.expected is None, "32.5 KG are a part of the 130 KG: they are compared with nothing"
        (part,) = held.drafts
        assert told(part.kind, part.payload, part.value, Words(FACTS.units, "EUR"))["operator"] == (
            "32.5 KG of RM-RESIN is to be issued for order 1000100, operation 0010: it was measured, and not issued "
            "before."
        )
        line.produced("10", final=True)
        line.measured("9.600", "10")
        assert line.booked["RM-RESIN"] == Decimal(known) + Decimal("9.600")


def test_a_measurement_far_too_low_takes_back_only_with_a_signature():
    """What was issued ahead goes back with movement 262 if a person says that the scale is right."""
    line = Line()
    line.produced("100")
    held = line.measured("50.000", "100")
    assert held.holds
    assert (quantities(held), held.drafts[0].payload["movement"]) == ({"RM-RESIN": "47.500"}, "262")
    assert line.booked["RM-RESIN"] == Decimal("50.000")


def test_the_same_weight_a_moment_later_is_a_double_report():
    """It is held as a whole; refused, the books are as if it had never come."""
    line = Line(every_pieces=Decimal(0))
    line.produced("200")
    line.measured("97.6", "100", at=1000)
    held = line.measured("97.600", "100", at=1004, refused=True)
    assert "the same was reported a moment ago under another id: a double report" in held.holds
    assert quantities(held) == {"RM-RESIN": "97.600"}
    line.measured("96.100", "100", at=2000)
    line.produced("0", final=True, at=2001)
    assert line.booked["RM-RESIN"] == Decimal("193.700")


def test_at_the_end_what_was_not_used_is_taken_back_with_a_signature():
    """Too much was issued on expectations and no later issue makes up for it."""
    line = Line()
    line.produced("100", final=True)
    told = line.measured("95.800", "100")
    assert told.holds == ("1.7 KG of RM-RESIN were issued and not used: they go back with movement 262",)
    assert line.booked["RM-RESIN"] == Decimal("95.800")


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"order": "77"}, "unknown_order", "order '77' is not known"),
        ({"operation": "0020"}, "order_unfit", "operation '0020' is not in order 1000100; it has 0010"),
        ({"work_center": "MIX-09"}, "order_unfit", "work centre 'MIX-09' is not in the master data"),
        ({"good": "2200"}, "too_many_pieces", "2200 KG would be made in all, 2000 KG are ordered; raise the order"),
    ],
)
def test_pieces_in_doubt_are_not_counted(changes: dict[str, Any], code: str, told: str):
    """They wait in quarantine, so that nothing is issued for them, and can be replayed when all is well."""
    line = Line()
    with pytest.raises(BadPayload, match=re.escape(told)) as refused:
        line.produced(changes.pop("good", "10"), **changes)
    assert refused.value.reason == code
    assert not line.states


def test_pieces_of_a_closed_order_wait():
    """The order is released again, or they are refused."""
    closed = FACTS.with_documents([("order", MIXING | {"status": "closed"})])
    with pytest.raises(BadPayload, match="order 1000100 is closed, not released"):
        Line(closed).produced("10")


def test_pieces_may_be_corrected_downwards():
    """The next issue is less; what was issued too much is never below nothing."""
    line = Line()
    line.produced("100")
    assert not line.produced("-60").drafts
    line.produced("70")
    assert line.booked["RM-RESIN"] == Decimal("97.500")
    line.produced("50", final=True)
    assert line.booked["RM-RESIN"] == Decimal("0.96") * 160 + Decimal("1.5")


def test_totals_count_once_however_often_they_come():
    """Reports may tell the order's total instead; a late one changes nothing."""
    line = Line(totals=True)
    for total in ("60", "60", "40", "120"):
        line.produced(total, at={"60": 60, "40": 40, "120": 120}[total])
    assert line.booked["RM-RESIN"] == Decimal("0.96") * 120 + Decimal("1.5")
    with pytest.raises(BadPayload, match="a total of -1 cannot be"):
        line.produced("-1")


def test_without_a_bill_of_material_the_requirement_of_the_order_says_it():
    """8000 seals for 4000 valves are two each; an operation takes only its own components."""
    order = MIXING | {
        "material": "PT-NEW",
        "quantity": "100",
        "unit": "H87",
        "operations": [
            {"operation": "0010", "work_center": "MIX-01", "unit": "H87"},
            {"operation": "0020", "work_center": "ASSY-05", "unit": "H87"},
        ],
        "components": [
            component("PT-SEAL-20", "0001", "200", "H87", operation=""),
            component("PT-SPRING", "0002", "100", "H87", operation="0020"),
        ],
    }
    line = Line(FACTS.with_documents([("order", order), ("material", {"material": "PT-NEW", "base_unit": "H87"})]))
    assert quantities(line.produced("50")) == {"PT-SEAL-20": "100"}
    assert quantities(line.produced("50", operation="20", work_center="ASSY-05")) == {"PT-SPRING": "50"}


def test_what_the_erp_backflushes_is_left_to_it():
    """Unless the option `marked` says that no confirmation does it."""
    marked = FACTS.with_documents(
        [("order", MIXING | {"components": [component("RM-RESIN", "0001", "1921.5", "KGM", backflush=True)]})]
    )
    told = Line(marked).produced("100")
    assert not told.drafts
    assert told.reasons == ("RM-RESIN is backflushed with the confirmation: left to the ERP",)
    assert "it would be consumed twice" in Line(marked).measured("9.600", "10").holds[0]
    line = Line(marked, marked=True)
    assert quantities(line.produced("100")) == {"RM-RESIN": "97.500"}
    assert line.measured("96.100", "100").holds == ()


def test_batches_are_issued_as_they_were_measured():
    """Nothing is issued before a batch is known; what was issued of one and used of another is put right at the end."""
    managed = FACTS.with_documents([("material", {"material": "RM-RESIN", "base_unit": "KGM", "batch_managed": True})])
    line = Line(managed)
    told = line.produced("100")
    assert "RM-RESIN is managed in batches: it is issued when a measurement names its batch" in told.reasons
    assert line.measured("97.500", "100", batch="A").drafts[0].payload["batch"] == "A"
    (ahead,) = [one for one in line.produced("100").drafts if one.payload["material"] == "RM-RESIN"]
    assert ahead.payload["batch"] == "A"
    line.produced("0", final=True)
    told = line.measured("96.000", "100", batch="B")
    assert [(one.payload["batch"], one.payload.get("movement")) for one in told.drafts] == [("A", "262"), ("B", None)]
    assert line.booked["RM-RESIN"] == Decimal("193.500")


def test_while_the_orders_may_be_stale_nothing_is_issued_on_expectations():
    """It is made up for with the first report after the ERP was heard of again."""
    line = Line(FACTS.with_documents([], orders_as_of=AT - timedelta(hours=30)))
    told = line.produced("100")
    assert not told.drafts
    assert "RM-RESIN: nothing is issued on expectations while the orders may be stale" in told.reasons
    line.facts = FACTS
    assert quantities(line.produced("1"))["RM-RESIN"] == "98.460"


def test_no_more_is_issued_on_expectations_than_the_order_requires():
    """More needs a measurement."""
    line = Line(over_delivery=Decimal(2))
    line.produced("1900")
    told = line.produced("1000")
    assert not told.drafts
    assert "2785.5 KG would be issued, 1921.5 KG are required: it waits for a measurement" in told.reasons[0]
    held = line.measured("2780", "2900")
    assert "2780 KG used in all, 1921.5 KG required by the order" in held.holds


def test_other_units_are_exact_in_sum():
    """Pounds have no exact kilograms: what rounding leaves over goes with the next issue."""
    line = Line(every_pieces=Decimal(0))
    for _ in range(3):
        line.measured("21.164", "10", unit="LBR", at=3600 * line.number)
    assert line.booked["RM-RESIN"] == (3 * Decimal("21.164") * Decimal("0.45359237")).quantize(Decimal("0.001"))


def test_a_scale_without_lots_covers_what_was_made_until_its_time():
    """Late reports of pieces made before it change nothing; those made after it are expected again."""
    line = Line()
    line.produced("100", at=100)
    line.measured("97.800", at=200)
    assert not line.produced("40", at=150).drafts
    line.produced("60", at=300)
    line.measured("57.000", at=400, final=True)
    assert line.booked["RM-RESIN"] == Decimal("154.800")


def test_what_the_order_does_not_plan_is_held_as_a_whole():
    """An unplanned withdrawal has no expectation that it could settle."""
    held = Line().measured("7", "10", material="PT-SPRING", unit="H87")
    assert held.holds == ("PT-SPRING is no component of order 1000100: an unplanned withdrawal",)
    assert quantities(held) == {"PT-SPRING": "7"}


def test_a_shift_that_stays_is_an_alarm_and_forgets_what_was_learnt():
    """From one report on 4 % more are used: it is said once, and expected soon after."""
    line = Line()
    alarms = []
    for number in range(90):
        lot = "20"
        line.produced(lot)
        used = Decimal("19.2") * (Decimal("1.04") if number > 60 else Decimal(1)) + Decimal(number % 5 - 2) / 50
        alarms += [line.measured(str(used), lot).alarm]
    (told,) = [one for one in alarms if one]
    assert "of RM-RESIN at MIX-01 are about" in told


def test_two_recipes_in_turn_are_no_shift():
    """What one product takes more than the bill of material says is expected of it, and not of the other."""
    red = MIXING | {"order": "1000101", "material": "CMP-RED"}
    line = Line(FACTS.with_documents([("order", red), ("material", {"material": "CMP-RED", "base_unit": "KGM"})]))
    for number in range(160):
        order, ratio = (("1000100", "1.03"), ("1000101", "0.98"))[number // 10 % 2]
        line.produced("10", order=order)
        used = Decimal("9.6") * Decimal(ratio) + Decimal(number % 5 - 2) / 100
        told = line.measured(f"{used:.3f}", "10", order=order)
        assert (told.holds, told.alarm) == ((), "")
