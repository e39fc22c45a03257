"""Handshakes are written to the server; what it refuses is told once, and tried again while the session lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from agent.errors import SourceLost
from agent.ports import Notice
from agent.sources.opcua_session import Session
from agent.tags.values import Write

log = logging.getLogger("gatepost.opcua")


class Handshakes:
    """The tags that tell a machine: your report is on disk."""

    def __init__(self, source: str, session: Callable[[], Session | None], notice: Callable[[Notice], None]) -> None:
        self.refused: dict[str, str] = {}  # tag → why, as it was told last
        self._source = source
        self._session = session
        self._notice = notice
        self._unwritten: dict[str, Write] = {}  # by tag
        self._writing = asyncio.Lock()

    async def write(self, writes: Sequence[Write]) -> None:
        """Write these, after what they acknowledge is on disk.

        Without a session there is nothing to do: the events ask for them again when there is one.
        """
        async with self._writing:
            await self._write(writes)

    async def try_again(self) -> None:
        """Write again what the server has refused."""
        if not self._unwritten:
            return
        async with self._writing:
            await self._write(list(self._unwritten.values()))

    def forget(self) -> None:
        """The session is gone: the events ask for their handshakes again."""
        self._unwritten.clear()

    async def _write(self, writes: Sequence[Write]) -> None:
        session = self._session()
        if session is None or not writes:
            return
        try:
            refused = dict(await session.write(writes))
        except SourceLost as error:
            session.end(error)
            return
        for one in writes:
            self._note(one, refused.get(one))

    def _note(self, one: Write, why: str | None) -> None:
        if why is None:
            self._unwritten.pop(one.tag, None)  # also an earlier one that was refused
            self.refused.pop(one.tag, None)
            return
        self._unwritten[one.tag] = one
        if self.refused.get(one.tag) != why:
            self.refused[one.tag] = why
            log.error("source %s: %s = %s was not written: %s", self._source, one.tag, one.value, why)
            self._notice(Notice("write_refused", {"tag": one.tag, "value": one.value, "error": why}))
