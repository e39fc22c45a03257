"""Live facts: what tags say now, with quality and age, and what a decision makes of one that is not fresh."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import assembly
from agent.authority import Mode
from agent.commands.status import stale_facts
from agent.commands.trace import _live
from agent.configuration import config
from agent.configuration.settings import LiveKind
from agent.contents import contents
from agent.errors import ConfigError
from agent.facts import LiveState
from agent.judging import freshness
from agent.judging.judge import judge
from agent.strict.schema import parse
from agent.tags.config import LiveTag, Tagged
from agent.tags.live import LiveTags
from agent.tags.values import Change, Key, LivePart, Quality, Scalar, TagValue
from tests.unit.test_judge import Nothing, event, rules_of
from tests.unit.test_workflow_consumption import AT

HOUSE = Path(__file__).resolve().parent.parent.parent
NOW = datetime(2026, 11, 20, 8, 12, 3, tzinfo=UTC)  # 09:12:03 in the plant
STATE: Key = (LiveKind.EQUIPMENT_STATE, "MIX-01")
RESIN: Key = (LiveKind.LINE_SIDE_STOCK, "MIX-01/RM-RESIN")
DECLARED = (
    LiveTag(fact=STATE[0], of=STATE[1], tag="state"),
    LiveTag(fact=RESIN[0], of=RESIN[1], tag="stock", unit="KG"),
)


def told(tag: str, value: Any, quality: Quality = Quality.GOOD, *, historical: bool = False) -> Change:
    return Change(tag, TagValue(value, quality, NOW), historical)


def live(*changes: Change) -> LiveTags:
    tags = LiveTags(DECLARED, NOW)
    tags.changed(changes, NOW)
    return tags


def decided(tags: LiveTags | None, silent_s: float = 0.3, **needs: int) -> tuple[str, Sequence[str], dict[str, Any]]:
    """What becomes of a good consumption at MIX-01 that needs these facts: route, reasons, audit record."""
    rules = rules_of(needs_fresh={LiveKind(name): seconds for name, seconds in needs.items()}, mode=Mode.AUTO)
    state = LiveState((LivePart(tags.facts, silent_s),) if tags is not None else ())
    (verdict,) = judge([event(1, "A")], rules, Nothing(), AT.date(), live=state).verdicts
    return verdict.state, verdict.detail["reasons"], verdict.detail


def test_a_fresh_fact_lets_a_report_be_posted_and_is_recorded():
    """Good, and vouched for a moment ago: posted, with value, quality and age in the audit trail."""
    state, _, detail = decided(live(told("state", "RUNNING")), equipment_state=60)
    assert state == "posted"
    (seen,) = detail["live"]
    assert (seen["fact"], seen["of"], seen["value"], seen["quality"]) == (*STATE, "RUNNING", "good")
    assert (seen["age_s"], seen["allowed_s"], seen["at"]) == (0.3, 60, NOW.isoformat())
    assert _live(seen) == "equipment state of MIX-01: RUNNING, good, 0.3 s old (60 s allowed)"


def test_nothing_is_looked_at_where_nothing_is_asked_for():
    """Without needs_fresh a decision neither waits for live facts nor records any."""
    state, _, detail = decided(None)
    assert (state, "live" in detail) == ("posted", False)


def test_a_value_that_does_not_change_stays_fresh_while_its_source_lives():
    """An hour after the last change, with a source that was heard a second ago, the report is posted."""
    tags = live(told("state", "RUNNING"))
    tags.changed([told("stock", Decimal(5))], NOW + timedelta(hours=1))
    assert decided(tags, 1.0, equipment_state=60)[0] == "posted"


@pytest.mark.parametrize(
    ("tags", "silent_s", "why"),
    [
        (live(told("state", "RUNNING")), 74.2, "was last told 75 s ago, 60 s are allowed"),
        (live(), 0.0, "is not known: nothing has told it since 09:12:03"),
        (live(told("state", None, Quality.BAD)), 0.0, "is bad since 09:12:03"),
        (live(told("state", "RUNNING", Quality.UNCERTAIN)), 0.0, "is uncertain since 09:12:03"),
        (
            live(told("state", None)), 0.0,
            "is bad since 09:12:03 (the controller says that there is no value)",
        ),
        (live(told("state", "RUNNING", historical=True)), 0.0, "is not known: nothing has told it since 09:12:03"),
        (None, 0.0, "is told by no source; declare it under live of a source, with the tag that tells it"),
    ],
)  # fmt: skip
def test_a_fact_that_is_not_fresh_holds_the_report(tags: LiveTags | None, silent_s: float, why: str):
    """Too old, unknown, bad, uncertain, without a value, of yesterday or told by nobody: a person looks."""
    state, reasons, _ = decided(tags, silent_s, equipment_state=60)
    assert (state, reasons[0]) == ("held", f"equipment state of MIX-01 {why}")


def test_a_dead_node_makes_its_facts_stale_until_it_speaks_again():
    """The reason says since when and why; what happens to its source later changes the reason, not the time."""
    tags = live(told("state", "RUNNING"))
    tags.lost(["state", "other"], "edge node 1710/line: the node died", NOW)
    state, reasons, detail = decided(tags, equipment_state=60)
    because = "(edge node 1710/line: the node died)"
    assert (state, reasons[0]) == ("held", f"equipment state of MIX-01 is stale since 09:12:03 {because}")
    assert (detail["live"][0]["quality"], detail["live"][0]["value"]) == ("stale", "RUNNING")
    tags.lost(None, "the connection to the broker was lost", NOW + timedelta(days=1))
    assert "stale since 09:12:03 (the connection" in decided(tags, equipment_state=60)[1][0]
    tags.changed([told("state", "IDLE")], NOW + timedelta(days=1))
    assert decided(tags, equipment_state=60)[0] == "posted"


def test_another_day_is_said_with_its_date():
    """Since when: in the plant's time, with the date where it is not of today."""
    tags = LiveTags(DECLARED, NOW - timedelta(days=2))
    assert "since 2026-11-18 09:12:03" in decided(tags, equipment_state=60)[1][0]


