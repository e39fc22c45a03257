"""Structured logs: one line per record, JSON for machines or text for people, that never stall the agent.

A log is not the audit trail. Lines are formatted where they are written, then handed to a thread of their own
through a bounded queue: a full disk or a reader that has stopped costs lines, which are counted, never time.

Write ``log.info("posting acknowledged", extra={"posting_id": 7, "key": "7H3…"})``. The unformatted message is the
`event` of the line, so that it can be searched for; what differs goes into the extra fields.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote

Format = Literal["json", "text"]

QUIET_SECONDS: Final = 10.0  # the same line appears at most once in this time
REMEMBERED: Final = 1024  # lines that are remembered to recognise a repetition
CAPACITY: Final = 10_000  # lines that wait for a slow reader before they are dropped
MASK: Final = "***"
SHORTEST_SECRET: Final = 4  # anything shorter would turn every line into stars; `check` refuses such secrets

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "event", "repeated"}
# line breaks, terminal codes and direction overrides: a lot number may contain anything
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CHATTY = ("uvicorn.access", "asyncio")  # below a warning they tell of single requests


class Redaction:
    """The secrets that must not appear in any line, in every spelling a library may print them in."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._spellings: set[str] = set()

    def conceal(self, secret: str) -> None:
        """Mask this value wherever it appears from now on; values under four characters are too common to mask."""
        if len(secret) < SHORTEST_SECRET:
            return
        self._spellings |= {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def apply(self, text: str) -> str:
        """The text with every known secret masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text


redaction = Redaction()
conceal = redaction.conceal  # called once by whoever reads a secret


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra`."""
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """``{"ts": …, "level": …, "logger": …, "event": …, "posting_id": …}`` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object; values JSON does not know (Decimal, datetime, Path) as text."""
        line: dict[str, Any] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        message = record.getMessage()
        if message != line["event"]:
            line["message"] = message
        line |= fields(record) | _repeated(record)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return redaction.apply(json.dumps(line, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """``2026-11-20T19:03:11.120Z WARNING broker lost source=line-1`` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; what came from outside cannot break it or colour the terminal."""
        shown = " ".join(f"{name}={value}" for name, value in (fields(record) | _repeated(record)).items())
        line = _one_line(f"{_timestamp(record.created)} {record.levelname:<7} {record.getMessage()} {shown}".rstrip())
        if record.exc_info:
            line += "".join(f"\n{_one_line(one)}" for one in self.formatException(record.exc_info).split("\n"))
        return redaction.apply(line)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", record.msg))


def _repeated(record: logging.LogRecord) -> dict[str, Any]:
    count = getattr(record, "repeated", 0)
    return {"repeated": count} if count else {}


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Repetition(logging.Filter):
    """Lets the same line through once in ten seconds; the next one says how many were left out."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._seen: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a repetition; on the line after it, `repeated` tells how many there were."""
        line = (record.name, record.levelno, record.getMessage(), repr(fields(record)))
        now = self._monotonic()
        with self._lock:
            since, left_out = self._seen.pop(line, (float("-inf"), 0))
            if now - since < QUIET_SECONDS:
                self._seen[line] = (since, left_out + 1)
                return False
            self._seen[line] = (now, 0)
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        record.repeated = left_out
        return True


class Sink(logging.Handler):
    """Writes lines to a file descriptor from its own thread; counts in `dropped` what could not be written."""

    def __init__(self, descriptor: int, capacity: int = CAPACITY) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(capacity)
        self._torn = False
        self._thread = threading.Thread(target=self._drain, name="log", daemon=True)

    def open(self) -> None:
        """Start writing."""
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line; drops it, and never waits, when the reader does not keep up."""
        try:
            self._lines.put_nowait(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001  # a field whose __str__ fails must not stop whoever logs it
            self.dropped += 1

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued and stop; gives up after `timeout` seconds when nobody reads."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=timeout)
                self._thread.join(timeout)
            except queue.Full:
                self.dropped += self._lines.qsize()
        super().close()

    def _drain(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(b"\n" + line if self._torn else line)

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            self._torn = False
        except OSError:  # disk full, reader gone, terminal closed: the agent goes on without this line
            self._torn = self._torn or written > 0
            self.dropped += 1


def start(form: Format = "json", level: str = "info", descriptor: int = 2) -> Sink:
    """Send every log record of the process to `descriptor` (standard error); the caller closes the returned sink."""
    sink = Sink(descriptor)
    sink.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    sink.addFilter(Repetition())
    sink.open()
    root = logging.getLogger()
    root.handlers[:] = [sink]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    return sink
