"""Scrap: a report becomes a group of drafts, what is doubtful becomes a reason, what is bad blocks the lot."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.authority import Mode, Rule, decide
from agent.channels import message
from agent.configuration.config import parse
from agent.errors import BadPayload
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.masterdata import files as masterfiles
from agent.masterdata.entities import DefectCode, ScrapReason, Stock
from agent.ports import Proposal, Route
from agent.scores import Classified
from agent.scoring.inference import Model
from agent.store.approvals import reported
from agent.units import UnitsFile, UnitTable
from agent.workflows import severity
from agent.workflows.scrap import Config, Scrap
from agent.workflows.severity import Limits, Severity
from tests.trained import KEYS, ROOT

EDGE_CONFIG = Path(__file__).parents[2] / "edge_config"
AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
UNITS = UnitTable.of(parse(EDGE_CONFIG / "units.yaml", UnitsFile))
ORDER: dict[str, Any] = {
    "order": "1000110", "material": "BODY-55", "plant": "1710", "quantity": "5000", "unit": "H87", "status": "released",
    "operations": [{"operation": "0010", "work_center": "MOLD-02", "unit": "H87"}],
}  # fmt: skip
FACTS = (
    Facts(Plant("1710", ZoneInfo("Europe/Berlin"), "EUR"), UNITS)
    .with_facts(masterfiles.load(EDGE_CONFIG / "masterdata", UNITS).facts(AT.date()))
    .with_documents([("order", ORDER)])
)
FLOW = Scrap(Config(notify=("quality",)))
WORN = {"tool_used": "0.97", "cycle_off": "0.4", "since_set_up": "4000", "since_stop": "200", "temperature_off": "0.1",
        "pressure_off": "0.1"}  # fmt: skip
CAUSES = ("handling", "machine", "material", "process", "set-up", "tool")


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    loaded = Model.load(ROOT / "models" / "scrap_classification" / "1", KEYS, FLOW.feature_names, kind="classes")
    yield loaded
    loaded.close()


def report(quantity: str = "4", *, lot: str = "L1", cause: str = "", id: str = "S-1", **more: Any) -> SegmentResponse:
    changes = {name: more.pop(name) for name in tuple(more) if name in SegmentResponse._fields}
    told = {"defect": "0002", "lot_quantity": "200", "lot_stock": "196", **WORN} | more
    data = {name: value if name in ("defect", "choice", "origin") else Decimal(value) for name, value in told.items()
            if value}  # fmt: skip
    actual = MaterialActual(MaterialUse.SCRAP, Quantity(Decimal(quantity), "H87"), "BODY-55", lot, "171A", cause)
    one = SegmentResponse("scrap", id, "1000110", "0010", AT, "MOLD-02", material_actuals=(actual,), data=data)
    return one._replace(**changes)


def sure(cause: str = "tool", share: float = 0.95) -> Classified:
    """A model that rules out all causes but one."""
    rest = (1 - share) / (len(CAUSES) - 1)
    shares = tuple(share if one == cause else rest for one in CAUSES)
    return Classified(CAUSES, shares, "scrap/1", "ab", (0.0,), {"0.1": (cause,)})


def torn(*causes: str) -> Classified:
    return sure(causes[0], 0.5)._replace(possible={"0.1": causes})


def proposed(
    one: SegmentResponse, score: Classified | None = None, states: Sequence[Any] | None = None, flow: Scrap = FLOW
) -> tuple[Proposal, Sequence[Any]]:
    return flow.propose(one, FACTS, score, states or [{} for _ in flow.state_keys(one)])


def after(*reports: SegmentResponse) -> Sequence[Any]:
    """The histories behind these reports."""
    states: Sequence[Any] = [{}, {}]
    for one in reports:
        _, states = proposed(one, sure(), states)
    return states


# ── what is booked ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_small_defect_is_booked_on_the_cost_centre_that_bears_its_cause():
    """Two drafts in one group: the goods movement and the record of the defect. Nothing is blocked, nobody is told."""
    proposal, _ = proposed(report(), sure("tool"))
    assert proposal.together
    assert proposal.holds == ()
    assert [draft.kind.value for draft in proposal.drafts] == ["scrap", "defect"]
    scrap, defect = (draft.payload for draft in proposal.drafts)
    assert scrap == {
        "plant": "1710", "material": "BODY-55", "quantity": "4", "unit": "H87", "storage_location": "171A", "batch": "",
        "posting_date": "2026-11-20", "document_date": "2026-11-20", "text": "S-1", "movement": "551",
        "cost_center": "17101300", "order": "1000110", "operation": "0010", "work_center": "MOLD-02",
        "reason": "0003", "cause": "tool",
        "floor_quantity": "4", "floor_unit": "H87", "personnel": "",
    }  # fmt: skip
    assert (defect["defect_code"], defect["defect_code_group"], defect["severity"]) == ("0002", "SHAPE", "minor")
    assert (defect["batch"], defect["order"], defect["quantity"]) == ("L1", "1000110", "4")
    assert proposal.drafts[0].value == Decimal("2.30") * 4
    assert proposal.said["accountant"].startswith("Scrap worth 9.20 EUR is charged to cost centre 17101300")


def test_a_large_share_blocks_the_rest_of_the_lot_and_tells_people():
    """What is left after the scrap goes to blocked stock; what may become of it is told with its cost."""
    proposal, states = proposed(report("20", lot_stock="200"), sure("process"))
    assert [draft.kind.value for draft in proposal.drafts] == ["scrap", "defect", "stock_transfer", "notification"]
    blocked, told = proposal.drafts[2].payload, proposal.drafts[3]
    assert (blocked["movement"], blocked["quantity"], blocked["material"]) == ("344", "180", "BODY-55")
    assert (told.role, told.payload["severity"], told.payload["to"]) == ("notify", "warning", ["quality"])
    assert message.refusals(told.payload) == []
    assert any("rework is suggested; cost: scrap 414.00 EUR, rework 124.20 EUR, use as is 0.00 EUR" in one
               for one in proposal.reasons)  # fmt: skip
    assert states[1]["blocked"] == "180"


def test_an_unknown_storage_location_waits_for_a_person_with_those_that_are_known():
    """The ERP would refuse it. Where no stock is told nobody knows which there are, and nothing is said."""
    (actual,) = report().material_actuals
    elsewhere = report(material_actuals=(actual._replace(storage_location="17lA"),))
    told = FACTS.with_facts([Stock("BODY-55", place, Decimal(9), "H87") for place in ("171A", "171B")])
    (hold,) = FLOW.propose(elsewhere, told, sure(), [{}, {}])[0].holds
    assert hold.startswith(
        "storage location '17lA' is not among those that stock, orders and receipts name (171A, 171B)"
    )
    assert FLOW.propose(report(), told, sure(), [{}, {}])[0].holds == ()
    assert FLOW.propose(elsewhere, FACTS, sure(), [{}, {}])[0].holds == ()


def test_what_is_left_of_a_lot_is_blocked_once_without_a_person():
    """Three defects of one inspection, each with what was in stock before: good pieces of other lots stay free."""
    _, states = proposed(report("20", lot_stock="200"), sure("process"))
    again, _ = proposed(report("30", lot_stock="200", id="S-2"), sure("process"), states)
    assert again.holds == ("180 PC of lot L1 were blocked before, and 170 PC more would be: look what is left of it",)
    grown, _ = proposed(report("30", lot_stock="100", lot_quantity="400", id="S-3"), sure("process"), states)
    assert grown.holds == ()


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_never_more_is_booked_and_blocked_than_there_is_in_stock(scrap, stock, lot):
    """Whatever the report says: what is scrapped and what is blocked are together the stock, or the scrap alone."""
    proposal, _ = proposed(report(str(scrap), lot_stock=str(stock), lot_quantity=str(lot)), sure())
    moved = [
        Decimal(one.payload["quantity"]) for one in proposal.drafts if one.kind.value in ("scrap", "stock_transfer")
    ]
    assert moved[0] == scrap
    assert sum(moved) == (stock if len(moved) == 2 else scrap)
    assert all(one > 0 for one in moved)


def test_as_a_confirmation_it_has_the_variance_reason_and_leaves_the_stock_alone():
    """By configuration; a component is refused, because no confirmation has components."""
    flow = Scrap(Config(book="confirmation"))
    proposal, _ = proposed(report("20"), sure("tool"), flow=flow)
    first = proposal.drafts[0]
    assert (first.kind.value, first.payload["scrap"], first.payload["scrap_reason"]) == ("confirmation", "20", "0002")
    assert proposal.drafts[2].payload["quantity"] == "196"
    actual = MaterialActual(MaterialUse.SCRAP, Quantity(Decimal(1), "KGM"), "CMP-BLUE", "", "171A")
    with pytest.raises(BadPayload, match="is not what order 1000110 makes"):
        proposed(report(lot="")._replace(material_actuals=(actual,)), sure(), flow=flow)


# ── who says why ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_model_finds_a_worn_tool(model):
    """From the report and the histories, through the shipped model, to the cost centre that bears tools."""
    one = report()
    values = FLOW.values(one, FACTS, [{}, {}])
    assert values is not None
    assert (values["machine"], values["defect"], values["shift"]) == ("MOLD-02", "0002", "early")
    (answer,) = model.classify([model.row(values)])
    assert isinstance(answer, Classified)
    proposal, _ = proposed(one, answer)
    assert (proposal.drafts[0].payload["cause"], proposal.drafts[0].payload["cost_center"]) == ("tool", "17101300")
    assert proposal.reasons[0].startswith("it may be: tool ")


def test_where_it_cannot_rule_out_another_cause_the_model_abstains():
    """In auto it is held, however low the bar; the three likeliest are told."""
    rule = Rule(mode=Mode.AUTO, min_confidence=0.4, model="scrap", version="1")
    unlike = sure()._replace(possible={"0.1": ()})
    for score, why in ((torn("tool", "machine"), "cannot rule out tool, machine"), (unlike, "like nothing")):
        proposal, _ = proposed(report(), score)
        decision = decide(proposal, rule, AT.date(), score)
        assert decision.route is Route.HOLD
        assert why in decision.reasons[0]
    assert (
        proposed(report(), torn("tool", "machine"))[0].reasons[0] == "it may be: tool 50 %, handling 10 %, machine 10 %"
    )


def test_below_its_bound_it_is_held_and_above_it_goes_by_itself():
    """The probability of the likeliest cause is what the bar is about."""
    rule = Rule(mode=Mode.AUTO, min_confidence=0.76, model="scrap", version="1")
    for share, route in ((0.95, Route.POST), (0.7, Route.HOLD)):
        score = sure("tool", share)
        proposal, _ = proposed(report(), score)
        assert decide(proposal, rule, AT.date(), score).route is route


def test_what_somebody_says_at_the_machine_counts_unless_the_model_rules_it_out():
    """Then the person who decides sees both."""
    proposal, _ = proposed(report(cause="machine"), torn("tool", "machine"))
    assert (proposal.drafts[0].payload["cause"], proposal.holds, proposal.confidence) == ("machine", (), 1.0)
    proposal, _ = proposed(report(cause="material"), sure("tool"))
    assert proposal.drafts[0].payload["cause"] == "material"
    assert proposal.holds == ("reported as material, which scrap/1 rules out: it takes it for tool",)


def test_where_nobody_says_a_cause_a_person_must():
    """Without a model, and without a word from the machine."""
    proposal, _ = proposed(report())
    assert proposal.drafts[0].payload["cause"] == "unknown"
    assert proposal.holds == ("nobody says what caused it: correct the cause",)
    told = proposal.said["accountant"]
    assert told.endswith("is charged to order 1000110 for a cause that nobody has told yet, without a reason code.")


# ── how bad ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_defect_again_and_again_is_worse_than_one():
    """Three times at a work centre within a day is major; other defects, and those of last week, do not count."""
    again = [
        report(id=f"S-{number}", lot=f"L{number}", occurred_at=AT + timedelta(hours=number)) for number in range(3)
    ]
    proposal, _ = proposed(report(lot="L9", occurred_at=AT + timedelta(hours=4)), sure(), after(*again))
    assert "major: the same defect 4 times" in proposal.reasons
    other = report(lot="L9", defect="0001", occurred_at=AT + timedelta(hours=4))
    later = report(lot="L9", occurred_at=AT + timedelta(days=7))
    for one in (other, later):
        assert [draft.kind.value for draft in proposed(one, sure(), after(*again))[0].drafts] == ["scrap", "defect"]


def test_a_cause_can_be_bad_however_little_it_is():
    """One piece of a cause that the table calls critical blocks its lot; share and repetition only make it worse."""
    worn = FACTS.scrap_reason("tool", "MOLD-02")
    assert worn is not None
    facts = FACTS.with_facts([replace(worn, severity="critical")])
    one = report("1", lot_stock="200")
    proposal, _ = FLOW.propose(one, facts, sure("tool"), [{} for _ in FLOW.state_keys(one)])
    assert "critical: by its cause" in proposal.reasons
    assert [draft.kind.value for draft in proposal.drafts][2] == "stock_transfer"
    limits = Limits(Decimal("0.05"), Decimal("0.25"), 3, 8)
    assert severity.judged(Decimal("0.3"), 1, limits, "major").reasons == ("critical: 30 % of the lot",)


@given(st.decimals(0, 1, places=3), st.decimals(0, 1, places=3), st.integers(1, 20), st.integers(1, 20))
def test_more_is_never_less_bad(share, more, repeats, again):
    """Severity rises with the share of the lot and with repetition."""
    limits = Limits(Decimal("0.05"), Decimal("0.25"), 3, 8)
    less = severity.judged(min(share, more), min(repeats, again), limits).severity
    worse = severity.judged(max(share, more), max(repeats, again), limits).severity
    assert severity.at_least(worse, less)
    assert not severity.at_least(Severity.CRITICAL, "never")


def test_the_history_of_machine_and_lot_reaches_the_model():
    """What was scrapped before raises both shares, and a report that came twice does not count twice."""
    one = report("40")
    states = after(one)
    values = FLOW.values(report(), FACTS, states)
    fresh = FLOW.values(report(), FACTS, [{}, {}])
    assert values is not None
    assert fresh is not None
    assert values["scrap_of_machine"] > fresh["scrap_of_machine"]  # type: ignore[operator]
    assert values["scrap_of_batch"] > fresh["scrap_of_batch"]  # type: ignore[operator]
    assert after(one, one._replace(id="S-2")) == states


# ── what cannot be ──────────────────────────────────────────────────────────────────────────────────────────


def test_two_reports_of_one_defect_are_recognised():
    """The camera and the operator, a minute apart; another quantity, or the next shift, is another defect."""
    states = after(report(origin="vision"))
    minute = report(id="S-2", origin="operator", occurred_at=AT + timedelta(minutes=1))
    (why,) = proposed(minute, sure(), states)[0].holds
    assert why == "as much of the same defect of lot L1 was reported just before: two reports of one defect"
    large = report("40", lot_stock="160", origin="operator", id="S-4")
    again, _ = proposed(large, sure(), after(report("40", lot_stock="200")))
    assert [draft.kind.value for draft in again.drafts] == ["scrap", "defect"], "the lot is blocked, people are told"
    first, _ = proposed(report("40", lot_stock="200"), sure())
    assert again.drafts[1].payload["severity"] == first.drafts[1].payload["severity"] == "major"
    assert "major: 20 % of the lot" in again.reasons
    assert again.said["planner"] == "Order 1000110 has 40 PC less (major defect)."
    assert proposed(report("5", id="S-3"), sure(), states)[0].holds == ()
    assert proposed(minute._replace(occurred_at=AT + timedelta(hours=2)), sure(), states)[0].holds == ()


def test_two_people_who_count_one_defect_differently_are_seen():
    """Of one lot within minutes; the same person, a camera's next pieces, another defect or lot are others."""
    states = after(report("20", lot_stock="200", origin="operator", personnel="4711"))
    minute: dict[str, Any] = {"occurred_at": AT + timedelta(minutes=5), "id": "S-2", "lot_stock": "180"}
    (why,) = proposed(report("21", origin="operator", personnel="4712", **minute), sure(), states)[0].holds[-1:]
    assert why == (
        "somebody else told 20 PC of the same defect of lot L1 just before, now it is 21 PC: look whether that is one "
        "defect, counted twice"
    )
    for other in (
        {"personnel": "4711"},
        {"personnel": "4712", "defect": "0001"},
        {"personnel": "4712", "occurred_at": AT + timedelta(hours=2)},
        {"personnel": ""},
    ):
        holds = proposed(report("21", **minute | other), sure(), states)[0].holds
        assert not any("counted twice" in one for one in holds), other


