"""Authority: nothing is posted by itself unless every limit allows it."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.authority import SAMPLED, Mode, Rule, closed, decide, drawn, posting_date, recheck, redated
from agent.configuration.settings import Authority, DatePolicy, PostingDate
from agent.errors import ModelUnfit
from agent.ports import Draft, Kind, Posting, Proposal, Route
from agent.scores import Score
from agent.units import SapUnit, UnitTable

TODAY = date(2026, 11, 20)
AUTO = Rule(mode=Mode.AUTO, version="v7")
SCORE = Score(0.95, "m/1", "", (1.0,))


def proposal(**changes: Any) -> Proposal:
    payload = {"quantity": "12.500", "unit": "KGM", "posting_date": "2026-11-20"} | changes.pop("payload", {})
    draft = Draft(Kind.GOODS_ISSUE, "order/1", payload, changes.pop("value", Decimal(40)))
    return Proposal((draft,), **({"confidence": 0.95} | changes))


def posting(**payload: str) -> Posting:
    return Posting(
        id=1,
        event_id=1,
        kind=Kind.GOODS_ISSUE,
        target="sap",
        ordering_key="order/1",
        idempotency_key="0" * 16,
        payload={"quantity": "12.500", "unit": "KGM", "posting_date": "2026-11-20"} | payload,
        state="ready",
        version=1,
        created_at=datetime(2026, 11, 20, tzinfo=UTC),
    )


def of_group(*values: int, kind: Kind = Kind.STOCK_TRANSFER, material: str = "RM-1", **more: Any) -> Proposal:
    """A group: 5 kg in each posting, and people who are told."""
    payload = {"material": material, "quantity": "5.000", "unit": "KGM"}
    drafts = [Draft(kind, "order/1", payload, Decimal(value)) for value in values]
    return Proposal((*drafts, Draft(Kind.NOTIFICATION, "notify/x", {})), confidence=1.0, together=True, **more)


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (of_group(30, 30), ("value 60.00 EUR of the 2 postings of the group is above the limit of 50.00",)),
        (of_group(20, 30), ()),
        (of_group(30, 30)._replace(together=False), ()),
        (of_group(10, 10, 10), ("quantity 15.000 KG is above the limit of 12",)),
        (of_group(10, 10, 10, kind=Kind.NOTIFICATION), ()),
        (of_group(10, 10, 10)._replace(together=False), ()),
    ],
)
def test_a_group_is_limited_by_its_sums(one: Proposal, told: tuple[str, ...]):
    """Value over all of it, quantity over what is of one kind and material; now, and at the claim."""
    rule = Rule(mode=Mode.AUTO, max_value=Decimal(50), max_quantity={"KGM": Decimal(12)}, units={"KGM": "KG"})
    rule = replace(rule, currency="EUR")
    assert decide(one, rule, TODAY).reasons == told
    if one.together and told:
        assert recheck(posting(quantity="5.000"), rule, TODAY, approved=False, together=one.drafts) == told


def test_scrap_and_the_record_of_its_defect_are_the_same_pieces():
    """Of different kinds, or materials, quantities are not added."""
    rule = Rule(mode=Mode.AUTO, max_quantity={"KGM": Decimal(6)})
    scrap, defect = of_group(1, kind=Kind.SCRAP), of_group(1, kind=Kind.DEFECT)
    other = of_group(1, kind=Kind.SCRAP, material="RM-2")
    both = scrap._replace(drafts=(*scrap.drafts, *defect.drafts, *other.drafts))
    assert decide(both, rule, TODAY).route is Route.POST


def test_without_a_rule_nothing_is_written():
    """The default mode is the least."""
    assert decide(proposal(), Rule(), TODAY).route is Route.ADVISE


def test_advise_tells_what_would_have_been_held():
    """Advice is worth something only with its reasons."""
    decision = decide(proposal(holds=("twice",)), Rule(version="v7"), TODAY)
    assert decision.route is Route.ADVISE
    assert decision.in_auto is Route.HOLD
    assert decide(proposal(), Rule(), TODAY).in_auto is Route.POST
    assert decision.reasons == ("twice",)
    assert decision.policy == "v7"


def test_assist_holds_every_posting():
    """Even the best one waits for a person."""
    assert decide(proposal(confidence=1.0), Rule(mode=Mode.ASSIST), TODAY).route is Route.HOLD


def test_auto_posts_what_is_inside_of_every_limit():
    """No reason, no hold."""
    rule = Rule(mode=Mode.AUTO, max_value=Decimal(40), max_quantity={"KGM": Decimal("12.5")}, model="m")
    decision = decide(proposal(), rule, TODAY, SCORE)
    assert (decision.route, decision.reasons) == (Route.POST, ())


@pytest.mark.parametrize(
    ("rule", "change", "score", "told"),
    [
        ({}, {"confidence": 0.89}, None, "confidence 0.89 is below 0.90"),
        ({}, {"confidence": math.nan}, None, "confidence nan is below 0.90"),
        ({}, {"holds": ("looks odd",)}, None, "looks odd"),
        ({"max_value": Decimal(39), "currency": "EUR"}, {}, None, "value 40.00 EUR is above the limit of 39.00"),
        (
            {"max_quantity": {"KGM": Decimal(12)}, "units": {"KGM": "KG"}},
            {},
            None,
            "quantity 12.500 KG is above the limit of 12",
        ),
        ({"model": "m"}, {}, None, "not scored by m"),
        ({"model": "m"}, {}, ModelUnfit("deviation is nan"), "not scored by m: deviation is nan"),
        ({}, {"payload": {"posting_date": "2026-10-31"}}, None, "that month closed after day 3"),
        ({}, {"payload": {"posting_date": "2026-11-22"}}, None, "which is after today"),
    ],
)
def test_auto_holds_what_is_outside_of_one_limit(rule, change, score, told):
    """Each limit by itself is enough, and says so."""
    decision = decide(proposal(**change), Rule(mode=Mode.AUTO, **rule), TODAY, score)
    assert decision.route is Route.HOLD
    assert told in decision.reasons[0]


def test_a_limit_counts_for_its_own_unit():
    """1000 pieces are not 1000 kilograms."""
    rule = Rule(mode=Mode.AUTO, max_quantity={"H87": Decimal(1)})
    assert decide(proposal(), rule, TODAY).route is Route.POST


def test_a_proposal_without_postings_is_ignored():
    """Nothing to post, nothing to hold; the reasons stay."""
    decision = decide(Proposal((), reasons=("nothing was used",)), AUTO, TODAY)
    assert (decision.route, decision.reasons) == (Route.IGNORE, ("nothing was used",))


def test_a_rule_takes_its_limits_from_the_configuration():
    """What settings say is what decides."""
    settings = Authority(mode=Mode.AUTO, min_confidence=0.8, max_value=Decimal(5), max_quantity={"C62": Decimal(3)})
    rule = Rule.of(
        settings,
        PostingDate(closes_on_day=5),
        model="m",
        version="v1",
        currency="EUR",
        units=UnitTable(sap={"C62": SapUnit(external="PC", internal="ST", iso="PCE")}),
    )
    assert (rule.currency, rule.units["C62"], rule.max_quantity["C62"]) == ("EUR", "PC", Decimal(3))
    assert (rule.mode, rule.min_confidence, rule.max_value, rule.posting_date.closes_on_day) == (
        Mode.AUTO,
        0.8,
        Decimal(5),
        5,
    )


@pytest.mark.parametrize(
    ("written", "unit", "limit"),
    [
        ({"KG": 5}, "KGM", "5"),
        ({"KG": 5}, "GRM", "5000"),
        ({"KGM": 5}, "LBR", "11.0231131092"),
        ({"PC": 3}, "C62", "3"),
        ({"KGM": 5, "GRM": 100}, "GRM", "100"),
        ({"KGM": 5, "GRM": 100}, "KGM", "5"),
        ({"KGM": 5, "GRM": 100}, "TNE", "0.0001"),
        ({"KGM": 5}, "MTR", None),
    ],
)
def test_a_limit_counts_for_every_unit_that_measures_the_same(written, unit, limit):
    """Whoever reports grams is held by a limit in kilograms, under whatever name that was written."""
    settings = Authority(mode=Mode.AUTO, max_quantity={name: Decimal(most) for name, most in written.items()})
    table = UnitTable(aliases={"KG": "KGM", "PC": "H87"})
    rule = Rule.of(settings, PostingDate(closes_on_day=5), model="", version="v1", units=table)
    assert rule.max_quantity.get(unit) == (Decimal(limit) if limit else None)
    if limit:
        payload = {"quantity": str(Decimal(limit) * 2), "unit": unit}
        assert f"is above the limit of {limit}" in decide(proposal(payload=payload), rule, TODAY).reasons[0]


@given(
    confidence=st.floats(),
    value=st.decimals(0, 10**6, allow_nan=False),
    mode=st.sampled_from(Mode),
    limit=st.none() | st.decimals(1, 10**6, allow_nan=False),
    least=st.floats(0, 1),
    holds=st.lists(st.just("odd"), max_size=1).map(tuple),
)
def test_only_auto_inside_of_its_limits_ever_posts(confidence, value, mode, limit, least, holds):
    """Whatever comes, a posting without a person has passed every test."""
    rule = Rule(mode=mode, min_confidence=least, max_value=limit)
    decision = decide(proposal(confidence=confidence, value=value, holds=holds), rule, TODAY)
    allowed = mode is Mode.AUTO and confidence >= least and (limit is None or value <= limit) and not holds
    assert (decision.route is Route.POST) == allowed


# ── audit sample ────────────────────────────────────────────────────────────────────────────────────────────

SAMPLING = Rule(mode=Mode.AUTO, min_confidence=0.9, audit_sample=0.1)
KEYS = [f"consumption:M-{number}" for number in range(5000)]


def test_a_share_of_what_nobody_doubts_is_shown_to_a_person():
    """About the share that is configured, each with a reason that says so, and the same ones every time."""
    routes = [decide(proposal(), SAMPLING, TODAY, message_key=key) for key in KEYS]
    held = [one for one in routes if one.route is Route.HOLD]
    assert 430 <= len(held) <= 570
    assert {one.reasons for one in held} == {
        ("audit sample: 10 % of what would be posted by itself is shown to a person",)
    }
    assert routes == [decide(proposal(), SAMPLING, TODAY, message_key=key) for key in KEYS]


@pytest.mark.parametrize(
    ("doubt", "rule"),
    [
        ({"confidence": 0.5}, SAMPLING),
        ({"holds": ("odd",)}, SAMPLING),
        ({}, replace(SAMPLING, mode=Mode.ASSIST)),
        ({}, replace(SAMPLING, audit_sample=0.0)),
    ],
)
def test_nothing_is_drawn_that_a_person_sees_anyway(doubt, rule):
    """The sample is of what would be posted by itself, or it would say nothing about that."""
    decisions = [decide(proposal(**doubt), rule, TODAY, message_key=key) for key in KEYS[:300]]
    assert len({one.reasons for one in decisions}) == 1
    assert not any(SAMPLED in reason for one in decisions for reason in one.reasons)


@given(st.text(), st.floats(0, 0.2), st.floats(0, 0.2))
def test_a_larger_sample_has_the_smaller_one_in_it(key, one, other):
    """What is drawn depends on message and store alone: nothing else that is known of it moves it in or out."""
    assert drawn(key, replace(SAMPLING, audit_sample=min(one, other))) <= drawn(
        key, replace(SAMPLING, audit_sample=max(one, other))
    )
    assert not drawn(key, replace(SAMPLING, audit_sample=0.0))
    assert drawn(key, replace(SAMPLING, audit_sample=1.0))


def test_another_store_draws_others():
    """Who knows the program and chooses the identities of its messages cannot keep them out of the sample."""
    stores = [replace(SAMPLING, sampling_key=bytes([number]) * 32) for number in range(2)]
    here, there = ({key for key in KEYS if drawn(key, one)} for one in stores)
    assert 430 <= len(here) <= 570
    assert len(here & there) < 100


def test_by_itself_the_sample_is_where_a_model_scores():
    """2 % with a model, none without one, and what is configured in any case."""
    assert [Authority().sample(scored=one) for one in (True, False)] == [0.02, 0.0]
    assert [Authority(audit_sample=0.05).sample(scored=one) for one in (True, False)] == [0.05, 0.05]
    assert Rule.of(Authority(), PostingDate(), model="m", version="1").audit_sample == 0.02


# ── posting dates ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("day", "today", "is_closed"),
    [
        (date(2026, 10, 31), date(2026, 11, 3), False),
        (date(2026, 10, 31), date(2026, 11, 4), True),
        (date(2026, 12, 31), date(2027, 1, 3), False),
        (date(2026, 12, 31), date(2027, 1, 4), True),
        (date(2026, 9, 1), date(2026, 11, 1), True),
        (date(2026, 11, 1), date(2026, 11, 30), False),
        (date(2025, 11, 20), date(2026, 11, 20), True),
    ],
)
def test_a_month_stays_open_until_a_day_of_the_next(day, today, is_closed):
    """Day 3 inclusive, over the turn of the year, and for ever after."""
    assert closed(day, today, 3) is is_closed


def test_the_policy_decides_what_a_closed_month_gets():
    """Its own day, today, or a person."""
    october = date(2026, 10, 31)
    assert posting_date(october, TODAY, PostingDate(policy=DatePolicy.EVENT)) == (october, None)
    assert posting_date(october, TODAY, PostingDate(policy=DatePolicy.CURRENT)) == (TODAY, None)
    day, reason = posting_date(october, TODAY, PostingDate())
    assert day == october
    assert "decide on the posting date" in str(reason)


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(1, 28))
def test_current_never_posts_into_a_closed_month(event_day, today, closes):
    """Either the month is open, or today is taken."""
    day, _ = posting_date(event_day, today, PostingDate(policy=DatePolicy.CURRENT, closes_on_day=closes))
    assert not closed(day, today, closes) or day > today


def test_redating_says_so_and_leaves_the_good_path_alone():
    """An open month gives the very same proposal back."""
    rule = Rule(posting_date=PostingDate(policy=DatePolicy.CURRENT))
    good = proposal()
    assert redated(good, rule, TODAY) is good
    late = redated(proposal(payload={"posting_date": "2026-10-31"}), rule, TODAY)
    assert late.drafts[0].payload["posting_date"] == "2026-11-20"
    assert "because the month of the report is closed" in late.reasons[0]


# ── at the claim ────────────────────────────────────────────────────────────────────────────────────────────

TOGETHER = proposal().drafts


def test_a_posting_that_nothing_changed_for_is_sent():
    """The good path of the claim."""
    assert recheck(posting(), AUTO, TODAY, approved=False, together=TOGETHER) == ()


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Rule(mode=Mode.ADVISE), "its mode is now advise"),
        (Rule(mode=Mode.ASSIST), "its mode is assist"),
        (Rule(mode=Mode.AUTO, max_value=Decimal(1)), "value 40.00 is above"),
        (Rule(mode=Mode.AUTO, max_quantity={"KGM": Decimal(1)}), "quantity 12.500 KGM is above"),
    ],
)
def test_tightened_rules_hold_what_was_ready(rule, told):
    """Mode and limits are looked at again."""
    assert told in recheck(posting(), rule, TODAY, approved=False, together=TOGETHER)[0]


def test_what_a_person_approved_is_not_held_for_a_person_again():
    """Limits and assist are what the signature was for; advise and a closed month are not."""
    rule = Rule(mode=Mode.ASSIST, max_value=Decimal(1))
    assert recheck(posting(), rule, TODAY, approved=True, together=TOGETHER) == ()
    assert recheck(posting(), Rule(mode=Mode.ADVISE), TODAY, approved=True, together=TOGETHER)
    assert recheck(posting(), rule, TODAY + timedelta(days=30), approved=True, together=TOGETHER)


@pytest.mark.parametrize("policy", [DatePolicy.HOLD, DatePolicy.CURRENT])
def test_a_month_that_closed_while_it_waited_holds_the_posting(policy):
    """What is signed is fixed, so a person decides on the new date."""
    rule = Rule(mode=Mode.AUTO, posting_date=PostingDate(policy=policy))
    assert recheck(posting(), rule, date(2026, 12, 3), approved=False, together=TOGETHER) == ()
    assert "closed" in recheck(posting(), rule, date(2026, 12, 4), approved=False, together=TOGETHER)[0]
