"""The sides of the measurements, each a process of its own: JSON in as its argument, JSON out as its last line."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def arguments() -> dict[str, Any]:
    """What the measurement asks for."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def tell(figures: Mapping[str, Any]) -> None:
    """Answer with what was measured."""
    print(json.dumps(figures), flush=True)


class Stopwatch:
    """Wall-clock and CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self._threads = cpu_by_thread()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds so far; `cpu_s` is of all threads."""
        return {"seconds": time.perf_counter() - self._wall, "cpu_s": time.process_time() - self._cpu}

    def threads(self) -> dict[str, float]:
        """CPU seconds so far of each thread that had any."""
        spent = {name: cpu - self._threads.get(name, 0.0) for name, cpu in cpu_by_thread().items()}
        return {name: round(cpu, 2) for name, cpu in spent.items() if cpu >= 0.01}


def cpu_by_thread() -> dict[str, float]:
    """CPU seconds of every Python thread since it began, as Linux counts them."""
    ticks, found = os.sysconf("SC_CLK_TCK"), {}
    for thread in threading.enumerate():
        stat = Path(f"/proc/self/task/{thread.native_id}/stat")
        if stat.exists():
            user, system = stat.read_text().rpartition(")")[2].split()[11:13]
            found[thread.name] = (int(user) + int(system)) / ticks
    return found


def peak_mb() -> float:
    """The largest resident set of this process so far, in MB."""
    return rss_mb(os.getpid(), "VmHWM")


def rss_mb(pid: int, line: str = "VmRSS") -> float:
    """The resident set of a process in MB (of 1e6 bytes)."""
    for found in Path(f"/proc/{pid}/status").read_text().splitlines():
        if found.startswith(line + ":"):
            return int(found.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no {line}")


def until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Look every few milliseconds until it is so. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.005)
