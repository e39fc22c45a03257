"""What runs short: use out of the store, forecast by the shipped model or the profile, held against what came."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ModelUnfit
from agent.facts import Facts
from agent.features.shortage_forecast import DAY, FEATURES, HISTORY, QUANTILES
from agent.ports import Kind
from agent.scoring import registry
from agent.scoring.inference import Absent, Model
from agent.scoring.recalibration import QuantileOffsets
from agent.shortages import noticing
from agent.shortages.looking import KEY
from agent.shortages.outlook import GAP, PROFILE, Kept, Learnt, Left, Outlook, begin_of, likely, moved, outlooks
from agent.shortages.telling import shown
from agent.shortages.used import OFTEN, LeftOut, Place, Seen, Used, without_returns
from agent.store import inbox, issues
from agent.store.encode import to_us
from agent.store.issues import SLOT_US, Issued
from models.shortage_forecast.simulate import usage
from tests import stores
from tests.command_line import folder, gatepost_
from tests.unit.test_workflow_consumption import FACTS

ROOT = Path(__file__).parents[2]
MONDAY = to_us(datetime(2026, 1, 5, tzinfo=UTC)) // SLOT_US  # the slot with which simulated use begins
RESIN = Place("RM-RESIN", "171A")
QUARTER = timedelta(minutes=15)


@pytest.fixture(scope="module")
def model() -> Any:
    keys = registry.trusted(ROOT / "edge_config/trust/models")
    with closing(Model.load(registry.champion(ROOT / "models/shortage_forecast"), keys, FEATURES)) as one:
        yield one


def seen(told: Sequence[float], stock: float | None = 500.0, safety: float = 50.0) -> Seen:
    return Seen(RESIN, "KGM", told, stock, safety)


def foreseen(told: Sequence[float], model: Any, before: Outlook | None = None, **known: Any) -> Outlook:
    """What is told after so much simulated use; `before` what was told a quarter of an hour ago."""
    slot = MONDAY + len(told)
    kept = Kept(slot=slot - 1, outlooks=[before]) if before else None
    (found,) = outlooks(kept, [seen(told[-HISTORY:], **known)], model, slot, UTC)
    return found


# ── what was used ───────────────────────────────────────────────────────────────────────────────────────────


def issue(quantity: str, **more: str) -> dict[str, str]:
    return {"material": "RM-RESIN", "storage_location": "171A", "quantity": quantity, "unit": "KGM", **more}


def test_what_counts_as_used(tmp_path):
    """Booked or on its way counts in its quarter of an hour; held, taken back and what is no goods issue does not."""
    at = stores.START - timedelta(hours=1)
    slot = to_us(at) // SLOT_US
    with stores.opened(tmp_path / "s.db") as writer, stores.reading(tmp_path / "s.db") as reader:
        stores.booked(writer, [(at - QUARTER, issue("5")), (at, issue("7.5")), (at, issue("2", movement="262"))])
        one, two, three = (stores.posting(n, f"order/{n}", payload=issue(f"{n}")) for n in (100, 1000, 10_000))
        back = stores.posting(4, "order/4", kind=Kind.REVERSAL, payload={"of_key": two.idempotency_key})
        stores.add(writer, one, two, three._replace(reasons=("look",)), back)
        now = writer.call(lambda tx: tx.now_us) // SLOT_US
        assert sum(each.quantity for each in issues.unbooked(reader)) == 1100
        assert _used(reader, slot - 1) == {slot - 1: 5.0, slot: 5.5, now: 1100.0}
        stores.drain(writer, 3)
        assert issues.unbooked(reader) == []
        assert _used(reader, slot) == {slot: 5.5, now: 100.0}
        assert issues.begun(reader) == slot - 1


def _used(reader: Any, since: int) -> dict[int, float]:
    """By slot, read in two pieces."""
    after, last = issues.before(reader, since), issues.last(reader)
    pieces = [issues.between(reader, *span, since) for span in ((after, after + 2), (after + 2, last))]
    found: dict[int, float] = {}
    for one in (each for piece in pieces for each in piece):
        found[one.slot] = found.get(one.slot, 0.0) + one.quantity
    return found


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(-1, 50))
def test_the_first_posting_of_a_time_is_found_by_halves(times, since):
    """Behind the id that is found lie all postings from then on, and it is the last such id."""
    rows = [(2 * number + 1, at * SLOT_US) for number, at in enumerate(sorted(times))]  # some ids have left
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute("CREATE TABLE posting (id INTEGER PRIMARY KEY, created_us INTEGER)")
        connection.executemany("INSERT INTO posting VALUES (?, ?)", rows)
        found = issues.before(connection, since)
    assert [row for row in rows if row[0] > found] == [row for row in rows if row[1] >= since * SLOT_US]


@given(st.lists(st.floats(-50, 100), max_size=40))
def test_what_is_given_back_is_taken_off_what_was_used(told):
    """No use is negative, none grows, and nothing is lost as long as no more is given back than was used before."""
    found = without_returns(told)
    assert all(0 <= after <= max(before, 0) for after, before in zip(found, told, strict=True))
    if all(sum(told[: at + 1]) >= 0 for at in range(len(told))):
        assert sum(found) == pytest.approx(sum(told), abs=1e-6)


def test_units_batches_and_what_is_on_its_way():
    """Use of any unit is in base units; stock is of all batches, less what is not booked yet; seldom use is no use."""
    facts = with_stock(FACTS, ("B1", "300"), ("B2", "40.5"))
    used = Used()
    used.add(Issued("RM-RESIN", "171A", "GRM", slot, 1500.0) for slot in range(100, 140))
    used.add(Issued("RM-RESIN", "171A", "KGM", slot, 1.0) for slot in range(120, 140))
    used.add(Issued("RM-PIGMENT", "171A", "KGM", slot, 1.0) for slot in range(100, 99 + OFTEN))
    found, left_out = used.seen(facts, [Issued("RM-RESIN", "171A", "GRM", 139, 500.0)], first=90, until=140)
    assert found == [Seen(RESIN, "KGM", [0.0] * 10 + [1.5] * 20 + [2.5] * 20, 340.0, 25.0)]
    assert left_out == [LeftOut(Place("RM-PIGMENT", "171A"), "used in fewer than 24 quarters of an hour so far")]
    used.forget(before=104, since=130)
    ((again,), _) = used.seen(facts, [], first=90, until=140)
    assert again.usage == [0.0] * 14 + [1.5] * 16 + [2.5] * 10 + [0.0] * 10


def with_stock(facts: Facts, *batches: tuple[str, str]) -> Facts:
    material = {"material": "RM-RESIN", "base_unit": "KGM", "batch_managed": True, "safety_stock": "25"}
    stock = {"material": "RM-RESIN", "storage_location": "171A", "unit": "KGM"}
    told = [("stock", {**stock, "batch": batch, "quantity": quantity}) for batch, quantity in batches]
    return facts.with_documents([("material", material), *told])


# ── what is forecast ────────────────────────────────────────────────────────────────────────────────────────

SERIES = usage(3, 4)
AT = 3 * 7 * DAY + 40  # Monday, 10 o'clock


def test_the_model_says_how_likely_it_runs_short(model):
    """Two weeks of use are asked of the model; more stock is less likely to run short, and later."""
    found = [foreseen(SERIES[:AT], model, stock=stock, safety=20.0) for stock in (20.0, 60.0, 200.0, 1000.0, 1e6)]
    for one in found:
        assert [at.by for at in one.horizons] == ["shortage_forecast/2"] * 2
        soon, later = (at.used for at in one.horizons)
        assert all(a <= b for a, b in zip(soon, later, strict=True))  # more hours never take less
    for part in (0, 1):
        chances = [one.horizons[part].short or 0.0 for one in found]
        assert chances == sorted(chances, reverse=True)
    assert (found[0].horizons[1].short or 0) > 0.9
    assert found[-1].horizons[1].short == pytest.approx(0, abs=0.01)
    assert (found[-1].earliest_at, found[-1].likely_at) == (None, None)
    moments = [(one.earliest_at, one.likely_at) for one in found if one.likely_at]
    assert moments == sorted(moments)
    assert all(begin_of(MONDAY + AT) <= early <= late for early, late in moments if early and late)


def test_it_is_short_already(model):
    """Below its safety stock it is short now, and surely."""
    one = foreseen(SERIES[:AT], model, stock=19.0, safety=20.0)
    assert one.earliest_at == one.likely_at == begin_of(MONDAY + AT)
    assert [at.short for at in one.horizons] == [1.0, 1.0]


def test_what_is_not_known_is_not_said(model):
    """Without a stock there is use, and no probability; after few hours there is nothing, and how much is needed."""
    one = foreseen(SERIES[:AT], model, stock=None)
    assert one.horizons[0].used
    assert [at.short for at in one.horizons] == [None, None]
    few = foreseen(SERIES[:130], model)
    assert [(at.used, at.by, at.short) for at in few.horizons] == [([], "", None)] * 2
    assert few.horizons[0].why == "32.5 h of use are known, 34 h are needed; watch it yourself"


def test_short_history_is_the_profiles(model):
    """With three days the profile forecasts, and it is said why it is not the model."""
    one = foreseen(SERIES[: 3 * DAY], model)
    assert [at.by for at in one.horizons] == [PROFILE] * 2
    assert one.horizons[0].why == "3 days of use are known, the model needs 14 days"
    assert one.horizons[0].short is not None


@pytest.mark.parametrize("burst", [True, False])
def test_where_the_model_has_no_answer_the_profile_forecasts(model, burst):
    """A burst that it was not trained for, or no version that fits: the profile says it, and why."""
    told = list(SERIES[:AT])
    if burst:
        told[-1] = 1e5
        one, words = foreseen(told, model), "was not trained for this: use of the last quarter"
    else:
        one, words = foreseen(told, Absent("m", ModelUnfit("m/2: another hand signed it"))), "another hand"
    assert [at.by for at in one.horizons] == [PROFILE] * 2
    assert words in one.horizons[0].why or "last is" in one.horizons[0].why


# ── held against what came ──────────────────────────────────────────────────────────────────────────────────


def followed(told: Sequence[float], model: Any, start: int, count: int) -> list[Outlook]:
    """One forecast each quarter of an hour."""
    found: list[Outlook] = []
    for at in range(start, start + count):
        found.append(foreseen(told[:at], model, found[-1] if found else None))
    return found


def test_each_outcome_is_learnt_once_when_its_hours_are_over(model):
    """As many wait as slots are forecast, all others are counted; what was used moved the quantiles its way."""
    last = followed(SERIES, model, AT, 60)[-1]
    for at in last.horizons:
        assert len(at.learnt.waiting) == at.slots
        assert at.learnt.outcomes == 60 - at.slots
        assert at.learnt.below == sorted(at.learnt.below)
    much = [value * 3 if at >= AT else value for at, value in enumerate(SERIES)]
    (higher, _), (usual, _) = (followed(one, model, AT, 30)[-1].horizons for one in (much, SERIES))
    assert sum(higher.learnt.offsets) > sum(usual.learnt.offsets)


def test_nobody_learns_from_what_was_not_seen(model):
    """After a gap what waited is forgotten, not what was learnt; another model begins anew, an absent one does not."""
    last = followed(SERIES, model, AT, 20)[-1]
    kept = Kept(slot=MONDAY + AT + 19, outlooks=[last])

    def after(gap: int, asked: Any) -> Learnt:
        at = AT + 19 + gap
        (found,) = outlooks(kept, [seen(SERIES[at - HISTORY : at])], asked, MONDAY + at, UTC)
        return found.horizons[0].learnt

    known = last.horizons[0].learnt
    assert (known.outcomes, after(1, model).outcomes) == (12, 13)
    assert after(0, model) == known  # a restart within the same quarter
    assert (after(GAP + 1, model).outcomes, len(after(GAP + 1, model).waiting)) == (12, 1)
    assert after(1, Absent("m", ModelUnfit("none"))).offsets == known.offsets
    assert after(1, _Named(model)).outcomes == 0


def test_a_line_that_stands_still_teaches_nothing():
    """Where no use was foreseen and none came no quantile moves; one that foresaw some does, and after use all do."""
    offsets = QuantileOffsets(QUANTILES, 0.1)
    told = [0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.4]
    still = moved(offsets, told, 0.0).offsets
    assert [one == 0 for one in still] == [True] * 5 + [False] * 2
    assert all(one < 0 for one in still[5:])
    assert all(one > 0 for one in moved(offsets, told, 0.5).offsets)


class _Named:
    """The same model under another digest."""

    def __init__(self, model: Any) -> None:
        self.name, self.digest, self.forecast = model.name, "other", model.forecast


def test_the_likeliest_shortage_is_shown_first():
    """With its figures by hour and its age; before any forecast there is nothing."""
    short, fine = (_told(material, chance) for material, chance in (("Z", 0.7), ("A", 0.1)))
    slot = MONDAY
    found = shown(Kept(slot=slot, outlooks=[fine, short]), {}, begin_of(slot) + 2 * QUARTER, FACTS.units)
    assert [one["material"] for one in found["items"]] == ["Z", "A"]
    assert found["items"][0]["unit"] == "KG"
    assert (found["items"][0]["horizons"][1]["at_most"], found["stale"]) == (7.0, False)
    assert shown(Kept(slot=slot), {}, begin_of(slot) + 4 * QUARTER, FACTS.units)["stale"]
    assert shown(None, {}, begin_of(slot), FACTS.units)["items"] == []
    assert likely(Kept(slot=slot, outlooks=[fine, short])) == 1


def _told(material: str, short: float) -> Outlook:
    used = [float(at) for at in range(1, len(QUANTILES) + 1)]
    horizons = [{"slots": slots, "used": used, "by": PROFILE, "short": short} for slots in (8, 12)]
    return Outlook.model_validate({
        "material": material, "storage_location": "171A", "unit": "KGM", "stock": 5.0, "safety": 1.0,
        "horizons": horizons,
    })  # fmt: skip


def test_people_are_told_when_it_begins_and_again_only_after_it_was_over():
    """Around the limit it lasts; where nobody can say it stays as it was; a place that is left out is over."""
    one = _told("RM-RESIN", 0.7)
    cause = noticing.cause_of(one)
    chances: Any = ((0.69, [], []), (0.7, [one], []), (0.4, [], [cause]), (None, [], [cause]), (0.3, [], []))
    before: list[str] = []
    for chance, begun, lasting in chances:
        for at in one.horizons:
            at.short = chance
        assert noticing.news(before, [one], 0.7) == (begun, lasting, [] if begun or lasting else before), chance
        before = lasting + [noticing.cause_of(each) for each in begun]
    assert noticing.news([cause], [], 0.7).over == [cause]


def test_an_absent_model_refuses_a_forecast():
    """It says why, as for scores and classes."""
    (answer,) = Absent("shortage_forecast", ModelUnfit("nobody signed it")).forecast([(1.0,)])
    assert str(answer) == "nobody signed it"


def test_the_list_for_people(tmp_path):
    """What is short comes first with its moment; who said it, why not the model, and what is left out are told once."""
    config = folder(tmp_path, "shortages: {}\n")
    with stores.opened(tmp_path / "data/gatepost.db") as writer:
        assert "nothing was forecast yet" in gatepost_(config, "shortages").out
        slot = to_us(datetime.now(UTC)) // SLOT_US
        now, soon, fine = _told("NOW", 1.0), _told("SOON", 0.4), _told("FINE", 0.001)
        now.stock, soon.likely_at, soon.earliest_at = 0.5, begin_of(slot + 9), begin_of(slot + 5)
        fine.horizons[1].learnt = Learnt(outcomes=200, below=[0, 0, 0, 0, 0, 0, 188])
        out = Left(material="SPRING", storage_location="", why="used too seldom")
        kept = Kept(slot=slot, outlooks=[fine, soon, now], left_out=[out])
        writer.call(lambda tx: inbox.put_checkpoints(tx, ((KEY, kept.model_dump_json().encode()),)))
        told = gatepost_(config, "shortages").out
        kept.slot -= 9
        writer.call(lambda tx: inbox.put_checkpoints(tx, ((KEY, kept.model_dump_json().encode()),)))
        assert gatepost_(config, "shortages").out.startswith("OLD: forecast at ")
    of = {line.split()[0]: line for line in told.splitlines() if " 171A " in line}
    assert list(of) == ["NOW", "SOON", "FINE"]
    assert "4, at most 7" in of["NOW"]
    assert "under 1 %" in of["FINE"]
    first, second, third = (told.index(line) for line in of.values())
    assert first < told.index("below its safety stock now") < second
    assert second < told.index("below its safety stock likely from ") < third
    assert "forecast by profile: all" in told
    assert "of 200 forecasts of 3 h, 94 % held what they said at most, 95 % should" in told
    assert "left out (used too seldom): SPRING" in told
