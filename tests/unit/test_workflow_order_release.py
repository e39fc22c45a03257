"""Order release: each constraint with its number, the status that follows, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.configuration.settings import LiveKind
from agent.errors import BadPayload
from agent.facts import Facts, LiveState
from agent.features.order_feasibility import FEATURES
from agent.isa95 import SegmentResponse
from agent.ports import Kind, Proposal
from agent.scores import Classified
from agent.scoring import registry
from agent.scoring.inference import Model
from agent.tags.values import LivePart, Quality, Scalar, Told
from agent.workflows.order_release import Config, OrderRelease
from tests.unit.test_workflow_consumption import FACTS, component

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ORDER: dict[str, Any] = {
    "order": "1000200",
    "material": "VALVE-55",
    "plant": "1710",
    "quantity": "500",
    "unit": "H87",
    "status": "created",
    "operations": [{"operation": "0010", "work_center": "ASSY-05", "unit": "H87", "minutes": "250"}],
    "components": [
        component("PT-SEAL-20", "0001", "1000", "H87"),
        component("PT-SPRING", "0002", "500", "H87"),
    ],
    "due": (AT + timedelta(days=2)).isoformat(),
    "planned_start": (AT + timedelta(hours=2)).isoformat(),
}
DUE = (AT + timedelta(days=4)).isoformat()  # a Tuesday
FLOW = OrderRelease(Config())
RUNS = {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): "running", (LiveKind.OPERATOR, "ASSY-05"): "op-12"}


def stock(material: str, quantity: str, place: str = "171A", **more: str) -> tuple[str, dict[str, Any]]:
    return "stock", {"material": material, "storage_location": place, "quantity": quantity, "unit": "H87", **more}


ENOUGH = (stock("PT-SEAL-20", "5000"), stock("PT-SPRING", "5000"))


def facts_of(
    *stocks: tuple[str, dict[str, Any]], live: Mapping[Any, Scalar] = RUNS, age: float = 1.0, **order: Any
) -> Facts:
    base = replace(FACTS, orders={})
    facts = base.with_documents([("order", {**ORDER, **order}), *(stocks or ENOUGH)], orders_as_of=AT)
    told = {
        (kind, of): Told(value, "H87" if kind is LiveKind.LINE_SIDE_STOCK else "", Quality.GOOD, AT, AT)
        for (kind, of), value in live.items()
    }
    return facts.seeing(LiveState((LivePart(told, age),)))


def report(**data: Any) -> SegmentResponse:
    return SegmentResponse("order_release", "r1", "1000200", "", AT, data=data)


CHECK = {
    "asked": "check", "material": "VALVE-55", "quantity": Decimal(500), "required_work_center": "ASSY-05",
    "required_skill": "TORQUE_CERT", "due_date": (AT + timedelta(days=2)).isoformat(),
}  # fmt: skip


def scored(on_time: float) -> Classified:
    return Classified(
        ("late finish", "late start", "on time"), (1 - on_time, 0.0, on_time), "order_feasibility/1", "x", ()
    )


def proposed(facts: Facts, one: SegmentResponse | None = None, on_time: float = 0.9, state: Any = None) -> Proposal:
    return FLOW.propose(one or report(), facts, scored(on_time), [state or {}, {}])[0]


def kinds(proposal: Proposal) -> list[str]:
    return [one.kind.value for one in proposal.drafts]


def test_a_feasible_order_is_released_and_then_dispatched_as_one_group():
    """Nothing stands in its way: SAP first, then the line, which gets operation, quantity and due date."""
    proposal = proposed(facts_of())
    assert proposal.answer["status"] == "FEASIBLE"
    assert kinds(proposal) == ["order_release", "dispatch"]
    assert proposal.together
    assert proposal.holds == ()
    assert proposal.drafts[0].payload == {"order": "1000200", "plant": "1710"}
    assert proposal.drafts[1].payload["due"] == ORDER["due"]
    assert proposal.answer["recommended_action"] == "RELEASE_ORDER"


def test_too_little_at_the_line_is_a_note_and_a_signal():
    """480 at the line where 500 are needed, and more in the warehouse: feasible, and logistics are told."""
    live = RUNS | {(LiveKind.LINE_SIDE_STOCK, "ASSY-05/PT-SPRING"): 480}
    proposal = proposed(facts_of(live=live), report(**CHECK), on_time=0.82)
    assert proposal.answer["status"] == "FEASIBLE_WITH_NOTES"
    assert proposal.answer["feasibility_score"] == 0.82
    assert proposal.answer["blocking_issues"] == []
    (warning,) = proposal.answer["warnings"]
    assert warning == "Material PT-SPRING stock at line-side is 480 PC, a replenishment signal will be sent."
    assert kinds(proposal) == ["order_release", "dispatch", "notification"]
    assert proposal.drafts[2].payload["to"] == ["logistics"]


@pytest.mark.parametrize(
    ("changes", "name", "numbers"),
    [
        ({"stocks": (ENOUGH[0], stock("PT-SPRING", "120"))}, "component", ("500 PC", "120 PC")),
        ({"stocks": (ENOUGH[0], stock("PT-SPRING", "120", held="900"))}, "quality_hold", ("500 PC", "120 PC")),
        ({"live": RUNS | {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): "Down"}}, "work_center", ("running", "Down")),
        ({"live": RUNS | {(LiveKind.OPERATOR, "ASSY-05"): "op-99"}}, "operator", ("TORQUE_CERT", "op-99")),
        ({"live": RUNS | {(LiveKind.OPERATOR, "ASSY-05"): ""}}, "operator", ("TORQUE_CERT", "nobody")),
        ({"status": "deleted"}, "order", ("created", "deleted")),
        (
            {"operations": [{"operation": "0010", "work_center": "ASSY-99", "unit": "H87"}]},
            "work_center",
            ("ASSY-99", "unknown"),
        ),
    ],
)
def test_what_blocks_an_order_is_named_with_its_number(changes, name, numbers):
    """Missing, on quality hold, down, nobody certified, deleted in SAP, unknown work centre: it is not released."""
    stocks = changes.pop("stocks", ())
    proposal = proposed(facts_of(*stocks, **changes))
    assert proposal.answer["status"] == "BLOCKED"
    assert proposal.answer["recommended_action"] == "DO_NOT_RELEASE"
    assert proposal.answer["feasibility_score"] == 0.0
    assert Kind.ORDER_RELEASE not in kinds(proposal)
    first = proposal.answer["constraints"][0]
    assert (first["constraint"], (first["needed"], first["there"])) == (name, numbers)
    assert kinds(proposal) == ([] if changes.get("status") else ["notification"])


@pytest.mark.parametrize(("back", "status"), [(None, "BLOCKED"), (AT + timedelta(hours=30), "AT_RISK")])
def test_a_tool_that_is_away_blocks_until_it_is_known_when_it_comes_back(back, status):
    """Nobody knows until when: blocked. Known: the earliest start, and a risk where that is after the planned one."""
    facts = facts_of()
    needs = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": "0.5", "unit": "H87", "tool": "T-9"}
    away = {"resource": "T-9", "available": False, "back_at": back.isoformat() if back else None}
    facts = facts.with_documents([("routing", needs), ("resource", away)])
    proposal = proposed(facts)
    assert proposal.answer["status"] == status
    if back:
        assert proposal.answer["earliest_start"] == back.isoformat()
        assert "tool T-9" in proposal.answer["set_by"]


@pytest.mark.parametrize(
    ("state", "back", "planned", "status"),
    [
        ("Down", None, 2, "BLOCKED"),
        ("Down", AT + timedelta(hours=30), 2, "AT_RISK"),
        ("Down", AT + timedelta(hours=30), 72, "FEASIBLE_WITH_NOTES"),
        ("Down", AT - timedelta(hours=1), 2, "BLOCKED"),  # it should be back, and is not
        ("running", AT + timedelta(hours=30), 2, "FEASIBLE"),  # a plan; the tag is newer
        (None, AT + timedelta(hours=30), 2, "AT_RISK"),
    ],
)
def test_a_machine_that_is_down_delays_until_it_is_back_where_that_is_known(state, back, planned, status):
    """The earliest start counts from there, and says so; where nobody knows when, the order is blocked."""
    live = {key: value for key, value in RUNS.items() if key[0] is not LiveKind.EQUIPMENT_STATE}
    live |= {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): state} if state else {}
    away = {"resource": "ASSY-05", "available": False, "back_at": back.isoformat() if back else None, "text": "gear"}
    starts = (AT + timedelta(hours=planned)).isoformat()
    facts = facts_of(live=live, planned_start=starts, due=DUE).with_documents([("resource", away)])
    answer = proposed(facts).answer
    assert answer["status"] == status
    if back and back > AT and state != "running":
        assert datetime.fromisoformat(answer["earliest_start"]) >= back
        says = "it says Down, gear" if state else "gear"
        said = f"work centre ASSY-05 is down: {says}; back at 2026-11-21 18:00 UTC"
        assert said in answer["set_by"]
        (one,) = answer["constraints"]
        assert (one["constraint"], one["weight"], one["available_at"]) == ("work_center", "delays", back.isoformat())


def test_material_elsewhere_in_the_plant_delays_the_start():
    """Four hours from the warehouse, and the order shall start in two: a note is drafted, the planner told at once."""
    proposal = proposed(facts_of(ENOUGH[0], stock("PT-SPRING", "100"), stock("PT-SPRING", "900", "171B")))
    assert proposal.answer["status"] == "AT_RISK"
    assert kinds(proposal) == ["order_note", "notification"]
    assert proposal.holds
    assert "insufficient material PT-SPRING at 171A" in proposal.drafts[0].payload["text"]
    assert "earliest start delayed by 4 hours" in proposal.drafts[0].payload["text"]
    assert proposal.answer["earliest_start"] == (AT + timedelta(hours=4)).isoformat()


def test_what_released_orders_still_take_is_not_there():
    """600 springs in stock, 300 of them needed by an order that runs: 300 are left for 500, and it is named."""
    running = {
        **ORDER,
        "order": "1000100",
        "status": "released",
        "components": [component("PT-SPRING", "1", "300", "H87")],
    }
    facts = facts_of(ENOUGH[0], stock("PT-SPRING", "600")).with_documents([("order", running)])
    proposal = proposed(facts)
    assert proposal.answer["status"] == "BLOCKED"
    assert "600 PC in the plant, 300 PC of it reserved for 1000100" in proposal.answer["blocking_issues"][0]


def test_a_doubtful_score_or_too_little_time_is_a_risk():
    """The model says 0.4; or the work does not fit before the due date, whatever the model says."""
    assert proposed(facts_of(), on_time=0.4).answer["status"] == "AT_RISK"
    late = proposed(facts_of(due=(AT + timedelta(hours=3)).isoformat()))
    assert late.answer["status"] == "AT_RISK"
    assert "after it is due" in late.answer["warnings"][0]


def test_a_stale_tag_is_a_risk_and_told_with_its_age():
    """Nobody has vouched for the state of the work centre for an hour: nothing is released by itself."""
    proposal = proposed(facts_of(age=3600.0))
    assert proposal.answer["status"] == "AT_RISK"
    assert "3600 s old, 300 s are believed" in proposal.answer["warnings"][0]
    assert {"fact": "equipment state of ASSY-05", "value": "running", "age_s": 3600.0, "good": False} in (
        proposal.answer["facts"]
    )


def test_the_planner_is_told_once_per_cause_and_the_order_released_when_it_is_gone():
    """The same numbers moved a little: nothing new. The cause is gone: the release, once."""
    state: Any = {}
    told = []
    for quantity in ("120", "121", "5000", "5000"):
        facts = facts_of(ENOUGH[0], stock("PT-SPRING", quantity))
        proposal, (state, _) = FLOW.propose(report(), facts, scored(0.9), [state, {}])
        told.append(kinds(proposal))
    assert told == [["notification"], [], ["order_release", "dispatch"], []]


def test_a_receipt_whose_date_moves_is_told_once_for_each_date():
    """The planner hears when it comes, and when it comes later; that it is nearer now is nothing new."""
    state: Any = {}
    told = []
    for hours, later in ((30, 0), (30, 1), (54, 2), (54, 3)):
        at = AT + timedelta(hours=hours)
        due = ("receipt", {"receipt": "1", "material": "PT-SPRING", "quantity": "900", "unit": "H87",
                           "expected_at": at.isoformat()})  # fmt: skip
        facts = facts_of(ENOUGH[0], stock("PT-SPRING", "100")).with_documents([due])
        moment = report()._replace(occurred_at=AT + timedelta(minutes=later))
        proposal, (state, _) = FLOW.propose(moment, facts, scored(0.9), [state, {}])
        told.append([one.payload["cause"] for one in proposal.drafts if one.kind is Kind.NOTIFICATION])
    assert told == [
        ["order/1000200/component/PT-SPRING/delays 2026-11-21T18:00"], [],
        ["order/1000200/component/PT-SPRING/delays 2026-11-22T18:00"], [],
    ]  # fmt: skip


def test_an_order_that_changed_is_decided_anew():
    """Its release was proposed; the ERP doubles its quantity before: it is looked at again as another order."""
    _, (state, _) = FLOW.propose(report(), facts_of(), scored(0.9), [{}, {}])
    components = [component("PT-SEAL-20", "0001", "2000", "H87"), component("PT-SPRING", "0002", "1000", "H87")]
    changed = facts_of(quantity="1000", components=components)
    assert kinds(FLOW.propose(report(), changed, scored(0.9), [state, {}])[0]) == ["order_release", "dispatch"]


def test_a_request_about_an_order_that_the_erp_does_not_have_is_answered_and_changes_nothing():
    """Components by the bill of material; nothing is released, and nobody is told that it is."""
    facts = facts_of(*ENOUGH, stock("BODY-55", "700"))
    proposal = proposed(facts, report(**CHECK)._replace(order="PROD-100234"))
    assert proposal.answer["status"] == "FEASIBLE_WITH_NOTES"
    assert proposal.drafts == ()
    assert "can be released" in proposal.said["planner"]
    assert all("is released" not in sentence for sentence in proposal.said.values())
    missing = proposed(facts_of(), report(**CHECK)._replace(order="PROD-100234"))
    assert missing.answer["blocking_issues"] == ["component BODY-55 is missing: 500 PC needed, 0 PC in the plant"]


def test_a_request_that_contradicts_the_erp_says_so():
    """Another material blocks; another quantity is a note, and the ERP's counts; an unknown work centre blocks."""
    other = proposed(facts_of(), report(**CHECK | {"material": "BODY-55"}))
    assert other.answer["status"] == "BLOCKED"
    more = proposed(facts_of(), report(**CHECK | {"quantity": Decimal(600)}))
    assert more.answer["status"] == "FEASIBLE_WITH_NOTES"
    nowhere = proposed(facts_of(), report(**CHECK | {"required_work_center": "WC-ASSY-99"}))
    assert nowhere.answer["status"] == "BLOCKED"


