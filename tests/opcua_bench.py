"""What the tests of the OPC UA source share: real asyncua servers, in this process or in one that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncua
from asyncua.client.client import Client
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from agent.sources.opcua import OpcuaConfig, OpcuaSource, Pace
from agent.sources.opcua_security import Certificates
from simulators.broker import free_port as free_port
from tests.mqtt_bench import Shelf, until

ua: Any = asyncua.ua  # its types are stricter than what it takes
URI = "urn:test:plc"
QUICK = Pace(first=0.05, most=0.5, refused=0.3, look=0.1, steady=0.0, missing=0.3)
EVENT = {
    "name": "good",
    "topic": "plant/good",
    "when": {"counts": {"least": "1"}},
    "counted": {"quantity": {"tag": "good", "max_step": "1000000"}},
}
REQUEST = {
    "name": "lot",
    "topic": "plant/lot",
    "when": {"rising": "done"},
    "fields": {"lot": "lot"},
    "handshake": {"ack": "ack"},
}
TAGS = {"good": "ns=plc;s=good", "lot": "ns=plc;s=lot", "done": "ns=plc;s=done", "ack": "ns=plc;s=ack"}
NODES: Mapping[str, tuple[Any, str]] = {
    "good": (0, "UInt32"),
    "lot": ("LOT-1", "String"),
    "done": (False, "Boolean"),
    "ack": (False, "Boolean"),
}


def url_of(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}/"


class Users(UserManager):
    """One person, `operator` with the password `s3cret`; `certificates` come in as well."""

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        known = (username, password) == ("operator", "s3cret") or (username is None and certificate is not None)
        return User(role=UserRole.Admin, name=str(username)) if known else None


async def build(
    port: int,
    nodes: Mapping[str, tuple[Any, str]] = NODES,
    *,
    uri: str = URI,
    before: Sequence[str] = (),
    secured: Path | None = None,
    users: bool = False,
    policies: Sequence[str] = ("Basic256Sha256_Sign", "Basic256Sha256_SignAndEncrypt"),
    tokens: Sequence[Any] = (),
) -> tuple[Server, dict[str, Any]]:
    """A server with writable variables. `before` are namespaces that shift the index of ours."""
    server: Any = Server(user_manager=Users()) if users else Server()
    await server.init()
    server.set_endpoint(url_of(port))
    if secured is not None:
        own = Certificates(secured).own(datetime.now(UTC))
        await server.set_application_uri(own.uri)
        await server.load_certificate(own.certificate)
        await server.load_private_key(own.key)
        server.set_security_policy([getattr(ua.SecurityPolicyType, one) for one in policies])
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    if tokens:
        server.set_identity_tokens(list(tokens))
    for one in before:
        await server.register_namespace(one)
    index = await server.register_namespace(uri)
    folder = await server.nodes.objects.add_object(index, "Line5")
    made = {}
    for name, (value, kind) in nodes.items():
        node = await folder.add_variable(
            ua.NodeId(name, index), ua.QualifiedName(name, index), value, getattr(ua.VariantType, kind)
        )
        await node.set_writable()
        made[name] = node
    return server, made


@contextlib.asynccontextmanager
async def serving(port: int, **options: Any) -> AsyncIterator[dict[str, Any]]:
    """A server in this process; yields its nodes by name, and itself under `server`."""
    server, nodes = await build(port, **options)
    await server.start()
    try:
        yield {**nodes, "server": server}
    finally:
        await server.stop()


async def put(node: Any, value: Any, kind: str = "UInt32", status: int = 0, at: datetime | None = None) -> None:
    """Let a node say something."""
    sent = ua.DataValue(ua.Variant(value, getattr(ua.VariantType, kind)), ua.StatusCode(ua.UInt32(status)))
    await node.write_value(
        ua.DataValue(sent.Value, sent.StatusCode, SourceTimestamp=at or datetime.now(UTC), ServerTimestamp=None)
    )


class Child:
    """A server in a process of its own, that can be stopped, continued and killed."""

    def __init__(self, port: int, *arguments: str) -> None:
        self.port = port
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220  # it starts at once, and is waited for below
            [sys.executable, "-m", "tests.opcua_bench", str(self.port), *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line == b"ready\n"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    async def set(self, value: int) -> None:
        """Write the counter as a controller does."""
        async with Client(url_of(self.port)) as client:
            index = await client.get_namespace_index(URI)
            await client.get_node(f"ns={index};s=good").write_value(ua.Variant(value, ua.VariantType.UInt32))


@contextlib.asynccontextmanager
async def child(port: int, *arguments: str) -> AsyncIterator[Child]:
    one = Child(port, *arguments)
    await one.start()
    try:
        yield one
    finally:
        one.kill()


def config(*ports: int, **options: Any) -> OpcuaConfig:
    settings: dict[str, Any] = {
        "name": "plc",
        "endpoints": [url_of(port) for port in ports],
        "policy": "none",
        "namespaces": {"plc": URI},
        "tags": TAGS,
        "events": [EVENT],
        "publishing_ms": 50,
        "sampling_ms": 0,
        **options,
    }
    return OpcuaConfig.model_validate(settings)


def source(*ports: int, folder: Path = Path("/nonexistent"), pace: Pace = QUICK, **options: Any) -> OpcuaSource:
    return OpcuaSource(config(*ports, **options), folder=folder, pace=pace)


@contextlib.asynccontextmanager
async def running(opcua: OpcuaSource, shelf: Shelf, *, connected: bool = True) -> AsyncIterator[OpcuaSource]:
    task = asyncio.create_task(opcua.run(shelf))
    try:
        if connected:
            await until(lambda: opcua.status()["connected"] or task.done())
        yield opcua
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _main(port: int, before: Sequence[str]) -> None:
    server, _ = await build(port, before=before)
    async with server:
        os.write(1, b"ready\n")
        await asyncio.Event().wait()


def numbers(shelf: Shelf) -> Iterator[Any]:
    """The quantities that were reported."""
    import json
    from decimal import Decimal

    for payload in shelf.payloads:
        yield json.loads(payload, parse_float=Decimal)["quantity"]


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2:]))
