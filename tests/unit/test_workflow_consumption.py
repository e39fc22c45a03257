"""Consumption: what is reported becomes a goods issue, what looks wrong becomes a reason in words."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.configuration.config import parse
from agent.errors import BadPayload
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.masterdata import files as masterfiles
from agent.ports import Proposal
from agent.scores import Score
from agent.units import UnitsFile, UnitTable
from agent.workflows.consumption import FEATURES, Config, Consumption

EDGE_CONFIG = Path(__file__).parents[2] / "edge_config"
AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
STARTED = {"total": "100", "count": 3, "last": []}


def component(material: str, item: str, required: str, unit: str, **more: Any) -> dict[str, Any]:
    line = {"material": material, "reservation": "0000050001", "item": item, "required": required, "unit": unit}
    return line | {"storage_location": "171A", "operation": "0010"} | more


MIXING: dict[str, Any] = {
    "order": "1000100",
    "material": "CMP-BLUE",
    "plant": "1710",
    "quantity": "2000.000",
    "unit": "KGM",
    "status": "released",
    "operations": [{"operation": "0010", "work_center": "MIX-01", "unit": "KGM"}],
    "components": [
        component("RM-RESIN", "0001", "1921.500", "KGM"),
        component("RM-PIGMENT", "0002", "90.050", "KGM"),
    ],
}
ASSEMBLY: dict[str, Any] = {
    "order": "1000120",
    "material": "VALVE-55",
    "plant": "1710",
    "quantity": "4000",
    "unit": "H87",
    "status": "released",
    "operations": [{"operation": "0010", "work_center": "ASSY-05", "unit": "H87"}],
    "components": [component("PT-SEAL-20", "0002", "8000", "H87")],
}


def load_facts() -> Facts:
    units = UnitTable.of(parse(EDGE_CONFIG / "units.yaml", UnitsFile))
    facts = Facts(plant=Plant("1710", ZoneInfo("Europe/Berlin"), "EUR"), units=units)
    facts = facts.with_facts(masterfiles.load(EDGE_CONFIG / "masterdata", units).facts(date(2026, 11, 20)))
    return facts.with_documents([("order", MIXING), ("order", ASSEMBLY)])


FACTS = load_facts()
FLOW = Consumption(Config())


def report(quantity: str = "9.600", unit: str = "KGM", *, lot: str | None = "10.0", **changes: Any) -> SegmentResponse:
    """10 kg of compound, for which 9.6 kg of resin are expected."""
    material = changes.pop("material", "RM-RESIN")
    consumed = MaterialActual(MaterialUse.CONSUMED, Quantity(Decimal(quantity), unit), material, "0000000301")
    product_unit = changes.pop("lot_unit", "KGM")
    produced = [MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(lot), product_unit))] if lot else []
    base = SegmentResponse(
        kind="consumption",
        id="MIX-01-000001",
        order="1000100",
        operation="0010",
        occurred_at=AT,
        work_center="MIX-01",
        material_actuals=(consumed, *produced),
    )
    return base._replace(**changes)


def holds(one: SegmentResponse, *, facts: Facts = FACTS, state: dict[str, Any] = STARTED) -> tuple[str, ...]:
    return FLOW.propose(one, facts, None, [state, {}])[0].holds


def test_a_usual_report_becomes_a_goods_issue_without_a_hold():
    """Every field of the payload is what the ERP needs, in its units, precision and calendar."""
    proposal, _ = FLOW.propose(report("9612", "GRM"), FACTS, None, [STARTED, {}])
    (draft,) = proposal.drafts
    assert proposal.holds == ()
    assert draft.kind == "goods_issue"
    assert draft.ordering_key == "order/1000100"
    assert draft.value == Decimal("9.612") * Decimal("3.20")
    assert draft.payload == {
        "plant": "1710",
        "material": "RM-RESIN",
        "order": "1000100",
        "operation": "0010",
        "reservation": "0000050001",
        "reservation_item": "0001",
        "quantity": "9.612",
        "unit": "KGM",
        "floor_quantity": "9612",
        "floor_unit": "GRM",
        "storage_location": "171A",
        "batch": "0000000301",
        "posting_date": "2026-11-20",
        "document_date": "2026-11-20",
        "text": "MIX-01-000001",
    }
    assert proposal.subject == {
        "order": "1000100",
        "material": "RM-RESIN",
        "work_center": "MIX-01",
        "line": "mixing",
    }


def test_the_posting_date_is_the_plants_day():
    """Half past eleven at night UTC is already tomorrow in Berlin."""
    late = report(occurred_at=datetime(2026, 11, 20, 23, 30, tzinfo=UTC))
    assert FLOW.propose(late, FACTS, None, [STARTED, {}])[0].drafts[0].payload["posting_date"] == "2026-11-21"


@pytest.mark.parametrize(
    ("quantity", "unit", "told"),
    [
        ("19.200", "KGM", "19.2 KG reported, 9.6 KG expected: 200 %; twice what is expected"),
        ("96.000", "KGM", "96 KG reported, 9.6 KG expected: 1000 %; 10 times too high: a slipped decimal point"),
        ("0.960", "KGM", "10 times too low: a slipped decimal point"),
        (
            "9600",
            "KGM",
            "1000 times too high: a slipped decimal point, or perhaps the number is in G, not in KG (1 G is",
        ),
        (
            "9.600",
            "GRM",
            "1000 times too low: a slipped decimal point, or perhaps the number is in KG, not in G (1 KG is",
        ),
        ("21.16", "KGM", "perhaps the number is in LBR, not in KG (1 LBR is 0.4536 KG)"),
        ("6.900", "KGM", "two digits swapped: 9.600 instead of 6.900"),
        ("12.700", "KGM", "12.7 KG reported, 9.6 KG expected: 132 %"),
    ],
)
def test_a_deviation_tells_its_numbers_and_its_likely_cause(quantity, unit, told):
    """What a person reads is enough to decide."""
    assert any(told in reason for reason in holds(report(quantity, unit)))


def test_what_the_model_compares_with_is_told_where_the_tolerance_has_another_expectation():
    """A model allows for a set-up in every report, the tolerance in the first alone: both expectations are said."""
    score = Score(0.1, "usage/1", "ab", (0.5,), reasons=("used over expected is 1.73, usually 0.98 to 1.02",))
    for weight, state, words in (
        ("19.200", STARTED, ["the model compares with 11.1 KG expected, with 1.5 KG for the set-up"]),
        ("19.200", {}, []),  # one expectation
        ("5.000", STARTED, []),  # the model compares without it, too
    ):
        proposal, _ = FLOW.propose(report(weight), FACTS, score, [state, {}])
        assert proposal.reasons == (*score.reasons, *words)
    assert FLOW.propose(report("19.200"), FACTS, None, [STARTED, {}])[0].reasons == ()


def test_all_causes_that_fit_are_told():
    """Twice too much in kilograms may be counted double or meant in pounds: within a wide tolerance both are said."""
    tolerance = {"material": "RM-RESIN", "work_center": "MIX-01", "under": "0.15", "over": "0.15"}
    wide = FACTS.with_documents([("tolerance", tolerance)])
    (told,) = holds(report("19.800"), facts=wide)
    assert told == (
        "19.8 KG reported, 9.6 KG expected: 206 %; twice what is expected: counted double, or two lots in one report; "
        "or perhaps the number is in LBR, not in KG (1 LBR is 0.4536 KG)"
    )


def test_an_unexplained_deviation_claims_no_cause():
    """No cause is better than a wrong one."""
    assert holds(report("12.700")) == ("12.7 KG reported, 9.6 KG expected: 132 %",)


def test_scrap_that_the_report_tells_explains_what_is_used_beyond_the_lot():
    """Resin for ten kilograms that are good and two that are not; or resin that was spoilt and is reported as such."""
    spoilt = report("11.520")
    product = MaterialActual(MaterialUse.SCRAP, Quantity(Decimal(2), "KGM"))
    resin = MaterialActual(MaterialUse.SCRAP, Quantity(Decimal("1.92"), "KGM"), "RM-RESIN")
    other = MaterialActual(MaterialUse.SCRAP, Quantity(Decimal(7), "KGM"))
    for scrap, words in (
        (product, "; right for the lot and the 2 KG of scrap reported with it"),
        (resin, "; the 1.92 KG of scrap reported with it are the difference"),
        (other, ""),
    ):
        (told,) = holds(spoilt._replace(material_actuals=(*spoilt.material_actuals, scrap)))
        assert told == f"11.52 KG reported, 9.6 KG expected: 120 %{words}"


def test_a_material_that_stands_in_for_a_component_is_said_to():
    """Pigment, which nobody planned here, in the quantity in which the lot takes resin."""
    only_resin = MIXING | {"components": MIXING["components"][:1]}
    facts = FACTS.with_documents([("order", only_resin)])
    told = holds(report("9.650", material="RM-PIGMENT"), facts=facts)
    assert "as much as the lot takes of RM-RESIN: a substitution" in told
    told = holds(report("4.000", material="RM-PIGMENT"), facts=facts)
    assert told == ("RM-PIGMENT is no component of order 1000100: an unplanned withdrawal",)


def weighed(random: Random, count: int, factor: str = "1") -> list[SegmentResponse]:
    """Reports of one place, lot after lot."""
    made = []
    for number in range(count):
        lot = Decimal(f"{random.uniform(6, 14):.1f}")
        used = lot * Decimal("0.96") * Decimal(factor) * Decimal(f"{random.lognormvariate(0, 0.007):.6f}")
        one = report(f"{used:.3f}", lot=str(lot), id=str(number), occurred_at=AT + timedelta(minutes=number))
        made.append(one)
    return made


def follow(stream: list[SegmentResponse], usage: Any) -> tuple[list[Proposal], Any]:
    """What is proposed for the reports of a stream, each written and read in between; the order is never used up."""
    proposals = []
    for one in stream:
        proposal, (_, usage) = FLOW.propose(one, FACTS, None, [STARTED, usage])
        usage = json.loads(json.dumps(usage))
        proposals.append(proposal)
    return proposals, usage


def test_a_slow_leak_is_an_alarm_once_and_holds_nothing():
    """Two per cent more are within every tolerance: the postings are right, and somebody is told what goes on."""
    random = Random(1)
    before, usage = follow(weighed(random, 150), {})
    leaking, usage = follow(weighed(random, 150, "1.02"), usage)
    assert not any(one.holds or one.alarm for one in before)
    assert not any(one.holds for one in leaking)
    (alarm,) = [one.alarm for one in leaking if one.alarm]
    assert any(one.alarm for one in leaking[:15])
    assert re.match(
        r"the last \d+ reports of RM-RESIN at MIX-01 are about [12]\.\d % above what was usual: a leak", alarm
    )
    assert all(alarm in one.reasons for one in leaking if one.alarm)


def test_a_report_that_is_odd_at_its_place_is_held_within_the_tolerance():
    """Four per cent are allowed; where no report of this place was ever so far off, a person looks at this one."""
    scales_exact = [
        report(
            f"{9.6 + Random(number).gauss(0, 0.015):.3f}", id=str(number), occurred_at=AT + timedelta(minutes=number)
        )
        for number in range(250)
    ]
    proposals, usage = follow(scales_exact, {})
    assert not any(one.holds for one in proposals)
    later = AT + timedelta(days=1)
    for quantity, why in (
        ("9.992", "so far off are 0.4 % of the reports"),  # the first of 251
        ("9.950", "two digits swapped: 9.590 instead of 9.950"),
    ):
        ((odd,), after) = follow([report(quantity, occurred_at=later)], usage)
        (told,) = odd.holds
        assert re.fullmatch(rf"{quantity.rstrip('0')} KG reported, 9\.[56]\d* KG are usual here; {why}", told)
        assert after != usage
        never = Consumption(Config(rare=0)).propose(report(quantity, occurred_at=later), FACTS, None, [STARTED, usage])
        assert never[0].holds == ()


def test_what_is_in_doubt_does_not_change_what_is_usual():
    """Ten times too much, a double report and an unplanned withdrawal teach nothing."""
    _, usage = follow(weighed(Random(2), 50), {})
    _, (once, _) = FLOW.propose(report(id="A"), FACTS, None, [STARTED, usage])
    only_resin = FACTS.with_documents([("order", MIXING | {"components": MIXING["components"][:1]})])
    for doubtful, facts, state in (
        (report("96.000"), FACTS, STARTED),
        (report(id="B"), FACTS, once),
        (report("0.450", material="RM-PIGMENT"), only_resin, STARTED),
    ):
        proposal, (_, after) = FLOW.propose(doubtful, facts, None, [state, usage])
        assert proposal.holds
        assert after is usage


def test_the_set_up_is_expected_on_the_first_report_only():
    """1.5 kg of resin are used once per order."""
    assert holds(report("11.100"), state={}) == ()
    assert holds(report("9.600"), state={}) != ()
    assert holds(report("11.100"), state=STARTED) != ()


def test_an_agent_that_takes_over_a_running_order_expects_no_set_up():
    """What the ERP says is withdrawn was set up before."""
    running = MIXING | {"components": [component("RM-RESIN", "0001", "1921.500", "KGM", withdrawn="500")]}
    assert holds(report("9.600"), facts=FACTS.with_documents([("order", running)]), state={}) == ()


def test_more_than_the_order_requires_is_held():
    """In sum, with the tolerance; the ERP's own figure counts where it is higher."""
    state = STARTED | {"total": "2010"}
    assert "2019.6 KG used in all, 1921.5 KG required by the order" in holds(report(), state=state)
    withdrawn = MIXING | {"components": [component("RM-RESIN", "0001", "1921.500", "KGM", withdrawn="2015")]}
    assert "2024.6 KG used in all" in holds(report(), facts=FACTS.with_documents([("order", withdrawn)]))[0]