@pytest.mark.parametrize(
    ("one", "missing"),
    [
        (report(defect="0815"), ("defect_code", "0815")),
        (report(cause="gremlins"), ("scrap_reason", "gremlins@MOLD-02")),
    ],
)
def test_a_defect_or_cause_that_master_data_bring_later_is_waited_for(one, missing):
    """Each by the entry that would let it in, of the work centre or of all."""
    with pytest.raises(BadPayload) as refused:
        proposed(one, sure(one.material_actuals[0].reason or "tool"))
    assert refused.value.awaits == missing
    assert not FACTS.knows(*missing)
    brought = FACTS.with_facts([DefectCode("0815", "SHAPE"), ScrapReason("gremlins", "0009", work_center="MOLD-02")])
    assert brought.knows(*missing)
    assert not brought.knows("scrap_reason", "gremlins@MIX-01")


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (report("-4"), "nothing is scrapped backwards"),
        (report(lot_quantity="-1"), "which cannot be"),
        (report(defect="0815"), "'0815' is not in the master data"),
        (report(cause="gremlins"), "nobody knows who bears 'gremlins'"),
        (report("99999999999"), "does not fit the ERP"),
        (report(order="4711"), "order '4711' is not known"),
        (report()._replace(material_actuals=()), "names 0 scrapped materials"),
    ],
)
def test_what_cannot_be_booked_is_kept_with_its_reason(one, why):
    """Into quarantine, with words that say what to do; no state has moved."""
    with pytest.raises(BadPayload, match=why):
        proposed(one, sure(one.material_actuals[0].reason or "tool") if one.material_actuals else sure())


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (report("300"), "300 PC scrapped of a lot of 200 PC"),
        (report("6000", lot_quantity="9000"), "6000 PC scrapped, 5000 PC ordered"),
        (report(work_center="MOLD-99"), "work centre 'MOLD-99' is not in the master data"),
        (report(work_center="MIX-01"), "reported by MIX-01, but planned at MOLD-02"),
        (report("0.5"), "0.5 PC cannot be posted exactly: 1 PC is the nearest"),
    ],
)
def test_what_is_implausible_is_held(one, why):
    """A person looks at it, with the sentence that says why."""
    assert why in proposed(one, sure())[0].holds