@pytest.mark.parametrize(
    "odd",
    [
        {"material": "BODY-55"},
        {"required_work_center": "WC-ASSY-99"},
        {"quantity": Decimal(600)},
        {"required_skill": "DIVING"},
    ],
)
def test_a_request_for_something_else_than_the_order_is_answered_and_nothing_follows(odd):
    """Nobody is alarmed, nothing is released, and a release that was proposed is not proposed a second time."""
    _, before = FLOW.propose(report(), facts_of(), scored(0.9), [{}, {}])
    proposal, after = FLOW.propose(report(**CHECK | odd), facts_of(), scored(0.9), before)
    assert (proposal.drafts, proposal.withdraws, after) == ((), "", before)
    assert proposal.answer["status"] in ("BLOCKED", "FEASIBLE_WITH_NOTES")
    again, _ = FLOW.propose(report(**CHECK), facts_of(), scored(0.9), after)
    assert again.drafts == ()
    assert proposed(facts_of(), report(**CHECK | odd)).drafts == ()


def test_what_was_proposed_for_an_order_is_withdrawn_when_it_is_decided_otherwise():
    """A release that nobody has signed yet is none any more when the work centre is down, or the order another one."""
    down = facts_of(live=RUNS | {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): "down"})
    state: Any = {}
    told = []
    for facts in (facts_of(), facts_of(), down, down, facts_of()):
        proposal, (state, _) = FLOW.propose(report(), facts, scored(0.9), [state, {}])
        told.append(proposal.withdraws)
    assert told == ["order/1000200", "", "order/1000200", "", "order/1000200"]


