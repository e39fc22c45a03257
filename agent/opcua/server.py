"""The agent as an OPC UA server: listens where the configuration says, and shows the agent's state every second."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import apsw
from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.server import Server

from agent import __version__
from agent.access.throttle import WAITING, Throttle, address_of
from agent.app import Agent
from agent.configuration.face_settings import OpcuaServer
from agent.errors import ConfigError, Finding, GatepostError
from agent.faces import Face
from agent.opcua.access import Door, Inside, Permissions, Users
from agent.opcua.address_space import AddressSpace
from agent.opcua.figures import Value, look
from agent.opcua.methods import Methods
from agent.opcua.nodes import variables
from agent.ports import Clock
from agent.sources.opcua_security import Certificates

log = logging.getLogger("gatepost.opcua")

EVERY_S: Final = 1.0
AGAIN_S: Final = 30.0  # after it ended by itself
HEALTHY: Final = 255  # service levels, part 4, 6.6.2.4.2
NO_DATA: Final = 1
EXPECTED: Final = (GatepostError, apsw.Error, OSError)
CHUNK: Final = 65_535  # bytes
MESSAGE: Final = 4 << 20  # bytes of one message; 20 000 monitored items fit
BUFFER: Final = 1 << 20  # bytes of a connection that make no chunk yet
POLICIES: Final = {
    "none": ua.SecurityPolicyType.NoSecurity,
    "basic256sha256": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    "aes128": ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    "aes256": ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
}
PRODUCT: Final = "urn:gatepost:agent:product"


async def serve(agent: Agent) -> None:
    """Listen until cancelled. Raises ConfigError where the address or the certificate cannot be used at the start."""
    settings = agent.config.opcua_server
    if settings is None:
        return
    for name in ("asyncua", "asyncuagds"):  # a client's mistakes are told to the client, and must not fill our log
        logging.getLogger(f"{name}.server" if name == "asyncua" else name).setLevel(logging.CRITICAL)
    users = Users(lambda: agent.config.api.tokens if agent.config.api else (), anonymous=settings.anonymous)
    face = _Face(agent.clock, settings.address, Throttle("OPC UA clients"))
    agent.faces["opcua_server"] = face.status
    while True:
        try:
            await _serve_once(agent, settings, users, face)
        except Exception as error:  # a display must never end the agent that posts
            if isinstance(error, ConfigError) and face.connected is None:
                raise
            log.exception("opcua_server ended; it begins again in %.0f s", AGAIN_S)
            face.down(f"{type(error).__name__}: {error}")
        await asyncio.sleep(AGAIN_S)


async def _serve_once(agent: Agent, settings: OpcuaServer, users: Users, face: _Face) -> None:
    """One server from its making to whatever ends it."""
    server, inside = await _made(agent, settings, users, face.throttle)
    space = AddressSpace(server)
    await space.build(Methods(agent, users.calling).table())
    shown = Shown(agent, space)
    await shown.refresh()
    await _listen(agent, server, settings)
    log.info("opcua_server listens on %s", settings.address)
    face.inside = inside
    try:
        while True:
            face.up(but=await shown.refresh())
            await asyncio.sleep(EVERY_S)
    finally:
        face.inside = None
        await server.stop()


class _Face(Face):
    """The server as status tells it; `inside` is there while it listens."""

    def __init__(self, clock: Clock, address: str, throttle: Throttle) -> None:
        super().__init__(clock)
        self.inside: Inside | None = None
        self.throttle = throttle
        self._address = address

    def status(self) -> Mapping[str, Any]:
        """As of any face; ``sessions`` that clients have entered, ``refused`` clients since the start."""
        entered = self.inside.entered if self.inside is not None else 0
        return {**super().status(), "address": self._address, "sessions": entered, "refused": self.throttle.total}


class Shown:
    """What clients see. A look that fails is shown too: as not ready, with all else uncertain."""

    def __init__(self, agent: Agent, space: AddressSpace) -> None:
        self._agent = agent
        self._space = space
        self._beat = 0
        self._why = ""  # the state could not be shown, said once

    async def refresh(self) -> str:
        """One second's values; why they are not those of now, or nothing."""
        self._beat += 1
        at = self._agent.clock()
        try:
            seen = await asyncio.to_thread(look, self._agent)
            await self._space.require(variables(seen.parts))
            await self._space.show({"Heartbeat": self._beat, **seen.values}, at)
            await self._space.serve_at(HEALTHY)
        except Exception as error:  # noqa: BLE001  # it is shown: a display must never end the agent that posts
            await self._doubt(error, at)
        else:
            self._why = ""
        return self._why

    async def _doubt(self, error: Exception, at: datetime) -> None:
        why = f"the state cannot be read: {error or type(error).__name__}"
        if why != self._why:
            log.warning("opcua_server: %s", why, exc_info=not isinstance(error, EXPECTED))
        self._why = why
        trouble: dict[str, Value] = {"Heartbeat": self._beat, "Ready": False, "WhyNotReady": why}
        await self._space.doubt(at, trouble)
        await self._space.show(trouble, at)
        await self._space.serve_at(NO_DATA)


