"""The agent as a Sparkplug edge node: born when connected, says every second what changed, and dies by will.

What it says is what the OPC UA server shows, under the same names. Nothing here can disturb the agent: a broker that
is away is tried again, and whatever goes wrong is logged and begins with a new connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from agent import assembly
from agent.app import Agent
from agent.configuration.brokers import Broker
from agent.configuration.face_settings import SparkplugNode
from agent.edge_node.link import Link
from agent.errors import GatepostError, SourceLost
from agent.faces import Face
from agent.opcua.figures import look
from agent.opcua.nodes import Kind, Parts, variables
from agent.sources.mqtt_retry import BrokerRefused, Pace, Retry, plain
from agent.sparkplug.birth import Birth, Metric, Value, next_number
from agent.sparkplug.primary import PrimaryHost
from agent.sparkplug.schema import DataType

log = logging.getLogger("gatepost.sparkplug_node")

KEPT: Final = "sparkplug_node/bdSeq"  # the number of the last connection, of this life or an earlier one
PACE: Final = Pace(most=30.0)
EXPECTED: Final = (GatepostError, apsw.Error, OSError)
BIRTHS_S: Final = 1.0  # shortest time between two births that were asked for
NOBODY: Final = Parts((), (), (), ())
REFUSED: Final = Metric("CommandsRefused", DataType.INT64)
TYPES: Final = {
    Kind.BOOLEAN: DataType.BOOLEAN,
    Kind.INT: DataType.INT64,
    Kind.NUMBER: DataType.DOUBLE,
    Kind.TEXT: DataType.STRING,
    Kind.TIME: DataType.DATETIME,
}


async def serve(agent: Agent) -> None:
    """Speak until cancelled."""
    if agent.config.sparkplug_node is not None:
        node = EdgeNode(agent, agent.config.sparkplug_node)
        agent.faces["sparkplug_node"] = node.status
        await node.run()


class EdgeNode:
    """The edge node over all of its connections."""

    def __init__(self, agent: Agent, settings: SparkplugNode) -> None:
        self._agent = agent
        self._settings = settings
        self._around = assembly.surroundings(agent.config, agent.clock, {})
        self._retry = Retry(PACE, settings.endpoints, time.monotonic)
        self._last: bytes | None = None  # bdSeq
        self._beat = 0
        self._refused = 0  # commands, in earlier connections
        self._parts = NOBODY
        self._face = Face(agent.clock)
        self._waiting = ""  # for what it says nothing although it is connected
        self._link: Link | None = None

    def status(self) -> Mapping[str, Any]:
        """As of any face; ``broker`` that is connected or tried, ``waiting`` for what, ``refused`` commands so far."""
        link = self._link
        return {
            **self._face.status(),
            "broker": str(self._retry.broker),
            "waiting": self._waiting,
            "refused": self._refused + (link.refused if link is not None else 0),
        }

    async def run(self) -> None:
        """One connection after the other."""
        self._last = await asyncio.to_thread(self._kept)
        while True:
            try:
                await self._connected(self._retry.broker)
            except SourceLost as error:
                self._lost(str(error))
            except Exception as error:  # telling must never end deciding
                log.exception("sparkplug_node: unexpected error")
                self._face.down(f"{type(error).__name__}: {error}")
                self._retry.failed(refused=False)
            await asyncio.sleep(self._retry.wait())

    def _lost(self, why: str) -> None:
        """Said once until something else is wrong."""
        if why != self._face.error:
            log.warning("sparkplug_node lost: %s", why)
        self._face.down(why)

    # one connection

    async def _connected(self, broker: Broker) -> None:
        """From its will to its end. Raises SourceLost."""
        birth = Birth(f"{self._settings.group}/{self._settings.node}", await self._number())
        host = PrimaryHost(self._settings.primary_host) if self._settings.primary_host else None
        link = Link(self._settings, broker, birth.death(self._agent.clock()), host)
        up_at: float | None = None
        try:
            await link.open()
            up_at = time.monotonic()
            log.info("sparkplug_node connected: %s", broker)
            self._face.up()
            self._link = link
            self._retry.connected()
            await self._speak(link, birth, host)
        except (SourceLost, OSError) as error:
            why = plain(error, self._settings) if isinstance(error, OSError) else str(error)
            self._next(link, up_at, refused=isinstance(error, BrokerRefused))
            raise SourceLost(f"{broker}: {why}") from error
        finally:
            self._waiting, self._link = "", None
            self._refused += link.refused
            await link.close(birth.death(self._agent.clock()) if birth.born else None)

    def _next(self, link: Link, up_at: float | None, *, refused: bool) -> None:
        """Which broker is tried next, and when."""
        if up_at is None or link.ended is None:  # no connection, or one that we leave because the host is elsewhere
            self._retry.failed(refused=refused)
        elif self._retry.ended(up_at, refused=refused, explained=link.explained):
            log.error("sparkplug_node: is a second agent running with client_id %s?", link.client_id)

    async def _speak(self, link: Link, birth: Birth, host: PrimaryHost | None) -> None:
        """Birth, data and rebirths, while the primary host listens. Raises SourceLost."""
        began = time.monotonic()
        due = born_at = 0.0
        while True:
            link.check()
            now = time.monotonic()
            if host is not None and not host.online:
                if birth.born:
                    raise SourceLost(f"the primary host {self._settings.primary_host} went offline")
                self._waiting = f"for the primary host {self._settings.primary_host} to be online"
                left = began + self._settings.primary_host_s - now if len(self._settings.brokers) > 1 else None
                if left is not None and left <= 0:
                    raise SourceLost(f"the primary host {self._settings.primary_host} is not online here")
                await link.news(left)
                continue
            self._waiting = ""
            asked_at = born_at + BIRTHS_S if link.rebirth else due
            if min(due, asked_at) <= now:
                born_at = now if await self._say(link, birth) else born_at
                due = now + self._settings.every_s
            else:
                await link.news(min(due, asked_at) - now)

    async def _say(self, link: Link, birth: Birth) -> bool:
        """A birth where one is due, otherwise what has changed; whether it was a birth."""
        metrics, values = await self._seen(self._refused + link.refused)
        at = self._agent.clock()
        if link.rebirth or not birth.fits(metrics):
            link.rebirth = False
            link.publish(birth.birth(metrics, values, at))
            return True
        data = birth.data(values, at)
        if data is not None:
            link.publish(data)
        return False

    async def _seen(self, refused: int) -> tuple[Sequence[Metric], Mapping[str, Value]]:
        """What there is to say. A state that cannot be read is said too: as not ready, with all else null."""
        self._beat += 1
        own: dict[str, Value] = {"Heartbeat": self._beat, REFUSED.name: refused}
        try:
            seen = await asyncio.to_thread(look, self._agent)
        except Exception as error:  # whatever it is, it is said: telling must never end deciding
            why = f"the state cannot be read: {error or type(error).__name__}"
            if why != self._face.error:
                log.warning("sparkplug_node: %s", why, exc_info=not isinstance(error, EXPECTED))
            self._face.up(but=why)
            metrics = _metrics(self._parts)
            nothing: dict[str, Value] = dict.fromkeys(one.name for one in metrics)
            return metrics, {**nothing, **own, "Ready": False, "WhyNotReady": why}
        self._face.up()
        self._parts = seen.parts
        return _metrics(seen.parts), {**seen.values, **own}

    # the number of the connection

    async def _number(self) -> int:
        """Another one than that of any connection before, on disk before it is used."""
        number = next_number(self._last)
        self._last = str(number).encode()
        try:
            await asyncio.to_thread(self._around.keep, KEPT, self._last)
        except OSError as error:  # a full disk: hosts may take an old death for ours after a restart, no more
            log.warning("sparkplug_node: the number of the connection cannot be kept: %s", error)
        return number

    def _kept(self) -> bytes | None:
        try:
            return self._around.kept(KEPT)
        except OSError as error:
            log.warning("sparkplug_node: the number of the last connection cannot be read: %s", error)
            return None


def _metrics(parts: Parts) -> list[Metric]:
    """The variables of the OPC UA server, and how many commands were refused."""
    return [*(Metric(one.path, TYPES[one.kind]) for one in variables(parts)), REFUSED]
