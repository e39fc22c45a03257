"""The only place where autonomy is granted: whether a proposal is posted, held for a person, or only shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

from agent.configuration.settings import Authority, DatePolicy, LiveKind, PostingDate
from agent.configuration.settings import AuthorityMode as Mode
from agent.errors import ModelUnfit
from agent.facts import day_text
from agent.ports import Decision, Draft, Kind, Posting, Proposal, Route
from agent.scores import Answer
from agent.units import UnitTable

__all__ = [
    "SAMPLED", "Mode", "Rule", "below", "closed", "decide", "drawn", "lowered", "posting_date", "raised", "recheck",
    "redated",
]  # fmt: skip

SAMPLED: Final = "audit sample"  # so begins the reason of what a person sees although nothing speaks against it


@dataclass(frozen=True, slots=True)
class Rule:
    """What one workflow may do by itself. `version` names the configuration it is from and is kept with decisions."""

    mode: Mode = Mode.ADVISE
    min_confidence: float = 0.9
    max_value: Decimal | None = None  # of what is decided as one, a posting or a group, in the plant's currency
    currency: str = ""
    max_quantity: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))  # by unit (Rec 20)
    units: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # those, as people call them
    model: str = ""  # the model that must have scored; without its score nothing posts by itself
    posting_date: PostingDate = field(default_factory=PostingDate)
    four_eyes: bool = False  # two different people must approve what is held
    needs_fresh: Mapping[LiveKind, int] = field(default_factory=lambda: MappingProxyType({}))  # live fact → seconds
    raised_from: float | None = None  # min_confidence of the configuration, while a drift has raised it
    raised_why: str = ""
    audit_sample: float = 0.0  # share of what would be posted by itself that a person sees all the same
    sampling_key: bytes = field(default=b"", repr=False)  # which ones: nobody who sends can know
    version: str = ""

    @classmethod
    def of(
        cls,
        settings: Authority,
        posting_date: PostingDate,
        *,
        model: str,
        version: str,
        currency: str = "",
        units: UnitTable | None = None,
        sampling_key: bytes = b"",
    ) -> Rule:
        """The rule of a configuration; `model` is empty where nothing scores. Without `units` limits are as written.

        Raises BadPayload for a limit in a unit that is not known.
        """
        most = settings.max_quantity if units is None else units.limits(settings.max_quantity)
        return cls(
            mode=settings.mode,
            min_confidence=float(settings.min_confidence),
            max_value=settings.max_value,
            currency=currency,
            max_quantity=most,
            units={unit: units.shown(unit) for unit in most} if units else {},
            model=model,
            posting_date=posting_date,
            four_eyes=settings.four_eyes,
            needs_fresh=settings.needs_fresh,
            audit_sample=settings.sample(scored=bool(model)),
            sampling_key=sampling_key,
            version=version,
        )


EVERY: Final = "every posting of this workflow is approved"  # why `assist` holds what is as expected
_ADVISE, _ASSIST = Mode.ADVISE, Mode.ASSIST
_POST, _HOLD = Route.POST, Route.HOLD
_QUANTITIES = ("quantity", "yield", "scrap", "rework")


def decide(
    proposal: Proposal,
    rule: Rule,
    today: date,
    score: Answer | ModelUnfit | None = None,
    not_fresh: tuple[str, ...] = (),
    message_key: str = "",
) -> Decision:
    """Where the proposal goes, and why. `today` is the plant's day; `score` is what inference returned, None without.

    `not_fresh` says which of the live facts that the rule asks for are not (see `freshness`). `message_key` is the
    identity of the message, by which the audit sample is drawn. The posting dates of the drafts are taken as they are:
    see `redated`, which comes first.
    """
    if not proposal.drafts:
        return Decision(Route.IGNORE, proposal.holds + proposal.reasons, rule.version, Route.IGNORE)
    why = _why_not(proposal, rule, today, score) + not_fresh
    if not why and rule.audit_sample and rule.mode is not _ASSIST and drawn(message_key, rule):
        why = (f"{SAMPLED}: {100 * rule.audit_sample:g} % of what would be posted by itself is shown to a person",)
    if why and all(draft.kind is Kind.NOTIFICATION for draft in proposal.drafts):
        why = ()  # to be told is nobody's to approve
    in_auto, reasons = _HOLD if why else _POST, why + proposal.reasons
    if rule.mode is _ADVISE:
        return Decision(Route.ADVISE, reasons, rule.version, in_auto)
    if rule.mode is _ASSIST:
        return Decision(_HOLD, (*reasons, EVERY), rule.version, in_auto)
    return Decision(in_auto, reasons, rule.version, in_auto)


def _why_not(proposal: Proposal, rule: Rule, today: date, score: Answer | ModelUnfit | None) -> tuple[str, ...]:
    """Every reason why a person must look; empty for the good path, which must stay cheap."""
    why = proposal.holds
    if rule.model and proposal.scored and (score is None or isinstance(score, ModelUnfit)):
        why += (f"not scored by {rule.model}: {score or 'the report has not what the model looks at'}",)
    elif doubt := below(proposal.confidence, rule.min_confidence):
        why += (doubt, rule.raised_why) if rule.raised_from is not None else (doubt,)
    first, most = proposal.drafts[0], rule.max_value
    if rule.max_quantity or (most is not None and not (len(proposal.drafts) == 1 and first.value <= most)):
        for one in (proposal.drafts,) if proposal.together else [(draft,) for draft in proposal.drafts]:
            why += tuple(_over_limits(one, rule))
    now = day_text(today)
    for draft in proposal.drafts:
        if draft.payload.get("posting_date", now) != now:
            why += tuple(_out_of_period(draft.payload, rule, today))
    return why


def raised(rule: Rule, bar: float, why: str) -> Rule:
    """The rule while what its model is asked has drifted: it asks for a higher score, if it asks for one at all."""
    own = lowered(rule)
    if not 0 < own.min_confidence < bar:
        return own
    said = f"the bar is raised from {own.min_confidence:.2f}: {why}"
    return replace(own, min_confidence=bar, raised_from=own.min_confidence, raised_why=said)


def lowered(rule: Rule) -> Rule:
    """The rule as the configuration has it."""
    if rule.raised_from is None:
        return rule
    return replace(rule, min_confidence=rule.raised_from, raised_from=None, raised_why="")


def drawn(message_key: str, rule: Rule) -> bool:
    """Whether this message is one of the share that is drawn: by its identity, so each time alike.

    The secret of the store is the key (BLAKE2b, RFC 7693; a third of what HMAC-SHA-256 costs): a sender who chooses its
    identities cannot choose what is drawn.
    """
    mixed = blake2b(message_key.encode(), key=rule.sampling_key, digest_size=8).digest()
    return int.from_bytes(mixed) < rule.audit_sample * 2**64


def below(confidence: float, bar: float) -> str | None:
    """Why a person must look at what is less sure than the bar asks, None where it is not."""
    if confidence >= bar:  # written so that NaN does not pass
        return None
    return f"confidence {confidence:.2f} is below {bar:.2f}"


def _over_limits(drafts: Sequence[Draft], rule: Rule) -> list[str]:
    """Above which limits the drafts are that are decided as one: one, or all of a group by their sums."""
    why = []
    first, *others = (draft.value for draft in drafts)
    value = sum(others, first)
    if rule.max_value is not None and not value <= rule.max_value:
        money = f"{value:.2f} {rule.currency}".rstrip()
        count = sum(draft.kind is not Kind.NOTIFICATION for draft in drafts)
        of = f" of the {count} postings of the group" if count > 1 else ""
        why.append(f"value {money}{of} is above the limit of {rule.max_value:.2f}")
    return why + [
        f"{name} {quantity} {rule.units.get(unit, unit)} is above the limit of {rule.max_quantity[unit]}"
        for (name, unit), quantity in _quantities(drafts, rule)
        if quantity > rule.max_quantity[unit]
    ]


def _quantities(drafts: Sequence[Draft], rule: Rule) -> Iterator[tuple[tuple[str, str], Decimal]]:
    """Each limited quantity by name and unit; of the same kind and material, the sum.

    Scrap and the record of its defect are about the same pieces: they are not added.
    """
    found: dict[tuple[Kind, Any, str, str], Decimal] = {}
    for draft in drafts if rule.max_quantity else ():
        unit = draft.payload.get("unit", "")
        for name in _QUANTITIES if unit in rule.max_quantity else ():
            if name in draft.payload:
                key = draft.kind, draft.payload.get("material"), name, unit
                quantity = Decimal(draft.payload[name])
                found[key] = found[key] + quantity if key in found else quantity
    yield from (((name, unit), quantity) for (_, _, name, unit), quantity in found.items())


# ── posting dates ───────────────────────────────────────────────────────────────────────────────────────────


def closed(day: date, today: date, closes_on_day: int) -> bool:
    """Whether the month of `day` is closed in the ERP: it stays open until a day of the next, inclusive."""
    if day.year == today.year and day.month == today.month:
        return False
    last_open = date(day.year + day.month // 12, day.month % 12 + 1, closes_on_day)
    return today > last_open


def posting_date(event_day: date, today: date, policy: PostingDate) -> tuple[date, str | None]:
    """The posting date of an event, and why a person must decide, or None. A document year follows the posting date."""
    if event_day > today + timedelta(days=1):  # a day's grace: two clocks around midnight
        return event_day, f"the report is from {event_day}, which is after today, {today}; check the sender's clock"
    if policy.policy is DatePolicy.EVENT or not closed(event_day, today, policy.closes_on_day):
        return event_day, None
    if policy.policy is DatePolicy.CURRENT:
        return today, None
    return event_day, (
        f"the report is from {event_day}, and that month closed after day {policy.closes_on_day} of the next; "
        "decide on the posting date"
    )


def redated(proposal: Proposal, rule: Rule, today: date) -> Proposal:
    """The proposal with posting dates by the rule's policy; the same object when nothing changes (the good path)."""
    now = day_text(today)
    for draft in proposal.drafts:
        if draft.payload.get("posting_date", now) != now:
            break
    else:
        return proposal
    drafts = tuple(_redated(draft, rule.posting_date, today) for draft in proposal.drafts)
    if all(new is old for new, old in zip(drafts, proposal.drafts, strict=True)):
        return proposal
    reason = f"posted on {today} because the month of the report is closed"
    return proposal._replace(drafts=drafts, reasons=(*proposal.reasons, reason))


