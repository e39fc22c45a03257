"""Being told is nobody's to approve: notifications go out although what they are about waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.authority import Mode, Rule, recheck
from agent.isa95 import SegmentResponse
from agent.judging.judge import judge
from agent.judging.rules import Door
from agent.ports import Draft, Kind, Posting, Proposal
from agent.scores import Score
from agent.workflows.consumption import Config, Consumption
from tests.unit.test_judge import TODAY, Narrow, Nothing, event, rules_of
from tests.unit.test_workflow_consumption import AT

TELL = Draft(Kind.NOTIFICATION, "notify/held", {"text": "look"}, role="notify")


class Asking(Consumption):
    """Asks a person about everything, and tells somebody so; `only` tells and does nothing else."""

    only = False

    def propose(
        self, report: SegmentResponse, facts: Any, score: Score | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        proposal, after = super().propose(report, facts, score, states)
        drafts = () if self.only else proposal.drafts
        return proposal._replace(drafts=(*drafts, TELL), holds=("look at it",)), after


class Telling(Asking):
    """Only tells."""

    only = True


def decided(workflow: type[Asking], **rule: Any) -> Any:
    rules = rules_of(**rule)
    one = rules.assignments["consumption"]
    doors = {**one.doors, "notify": Door(Narrow(), {"notification": "live"})}
    one = replace(one, workflow=workflow(Config()), doors=doors)
    (verdict,) = judge([event(1, "A")], replace(rules, assignments={"consumption": one}), Nothing(), TODAY).verdicts
    return verdict


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.ASSIST])
def test_what_is_held_waits_and_its_notification_does_not(mode: Mode):
    """Whoever must decide is told at once; four eyes and limits are about the other posting."""
    verdict = decided(Asking, mode=mode, four_eyes=True)
    assert verdict.state == "held"
    assert [(one.kind, bool(one.reasons)) for one in verdict.postings] == [
        ("goods_issue", True),
        ("notification", False),
    ]


def test_who_only_tells_asks_nobody():
    """An event with nothing but a notification is posted, whatever the mode that writes."""
    assert decided(Telling, mode=Mode.ASSIST).state == "posted"


def test_who_only_advises_tells_nobody():
    """The notification is what would be posted."""
    verdict = decided(Asking, mode=Mode.ADVISE)
    assert verdict.postings == []
    assert [one["kind"] for one in verdict.detail["would_post"]] == ["goods_issue", "notification"]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_tightened_rule_does_not_keep_a_notification_back(mode: Mode):
    """It was decided to tell; a mode that writes less from now on does not take that back."""
    one = Posting(1, 1, Kind.NOTIFICATION, "people", "notify/a", "K" * 16, {"text": "look"}, "ready", 1, AT)
    assert (
        recheck(one, Rule(mode=mode, min_confidence=0.9), AT.date() + timedelta(days=90), approved=False, together=())
        == ()
    )