@pytest.mark.parametrize("status", ["locked", "deleted", "closed", "completed"])
def test_what_was_proposed_for_an_order_that_is_over_is_withdrawn(status):
    """Nobody shall sign the release of an order that is deleted; unlocked it is proposed like the first time."""
    _, (state, _) = FLOW.propose(report(), facts_of(), scored(0.9), [{}, {}])
    gone, (state, _) = FLOW.propose(report(), facts_of(status=status), None, [state, {}])
    assert (gone.withdraws, gone.drafts) == ("order/1000200", ())
    assert state["signature"] == ""
    again, _ = FLOW.propose(report(unsent=report().id), facts_of(), scored(0.9), [state, {}])
    assert (kinds(again), again.holds) == (["order_release", "dispatch"], ())
    released, _ = FLOW.propose(report(), facts_of(status="released"), None, [state, {}])
    assert released.withdraws == ""


def test_what_may_be_at_the_line_already_is_released_again_only_by_a_person():
    """A machine goes down and comes back before the ERP tells of the release: nothing goes a second time by itself."""
    down = facts_of(live=RUNS | {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): "down"})
    state: Any = {}
    held = []
    for facts in (down, facts_of(), down, facts_of(), down, facts_of(quantity="400")):
        proposal, (state, _) = FLOW.propose(report(), facts, scored(0.9), [state, {}])
        held += [bool(proposal.holds)] if proposal.together else []
    assert held == [False, True, False]


