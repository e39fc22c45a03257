"""What an ONNX file says about itself, read from its bytes without running it, and what of that is allowed.

ONNX is protobuf; only the fields that matter are followed (onnx.proto: ModelProto, GraphProto, NodeProto,
AttributeProto, TensorProto). The run-time image needs no onnx package for this. Only operators are allowed that end by
themselves: no loops, branches, functions or custom code, and no tree so deep that the runtime's recursion would end
the process. What an operator may take of memory and time is limited where it runs (`onnxsession`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelUnfit

OPSETS: Final = {"": range(15, 23), "ai.onnx.ml": range(1, 5)}  # what the pinned converter writes
MOST_NODES: Final = 1000
DEEPEST_TREE: Final = 200  # of 30 000 levels the runtime dies of its recursion
OPERATORS: Final[Mapping[str, str]] = {
    "": (
        "Abs Add And ArgMax Cast Clip Concat Constant Div Equal Exp Flatten Gather Gemm Greater GreaterOrEqual Identity"
        " IsNaN Less LessOrEqual Log MatMul Max Min Mul Neg Not Or Pow ReduceMax ReduceMean ReduceMin ReduceSum Relu"
        " Reshape Sigmoid Sign Softmax Softplus Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where"
    ),
    "ai.onnx.ml": (
        "ArrayFeatureExtractor Binarizer Imputer LinearClassifier LinearRegressor Normalizer Scaler"
        " TreeEnsembleClassifier TreeEnsembleRegressor"
    ),
}

Field: TypeAlias = tuple[int, int, int | bytes]  # number, wire type, value; of many alike the bytes of all of them
Ids: TypeAlias = NDArray[np.int64]

# message → field number → the message below it that is followed
_BELOW: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 8: "opset", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_NOT_ALLOWED: Final = {  # what makes a file more than one flat graph
    ("attribute", 6): "graphs inside of nodes",
    ("attribute", 11): "graphs inside of nodes",
    ("model", 20): "training graphs",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse tensors",
    ("attribute", 22): "sparse tensors",
    ("attribute", 23): "sparse tensors",
}
_DEEPEST: Final = 32
_INTS: Final = 8  # of an attribute
# Trees are long lists of numbers, each a field of its own: they are skipped as one.
_FLOAT, _INT = 0x3D, 0x40  # the first byte of such a field
_MANY, _WINDOW = 128, 4096  # bytes from which a list is a long one, and how many are then looked at together
_RUNS: Final = {
    _FLOAT: re.compile(rb"(?:\x3d[\x00-\xff]{4}){1,64}"),
    _INT: re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f]){1,64}"),
    0x4A: re.compile(rb"(?:\x4a(?:\x04LEAF|\x0aBRANCH_LEQ|\x09BRANCH_LT|\x0aBRANCH_GTE|\x09BRANCH_GT))+"),
}
_TREE: Final = ("nodes_treeids", "nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids")


@dataclass(slots=True)
class OnnxFile:
    """What was found: operator sets and operators by domain, external data, what no flat graph has, and its trees."""

    opsets: dict[str, int] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    nodes: int = 0
    external: bool = False
    twice: set[str] = field(default_factory=set)  # domains whose operator set is said more than once
    extras: set[str] = field(default_factory=set)
    levels: int = 0  # of its deepest tree; more than DEEPEST_TREE: too deep, or its nodes form a circle


def read(data: bytes) -> OnnxFile:
    """Walk the model. Raises ModelUnfit where the bytes are no complete protobuf message."""
    found = OnnxFile()
    _walk(data, "model", found, 0)
    if not found.opsets:
        raise ModelUnfit("is no ONNX model: it names no operator set")
    return found


def require_allowed(found: OnnxFile) -> None:
    """Raises ModelUnfit for a graph that may do more than compute: see the top of this file."""
    if found.external:
        raise ModelUnfit("keeps data outside of the file; export it in one file")
    if found.extras:
        raise ModelUnfit(f"has {', '.join(sorted(found.extras))}; export one flat graph")
    if found.twice:
        raise ModelUnfit(f"names the operator set {min(found.twice)!r} twice; export it with one of each")
    if any(version not in OPSETS.get(domain, ()) for domain, version in found.opsets.items()):
        known = ", ".join(f"{domain!r} {some[0]} to {some[-1]}" for domain, some in OPSETS.items())
        raise ModelUnfit(f"uses the operator sets {found.opsets}; allowed are {known}")
    strange = sorted(f"{domain}.{name}".lstrip(".") for domain, name in found.operators if not _known(domain, name))
    if strange:
        raise ModelUnfit(f"uses the operators {', '.join(strange)}, which are not allowed; train another kind of model")
    if found.nodes > MOST_NODES:
        raise ModelUnfit(f"has {found.nodes} nodes, allowed are {MOST_NODES}; train a smaller model")
    if found.levels > DEEPEST_TREE:
        raise ModelUnfit(f"has a tree deeper than {DEEPEST_TREE} levels; train with a limited depth")


def _known(domain: str, name: str) -> bool:
    return name in OPERATORS.get("" if domain == "ai.onnx" else domain, "").split()


def _walk(data: bytes, message: str, found: OnnxFile, depth: int) -> None:
    if depth > _DEEPEST:
        raise ModelUnfit(f"is nested deeper than {_DEEPEST} levels")
    fields = list(_fields(data, runs=message == "attribute"))
    if message == "opset":
        version = next((value for number, _, value in fields if number == 2), 0)
        domain = _text(fields, 1)
        if domain in found.opsets:
            found.twice.add(domain)
        found.opsets[domain] = version if isinstance(version, int) else 0
    elif message == "node":
        _node(fields, found)
    elif message == "tensor":
        found.external = found.external or any(number in (13, 14) and value != 0 for number, _, value in fields)
    for number, _, value in fields:
        if extra := _NOT_ALLOWED.get((message, number)):
            found.extras.add(extra)
        below = _BELOW.get(message, {}).get(number)
        if below and isinstance(value, bytes):
            _walk(value, below, found, depth + 1)


def _node(fields: list[Field], found: OnnxFile) -> None:
    found.nodes += 1
    name = _text(fields, 4)
    found.operators.add((_text(fields, 7), name))
    if name.startswith("TreeEnsemble"):
        attributes = [value for number, _, value in fields if number == 5 and isinstance(value, bytes)]
        found.levels = max(found.levels, levels(*(_integers(one, attributes) for one in _TREE)))


def levels(trees: Ids, nodes: Ids, true: Ids, false: Ids) -> int:
    """How many levels the deepest tree has; DEEPEST_TREE + 1 where it is deeper or a circle. Raises ModelUnfit.

    A leaf has no children, which is written as 0 and 0.
    """
    if not len(nodes) or len({len(trees), len(nodes), len(true), len(false)}) != 1:
        raise ModelUnfit("has trees whose lists are not there or not of one length; export it again")
    if min(each.min() for each in (trees, nodes, true, false)) < 0 or nodes.max() >= 2**31 or trees.max() >= 2**31:
        raise ModelUnfit("has trees with node numbers out of range; export it again")
    keys = trees << 31 | nodes
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    branches = np.flatnonzero((true != 0) | (false != 0))
    children = np.stack([trees << 31 | true, trees << 31 | false])[:, branches]
    at = np.minimum(np.searchsorted(ordered, children), len(ordered) - 1)
    if (ordered[at] != children).any() or (np.diff(ordered) == 0).any():
        raise ModelUnfit("has trees whose nodes are missing or there twice; export it again")
    below = np.full((2, len(keys)), -1)
    below[:, branches] = order[at]
    level, depth = np.ones(len(keys), bool), 0
    while level.any() and depth <= DEEPEST_TREE:  # the longest way from any node: a circle has no end
        depth += 1
        reached = below[:, level]
        level = np.zeros(len(keys), bool)
        level[reached[reached >= 0]] = True
    return depth


def _integers(name: str, attributes: list[bytes]) -> Ids:
    """The list of integers of the attribute of this name, each of them a field, or all packed in one."""
    head = b"\x0a" + bytes([len(name)]) + name.encode()
    fields = (one for attribute in attributes if attribute.startswith(head) for one in _fields(attribute, runs=True))
    found = [np.zeros(0, np.int64)]
    for number, wire, value in fields:
        if number == _INTS and isinstance(value, bytes):
            numbers = _varints(value)
            found.append(numbers[1::2] if wire == 0 else numbers)
    return np.concatenate(found)


def _varints(data: bytes) -> Ids:
    """The varints in these bytes, in their order. Raises ModelUnfit where the last one is not whole."""
    parts = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(parts < 0x80)
    if not len(parts):
        return np.zeros(0, np.int64)
    if not len(ends) or ends[-1] != len(parts) - 1:
        raise ModelUnfit("is no complete ONNX file: it is truncated or something else")
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(parts)) - np.repeat(starts, ends - starts + 1)
    values = (parts & 0x7F).astype(np.uint64) << (7 * np.minimum(places, 9)).astype(np.uint64)
    return np.add.reduceat(values, starts).astype(np.int64)


def _of_floats(data: bytes) -> int:
    """How many bytes at the beginning are fields of floats."""
    count = len(data) // 5
    others = np.flatnonzero(np.frombuffer(data, np.uint8, count * 5)[::5] != _FLOAT)
    return 5 * (int(others[0]) if len(others) else count)


def _of_integers(data: bytes) -> int:
    """The same of integers: pairs of varints, of which the first is the one byte of the field."""
    parts = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(parts < 0x80)
    ends = ends[: len(ends) // 2 * 2]
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    fit = (parts[starts[::2]] == _INT) & (ends[::2] == starts[::2]) & (ends[1::2] - starts[1::2] < 10)
    others = np.flatnonzero(~fit)
    pairs = int(others[0]) if len(others) else len(fit)
    return int(ends[2 * pairs - 1]) + 1 if pairs else 0


def _text(fields: list[Field], wanted: int) -> str:
    value = next((value for number, _, value in fields if number == wanted), b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _fields(data: bytes, *, runs: bool = False) -> Iterator[Field]:
    """The fields of one message; with `runs` lists of an attribute come as the bytes of all their fields.

    Raises ModelUnfit at the first byte that does not fit.
    """
    at = 0
    while at < len(data):
        if runs and (pattern := _RUNS.get(data[at])) and (run := pattern.match(data, at)):
            end = run.end()
            if end - at >= _MANY:
                window = data[end : end + _WINDOW]  # what looks ahead further could be made to do so again and again
                end += _of_floats(window) if data[at] == _FLOAT else _of_integers(window) if data[at] == _INT else 0
            yield data[at] >> 3, data[at] & 7, data[at:end]
            at = end
            continue
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        size, at = (8, at) if wire == 1 else (4, at) if wire == 5 else _varint(data, at) if wire == 2 else (-1, at)
        if size < 0 or number == 0 or at + size > len(data):
            raise ModelUnfit("is no complete ONNX file: it is truncated or something else")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ModelUnfit("is no complete ONNX file: it is truncated or something else")
