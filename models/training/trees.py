"""Tree ensembles of converted graphs: without what changes no answer, and those of several estimators as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper

KINDS: Final = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")


def merged(ensembles: Sequence[onnx.NodeProto], output: str) -> onnx.NodeProto:
    """Classifiers of two classes each → one regressor with a column per classifier: the log-odds of its second class.

    The runtime walks through all trees at once, which is faster than one operator after the other.
    """
    told = [{one.name: helper.get_attribute_value(one) for one in node.attribute} for node in ensembles]
    first = accumulate((max(one["nodes_treeids"]) + 1 for one in told), initial=0)
    lists: dict[str, Any] = {}
    for target, (one, tree) in enumerate(zip(told, first, strict=False)):  # one more: where the next would begin
        part = {name: list(values) for name, values in one.items() if name.startswith("nodes_")}
        part |= {f"target_{name}": list(one[f"class_{name}"]) for name in ("treeids", "nodeids", "weights")}
        part["target_ids"] = [target] * len(one["class_weights"])
        for name in ("nodes_treeids", "target_treeids"):
            part[name] = [tree + at for at in part[name]]
        for name, values in part.items():
            lists.setdefault(name, []).extend(values)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        list(ensembles[0].input),
        [output],
        domain="ai.onnx.ml",
        n_targets=len(told),
        base_values=[value for one in told for value in one["base_values"]],
        **lists,
    )
    slim([node])
    return node


def slim(nodes: Iterable[onnx.NodeProto]) -> None:
    """Take out of tree ensembles what changes no answer: leaves' weights of 0, and attributes that say nothing."""
    for node in nodes:
        if node.op_type not in KINDS:
            continue
        told = {one.name: one for one in node.attribute}
        if node.op_type == "TreeEnsembleClassifier":
            _drop_zeros(told)
        silent = {"nodes_hitrates"}
        if not any(told["nodes_missing_value_tracks_true"].ints):
            silent.add("nodes_missing_value_tracks_true")
        kept = [one for name, one in told.items() if name not in silent]
        del node.attribute[:]
        node.attribute.extend(kept)


def _drop_zeros(told: dict[str, onnx.AttributeProto]) -> None:
    weights = np.array(told["class_weights"].floats, np.float32)
    if len(told["classlabels_int64s"].ints) == 2 or weights.all():  # of two classes the runtime reads one differently
        return
    for name in ("class_treeids", "class_nodeids", "class_ids", "class_weights"):
        values = np.array(helper.get_attribute_value(told[name]))[weights != 0]
        told[name].CopyFrom(helper.make_attribute(name, values.tolist()))
