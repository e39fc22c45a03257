"""Reconciliation: a finding becomes the correction a person signs, a count the difference; each mistake a reason."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent import observing
from agent.configuration.config import parse
from agent.errors import BadPayload
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.masterdata import files as masterfiles
from agent.observing import Seen, Withdrawn
from agent.ports import Kind, Proposal
from agent.sap import movements
from agent.sap.call import Rules
from agent.store.approvals import reported
from agent.store.movements import Moved
from agent.units import UnitsFile, UnitTable
from agent.workflows.reconciliation import SIGNED, Config, Reconciliation

EDGE_CONFIG = Path(__file__).parents[2] / "edge_config"
AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RULES = Rules(ZoneInfo("Europe/Berlin"), {"KGM": "KG"}, {}, services={Kind.STOCK_TRANSFER: "MAT"})
ORDER: dict[str, Any] = {
    "order": "1000100", "material": "CMP-BLUE", "plant": "1710", "quantity": "2000.000", "unit": "KGM",
    "status": "released", "operations": [{"operation": "0010", "work_center": "MIX-01", "unit": "KGM"}],
    "components": [{
        "material": "RM-RESIN", "reservation": "0000050001", "item": "0001", "required": "1921.500", "unit": "KGM",
        "storage_location": "171A", "operation": "0010",
    }],
}  # fmt: skip
STOCK = {"material": "RM-RESIN", "storage_location": "171A", "quantity": "500.000", "unit": "KGM"}


def load_facts() -> Facts:
    units = UnitTable.of(parse(EDGE_CONFIG / "units.yaml", UnitsFile))
    facts = Facts(plant=Plant("1710", ZoneInfo("Europe/Berlin"), "EUR"), units=units)
    facts = facts.with_facts(masterfiles.load(EDGE_CONFIG / "masterdata", units).facts(date(2026, 11, 20)))
    beside = [{**STOCK, "storage_location": "171B"}, {**STOCK, "material": "RM-PIGMENT", "quantity": "30.000"}]
    return facts.with_documents([("order", ORDER), ("stock", STOCK), *(("stock", one) for one in beside)])


FACTS = load_facts()


def proposed(report: SegmentResponse, config: Config = Config()) -> Proposal:  # noqa: B008  # frozen
    return Reconciliation(config).propose(report, FACTS, None, [])[0]


def finding(
    correction: str, *, cause: str = "recording error", excess: str = "826.020", **data: Any
) -> SegmentResponse:
    """917.8 kg were booked where 91.78 kg were measured."""
    lies = MaterialActual(
        MaterialUse.INVENTORIED, Quantity(abs(Decimal(excess)), "KGM"), "RM-RESIN", storage_location="171A"
    )
    values: dict[str, str | Decimal] = {
        "cause": cause,
        "correction": correction,
        "evidence": "as it was",
        "excess": Decimal(excess),
    }
    return SegmentResponse(
        "reconciliation", "reconciliation/abc", "1000100", "10", AT, "MIX-01", material_actuals=(lies,),
        data=values | {"noise": Decimal(0), "scrapped": Decimal(0), "about": "R1"} | data,
    )  # fmt: skip


BOOKED = {
    "document": "2026/4900000018", "of_kind": "goods_issue", "of_key": "0123456789ABCDEF", "booked": "917.800",
    "booked_unit": "KGM",
}  # fmt: skip


def test_what_was_booked_wrongly_is_taken_back_and_issued_rightly_as_one_group():
    """The document is reversed, and what was measured is issued instead; both wait for one signature."""
    one = proposed(finding("reversal", **BOOKED))
    back, again = one.drafts
    assert (back.kind, back.payload["document"]) == ("reversal", "2026/4900000018")
    assert (again.kind, again.payload["quantity"], again.payload["reservation"]) == (
        "goods_issue",
        "91.780",
        "0000050001",
    )
    assert (one.together, one.holds) == (True, (SIGNED,))
    assert "as it was" in one.alarm
    assert "take back 2026/4900000018, then issue 91.78 KG." in one.said["accountant"]


def test_what_this_agent_did_not_book_is_counted():
    """A document of somebody else cannot be named: the place is counted, and the reason says so."""
    one = proposed(finding("reversal"))
    assert [draft.kind for draft in one.drafts] == ["count_document"]
    assert any("not booked by this agent" in why for why in one.holds)


@pytest.mark.parametrize(
    ("fate", "says"),
    [
        ("simulated", "posting 7 was a dry run: what the ERP has of it others booked"),
        ("advised", "this agent only advised to book it: what the ERP has of it others booked"),
        ("refused", "posting 7 was never sent, as it was refused or nobody signed it in time"),
        ("in_doubt", "whether the ERP has posting 7 is not known yet"),
        ("held", "posting 7 is not in the ERP yet: refuse or correct it"),
        ("acknowledged", "this agent booked more than one document of it"),
    ],
)
def test_why_nothing_of_this_agent_is_to_be_taken_back_is_said_as_it_is(fate, says):
    """A dry run, advice, a refusal, doubt, waiting: each is said, and what to do instead."""
    one = proposed(finding("reversal", fate=fate, posting="7" if fate != "advised" else ""))
    assert [draft.kind for draft in one.drafts] == ["count_document"]
    assert any(why.startswith(says) and "count" in why for why in one.holds)


def test_what_is_missing_is_issued_and_an_estimate_says_that_it_is_one():
    """The quantity that is usual for the lot is proposed, with its noise."""
    one = proposed(finding("issue", cause="missing report", excess="-9.6", noise=Decimal("0.05")))
    (draft,) = one.drafts
    assert (draft.kind, draft.payload["quantity"], draft.payload["storage_location"]) == (
        "goods_issue",
        "9.600",
        "171A",
    )
    assert draft.value == Decimal("9.6") * Decimal("3.20")
    assert any("± 0.05 KG" in why for why in one.holds)


def test_scrap_that_nobody_told_of_is_confirmed_as_scrap():
    """The product that the components tell of becomes scrap of its operation, without a yield."""
    one = proposed(finding("scrap", cause="scrap not reported", excess="0", scrapped=Decimal("12.34")))
    (draft,) = one.drafts
    assert (draft.kind, draft.payload["yield"], draft.payload["scrap"]) == ("confirmation", "0", "12.340")


def mixed_up(excess: str = "20", **data: Any) -> Proposal:
    values: dict[str, Any] = {
        "cause": "substitution",
        "instead": "RM-RESIN",
        "instead_location": "171B",
        "noise": Decimal("0.4"),
    }
    return proposed(finding("transfer", excess=excess, **values | data))


def test_two_storage_locations_that_were_mixed_up_are_moved_by_one_posting_that_a_person_signs():
    """Off the books that have too much, to those that have too little: 311, with the evidence and its noise."""
    one = mixed_up()
    (draft,) = one.drafts
    wanted = {
        "movement": "311", "material": "RM-RESIN", "storage_location": "171B", "to_storage_location": "171A",
        "quantity": "20.000", "unit": "KGM", "plant": "1710", "posting_date": "2026-11-20",
    }  # fmt: skip
    assert draft.kind == "stock_transfer"
    assert wanted.items() <= draft.payload.items()
    assert draft.value == Decimal(20) * Decimal("3.20")
    assert one.holds == (SIGNED, "the quantity is what gauges show, ± 0.4 KG")
    assert "as it was" in one.reasons[0]
    assert "move 20 KG in the books from RM-RESIN at 171B to 171A" in one.said["planner"]
    sent = movements.stock_transfer(draft.payload, "KEY", RULES).body["to_MaterialDocumentItem"]["results"][0]
    assert (sent["GoodsMovementType"], sent["IssuingOrReceivingStorageLoc"]) == ("311", "171A")


def test_a_material_that_was_used_for_another_is_moved_to_it():
    """Two materials of one storage location: 309, and the person is told that the orders keep their cost."""
    one = mixed_up(instead="RM-PIGMENT", instead_location="171A")
    (draft,) = one.drafts
    assert (draft.payload["movement"], draft.payload["material"], draft.payload["to_material"]) == (
        "309", "RM-PIGMENT", "RM-RESIN",
    )  # fmt: skip
    assert draft.value == Decimal(20) * Decimal("18.50")  # what is worth more
    assert any("orders keep the cost of RM-RESIN" in why for why in one.holds)
    sent = movements.stock_transfer(draft.payload, "KEY", RULES).body["to_MaterialDocumentItem"]["results"][0]
    assert sent["IssgOrRcvgMaterial"] == "RM-RESIN"


@pytest.mark.parametrize(
    ("changes", "why", "also"),
    [
        ({"excess": "600"}, "have not so much", "count RM-RESIN at 171B, too"),
        ({"excess": "-20"}, "nothing is too much there", "count RM-RESIN at 171B, too"),
        ({"instead_location": ""}, "a storage location is not known", "count RM-RESIN at , too"),
        ({"instead": "RM-PIGMENT"}, "neither one material nor", "count RM-PIGMENT at 171B, too"),
        ({"instead_batch": "B7"}, "two batches", "count RM-RESIN at 171B, too"),
    ],
)
def test_what_is_no_one_movement_is_counted(changes, why, also):
    """A document to count by takes the place of the transfer, and the reason says why, and what else is to count."""
    one = mixed_up(**changes)
    assert [draft.kind for draft in one.drafts] == ["count_document"]
    assert any(why in reason for reason in one.holds)
    assert also in one.holds


@pytest.mark.parametrize("cause", ["theft", "leak", "substitution"])
def test_what_is_gone_is_counted(cause):
    """Nothing is posted for what nobody saw: people count first."""
    one = proposed(finding("count", cause=cause, excess="-40", instead="RM-PIGMENT", instead_location="171A"))
    (draft,) = one.drafts
    assert draft.payload["items"] == [{"material": "RM-RESIN"}, {"material": "RM-PIGMENT"}]
    assert one.holds[0] == SIGNED


def test_where_the_books_are_right_people_are_told_and_nothing_is_posted():
    """A report that is missing while its booking is there needs no posting; it is an alarm all the same."""
    one = proposed(finding("none", cause="missing report", excess="0"))
    assert one.drafts == ()
    assert one.alarm
    assert "nothing is to be posted" in one.said["planner"]


def test_only_causes_that_are_configured_go_without_a_person():
    """Whatever the mode says, a correction is held, unless its cause is named in the options."""
    config = Config(without_person=("missing report",))
    missing = finding("issue", cause="missing report", excess="-9.6")
    assert proposed(missing, config).holds == ()
    assert proposed(finding("reversal", **BOOKED), config).holds == (SIGNED,)


def test_what_was_taken_back_is_no_booking_of_others():
    """What the ERP told before the reversal counts what was taken back: nobody else has booked that."""
    withdrawn = Withdrawn(own=Decimal("19.2"), told=Decimal("19.2"), at=AT - timedelta(hours=1))
    seen = Seen(withdrawn={"1000100/RM-RESIN": withdrawn})
    original = {"order": "1000100", "operation": "0010", "material": "RM-RESIN", "quantity": "9.6", "unit": "KGM"}
    row = Moved(7, AT, "acknowledged", {}, None, "reversal", {"document": "4900000018"}, "4900000019")
    back = observing.taken_back(row, original, seen, FACTS)
    assert back is not None
    assert (back.quantity, back.takes_back) == (Decimal("-9.6"), "4900000018")
    assert list(observing.by_others(seen, FACTS, AT, lambda one: True)) == []


# ── counts and levels ───────────────────────────────────────────────────────────────────────────────────────


def count(quantity: str = "480", unit: str = "KGM", *, kind: str = "stock_count", **changes: Any) -> SegmentResponse:
    one = MaterialActual(
        changes.pop("use", MaterialUse.INVENTORIED),
        Quantity(Decimal(quantity), unit),
        changes.pop("material", "RM-RESIN"),
        storage_location=changes.pop("location", "171A"),
    )  # fmt: skip
    return SegmentResponse(kind, "C1", "", "", AT, material_actuals=(one,) * changes.pop("times", 1))


def test_a_count_becomes_document_count_and_difference():
    """The three are one group, at the value of the difference; the reason has both numbers."""
    one = proposed(count()._replace(personnel="4711"))
    assert reported(one.drafts[0].payload, "4711")  # who counted is none of two who sign
    assert [draft.kind for draft in one.drafts] == ["count_document", "count_entry", "count_difference"]
    assert one.drafts[1].payload["items"] == [{"material": "RM-RESIN", "quantity": "480.000", "unit": "KGM"}]
    assert one.together
    assert one.drafts[0].value == Decimal(20) * Decimal("3.20")
    assert one.holds[1] == "RM-RESIN at 171A: 480 KG counted, 500 KG in the books: 20 KG too high, 64.00 EUR"


def test_a_count_that_agrees_posts_nothing():
    """What is counted as the books have it is no posting; nor is a level of a silo."""
    assert proposed(count("500")).drafts == ()
    assert proposed(count("480", kind="stock_level")).drafts == ()


@pytest.mark.parametrize("kind", ["stock_count", "stock_level"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quantity": "-1"}, "negative"),
        ({"quantity": "NaN"}, "negative"),
        ({"material": "NOBODY-KNOWS"}, "unknown_material"),
        ({"location": ""}, "missing"),
        ({"use": MaterialUse.PRODUCED}, "wrong_type"),
    ],
)
def test_what_cannot_lie_there_is_refused(kind, changes, reason):
    """Each mistake in a count or a level has its own reason, and nothing is posted."""
    with pytest.raises(BadPayload) as refused:
        proposed(count(kind=kind, **changes))
    assert refused.value.reason == reason


@pytest.mark.parametrize("changes", [{"times": 2}, {"times": 101}, {"times": 0}, {"quantity": "12345678901"}])
def test_a_count_that_the_erp_cannot_take_is_refused(changes):
    """A place counted twice, too many places, none, or too much."""
    with pytest.raises(BadPayload):
        proposed(count(**changes))