@pytest.mark.parametrize("quantity", ["-5", "0", "1E+12"])
def test_an_absurd_quantity_is_refused(quantity):
    """Into quarantine, with the field."""
    with pytest.raises(BadPayload, match="no quantity of an order"):
        proposed(facts_of(), report(**CHECK | {"quantity": Decimal(quantity)})._replace(order="PROD-1"))


def test_an_order_that_nobody_knows_waits_for_it():
    """It is read again when the ERP tells it."""
    with pytest.raises(BadPayload) as refusal:
        proposed(facts_of(), report()._replace(order="9"))
    assert refusal.value.awaits == ("order", "9")


def test_what_is_watched_changes_with_what_holds_it_up():
    """The signature is the same while nothing that counts changes, and another one when a work centre goes down."""
    ((order, before),) = FLOW.watched(facts_of(), AT)
    assert order == "1000200"
    ((_, same),) = FLOW.watched(facts_of(stock("PT-SEAL-20", "4999"), ENOUGH[1]), AT + timedelta(hours=1))
    down = facts_of(live=RUNS | {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): "down"})
    ((_, after),) = FLOW.watched(down, AT)
    assert before == same != after
    assert list(FLOW.watched(facts_of(status="released"), AT)) == []
    _, (state, _) = FLOW.propose(report(), facts_of(), scored(0.9), [{}, {}])
    assert state["signature"] == before


