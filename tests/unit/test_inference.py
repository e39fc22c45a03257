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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from agent import onnxfile, registry
from agent.errors import ModelUnfit
from agent.inference import Model
from agent.ports import Score
from agent.workflows.consumption import FEATURES

HOUSE = Path(__file__).parents[2]
SHIPPED = registry.champion(HOUSE / "models" / "consumption_anomaly")
BENCH = registry.trusted(HOUSE / "edge_config" / "trust" / "models")
KEY = Ed25519PrivateKey.generate()
KEYS = {**BENCH, "test": KEY.public_key()}
USUAL = (0.001, 0.001, 2.5, 0.0, 0.005)
DOUBLE = (0.693, 0.693, 2.5, 0.0, 0.01)
OPSETS = [helper.make_opsetid("", 16), helper.make_opsetid("ai.onnx.ml", 1)]


def test_the_runtime_of_models_leaves_no_device_id_and_reports_nothing(tmp_path):
    """onnxruntime's telemetry writes into the home folder before it sends: with the agent nothing is written."""
    program = (
        "import sys; from agent.inference import Model, Path; from agent.registry import trusted;"
        "Model.load(Path(sys.argv[1]), trusted(Path(sys.argv[2]))).close()"
    )
    keys = HOUSE / "edge_config" / "trust" / "models"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE)}
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
    return shutil.copytree(SHIPPED, tmp_path / "consumption_anomaly" / "1")


def rehash(folder: Path, **changes: object) -> None:
    """A manifest that fits the files again, with other content where a test wants it, and signed."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    manifest["files"] = {name: sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    put_manifest(folder, json.dumps(manifest).encode())


def put_manifest(folder: Path, content: bytes) -> None:
    """Another manifest, signed by a key that is trusted here."""
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sig").write_bytes(registry.sign(content, KEY))


def put(folder: Path, nodes: list[onnx.NodeProto], *, initializers=(), output: str = "probabilities") -> None:
    """Another graph in the place of the model: one input of five features, one output of two columns."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 5])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 2])],
        list(initializers),
    )
    proto = helper.make_model(graph, opset_imports=OPSETS, ir_version=8)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    rehash(folder, opsets={"": 16, "ai.onnx.ml": 1})


def refusal(folder: Path, **options) -> str:
    with pytest.raises(ModelUnfit) as refused:
        Model.load(folder, KEYS, FEATURES, **options)
    return str(refused.value)


def test_the_shipped_model_tells_normal_from_double(model):
    """A usual report is normal, twice the usual is not; the score names the model and its hash."""
    usual, double = model.score([USUAL, DOUBLE])
    assert usual.confidence > 0.95
    assert double.confidence < 0.05
    assert usual.model == "consumption_anomaly/1"
    assert usual.model_hash == sha256((SHIPPED / "model.onnx").read_bytes()).hexdigest()
    assert usual.features == USUAL


def test_reasons_are_in_the_users_words(model):
    """The logarithm of the deviation is shown as what it means."""
    (double,) = model.score([DOUBLE])
    assert double.reasons[0].startswith("used over expected is 2, usually 0.98")


def test_a_batch_answers_like_single_rows(model):
    """Rows do not see each other."""
    together = model.score([USUAL, DOUBLE] * 32)
    alone = [model.score([row])[0] for row in (USUAL, DOUBLE)]
    assert together == alone * 32
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
    assert before == after


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
    with pytest.raises(ModelUnfit, match="the workflow computes distance, deviation"):
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


def external(value: float) -> onnx.TensorProto:
    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], np.float32(value).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(tensor, "secret.bin", length=4)
    tensor.ClearField("raw_data")
    return tensor


def test_external_data_is_refused_before_it_is_opened(folder):
    """A hard link inside the folder would be read by the runtime: so no external data at all."""
    (folder / "secret.bin").write_bytes(b"\x00\x00\x80\x3f")
    put(folder, [helper.make_node("Add", ["features", "value"], ["probabilities"])], initializers=[external(1.0)])
    assert "keeps data outside of the file" in refusal(folder)


