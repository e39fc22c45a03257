"""What is being decided now, in a few bytes beside the store that outlive the process: a report that ends it is found.

Nothing is flushed: the bytes outlive a crash, not a power cut, and a power cut was not the report's doing. Where they
cannot be written nothing is known about the next life, and nothing else depends on them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

ARRIVALS = "arrivals"  # in the place of an event's number: what was not on disk yet
LENGTH = 64  # bytes, always all of them: no part of what stood there before is left


class Underway:
    """What this life is at, and what the life before it was at when it ended."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + ".deciding")
        self._ended_at, self._lives = self._read()

    def ended(self, at: str) -> int:
        """How many lives in a row ended while they were deciding this."""
        return self._lives if at == self._ended_at else 0

    def begin(self, at: str) -> None:
        """From now on: event number of the first of a batch, or ARRIVALS."""
        self._write(f"{at} {self.ended(at)}")

    def end(self) -> None:
        """It is decided, whatever became of it."""
        self._write("")

    def _read(self) -> tuple[str, int]:
        try:
            at, lives = self._path.read_text(encoding="ascii").split()
            return at, int(lives) + 1
        except (OSError, ValueError):
            return "", 0

    def _write(self, text: str) -> None:
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.pwrite(descriptor, text.ljust(LENGTH).encode("ascii"), 0)
            finally:
                os.close(descriptor)
