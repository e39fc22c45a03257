"""Fitted classifiers → one ONNX graph: each converted, their probabilities joined by nodes of our own.

    member … → probabilities → Clip → Log ┐
    member … → probabilities → Clip → Log ┴ Sum → Mul 1/(members × temperature) → Softmax → probabilities

The converter cannot write a calibrated classifier exactly; a temperature is four plain operators.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import skl2onnx
from onnx import TensorProto, compose, helper, numpy_helper
from skl2onnx.common.data_types import FloatTensorType

from agent.errors import ModelUnfit
from agent.scoring.registry import MAX_BYTES
from models.training.learners import SMALLEST, Classifier
from models.training.ordered import OrderedBoosting

INPUT: Final = "features"
OUTPUT: Final = "probabilities"
OPSET: Final = {"": 18, "ai.onnx.ml": 3}


def convert(estimator: Any, width: int, **options: Any) -> onnx.ModelProto:
    """One estimator with one float32 input `features` of `width` columns, each operator set named once.

    `options` are skl2onnx's for this estimator, like ``zipmap=False``. Raises ModelUnfit where it cannot be converted.
    """
    if isinstance(estimator, OrderedBoosting):
        return _ordered(estimator, width)
    wanted = {id(estimator): options} if options else None
    taken = [(INPUT, FloatTensorType([None, width]))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it writes booleans that protobuf 6 only warns of
            proto = skl2onnx.convert_sklearn(estimator, "model", taken, options=wanted, target_opset=OPSET)
    except Exception as error:  # noqa: BLE001  # the converter raises whatever its many authors chose
        raise ModelUnfit(f"{type(estimator).__name__} cannot be written as ONNX: {str(error)[:200]}") from None
    return single_opsets(proto)


def _ordered(estimator: OrderedBoosting, width: int) -> onnx.ModelProto:
    """Its steps side by side, and what comes of them: label (of nothing) and probabilities, as of any classifier."""
    nodes: list[onnx.NodeProto] = []
    constants = [numpy_helper.from_array(np.array([at], np.int64), name) for at, name in enumerate(("stay", "rise"))]
    reached, columns = "", []
    for at, step in enumerate(estimator.steps_):
        proto = convert(step, width, zipmap=False)
        part = compose.add_prefix_graph(proto.graph, f"s{at}_", rename_inputs=False)
        answer = part.output[1].name
        constants += part.initializer
        nodes += _needed(part.node, answer)
        for which in ("stay", "rise"):
            nodes.append(helper.make_node("Gather", [answer, which], [f"{which}{at}"], axis=1))
            if reached:
                nodes.append(helper.make_node("Mul", [reached, f"{which}{at}"], [f"{which}_so_far{at}"]))
        after = "_so_far" if reached else ""
        columns.append(f"stay{after}{at}")
        reached = f"rise{after}{at}"
    nodes.append(helper.make_node("Concat", [*columns, reached], [OUTPUT], axis=1))
    nodes.append(helper.make_node("ArgMax", [OUTPUT], ["label"], axis=1))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]),
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(columns) + 1]),
    ]
    taken = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])]
    graph = helper.make_graph(nodes, "model", taken, outputs, constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(OPSET.items())]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def single_opsets(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with each operator set named once; the converter may write one twice."""
    opsets = {one.domain: one.version for one in proto.opset_import}
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items()))
    return proto


def classifier(fitted: Classifier, width: int, classes: int, told: Mapping[str, str]) -> bytes:
    """The graph of a classifier with its temperature; `told` are properties for whoever opens the file."""
    protos = [convert(member, width, zipmap=False) for member in fitted.members]
    for proto in protos:
        slim(proto)
    scale = np.array(1 / (len(protos) * fitted.temperature), np.float32)
    nodes: list[onnx.NodeProto] = []
    constants = [
        numpy_helper.from_array(np.array(SMALLEST, np.float32), "smallest"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(scale, "scale"),
    ]
    for at, proto in enumerate(protos):
        member = compose.add_prefix_graph(proto.graph, f"m{at}_", rename_inputs=False)
        answer = member.output[1].name  # the first one is the label
        constants += member.initializer
        nodes += _needed(member.node, answer)
        nodes.append(helper.make_node("Clip", [answer, "smallest", "one"], [f"clipped{at}"]))
        nodes.append(helper.make_node("Log", [f"clipped{at}"], [f"log{at}"]))
    nodes.append(helper.make_node("Sum", [f"log{at}" for at in range(len(protos))], ["logits"]))
    nodes.append(helper.make_node("Mul", ["logits", "scale"], ["scaled"]))
    nodes.append(helper.make_node("Softmax", ["scaled"], [OUTPUT], axis=-1))
    return assemble(nodes, constants, width, classes, told, output=OUTPUT)


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


def slim(proto: onnx.ModelProto) -> None:
    """Take out of tree ensembles what changes no answer: leaves' weights of 0, and attributes that say nothing."""
    for node in proto.graph.node:
        if node.op_type != "TreeEnsembleClassifier":
            continue
        told = {one.name: one for one in node.attribute}
        weights = np.array(told["class_weights"].floats, np.float32)
        classes = len(told["classlabels_int64s"].ints)
        if classes > 2 and not weights.all():  # of two classes the runtime reads a single one differently
            for name in ("class_treeids", "class_nodeids", "class_ids", "class_weights"):
                values = np.array(helper.get_attribute_value(told[name]))[weights != 0]
                told[name].CopyFrom(helper.make_attribute(name, values.tolist()))
        silent = {"nodes_hitrates"}
        if not any(told["nodes_missing_value_tracks_true"].ints):
            silent.add("nodes_missing_value_tracks_true")
        kept = [one for name, one in told.items() if name not in silent]
        del node.attribute[:]
        node.attribute.extend(kept)


def _needed(nodes: Sequence[onnx.NodeProto], answer: str) -> list[onnx.NodeProto]:
    """The nodes that the answer rests on: labels are not asked for, and fewer operators are fewer to allow."""
    wanted, kept = {answer}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
