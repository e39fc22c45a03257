"""Conversions to ONNX that are wrong without a word in the pinned versions: the parity gate lets none of them pass.

Where one of these passes after an upgrade, the converter was mended: take the case out, or over to the exact ones.
"""

from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from agent.errors import ModelUnfit
from models.training import graph, learners, parity

COLUMNS = 4
RANDOM = np.random.default_rng(3)
TABLE = RANDOM.normal(size=(600, COLUMNS)).astype(np.float32)
CLASSES = (TABLE[:, 0] + TABLE[:, 1] * TABLE[:, 2] > RANDOM.normal(0, 0.5, 600)).astype(int) + (TABLE[:, 3] > 1)
HOLED = np.where(RANDOM.random(TABLE.shape) < 0.2, np.float32("nan"), TABLE)
CODES = np.column_stack([RANDOM.integers(0, 12, 600), TABLE[:, 1:]]).astype(np.float32)
EPOCH = np.column_stack([1.7e9 + RANDOM.uniform(0, 3600, 600), TABLE[:, 1:]])
OF_CODES = np.isin(CODES[:, 0], (1, 4, 6, 11)).astype(int)


def boosted(**options: Any) -> Any:
    return HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=5, early_stopping=False, **options)


def calibrated(base: Any, method: str) -> Any:
    return CalibratedClassifierCV(base, method=method, cv=3, ensemble=False)


def scaled() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def compared(estimator: Any, table: Any = TABLE, classes: Any = CLASSES) -> Any:
    """The gate on the converted estimator, fitted on the table."""
    fitted = estimator.fit(table, classes)
    regressor = not hasattr(fitted, "predict_proba")
    proto = graph.convert(fitted, table.shape[1], **({} if regressor else {"zipmap": False}))
    expected = fitted.predict(table).reshape(-1, 1) if regressor else fitted.predict_proba(table)
    output = proto.graph.output[0 if regressor else 1].name
    return parity.gate(proto.SerializeToString(), table.astype(np.float32), expected, output)