def test_the_same_weight_under_another_id_is_a_double_report():
    """Within the time of the options; later it is another weighing."""
    _, (state, _) = FLOW.propose(report(), FACTS, None, [STARTED, {}])
    again = report(id="MIX-01-000002", occurred_at=AT + timedelta(seconds=5))
    assert "a double report" in holds(again, state=dict(state))[0]
    assert holds(again._replace(occurred_at=AT + timedelta(minutes=5)), state=dict(state)) == ()


@pytest.mark.parametrize(("quantity", "unit"), [("9.60", "KGM"), ("9600", "GRM"), ("0.0096", "TNE")])
def test_the_same_weight_written_in_another_way_is_a_double_report(quantity, unit):
    """A zero more, or another unit: it is as much all the same."""
    _, (state, _) = FLOW.propose(report("9.6"), FACTS, None, [STARTED, {}])
    again = report(quantity, unit, id="MIX-01-000002", occurred_at=AT + timedelta(seconds=5))
    assert "a double report" in holds(again, state=dict(state))[0]


def test_equal_counts_are_doubles_only_at_the_same_instant():
    """Twelve seals for every six valves is what a line does all day."""
    seals = report("12", "H87", lot="6", lot_unit="H87", material="PT-SEAL-20", order="1000120", work_center="ASSY-05")
    _, (state, _) = FLOW.propose(seals, FACTS, None, [{}, {}])
    assert holds(seals._replace(id="2", occurred_at=AT + timedelta(seconds=5)), state=dict(state)) == ()
    assert "a double report" in holds(seals._replace(id="2"), state=dict(state))[0]


