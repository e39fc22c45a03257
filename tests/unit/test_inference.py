"""Inference: a model is believed only when its bytes, graph and answers are what the manifest says."""

import json
import math
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from agent.errors import ModelUnfit
from agent.scores import Classified, Forecast, Score
from agent.scoring import registry
from agent.scoring.inference import Model
from agent.scoring.reasons import MISSING, Effect
from agent.workflows.consumption import FEATURES
from tests.trained import KEY, KEYS, ROOT, SHIPPED, graph, put

USUAL = (0.001, 0.001, 2.5, 0.0, 0.005)
DOUBLE = (0.693, 0.693, 2.5, 0.0, 0.01)
OPSETS = [helper.make_opsetid("", 16), helper.make_opsetid("ai.onnx.ml", 1)]


def test_the_runtime_of_models_leaves_no_device_id_and_reports_nothing(tmp_path):
    """onnxruntime's telemetry writes into the home folder before it sends: with the agent nothing is written."""
    program = (
        "import sys; from agent.scoring.inference import Model, Path; from agent.scoring.registry import trusted;"
        "Model.load(Path(sys.argv[1]), trusted(Path(sys.argv[2]))).close()"
    )
    keys = ROOT / "edge_config" / "trust" / "models"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program, str(SHIPPED), str(keys)], env=environment, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []


@pytest.fixture(scope="module")
def model():
    loaded = Model.load(SHIPPED, KEYS, FEATURES)
    yield loaded
    loaded.close()


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped version, to be spoilt."""
    return shutil.copytree(SHIPPED, tmp_path / "consumption_anomaly" / SHIPPED.name)


def rehash(folder: Path, **changes: object) -> None:
    """A manifest that fits the files again, with other content where a test wants it, and signed."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    manifest["files"] = {name: sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    put_manifest(folder, json.dumps(manifest).encode())


def put_manifest(folder: Path, content: bytes) -> None:
    """Another manifest, signed by a key that is trusted here."""
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sig").write_bytes(registry.sign(content, KEY))


def refusal(folder: Path, **options) -> str:
    with pytest.raises(ModelUnfit) as refused:
        Model.load(folder, KEYS, FEATURES, **options)
    return str(refused.value)


def said(score: Score) -> Score:
    """A score without what depends on the run it was in."""
    return score._replace(run=(0, 1), ms=0.0)


def test_the_shipped_model_tells_normal_from_double(model):
    """A usual report is normal, twice the usual is not; the score names the model and its hash."""
    usual, double = model.score([USUAL, DOUBLE])
    assert usual.confidence > 0.95
    assert double.confidence < 0.05
    assert usual.model == f"consumption_anomaly/{SHIPPED.name}"
    assert usual.model_hash == sha256((SHIPPED / "model.onnx").read_bytes()).hexdigest()
    assert usual.features == USUAL


def test_reasons_are_in_the_users_words(model):
    """The logarithm of the deviation is shown as what it means."""
    (double,) = model.score([DOUBLE])
    assert double.reasons[0].startswith("used over expected is 2, usually 0.98")


def test_a_batch_answers_like_single_rows(model):
    """Rows do not see each other; each score says which row of its run it was, and what all columns were."""
    together = model.score([USUAL, DOUBLE] * 32)
    alone = [model.score([row])[0] for row in (USUAL, DOUBLE)]
    assert list(map(said, together)) == list(map(said, alone)) * 32
    assert [one.run for one in together] == [(at, 64) for at in range(64)]
    assert {len(one.outputs) for one in together} == {2}
    assert all(one.confidence == one.outputs[1] and one.ms > 0 for one in together)
    assert model.score([]) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ((math.nan, 0.0, 2.5, 0.0, 0.005), "deviation is nan"),
        ((math.inf, 0.0, 2.5, 0.0, 0.005), "deviation is inf"),
        ((0.0, 0.0, 2.5, 0.0, -0.1), "share_of_required is -0.1, outside of 0 to 1000"),
        ((1e39, 0.0, 2.5, 0.0, 0.1), "deviation is 1e+39"),
        ((0.0, 0.0), "takes 5 features, not 2"),
        ((), "takes 5 features, not 0"),
    ],
)
def test_what_the_model_was_not_trained_for_is_not_scored(model, row, told):
    """The bad row is unfit, the good rows beside it are scored."""
    before, bad, after = model.score([USUAL, row, USUAL])
    assert isinstance(bad, ModelUnfit)
    assert told in str(bad)
    assert isinstance(before, Score)
    assert said(before) == said(after)


@given(st.lists(st.tuples(*[st.floats(width=32)] * 5), max_size=8))
@settings(max_examples=50)
def test_every_row_gets_a_probability_or_a_refusal(model, rows):
    """Whatever floats come, nothing raises and nothing is guessed."""
    answers = model.score(rows)
    assert len(answers) == len(rows)
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Score):
            assert 0 <= answer.confidence <= 1
            assert all(math.isfinite(value) for value in row)
        else:
            assert isinstance(answer, ModelUnfit)


@pytest.mark.parametrize("name", ["model.onnx", "parity.json", "card.md", "reference.json"])
def test_a_tampered_file_is_refused_by_its_hash(folder, name):
    """One changed byte is enough, in any of the files."""
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert f"{name} has SHA-256" in refusal(folder)


@pytest.mark.parametrize("size", [0, 1, 100, 20000])
def test_a_truncated_model_is_refused(folder, size):
    """Even where the manifest was made to fit."""
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:size])
    rehash(folder)
    assert "model.onnx" in refusal(folder)


@pytest.mark.parametrize("data", [b"<!doctype html><html></html>", b"\x00" * 64, bytes(range(256)), b"PK\x03\x04"])
def test_what_is_no_model_is_refused(folder, data):
    """A web page, zeros or a zip in its place."""
    (folder / "model.onnx").write_bytes(data)
    rehash(folder)
    assert "model.onnx" in refusal(folder)


def test_too_large_a_model_is_refused_unread(folder):
    """More than 3 MiB is not read to the end."""
    with (folder / "model.onnx").open("wb") as stream:
        stream.truncate(4 * 1024 * 1024)
    assert "larger than 3 MiB" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["model.onnx", "parity.json", "card.md", "reference.json", "manifest.json", "manifest.sig"]
)
def test_a_missing_file_is_refused_by_name(folder, name):
    """The message says which one."""
    (folder / name).unlink()
    assert f"{name} cannot be read" in refusal(folder)