def test_an_order_that_was_deleted_meanwhile_is_held():
    """What was made of it is real: a person says where it is booked."""
    facts = FACTS.with_documents([("order", ORDER | {"status": "deleted"})])
    proposal, _ = FLOW.propose(report(), facts, sure(), [{}, {}])
    assert "order 1000110 is deleted, not released" in proposal.holds
    assert [draft.kind.value for draft in proposal.drafts] == ["scrap", "defect"]


def test_nothing_scrapped_is_nothing_to_book():
    """A counter that reports zero costs nobody a look."""
    assert proposed(report("0"), sure())[0].drafts == ()


# ── what becomes of the rest ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("choice", "kind", "movement"),
    [("scrap", "scrap", "555"), ("use_as_is", "stock_transfer", "343"), ("rework", "order_note", None)],
)
def test_each_follow_on_is_a_draft_that_a_person_signs(choice, kind, movement):
    """From blocked stock, back to unrestricted, or as a note on the order: never by itself."""
    states = after(report("20", lot_stock="200"))
    one = report("180", kind="follow_on", choice=choice, id="F-1", personnel="4711")
    assert FLOW.values(one, FACTS, states) is None
    proposal, later = proposed(one, None, states)
    (draft,) = proposal.drafts
    assert (draft.kind.value, draft.payload.get("movement")) == (kind, movement)
    assert proposal.holds == ("what becomes of a blocked lot is signed by a person",)
    assert reported(draft.payload, "4711")  # who chose is none of two who sign
    assert len(proposed(one._replace(id="F-2"), None, later)[0].holds) == 2
    rule = Rule(mode=Mode.AUTO, min_confidence=0.76, model="scrap", version="1")
    assert decide(proposal, rule, AT.date(), None).reasons[0] == proposal.holds[0], "no model is missed"