OEE = (LiveKind.OEE, "ASSY-05")


@pytest.mark.parametrize(("live", "age", "oee"), [({}, 1.0, 0.9), ({OEE: Decimal("0.64")}, 1.0, 0.64),
                                                  ({OEE: Decimal("0.64")}, 3600.0, 0.9)])  # fmt: skip
def test_the_model_sees_the_oee_that_a_tag_tells_now(live, age, oee):
    """Where it is fresh; else that of the master data. With it goes its age, among the facts that were looked at."""
    place = {"work_center": "ASSY-05", "line": "L2", "oee": "0.9"}
    facts = facts_of(live=RUNS | live, age=age).with_documents([("work_center", place)])
    values = FLOW.values(report(), facts, [{}, {}])
    assert values is not None
    assert (values["oee_mean"], values["oee_least"]) == (oee, oee)
    looked = [one for one in proposed(facts).answer["facts"] if one["fact"] == "OEE of ASSY-05"]
    assert looked == ([{"fact": "OEE of ASSY-05", "value": "0.64", "age_s": age, "good": age < 300}] if live else [])


def test_an_oee_that_falls_is_expected_to_fall_on_and_said():
    """From 0.82 to 0.64 since four hours ago, and four days until it is due: 0.46 goes into the model, with a note."""
    steady, fallen = (facts_of(live=RUNS | {OEE: Decimal(value)}, due=DUE) for value in ("0.82", "0.64"))
    states: Any = [{}, {}]
    first, states = FLOW.propose(report()._replace(occurred_at=AT - timedelta(hours=4)), steady, scored(0.9), states)
    assert first.answer["status"] == "FEASIBLE"
    assert states[0]["again"]
    values = FLOW.values(report(), fallen, states)
    assert values is not None
    assert values["oee_least"] == pytest.approx(0.46)
    proposal, _ = FLOW.propose(report(), fallen, scored(0.9), states)
    assert proposal.answer["status"] == "FEASIBLE_WITH_NOTES"
    assert proposal.answer["warnings"] == [
        "OEE of ASSY-05 fell from 0.82, its mean of the last 4.0 h, to 0.64; 0.46 is expected"
    ]
    rose = FLOW.values(report(), facts_of(live=RUNS | {OEE: Decimal("0.95")}), states)
    assert rose is not None
    assert rose["oee_least"] == 0.95


