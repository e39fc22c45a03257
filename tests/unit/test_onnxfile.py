"""What an ONNX file may be: one flat graph of operators that end by themselves, in one file."""

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from agent.errors import ModelUnfit
from agent.scoring import onnxfile

OPSETS = [helper.make_opsetid("", 16), helper.make_opsetid("ai.onnx.ml", 1)]
FLOATS = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
ANSWER = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])


def model(*nodes: onnx.NodeProto, initializers=(), opsets=OPSETS, **more) -> bytes:
    graph = helper.make_graph(list(nodes), "test", [FLOATS], [ANSWER], list(initializers))
    return bytes(helper.make_model(graph, opset_imports=opsets, **more).SerializeToString())


def refusal(data: bytes) -> str:
    with pytest.raises(ModelUnfit) as refused:
        onnxfile.require_allowed(onnxfile.read(data))
    return str(refused.value)


def node(name: str, domain: str = "", **attributes) -> onnx.NodeProto:
    return helper.make_node(name, ["x"], ["y"], domain=domain, **attributes)


def test_a_flat_graph_of_known_operators_is_allowed():
    """What the training writes passes."""
    found = onnxfile.read(model(node("Softmax"), node("Scaler", "ai.onnx.ml", offset=[0.0], scale=[1.0])))
    onnxfile.require_allowed(found)
    assert found.operators == {("", "Softmax"), ("ai.onnx.ml", "Scaler")}
    assert (found.nodes, found.levels) == (2, 0)


@pytest.mark.parametrize(
    "name",
    [
        "Slice",
        "Loop",
        "If",
        "Scan",
        "Expand",
        "Tile",
        "ConstantOfShape",
        "Range",
        "RandomNormal",
        "NonZero",
        "Resize",
        "TfIdfVectorizer",
    ],
)
def test_operators_without_an_end_of_their_own_are_refused(name):
    """Loops, branches, chance, and what makes much out of little."""
    assert f"uses the operators {name}, which are not allowed" in refusal(model(node(name)))


@pytest.mark.parametrize("domain", ["com.stranger", "com.microsoft", "ai.onnx.training", "ai.onnx.preview.training"])
def test_operators_of_a_stranger_are_refused(domain):
    """Custom operators are code, also under a known name and where no operator set says so."""
    assert f"{domain}.Softmax" in refusal(model(node("Softmax", domain)))
    assert domain in refusal(model(node("Softmax"), opsets=[*OPSETS, helper.make_opsetid(domain, 1)]))


def test_two_operator_sets_of_one_domain_are_refused():
    """Which of the two counts, two readers could see differently."""
    told = refusal(model(node("Softmax"), opsets=[*OPSETS, helper.make_opsetid("", 18)]))
    assert "names the operator set '' twice" in told


@pytest.mark.parametrize("version", [1, 14, 23])
def test_operator_sets_that_nobody_tried_are_refused(version):
    """Operators mean something else in other versions."""
    assert "allowed are '' 15 to 22" in refusal(model(node("Softmax"), opsets=[helper.make_opsetid("", version)]))


def branch(name: str) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Identity", ["x"], [name])], name, [], [ANSWER])


def test_graphs_inside_of_nodes_are_refused():
    """One graph and a list of them, also under an operator that is known."""
    assert "graphs inside of nodes" in refusal(model(node("Softmax", body=branch("body"))))
    assert "graphs inside of nodes" in refusal(model(node("Softmax", bodies=[branch("one"), branch("two")])))


def test_functions_of_its_own_are_refused():
    """A function could call itself what is allowed."""
    function = helper.make_function("test", "Softmax", ["x"], ["y"], [node("Identity")], OPSETS)
    assert "functions of its own" in refusal(model(node("Softmax"), functions=[function]))


def test_sparse_tensors_are_refused():
    """A few bytes would become a tensor of any size when the file is opened."""
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [5])
    sparse = helper.make_sparse_tensor(values, indices, [2_000_000_000])
    assert "sparse tensors" in refusal(model(node("Constant", sparse_value=sparse)))
    proto = onnx.load_from_string(model(node("Softmax")))
    proto.graph.sparse_initializer.append(sparse)
    assert "sparse tensors" in refusal(proto.SerializeToString())


def external(value: float) -> onnx.TensorProto:
    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], np.float32(value).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(tensor, "secret.bin", length=4)
    tensor.ClearField("raw_data")
    return tensor


def test_external_data_are_refused_wherever_they_are():
    """In the graph, in a node, and in a graph inside of a node."""
    constant = node("Constant", value=external(1.0))
    inner = helper.make_graph([constant], "inner", [], [ANSWER])
    for data in (
        model(node("Add"), initializers=[external(1.0)]),
        model(constant),
        model(node("If", then_branch=inner, else_branch=inner)),
    ):
        assert "keeps data outside of the file" in refusal(data)


def test_a_crowd_of_nodes_is_refused():
    """Even of the cheapest."""
    assert "has 1001 nodes, allowed are 1000" in refusal(model(*[node("Identity")] * 1001))


# ── trees ───────────────────────────────────────────────────────────────────────────────────────────────────


