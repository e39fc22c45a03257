"""The address space of one start of the server: a folder per work centre, a variable per tag, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from simulators.line.tags import Kind, Tag, Value
from simulators.opcua.controller import Controller

NAMESPACE = "urn:gatepost:simulated-line"
UINT16 = 1 << 16

Written = Callable[[str, str, Value], None]  # work centre, tag, value


def data_type(tag: Tag) -> ua.VariantType:
    """A totaliser of a 16-bit controller is a UInt16, a scale shows a Float, times are Doubles."""
    if tag.kind is Kind.COUNTER:
        return ua.VariantType.UInt16 if tag.modulus and tag.modulus <= UINT16 else ua.VariantType.UInt32
    if tag.kind is Kind.NUMBER:
        return ua.VariantType.Float if tag.name.startswith("Scale/") else ua.VariantType.Double
    return ua.VariantType.Boolean if tag.kind is Kind.FLAG else ua.VariantType.String


class Space:
    """Made for one server and gone with it; `say` writes what a tag shows, with the controller's own time."""

    def __init__(self, server: Server, written: Written) -> None:
        self._server, self._written = server, written
        self._index = 0
        self._tags: dict[tuple[str, str], tuple[ua.NodeId, ua.VariantType]] = {}
        self._saying = False

    async def build(
        self, controllers: Sequence[Controller], decoys: int, missing: Collection[str], at: datetime
    ) -> None:
        """Namespaces of others before ours, so that its index is what it is; then every tag that is not missing."""
        for number in range(decoys):
            await self._server.register_namespace(f"urn:gatepost:nobody:{number}")
        self._index = await self._server.register_namespace(NAMESPACE)
        for controller in controllers:
            folders = {"": await self._folder(self._server.nodes.objects, controller.center, controller.center)}
            for tag in controller.tags:
                if f"{controller.center}/{tag.name}" not in missing:
                    await self._variable(folders, controller, tag, at)
            if "Lot" not in folders:
                continue
            done = ("Lot/DoneAt", self._id(f"{controller.center}/Lot/DoneAt"), ua.VariantType.DateTime)
            node = await folders["Lot"].add_variable(done[1], f"{self._index}:DoneAt", at, done[2])
            self._tags[controller.center, done[0]] = (node.nodeid, done[2])

    async def say(self, center: str, name: str, value: Value | datetime, at: datetime, status: int) -> None:
        """Write a tag; the client's own writes are not heard meanwhile. A tag that is missing says nothing."""
        found = self._tags.get((center, name))
        if found is None:
            return
        node, kind = found
        time = ua.DateTime.fromtimestamp(at.timestamp(), at.tzinfo)
        said = ua.DataValue(
            Value=ua.Variant(_plain(value, kind), kind),
            StatusCode=ua.StatusCode(ua.UInt32(status)),
            SourceTimestamp=time,
            ServerTimestamp=time,
        )
        self._saying = True
        try:
            result = await self._server.iserver.aspace.write_attribute_value(node, AttributeIds.Value, said)
        finally:
            self._saying = False
        if result is not None:
            result.check()

    def _id(self, path: str) -> ua.NodeId:
        return ua.NodeId(ua.String(path), ua.Int16(self._index))

    async def _folder(self, parent: Node, path: str, name: str) -> Node:
        return await parent.add_folder(self._id(path), f"{self._index}:{name}")

    async def _variable(self, folders: dict[str, Node], controller: Controller, tag: Tag, at: datetime) -> None:
        center = controller.center
        *above, last = tag.name.split("/")
        for depth, name in enumerate(above):
            path, parent = "/".join(above[: depth + 1]), "/".join(above[:depth])
            if path not in folders:
                folders[path] = await self._folder(folders[parent], f"{center}/{path}", name)
        kind, id = data_type(tag), self._id(f"{center}/{tag.name}")
        shown = controller.shown(tag)
        node = await folders["/".join(above)].add_variable(id, f"{self._index}:{last}", _plain(shown, kind), kind)
        self._tags[center, tag.name] = (node.nodeid, kind)
        await self.say(center, tag.name, shown, at, StatusCodes.Good)
        if tag.writable:
            await node.set_writable()
            self._listen(node, center, tag.name)

    def _listen(self, node: Node, center: str, name: str) -> None:
        async def changed(_handle: int, value: Any, _error: Any = None) -> None:
            if not self._saying and value is not None and value.Value is not None:
                self._written(center, name, value.Value.Value)

        self._server.iserver.aspace.add_datachange_callback(node.nodeid, AttributeIds.Value, changed)


def _plain(value: Value | datetime, kind: ua.VariantType) -> object:
    """As asyncua wants it: a number with a point is a binary float on the wire, whatever it was here."""
    return float(Decimal(str(value))) if kind in (ua.VariantType.Float, ua.VariantType.Double) else value
