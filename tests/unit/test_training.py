"""The training pipeline: a small CSV becomes a signed version that is loaded as it is, or nothing at all."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import onnxruntime as ort
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError, ModelUnfit
from agent.scoring import modelfiles, registry
from models.training import doubt, graph, judged, learners, measures, page, pipeline, split
from models.training.columns import Category, Columns, Number
from models.training.table import Data

KEY = Ed25519PrivateKey.generate()
MACHINES = ("M1", "M2", "M3")
START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = Columns(
    target="defect",
    time="at",
    numbers={"temperature": Number(unit="°C"), "pressure": Number()},
    categories={"machine": Category()},
    learner="linear",
)
ORIGIN = pipeline.Origin("made for a test")


def data(rows: int = 240) -> Data:
    """Burrs where it is hot, flash at machine 2, else ok; some temperatures are missing."""
    random = np.random.default_rng(5)
    found, target = [], []
    for _ in range(rows):
        temperature, machine = float(random.normal(200, 20)), MACHINES[random.integers(3)]
        hidden = random.random() < 0.1
        found.append(
            {
                "temperature": None if hidden else temperature,
                "pressure": float(random.normal(80, 5)),
                "machine": machine,
            }
        )
        target.append("burr" if temperature > 215 else "flash" if machine == "M2" and random.random() < 0.8 else "ok")
    times = tuple(START + timedelta(minutes=at) for at in range(rows))
    return Data(tuple(found), tuple(target), times, "0" * 64)


def test_boosting_keeps_no_round_that_is_not_worth_it():
    """Where more rounds only learn by heart, few are kept; all of them would be no better on rows not seen."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(200, 3)).astype(np.float32)
    truth = (rows[:, 0] + random.normal(size=200) > 0).astype(np.intp)
    folds = list(split.folds(truth, 2))
    found = learners.fit(rows, truth, folds, ["boosting"])
    (member,) = found.classifier.members
    all_rounds = np.zeros((200, 2))
    for known, fresh in folds:
        all_rounds[fresh] = learners.boosting(2).fit(rows[known], truth[known]).predict_proba(rows[fresh])
    assert learners.STEP <= member.n_iter_ <= 60
    assert found.losses["boosting"] <= learners.log_loss(all_rounds, truth) + learners.MARGIN


@pytest.fixture(scope="module")
def trained():
    return pipeline.train("test_model", data(), COLUMNS, ORIGIN, version="1")


def test_a_trained_version_is_believed_where_its_key_is(trained, tmp_path):
    """Signed, hashed, its cases replayed; the first version of a model decides."""
    folder = trained.write(tmp_path, KEY)
    version = registry.read(folder, {"test": KEY.public_key()})
    assert version.manifest.kind == "classes"
    assert version.manifest.classes == ("burr", "flash", "ok")
    assert version.inputs == ("temperature", "pressure", "machine")
    assert len(version.parity.rows) >= 500
    assert version.reference.inputs["machine"].shares.keys() == set(MACHINES)
    assert registry.champion(tmp_path / "test_model") == folder
    with pytest.raises(ModelUnfit, match="not signed"):
        registry.read(folder, {"other": Ed25519PrivateKey.generate().public_key()})


def test_training_again_gives_the_same_bytes(trained):
    """Same rows, same columns, same packages: the same model, to the last byte."""
    again = pipeline.train("test_model", data(), COLUMNS, ORIGIN, version="1")
    assert again.files == trained.files
    assert again.manifest == trained.manifest


def test_a_later_version_does_not_decide_by_itself(trained, tmp_path):
    """Only a person promotes: the champion stays."""
    trained.write(tmp_path, KEY)
    assert pipeline.next_version(tmp_path, "test_model") == "2"
    manifest = trained.manifest.model_copy(update={"version": "2"})
    replace(trained, manifest=manifest).write(tmp_path, KEY)
    assert registry.aliases(tmp_path / "test_model").champion == "1"


def test_it_learns_what_is_there(trained):
    """Judged on later rows: better than the most frequent class, and the sets hold what they promise."""
    figures = trained.judged.figures()
    assert figures["accuracy"] > figures["most_frequent"] + 0.15
    assert figures["covered_0.1"] > 0.8
    assert trained.manifest.trained["protocol"].startswith("temporal")