async def _made(agent: Agent, settings: OpcuaServer, users: Users, throttle: Throttle) -> tuple[Server, Inside]:
    """A server that does not listen yet."""
    secured = [name for name in settings.security if name != "none"]
    certificates = Certificates(settings.certificates or agent.config.store.path.parent / "opcua_server")
    door = Door(certificates if secured else None, open_too="none" in settings.security)
    inside = Inside(users, door, settings.max_sessions, throttle)
    server = Server(inside)
    await server.init()
    server.set_endpoint(f"opc.tcp://{settings.address}/")
    server.set_server_name("Gatepost")
    server.application_type = ua.ApplicationType.Server
    server.product_uri, server.manufacturer_name = PRODUCT, "Gatepost"
    await server.set_build_info(PRODUCT, "Gatepost", "Gatepost", __version__, "", agent.health.started_at)
    if secured:
        await _certify(agent, server, certificates)
    server.set_security_policy([POLICIES[name] for name in settings.security], Permissions(users))  # type: ignore[arg-type]
    tokens: list[type] = [ua.UserNameIdentityToken]
    server.set_identity_tokens([*tokens, ua.AnonymousIdentityToken] if settings.anonymous else tokens)
    server.limits = TransportLimits(CHUNK, CHUNK, math.ceil(MESSAGE / CHUNK), MESSAGE)
    return server, inside


async def _certify(agent: Agent, server: Server, certificates: Certificates) -> None:
    try:
        own = await asyncio.to_thread(certificates.own, agent.clock())
        await server.load_certificate(own.certificate)
        await server.load_private_key(own.key)
    except (GatepostError, OSError, ValueError) as error:
        raise _unfit(agent, "certificates", str(error), str(certificates.folder)) from error
    await server.set_application_uri(own.uri)
    log.info(
        "OPC UA clients have to trust %s; put the certificates of clients into %s",
        own.certificate,
        certificates.trusted,
    )


async def _listen(agent: Agent, server: Server, settings: OpcuaServer) -> None:
    """As the library starts a server, but with bounded connections, and with our words where it cannot."""
    await server._setup_server_nodes()
    await server.iserver.start()
    host, _, port = settings.address.rpartition(":")
    listener = _Listener(server.iserver, host.strip("[]"), int(port), server.limits)
    listener.set_policies(server._policies)
    try:
        await listener.start()
    except OSError as error:
        await server.iserver.stop()
        why = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot be listened on: {why}; stop what listens there or choose another port"
        raise _unfit(agent, "address", message, settings.address) from error
    server.bserver = listener


class _Connection(OPCUAProtocol):
    """A connection from where somebody may come in; it keeps only so much of what is no message yet."""

    iserver: Inside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = address_of(transport.get_extra_info("peername"))
        waiting = [one for one in self.clients if address_of(one.peer_name) == address and not _entered(one)]
        if len(waiting) >= WAITING or self.iserver.throttle.shuts_out(address):
            transport.close()
        else:
            super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._buffer) > BUFFER and self.transport is not None:
            self._buffer = b""
            self.transport.close()


def _entered(one: OPCUAProtocol) -> bool:
    session = one.processor.session if one.processor is not None else None
    return session is not None and session.is_activated()


class _Listener(BinaryServer):
    def _make_protocol(self) -> OPCUAProtocol:
        known: dict[str, Any] = {"clients": self.clients, "closing_tasks": self.closing_tasks, "limits": self.limits}
        return _Connection(self.iserver, self._policies, **known)


def _unfit(agent: Agent, key: str, message: str, value: str) -> ConfigError:
    """What cannot be used, at its line in the file."""
    node = agent.config.tree.get("opcua_server", key) or agent.config.tree.get("opcua_server") or agent.config.tree
    return ConfigError([Finding(str(agent.config.file), node.line, f"opcua_server.{key}", message, value)])
