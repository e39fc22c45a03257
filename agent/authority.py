"""The only place where autonomy is granted: whether a proposal is posted, held for a person, or only shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import ModelUnfit
from agent.ports import Decision, Draft, Posting, Proposal, Route, Score


class Mode(StrEnum):
    """How much a workflow may do by itself; the default is the least."""

    ADVISE = "advise"  # decide and show, write nothing
    ASSIST = "assist"  # a person approves every posting
    AUTO = "auto"  # posts by itself inside its limits, holds the rest


class PostingDateRule(BaseModel):
    """Which posting date an event of a closed month gets: its own day, the current day, or a person decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    closed_period: Literal["event", "current", "hold"] = Field(
        default="hold",
        description="event, current or hold: what an event of a closed month gets",
    )
    closes_on_day: int = Field(
        default=3, ge=1, le=28, description="the day of the following month on which a month is closed in the ERP"
    )


class Rule(BaseModel):
    """What one workflow may do by itself. `version` names the rule set and is kept with every decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Field(
        default=Mode.ADVISE, description="advise (write nothing), assist (approve each) or auto (inside limits)"
    )
    min_confidence: float = Field(
        default=0.9, ge=0, le=1, description="auto: the least confidence that posts without a person"
    )
    max_value: Decimal | None = Field(
        default=None, gt=0, description="auto: the most money of one posting, plant currency"
    )
    max_quantity: Mapping[str, Decimal] = Field(
        default_factory=dict, description="auto: the most quantity of one posting, by unit (Rec 20), for example KGM"
    )
    model: str = Field(default="", description="the model that must have scored; without its score auto holds")
    posting_date: PostingDateRule = Field(
        default_factory=lambda: PostingDateRule(), description="what waited past a period"
    )
    version: str = Field(
        default="", description="set by the agent: the version of the configuration that this rule is from"
    )


_QUANTITIES = ("quantity", "yield", "scrap", "rework")


def decide(proposal: Proposal, rule: Rule, today: date, score: Score | ModelUnfit | None = None) -> Decision:
    """Where the proposal goes, and why. `today` is the plant's day; `score` is what inference returned, None without.

    The posting dates of the drafts are taken as they are: see `redated`, which comes first.
    """
    if not proposal.drafts:
        return Decision(Route.IGNORE, proposal.holds + proposal.reasons, rule.version)
    why = _why_not(proposal, rule, today, score)
    if rule.mode is Mode.ADVISE:
        return Decision(Route.ADVISE, why + proposal.reasons, rule.version)
    if rule.mode is Mode.ASSIST:
        return Decision(
            Route.HOLD, why + proposal.reasons + ("every posting of this workflow is approved",), rule.version
        )
    return Decision(Route.HOLD if why else Route.POST, why + proposal.reasons, rule.version)


def _why_not(proposal: Proposal, rule: Rule, today: date, score: Score | ModelUnfit | None) -> tuple[str, ...]:
    """Every reason why a person must look; empty for the good path, which must stay cheap."""
    why = list(proposal.holds)
    if rule.model and not isinstance(score, Score):
        why.append(f"not scored by {rule.model}: {score or 'the report has not what the model looks at'}")
    elif not proposal.confidence >= rule.min_confidence:  # written so that NaN does not pass
        why.append(f"confidence {proposal.confidence:.2f} is below {rule.min_confidence:.2f}")
    for draft in proposal.drafts:
        why += _over_limits(draft.payload, draft.value, rule)
        why += _out_of_period(draft.payload, rule, today)
    return tuple(why)


def _over_limits(payload: Mapping[str, Any], value: Decimal, rule: Rule) -> list[str]:
    why = []
    if rule.max_value is not None and not value <= rule.max_value:
        why.append(f"value {value:.2f} is above the limit of {rule.max_value:.2f}")
    limit = rule.max_quantity.get(payload.get("unit", "")) if rule.max_quantity else None
    if limit is not None:
        why += [
            f"{name} {payload[name]} {payload['unit']} is above the limit of {limit}"
            for name in _QUANTITIES
            if name in payload and Decimal(payload[name]) > limit
        ]
    return why


# ── posting dates ───────────────────────────────────────────────────────────────────────────────────────────


def closed(day: date, today: date, closes_on_day: int) -> bool:
    """Whether the month of `day` is closed in the ERP: it closes on a day of the month that follows."""
    if day.year == today.year and day.month == today.month:
        return False
    following = date(day.year + day.month // 12, day.month % 12 + 1, closes_on_day)
    return today >= following


def posting_date(event_day: date, today: date, policy: PostingDateRule) -> tuple[date, str | None]:
    """The posting date of an event, and why a person must decide, or None. A document year follows the posting date."""
    if event_day > today + timedelta(days=1):  # a day's grace: two clocks around midnight
        return event_day, f"the report is from {event_day}, which is after today, {today}; check the sender's clock"
    if policy.closed_period == "event" or not closed(event_day, today, policy.closes_on_day):
        return event_day, None
    if policy.closed_period == "current":
        return today, None
    return event_day, (
        f"the report is from {event_day}, and that month closed on day {policy.closes_on_day} of the next; "
        "decide on the posting date"
    )


def redated(proposal: Proposal, rule: Rule, today: date) -> Proposal:
    """The proposal with posting dates by the rule's policy; the same object when nothing changes (the good path)."""
    drafts = tuple(_redated(draft, rule.posting_date, today) for draft in proposal.drafts)
    if all(new is old for new, old in zip(drafts, proposal.drafts, strict=True)):
        return proposal
    reason = f"posted on {today} because the month of the report is closed"
    return replace(proposal, drafts=drafts, reasons=(*proposal.reasons, reason))


def _redated(draft: Draft, policy: PostingDateRule, today: date) -> Draft:
    text = draft.payload.get("posting_date")
    if text is None or text == today.isoformat():
        return draft
    day, _ = posting_date(date.fromisoformat(text), today, policy)
    return (
        draft if day.isoformat() == text else replace(draft, payload={**draft.payload, "posting_date": day.isoformat()})
    )


def _out_of_period(payload: Mapping[str, Any], rule: Rule, today: date) -> list[str]:
    text = payload.get("posting_date")
    if text is None or text == today.isoformat():
        return []
    _, reason = posting_date(date.fromisoformat(text), today, rule.posting_date)
    return [reason] if reason else []


# ── at the claim ────────────────────────────────────────────────────────────────────────────────────────────


def recheck(
    posting: Posting, rule: Rule, today: date, *, approved: bool, value: Decimal = Decimal(0)
) -> tuple[str, ...]:
    """Why a posting that was ready must be held after all; empty: send it. Rules can only tighten here.

    `approved` says that a person released it: then only what a person cannot have meant stops it, a workflow that
    now writes nothing and a posting date whose month has closed since.
    """
    why: list[str] = []
    if rule.mode is Mode.ADVISE:
        why.append("this workflow writes nothing any more: its mode is now advise")
    if not approved:
        if rule.mode is Mode.ASSIST:
            why.append("every posting of this workflow is approved now: its mode is assist")
        why += _over_limits(posting.payload, value, rule)
    why += _out_of_period(posting.payload, rule, today)
    if rule.posting_date.closed_period == "current" and _month_closed(posting.payload, rule, today):
        why.append(f"its month has closed since: posting date {posting.payload['posting_date']}, today {today}")
    return tuple(why)


def _month_closed(payload: Mapping[str, Any], rule: Rule, today: date) -> bool:
    text = payload.get("posting_date")
    return text is not None and closed(date.fromisoformat(text), today, rule.posting_date.closes_on_day)