def test_a_doubtful_report_does_not_count_as_used():
    """A report ten times too high must not make the next good ones look like too much."""
    _, (state, _) = FLOW.propose(report("96.000"), FACTS, None, [STARTED, {}])
    assert (state["total"], state["count"]) == ("100", 3)
    _, (state, _) = FLOW.propose(report(), FACTS, None, [state, {}])
    assert (state["total"], state["count"]) == ("109.600", 4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"order": "999"}, "unknown_order"),
        ({"material": "RM-GOLD"}, "unknown_material"),
        ({"unit": "H87"}, "other_dimension"),
        ({"unit": "bucket"}, "unknown_unit"),
        ({"quantity": "-1"}, "negative"),
        ({"quantity": "NaN"}, "negative"),
        ({"quantity": "1e12"}, "too_large"),
        ({"lot_unit": "MTR"}, "other_dimension"),
    ],
)
def test_what_cannot_be_built_is_refused(change, reason):
    """The event is quarantined under a reason, and can be replayed when the cause is mended."""
    with pytest.raises(BadPayload) as refused:
        FLOW.propose(report(**change), FACTS, None, [{}, {}])
    assert refused.value.reason == reason
    assert reason == "too_large" or FLOW.features(report(**change), FACTS) is None


def test_a_report_names_one_consumed_material():
    """None or two have no place in one goods issue, and no streaming state."""
    one = report()
    for actuals in ((), one.material_actuals * 2):
        wrong = one._replace(material_actuals=actuals)
        assert FLOW.state_keys(wrong) == ()
        with pytest.raises(BadPayload, match="names one consumed material"):
            FLOW.propose(wrong, FACTS, None, [{}, {}])


