"""The order of system calls: what a broker is told is safe has been synced before (F2)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.mqtt_bench import DEADLINE, mosquitto, publish, until
from tests.stores import reading

MESSAGES = 6
AGENT = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.pipeline import Intake
from agent.sources.mqtt import MqttConfig, MqttSource
from agent.store.writer import Writer

writer = Writer(Path(sys.argv[2]), lambda: datetime.now(UTC))
writer.start()
config = MqttConfig(name="plant", brokers=("mqtt://127.0.0.1:" + sys.argv[1],), client_id="g1", topics=("plant/#",))
asyncio.run(MqttSource(config).run(Intake(writer)))
"""
PUBACK = re.compile(r'(?:sendto|write|sendmsg)\(\d+<[^>]*TCP[^"]*"@\\[23]')
WRITTEN = re.compile(r"pwrite64\(\d+<[^>]*gp\.db-wal>")
SYNCED = re.compile(r"(?:fdatasync\(\d+<[^>]*gp\.db-wal>\)|fdatasync resumed>\)) += 0")


def _count(path: Path) -> int:
    with contextlib.suppress(Exception), reading(path) as connection:  # not there yet
        return int(connection.execute("SELECT count(*) FROM event").get)
    return 0


async def test_every_puback_comes_after_the_sync_of_its_commit(tmp_path: Path):
    """Between two acknowledgements to the broker the log was written and then synced, seen in the system calls."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace to see system calls")
    trace, path = tmp_path / "trace", tmp_path / "gp.db"
    calls = "trace=pwrite64,fdatasync,sendto,write,sendmsg"
    async with mosquitto(tmp_path / "m") as broker:
        process = await asyncio.create_subprocess_exec(
            "strace", "-f", "-qq", "-yy", "-s", "16", "-e", calls, "-e", "signal=none", "-o", str(trace),
            sys.executable, "-c", AGENT, str(broker.port), str(path),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(DEADLINE):
                await until(lambda: _subscribed(trace))
            for number in range(MESSAGES):
                await publish(broker.port, [b"n%d" % number])
                await until(lambda number=number: _count(path) > number)  # type: ignore[misc]
                await until(lambda number=number: _pubacks(trace) > number)  # type: ignore[misc]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    written = synced = False
    acknowledged = 0
    for line in trace.read_text(errors="replace").splitlines():
        if WRITTEN.search(line):
            written, synced = True, False
        elif SYNCED.search(line):
            synced = written
        elif PUBACK.search(line):
            assert synced, f"an acknowledgement before the sync: {line}"
            written = synced = False
            acknowledged += 1
    assert acknowledged == MESSAGES


def _subscribed(trace: Path) -> bool:
    return trace.exists() and bool(
        re.search(r'(?:sendto|write)\(\d+<[^>]*TCP[^"]*"\\202', trace.read_text(errors="replace"))
    )


def _pubacks(trace: Path) -> int:
    return sum(bool(PUBACK.search(line)) for line in trace.read_text(errors="replace").splitlines())
