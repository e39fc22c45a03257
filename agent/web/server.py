"""The agent's HTTP face: uvicorn inside the agent's event loop, for the API and for the management network."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final, cast

import uvicorn

from agent.app import Agent
from agent.configuration.face_settings import Api, Tls
from agent.errors import ConfigError, Finding
from agent.web.api import application
from agent.web.auth import write_operator_token
from agent.web.console.history import History
from agent.web.limits import Application, Gate, Limits
from agent.web.probes import Probes
from agent.web.protocol import Protocol

log = logging.getLogger("gatepost.web")

KEEP_ALIVE_S: Final = 20
GRACE_S: Final = 3  # for answers under way at a stop
BACKLOG: Final = 128
MANAGEMENT: Final = Limits(body_bytes=1024, rate_per_second=20.0)


async def serve(agent: Agent) -> None:
    """Listen where the configuration says until cancelled; answers under way are finished. Raises ConfigError."""
    api, management = agent.config.api, agent.config.management
    async with asyncio.TaskGroup() as group:
        if api is not None:
            group.create_task(_serve_api(agent, api), name="http api")
        if management is not None:
            metrics = cast("Application", Gate(Probes(agent, with_metrics=True), lambda: MANAGEMENT))
            group.create_task(_listen(agent, "management", metrics, management.address, None), name="http management")


async def _serve_api(agent: Agent, api: Api) -> None:
    """The API, and as long as it listens the token of the operator on this machine."""
    token, path = write_operator_token(agent.config.store.path.parent)
    history = History(agent)
    try:
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(history.run(), name="history of the backlog")
            await _listen(agent, "api", application(agent, api, token, history), api.address, api.tls)
            looking.cancel()
    finally:
        path.unlink(missing_ok=True)


async def _listen(agent: Agent, section: str, app: Application, address: str, tls: Tls | None) -> None:
    if tls is not None:
        _require_certificate(agent, section, tls)
    sockets = _bind(agent, section, address)
    server = _Server(_settings(app, tls))
    log.info("%s listens on %s", section, address)
    try:
        await server.serve(sockets)
    finally:
        if server.started:
            await server.shutdown(sockets)
        for one in sockets:
            one.close()


def _require_certificate(agent: Agent, section: str, tls: Tls) -> None:
    """Raises ConfigError where TLS could not be spoken with this certificate and key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password="")  # never ask a terminal
    except OSError as error:
        message = f"cannot be used: {error}; it needs a certificate chain and its key, PEM, without a passphrase"
        raise _unfit(agent, section, "tls", message, str(tls.cert)) from error


def _settings(app: Application, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", app),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever sets X-Forwarded-For could be anybody
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=tls.cert if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )


def _bind(agent: Agent, section: str, address: str) -> list[socket.socket]:
    """Sockets for every address that the host stands for. Raises ConfigError where one cannot be listened on."""
    host, _, port = address.rpartition(":")
    sockets: list[socket.socket] = []
    try:
        places = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in dict.fromkeys(places):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.setblocking(False)
            one.bind(place)
    except OSError as error:
        for one in sockets:
            one.close()
        taken = (
            "; another program listens there, stop it or choose another port" if error.errno == errno.EADDRINUSE else ""
        )
        message = f"cannot be listened on: {error.strerror}{taken}"
        raise _unfit(agent, section, "address", message, address) from error
    return sockets


def _unfit(agent: Agent, section: str, key: str, message: str, value: str) -> ConfigError:
    """What cannot be used, at its line in the file."""
    node = agent.config.tree.get(section, key) or agent.config.tree
    return ConfigError([Finding(str(agent.config.file), node.line, f"{section}.{key}", message, value)])


class _Server(uvicorn.Server):
    """uvicorn's server as a part of the agent: no signal handlers, no clock that ticks ten times a second."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Until cancelled; the Date header moves on every second."""
        while True:
            await self.on_tick(0)
            await asyncio.sleep(1.0)
