"""The tags for Ignition beside a running agent: a real OPC UA client looks for every item path of the export."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.uaerrors import BadNodeIdUnknown

from tests.api_bench import HOUSE, bench, free_port, until
from tests.command_line import gatepost_
from tests.opcua_face_bench import asking, listens

ITEM = re.compile(r"nsu=(urn:[a-z:]+);s=(.+)")
IGNITION = {
    ua.VariantType.Boolean: "Boolean",
    ua.VariantType.Int64: "Int8",
    ua.VariantType.Double: "Float8",
    ua.VariantType.String: "String",
    ua.VariantType.DateTime: "DateTime",
}


async def test_every_tag_is_a_variable_and_every_variable_a_tag(tmp_path: Path):
    """Whatever a line is called, the server has each item path with the tag's data type, and nothing else to show."""
    masterdata = tmp_path / "masterdata"
    shutil.copytree(HOUSE / "edge_config" / "masterdata", masterdata)
    with (masterdata / "work_centers.yaml").open("a", encoding="utf-8") as file:
        file.write("  - {work_center: PACK-09, line: 'Füllerei 2/Nord.1 #3'}\n")
        file.write("  - {work_center: GONE-01, line: gone, valid_to: 2020-12-31}\n")
    opcua = {"address": f"127.0.0.1:{free_port()}", "security": ["none"], "anonymous": True}
    async with bench(tmp_path, opcua_server=opcua, masterdata=str(masterdata)) as plant:
        ran = gatepost_(plant.agent.config.file, "export", "ignition-tags", str(tmp_path / "tags.json"))
        assert ran.code == 0, ran.out
        exported = dict(_items(json.loads((tmp_path / "tags.json").read_text(encoding="utf-8"))))
        assert any("Füllerei 2/Nord.1 #3/LastDecision" in path for _, path in exported)
        await until(lambda: listens(plant))
        async with asking(plant) as one:

            async def there() -> bool:
                return all([await _type(one.client, uri, path) == kind for (uri, path), kind in exported.items()])

            await until(there)
            below = [path async for path in _variables(one.node("Gatepost"), one.index)]
        assert sorted(below) == sorted(path for _, path in exported)


def _items(node: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Namespace URI and identifier of every tag, with its data type."""
    for one in node["tags"]:
        if one["tagType"] == "Folder":
            yield from _items(one)
        else:
            found = ITEM.fullmatch(one["opcItemPath"])
            assert found, one
            yield (found[1], found[2]), one["dataType"]


async def _type(client: Client, uri: str, path: str) -> str:
    """The tag type of a variable; empty: the server has none of this name yet."""
    index = await client.get_namespace_index(uri)
    node = client.get_node(ua.NodeId(ua.String(path), ua.Int16(index)))
    try:
        return IGNITION[await node.read_data_type_as_variant_type()]
    except BadNodeIdUnknown:
        return ""


async def _variables(node: Node, index: int) -> AsyncIterator[str]:
    """The identifiers of every variable of ours below."""
    for one in await node.get_children():
        kind = await one.read_node_class()
        if kind == ua.NodeClass.Variable and one.nodeid.NamespaceIndex == index:
            yield str(one.nodeid.Identifier)
        if kind == ua.NodeClass.Object:
            async for path in _variables(one, index):
                yield path
