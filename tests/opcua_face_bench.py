"""What tests of the agent as an OPC UA server share: a client that reads and calls, and comes in as somebody."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaStatusCodeError

from agent.opcua.nodes import NAMESPACE
from tests.api_bench import Bench, free_port, until

SECURED = {
    "basic256sha256": SecurityPolicyBasic256Sha256,
    "aes128": SecurityPolicyAes128Sha256RsaOaep,
    "aes256": SecurityPolicyAes256Sha256RsaPss,
}


class Asking:
    """One client's session: reads by the path below Gatepost, calls by name."""

    def __init__(self, client: Client, index: int) -> None:
        self.client, self.index = client, index

    def node(self, path: str) -> Node:
        return self.client.get_node(ua.NodeId(ua.String(path), ua.Int16(self.index)))

    async def read(self, path: str) -> Any:
        return await self.node(path).read_value()

    async def status(self, path: str) -> int:
        found = await self.node(path).read_data_value(raise_on_bad_status=False)
        return int(found.StatusCode.value if found.StatusCode else 0)

    async def becomes(self, path: str, wanted: Any) -> None:
        """Wait for a value, or for one that `wanted` agrees with."""

        async def there() -> bool:
            found = await self.read(path)
            return bool(wanted(found) if callable(wanted) else found == wanted)

        await until(there)

    async def level(self) -> int:
        """The service level of the server."""
        return int(await self.client.get_node(ua.NodeId(ua.Int32(ObjectIds.Server_ServiceLevel))).read_value())

    async def has_level(self, level: int) -> bool:
        return await self.level() == level

    async def call(self, method: str, *given: Any) -> Any:
        return await self.node("Gatepost").call_method(f"{self.index}:{method}", *given)

    async def held(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(await self.call("ListHeld", 100))["items"]
        return items

    async def decide(self, method: str, one: dict[str, Any], *given: Any) -> tuple[bool, dict[str, Any]]:
        done, answer = await self.call(method, one["id"], one["version"], *given)
        return done, json.loads(answer)


@contextlib.asynccontextmanager
async def asking(plant: Bench, user: str = "", password: str = "", **secured: Any) -> AsyncIterator[Asking]:
    """A client that is connected as this user, with the bench's token where no other password is given."""
    settings = plant.agent.config.opcua_server
    assert settings is not None
    client = Client(f"opc.tcp://{settings.address}", timeout=30)
    if user:
        client.set_user(user)
        client.set_password(password or f"{user}-secret")
    if secured:
        client.application_uri = secured.pop("uri")
        await client.set_security(**secured)
    async with client:
        yield Asking(client, await client.get_namespace_index(NAMESPACE))


async def refused(awaitable: Any) -> int:
    """The status code that this ends with."""
    with pytest.raises(UaStatusCodeError) as raised:
        await awaitable
    return int(raised.value.code)


async def entered(plant: Bench, user: str = "", password: str = "", **secured: Any) -> None:
    """Come in and go."""
    async with asking(plant, user, password, **secured):
        pass


async def listens(plant: Bench) -> bool:
    """Whether the OPC UA side is up: it is built while the agent works already."""
    settings = plant.agent.config.opcua_server
    assert settings is not None
    host, _, port = settings.address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def open_to_this_machine(**more: Any) -> dict[str, Any]:
    """Configuration of a server without encryption, on a port of its own."""
    return {"address": f"127.0.0.1:{free_port()}", "security": ["none"], **more}
