"""Shortages beside the loops: after each quarter of an hour it is forecast anew what runs short. It decides nothing.

What was used is read from the store, in pieces and with rests: the last day each time, two weeks after a start and once
a day. What is told, and what outcomes have taught so far, commit together. Once a day, too, it is seen whether what the
model is asked has drifted: by then its rows of the last week are kept, and nothing more is read for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import apsw

from agent.configuration.config import Config
from agent.configuration.settings import Drift
from agent.errors import ModelUnfit
from agent.facts import Facts
from agent.features.shortage_forecast import DAY, HISTORY
from agent.people.desk import Desk
from agent.ports import Clock
from agent.scoring.drift import State
from agent.scoring.inference import Absent, Model
from agent.shortages import drifting, noticing
from agent.shortages.outlook import Kept, Left, Outlook, likely, outlooks
from agent.shortages.used import Used
from agent.store import audit, drifts, inbox, issues
from agent.store.encode import to_us
from agent.store.transaction import Transaction

log = logging.getLogger("gatepost")

TICK_S: Final = 1.0
REST: Final = 9  # after each piece it rests so many times as long as that took
PAUSE_S: Final = 60.0  # after a failure at least
KEY: Final = "shortages"  # of the checkpoint
ASKED: Final = "shortages_asked"  # of the one with the rows of the last week
Follow = Callable[[Model, Callable[[apsw.Connection, State], State]], Awaitable[None]]  # takes the next step of drift


def kept(connection: apsw.Connection) -> Kept | None:
    """What the store has; None: nothing was forecast yet, or what was kept is of another release."""
    found = inbox.checkpoint(connection, KEY)
    try:
        return Kept.model_validate_json(found) if found else None
    except ValueError:
        log.warning("what was forecast of shortages cannot be read: it begins anew")
        return None


def told(connection: apsw.Connection) -> tuple[Kept | None, Mapping[str, State]]:
    """What the store has, and where each version stands."""
    return kept(connection), drifts.kept(connection)


def rows(connection: apsw.Connection) -> list[drifting.Asked]:
    """What was asked in the last week; what another release kept otherwise is gathered anew."""
    found = inbox.checkpoint(connection, ASKED)
    try:
        return drifting.ROWS.validate_json(found) if found else []
    except ValueError:
        return []


class _Found(NamedTuple):
    """What is told now; and the rows of the last week, where this is a time at which they are kept."""

    kept: Kept
    asked: list[drifting.Asked] | None


@dataclass(slots=True)
class _Reading:
    """Postings that are still to be read, by id, of slots from `since` on, for the forecast that begins with `slot`."""

    slot: int
    since: int
    after: int
    until: int

    @property
    def whole(self) -> bool:
        """Whether it reads two weeks, and may take long."""
        return self.slot - self.since == HISTORY


class Shortages:
    """One look after the other. `load` is the model of a configuration: it raises ModelUnfit where none fits.

    `follow` takes the next step of the drift of a model, and tells of it.
    """

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        config: Callable[[], Config],
        facts: Callable[[], Facts],
        load: Callable[[Config], Model],
        follow: Follow,
        tell: noticing.Tell,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._config = config
        self._facts = facts
        self._load = load
        self._follow = follow
        self._tell_people = tell
        self._one = asyncio.Lock()  # at a time
        self._due = 0.0  # monotonic
        self._used = Used()
        self._whole = 0  # the slot at which two weeks were read last
        self._watched = 0  # the slot at which drift was looked at last
        self._reading: _Reading | None = None
        self._done = 0  # the slot that was forecast last
        self.likely = 0  # places that run short, for metrics
        self.model = ""  # name/version that was asked last, likewise
        self.unfit = ""  # why no version fits; it is told once

    async def tick(self) -> None:
        """One piece where it is time for one: what decides events comes first."""
        if time.monotonic() < self._due:
            return
        started, least = time.monotonic(), 0.0
        try:
            await self._look_once()
        except Exception:  # whatever it is, it may not end what decides
            log.exception("shortages cannot be forecast now; it is tried again")
            self._reading, self._whole, least = None, 0, PAUSE_S
        took = time.monotonic() - started
        self._due = started + took + max(REST * took, least)

    async def look(self) -> None:
        """What there is to do now; nothing where no shortages are configured."""
        while await self._look_once():
            pass

    async def _look_once(self) -> bool:
        """One piece; whether there is more."""
        async with self._one:
            config = self._config()
            slot = to_us(self._clock()) // issues.SLOT_US
            if config.shortages is None:
                self.likely, self.model, self.unfit = 0, "", ""
                return False
            if slot == self._done:
                return False
            if self._reading is None:
                self._reading = await asyncio.to_thread(self._begin, slot)
            reading = self._reading
            if reading.after < reading.until:
                await asyncio.to_thread(self._piece, reading)
                return True
            self._reading = None
            if reading.whole and reading.slot != slot:
                return True  # it took long: read what came meanwhile
            await self._forecast(reading.slot, config)
            self._done = reading.slot
            return False

    def _begin(self, slot: int) -> _Reading:
        """Forget what is read again: a person may have approved, refused or taken back what is a day old."""
        if not self._whole and (before := self._desk.look(kept)):  # a start: until it is asked again
            self.model = before.model
        if _over(slot, self._whole):
            self._whole = slot
        since = slot - (HISTORY if self._whole == slot else DAY)
        self._used.forget(before=slot - HISTORY, since=since)
        return self._desk.look(lambda at: _Reading(slot, since, issues.before(at, since), issues.last(at)))

    def _piece(self, reading: _Reading) -> None:
        until = min(reading.after + issues.PIECE, reading.until)
        self._used.add(self._desk.look(lambda at: issues.between(at, reading.after, until, reading.since)))
        reading.after = until

    async def _forecast(self, slot: int, config: Config) -> None:
        """The model is loaded and checked anew each time: what was promoted or tampered with meanwhile is noticed."""
        assert config.shortages is not None  # noqa: S101  # asked by whoever calls
        model: Model | Absent
        try:
            model = await asyncio.to_thread(self._load, config)
        except ModelUnfit as error:
            model = Absent(config.shortages.model, error)
        try:
            found, asked = await asyncio.to_thread(self._found, slot, model, config)
        finally:
            if isinstance(model, Model):
                model.close()
        written = [] if asked is None else [(ASKED, drifting.ROWS.dump_json(asked))]
        notify = config.shortages.notify

        def put(tx: Transaction) -> None:
            if notify is not None:
                found.told = noticing.told(tx, self._tell_people, notify, found, self._facts().units)
            inbox.put_checkpoints(tx, [(KEY, found.model_dump_json().encode()), *written])

        await self._desk.act(put)
        self.likely, self.model = likely(found), found.model
        await self._tell(model, config)
        if isinstance(model, Model) and _over(slot, self._watched):
            await self._drift(model, found, config.drift)
            self._watched = slot

    def _found(self, slot: int, model: Model | Absent, config: Config) -> _Found:
        facts = self._facts()
        before, begun, unbooked = self._desk.look(lambda at: (kept(at), issues.begun(at), issues.unbooked(at)))
        first = max(slot - HISTORY, slot - config.store.retention_days * DAY, slot if begun is None else begun)
        seen, left_out = self._used.seen(facts, unbooked, first=first, until=slot)
        each = list(_gently(outlooks(before, seen, model, slot, facts.plant.zone)))
        left = [Left(material=one.place.material, storage_location=one.place.storage_location, why=one.why)
                for one in left_out]  # fmt: skip
        found = Kept(
            slot=slot, model="" if model.unfit else model.name, stock_as_of=facts.orders_as_of, outlooks=each,
            left_out=left, told=before.told if before is not None else [],
        )  # fmt: skip
        if model.unfit or not drifting.due(slot):
            return _Found(found, None)
        earlier, head = self._desk.look(lambda at: (rows(at), audit.read_head(at).seq))
        return _Found(found, drifting.asked(earlier, seen, found, head, facts.plant.zone, config.drift.rows))

    async def _drift(self, model: Model, found: Kept, settings: Drift) -> None:
        at, files = self._clock().isoformat(), (model.manifest, model.reference)
        await self._follow(
            model, lambda connection, state: drifting.step(state, rows(connection), found, files, settings, at)
        )

    async def _tell(self, model: Model | Absent, config: Config) -> None:
        """Once: that no version fits, so that the profile says everything."""
        if model.unfit and model.unfit != self.unfit:
            log.error("no version of model %s fits, shortages are forecast by the profile: %s", model.name, model.unfit)
            detail = {"why": model.unfit, "config": config.version}
            await self._desk.writer.run(lambda tx: tx.audit("model_refused", detail, alarm=True))
        self.unfit = model.unfit


def _over(slot: int, since: int) -> bool:
    """Whether a day has passed; also where the clock was ahead, and what was read by it is not of these days."""
    return not 0 <= slot - since < DAY


def _gently(each: Iterator[Outlook]) -> Iterator[Outlook]:
    """After each place a rest as long as it took: what decides events shares the processor."""
    began = time.monotonic()
    for one in each:
        yield one
        time.sleep(time.monotonic() - began)
        began = time.monotonic()