def tree(true: list[int], false: list[int], *, trees=None, nodes=None) -> onnx.NodeProto:
    count = len(true)
    leaf = [a == b == 0 for a, b in zip(true, false, strict=True)]
    return node(
        "TreeEnsembleRegressor",
        "ai.onnx.ml",
        nodes_treeids=trees or [0] * count,
        nodes_nodeids=list(range(count)) if nodes is None else nodes,
        nodes_truenodeids=true,
        nodes_falsenodeids=false,
        nodes_modes=["LEAF" if one else "BRANCH_LEQ" for one in leaf],
        nodes_values=[0.5] * count,
        nodes_featureids=[0] * count,
    )


def chain(levels: int) -> onnx.NodeProto:
    """A tree of so many levels: every branch has a leaf and the next branch."""
    deep = levels - 1
    return tree([*(deep + at for at in range(deep)), *[0] * (deep + 1)], [*range(1, deep), 2 * deep, *[0] * (deep + 1)])


def test_a_tree_that_would_end_the_process_is_refused():
    """The runtime walks down recursively when it opens a file: of 30 000 levels, in 2 MB, it dies."""
    assert onnxfile.read(model(chain(200))).levels == 200
    onnxfile.require_allowed(onnxfile.read(model(chain(200))))
    assert "has a tree deeper than 200 levels" in refusal(model(chain(201)))
    assert "has a tree deeper than 200 levels" in refusal(model(chain(30_000)))


@pytest.mark.parametrize(
    ("true", "false"),
    [([0, 0], [1, 0]), ([1, 2, 1, 0], [3, 3, 3, 0]), ([2, 2, 1, 0], [3, 3, 3, 0]), ([1, 0, 0, 0], [3, 2, 0, 0])],
)
def test_a_tree_that_leads_back_into_itself_is_refused(true, false):
    """To the root, to another node, from a root that nothing else leads to."""
    assert "deeper than 200 levels" in refusal(model(tree(true, false)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nodes": [0, 1, 1]}, "missing or there twice"),
        ({"nodes": [0, 1, 5]}, "missing or there twice"),
        ({"trees": [0, 0, 1]}, "missing or there twice"),
        ({"nodes": [0, 1]}, "not of one length"),
        ({"nodes": [0, 1, -2]}, "out of range"),
        ({"nodes": [0, 1, 2**40]}, "out of range"),
    ],
)
def test_a_tree_whose_lists_do_not_fit_is_refused(change, told):
    """It is not looked at any further."""
    with pytest.raises(ModelUnfit, match=told):
        onnxfile.read(model(tree([1, 0, 0], [2, 0, 0], **change)))


def test_a_tree_without_nodes_is_refused():
    """Nodes that are hidden from the check would not be hidden from the runtime."""
    assert "not there" in refusal(model(node("TreeEnsembleClassifier", "ai.onnx.ml", nodes_modes=["LEAF"])))


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=40), min_size=1, max_size=4))
def test_the_levels_of_trees_are_counted(shapes):
    """Whatever trees grow, and in whatever order their nodes are written."""
    trees, nodes, true, false, deepest = [], [], [], [], 0
    for number, choices in enumerate(shapes):
        sides, depths = {0: [0, 0]}, {0: 1}
        for choice in choices:
            leaves = sorted(one for one, children in sides.items() if children == [0, 0])
            grown = leaves[choice % len(leaves)]
            sides[grown] = [len(sides), len(sides) + 1]
            depths |= dict.fromkeys(sides[grown], depths[grown] + 1)
            sides |= {one: [0, 0] for one in sides[grown]}
        deepest = max(deepest, *depths.values())
        for one, (left, right) in sorted(sides.items(), key=lambda side: -side[0]):
            trees.append(number)
            nodes.append(one)
            true.append(left)
            false.append(right)
    assert onnxfile.read(model(tree(true, false, trees=trees, nodes=nodes))).levels == deepest


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2), st.booleans())
def test_lists_of_integers_are_read_as_they_were_written(numbers, packed):
    """Each as a field of its own, as ONNX writes them, and packed, as every reader must take them."""
    attribute = helper.make_attribute("numbers", numbers)
    data = attribute.SerializeToString()
    if packed:
        values = b"".join(_varint(number % 2**64) for number in numbers)
        data = helper.make_attribute("numbers", [0.5]).name.encode()
        data = b"\x0a" + bytes([len(data)]) + data + b"\x42" + _varint(len(values)) + values
    assert onnxfile._integers("numbers", [data]).tolist() == numbers


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300), min_size=1, max_size=90), st.integers(1, 700))
def test_long_lists_are_read_as_they_were_written(numbers, times):
    """However many there are, and whatever stands behind them in the same attribute."""
    attribute = helper.make_attribute("numbers", numbers * times)
    attribute.floats.extend([0.5] * times)
    attribute.strings.extend([b"LEAF", b"BRANCH_LEQ", b"other"])
    data = attribute.SerializeToString()
    assert onnxfile._integers("numbers", [data]).tolist() == numbers * times
    fields = list(onnxfile._fields(data, runs=True))
    assert sum(len(value) for number, _, value in fields if number == 7 and isinstance(value, bytes)) == 5 * times
    with pytest.raises(ModelUnfit):
        list(onnxfile._fields(data[:-1], runs=True))


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    """Nothing else comes out of reading."""
    with contextlib.suppress(ModelUnfit):
        onnxfile.require_allowed(onnxfile.read(data))


@given(st.data())
def test_any_damage_is_read_or_refused(data):
    """Bytes changed in a file that was whole."""
    whole = bytearray(model(tree([1, 0, 0], [2, 0, 0]), node("Softmax")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelUnfit):
        onnxfile.require_allowed(onnxfile.read(bytes(whole)))
