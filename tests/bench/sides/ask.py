"""Questions at a fixed rate, an empty request and a commit in between; the line goes on reporting."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from simulators.line.wire import Message
from tests.bench import plant
from tests.bench.preload import publish
from tests.bench.sides import arguments, tell

QUESTION = {
    "order_id": "PROD-1", "material": "VALVE-55", "quantity": 500, "required_work_center": "ASSY-05",
    "required_skill": "TORQUE_CERT", "due_date": "2030-06-15T18:00:00Z",
}  # fmt: skip
FLOOR_EVERY = 4  # questions
CONNECTIONS = 32
READY_S = 60.0


class Line:
    """One kept-alive connection: HTTP in as few steps as it takes."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._head = port, f"Host: bench\r\nAuthorization: Bearer {token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}{kind}\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
        return int(head.split(" ")[1]), await reader.readexactly(length)


async def main(
    port: int, token: str, rate: float, seconds: float, line: float, reports: str, broker: int, folder: str, **_: Any
) -> None:
    """Ask for so many seconds; the answers' states are counted."""
    to_come = plant.read(Path(reports))
    lines: asyncio.Queue[Line] = asyncio.Queue()
    for _number in range(CONNECTIONS):
        lines.put_nowait(Line(port, token))
    await _ready(lines)
    asked: list[float] = []
    floor: list[float] = []
    states: Counter[str] = Counter()
    stop = asyncio.Event()
    reporting = asyncio.create_task(_report(broker, line, to_come, stop))
    with closing(_scratch(Path(folder) / "floor.db")) as scratch:
        turn = asyncio.Lock()
        began, tasks = time.perf_counter(), []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(lines, asked, states)))
            if number % FLOOR_EVERY == 0:
                tasks.append(asyncio.create_task(_floor(lines, scratch, turn, floor)))
        await asyncio.gather(*tasks)
    stop.set()
    await reporting
    tell({"asked_ms": asked, "floor_ms": floor, "states": dict(states)})


async def _ready(lines: asyncio.Queue[Line]) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        line = await lines.get()
        try:
            status, _ = await line.ask("GET", "/ready")
        except OSError:
            status = 0
        lines.put_nowait(line)
        if status == 200:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the agent is not ready after {READY_S:g} s")


async def _ask(lines: asyncio.Queue[Line], took: list[float], states: Counter[str]) -> None:
    line, began = await lines.get(), time.perf_counter()
    status, body = await line.ask("POST", "/v1/feasibility/check", json.dumps(QUESTION).encode())
    took.append((time.perf_counter() - began) * 1e3)
    states[json.loads(body).get("status", str(status))] += 1
    lines.put_nowait(line)


async def _floor(lines: asyncio.Queue[Line], scratch: apsw.Connection, turn: asyncio.Lock, took: list[float]) -> None:
    """One empty request and one commit, each for itself; their sum."""
    line, began = await lines.get(), time.perf_counter()
    await line.ask("GET", "/live")
    empty = time.perf_counter() - began
    lines.put_nowait(line)
    async with turn:
        took.append((empty + await asyncio.to_thread(_commit, scratch)) * 1e3)


def _scratch(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", 2)
    connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, payload BLOB)")
    return connection


def _commit(connection: apsw.Connection) -> float:
    began = time.perf_counter()
    connection.execute("INSERT INTO event (payload) VALUES (randomblob(400))")
    return time.perf_counter() - began


async def _report(broker: int, rate: float, messages: Sequence[Message], stop: asyncio.Event) -> None:
    """The line goes on: a second's reports at once, each second."""
    while messages and not stop.is_set():
        now, messages = messages[: round(rate)], messages[round(rate) :]
        await asyncio.to_thread(publish, broker, now)
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