def test_missing_values_are_allowed_only_where_training_saw_some(trained):
    """Elsewhere nobody knows what the model would say."""
    nulls = {one.name: one.null for one in trained.manifest.features}
    assert nulls["temperature"] == "allowed"
    assert nulls["pressure"] == "refused"
    rows = np.array(trained.files and modelfiles.Parity.model_validate_json(trained.files["parity.json"]).rows, float)
    assert np.isnan(rows[:, 0]).any()
    assert not np.isnan(rows[:, 1]).any()
    machines = rows[:, 2:].sum(axis=1)
    assert set(machines) == {0.0, 1.0}, "cases without a known machine are among them"


def test_of_two_classes_the_positive_one_is_given():
    """Whatever the alphabet says; the manifest tells its column."""
    told = data()
    two = replace(told, target=tuple("good" if one == "ok" else "bad" for one in told.target))
    columns = COLUMNS.model_copy(update={"positive": "bad"})
    manifest = pipeline.train("test_model", two, columns, ORIGIN, version="1").manifest
    assert (manifest.kind, manifest.classes, manifest.output.column) == ("probability", ("good", "bad"), 1)


def test_more_of_it_never_makes_a_lower_class_likelier():
    """Three classes in order and noisy rows: the highest rises with what raises it, through ONNX, and nowhere falls."""
    random = np.random.default_rng(11)
    pressure, oil = random.uniform(0, 10, 400), random.uniform(0, 10, 400)
    value = pressure - oil / 2 + random.normal(0, 2, 400)
    target = tuple("good" if one > 5 else "fair" if one > 1 else "bad" for one in value)
    rows = tuple({"pressure": float(one), "oil": float(other)} for one, other in zip(pressure, oil, strict=True))
    times = tuple(START + timedelta(minutes=at) for at in range(400))
    numbers = {"pressure": Number(more="raises"), "oil": Number(more="lowers")}
    told = Columns(target="state", numbers=numbers, learner="boosting", order=("bad", "fair", "good"), time="at")
    made = pipeline.train("test_ordered", Data(rows, target, times, "0" * 64), told, ORIGIN, version="1")
    assert made.manifest.classes == ("bad", "fair", "good")
    session = ort.InferenceSession(made.files["model.onnx"], providers=["CPUExecutionProvider"])
    grid = np.array([[[a, b] for b in np.linspace(0, 10, 41)] for a in np.linspace(0, 10, 41)], np.float32)
    (answers,) = session.run(["probabilities"], {"features": grid.reshape(-1, 2)})
    good, bad = (answers[:, at].reshape(41, 41) for at in (2, 0))
    assert (np.diff(good, axis=0) >= -1e-6).all()
    assert (np.diff(good, axis=1) <= 1e-6).all()
    assert good[-1, 0] > 0.8 > 0.1 > good[0, -1]
    assert bad[0, -1] > 0.8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learner": "auto", "order": ("a", "b", "c")}, "say learner: boosting"),
        ({"learner": "boosting"}, "say `order`"),
    ],
)
def test_more_needs_boosting_and_an_order(changes, words):
    """Nobody is left to believe in a direction that the learner does not keep to."""
    with pytest.raises(ValueError, match=words):
        Columns(target="t", numbers={"pressure": Number(more="raises")}, **changes)


def test_an_order_names_the_classes_of_the_data():
    """A class that is missing in it, or written otherwise, is told with those of the data."""
    with pytest.raises(ConfigError, match="burr, flash, ok"):
        pipeline.train("m", data(), COLUMNS.model_copy(update={"order": ("ok", "burrs")}), ORIGIN, version="1")


def test_a_class_with_few_rows_ends_training():
    """Before anything is fitted."""
    told = data()
    few = replace(told, target=("crack", *told.target[1:]))
    with pytest.raises(ConfigError, match=r"has only 1 rows of this class.*\(crack\)"):
        pipeline.train("test_model", few, COLUMNS, ORIGIN, version="1")


def test_a_wrong_conversion_ends_training(monkeypatch):
    """Fault: the graph has another temperature than the classifier. Nothing is there to be written."""
    right = graph.classifier

    def wrong(fitted, *rest):
        return right(replace(fitted, temperature=fitted.temperature * 1.01), *rest)

    monkeypatch.setattr(graph, "classifier", wrong)
    with pytest.raises(ModelUnfit, match="nothing is written"):
        pipeline.train("test_model", data(), COLUMNS, ORIGIN, version="1")


def test_the_page_needs_nothing_but_itself(trained):
    """No address to load from, no script; every class and every input is on it, and names are escaped."""
    assert not re.search(r"https?://|<script|<link|src=|url\(", trained.page)
    for word in ("burr", "flash", "ok", "temperature", "machine", "risk–coverage curve", "reliability diagram"):
        assert word in trained.page
    assert trained.page.count("<svg") == trained.page.count("</svg>") == 2
    nasty = trained.judged.__class__(
        ("<script>", "b", "c"), trained.judged.truth, trained.judged.probabilities, 0.9, {}, ()
    )
    assert "<script>" not in page.page("a", {}, nasty)


