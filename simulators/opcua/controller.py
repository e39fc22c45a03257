"""The program of one controller: lot after lot, scan after scan, and the wait for whoever must acknowledge a lot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice

from simulators.line.tags import Kind, Scan, Tag, TagLot, Update, Value, lots, tags
from simulators.opcua.progress import Progress, ProgressFile, TruthFile
from simulators.scenario import Scenario

REPORTS_PER_LOT = 3  # about: two or three components, and the confirmation

Show = Callable[[str, Sequence[Update]], Awaitable[None]]


def at_work(
    scenario: Scenario,
    seed: int = 1,
    count: int | None = None,
    *,
    lots_per_order: int | None = None,
    rate: float = 0.0,
    handshake: bool = False,
    progress: ProgressFile | None = None,
    truth: TruthFile | None = None,
) -> list[Controller]:
    """The controllers of every work centre, each brought to where it was; see `lots` for the first arguments."""
    progress, truth = progress or ProgressFile(None), truth or TruthFile(None)
    found = []
    for center in scenario.work_centers:
        made = lots(scenario, seed, count, lots_per_order=lots_per_order)
        controller = Controller(
            center,
            tags(scenario, center),
            _of(center, made),
            progress=progress,
            truth=truth,
            handshake=handshake,
            seconds_per_lot=REPORTS_PER_LOT * len(scenario.work_centers) / rate if rate else 0.0,
        )
        controller.recover()
        found.append(controller)
    return found


def _of(center: str, made: Iterator[TagLot]) -> Iterator[TagLot]:
    return (lot for lot in made if lot.work_center == center)


class Controller:
    """One work centre. `recover` brings it to where the progress file says it was; `run` goes on from there.

    With `handshake` a lot takes four steps, none of which is left out after a restart on either side: `Lot/Done` goes
    up; the reader raises `Lot/Ack` (or writes `Lot/Error`, which is an answer too); `Lot/Done` goes down; the reader
    takes both back. Only then does the next lot begin. The very first one begins when the reader has written `Lot/Ack`
    for the first time: before that nobody has read the totalisers, and what they count would be nobody's.
    """

    def __init__(
        self,
        center: str,
        tags: Sequence[Tag],
        lots: Iterator[TagLot],
        *,
        progress: ProgressFile,
        truth: TruthFile,
        handshake: bool,
        seconds_per_lot: float,
    ) -> None:
        self.center, self.tags = center, tuple(tags)
        self.values: dict[str, Value] = {tag.name: tag.initial for tag in tags}
        self.lots_done = 0
        self._lots, self._truth, self._handshake = lots, truth, handshake
        self._file, self._progress = progress, progress.of(center)
        self._seconds = seconds_per_lot
        self._under_way: TagLot | None = None
        self._written = asyncio.Event()

    def recover(self) -> None:
        """Work through what was done before, without showing it."""
        for lot in islice(self._lots, self._progress.lots):
            self._take_over(lot.scans)
            self._truth.meant(lot.truths)
        self.lots_done = self._progress.lots
        if self._handshake:
            self.values["Lot/Done"] = False  # of the last lot: it was taken
        if not self._progress.scans:
            return
        self._under_way = next(self._lots)
        self._take_over(self._under_way.scans[: self._progress.scans])
        if self._progress.scans == len(self._under_way.scans):
            self._truth.meant(self._under_way.truths)
        if self._progress.acknowledged:
            self.values |= {"Lot/Done": False, "Lot/Ack": True}

    async def run(self, show: Show) -> None:
        """Go on until every lot is made."""
        if self._handshake and self._progress == Progress(forgotten=self._progress.forgotten):
            await self._next_write()
        while lot := self._under_way or next(self._lots, None):
            self._under_way = lot
            for number in range(self._progress.scans, len(lot.scans)):
                await asyncio.sleep(self._seconds / len(lot.scans))
                await self._scan(lot, number, show)
            if self._handshake:
                await self._acknowledged(show)
            self._progress.lots, self._progress.scans, self._progress.acknowledged = self._progress.lots + 1, 0, False
            self._under_way = None
            self._file.keep()
            self.lots_done = self._progress.lots

    def written(self, tag: str, value: Value) -> None:
        """A client has written a tag."""
        self.values[tag] = value
        self._written.set()

    def shown(self, tag: Tag) -> Value:
        """What a tag shows: a totaliser counts from its last reset."""
        value = self.values[tag.name]
        forgotten = self._progress.forgotten.get(tag.name)
        return value if forgotten is None else (int(value) - forgotten) % (tag.modulus or 1 << 32)

    def reset(self, names: Sequence[str]) -> list[str]:
        """Set these totalisers to 0, all of them where none is named; which they are."""
        chosen = [
            tag.name for tag in self.tags if tag.kind is Kind.COUNTER and tag.unit and tag.name in (names or [tag.name])
        ]
        self._progress.forgotten |= {name: int(self.values[name]) for name in chosen}
        self._file.keep()
        return chosen

    async def _scan(self, lot: TagLot, number: int, show: Show) -> None:
        self._progress.scans = number + 1
        self._file.keep()
        if number + 1 == len(lot.scans):
            self._truth.meant(lot.truths)
        self.values.update(lot.scans[number])
        await show(self.center, lot.scans[number])

    async def _acknowledged(self, show: Show) -> None:
        while not (self._progress.acknowledged or self.values["Lot/Ack"] or self.values["Lot/Error"]):
            await self._next_write()
        self._progress.acknowledged = True
        self._file.keep()
        self.values["Lot/Done"] = False
        await show(self.center, (Update("Lot/Done", value=False),))
        while self.values["Lot/Ack"] or self.values["Lot/Error"]:
            await self._next_write()

    async def _next_write(self) -> None:
        self._written.clear()
        await self._written.wait()

    def _take_over(self, scans: Sequence[Scan]) -> None:
        for scan in scans:
            self.values.update(scan)
