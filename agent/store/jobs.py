"""Jobs on their way through the writer, and who waits for each of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from agent.store.transaction import Transaction

T = TypeVar("T")
log = logging.getLogger("gatepost.store")

Job: TypeAlias = Callable[[Transaction], T]


@dataclass(slots=True)
class Entry:
    """A job in the queue, and who waits for it: a future of an event loop, or `then` on the writer's thread."""

    job: Job[Any]
    size: int = 0  # bytes of an arrival; 0: anything else
    then: Callable[[BaseException | None], None] | None = None
    gives_way: bool = False  # to others, while somebody asks
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None
    result: Any = None
    error: BaseException | None = None
    took_s: float = 0.0
    place: int = 0  # in the order of arrival


Following: TypeAlias = Callable[[Transaction, bool], T]
"""A job that ends commits of arrivals, and is told whether it has the time: the commit has little else to do."""


def following(job: Following[Any], then: Callable[[Any, BaseException | None], None], *, quiet: bool) -> Entry:
    """What ends a commit of arrivals: `job`, then `then`."""
    entry = Entry(lambda tx: job(tx, quiet))
    entry.then = lambda error: then(entry.result, error)
    return entry


def hand_out(entries: Sequence[Entry]) -> None:
    """Tell everybody who waits what became of their jobs, one wake per event loop."""
    waiting: dict[asyncio.AbstractEventLoop, list[Entry]] = {}
    for entry in entries:
        if entry.loop is not None:
            waiting.setdefault(entry.loop, []).append(entry)
        if entry.then is not None:
            try:
                entry.then(entry.error)
            except Exception:  # a source's acknowledgement must not end the writer
                log.exception("acknowledging a stored batch failed; the sender will repeat it")
    for loop, done in waiting.items():
        try:
            loop.call_soon_threadsafe(_resolve, done)
        except RuntimeError:  # the loop has closed; its waiters are gone, the rows are not
            log.info("%d results came after the event loop had closed", len(done))


def _resolve(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.future is None or entry.future.cancelled():
            continue
        if entry.error is not None:
            entry.future.set_exception(entry.error)
        else:
            entry.future.set_result(entry.result)
