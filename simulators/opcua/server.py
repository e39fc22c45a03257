"""The server of the simulated line: starts, goes down and comes back while the controllers go on counting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes

from simulators.line.tags import Update, Value
from simulators.opcua.certificates import certificate_in
from simulators.opcua.controller import Controller
from simulators.opcua.space import Space
from simulators.opcua.standard import Internals

APPLICATION = "urn:gatepost:simulated-line:server"
POLICIES = {
    "none": [ua.SecurityPolicyType.NoSecurity],
    "basic256sha256": [
        ua.SecurityPolicyType.Basic256Sha256_Sign,
        ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ],
    "aes128": [
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ],
    "aes256": [
        ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
        ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    ],
}
SILENT_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server presents itself; a restart may change it."""

    endpoint: str
    certificates: Path | None = None  # None: no certificate, so no policy but "none"
    policies: Sequence[str] = ("none",)
    user: str = ""  # without a user anybody may come in
    password: str = ""
    decoys: int = 1  # namespaces of nobody that are registered before the line's own
    missing: frozenset[str] = frozenset()  # tags, as CENTER/Tag


@dataclass(slots=True)
class Disturbance:
    """What is wrong with the values at the moment."""

    status: dict[str, int] = field(default_factory=dict)  # by work centre; a status code that is not Good
    skew: timedelta = timedelta()
    silent: bool = False


class _OneUser(UserManager):
    """Knows one user and password; with no user everybody is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User | None:
        known = (self._settings.user, self._settings.password)
        if self._settings.user and (username, password) != known:
            return None
        return User(role=UserRole.User, name=username)


class LineServer:
    """The OPC UA side of the line. The controllers say what is new by `show`, whether a server is there or not."""

    def __init__(self, settings: Settings, controllers: Sequence[Controller]) -> None:
        self.settings = settings
        self.wrong = Disturbance()
        self.finished = asyncio.Event()  # every lot is made, and acknowledged where it must be
        self.halted = 0  # subscriptions that are silent now
        self._controllers = {one.center: one for one in controllers}
        self._server: Server | None = None
        self._space: Space | None = None
        self._last = datetime.now(UTC)
        self._done_at = dict.fromkeys(self._controllers, self._last)
        self._restarting = asyncio.Lock()

    @property
    def up(self) -> bool:
        """Whether clients can connect."""
        return self._space is not None

    async def start(self) -> None:
        """Build the address space anew, with what the tags show now, and listen."""
        server = await self._configured()
        space = Space(server, self._heard)
        await space.build(list(self._controllers.values()), self.settings.decoys, self.settings.missing, self._now())
        await server.start()
        self._server, self._space = server, space
        await self.say_all()  # what changed while the space was built

    async def stop(self) -> None:
        """Close every connection; sessions and subscriptions are gone."""
        server, self._server, self._space = self._server, None, None
        if server is not None:
            await server.stop()
            self._internals.hand_on()

    async def restart(self, seconds: float, settings: Settings | None = None) -> None:
        """Down for at least so long; the controllers go on meanwhile."""
        async with self._restarting:
            await self.stop()
            await asyncio.sleep(seconds)
            self.settings = settings or self.settings
            await self.start()

    async def show(self, center: str, updates: Sequence[Update]) -> None:
        """Write what changed in one scan, in its order and with one source time, so that nobody sees half of it."""
        at, controller = self._now(), self._controllers[center]
        shown = {tag.name: tag for tag in controller.tags}
        for update in updates:
            await self._say(center, update.tag, controller.shown(shown[update.tag]), at)
        if any(update.tag == "Lot/Number" for update in updates):
            self._done_at[center] = at + self.wrong.skew
        await self._say(center, "Lot/DoneAt", self._done_at[center], at)

    async def say_all(self, center: str | None = None) -> None:
        """Write every tag again: its status or its time has changed, or its total was reset."""
        for controller in self._controllers.values():
            if center in (None, controller.center):
                at = self._now()
                for tag in controller.tags:
                    await self._say(controller.center, tag.name, controller.shown(tag), at)
                await self._say(controller.center, "Lot/DoneAt", self._done_at[controller.center], at)

    async def finish(self, at_work: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the controllers to make their last lots."""
        await asyncio.gather(*at_work)
        self.finished.set()

    async def silence(self, seconds: float) -> None:
        """Publish nothing for so long, not even a keep-alive; reads are answered, so the server looks alive."""
        halted = set()
        self.halted = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self.wrong.silent = True
        try:
            while self.wrong.silent and (left := end - loop.time()) > 0:
                if self._server is not None:
                    for one in self._server.iserver.subscription_service.subscriptions.values():
                        if one._task is not None:
                            one._task.cancel()
                            one._task = None
                            halted.add(one)
                            self.halted = len(halted)
                await asyncio.sleep(min(left, SILENT_LOOK_S))
        finally:
            self.wrong.silent = False
        self.halted = 0
        for one in halted:
            await one.start()

    async def _say(self, center: str, name: str, value: Value | datetime, at: datetime) -> None:
        if self._space is not None:
            status = self.wrong.status.get(center, StatusCodes.Good)
            await self._space.say(center, name, value, at + self.wrong.skew, status)

    def _heard(self, center: str, name: str, value: Value) -> None:
        self._controllers[center].written(name, value)

    def _now(self) -> datetime:
        """The controllers' clock: no two scans have the same time, so a reader can put them in order."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last

    async def _configured(self) -> Server:
        settings = self.settings
        self._internals = Internals(user_manager=_OneUser(settings))
        server = Server(self._internals)
        await server.init()
        server.set_endpoint(settings.endpoint)
        server.set_server_name("Simulated line")
        await server.set_application_uri(APPLICATION)
        if settings.certificates is not None:
            paths = await asyncio.to_thread(certificate_in, settings.certificates, APPLICATION)
            await server.load_certificate(paths.certificate)
            await server.load_private_key(paths.key)
        server.set_security_policy([one for name in settings.policies for one in POLICIES[name]])
        server.set_identity_tokens([ua.UserNameIdentityToken] if settings.user else [ua.AnonymousIdentityToken])
        return server


@asynccontextmanager
async def listening(settings: Settings, controllers: Sequence[Controller]) -> AsyncIterator[LineServer]:
    """A server that listens, with the controllers at work; both end with the block."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # a client that is cut off is what this is for
    line = LineServer(settings, controllers)
    await line.start()
    try:
        async with asyncio.TaskGroup() as work:
            tasks = [work.create_task(one.run(line.show)) for one in controllers]
            tasks.append(work.create_task(line.finish(list(tasks))))
            try:
                yield line
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        await line.stop()