def test_a_file_outside_of_the_folder_is_refused(folder):
    """The manifest cannot point elsewhere."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../etc/passwd"] = "0" * 64
    put_manifest(folder, json.dumps(manifest).encode())
    assert "files must be model.onnx, parity.json, card.md, reference.json" in refusal(folder)


def test_other_features_than_the_workflow_computes_are_refused(folder):
    """A model of another version of the agent is not fed with the wrong columns."""
    with pytest.raises(ModelUnfit, match="this agent computes distance, deviation"):
        Model.load(folder, KEYS, ("distance", "deviation", *FEATURES[2:]))


def test_a_graph_of_another_shape_is_refused(folder):
    """The graph must take and give what the manifest says."""
    manifest = json.loads((folder / "manifest.json").read_text())
    rehash(folder, features=manifest["features"][:4])
    with pytest.raises(ModelUnfit, match="the manifest says features: float, 4 columns"):
        Model.load(folder, KEYS)
    rehash(folder, features=manifest["features"], output={"name": "other", "column": 1, "columns": 2})
    assert "the manifest says other: float" in refusal(folder)
    rehash(folder, output={"name": "probabilities", "column": 2, "columns": 2})
    assert "output: 2 columns do not fit" in refusal(folder)


@pytest.mark.parametrize("opsets", [{"": 15, "ai.onnx.ml": 1}, {"": 16}])
def test_other_operator_sets_than_the_manifest_says_are_refused(folder, opsets):
    """What the graph uses is what training wrote down."""
    rehash(folder, opsets=opsets)
    assert "uses the operator sets" in refusal(folder)


def test_an_operator_set_of_a_stranger_is_refused(folder):
    """Custom operators are code."""
    proto = onnx.load_from_string((folder / "model.onnx").read_bytes())
    proto.opset_import.append(helper.make_opsetid("com.stranger", 1))
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    rehash(folder, opsets={"": 16, "ai.onnx.ml": 1, "com.stranger": 1})
    assert "com.stranger" in refusal(folder)


def test_the_end_of_a_range_is_inside_as_it_is_told_and_as_32_bits_tell_it(tmp_path):
    """0.7 is less in 32 bits, 0.8 is more: both are asked about either way, and nothing beyond them is."""
    data = graph([helper.make_node("Identity", ["x"], ["y"])])
    folder = put(tmp_path, data, inputs={"warm": {"least": 0.7, "most": 0.8}}, parity=([[0.5, 0.5]], [[0.5, 0.5]]))
    model = Model.load(folder, KEYS)
    inside = model.score([(end, 0.5) for end in (0.7, float(np.float32(0.7)), 0.8, float(np.float32(0.8)))])
    beyond = model.score([(0.6999, 0.5), (0.8001, 0.5)])
    model.close()
    assert [type(one) for one in inside + beyond] == [Score] * 4 + [ModelUnfit] * 2
    assert "warm is 0.8001, outside of 0.7 to 0.8" in str(beyond[1])


# ── kinds of answers ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def loaded(tmp_path):
    """Models around a graph that adds a constant to what it is given, or does something else with both."""
    models = []

    def load(added=0.0, columns=2, does="Add", **options) -> Model:
        nodes = [helper.make_node(does, ["x", "added"], ["y"])]
        data = graph(nodes, {"added": np.array(added, np.float32)}, width=columns, columns=columns)
        names = [f"f{at}" for at in range(columns)]
        zeros = [[0.0] * columns]
        answer = [list(np.broadcast_to(np.float32(added), columns).astype(float))]
        options = {"features": names, "parity": (zeros, answer), "output": {"name": "y", "columns": columns}} | options
        models.append(Model.load(put(tmp_path, data, **options), KEYS))
        return models[-1]

    yield load
    for one in models:
        one.close()


def test_an_answer_that_is_no_probability_is_unfit(loaded):
    """A model whose answers leave 0 to 1 decides nothing; the answers beside are kept."""
    good, below, above = loaded().score([(0.5, 0.0), (-0.1, 0.0), (2.0, 0.0)])
    assert isinstance(good, Score)
    assert good.confidence == 0.5
    assert str(below).startswith("model test/1 answered -0.1")
    assert "answered 2.0, which is no probability" in str(above)


def test_a_probability_beside_what_is_infinite_is_unfit(loaded):
    """All that the model answers is kept with the decision, so all of it must be finite."""
    zeros = [[0.0, 0.0]]
    (answer,) = loaded((1.0, 3.4e38), does="Mul", parity=(zeros, zeros)).score([(0.5, 2.0)])
    assert "answered [0.5, inf], which is no probability" in str(answer)


def test_classes_come_with_the_likeliest_and_with_those_that_cannot_be_ruled_out(loaded):
    """The conformal sets of the manifest, by share of error; what is no distribution is unfit."""
    model = loaded(kind="classes", columns=3, classes=("dent", "crack", "stain"), conformal={"0.05": 0.85, "0.1": 0.5})
    sure, torn, wrong, negative = model.classify([(0.9, 0.1, 0.0), (0.4, 0.2, 0.4), (0.5, 0.1, 0.1), (1.2, -0.2, 0.0)])
    assert isinstance(sure, Classified)
    assert isinstance(torn, Classified)
    assert [name for name, _ in sure.top()] == ["dent", "crack", "stain"]
    assert sure.top(1)[0][1] == pytest.approx(0.9)
    assert sure.possible == {"0.05": ("dent",), "0.1": ("dent",)}
    assert torn.possible == {"0.05": ("dent", "crack", "stain"), "0.1": ()}
    assert "which are no probabilities" in str(wrong)
    assert "which are no probabilities" in str(negative)


def test_a_forecast_rises_and_is_finite(loaded):
    """Quantiles that were trained one by one may cross: they are put in order."""
    model = loaded(kind="quantiles", columns=3, quantiles=(0.05, 0.5, 0.95))
    (crossed,) = model.forecast([(1.0, 3.0, 2.0)])
    assert isinstance(crossed, Forecast)
    assert crossed.values == (1.0, 2.0, 3.0)
    assert crossed.quantiles == (0.05, 0.5, 0.95)
    assert model.forecast([]) == []


def test_a_forecast_that_is_not_finite_is_unfit(tmp_path):
    """Here the logarithm of what is no positive number."""
    data = graph([helper.make_node("Log", ["x"], ["y"])])
    folder = put(tmp_path, data, kind="quantiles", quantiles=(0.1, 0.9), parity=([[1.0, 1.0]], [[0.0, 0.0]]))
    model = Model.load(folder, KEYS)
    good, nothing, minus = model.forecast([(1.0, 2.0), (1.0, 0.0), (1.0, -1.0)])
    model.close()
    assert isinstance(good, Forecast)
    assert "which is no forecast" in str(nothing)
    assert "which is no forecast" in str(minus)


def test_a_missing_value_is_taken_where_the_manifest_allows_it(tmp_path):
    """As NaN; infinite is not missing, and where it is not allowed the row is not scored."""
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "half", "x"], ["y"]),
    ]
    data = graph(nodes, {"half": np.array(0.5, np.float32)})
    parity = ([[None, 0.25]], [[0.5, 0.25]])
    model = Model.load(put(tmp_path, data, inputs={"warm": {"null": "allowed"}}, parity=parity), KEYS)
    allowed, refused, infinite = model.score([(math.nan, 0.1), (0.1, math.nan), (math.inf, 0.1)])
    model.close()
    assert isinstance(allowed, Score)
    assert allowed.confidence == 0.5
    assert "cold is nan" in str(refused)
    assert "warm is inf" in str(infinite)


def test_a_model_of_another_kind_than_the_workflow_asks_for_is_refused(loaded, tmp_path):
    """A forecast is no probability."""
    model = loaded(kind="quantiles", quantiles=(0.1, 0.9))
    with pytest.raises(ModelUnfit, match="the model gives quantiles, it is asked for probability here"):
        Model.load(tmp_path / "test" / "1", KEYS, kind="probability")
    with pytest.raises(ValueError, match="gives quantiles, not classes"):
        model.classify([(1.0, 2.0)])


# ── reasons ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_reason_is_what_would_change_the_answer(tmp_path):
    """In the words and units of the manifest; what changes nothing is no reason."""
    weights = np.array([[-0.1, 0.0], [0.001, 0.0]], np.float32)
    nodes = [helper.make_node("Gemm", ["x", "weights", "one"], ["y"])]
    data = graph(nodes, {"weights": weights, "one": np.array([1.0, 0.0], np.float32)})
    words = {"low": -50.0, "high": 50.0, "text": "distance", "unit": "mm"}
    inputs = {"warm": words, "cold": words | {"text": "colour"}}
    model = Model.load(put(tmp_path, data, inputs=inputs, parity=([[0.0, 0.0]], [[1.0, 0.0]])), KEYS)
    (score,) = model.score([(6.0, 3.0)])
    model.close()
    assert isinstance(score, Score)
    assert score.reasons == ("distance is 6 mm, not 0 as in the middle: that makes 60 points of 100",)


def test_a_category_is_put_back_as_a_whole(tmp_path):
    """Of a machine the reason names both: this one, and the one that most reports came from."""
    features = ("machine=A", "machine=B", "warm")
    weights = np.array([[0.9], [0.2], [0.0]], np.float32)
    data = graph([helper.make_node("Gemm", ["x", "weights"], ["y"])], {"weights": weights}, width=3, columns=1)
    folder = put(
        tmp_path,
        data,
        features=features,
        categories={"machine": ("A", "B")},
        shares={"machine": {"A": 0.8, "B": 0.2}},
        inputs={name: {"text": "machine"} for name in features[:2]},
        output={"name": "y", "columns": 1},
        parity=([[1.0, 0.0, 0.0]], [[0.9]]),
    )
    model = Model.load(folder, KEYS)
    (score,) = model.score([(0.0, 1.0, 0.0)])
    model.close()
    assert isinstance(score, Score)
    assert score.reasons == ("machine is B, not A: that makes 70 points of 100",)


def test_whoever_looks_closely_sees_what_sixteen_usual_values_would_make(tmp_path):
    """As often as training saw each, numbers by deciles, categories by shares; told in words, the worst first."""
    features = ("machine=A", "machine=B", "warm", "silent")
    weights = np.array([[0.9], [0.1], [-0.02], [0.0]], np.float32)
    words = {"machine=A": {"text": "machine A"}, "machine=B": {"text": "machine B"}}
    folder = put(
        tmp_path,
        graph([helper.make_node("Gemm", ["x", "weights"], ["y"])], {"weights": weights}, width=4, columns=1),
        features=features,
        categories={"machine": ("A", "B")},
        shares={"machine": {"A": 0.75, "B": 0.25}},
        deciles=[1.0] * 5 + [5.0] * 4,
        inputs=words | {"warm": {"text": "heat", "unit": "mm", "low": 0.0, "high": 9.0}},
        output={"name": "y", "columns": 1},
        parity=([[1.0, 0.0, 0.0, 0.0]], [[0.9]]),
    )
    model = Model.load(folder, KEYS)
    machine, heat = model.effects(np.array([[0.0, 1.0, 3.0, 0.0]], np.float32))
    (beyond, _) = model.effects(np.array([[1.0, 0.0, 10.0, 0.0]], np.float32))
    model.close()
    assert machine.points == pytest.approx(100 * 0.8 * 0.75)
    assert machine.sentence() == "machine is B, usually A, B: that costs 60 points of 100"
    usual = [0.0] + [1.0] * 7 + [5.0] * 7 + [9.0]  # at sixteen levels, of least, nine deciles and most
    assert heat.points == pytest.approx(100 * -0.02 * (np.mean(usual) - 3), abs=1)
    assert (beyond.text, beyond.beyond) == ("heat", True)
    assert beyond.sentence() == "heat is 10 mm, usually 0 to 9: that costs 14 points of 100"
    unmeasured = Effect("heat", MISSING, "0 to 9", -9.0, beyond=False)
    assert unmeasured.sentence() == "heat was not measured, usually 0 to 9: that adds 9 points of 100"


def test_what_speaks_for_a_class_is_told_where_a_person_will_look(tmp_path):
    """Of a doubtful row what adds to the likeliest class, in words; a sure row has none, nor has one in shadow."""
    weights = np.array([[0.5, -0.5], [0.0, 0.0]], np.float32)
    nodes = [helper.make_node("Gemm", ["x", "weights"], ["odds"]), helper.make_node("Softmax", ["odds"], ["y"])]
    folder = put(
        tmp_path,
        graph(nodes, {"weights": weights}),
        kind="classes",
        classes=("tool", "handling"),
        conformal={"0.1": 0.7},
        bars={"auto": 0.9},
        inputs={"warm": {"text": "wear", "unit": "mm", "low": -9.0, "high": 9.0}, "cold": {"text": "colour"}},
        parity=([[0.0, 0.0]], [[0.5, 0.5]]),
    )
    model = Model.load(folder, KEYS, explain_below=0.9)
    answers = model.classify([(1.0, 0.0), (-1.0, 0.0), (8.0, 0.0)])
    model.explain_below(0.0)
    answers += model.classify([(1.0, 0.0)])
    again = model.reasons(np.array([[1.0, 0.0]], np.float32))
    model.close()
    doubtful, other, sure, in_shadow = (one for one in answers if isinstance(one, Classified))
    assert again == [doubtful.reasons]
    assert doubtful.reasons == ("speaks for tool: wear is 1 mm, usually -9 to 9: that adds 23 points of 100",)
    assert other.reasons == ("speaks for handling: wear is -1 mm, usually -9 to 9: that adds 23 points of 100",)
    assert (sure.reasons, in_shadow.reasons) == ((), ())


# ── files that do not fit ───────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_computes_something_else_here_is_refused(folder):
    """The cases of training are replayed at every load."""
    parity = json.loads((folder / "parity.json").read_text())
    parity["outputs"][7][1] += 0.001
    (folder / "parity.json").write_text(json.dumps(parity))
    rehash(folder)
    assert "computes something else here than in training (difference 0.001" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "manifest.json"),
        (b"[]", "manifest.json"),
        (b'{"name": "a", "name": "b"}', "name"),
        (b'{"name": "consumption_anomaly"}', "version"),
    ],
)
def test_a_broken_manifest_is_refused(folder, content, told):
    """The message names the file and the field."""
    put_manifest(folder, content)
    assert told in refusal(folder)
