"""Starts the broker of the bench and of the tests: mosquitto, found or installed, else a Python broker with a warning.

The settings are those that the agent's promise rests on. What a `kill -9` of the broker loses is what arrived since
its last save: up to AUTOSAVE_SECONDS. A stop by SIGTERM saves first and loses nothing.
"""

from __future__ import annotations

import asyncio
import functools
import getpass
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

AUTOSAVE_SECONDS = 5
PORTS = 20_000, 32_000  # below what Linux gives to connections
START_SECONDS = 10.0
STOP_SECONDS = 10.0
SETTINGS: Mapping[str, str] = {
    "allow_anonymous": "true",
    "persistence": "true",
    "autosave_interval": str(AUTOSAVE_SECONDS),  # the default of half an hour would lose as much
    "autosave_on_changes": "false",  # true would write the whole file again for every message of a backlog
    "max_queued_messages": "100000",  # the default of 1000 drops silently after that
    "max_queued_bytes": "0",
    "max_inflight_messages": "100",
    "message_size_limit": "262144",
    "set_tcp_nodelay": "true",
    "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
}
ROOT = Path(__file__).resolve().parent.parent
WEAK_BROKER = (
    "WARNING: this bench runs on a small Python broker. It keeps nothing for a client that is away: an agent that is "
    "killed is not redelivered to, so nothing here shows that nothing gets lost. Install mosquitto for that "
    "(Debian, Ubuntu: `apt-get install mosquitto`; Fedora: `dnf install mosquitto`)."
)


class BrokerError(Exception):
    """The broker did not start; the message ends with what it logged."""


class Broker:
    """One broker process on 127.0.0.1 with its files in `folder`; an async context manager.

    `executable` None means the Python broker. `settings` are added to SETTINGS or replace them (mosquitto only);
    port 0 takes a free port, which stays the same over `restart`.
    """

    def __init__(
        self, folder: Path, port: int = 0, *, executable: Path | None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.log = self.folder / "broker.log"
        self._executable = executable
        self._settings = {**SETTINGS, **(settings or {})}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start and wait until it accepts connections; raises BrokerError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (self.folder / "pid").write_text(str(self._process.pid), encoding="ascii")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._accepting()
        except TimeoutError:
            await self.kill()
            raise self._failed(f"did not accept connections within {START_SECONDS:.0f} s") from None
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def stop(self) -> None:
        """End it by SIGTERM, so that it saves its sessions and queues; nothing happens when it is not running."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # one that an outage froze would hear nothing
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it by SIGKILL: what it had not saved is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) it and start it again on the same port and files."""
        await (self.kill() if kill else self.stop())
        await self.start()

    async def wait(self) -> int:
        """Wait until the process ends; its return code."""
        if self._process is None:
            raise BrokerError("the broker was never started; call start() first")
        return await self._process.wait()

    def _command(self) -> list[str]:
        if self._executable is None:
            return [sys.executable, "-m", "simulators.python_broker", str(self.port)]
        config = self.folder / "mosquitto.conf"
        config.write_text(mosquitto_conf(self.folder, self.port, self._settings), encoding="utf-8")
        return [str(self._executable), "-c", str(config)]

    async def _accepting(self) -> None:
        while True:
            if self._process is not None and self._process.returncode is not None:
                raise self._failed(f"ended with code {self._process.returncode}")
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return

    def _failed(self, what: str) -> BrokerError:
        tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        return BrokerError(f"the broker on port {self.port} {what}; the end of {self.log}:\n{tail}")


def mosquitto_conf(folder: Path, port: int, settings: Mapping[str, str]) -> str:
    """The text of a mosquitto.conf: one listener on loopback, everything it keeps in `folder`."""
    lines = [
        f"user {getpass.getuser()}",  # started by root it would become `mosquitto`, who may not write here
        f"listener {port} 127.0.0.1",
        f"persistence_location {folder}/",
        "log_dest stderr",
        *(f"{name} {value}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now.

    Out of a range that no connection is given by itself. A process gets none twice before it has had them all, and
    begins anywhere: two who ask at once hardly get the same.
    """
    for port in _ports():
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # somebody has it
                continue
            return port
    raise AssertionError("a circle has no end")


@functools.cache
def _ports() -> Iterator[int]:
    """All of them in a circle, from a place that chance picks."""
    low, high = PORTS
    first = random.randrange(low, high)
    return itertools.cycle((*range(first, high), *range(low, first)))


def find_mosquitto() -> Path | None:
    """The mosquitto of this machine; Debian keeps it in /usr/sbin, which a user's PATH often lacks."""
    found = shutil.which(
        "mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    )
    return Path(found) if found else None


def broker_program(say: Callable[[str], None]) -> Path | None:
    """The mosquitto to run, installed first where that is possible; None for the Python broker, with its warning."""
    found = find_mosquitto() or _installed_mosquitto()
    if found is None:
        say(WEAK_BROKER)
    return found


def _installed_mosquitto() -> Path | None:
    """Install it as root or with sudo where that is possible; the script says itself what it does or why it cannot."""
    subprocess.run([ROOT / ".ci" / "need", "mosquitto"], check=False, stdin=subprocess.DEVNULL)
    return find_mosquitto()