WRONG = {
    "calibrated pipeline, sigmoid": (calibrated(scaled(), "sigmoid"), TABLE, CLASSES),
    "calibrated pipeline, isotonic": (calibrated(scaled(), "isotonic"), TABLE, CLASSES),
    "calibrated, isotonic": (calibrated(boosted(), "isotonic"), TABLE, CLASSES),
    "random forest with missing values": (RandomForestClassifier(10, random_state=1), HOLED, CLASSES),
    "extra trees with missing values": (ExtraTreesClassifier(10, random_state=1), HOLED, CLASSES),
    "boosting with categories": (boosted(categorical_features=[0]), CODES, OF_CODES),
    "boosted counts": (HistGradientBoostingRegressor(loss="poisson", max_iter=10), TABLE, np.exp(TABLE[:, 0])),
    "seconds since 1970": (scaled(), EPOCH, (EPOCH[:, 0] > EPOCH[:, 0].mean()).astype(int)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_conversion_that_is_wrong_without_a_word_is_refused(name):
    """It converts, it runs, it answers otherwise: nothing may be written of it."""
    with pytest.raises(ModelUnfit, match=r"differ in \d+ of 600 rows.*nothing is written"):
        compared(*WRONG[name])


@pytest.mark.parametrize("missing", [False, True])
def test_thresholds_of_64_bits_are_refused(missing):
    """Trees that were fitted on float64 part rows that are one in the graph's float32; boosted ones, too."""
    close = np.array([[1.0 + at * 1e-9, 0, 0, 0] for at in range(600)])
    if missing:
        close[::7, 0] = np.nan
    with pytest.raises(ModelUnfit, match="differ in"):
        compared(
            boosted() if missing else RandomForestClassifier(3, random_state=1),
            close,
            (np.arange(600) > 300).astype(int),
        )


BROKEN = {
    "a vote": VotingClassifier([("linear", scaled()), ("boosting", boosted())], voting="soft"),
    "a calibrated temperature": calibrated(boosted(), "temperature"),
    "quantiles to a normal": make_pipeline(
        QuantileTransformer(n_quantiles=50, output_distribution="normal"), LogisticRegression()
    ),
    "indicators before a scaler": make_pipeline(SimpleImputer(add_indicator=True), scaled()),
    "indicators before trees": make_pipeline(
        SimpleImputer(add_indicator=True), RandomForestClassifier(5, random_state=1)
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_conversion_that_fails_is_a_clear_refusal(name):
    """While it is written or when it is first run."""
    with pytest.raises(ModelUnfit, match="cannot be"):
        compared(BROKEN[name], HOLED if "indicators" in name else TABLE)


def test_a_list_of_dictionaries_is_refused():
    """What the converter writes where nothing is said: the agent takes tables."""
    fitted = scaled().fit(TABLE, CLASSES)
    proto = graph.convert(fitted, COLUMNS)
    with pytest.raises(ModelUnfit, match="gives lists, not a table"):
        parity.gate(proto.SerializeToString(), TABLE, fitted.predict_proba(TABLE), proto.graph.output[1].name)


EXACT = {
    "linear": scaled(),
    "boosting": boosted(),
    "boosting with missing values": boosted(),
    "gradient boosting": GradientBoostingClassifier(n_estimators=10),
    "forest behind an imputer": make_pipeline(SimpleImputer(strategy="median"), RandomForestClassifier(10)),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_training_uses_is_exact(name):
    """The same table, the same answers: 0.00001 at most, and no other decision."""
    holed = "missing" in name or "imputer" in name
    assert len(compared(EXACT[name], HOLED if holed else TABLE)) == len(TABLE)


def test_members_and_temperature_are_one_exact_graph():
    """Two members, their logarithms averaged, cooled: nodes of our own compute what numpy computes."""
    members = tuple(make(3) for make in (learners.linear, learners.extra_trees))
    fitted = learners.Classifier(tuple(one.fit(HOLED, CLASSES) for one in members), 1.7)
    data = graph.classifier(fitted, COLUMNS, 3, {"name": "blend"})
    answer = parity.gate(data, HOLED, fitted.probabilities(HOLED))
    assert np.abs(answer.sum(axis=1) - 1).max() < 1e-5
    proto = onnx.load_from_string(data)
    assert [one.name for one in proto.graph.output] == ["probabilities"]
    assert len({one.domain for one in proto.opset_import}) == len(proto.opset_import)


@pytest.mark.parametrize("others", [(), (learners.linear,)], ids=["alone", "beside another member"])
def test_the_steps_of_ordered_boosting_are_one_exact_ensemble(others):
    """Classes in order, a direction for two inputs, holes: one walk through the trees of all steps."""
    made = (learners.boosting(3, (1, 0, 0, 1)).set_params(max_iter=10), *(make(3) for make in others))
    fitted = learners.Classifier(tuple(one.fit(HOLED, CLASSES) for one in made), 1.3)
    data = graph.classifier(fitted, COLUMNS, 3, {})
    parity.gate(data, HOLED, fitted.probabilities(HOLED))
    operators = [one.op_type for one in onnx.load_from_string(data).graph.node]
    assert [name for name in operators if name.startswith("Tree")] == ["TreeEnsembleRegressor"]


def test_steps_that_are_almost_sure_are_exact():
    """Log-odds far from zero: neither infinite nor above the smallest probability that is told apart."""
    sure = np.repeat([[-9.0, 0, 0, 0], [0.0, 0, 0, 0], [9.0, 0, 0, 0]], 200, axis=0).astype(np.float32)
    boosted = learners.boosting(3, (1, 0, 0, 0)).set_params(max_iter=300)
    fitted = learners.Classifier((boosted.fit(sure, np.repeat([0, 1, 2], 200)),), 2.0)
    answer = parity.gate(graph.classifier(fitted, COLUMNS, 3, {}), sure, fitted.probabilities(sure))
    assert np.isclose(answer.min(), learners.SMALLEST**0.5, rtol=0.03)  # the temperature is 2


def test_another_graph_does_not_pass():
    """The gate compares: the answers of another model are refused, and so is another shape."""
    one, other = (scaled().fit(TABLE, classes) for classes in (CLASSES, CLASSES[::-1]))
    data = graph.classifier(learners.Classifier((one,)), COLUMNS, 3, {})
    expected = learners.Classifier((other,)).probabilities(TABLE)
    with pytest.raises(ModelUnfit, match="decide otherwise in"):
        parity.gate(data, TABLE, expected)
    with pytest.raises(ModelUnfit, match="expected is"):
        parity.gate(data, TABLE, expected[:, :2])


def test_a_graph_that_gives_no_number_does_not_pass():
    """NaN is no difference that is small enough."""
    data = graph.classifier(learners.Classifier((scaled().fit(TABLE, CLASSES),)), COLUMNS, 3, {})
    expected = learners.Classifier((scaled().fit(TABLE, CLASSES),)).probabilities(TABLE)
    with pytest.raises(ModelUnfit, match="differ in 600"):
        parity.gate(data, np.full_like(TABLE, np.nan), expected)


def test_too_large_a_graph_is_refused(monkeypatch):
    """The size of a file of a version is limited where it is read: training says so before it writes."""
    monkeypatch.setattr(graph, "MAX_BYTES", 1000)
    with pytest.raises(ModelUnfit, match="say learner"):
        graph.classifier(learners.Classifier((boosted().fit(TABLE, CLASSES),)), COLUMNS, 3, {})
