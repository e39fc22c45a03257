"""The challenger in shadow: asked about what the champion decided, on the same features, behind it and without effect.

It reads decisions that are on disk, in small batches, and gives the box more time than it takes. One that cannot be
loaded, or has no answer at all to a batch, is told once, and asked again a minute later, then two, up to an hour.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import apsw

from agent.errors import GatepostError, ModelUnfit
from agent.oversight import contest
from agent.oversight.promotion import Shelf
from agent.oversight.rows import Rows
from agent.people.desk import Desk
from agent.scores import Answer, Features
from agent.scoring import registry
from agent.scoring.inference import Model
from agent.store import scored, shadow
from agent.store.scored import Scored
from agent.store.shadow import Mark, Said
from agent.store.transaction import Transaction

log = logging.getLogger("gatepost")

TICK_S: Final = 2.0
BATCH: Final = 64  # rows of one run
REST: Final = 9  # after a batch it rests so many times as long as that took
PAUSE_S: Final = 60.0  # for one that gives no answer, doubled each time
LONGEST_S: Final = 3600.0


class _Asked(NamedTuple):
    """One batch: up to which row of the trail, which file answered, what, and how many milliseconds each took."""

    seq: int
    sha256: str = ""
    answers: Sequence[Said] = ()
    ms: float = 0.0


class Shadow:
    """Asks the challengers of the models that workflows use; `shelf` is the one of the configuration now."""

    def __init__(self, desk: Desk, shelf: Callable[[], Shelf], *, tick_s: float = TICK_S) -> None:
        self._desk = desk
        self._shelf = shelf
        self._tick_s = tick_s
        self._models: dict[str, tuple[Model, Rows]] = {}  # by name
        self._marks: dict[str, Mark] = {}
        self._paused: dict[str, tuple[float, float]] = {}  # name → monotonic: not asked before; for how long
        self._told = ""  # what is logged is logged once

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            rest = self._tick_s
            for name in self._shelf().features:
                try:
                    rest = min(rest, await self._follow(name))
                except Exception as error:  # noqa: BLE001  # whatever it is, it may not end what decides
                    self._log(name, error)
            await asyncio.sleep(rest)

    async def _follow(self, name: str) -> float:
        """Ask the challenger of one model about one batch; returns in how many seconds to look again."""
        challenger = await asyncio.to_thread(self._challenger, name)
        if challenger is None:
            self._drop(name)
            return self._tick_s
        mark = await self._begun(name, challenger)
        began = time.monotonic()
        if began < self._paused.get(name, (0.0, 0.0))[0]:
            return self._tick_s
        try:
            asked = await asyncio.to_thread(self._ask, name, mark)
        except ModelUnfit as error:
            await self._tell(name, mark, str(error))
            return self._tick_s
        self._marks[name] = mark = mark._replace(seq=asked.seq)
        if not asked.answers:
            return self._tick_s  # that nothing was decided needs no commit
        await self._desk.writer.run(lambda tx: _keep(tx, name, mark, asked))
        if all(one.said is None for one in asked.answers):
            await self._tell(name, mark, asked.answers[0].why)
        else:
            self._paused.pop(name, None)
        took = time.monotonic() - began
        return REST * took  # then look again: there may be more

    def _challenger(self, name: str) -> str | None:
        folder = self._shelf().models / name
        return registry.aliases(folder).challenger if (folder / registry.ALIASES).exists() else None

    async def _begun(self, name: str, version: str) -> Mark:
        """Where this challenger stands; one that was named by hand begins with what is decided from now on."""
        mark = self._marks.get(name)
        if mark is not None and mark.version == version:
            return mark
        self._drop(name)
        mark = await asyncio.to_thread(self._desk.look, lambda connection: shadow.mark(connection, name))
        if mark is None or mark.version != version:
            await self._desk.writer.run(lambda tx: shadow.begin(tx, name, version))
            mark = await asyncio.to_thread(self._desk.look, lambda connection: shadow.mark(connection, name))
        self._marks[name] = mark or Mark(version, 0)
        return self._marks[name]

    def _ask(self, name: str, mark: Mark) -> _Asked:
        """On a thread. Raises ModelUnfit where the challenger cannot be loaded."""
        if name not in self._models:
            shelf = self._shelf()
            self._models[name] = shelf.load(name, mark.version, explain_below=0.0, apart=True), shelf.rows()
        model, known = self._models[name]
        most = min(BATCH, model.proven)
        rows, seq = self._desk.look(lambda connection: scored.after(connection, name, mark.seq, most))
        if not rows:
            return _Asked(seq)
        began = time.perf_counter()
        answers = _answers(model, known, rows)
        ms = (time.perf_counter() - began) * 1e3 / len(rows)
        said = [_said(row.event_id, answer) for row, answer in zip(rows, answers, strict=True)]
        return _Asked(seq, model.digest, said, ms)

    async def _tell(self, name: str, mark: Mark, why: str) -> None:
        """Once, also over restarts; it is asked again after a while."""
        pause = min(LONGEST_S, max(PAUSE_S, 2 * self._paused.get(name, (0.0, 0.0))[1]))
        self._paused[name] = time.monotonic() + pause, pause
        if mark.trouble:
            return
        log.error("the challenger %s/%s gives no answers: %s", name, mark.version, why)
        told = self._marks[name] = mark._replace(trouble=why)
        detail = {"model": name, "version": mark.version, "why": why}

        def write(tx: Transaction) -> None:
            shadow.put_mark(tx, name, told)
            tx.audit("challenger_silent", detail, alarm=True)

        await self._desk.writer.run(write)

    def _log(self, name: str, error: Exception) -> None:
        what = f"the challenger of {name} could not be asked: {type(error).__name__}: {error}"
        if what != self._told:
            foreseen = isinstance(error, GatepostError | apsw.Error | OSError)
            log.warning("%s", what, exc_info=None if foreseen else error)
        self._told = what

    def _drop(self, name: str) -> None:
        self._models.pop(name, None)
        self._marks.pop(name, None)
        self._paused.pop(name, None)


def _answers(model: Model, known: Rows, rows: Sequence[Scored]) -> list[Answer | ModelUnfit]:
    """Of each row, in one run; none where it takes what the version that decided was not given."""
    taken = [_taken(model, known, one) for one in rows]
    answered = iter(model.answers([row for row in taken if not isinstance(row, ModelUnfit)]))
    return [row if isinstance(row, ModelUnfit) else next(answered) for row in taken]


def _taken(model: Model, known: Rows, one: Scored) -> Features | ModelUnfit:
    try:
        return known.taken_by(model.manifest, one)
    except ModelUnfit as error:
        return error


def _said(event_id: int, answer: Answer | ModelUnfit) -> Said:
    if isinstance(answer, ModelUnfit):
        return Said(event_id, None, str(answer))
    return Said(event_id, answer.confidence, outputs=contest.outputs(answer))


def _keep(tx: Transaction, name: str, mark: Mark, asked: _Asked) -> None:
    shadow.put(tx, name, mark.version, asked.sha256, asked.answers, asked.ms)
    shadow.put_mark(tx, name, mark)
