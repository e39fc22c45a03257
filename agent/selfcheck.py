"""What `gatepost selfcheck` shows: is this box fit to keep a promise? Rows of facts, each with what to do.

Reads and measures only; the one thing it writes is a small file in the data folder, to time the disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

import apsw

from agent import __version__

SQLITE_NEEDED: Final = (3, 51, 3)  # 3.7.0 to 3.51.2 can corrupt the file when the WAL is reset
FLUSH_SUSPICIOUS_MS: Final = 0.2  # real flash needs longer: a faster one answers from a cache it has not flushed
FLUSH_SLOW_MS: Final = 50.0
DISTRIBUTIONS: Final = ("paho-mqtt", "httptools", "onnxruntime", "pydantic", "fastapi", "uvicorn", "cryptography")


class Level(StrEnum):
    """How good a fact is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Row:
    """One fact; `advice` says what to do where the level is not ok."""

    topic: str
    name: str
    value: str
    level: Level = Level.OK
    advice: str = ""


def selfcheck(
    *,
    config: Path,
    data: Path,
    models: Path | None = None,
    beside: Sequence[Path] = (),
    secrets: Sequence[Path] = (),
    writes: int = 200,
) -> list[Row]:
    """All facts about this box; `beside` the configuration are files and folders that decide, too.

    `writes` is how many flushes the disk is timed with (each 4 KiB).
    """
    rows = [*versions(), sqlite_row(), *hashes(config, models, *beside), *permissions(config, data, secrets)]
    return [*rows, *disk(data, writes), clock()]


def worst(rows: Sequence[Row]) -> Level:
    """The level of the whole check."""
    levels = {row.level for row in rows}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


# ── what runs ───────────────────────────────────────────────────────────────────────────────────────────────


def versions() -> Iterator[Row]:
    """The agent, Python, the machine and the libraries the promise rests on."""
    yield Row("version", "gatepost", __version__)
    yield Row("version", "python", platform.python_version())
    yield Row("version", "machine", f"{platform.system()} {platform.release()} {platform.machine()}")
    for name in DISTRIBUTIONS:
        try:
            yield Row("version", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            advice = f"install it: {sys.executable} -m pip install --require-hashes -r requirements/runtime.txt"
            yield Row("version", name, "missing", Level.FAIL, advice)


def computes_with() -> dict[str, str]:
    """What the last bit of a model's answer may depend on."""
    found = {"gatepost": __version__, "processor": _processor()}
    return found | {name: metadata.version(name) for name in ("numpy", "onnxruntime")}


def _processor() -> str:
    """Its name: which instructions it has decides in which order sums are taken."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def sqlite_row(version: str | None = None) -> Row:
    """The SQLite library the store is written with."""
    found = version or apsw.sqlite_lib_version()
    if tuple(map(int, found.split(".")[:3])) >= SQLITE_NEEDED:
        return Row("version", "sqlite", found)
    needed = ".".join(map(str, SQLITE_NEEDED))
    advice = f"needs {needed} or newer, older ones can corrupt the file when the WAL is reset: reinstall apsw"
    return Row("version", "sqlite", found, Level.FAIL, advice)


def hashes(*places: Path | None) -> Iterator[Row]:
    """SHA-256 of every file that decides, to compare with what was released; how models are trained decides nothing."""
    for place in filter(None, places):
        found = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        files = [path for path in found if path.suffix not in (".py", ".pyc")]
        if not files:
            yield Row("hash", str(place), "nothing there", Level.WARN, "is the path right?")
        for path in files:
            yield Row("hash", str(path), hashlib.sha256(path.read_bytes()).hexdigest())


# ── who may touch it ────────────────────────────────────────────────────────────────────────────────────────


def permissions(config: Path, data: Path, secrets: Sequence[Path] = ()) -> Iterator[Row]:
    """Who may read or change the data folder, the configuration and the secrets."""
    yield Row("permission", "user", f"{os.getuid()}:{os.getgid()}", *_user_level())
    yield _mode(data, 0o007, "other users must not see or change the store: chmod o-rwx", writable=True)
    yield _mode(config, 0o002, "anybody could change what is posted: chmod o-w")
    for secret in secrets:
        yield _mode(secret, 0o007, "anybody can read this secret: chmod o-rwx")


def _user_level() -> tuple[Level, str]:
    if os.getuid():
        return Level.OK, ""
    return Level.WARN, "runs as root: use the systemd unit or the image, which do not need it"


def _mode(path: Path, forbidden: int, advice: str, *, writable: bool = False) -> Row:
    try:
        mode = path.stat().st_mode & 0o7777
    except OSError as error:
        return Row("permission", str(path), str(error.strerror), Level.FAIL, f"create it, or let uid {os.getuid()} in")
    if writable and not os.access(path, os.W_OK):
        return Row("permission", str(path), f"{mode:04o}", Level.FAIL, f"uid {os.getuid()} cannot write here: chown")
    level = Level.WARN if mode & forbidden else Level.OK
    return Row("permission", str(path), f"{mode:04o}", level, f"{advice} {path}" if level is Level.WARN else "")


# ── the disk and the clock ──────────────────────────────────────────────────────────────────────────────────


def disk(data: Path, writes: int = 200) -> Iterator[Row]:
    """Latency of fdatasync on the data folder, in milliseconds: what every acknowledgement waits for."""
    try:
        times = sorted(_flush_times(data, writes))
    except OSError as error:
        yield Row("disk", "fdatasync", str(error), Level.FAIL, "the agent cannot store anything here")
        return
    median, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
    yield Row("disk", "fdatasync median", f"{median:.2f} ms", *judge_flush(median))
    yield Row("disk", "fdatasync p99", f"{p99:.2f} ms")


def judge_flush(median_ms: float) -> tuple[Level, str]:
    """What the median flush time says about the disk."""
    if median_ms < FLUSH_SUSPICIOUS_MS:
        return Level.WARN, "<0.2 ms on flash is suspicious: a cache that loses its content with the power?"
    if median_ms > FLUSH_SLOW_MS:
        return Level.WARN, "slow: each commit waits this long; use an industrial SSD or eMMC, not an SD card"
    return Level.OK, ""


def _flush_times(data: Path, writes: int) -> list[float]:
    times: list[float] = []
    block = os.urandom(4096)
    with tempfile.TemporaryFile(dir=data, buffering=0) as file:
        for n in range(writes):
            os.pwrite(file.fileno(), block, n * len(block))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return times


class _Timex(ctypes.Structure):
    """The head of ``struct timex`` of adjtimex(2); the rest is room for what the kernel fills in."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


_STA_UNSYNC = 0x0040  # <sys/timex.h>


def clock_synchronised() -> tuple[bool, float]:
    """Whether the kernel's clock is disciplined, and the largest error it may have, in seconds.

    Reads adjtimex(2) without changing anything. Raises OSError where the system refuses the call.
    """
    now = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(now)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return not now.status & _STA_UNSYNC, now.maxerror / 1_000_000


def clock() -> Row:
    """Whether times in documents and signatures can be trusted."""
    try:
        synchronised, error = clock_synchronised()
    except (OSError, AttributeError) as refusal:  # not Linux, or a sandbox that hides the call
        return Row("clock", "synchronised", "unknown", Level.WARN, f"cannot be read here: {refusal}")
    if synchronised:
        return Row("clock", "synchronised", f"yes, within {error:.3f} s")
    advice = "posting dates and signatures carry this clock: start chrony or systemd-timesyncd"
    return Row("clock", "synchronised", "no", Level.WARN, advice)
