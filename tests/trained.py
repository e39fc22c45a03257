"""Versions of models for tests: any graph, in files that fit it, signed by a key of the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from onnx import TensorProto, helper

from agent.errors import ModelUnfit
from agent.scoring import modelfiles, onnxfile, registry
from agent.scoring.modelfiles import Input, InputReference, Manifest, Output, Reference

ROOT = Path(__file__).parents[1]
KEY = Ed25519PrivateKey.generate()
KEYS = {**registry.trusted(ROOT / "edge_config" / "trust" / "models"), "test": KEY.public_key()}
SHIPPED = registry.champion(ROOT / "models" / "consumption_anomaly")
FORECASTS = registry.champion(ROOT / "models" / "shortage_forecast")
OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]


def graph(
    nodes: Sequence[onnx.NodeProto], constants: dict[str, Any] | None = None, *, width: int = 2, columns: int = 2
) -> bytes:
    """A graph from `x`, float of `width` columns, to `y`, float of `columns`; constants are arrays by name."""
    proto = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, columns])],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return bytes(helper.make_model(proto, opset_imports=OPSETS, ir_version=8).SerializeToString())


def copied(models: Path, version: str, data: bytes | None = None, **changes: Any) -> Path:
    """The shipped champion as another version, maybe around another graph (see `graph`), signed by the tests."""
    first = registry.read(SHIPPED, KEYS)
    told = first.manifest.model_dump() | {"version": version} | changes
    if data is not None:
        told |= {"input": "x", "output": {"name": "y", "column": 1, "columns": 2}, "opsets": {"": 18, "ai.onnx.ml": 3}}
    files = {**first.files, **({"model.onnx": data} if data is not None else {})}
    return registry.write(models, Manifest.model_validate(told), files, KEY)


def forecasts_moved(models: Path, version: str, off: float, **changes: Any) -> None:
    """The shipped model of shortages as another version that says so much more of every quantile."""
    first = registry.read(FORECASTS, KEYS)
    proto = onnx.load_from_string(first.files["model.onnx"])
    (last,) = (node for node in proto.graph.node if list(node.output) == ["quantiles"])
    last.output[0] = "unmoved"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([off], np.float32), "off"))
    proto.graph.node.append(helper.make_node("Add", ["unmoved", "off"], ["quantiles"]))
    parity = json.loads(first.files["parity.json"])
    parity["outputs"] = [[value + off for value in row] for row in parity["outputs"]]
    files = {"model.onnx": proto.SerializeToString(), "parity.json": json.dumps(parity).encode()}
    told = first.manifest.model_dump() | {"version": version} | changes
    registry.write(models, Manifest.model_validate(told), {**first.files, **files}, KEY)


def trust(folder: Path) -> Path:
    """A folder of public keys: what a plant trusts, and the key of the tests."""
    shutil.copytree(ROOT / "edge_config" / "trust" / "models", folder)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "test.pub").write_bytes(pem)
    return folder


def opsets(data: bytes) -> dict[str, int]:
    """Of a graph, or those of a usual one where it cannot be read."""
    try:
        return onnxfile.read(data).opsets
    except ModelUnfit:  # a test wants this very file
        return {one.domain: one.version for one in OPSETS}


def put(
    models: Path,
    data: bytes,
    *,
    version: str = "1",
    features: Sequence[str] = ("warm", "cold"),
    parity: tuple[Sequence[Sequence[float | None]], Sequence[Sequence[float]]] | None = None,
    key: Ed25519PrivateKey = KEY,
    deciles: Sequence[float] = (0.0,) * 9,
    shares: dict[str, dict[str, float]] | None = None,
    inputs: dict[str, dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """Write ``models/test/<version>`` around a graph; `inputs` changes single inputs, `changes` the manifest."""
    columns = changes.get("output", {"columns": 2})["columns"]
    rows, outputs = parity or ([[0.0] * len(features)], [[0.0] * columns])
    usual = {"least": -100.0, "most": 100.0, "low": -1.0, "high": 1.0}
    manifest = Manifest.model_validate(
        {
            "name": "test",
            "version": version,
            "kind": "probability",
            "files": dict.fromkeys(modelfiles.FILES, "0" * 64),
            "input": "x",
            "features": [Input(name=one, **(usual | (inputs or {}).get(one, {}))) for one in features],
            "output": Output(name="y", column=0, columns=columns),
            "opsets": opsets(data),
            "trained": {"data": "made for a test"},
            **changes,
        }
    )
    grouped = {f"{name}={value}" for name, values in manifest.categories.items() for value in values}
    reference = Reference(
        rows=1,
        inputs={one: InputReference(deciles=tuple(deciles)) for one in features if one not in grouped}
        | {name: InputReference(shares=of) for name, of in (shares or {}).items()},
        mean=(0.0,) * columns,
    )
    files = {
        "model.onnx": data,
        "parity.json": json.dumps({"rows": rows, "outputs": outputs}).encode(),
        "card.md": b"# A model for a test\n",
        "reference.json": reference.model_dump_json().encode(),
    }
    return registry.write(models, manifest, files, key)