def test_a_bad_lot_may_be_restricted_instead_of_blocked():
    """By its severity, and only where the material is kept by batch: all of the batch then, whatever there is of it."""
    body = FACTS.materials["BODY-55"]
    facts = FACTS.with_facts([replace(body, batch_managed=True)])
    flow = Scrap(Config(block_as={"major": "restricted"}))

    def kinds(one: SegmentResponse, known: Facts) -> list[str]:
        return [draft.kind.value for draft in flow.propose(one, known, sure(), [{}, {}])[0].drafts]

    major = report("20", lot_stock="200")
    assert kinds(major, facts) == ["scrap", "defect", "batch_status"]
    assert kinds(report("20", lot_stock=""), facts)[-1] == "batch_status"
    assert kinds(major, FACTS)[-1] == "stock_transfer"
    assert kinds(report("80", lot_stock="200"), facts)[-1] == "stock_transfer"  # critical
    assert kinds(report("4"), facts) == ["scrap", "defect"]
    proposal, states = flow.propose(major, facts, sure(), [{}, {}])
    assert proposal.drafts[-1].payload["restricted"] is True
    assert proposal.drafts[-1].payload["batch"] == "L1"
    assert "batch L1 is put into restricted use" in proposal.said["planner"]
    expected = {"scrap": ("scrap", "movement", "551"), "use_as_is": ("batch_status", "restricted", False)}
    for choice, (kind, name, value) in expected.items():
        one = report("180", kind="follow_on", choice=choice, id="F-1")
        (draft,) = flow.propose(one, facts, None, states)[0].drafts
        assert (draft.kind.value, draft.payload[name]) == (kind, value)


def test_more_than_was_blocked_is_told_and_a_choice_that_nobody_knows_is_kept():
    """The lot is named in the sentence."""
    states = after(report("20", lot_stock="200"))
    proposal, _ = proposed(report("181", kind="follow_on", choice="scrap"), None, states)
    assert "181 PC of lot L1 asked for, 180 PC were blocked here" in proposal.holds
    with pytest.raises(BadPayload, match="must be one of scrap, rework, use_as_is"):
        proposed(report("1", kind="follow_on", choice="sell"), None, states)
