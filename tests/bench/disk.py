"""The disk's fdatasync rate: what every durable number stands beside."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def fdatasync_per_s(folder: Path, writes: int = 500) -> float:
    """Writes of 4 KiB per second, each followed by its fdatasync."""
    block = os.urandom(4096)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        began = time.perf_counter()
        for number in range(writes):
            os.pwrite(file.fileno(), block, number * len(block))
            os.fdatasync(file.fileno())
        return writes / (time.perf_counter() - began)