@pytest.mark.parametrize(
    ("order", "change", "told"),
    [
        ({"status": "created"}, {}, "order 1000100 is created, not released"),
        ({"status": "closed"}, {}, "order 1000100 is closed, not released"),
        ({"plant": "1720"}, {}, "belongs to plant 1720"),
        ({}, {"operation": "0020"}, "operation '0020' is not in order 1000100; it has 0010"),
        ({}, {"work_center": "WC-99"}, "work centre 'WC-99' is not in the master data"),
        ({}, {"work_center": "ASSY-05"}, "reported by ASSY-05, but planned at MIX-01"),
        ({}, {"material": "BODY-55", "unit": "H87"}, "BODY-55 is no component of order 1000100"),
        ({}, {"lot": None}, "does not say for what lot quantity"),
        ({}, {"quantity": "9.60005"}, "9.60005 KG cannot be posted exactly: 9.6 KG is the nearest"),
    ],
)
def test_what_does_not_fit_the_order_is_held(order, change, told):
    """It could be posted, but a person must look."""
    facts = FACTS.with_documents([("order", MIXING | order)])
    assert any(told in reason for reason in holds(report(**change), facts=facts)), holds(report(**change), facts=facts)


def test_backflushed_components_are_not_consumed_twice():
    """The ERP consumes them with the confirmation."""
    order = MIXING | {"components": [component("RM-RESIN", "0001", "1921.500", "KGM", backflush=True)]}
    assert "consumed twice" in holds(report(), facts=FACTS.with_documents([("order", order)]))[0]