def test_drift_is_seen_in_raw_inputs(trained):
    """A machine that training did not know and hotter melts stand first."""
    reference = modelfiles.Reference.model_validate_json(trained.files["reference.json"])
    rows = data().rows
    assert max(one.stability for one in judged.drift(reference, rows)) < 0.1
    moved = [{**one, "machine": "M9", "temperature": 260.0} for one in rows]
    first, second, third = judged.drift(reference, moved)
    assert {first.name, second.name} == {"machine", "temperature"}
    assert min(first.stability, second.stability) > 0.25 > third.stability
    assert next(one for one in (first, second) if one.name == "machine").unknown == 1.0


# ── measures and doubt ──────────────────────────────────────────────────────────────────────────────────────


def overconfident(rows: int = 4000, factor: float = 3.0):
    """Logits three times too large for the truth that they tell."""
    random = np.random.default_rng(1)
    logits = random.normal(size=(rows, 3))
    truth = np.array([random.choice(3, p=one) for one in learners.softmax(logits)])
    return logits * factor, truth


def test_a_temperature_takes_back_what_is_too_sure():
    """It is found, and afterwards what is said is how often it is right; the decision is the same."""
    logits, truth = overconfident()
    found = learners.temperature(logits, truth)
    assert found == pytest.approx(3.0, abs=0.25)
    raw, cooled = learners.softmax(logits), learners.softmax(logits / found)
    assert measures.calibration_error(cooled, truth) < 0.03 < measures.calibration_error(raw, truth)
    assert (raw.argmax(axis=1) == cooled.argmax(axis=1)).all()


@pytest.mark.parametrize("alpha", ["0.05", "0.1"])
def test_sets_cover_what_they_promise_on_other_rows(alpha):
    """Chosen on one half, true on the other, within a point and a half."""
    logits, truth = overconfident()
    told = learners.softmax(logits / 3)
    q = doubt.conformal(told[:2000], truth[:2000])[alpha]
    covered, _ = measures.coverage(told[2000:], truth[2000:], q)
    assert covered == pytest.approx(1 - float(alpha), abs=0.015)


probabilities = st.lists(st.floats(0.34, 0.99), min_size=1, max_size=30)


@given(probabilities, st.data())
@settings(max_examples=60)
def test_above_the_bar_so_many_are_right(confidences, drawn):
    """Whatever the model says: at and above the bar, or nowhere."""
    truth = np.array([drawn.draw(st.integers(0, 1)) for _ in confidences])
    told = np.array([[one, (1 - one) / 2, (1 - one) / 2] for one in confidences])
    bar = doubt.bar(told, truth, 0.8)
    accepted = told.max(axis=1) >= bar
    assert not accepted.any() or (truth[accepted] == 0).mean() >= 0.8
    assert bar > min(confidences) - 0.001


def test_figures_of_a_table_are_those_of_the_books():
    """Three of four burrs found, one told wrongly, a class that nobody told has no precision."""
    truth, told = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 0, 1])
    first, second, third = measures.by_class(measures.confusion(told, truth, 3))
    assert first == (0.75, 0.75, 0.75, 4)
    assert list(second) == pytest.approx([1 / 3, 0.5, 0.4, 2])
    assert np.isnan(third.precision)
    assert (third.recall, third.f1, third.rows) == (0.0, 0.0, 1)
    assert measures.macro_f1(told, truth, 3) == pytest.approx((0.75 + 0.4 + 0.0) / 3)


def test_equal_confidence_is_accepted_together():
    """A bar cannot part rows that say the same."""
    told = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    curve = measures.risk_coverage(told, np.array([0, 1, 0]))
    assert curve.accepted.tolist() == [2 / 3, 1.0]
    assert curve.right.tolist() == [0.5, 2 / 3]
    assert curve.at(0.6) == 1.0
    assert curve.at(0.9) == 0.0


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4))
@example([17, 34, 1, 34])
@settings(max_examples=60)
def test_numbers_of_few_values_do_not_drift_from_themselves(counts):
    """Deciles with ties: the index of the same values stays below what warns."""
    values = np.repeat(np.arange(len(counts), dtype=float), counts)
    deciles = np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf")
    bins = measures.bins(deciles.tolist())
    assert bins.shares.sum() == pytest.approx(1.0)
    assert measures.stability(bins.shares, bins.shares_of(values)) < 0.25