def test_external_data_is_found_inside_of_nested_graphs():
    """A tensor in the branch of an If is a tensor, too."""
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=external(1.0))],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("If", ["condition"], ["result"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "outer", [], [])
    told = onnxfile.read(helper.make_model(graph, opset_imports=OPSETS).SerializeToString())
    assert told.external
    assert told.operators == {"If", "Constant"}


def test_a_looping_model_is_cut_off_at_its_deadline(folder):
    """A graph that never ends ends the load with a refusal, not the agent."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Identity", ["carried"], ["carried_on"]),
        ],
        "forever",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_on", TensorProto.FLOAT, [None, 2]),
        ],
    )
    bounds = [
        helper.make_tensor("starts", TensorProto.INT64, [1], [0]),
        helper.make_tensor("ends", TensorProto.INT64, [1], [2]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    ]
    nodes = [
        helper.make_node("Slice", ["features", "starts", "ends", "axes"], ["two"]),
        helper.make_node("Loop", ["", "true", "two"], ["probabilities"], body=body),
    ]
    put(folder, nodes, initializers=bounds)
    assert "was cut off at its deadline" in refusal(folder, deadline_s=0.05)


def test_an_answer_that_is_no_probability_is_unfit(folder):
    """A model whose answers leave 0 to 1 decides nothing; here the square root of the deviation."""
    bounds = [
        helper.make_tensor("starts", TensorProto.INT64, [1], [0]),
        helper.make_tensor("ends", TensorProto.INT64, [1], [2]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Slice", ["features", "starts", "ends", "axes"], ["two"]),
        helper.make_node("Sqrt", ["two"], ["probabilities"]),
    ]
    (folder / "parity.json").write_text(json.dumps({"rows": [[0.25, 0.25, 1.0, 0.0, 0.0]], "outputs": [[0.5, 0.5]]}))
    put(folder, nodes, initializers=bounds)
    rehash(folder, output={"name": "probabilities", "column": 0, "columns": 2})
    model = Model.load(folder, KEYS, FEATURES)
    good, nan, two = model.score([(deviation, 1.0, 1.0, 0.0, 0.0) for deviation in (0.25, -1.0, 4.0)])
    model.close()
    assert isinstance(good, Score)
    assert "answered nan, which is no probability" in str(nan)
    assert "answered 2.0, which is no probability" in str(two)


def test_a_model_that_returns_nan_is_refused_by_its_parity(folder):
    """NaN is never within the tolerance."""
    bounds = [
        helper.make_tensor("starts", TensorProto.INT64, [1], [0]),
        helper.make_tensor("ends", TensorProto.INT64, [1], [2]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("minus_hundred", TensorProto.FLOAT, [1], [-100.0]),
    ]
    nodes = [
        helper.make_node("Slice", ["features", "starts", "ends", "axes"], ["two"]),
        helper.make_node("Add", ["two", "minus_hundred"], ["minus"]),
        helper.make_node("Log", ["minus"], ["probabilities"]),
    ]
    put(folder, nodes, initializers=bounds)
    assert "computes something else here than in training" in refusal(folder)


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


@pytest.mark.parametrize("version", ["", "..", "../1", "/etc", "."])
def test_an_alias_that_leaves_the_folder_is_refused(tmp_path, version):
    """An alias names a version, not a path."""
    (tmp_path / "aliases.json").write_text(json.dumps({"champion": version}))
    with pytest.raises(ModelUnfit, match=r"aliases\.json: champion: String should match"):
        registry.champion(tmp_path)


def test_a_missing_alias_is_refused(tmp_path):
    """Without a champion nothing scores."""
    with pytest.raises(ModelUnfit, match=r"aliases\.json cannot be read"):
        registry.champion(tmp_path)
