"""The variables and methods in the server's address space; only what changed is written."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from agent.opcua.figures import Value
from agent.opcua.nodes import METHODS, NAMESPACE, ROOT, Argument, Kind, Variable

Call = Callable[..., Coroutine[Any, Any, ua.CallMethodResult]]
NO_VALUE: Final = int(StatusCodes.BadNoData)
TYPES: Final[Mapping[Kind, ua.VariantType]] = {kind: ua.VariantType[kind.value] for kind in Kind}


class AddressSpace:
    """Made for one server. A variable that nobody wrote yet waits for its first value, which is a bad quality."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._index = 0
        self._folders: dict[str, Node] = {}
        self._kinds: dict[str, Kind] = {}
        self._shown: dict[str, tuple[Value, int]] = {}
        self._level: int | None = None

    async def build(self, methods: Mapping[str, Call]) -> None:
        """The namespace, the root, and what people can do."""
        self._index = await self._server.register_namespace(NAMESPACE)
        self._folders[""] = await self._server.nodes.objects.add_object(self._id(ROOT), self._name(ROOT))
        for one in METHODS:
            node = await self._folders[""].add_method(
                self._id(one.name), self._name(one.name), methods[one.name],
                [_argument(each) for each in one.takes], [_argument(each) for each in one.gives],
            )  # fmt: skip
            await _describe(node, one.text)

    async def require(self, variables: Iterable[Variable]) -> None:
        """Add those that are not there yet."""
        for one in variables:
            if one.path not in self._kinds:
                folder, _, name = one.path.rpartition("/")
                node = await (await self._folder(folder)).add_variable(
                    self._id(one.path), self._name(name), ua.Variant(None, ua.VariantType.Null), TYPES[one.kind],
                    _data_type(one.kind),
                )  # fmt: skip
                await _describe(node, one.text)
                self._kinds[one.path] = one.kind
                await self._write(one.path, None, int(StatusCodes.BadWaitingForInitialData), None)

    async def show(self, values: Mapping[str, Value], at: datetime, status: int = StatusCodes.Good) -> None:
        """Write what differs from what is shown."""
        for path, value in values.items():
            said = status if value is not None else NO_VALUE
            if path in self._kinds and self._shown.get(path) != (value, said):
                await self._write(path, value, said, at)
                self._shown[path] = (value, said)

    async def doubt(self, at: datetime, except_for: Iterable[str]) -> None:
        """What is shown may be old: it keeps its value and gets an uncertain quality."""
        kept = {path: value for path, (value, _) in self._shown.items() if path not in set(except_for)}
        await self.show(kept, at, StatusCodes.UncertainLastUsableValue)

    async def serve_at(self, level: int) -> None:
        """The service level that redundant clients choose by, 0 to 255."""
        if level != self._level:
            node, said = ua.NodeId(ua.Int32(ObjectIds.Server_ServiceLevel)), ua.Variant(level, ua.VariantType.Byte)
            result = await self._server.iserver.aspace.write_attribute_value(
                node, AttributeIds.Value, ua.DataValue(said)
            )
            result.check()
            self._level = level

    async def _write(self, path: str, value: Value, status: int, at: datetime | None) -> None:
        kind = TYPES[self._kinds[path]]
        time = None if at is None else ua.DateTime.fromtimestamp(at.timestamp(), at.tzinfo)
        if isinstance(value, datetime):
            value = ua.DateTime.fromtimestamp(value.timestamp(), value.tzinfo)
        said = ua.DataValue(
            Value=ua.Variant(None, ua.VariantType.Null) if value is None else ua.Variant(value, kind),
            StatusCode=ua.StatusCode(ua.UInt32(status)),
            SourceTimestamp=time,
        )
        result = await self._server.iserver.aspace.write_attribute_value(self._id(path), AttributeIds.Value, said)
        result.check()

    async def _folder(self, path: str) -> Node:
        """The object of this path, with those above it."""
        if path not in self._folders:
            above, _, name = path.rpartition("/")
            self._folders[path] = await (await self._folder(above)).add_object(self._id(path), self._name(name))
        return self._folders[path]

    def _id(self, path: str) -> ua.NodeId:
        return ua.NodeId(ua.String(path), ua.Int16(self._index))

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self._index)


async def _describe(node: Node, text: str) -> None:
    value = ua.DataValue(ua.Variant(ua.LocalizedText(text), ua.VariantType.LocalizedText))
    await node.write_attribute(AttributeIds.Description, value)


def _data_type(kind: Kind) -> ua.NodeId:
    return ua.NodeId(ua.Int32(getattr(ObjectIds, kind.value)))


def _argument(one: Argument) -> ua.Argument:
    return ua.Argument(
        Name=one.name,
        DataType=_data_type(one.kind),
        ValueRank=ua.Int32(-1),
        Description=ua.LocalizedText(one.text),
    )
