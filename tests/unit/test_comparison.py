"""Two versions on the same reports: figures with their spread, and a gate that lets only the better one pass."""

import time
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.configuration.settings import Promotion
from agent.errors import ModelUnfit
from agent.oversight import contest
from agent.oversight.rows import Rows
from agent.scores import Features
from agent.scoring import comparison, paired, registry
from agent.scoring.comparison import Case, Comparison
from agent.scoring.inference import Model, Table
from agent.scoring.paired import Speed
from agent.store.scored import Scored
from tests.trained import KEYS, ROOT, SHIPPED

GATE = Promotion()
FAST = Speed(0.05, 0.1), Speed(0.05, 0.1)
SAID = st.one_of(st.none(), st.floats(0, 1))
CASES = st.lists(
    st.builds(Case, st.integers(1, 1000), SAID, SAID, st.just(0.9), st.booleans(), st.booleans()), max_size=30
)


def labelled(number: int = 200, *, champion: float = 0.5, challenger: float = 0.95) -> list[Case]:
    """Every fourth report is wrong; either is right with its own sureness about each."""
    return [
        Case(at, champion if at % 4 else 1 - champion, challenger if at % 4 else 1 - challenger, 0.9, bool(at % 4))
        for at in range(number)
    ]


def compared(cases: list[Case], gate: Promotion = GATE, speed: tuple[Speed, Speed] = FAST) -> Comparison:
    return comparison.compare(cases, cases, speed, gate)


def test_the_better_one_passes():
    """It is surer and right: every figure is better, and the events that it would let pass are named, newest first."""
    found = compared(labelled())
    assert found.against == ()
    assert found.judged is not None
    assert found.judged.brier.better
    assert found.judged.cost.better
    assert (found.normal, found.wrong, found.agree, found.would_hold) == (150, 50, 50, ())
    assert len(found.would_post) == 150
    assert found.would_post[:3] == (199, 198, 197)


@pytest.mark.parametrize(
    ("cases", "gate", "speed", "why"),
    [
        (
            labelled(60),
            GATE,
            FAST,
            "people have decided about 60 reports that neither has learnt from, 15 of them wrong; 100",
        ),
        (labelled(), Promotion(min_wrong=60), FAST, "50 of them wrong; 100 are needed, 60 of them wrong"),
        (labelled(challenger=0.5), GATE, FAST, "neither its Brier score nor its cost is better"),
        (labelled(champion=0.95, challenger=0.5), GATE, FAST, "its Brier score is worse: 0.25 instead of 0.0025"),
        (labelled(champion=0.95, challenger=0.5), GATE, FAST, "it lets less pass of what is normal: 0.0% instead of"),
        (labelled(challenger=0.05), GATE, FAST, "it finds less of what is wrong: 0.0% instead of 100.0%"),
        (labelled(challenger=0.05), GATE, FAST, "its cost is worse"),
        (labelled(champion=0.97, challenger=0.6), GATE, FAST, "its calibration error is 0.400, allowed are 0.05"),
        (
            labelled(),
            GATE,
            (FAST[0], Speed(1, 7.5)),
            "one answer takes it 7.5 ms of the processor (99 of 100 are faster), allowed",
        ),
        ([], GATE, FAST, "people have decided about 0 reports that neither has learnt from, 0 of them wrong"),
    ],
)
def test_what_has_not_shown_that_it_is_better_does_not_pass(cases, gate, speed, why):
    """Each reason by itself, with its figures and what is allowed."""
    against = compared(cases, gate, speed).against
    assert any(why in one for one in against), against


def test_who_is_no_further_off_than_the_champion_passes():
    """A calibration error above what is allowed is no reason where the champion's is as large."""
    assert not any("calibration" in one for one in compared(labelled(champion=0.6, challenger=0.6)).against)


def test_of_one_kind_alone_nothing_can_be_judged():
    """A hundred approvals and no refusal say nothing about what it would find."""
    found = compared([one._replace(normal=True) for one in labelled()])
    assert found.judged is None
    assert "0 of them wrong" in found.against[0]


def test_a_difference_by_chance_is_not_taken_for_one():
    """Two versions that are off by the same noise: the interval holds zero; a real difference it does not."""
    random = np.random.default_rng(3)
    low, high = paired.interval(random.normal(0, 1, 300))
    assert low < 0 < high
    low, high = paired.interval(random.normal(0.3, 1, 300))
    assert 0 < low < 0.3 < high < 0.6