def _redated(draft: Draft, policy: PostingDate, today: date) -> Draft:
    text = draft.payload.get("posting_date")
    if text is None:
        return draft
    day, _ = posting_date(date.fromisoformat(text), today, policy)
    moved = day_text(day)
    return draft if moved == text else draft._replace(payload={**draft.payload, "posting_date": moved})


def _out_of_period(payload: Mapping[str, Any], rule: Rule, today: date) -> list[str]:
    text = payload.get("posting_date")
    if text is None or text == day_text(today):
        return []
    _, reason = posting_date(date.fromisoformat(text), today, rule.posting_date)
    return [reason] if reason else []


# ── at the claim ────────────────────────────────────────────────────────────────────────────────────────────


def recheck(posting: Posting, rule: Rule, today: date, *, approved: bool, together: Sequence[Draft]) -> tuple[str, ...]:
    """Why a posting that was ready must be held after all; empty: send it. Rules can only tighten here.

    `together` are the posting and all others of its group, by whose sums it is limited. `approved` says that a person
    released it: then only what a person cannot have meant stops it, a workflow that now writes nothing and a posting
    date whose month has closed since.
    """
    if posting.kind is Kind.NOTIFICATION:  # to be told is nobody's to approve
        return ()
    why: list[str] = []
    if rule.mode is Mode.ADVISE:
        why.append("this workflow writes nothing any more: its mode is now advise")
    if not approved:
        if rule.mode is Mode.ASSIST:
            why.append("every posting of this workflow is approved now: its mode is assist")
        why += _over_limits(together, rule)
    why += _out_of_period(posting.payload, rule, today)
    if rule.posting_date.policy is DatePolicy.CURRENT and _month_closed(posting.payload, rule, today):
        why.append(f"its month has closed since: posting date {posting.payload['posting_date']}, today {today}")
    return tuple(why)


def _month_closed(payload: Mapping[str, Any], rule: Rule, today: date) -> bool:
    text = payload.get("posting_date")
    return text is not None and closed(date.fromisoformat(text), today, rule.posting_date.closes_on_day)