def test_line_side_stock_is_asked_of_what_the_report_consumes():
    """The material of the report at its work centre, with its unit in the record."""
    state, _, detail = decided(live(told("stock", Decimal("12.5"))), line_side_stock=60)
    assert state == "posted"
    (seen,) = detail["live"]
    assert (seen["of"], seen["value"], seen["unit"]) == ("MIX-01/RM-RESIN", Decimal("12.5"), "KG")


@pytest.mark.parametrize("value", ["empty", True])
def test_a_stock_that_is_no_quantity_is_bad(value: object):
    """A text or a flag where a quantity should be decides nothing."""
    state, reasons, _ = decided(live(told("stock", value)), line_side_stock=60)
    assert state == "held"
    assert f"stock says {value!r}, which is no quantity" in reasons[0]


def test_a_snapshot_is_replaced_only_when_one_of_its_tags_says_something():
    """A message about other tags costs no copy, and a snapshot that was handed out never changes."""
    tags = live(told("state", "RUNNING"))
    before = tags.facts
    tags.changed([told("speed", 5)], NOW)
    assert tags.facts is before
    tags.changed([told("state", "IDLE")], NOW)
    assert (before[STATE].value, tags.facts[STATE].value) == ("RUNNING", "IDLE")


def test_a_case_needs_no_plant():
    """`gatepost cases` decides without live state as if everything were fresh."""
    rules = rules_of(needs_fresh={LiveKind.OPERATOR: 5}, mode=Mode.AUTO)
    (verdict,) = judge([event(1, "A")], rules, Nothing(), AT.date(), live=None).verdicts
    assert verdict.state == "posted"


def test_the_summary_names_the_oldest_fact_that_is_not_good():
    """How many, and the one that has been so for the longest time."""
    tags = live(told("state", "RUNNING"))
    assert freshness.summary(LiveState((LivePart(tags.facts, 0),)))["not_good"] == 1  # the stock was never told
    tags.changed([told("stock", Decimal(1))], NOW)
    assert freshness.summary(LiveState((LivePart(tags.facts, 0),))) == {"facts": 2, "not_good": 0, "oldest": None}
    tags.lost(["state"], "gone", NOW)
    shown = freshness.summary(LiveState((LivePart(tags.facts, 0),)))["oldest"]
    assert shown == {"fact": "equipment state of MIX-01", "quality": "stale", "since": NOW.isoformat(), "why": "gone"}
    (line,) = stale_facts(freshness.summary(LiveState((LivePart(tags.facts, 0),))))
    assert line.startswith("live    1 of 2 facts are not good; longest equipment state of MIX-01, stale since ")
    assert line.endswith(": gone")
    assert list(stale_facts(freshness.summary(LiveState()))) == list(stale_facts({})) == []


