"""`gatepost run`: the agent as a process: configuration in, logs out, a calm end on a signal, one line on an error."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import apsw
import click

from agent import assembly, contents, logs
from agent.app import Agent
from agent.configuration import config
from agent.errors import GatepostError, StoreCorrupt

log = logging.getLogger("gatepost")
Serve = Callable[[Agent], Awaitable[None]]


@click.command()
@click.argument("file", metavar="CONFIG", type=click.Path(path_type=Path))
def run(file: Path) -> None:
    """Run the agent until it is told to stop.

    Ctrl-C or SIGTERM stops it calmly (exit 0). SIGHUP reads the configuration again, as a whole or not at all. It may
    be killed at any time: the next start looks up at the ERP what was being sent.

    \b
    Example:
      gatepost run edge_config/agent.yaml
    """
    loaded = config.load(file, assembly.resolver(), checks=[contents.identities])
    sink = logs.start(loaded.log.format, loaded.log.level)
    try:
        asyncio.run(live(loaded))
    except Exception as error:  # whichever loop met the damaged page first, it ends with the same sentence
        if not damaged(error):
            raise
        raise StoreCorrupt(
            f"{loaded.store.path} is damaged; nothing was posted from what cannot be read. Set it aside and run "
            "`gatepost recover` or `gatepost restore`"
        ) from error
    finally:
        sink.close()


def damaged(error: BaseException) -> bool:
    """Whether SQLite could not read its own file somewhere below this error."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(damaged, error.exceptions))
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return True
    return error.__cause__ is not None and damaged(error.__cause__)


async def live(loaded: config.Config) -> None:
    """One agent from start to stop, listening to signals from its first moment."""
    agent = Agent(loaded)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(reload(agent))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, agent.stop)
    await agent.run(server(loaded))


async def reload(agent: Agent) -> None:
    """Take the configuration file as it is now; what is wrong with it is logged and the old one stays."""
    try:
        fresh = await agent.fresh()
        await agent.reload(fresh)
    except GatepostError as error:
        for line in str(error).splitlines():
            log.error("the configuration was not reloaded, the old one goes on: %s", line)  # noqa: TRY400  # for people
    else:
        log.info("configuration reloaded", extra={"config": fresh.version})


def server(loaded: config.Config) -> Serve | None:
    """The faces that are configured; what they need costs time and memory: imported only where asked for."""
    faces: list[Serve] = []
    if loaded.api is not None or loaded.management is not None:
        from agent.web.server import serve as http

        faces.append(http)
    if loaded.opcua_server is not None:
        from agent.opcua.server import serve as opcua

        faces.append(opcua)
    if loaded.sparkplug_node is not None:
        from agent.edge_node.node import serve as sparkplug

        faces.append(sparkplug)
    return _together(faces) if faces else None


def _together(faces: Sequence[Serve]) -> Serve:
    """All of them at once; where one cannot go on the agent ends with its sentence."""

    async def serve(agent: Agent) -> None:
        async with asyncio.TaskGroup() as group:
            for face in faces:
                group.create_task(_as_coroutine(face(agent)), name=face.__module__)

    return serve


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable
