"""What fault tests of the store share: a process that prints what it acknowledged, and broken disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.stores import assert_sound, reading

DEADLINE_S = 60.0
ROOT = Path(__file__).parent.parent
NOTHING: Mapping[str, str] = {}
SHIM = Path(__file__).parent / "faults" / "shim.c"
CHILD = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from agent.ports import Batch, Delivery
from agent.store import inbox
from agent.store.writer import Writer


path, batches = Path(sys.argv[1]), int(sys.argv[2])
writer = Writer(path, lambda: datetime.now(UTC))
writer.start()
print("started", *writer.findings, flush=True)
for number in range(batches):
    stored = threading.Event()
    payloads = [f"{number}-{n}".encode() for n in range(3)]
    batch = Batch("line", [Delivery("plant/x", one) for one in payloads], datetime.now(UTC), stored.set)

    runs = []

    def job(tx, batch=batch, runs=runs):
        runs.append(1)
        inbox.store(tx, batch)
        tx.audit("stored", {"batch": number})

    writer.put(job, 100, lambda error: None if error else stored.set())
    stored.wait()
    print(number, len(runs), flush=True)
print("stopping", flush=True)
writer.stop()
print("stopped", flush=True)
"""


class Child:
    """The storing process; `acknowledged` grows as it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.strip())
                self._changed.notify_all()

    @property
    def acknowledged(self) -> list[int]:
        return [*self.runs]

    @property
    def runs(self) -> dict[int, int]:
        """Acknowledged batch → how often its job ran."""
        told = (line.split() for line in self.lines if line[:1].isdigit())
        return {int(parts[0]): int(parts[1]) for parts in told if len(parts) == 2}  # a killed child's last may be cut

    def until(self, number: int, seconds: float = DEADLINE_S) -> None:
        """Wait for this many acknowledged batches."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= number, seconds), self.lines[-5:]

    def stuck(self, seconds: float = 1.5) -> bool:
        """Nothing is acknowledged for a while."""
        with self._changed:
            before = len(self.acknowledged)
            return not self._changed.wait_for(lambda: len(self.acknowledged) > before, seconds)

    def end(self, seconds: float = DEADLINE_S) -> int:
        code = self.process.wait(seconds)
        self._thread.join(seconds)
        return code


@contextmanager
def child(
    path: Path, batches: int, *, prefix: tuple[str, ...] = (), environment: Mapping[str, str] = NOTHING
) -> Iterator[Child]:
    """Store `batches` batches of three events into `path`, in a process of its own."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", CHILD, str(path), str(batches)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    one = Child(process)
    try:
        yield one
    finally:
        process.kill()
        process.wait()
        one._thread.join(DEADLINE_S)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def stored_batches(path: Path) -> list[int]:
    """The batches on disk, each whole, in order; after a look at everything that must hold."""
    with reading(path) as connection:
        assert_sound(connection)
        payloads = [payload.decode() for (payload,) in connection.execute("SELECT payload FROM event ORDER BY id")]
    batches = [int(payload.split("-")[0]) for payload in payloads[::3]]
    assert payloads == [f"{number}-{n}" for number in batches for n in range(3)]
    return batches


def shim(folder: Path) -> tuple[dict[str, str], Path]:
    """The environment that preloads the shim, and the file of its rules."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to build the disk-fault shim")
    library, rules = folder / "shim.so", folder / "rules"
    if not library.exists():
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
    rules.write_text("")
    return {"LD_PRELOAD": str(library), "SHIM_RULES": str(rules)}, rules


def strace(*injections: str) -> tuple[str, ...]:
    """The command prefix that injects faults into system calls."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace to inject faults into system calls")
    calls = ",".join(one.split(":")[0] for one in injections)
    return (
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        *(f"--inject={one}" for one in injections),
    )


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """A file system of its own, unmounted at the end. Skips where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", *arguments, folder], check=False, capture_output=True).returncode:
        pytest.skip(f"needs root to mount ({' '.join(arguments)})")
    try:
        yield folder
    finally:
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", folder], check=True)
