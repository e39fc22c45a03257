"""The standard part of the address space, which takes seconds to build: handed on from one server to the next."""

from __future__ import annotations

from pathlib import Path

from asyncua import ua
from asyncua.server.address_space import NodeData
from asyncua.server.internal_server import InternalServer

_SPARE: list[dict[ua.NodeId, NodeData]] = []  # of servers of this process that have ended


class Internals(InternalServer):
    """Takes over the standard nodes of a server that has ended, where there is one."""

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        """Build them only where none are left over."""
        if _SPARE:
            self.aspace._nodes = _SPARE.pop()
        else:
            await super().load_standard_address_space(shelf_file)

    async def stop(self) -> None:
        """Without the second that the clock's task may sleep on."""
        if self.time_task is not None:
            self.time_task.cancel()
            self.time_task = None
        await super().stop()

    def hand_on(self) -> None:
        """Leave the standard nodes behind, and nothing of this server in them; it is never used again."""
        kept = {id: node for id, node in self.aspace._nodes.items() if id.NamespaceIndex == 0}
        for node in kept.values():
            node.references = [one for one in node.references if one.NodeId.NamespaceIndex == 0]
            for attribute in node.attributes.values():
                attribute.datachange_callbacks.clear()
        self.aspace._nodes = {}
        _SPARE.append(kept)
