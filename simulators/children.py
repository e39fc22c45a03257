"""Starts one program of the bench, keeps its log, watches that it lives, and stops it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

STOP_SECONDS = 15.0
LOG_LINES = 15


class ChildDied(Exception):  # noqa: N818  it names what happened to the program
    """A program of the bench ended by itself; the message says which one and ends with its log."""


class Child:
    """A program in a session of its own, so that Ctrl-C reaches the bench alone and the bench stops it in order."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = log
        self._command, self._env, self._folder = command, env, folder
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._folder,
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """SIGTERM, and SIGKILL for what does not end in time."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    async def lives(self, *, may_finish: bool = False) -> None:
        """Return when the program finished with code 0 and may do so; any other end raises ChildDied."""
        code = await self._process.wait() if self._process else 1
        if not (may_finish and code == 0):
            raise self.died(code)

    async def until(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait until `ready` says so; raises ChildDied when the program ends first or `seconds` pass."""
        try:
            async with asyncio.timeout(seconds):
                while not await ready():
                    if self._process is None or self._process.returncode is not None:
                        raise self.died(self._process.returncode if self._process else None)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ChildDied(f"the {self.name} was not ready within {seconds:.0f} s; {self.tail()}") from None

    def died(self, code: int | None) -> ChildDied:
        """What to raise when the program ended."""
        return ChildDied(f"the {self.name} ended with code {code}; {self.tail()}")

    def tail(self) -> str:
        """The last lines of its log, with the file's name."""
        return log_tail(self.log)


def log_tail(log: Path) -> str:
    """The end of a log file, ready to print."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    return f"the end of {log}:\n" + "\n".join(f"    {line}" for line in lines or ["(empty)"])
