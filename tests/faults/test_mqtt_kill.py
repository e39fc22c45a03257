"""kill -9 of a process that runs the MQTT source: what was not committed comes again, what was is not lost."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import sys
from pathlib import Path

from tests.mqtt_bench import DEADLINE, Shelf, mosquitto, publish, running, source, until

MESSAGES = 6000
KILLS = 8
AGENT = """
import asyncio, os, queue, signal, sys, threading
import apsw
from agent.sources.mqtt import MqttConfig, MqttSource

port, path, kill_after, place = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
count = 0

def kill(here):
    if here == place and kill_after and count >= kill_after:
        threading.Event().wait(0.05)  # so that an acknowledgement given too early would have left by now
        os.kill(os.getpid(), signal.SIGKILL)

class Disk:
    def __init__(self):
        self.queue = queue.Queue(4)
        threading.Thread(target=self.write, daemon=True).start()
    def put(self, batch, timeout=None):
        try:
            self.queue.put(batch, timeout=timeout)
        except queue.Full:
            return False
        return True
    def checkpoint(self, key):
        return None
    def write(self):
        global count
        db = apsw.Connection(path)
        db.set_busy_timeout(5000)
        db.execute("pragma journal_mode=wal").fetchall()
        db.execute("pragma synchronous=full").fetchall()
        db.execute("create table if not exists event(id integer primary key, payload text)")
        while True:
            batch = self.queue.get()
            count += len(batch.deliveries)
            with db:
                rows = [(delivery.payload.decode(),) for delivery in batch.deliveries]
                db.executemany("insert into event(payload) values(?)", rows)
                kill("before the commit")
            kill("after the commit")
            batch.stored()
            kill("after the acknowledgement was ordered")

config = MqttConfig(name="plant", brokers=("mqtt://127.0.0.1:" + port,), client_id="gatepost-1", topics=("plant/#",))
asyncio.run(MqttSource(config).run(Disk()))
"""


async def agent(port: int, path: Path, kill_after: int, place: str) -> asyncio.subprocess.Process:
    arguments = (str(port), str(path), str(kill_after), place)
    return await asyncio.create_subprocess_exec(sys.executable, "-c", AGENT, *arguments)


def stored(path: Path) -> list[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [row[0].strip() for row in connection.execute("select payload from event order by id")]
    finally:
        connection.close()


async def test_killed_again_and_again_nothing_is_lost(tmp_path: Path):
    """Eight kills around the commit: every message is stored, and their first sightings are in the order sent."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, path = random.Random(seed), tmp_path / "store.db"
    expected = [f"n{number}" for number in range(MESSAGES)]
    places = ("before the commit", "after the commit", "after the acknowledgement was ordered")
    async with mosquitto(tmp_path / "m") as broker:
        async with running(source(broker.port), Shelf()):
            pass  # the session exists before the first message
        sending = asyncio.create_task(publish(broker.port, [word.ljust(300).encode() for word in expected]))
        for kill in range(KILLS):
            process = await agent(broker.port, path, chance.randrange(1, 400), places[kill % 3])
            async with asyncio.timeout(DEADLINE):
                assert await process.wait() == -signal.SIGKILL
        await sending
        process = await agent(broker.port, path, 0, "")
        try:
            await until(lambda: len(set(stored(path))) == MESSAGES)
        finally:
            process.kill()
            await process.wait()
    assert list(dict.fromkeys(stored(path))) == expected