def test_batch_managed_material_needs_a_batch():
    """Nothing is guessed: neither in the report nor in the order is one named."""
    facts = FACTS.with_documents([("material", {"material": "RM-RESIN", "base_unit": "KGM", "batch_managed": True})])
    one = report()
    bare = one._replace(material_actuals=(one.material_actuals[0]._replace(lot=""), one.material_actuals[1]))
    assert holds(one, facts=facts) == ()
    assert "managed in batches" in holds(bare, facts=facts)[0]


def test_stale_order_data_holds():
    """When the ERP was not heard of for longer than the option says."""
    facts = FACTS.with_documents([], orders_as_of=AT - timedelta(hours=25))
    assert "order data may be stale" in holds(report(), facts=facts)[0]
    assert holds(report(), facts=FACTS.with_documents([], orders_as_of=AT - timedelta(hours=23))) == ()


def test_rounding_is_an_option_and_happens_once():
    """HALF_UP at the ERP's precision; the floor's own figure travels along."""
    flow = Consumption(Config(allow_rounding=True))
    proposal, _ = flow.propose(report("9.6005"), FACTS, None, [STARTED, {}])
    assert proposal.holds == ()
    assert proposal.drafts[0].payload["quantity"] == "9.601"
    assert proposal.drafts[0].payload["floor_quantity"] == "9.6005"