@pytest.mark.parametrize(
    ("unit", "says", "value", "quality"),
    [
        (None, Decimal("0.64"), Decimal("0.64"), Quality.GOOD),
        ("%", Decimal("64.5"), Decimal("0.645"), Quality.GOOD),
        ("P1", 64, Decimal("0.64"), Quality.GOOD),
        (None, Decimal(64), Decimal(64), Quality.BAD),
        ("%", Decimal(640), Decimal(640), Quality.BAD),
        (None, Decimal("-0.1"), Decimal("-0.1"), Quality.BAD),
        (None, Decimal("Infinity"), Decimal("Infinity"), Quality.BAD),
        (None, True, True, Quality.BAD),
        (None, "good", "good", Quality.BAD),
    ],
)
def test_an_oee_is_a_share_whatever_scale_its_tag_has(unit: str | None, says: Scalar, value: Scalar, quality: Quality):
    """A percent is read as 0 to 1; what is no OEE on the scale that was declared is bad, and says which scale it is."""
    tags = LiveTags([LiveTag(fact=LiveKind.OEE, of="MIX-01", tag="oee", unit=unit)], NOW)
    tags.changed([told("oee", says)], NOW)
    found = tags.facts[LiveKind.OEE, "MIX-01"]
    assert (found.value, found.unit, found.quality) == (value, "", quality)
    assert ("which is no OEE between 0 and" in found.why) is (quality is Quality.BAD)


# ── what is declared ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{fact: operator, of: MIX-01, tag: b}", "names 'b', which is not under tags"),
        ("{fact: operator, of: MIX-01/X, tag: a}", "write a work centre, as MIX-01"),
        ("{fact: line_side_stock, of: MIX-01, tag: a, unit: KG}", "write WORK CENTRE/MATERIAL"),
        ("{fact: line_side_stock, of: MIX-01/RM-RESIN, tag: a}", "unit is missing"),
        ("{fact: operator, of: MIX-01, tag: a, unit: KG}", "is no quantity; leave it out"),
        ("{fact: oee, of: MIX-01, tag: a, unit: KG}", "told as 0 to 1, or 0 to 100 with unit: '%'; not KG"),
        ("{fact: mood, of: MIX-01, tag: a}", "equipment_state"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(tmp_path: Path, entry: str, message: str):
    """Each with a sentence that says what to write."""
    file = tmp_path / "source.yaml"
    file.write_text(f"tags: {{a: A}}\nlive: [{entry}]\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        parse(file, Tagged)
    assert message in str(refusal.value)


def findings(folder: Path, live: Sequence[dict[str, str]], needs: dict[str, int]) -> str:
    """What `gatepost check` says about the bench's configuration with these live facts and needs."""
    edge = HOUSE / "edge_config"
    content = yaml.safe_load((edge / "sparkplug.yaml").read_text(encoding="utf-8"))
    content["sources"][0]["live"] = list(live)
    content["authority"]["consumption"]["needs_fresh"] = needs
    content |= {name: str(edge / content[name]) for name in ("mappings", "masterdata", "units", "models", "model_keys")}
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    secret = {"GATEPOST_SECRET_ERP_PASSWORD": "not a secret at all"}
    examined = config.examine(file, assembly.resolver(), secret)
    return "\n".join(str(one) for one in [*examined.findings, *contents(examined)])


WORK_CENTERS = {"MIX-01": "mix01", "MOLD-02": "mold02", "ASSY-05": "assy05"}
OPERATORS = [{"fact": "operator", "of": of, "tag": f"{tag}_operator"} for of, tag in WORK_CENTERS.items()]


def test_what_every_work_centre_tells_may_be_asked_for(tmp_path: Path):
    """No finding."""
    assert findings(tmp_path, OPERATORS, {"operator": 300}) == ""


@pytest.mark.parametrize(
    ("live", "needs", "said"),
    [
        (OPERATORS, {"wip": 60}, "no source tells the wip of any work centre"),
        (OPERATORS[:1], {"operator": 60}, "no source tells the operator of ASSY-05, MOLD-02, so all"),
        ([*OPERATORS, dict(OPERATORS[0])], {}, "tells operator of MIX-01 as line"),
        (OPERATORS, {"operator": 5}, "is shorter than 11 s, after which source line surely has vouched for it"),
        ([{**OPERATORS[0], "of": "MIX-1"}], {}, "there is no work centre MIX-1"),
        (
            [{"fact": "wip", "of": "MIX-01", "tag": "mix01_made", "unit": "stones"}], {},
            "unit 'stones' is unknown",
        ),
    ],
)  # fmt: skip
def test_a_need_that_nobody_can_meet_is_refused(tmp_path: Path, live: Any, needs: dict[str, int], said: str):
    """Before anything runs, with a sentence that says what to do."""
    assert said in findings(tmp_path, live, needs)
