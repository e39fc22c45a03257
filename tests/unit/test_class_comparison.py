"""Two versions that tell classes: figures with their spread, class by class, and what the gate refuses by name."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from agent.configuration.settings import Promotion
from agent.scoring import class_comparison, paired
from agent.scoring.class_comparison import Case, ClassComparison
from agent.scoring.paired import Difference, Speed

NAMES = ("material", "set-up", "tool")
GATE = Promotion()
FAST = Speed(0.05, 0.1), Speed(0.05, 0.1)


def said(name: str, sure: float, names: Sequence[str] = NAMES) -> Mapping[str, float]:
    """So sure of one class, the rest shared by the others."""
    return {one: sure if one == name else (1 - sure) / (len(names) - 1) for one in names}


def other(name: str) -> str:
    return NAMES[(NAMES.index(name) + 1) % len(NAMES)]


def labelled(
    number: int = 240, *, wrong: tuple[float, float] = (0.3, 0.05), sure: tuple[float, float] = (0.9, 0.95)
) -> list[Case]:
    """Both versions err by themselves in these shares of the reports, each as sure as it always is."""
    random = np.random.default_rng(4)
    cases = []
    for at in range(number):
        told = NAMES[at % 3]
        champion, challenger = (
            said(other(told) if random.random() < share else told, how) for share, how in zip(wrong, sure, strict=True)
        )
        cases.append(Case(at, champion, challenger, 0.8, told))
    return cases


def compared(cases: list[Case], gate: Promotion = GATE, speed: tuple[Speed, Speed] = FAST) -> ClassComparison:
    return class_comparison.compare(cases, cases, NAMES, speed, gate)


def test_the_better_one_passes():
    """Every figure is better beyond chance; what it would take for another class is named, newest first."""
    found = compared(labelled())
    assert found.against == ()
    judged = found.judged
    assert judged is not None
    assert judged.right is not None
    figures = (judged.accuracy, judged.macro_f1, judged.log_loss, judged.brier, judged.cost, judged.right)
    assert all(one.better and not one.worse for one in figures)
    assert [(one.name, one.labels) for one in found.classes] == [(name, 80) for name in NAMES]
    assert found.agree + len(found.otherwise) == found.reports == 240
    assert list(found.otherwise) == sorted(found.otherwise, reverse=True)


@pytest.mark.parametrize(
    ("cases", "gate", "speed", "why"),
    [
        (labelled(90), GATE, FAST, "the class is known of 90 reports that neither has learnt from; 100"),
        (
            [one for one in labelled(300) if one.told != "tool" or one.event_id < 12],
            GATE,
            FAST,
            "too few labels of a class: 4 of tool; 10 of each are needed",
        ),
        (labelled(wrong=(0.1, 0.1)), GATE, FAST, "neither its Brier score nor its cost is better"),
        (labelled(wrong=(0.05, 0.3)), GATE, FAST, "its accuracy is worse beyond chance: 0.7"),
        (labelled(wrong=(0.05, 0.3)), GATE, FAST, "its macro-F1 is worse beyond chance: 0.7"),
        (labelled(wrong=(0.05, 0.3)), GATE, FAST, "its log loss is worse beyond chance"),
        (labelled(wrong=(0.05, 0.3)), GATE, FAST, "its cost is worse beyond chance"),
        (labelled(wrong=(0.05, 0.3)), GATE, FAST, "its share right of what it lets pass is worse beyond chance"),
        (labelled(sure=(0.9, 0.5)), GATE, FAST, "its calibration error is 0.4"),
        (labelled(), GATE, (FAST[0], Speed(1, 7.5)), "one answer takes it 7.5 ms of the processor"),
        ([], GATE, FAST, "there is nothing to judge by"),
    ],
)
def test_what_has_not_shown_that_it_is_better_does_not_pass(cases, gate, speed, why):
    """Each reason by itself, with its figures and what is allowed."""
    against = compared(cases, gate, speed).against
    assert any(why in one for one in against), against


def test_a_class_that_it_has_forgotten_keeps_it_out():
    """Better in the mean, and nothing of one class found any more: the gate names the class."""
    cases = labelled(wrong=(0.4, 0.0))
    forgot = [
        one._replace(challenger=said("set-up", 0.95, ("material", "set-up"))) if one.told == "tool" else one
        for one in cases
    ]
    found = compared(forgot)
    assert any("it finds less of tool, beyond chance: 0.0% of 80 instead of" in one for one in found.against)


def test_the_figures_are_those_of_everybody():
    """Accuracy, macro-F1 and log loss as scikit-learn computes them, for either version."""
    cases = labelled(wrong=(0.3, 0.2))
    judged = compared(cases).judged
    assert judged is not None
    truth = [one.told for one in cases]
    for at, version in ((1, "champion"), (2, "challenger")):
        probabilities = np.array([[one[at][name] for name in NAMES] for one in cases])  # type: ignore[index]
        taken = [NAMES[at] for at in probabilities.argmax(axis=1)]
        assert getattr(judged.accuracy, version) == pytest.approx(accuracy_score(truth, taken))
        assert getattr(judged.macro_f1, version) == pytest.approx(f1_score(truth, taken, average="macro"))
        assert getattr(judged.log_loss, version) == pytest.approx(log_loss(truth, probabilities, labels=NAMES))


def test_what_stands_below_the_bar_costs_a_look_and_is_never_wrong():
    """Of what is let pass the share that is right is told; who lets nothing pass has none."""
    cases = [
        Case(at, said("tool", 0.85), said("tool", 0.7), 0.8, "tool" if at % 4 else "material") for at in range(100)
    ]
    judged = compared(cases).judged
    assert judged is not None
    assert (judged.accepted.champion, judged.accepted.challenger) == (1.0, 0.0)
    assert judged.cost.champion == pytest.approx(0.25 * 20)
    assert judged.cost.challenger == pytest.approx(1.0)
    assert judged.right is None


def test_what_has_no_answer_is_a_persons():
    """It costs a look, and has no score."""
    cases = [one._replace(challenger=None) if one.event_id % 2 else one for one in labelled(wrong=(0.0, 0.0))]
    found = compared(cases)
    assert found.judged is not None
    assert found.no_answer.challenger == 0.5
    assert found.judged.cost.challenger == pytest.approx(0.5)
    assert found.judged.accuracy.challenger == 1.0


def test_a_class_of_which_few_are_drawn_says_nothing_in_the_draws_without_it():
    """Three labels of a class, all found: its recall is 1 in every draw that holds one, and no draw is an error."""
    cases = [one for one in labelled(wrong=(0.0, 0.0)) if one.told != "tool" or one.event_id < 9]
    (tool,) = (one for one in compared(cases).classes if one.name == "tool")
    assert tool.labels == 3
    assert tool.recall == Difference(1.0, 1.0, 0.0, 0.0, more_is_better=True)


PROBABILITIES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
    lambda parts: dict(zip(NAMES, (part / sum(parts) for part in parts), strict=True))
)
SAID = st.one_of(st.none(), PROBABILITIES)
CASES = st.lists(
    st.builds(Case, st.integers(1, 1000), SAID, SAID, st.just(0.5), st.sampled_from(NAMES), st.booleans()), max_size=20
)


@given(CASES)
def test_a_version_is_never_better_than_itself(cases):
    """Whatever it said: no difference at all, and no way through the gate."""
    same = [one._replace(challenger=one.champion) for one in cases]
    found = compared(same, GATE.model_copy(update={"min_labels": 1, "min_of_class": 0}))
    assert found.agree == found.reports
    assert found.against
    if found.judged is not None:
        assert (found.judged.brier.low, found.judged.brier.high, found.judged.macro_f1.low) == (0, 0, 0)


@given(CASES)
def test_every_report_is_agreed_on_or_named(cases):
    """Nothing is counted twice, and nothing is lost."""
    found = compared(cases)
    named = len(found.would_post) + len(found.would_hold) + len(found.otherwise)
    assert found.reports == len(cases) == found.agree + named


def test_draws_are_the_same_for_the_same_cases():
    """Asked twice the interval is the same to the last bit, also of a figure that is no mean."""
    cases = labelled()
    assert compared(cases) == compared(cases)
    assert paired.interval(np.arange(9.0)) == paired.interval(np.arange(9.0))
