"""An OPC UA server with one totaliser that grows ten times a second, also while the server is away."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from asyncua import ua
from asyncua.server.server import Server

from tests.bench.sides import arguments
from tests.bench.sides.opcua_server import NAMESPACE

STEP_S = 0.1


async def main(port: int, began: float) -> None:
    """Serve until it is killed; says on the monotonic clock of the machine when its port is about to open."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/bench")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index: Any = await server.register_namespace(NAMESPACE)
    id = ua.NodeId(ua.String("t0"), index)
    total = await server.nodes.objects.add_variable(id, f"{index}:t0", _total(began), ua.VariantType.UInt32)
    opens = time.monotonic()
    async with server:
        print(f"listens {opens}", flush=True)
        while True:
            await total.write_value(ua.Variant(_total(began), ua.VariantType.UInt32))
            await asyncio.sleep(STEP_S)


def _total(began: float) -> int:
    return int((time.monotonic() - began) / STEP_S)


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