def test_the_shipped_model_takes_what_the_workflow_looks_at():
    """Feature by feature, and an order with time to spare is likelier on time than one without."""
    facts = facts_of()
    values = FLOW.values(report(), facts, [{}, {}])
    assert values is not None
    assert tuple(values) == FEATURES
    keys = registry.trusted(Path("edge_config/trust/models"))
    folder = registry.champion(Path("models/order_feasibility"))
    model = Model.load(folder, keys, FEATURES, kind="classes", explain_below=0.0)
    try:
        tight = facts_of(due=(AT + timedelta(hours=5)).isoformat())
        rows = [model.row(FLOW.values(report(), one, [{}, {}]) or {}) for one in (facts, tight)]
        early, late = model.classify(rows)
    finally:
        model.close()
    assert isinstance(early, Classified)
    assert isinstance(late, Classified)
    assert early.probabilities[2] > late.probabilities[2]


def test_what_every_question_needs_of_a_snapshot_is_worked_out_before_the_first():
    """Nobody who asks waits until 3 000 orders are added up: what is derived later is of the moment that asks."""
    facts = facts_of()
    assert not facts.memo
    FLOW.prepare(facts)
    before = set(facts.memo)
    assert before
    proposed(facts)
    later = set(facts.memo) - before
    assert not later & {"queues at work centres", "stocks by material", "reserved", "receipts by material"}
    assert before <= set(facts.memo)
