"""A line behind an OPC UA server: it copies the id of an order into its answer node, or has a method that takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncua
from asyncua.server.server import Server

from simulators.opcua.standard import Internals

ua: Any = asyncua.ua  # its types are stricter than what it takes
URI: Final = "urn:gatepost:line"
NODES: Final[Mapping[str, tuple[Any, str]]] = {
    "order": ("", "String"), "material": ("", "String"), "quantity": (0.0, "Double"), "sequence": (0, "Int32"),
    "request": ("", "String"), "answer": ("", "String"), "refused": ("", "String"), "active": (True, "Boolean"),
}  # fmt: skip


class NodeLine:
    """`taken` are the ids in order. `refuses`: why it does not take the next one; `silent`: answers when it speaks."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = nodes
        self.taken: list[str] = []
        self.refuses = ""
        self.silent = False
        self._unsaid = ""

    async def datachange_notification(self, _node: Any, id: str, _data: Any) -> None:
        """Somebody wrote the request node."""
        if not id:
            return
        why, self.refuses = self.refuses, ""
        if not why and id not in self.taken:
            self.taken.append(id)
        await self.nodes["refused"].write_value(why)
        if self.silent:
            self._unsaid = id
        else:
            await self.nodes["answer"].write_value(id)

    async def speak(self) -> None:
        """Give the answer that was kept back."""
        self.silent = False
        if self._unsaid:
            await self.nodes["answer"].write_value(self._unsaid)

    async def take(self, _parent: Any, id: Any, order: Any, quantity: Any) -> list[Any]:
        """The method."""
        why, self.refuses = self.refuses, ""
        if not why and id.Value not in self.taken:
            self.taken.append(id.Value)
        return [ua.Variant(not why, ua.VariantType.Boolean), ua.Variant(why, ua.VariantType.String)]


@asynccontextmanager
async def node_line(port: int, place: str) -> AsyncIterator[NodeLine]:
    """A server with the nodes ``PLACE.order`` … and the method ``PLACE.take``, unprotected: a bench."""
    internals = Internals()
    server: Any = Server(iserver=internals)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    folder = await server.nodes.objects.add_object(ua.NodeId(place, index), ua.QualifiedName(place, index))
    nodes = {}
    for name, (value, kind) in NODES.items():
        node = ua.NodeId(f"{place}.{name}", index)
        made = await folder.add_variable(node, ua.QualifiedName(name, index), value, getattr(ua.VariantType, kind))
        await made.set_writable()
        nodes[name] = made
    line = NodeLine(nodes)
    texts = [ua.VariantType.String, ua.VariantType.String, ua.VariantType.Double]
    await folder.add_method(
        ua.NodeId(f"{place}.take", index),
        ua.QualifiedName("take", index),
        line.take,
        texts,
        [ua.VariantType.Boolean, ua.VariantType.String],
    )
    await server.start()
    try:
        subscription = await server.create_subscription(10, line)
        await subscription.subscribe_data_change(nodes["request"])
        yield line
    finally:
        await server.stop()
        internals.hand_on()
