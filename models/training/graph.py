"""Fitted classifiers → one ONNX graph: each converted, their probabilities joined by nodes of our own.

    member … → probabilities → Clip → Log ┐
    member … → probabilities → Clip → Log ┴ Sum → Mul 1/(members × temperature) → Softmax → probabilities

    ordered boosting: trees of all steps → log-odds → MatMul → Softplus → MatMul → Clip: the logarithms themselves

The converter cannot write a calibrated classifier exactly; a temperature is four plain operators.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
import skl2onnx
from onnx import TensorProto, compose, helper, numpy_helper
from skl2onnx.common.data_types import FloatTensorType

from agent.errors import ModelUnfit
from agent.scoring.registry import MAX_BYTES
from models.training import trees
from models.training.learners import SMALLEST, Classifier
from models.training.ordered import OrderedBoosting

INPUT: Final = "features"
OUTPUT: Final = "probabilities"
OPSET: Final = {"": 18, "ai.onnx.ml": 3}
Part: TypeAlias = tuple[Sequence[onnx.NodeProto], Iterable[onnx.TensorProto]]  # of a member, up to its `log…`


def convert(estimator: Any, width: int, **options: Any) -> onnx.ModelProto:
    """One estimator with one float32 input `features` of `width` columns, each operator set named once.

    `options` are skl2onnx's for this estimator, like ``zipmap=False``. Raises ModelUnfit where it cannot be converted.
    """
    wanted = {id(estimator): options} if options else None
    taken = [(INPUT, FloatTensorType([None, width]))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it writes booleans that protobuf 6 only warns of
            proto = skl2onnx.convert_sklearn(estimator, "model", taken, options=wanted, target_opset=OPSET)
    except Exception as error:  # noqa: BLE001  # the converter raises whatever its many authors chose
        raise ModelUnfit(f"{type(estimator).__name__} cannot be written as ONNX: {str(error)[:200]}") from None
    return single_opsets(proto)


def single_opsets(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with each operator set named once; the converter may write one twice."""
    opsets = {one.domain: one.version for one in proto.opset_import}
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items()))
    return proto


def classifier(fitted: Classifier, width: int, classes: int, told: Mapping[str, str]) -> bytes:
    """The graph of a classifier with its temperature; `told` are properties for whoever opens the file."""
    scale = np.array(1 / (len(fitted.members) * fitted.temperature), np.float32)
    nodes: list[onnx.NodeProto] = []
    constants = [
        numpy_helper.from_array(np.array(SMALLEST, np.float32), "smallest"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(scale, "scale"),
    ]
    for at, member in enumerate(fitted.members):
        logs = _ordered if isinstance(member, OrderedBoosting) else _converted
        added, needed = logs(member, width, at)
        nodes += added
        constants += needed
    nodes.append(helper.make_node("Sum", [f"log{at}" for at in range(len(fitted.members))], ["logits"]))
    nodes.append(helper.make_node("Mul", ["logits", "scale"], ["scaled"]))
    nodes.append(helper.make_node("Softmax", ["scaled"], [OUTPUT], axis=-1))
    return assemble(nodes, constants, width, classes, told, output=OUTPUT)


def _converted(member: Any, width: int, at: int) -> Part:
    proto = convert(member, width, zipmap=False)
    trees.slim(proto.graph.node)
    part = compose.add_prefix_graph(proto.graph, f"m{at}_", rename_inputs=False)
    answer, clipped = part.output[1].name, f"clipped{at}"  # the first output is the label
    nodes = _needed(part.node, answer)
    nodes.append(helper.make_node("Clip", [answer, "smallest", "one"], [clipped]))
    nodes.append(helper.make_node("Log", [clipped], [f"log{at}"]))
    return nodes, part.initializer


def _ordered(member: OrderedBoosting, width: int, at: int) -> Part:
    """A class is reached by every step to it and left by none further: log σ(z) = −softplus(−z)."""
    protos = [convert(step, width, zipmap=False) for step in member.steps_]
    ensembles = [node for proto in protos for node in proto.graph.node if node.op_type in trees.KINDS]
    steps = len(ensembles)
    odds, signs, signed, parts, paths, logs, least = (
        f"{name}{at}" for name in ("odds", "signs", "signed", "parts", "paths", "logs", "least")
    )
    nodes = [
        trees.merged(ensembles, odds),
        helper.make_node("MatMul", [odds, signs], [signed]),
        helper.make_node("Softplus", [signed], [parts]),
        helper.make_node("MatMul", [parts, paths], [logs]),
        helper.make_node("Clip", [logs, least], [f"log{at}"]),
    ]
    each, left, passed = np.eye(steps), np.eye(steps, steps + 1), np.triu(np.ones((steps, steps + 1)), 1)
    constants = {
        signs: np.hstack([each, -each]),  # z of every step, then −z
        paths: -np.vstack([left, passed]),
        least: np.log(SMALLEST),
    }
    return nodes, [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]


def assemble(
    nodes: Sequence[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto],
    width: int,
    columns: int,
    told: Mapping[str, str],
    *,
    output: str,
) -> bytes:
    """The bytes of a whole model: input `features`, one output of `columns`. Raises ModelUnfit: too large."""
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, columns])],
        [one for one in constants if one.name in used],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(OPSET.items())]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="gatepost")
    helper.set_model_props(proto, dict(told))
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise ModelUnfit(f"the graph has {len(data)} bytes, allowed are {MAX_BYTES}; say learner: boosting or linear")
    return data


def _needed(nodes: Sequence[onnx.NodeProto], answer: str) -> list[onnx.NodeProto]:
    """The nodes that the answer rests on: labels are not asked for, and fewer operators are fewer to allow."""
    wanted, kept = {answer}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