def test_the_interval_is_that_of_the_mean():
    """Of 400 normal values: about 1.96 standard errors on either side, and the same each time it is asked."""
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = paired.interval(values)
    assert (low, high) == paired.interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_what_has_no_answer_is_a_persons():
    """It costs a look where it was normal, is found where it was wrong, and has no Brier score."""
    cases = [one._replace(challenger=None) if one.event_id % 2 else one for one in labelled()]
    found = compared(cases)
    assert found.judged is not None
    assert found.no_answer.challenger == 0.5
    assert found.judged.caught.challenger == 1.0
    assert found.judged.passed.challenger == pytest.approx(1 / 3)
    assert found.judged.brier.challenger == pytest.approx(0.0025)


@given(CASES)
def test_a_version_is_never_better_than_itself(cases):
    """Whatever it said: no difference at all, and no way through the gate."""
    same = [one._replace(challenger=one.champion) for one in cases]
    found = compared(same, GATE.model_copy(update={"min_labels": 1, "min_wrong": 1}))
    assert found.agree == found.reports
    assert found.against
    if found.judged is not None:
        assert (found.judged.brier.low, found.judged.brier.high, found.judged.cost.low) == (0, 0, 0)


@given(CASES)
def test_every_report_is_agreed_on_or_named(cases):
    """Nothing is counted twice, and nothing is lost."""
    found = compared(cases)
    assert found.reports == len(cases) == found.agree + len(found.would_post) + len(found.would_hold)


def test_the_error_of_calibration_is_that_of_training():
    """The same figure as the evaluation page has, for a probability of two classes."""
    said, truth = np.array([0.05, 0.15, 0.95, 0.85]), np.array([0.0, 1.0, 1.0, 1.0])
    assert paired.calibration_error(said, truth) == pytest.approx((0.05 + 0.85 + 0.05 + 0.15) / 4)


def test_a_wrong_posting_costs_what_the_plant_says():
    """Twenty looks by default."""
    cases = labelled(champion=0.05)  # lets pass what is wrong, holds what is normal
    dear = compared(cases, Promotion(wrong_costs=Decimal(100)))
    assert dear.judged is not None
    assert dear.judged.cost.champion == pytest.approx(0.25 * 100 + 0.75)


# ── how quick ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_disturbed_round_says_nothing_about_a_model():
    """The best of five rounds counts: what came between in the others is not the model's."""
    now, asked = [0.0], [0]

    def ask() -> None:
        asked[0] += 1
        now[0] += 0.0002 if asked[0] > 620 else 0.02  # seconds; busy until three rounds are through

    found = paired.speed(ask, lambda: now[0])
    assert (found.median, found.p99) == pytest.approx((0.2, 0.2))


def test_a_model_that_is_slow_in_every_round_is_slow():
    """Also where only one of fifty answers takes long."""
    now, asked = [0.0], [0]

    def ask() -> None:
        asked[0] += 1
        now[0] += 0.0002 if asked[0] % 50 else 0.02

    assert paired.speed(ask, lambda: now[0]).p99 > 15


def test_time_that_others_take_is_no_time_of_the_model(monkeypatch):
    """What a version takes is told by a clock that stands still while its thread does not run."""
    model = Model.load(SHIPPED, KEYS, explain_below=0.0)
    run = model.run

    def late(table: Table) -> Table:
        time.sleep(0.001)  # as where the processor is given to others
        return run(table)

    monkeypatch.setattr(model, "run", late)
    row = Scored(1, 1, 0, model.name, model.digest, 1.0, None, (0.0, 0.0, 2.0, 0.0, 0.1), "", ())
    assert contest._speed(model, [row], Rows(ROOT / "models", KEYS)).median < 0.9
    model.close()


def test_a_version_that_would_be_cut_off_at_work_is_asked_once():
    """How much slower it is does not matter: nobody waits for a thousand answers of it."""
    asked = []

    class Slow(Model):
        def __init__(self) -> None:
            self.manifest = registry.read(SHIPPED, KEYS).manifest

        def answers(self, rows: Sequence[Features]) -> list[ModelUnfit]:
            asked.append(len(rows))
            began = time.thread_time()
            while time.thread_time() - began < 0.3:
                pass
            return [ModelUnfit("was cut off at its deadline")]

    row = Scored(1, 1, 0, "consumption_anomaly/1", "ab", 1.0, None, (0.0,) * 5, "", ())
    assert contest._speed(Slow(), [row], Rows(ROOT / "models", KEYS)).p99 >= 300
    assert asked == [1]
