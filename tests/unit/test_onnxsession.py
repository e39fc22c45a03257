"""A graph that asks for too much is refused or cut off, and another model goes on."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from agent.errors import ModelUnfit
from agent.scores import Score
from agent.scoring.inference import Model
from agent.workflows.consumption import FEATURES
from tests.trained import KEYS, ROOT, SHIPPED, graph, put, trust

FIRST_TWO = {"first": np.array([0, 1])}


@pytest.fixture(autouse=True)
def champion():
    """Whatever a test loads, the model that was loaded before answers as before."""
    model = Model.load(SHIPPED, KEYS, FEATURES)
    (before,) = model.score([(0.001, 0.001, 2.5, 0.0, 0.005)])
    yield
    assert isinstance(before, Score)
    (after,) = model.score([(0.001, 0.001, 2.5, 0.0, 0.005)])
    assert isinstance(after, Score)
    assert after._replace(ms=0) == before._replace(ms=0)
    model.close()


def refusal(folder, **options) -> str:
    with pytest.raises(ModelUnfit) as refused:
        Model.load(folder, KEYS, **options)
    return str(refused.value)


def squares(times: int) -> bytes:
    """A thousand by a thousand out of one row, multiplied with itself again and again."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"]),
        helper.make_node("Add", ["sum", "row"], ["wide"]),
        helper.make_node("MatMul", ["column", "wide"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{at}", f"m{at}"], [f"m{at + 1}"]) for at in range(times)),
        helper.make_node("Gather", [f"m{times}", "first"], ["two"], axis=1),
        helper.make_node("Gather", ["two", "one"], ["y"], axis=0),
    ]
    constants = {"row": np.zeros((1, 700), np.float32), "column": np.zeros((700, 1), np.float32)}
    return graph(nodes, {**FIRST_TWO, **constants, "one": np.array([0])})


def test_a_graph_without_an_end_is_refused(tmp_path):
    """A loop is no operator that is allowed."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Identity", ["carried"], ["on"])],
        "forever",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("on", TensorProto.FLOAT, [None, 2]),
        ],
    )
    loop = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
    told = refusal(put(tmp_path, graph([loop], {"true": np.array(True)})))
    assert "model.onnx has graphs inside of nodes; export one flat graph" in told


def test_a_graph_that_takes_long_is_cut_off(tmp_path):
    """Many allowed operators that compute for minutes: the load ends with a refusal, not the agent with it."""
    folder = put(tmp_path, squares(900), parity=([[0.0, 0.0]], [[0.0, 0.0]]))
    assert "was cut off at its deadline" in refusal(folder, patience_s=0.05)


def test_a_graph_that_wants_much_memory_is_refused(tmp_path):
    """Each node twice as wide as the one before: it gets its share of memory and no more."""
    nodes = [helper.make_node("Concat", [f"c{at}", f"c{at}"], [f"c{at + 1}"], axis=1) for at in range(26)]
    nodes = [helper.make_node("Identity", ["x"], ["c0"]), *nodes]
    nodes.append(helper.make_node("Gather", ["c26", "first"], ["y"], axis=1))
    before = peak()
    assert "wants more memory than the 64 MiB" in refusal(put(tmp_path, graph(nodes, FIRST_TWO)), patience_s=60)
    assert peak() - before < 200


def test_nothing_of_a_graph_is_computed_when_it_is_opened(tmp_path):
    """Constants that would fold to gigabytes: memory is asked for in the run, where it is limited."""
    row, column = np.ones((1, 10_000), np.float32), np.ones((10_000, 1), np.float32)
    nodes = [
        helper.make_node("MatMul", ["column", "row"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["one"], keepdims=0),
        helper.make_node("Add", ["x", "one"], ["y"]),
    ]
    before = peak()
    assert "wants more memory than the 64 MiB" in refusal(
        put(tmp_path, graph(nodes, {"row": row, "column": column})), patience_s=60
    )
    assert peak() - before < 200


def test_a_graph_that_answers_in_another_shape_than_it_says_is_refused(tmp_path):
    """One row more than was asked for."""
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)]
    assert "answered float32[2, 2] for 1 rows" in refusal(put(tmp_path, graph(nodes)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_graph_that_answers_nothing_finite_is_refused(tmp_path, value):
    """Whatever training said that it computes."""
    nodes = [helper.make_node("Add", ["x", "value"], ["y"])]
    told = refusal(put(tmp_path, graph(nodes, {"value": np.array(value, np.float32)})))
    assert "computes something else here than in training" in told


def wide(times: int) -> bytes:
    """Takes 40 MiB and keeps them until it has multiplied a smaller matrix so many times."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"]),
        helper.make_node("Add", ["sum", "long"], ["row"]),
        helper.make_node("MatMul", ["column", "row"], ["much"]),
        helper.make_node("MatMul", ["tall", "sum"], ["side"]),
        helper.make_node("MatMul", ["side", "flat"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{at}", f"m{at}"], [f"m{at + 1}"]) for at in range(times)),
        helper.make_node("ReduceMax", [f"m{times}"], ["most"], keepdims=1),
        helper.make_node("Mul", ["much", "most"], ["same"]),
        helper.make_node("Gather", ["same", "first"], ["two"], axis=1),
        helper.make_node("Gather", ["two", "one"], ["y"], axis=0),
    ]
    small = {"tall": np.zeros((500, 1), np.float32), "flat": np.zeros((1, 500), np.float32), "one": np.array([0])}
    large = {"long": np.zeros((1, 2200), np.float32), "column": np.zeros((2200, 1), np.float32)}
    return graph(nodes, {**FIRST_TWO, **small, **large})


BESIDE = """
import sys, threading
from pathlib import Path
from agent.scoring import registry
from agent.scoring.inference import Model
from agent.scores import Score

models, keys = Path(sys.argv[1]), registry.trusted(Path(sys.argv[2]))
apart = Model.load(models / "slow", keys, apart=True, explain_below=0, deadline_s=60, patience_s=60)
decides = Model.load(models / "quick", keys, explain_below=0, deadline_s=60, patience_s=60)
assert apart.proven == 1
answers = []
asked = threading.Thread(target=lambda: answers.extend(apart.score([(0.0, 0.0)])))
asked.start()
while asked.is_alive():
    answers += decides.score([(0.0, 0.0)])
asked.join()
print(len(answers) > 1, [str(one) for one in answers if not isinstance(one, Score)][:1])
"""


def test_a_model_apart_takes_nothing_of_what_the_others_have(tmp_path):
    """Two that together want more than all models may have: beside the one apart the other answers, whenever asked.

    In a process of its own: what other tests took of the share stays taken.
    """
    none = ([[0.0, 0.0]], [[0.0, 0.0]])
    put(tmp_path, wide(5), version="slow", parity=none)
    put(tmp_path, wide(0), version="quick", parity=none)
    words = [sys.executable, "-c", BESIDE, str(tmp_path / "test"), str(trust(tmp_path / "keys"))]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.stdout.strip() == "True []", ran.stdout + ran.stderr


def peak() -> int:
    """MiB of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