def test_without_a_bill_of_material_the_orders_requirement_is_the_measure():
    """The order's own figure: required over quantity."""
    facts = FACTS.with_documents([("bom", {"product": "CMP-BLUE", "unit": "KGM", "items": []})])
    assert holds(report("9.600"), facts=facts) == ()
    assert "9.6075 KG expected" in holds(report("12.700"), facts=facts)[0]


def test_nothing_used_is_nothing_to_post():
    """A zero is a report, but no posting."""
    proposal, (state, _) = FLOW.propose(report("0"), FACTS, None, [STARTED, {}])
    assert proposal.drafts == ()
    assert state is STARTED


def test_the_score_is_the_confidence():
    """The model's reasons travel to the person who decides."""
    score = Score(0.42, "m/1", "", (), ("used over expected is 1.04",))
    proposal, _ = FLOW.propose(report(), FACTS, score, [STARTED, {}])
    assert (proposal.confidence, proposal.reasons) == (0.42, ("used over expected is 1.04",))


def test_the_features_are_what_they_are_called():
    """Expected is 9.6 kg, or 11.1 kg with the set-up; the nearer one counts."""
    row = FLOW.features(report("9.600"), FACTS)
    assert row is not None
    told = dict(zip(FEATURES, row, strict=True))
    assert told["deviation"] == pytest.approx(0)
    assert told["log_expected"] == pytest.approx(2.2618, abs=1e-4)
    assert told["counted"] == 0
    assert told["share_of_required"] == pytest.approx(9.6 / 1921.5)
    with_set_up = FLOW.features(report("11.100"), FACTS)
    assert with_set_up is not None
    assert with_set_up[0] == pytest.approx(0)


grams = st.integers(1, 50_000)


@given(grams)
def test_grams_and_kilograms_are_the_same_posting(amount):
    """A unit of the floor changes nothing but the floor's own figure."""
    in_grams = FLOW.propose(report(str(amount), "GRM"), FACTS, None, [STARTED, {}])[0]
    in_kilograms = FLOW.propose(report(f"{Decimal(amount) / 1000:f}", "KGM"), FACTS, None, [STARTED, {}])[0]
    assert in_grams.drafts[0].payload["quantity"] == in_kilograms.drafts[0].payload["quantity"]
    assert bool(in_grams.holds) == bool(in_kilograms.holds)


@given(st.decimals("0.001", 9_999_999, places=6), st.sampled_from(["KGM", "GRM", "LBR", "TNE"]))
def test_no_quantity_is_posted_by_itself_with_a_loss(value, unit):
    """What the payload says is exactly what the floor said, or a person is asked."""
    proposal, _ = FLOW.propose(report(f"{value:f}", unit), FACTS, None, [STARTED, {}])
    exact = FACTS.units.factor(unit, "KGM") * value.as_integer_ratio()[0] / value.as_integer_ratio()[1]
    posted = Decimal(proposal.drafts[0].payload["quantity"])
    if exact != posted:
        assert any("cannot be posted exactly" in reason for reason in proposal.holds)
        assert abs(exact - posted.as_integer_ratio()[0] / posted.as_integer_ratio()[1]) <= 0.0005 + 1e-9


@given(st.lists(st.tuples(grams, st.integers(0, 600)), max_size=20))
def test_the_state_is_json_and_never_shrinks(reports):
    """Whatever comes, the sum only grows and a few fingerprints are kept."""
    state: Any = {}
    for number, (amount, seconds) in enumerate(reports):
        one = report(str(amount), "GRM", id=str(number), occurred_at=AT + timedelta(seconds=seconds))
        before = Decimal(state.get("total", 0))
        _, (after, _) = FLOW.propose(one, FACTS, None, [state, {}])
        state = json.loads(json.dumps(after))  # as it comes back from the store
        assert Decimal(state["total"]) >= before
        assert len(state["last"]) <= 4
