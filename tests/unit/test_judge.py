"""A batch is decided in order of arrival, and what ends in quarantine leaves nothing behind for those after it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from agent import mapping
from agent.authority import Mode, Rule
from agent.configuration.settings import LiveKind
from agent.facts import LiveState
from agent.judging.judge import judge
from agent.judging.judgement import Judgement
from agent.judging.reading import put_aside
from agent.judging.rules import OWN, Assignment, Door, Rules
from agent.ports import Acknowledgement, Draft, Event, Kind, Posting
from agent.store.encode import encode
from agent.tags.values import LivePart, Quality, Told
from agent.workflows.consumption import Config, Consumption
from tests.unit.test_workflow_consumption import AT, EDGE_CONFIG, FACTS

TODAY = date(2026, 11, 20)
KEY = "consumption/1000100/RM-RESIN"


class Narrow:
    """A target that would refuse some texts, as an ERP refuses a field that is too long."""

    name, settle_seconds, lookup_reliable = "narrow", 0.0, True

    def __init__(self, *refused: str) -> None:
        self.refused = refused

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        return [f"text {payload['text']!r} is refused"] if payload.get("text") in self.refused else []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def freeze(self, posting: Posting) -> bytes:
        return json.dumps(dict(posting.payload)).encode()

    async def post(self, posting: Posting) -> Acknowledgement:
        return Acknowledgement(str(posting.id))

    async def find(self, posting: Posting) -> Acknowledgement | None:
        return None

    def status(self) -> Mapping[str, Any]:
        return {}


class Nothing:
    """A plant that has not reported yet, but weighed its first lot."""

    def known(self, message_keys: object) -> dict[str, tuple[bytes, int]]:
        return {}

    def states(self, keys: object) -> dict[str, Any]:
        return {KEY: {"total": "100", "count": 3, "last": []}}

    def in_quarantine(self, orders: object) -> set[tuple[str, int]]:
        return set()


def rules_of(*refused: str, **rule: Any) -> Rules:
    """The consumption workflow at work under this rule."""
    settings: dict[str, Any] = {"mode": Mode.AUTO, "min_confidence": 0} | rule
    assignment = Assignment(
        Consumption(Config()), {OWN: Door(Narrow(*refused), {"goods_issue": "live"})}, Rule(**settings)
    )
    mappings = mapping.load(EDGE_CONFIG / "mappings", FACTS.units)
    return Rules("1", mappings, FACTS, {"consumption": assignment}, timedelta(hours=1))


def judged(*ids: str, refused: Sequence[str] = ()) -> Judgement:
    """Reports of the same weight in the same second, in one batch."""
    events = [event(number, id) for number, id in enumerate(ids, 1)]
    return judge(events, rules_of(*refused), Nothing(), TODAY)


def event(number: int, id: str, **changes: Any) -> Event:
    body = {
        "id": id, "seq": number, "ts": AT.isoformat(), "order": "1000100", "operation": "0010",
        "material": "RM-RESIN", "quantity": 9.6, "unit": "KGM", "lot_quantity": 10, "batch": "0000000301",
        **changes,
    }  # fmt: skip
    topic = "plant/1710/MIX/MIX-01/consumption"
    return Event(number, "line", topic, json.dumps(body).encode(), datetime.now(UTC))


def ends(judgement: Judgement) -> list[str]:
    return [one.state for one in judgement.verdicts]


def test_the_audit_sample_goes_by_the_identity_of_a_message():
    """A fifth of these reports is held whatever else they say; judged alone or together, it is the same fifth."""
    ids = [f"S-{number}" for number in range(40)]
    events = [event(number, id) for number, id in enumerate(ids, 1)]
    rules = rules_of(audit_sample=0.2)
    alone = [judge([one], rules, Nothing(), TODAY).verdicts[0] for one in events]
    held = [one.event.id for one in alone if one.state == "held"]
    assert 2 <= len(held) <= 16
    assert all("audit sample" in one.postings[0].reasons[0] for one in alone if one.state == "held")
    together = judge(events, rules, Nothing(), TODAY).verdicts
    sampled = [one.event.id for one in together if "audit sample" in str(one.detail["reasons"])]
    assert set(sampled) <= set(held)


class Telling(Consumption):
    """A workflow that tells the planner, too, and looks at a live fact."""

    def propose(self, report: Any, facts: Any, score: Any, states: Any) -> Any:
        proposal, after = super().propose(report, facts, score, states)
        told = facts.live.get((LiveKind.WIP, "MIX-01"))
        note = Draft(Kind.NOTIFICATION, "notify/planner", {"text": str(told and told[0].value)}, role="notify")
        return proposal._replace(drafts=(*proposal.drafts, note), together=True), after


def telling(**roles: Door) -> Rules:
    rules = rules_of()
    one = rules.assignments["consumption"]
    one = replace(one, workflow=Telling(Config()), doors={**one.doors, **roles})
    return replace(rules, assignments={"consumption": one})


def test_each_role_gets_what_is_for_it():
    """A draft for a role goes to the target of that role, and what nobody is configured for is left out and told."""
    notify = Narrow()
    notify.name = "mail"
    live = LiveState((LivePart({(LiveKind.WIP, "MIX-01"): Told(Decimal(7), "C62", Quality.GOOD, AT, AT)}, 1.0),))
    door = Door(notify, {"notification": "live"})
    (told,) = judge([event(1, "A")], telling(notify=door), Nothing(), TODAY, live=live).verdicts
    assert [(one.target, one.kind, one.payload["text"]) for one in told.postings][1:] == [("mail", "notification", "7")]
    assert told.postings[0].target == "narrow"
    (alone,) = judge([event(1, "A")], telling(), Nothing(), TODAY).verdicts
    assert [one.kind for one in alone.postings] == ["goods_issue"]
    assert alone.detail["left_out"] == ["notification: no target is configured for role 'notify'"]


def test_what_one_target_of_several_would_refuse_is_not_posted_at_all():
    """Both or none: a refusal of the second target is found before anything is written."""
    door = Door(Narrow("None"), {"notification": "live"})
    (verdict,) = judge([event(1, "A")], telling(notify=door), Nothing(), TODAY).verdicts
    assert (verdict.state, verdict.detail["code"]) == ("quarantined", "erp_would_refuse")


def test_the_same_again_is_held_as_a_double_report():
    """Two ids, one weight, one moment: the first is posted, a person looks at the second."""
    assert ends(judged("A", "B")) == ["posted", "held"]


def test_what_the_erp_would_refuse_is_no_earlier_report_for_those_behind_it():
    """The first ends in quarantine; the second is no double of it, and only the second counts as used."""
    judgement = judged("A", "B", refused=["A"])
    assert ends(judgement) == ["quarantined", "posted"]
    assert judgement.states[KEY]["total"] == "109.600"
    assert judgement.states[KEY]["count"] == 4


def test_refusals_one_behind_the_other_leave_nothing_behind():
    """Any number of refusals: the one good report between them is decided as if it had come alone."""
    judgement = judged("A", "B", "C", "D", refused=["A", "B", "D"])
    assert ends(judgement) == ["quarantined", "quarantined", "posted", "quarantined"]
    assert judgement.states[KEY] == judged("C").states[KEY]


def test_the_numbering_of_a_sender_goes_on_over_what_was_quarantined():
    """A refused report has arrived all the same: no gap is reported at the next one."""
    judgement = judged("A", "B", "C", refused=["B"])
    assert [bool(one.alarm and one.state != "quarantined") for one in judgement.verdicts] == [False, False, False]
    assert judgement.states["sequence/line/MIX-01"]["last"] == 3


def test_another_content_under_a_known_id_is_seen_before_its_order_is_closed():
    """A conflict is in quarantine like any other report: the final confirmation of its order shows it to a person."""
    first, second = event(1, "A"), event(2, "A")
    second = second._replace(payload=second.payload.replace(b"9.6", b"9.5"))
    judgement = judge([first, second], rules_of(), Nothing(), TODAY)
    assert ends(judgement) == ["posted", "quarantined"]
    assert judgement.in_quarantine() == {("1000100", 2)}


def test_a_report_that_no_workflow_reads_is_seen_before_its_order_is_closed():
    """It was read: its order and its message key are known, so that it holds the final confirmation and can be kept."""
    judgement = judge([event(1, "A")], replace(rules_of(), assignments={}), Nothing(), TODAY)
    (one,) = judgement.verdicts
    assert (one.state, one.detail["code"], one.message_key) == ("quarantined", "no_workflow", "consumption:A")
    assert judgement.in_quarantine() == {("1000100", 1)}


def test_what_is_put_aside_keeps_its_order_and_its_key_where_it_can_be_read():
    """Whatever could not be done with it; what cannot be read is put aside all the same."""
    good, bad = event(1, "A"), event(2, "B")._replace(payload=b"{")
    aside = [put_aside(one, rules_of(), "store_refused", "why") for one in (good, bad)]
    assert [(one.of_order, one.message_key) for one in aside] == [("1000100", "consumption:A"), ("", None)]


class Kept(Nothing):
    """A plant that remembers in JSON what judging left behind."""

    def __init__(self) -> None:
        self.kept = {KEY: json.dumps({"total": "100", "count": 3, "last": []})}

    def states(self, keys: Any) -> dict[str, Any]:
        return {key: json.loads(self.kept[key]) for key in keys if key in self.kept}

    def keep(self, judgement: Judgement) -> None:
        self.kept |= {key: encode(value) for key, value in judgement.states.items()}


def weighing(number: int, random: Random) -> Event:
    """One lot of a place that leaks from the hundredth on."""
    lot = round(random.uniform(6, 14), 1)
    used = 0.96 * lot * random.lognormvariate(0, 0.007) * (1.02 if number > 100 else 1)
    body = {
        "id": str(number), "seq": number, "ts": (AT + timedelta(minutes=number)).isoformat(), "order": "1000100",
        "operation": "0010", "material": "RM-RESIN", "quantity": round(used, 3), "unit": "KGM", "lot_quantity": lot,
        "batch": "0000000301",
    }  # fmt: skip
    at = AT + timedelta(minutes=number + 1)
    return Event(number, "line", "plant/1710/MIX/MIX-01/consumption", json.dumps(body).encode(), at)


@pytest.mark.parametrize("batch", [1, 7, 130])
def test_a_leak_is_an_alarm_in_the_trail_whatever_the_batches(batch: int):
    """The report that completes it is posted; its decision says why it is an alarm. The same report in any batch."""
    random, kept, verdicts = Random(3), Kept(), []
    events = [weighing(number, random) for number in range(1, 131)]
    for start in range(0, len(events), batch):
        judgement = judge(events[start : start + batch], rules_of(), kept, TODAY)
        kept.keep(judgement)
        verdicts += judgement.verdicts
    (alarm,) = [one for one in verdicts if one.alarm]
    assert alarm.state == "posted"
    assert 100 < alarm.event.id <= 115
    assert "above what was usual: a leak" in alarm.detail["why"]
    assert {one.state for one in verdicts} == {"posted"}
