"""Tags of OPC UA servers become events: subscribed, counted, and caught up after every outage.

    session ─▶ values of one message ─▶ TagEvents ─▶ handover ─▶ intake ─▶ (on disk) ─▶ handshakes are written
       ▲                                   ▲
       └── a new one after every loss      └── all tags are stale while there is none, and told anew by the next one

OPC UA knows no acknowledgement after a commit, and a server forgets what happened while nobody was subscribed, unless
it keeps a history. Exact are totals: a counter catches up by difference. Every outage and gap is noticed and shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncua import ua

from agent.errors import SourceLost
from agent.ports import Clock, Intake, Notice, Surroundings
from agent.sources.handover import Handover
from agent.sources.opcua_config import OpcuaConfig
from agent.sources.opcua_connect import connect
from agent.sources.opcua_gap import SELDOM_S, Gaps
from agent.sources.opcua_handshakes import Handshakes
from agent.sources.opcua_moments import moments
from agent.sources.opcua_pace import Pace
from agent.sources.opcua_security import Certificates, ServerRefused, days_left
from agent.sources.opcua_session import Anew, Gap, Session
from agent.sources.opcua_shown import SHOWN, first, listed
from agent.sources.opcua_unread import Unread
from agent.sources.opcua_values import Limits, read, values_dropped
from agent.tags.engine import Made, TagEvents, kept_besides
from agent.tags.live import LiveTags
from agent.tags.values import Change, LivePart

__all__ = ["OpcuaConfig", "OpcuaSource", "Pace"]

log = logging.getLogger("gatepost.opcua")

RIGHT_AGAIN = 0.9  # of the skew that is allowed: one that stays around its limit is told once


class OpcuaSource:
    """A Source over one session at a time; see the configuration for what it promises."""

    def __init__(
        self,
        config: OpcuaConfig,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        folder: Path = Path("var/opcua"),
        pace: Pace | None = None,
    ) -> None:
        self.name = config.name
        self.certificates = Certificates(config.certificates or folder)
        self._config = config
        self._clock = clock
        self._pace = pace or Pace()
        self._key = f"opcua/{config.name}/tags"
        self._limits = Limits(config.max_skew, config.max_text)
        self._gaps = Gaps(config, self._limits)
        self._addresses = config.addresses()
        self._tags: TagEvents | None = None
        self._live = LiveTags(config.live, clock())
        self._handover = Handover(config.name, self._key, clock)
        self._handshakes = Handshakes(config.name, lambda: self._session, self._handover.notice)
        self._session: Session | None = None
        self._moved = asyncio.Event()  # the events may be due at another time than before
        self._turn = 0  # which endpoint
        self._rounds = 0  # over all endpoints, failed
        self._unread = False  # a value of this server could not be decoded: every one is looked at before it is watched
        self._refused = False  # the last try: somebody must do something first
        self._served = ""  # the endpoint of the last connection
        self._up_at: float | None = None  # monotonic: since when this connection serves
        self._told: dict[str, str] = {}  # what was last said about an endpoint since it was lost
        self._missing: dict[str, str] = {}
        self._bad: dict[str, str] = {}
        self._dropped: dict[str, float] = {}  # tag → monotonic: when the server last dropped values of it
        self._warned: dict[str, int] = {}  # certificate → days of the last warning
        self._expires: dict[str, datetime] = {}
        self._skewed_at: datetime | None = None
        self._lost_at: datetime | None = None
        self._lost_why = ""
        self._chosen = False  # the last session was ended by ourselves, and no other try has failed since
        self._troubles: deque[Mapping[str, Any]] = deque(maxlen=SHOWN)
        self._status: dict[str, Any] = {
            "connected": False,
            "since": None,
            "endpoint": None,
            "server_state": None,
            "clock_skew_s": None,
            "reconnects": 0,
            "failures": 0,
            "gaps": 0,
            "error": None,
        }

    @classmethod
    def of(cls, config: OpcuaConfig, around: Surroundings) -> OpcuaSource:
        """Made by the app."""
        return cls(config, clock=around.clock, folder=around.data / "opcua")

    async def run(self, intake: Intake) -> None:
        """Deliver until cancelled; what is not on disk by then is counted again by whoever runs next."""
        if self._tags is None:
            kept = await asyncio.to_thread(intake.checkpoint, self._key)
            self._gaps.recall(kept_besides(kept, self.name))
            places = {tag: str(address) for tag, address in self._addresses.items()}
            self._tags = TagEvents(self._config.events, self.name, kept, places, self._gaps.kept)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._handover.run(intake, self._handshakes.write), name=f"{self.name} handover")
            tasks.create_task(self._tick(self._tags), name=f"{self.name} timers")
            await self._stay_connected(self._tags)

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``since``, ``last_delivery_at``, ``error`` and what the server can add.

        ``missing`` are tags without a node, ``bad`` those without a good value, each with the reason, the first 20;
        ``troubles`` are the latest outages, gaps and skews with the time that each lasted.
        """
        return {
            **self._status,
            "last_delivery_at": self._handover.last_at,
            "blocked_since": self._handover.blocked_since,
            "waiting": self._handover.waiting,
            "tags": len(self._addresses),
            "missing_count": len(self._missing),
            "missing": first(self._missing),
            "bad_count": len(self._bad),
            "bad": first(self._bad),
            "troubles": list(self._troubles),
            "writes_refused": first(self._handshakes.refused),
            "certificates_expire": dict(self._expires),
        }

    def live(self) -> LivePart:
        """See `TellsLive`: the subscription says at every publishing or keep-alive that nothing has changed."""
        session = self._session  # first: without one, no fact is good any more
        silent = 0.0 if session is None else time.monotonic() - session.heard_at
        return LivePart(self._live.facts, silent)

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────────

    async def _stay_connected(self, tags: TagEvents) -> None:
        while True:
            url = self._config.endpoints[self._turn % len(self._config.endpoints)]
            self._up_at = None
            session: Session | None = None
            try:
                session = self._session = await self._open(url)
                await self._begin(session, url)
                await self._watch(session)
            except SourceLost as error:
                self._lost(url, error)
            except Exception as error:  # what one server answers must not end the agent: shown, and again
                log.exception("source %s: unexpected error", self.name)
                self._lost(url, SourceLost(f"unexpected error: {error!r}"))
            finally:
                if session is not None:
                    self._gone(tags)
                self._session = None
                if session is not None:
                    await session.close()
            await self._pause()

    async def _open(self, url: str) -> Session:
        """A session with a server that runs and is the active one. Raises SourceLost."""
        connected = await connect(self._config, url, self.certificates, self._clock())
        self._expires = dict(connected.expires)
        session = Session(connected.client, self._config)
        try:
            await session.prepare()
            await self._look(session)
        except BaseException:
            await session.close()
            raise
        return session

    async def _begin(self, session: Session, url: str) -> None:
        """Find all nodes, and listen to them."""
        self._missing, self._bad = {}, {}
        await session.subscribe(self._received)
        missing = await self._listen(session, list(self._addresses))
        self._connected(url)
        for notice in await self._gaps.make_up(session, self._clock, self._happened):
            self._handover.notice(notice)
        session.ready.set()
        if missing:
            log.warning("source %s: %d tags have no node: %s", self.name, len(missing), listed(missing))
            self._handover.notice(Notice("node_missing", {"count": len(missing), "tags": first(missing)}))

    async def _listen(self, session: Session, tags: Sequence[str]) -> Mapping[str, str]:
        """Watch these tags; returns those that cannot be, and why."""
        assert self._tags is not None  # noqa: S101  # run makes it before anything else
        found = await session.find({tag: self._addresses[tag] for tag in tags})
        written = {tag: node for tag, node in found.nodes.items() if tag in self._tags.written}
        read_only = {tag: node for tag, node in found.nodes.items() if tag not in written or tag in self._tags.tags}
        await session.learn_types(written)
        unread = await session.undecodable(read_only) if self._unread else {}
        readable = {tag: node for tag, node in read_only.items() if tag not in unread}
        refused = await session.watch(readable, self._config.sampling)
        missing = {**found.missing, **unread, **refused}
        for tag, why in missing.items():
            self._live.lost((tag,), why, self._clock())
        self._missing = {tag: why for tag, why in self._missing.items() if tag not in tags} | missing
        return missing

    async def _watch(self, session: Session) -> None:
        """Until the session ends: is the server well, do its clock and its certificate fit, are tags back."""
        search_at = time.monotonic() + self._pace.missing
        while True:
            await asyncio.wait([session.broken], timeout=self._pace.look)
            if session.broken.done():
                session.broken.result()  # raises what ended it
            await self._look(session)
            self._warn_of_expiry()
            await self._handshakes.try_again()
            if self._missing and time.monotonic() > search_at:
                search_at = time.monotonic() + self._pace.missing
                before = dict(self._missing)
                await self._listen(session, list(before))
                back = sorted(set(before) - set(self._missing))
                if back:
                    log.info("source %s: tags have a node again: %s", self.name, ", ".join(back[:SHOWN]))
                    self._handover.notice(Notice("node_found", {"count": len(back), "tags": back[:SHOWN]}, alarm=False))

    async def _look(self, session: Session) -> None:
        """Raises SourceLost for a server that is not running, not the active one, or whose clock is right again."""
        try:
            health = await session.health()
        except TimeoutError:
            raise SourceLost(f"the server answers nothing for {self._config.silent_s:g} s") from None
        self._status["server_state"] = health.state
        if health.state != ua.ServerState.Running.name:
            raise SourceLost(f"the server is in state {health.state}")
        if not health.active:
            raise SourceLost("the server is not the active one of the pair")
        if health.time is not None:
            self._compare_clocks(health.time)

    def _compare_clocks(self, theirs: datetime) -> None:
        now = self._clock()
        skew = theirs - now
        self._status["clock_skew_s"] = round(skew.total_seconds(), 1)
        if abs(skew) > self._config.max_skew:
            if self._skewed_at is None:
                self._skewed_at = now
                log.error("source %s: the server's clock differs from ours by %s", self.name, skew)
                self._handover.notice(Notice("clock_skew", {"seconds": round(skew.total_seconds(), 1)}))
        elif self._skewed_at is not None and abs(skew) < RIGHT_AGAIN * self._config.max_skew:
            self._trouble("clock_skew", self._skewed_at, "the clocks differed")
            self._skewed_at = None
            raise Anew("the clocks agree again: all values are asked for anew")

    def _warn_of_expiry(self) -> None:
        for whose, expires in self._expires.items():
            days = days_left(expires, self._clock())
            if days is None or self._warned.get(whose) == days:
                continue
            self._warned[whose] = days
            log.error("source %s: %s certificate expires on %s", self.name, whose, f"{expires:%Y-%m-%d}")
            self._handover.notice(Notice("certificate_expires", {"whose": whose, "expires": expires.isoformat()}))

    # ── what became of a connection ─────────────────────────────────────────────────────────────────────────

    def _connected(self, url: str) -> None:
        now = self._clock()
        again = bool(self._served)
        log.info("source %s %s: %s", self.name, "back" if again else "connected", url)
        if again and self._served != url:
            self._handover.notice(Notice("failed_over", {"from": self._served, "to": url}))
        if self._lost_at is not None:
            lasted = self._trouble("outage", self._lost_at, self._lost_why)
            self._handover.notice(Notice("outage", lasted, alarm=not self._chosen))
        self._served, self._lost_at, self._up_at = url, None, time.monotonic()
        self._told.clear()
        self._status.update(connected=True, since=now, endpoint=url, error=None, failures=0)
        self._status["reconnects"] += again

    def _gone(self, tags: TagEvents) -> None:
        """Nobody says any more what the tags are."""
        self._status["connected"] = False
        self._handshakes.forget()  # the events ask for them again
        if self._up_at is not None:
            self._lost_at = self._clock()
        now = self._clock()
        self._live.lost(None, self._status["error"] or "the session has ended", now)
        self._made(tags.lost(None, now))

    def _lost(self, url: str, error: SourceLost) -> None:
        """Note why the connection ended; say it once, however often it is tried."""
        now, served = self._clock(), self._up_at is not None
        why = f"{url}: {error}"
        since = self._status["since"] if self._status["error"] else now
        self._status.update(error=why, since=since, failures=self._status["failures"] + (not served))
        self._refused = isinstance(error, ServerRefused)
        self._chosen = isinstance(error, Anew)  # why has been said
        self._unread = self._unread or isinstance(error, Unread)
        if served:
            self._lost_why = str(error)
        if isinstance(error, Gap):
            self._status["gaps"] += 1
            self._handover.notice(Notice("sequence_gap", {"endpoint": url, "error": str(error)}))
        if self._told.get(url) == why:
            return
        self._told[url] = why
        log.warning("source %s lost: %s", self.name, why)
        if isinstance(error, ServerRefused):
            self._handover.notice(Notice(error.action, {"endpoint": url, "error": str(error)}))

    async def _pause(self) -> None:
        """A server that has served is tried again at once, then the other endpoints, and a pause after each round."""
        if self._up_at is not None and time.monotonic() - self._up_at > self._pace.steady:
            self._rounds = 0
            return
        self._turn += 1
        if self._turn % len(self._config.endpoints) == 0:
            self._rounds += 1
            await asyncio.sleep(self._pace.delay(self._rounds, refused=self._refused))

    def _trouble(self, what: str, since: datetime, why: str) -> Mapping[str, Any]:
        now = self._clock()
        seconds = round((now - since) / timedelta(seconds=1), 1)
        lasted = {"what": what, "from": since.isoformat(), "to": now.isoformat(), "seconds": seconds, "why": why}
        self._troubles.append(lasted)
        return lasted

    # ── values ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _received(self, told: Sequence[tuple[str, ua.DataValue]]) -> None:
        """All values of one message become one change of the events; the server is asked on when there is room."""
        assert self._tags is not None  # noqa: S101  # run makes it before anything else
        dropped = [tag for tag, one in told if values_dropped(one)]
        held = self._overflowed(dropped) if dropped else set()
        now = self._clock()
        changes: list[Change] = []
        for tag, one in told:
            if tag in held:
                continue
            reading = read(one, now, self._limits)
            if not self._gaps.new(tag, one, reading.value):
                continue
            changes.append(Change(tag, reading.value))
            if reading.why:
                self._bad[tag] = reading.why
            elif tag in self._bad:
                del self._bad[tag]
        self._live.changed(changes, now, self._bad)
        for moment in moments(changes):
            self._gaps.took(moment)
            self._made(self._tags.changed(moment, now))
        await self._handover.room()
        if held:
            raise Anew(f"the server dropped values of {', '.join(dropped[:SHOWN])}: its history is asked for them")

    def _overflowed(self, tags: Sequence[str]) -> set[str]:
        """A queue of the server was too short: said once while it lasts. Returns what its history shall tell."""
        now = time.monotonic()
        new = [tag for tag in tags if now - self._dropped.get(tag, -SELDOM_S) >= SELDOM_S]
        self._dropped.update(dict.fromkeys(tags, now))
        if new:
            self._handover.notice(Notice("values_dropped", {"count": len(new), "tags": new[:SHOWN]}))
        return self._gaps.held(tags, now)

    async def _happened(self, moment: Sequence[Change]) -> None:
        """What history tells of a gap is no state of now, but moves the events."""
        assert self._tags is not None  # noqa: S101  # run makes it before anything else
        self._gaps.took(moment)
        self._made(self._tags.changed(moment, self._clock(), past=True))
        await self._handover.room()

    def _made(self, made: Made) -> None:
        self._handover.add(made)
        self._moved.set()

    async def _tick(self, tags: TagEvents) -> None:
        """Timers of the events."""
        while True:
            due = tags.due()
            wait = None if due is None else max(0.0, (due - self._clock()).total_seconds())
            self._moved.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._moved.wait()
            except TimeoutError:
                await self._handover.room()  # timers skip what the disk could not take; what they missed is told
                self._made(tags.tick(self._clock()))
