"""A source of tags into the live state: the real source, events, intake and writer on a real file; nobody decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.publish as publish

from agent import assembly
from agent.app import utc_now
from agent.configuration import config
from agent.pipeline import Intake
from agent.store.writer import Writer
from agent.tags.engine import TagEvents
from tests.bench.sides import Stopwatch, arguments, peak_mb, tell
from tests.bench.sides.live import until

LOOK_S = 0.002


async def main(
    configuration: str, tags: int, rounds: int, address: str = "", go: str = "", broker: int = 0, **_: Any
) -> None:
    """From the first change of the flood until the live state has the last one of every tag.

    With an `address`, such as "ns=bench;s=t{}", there are more tags than the configuration names. `go` is the topic
    that begins the flood, where somebody waits for it.
    """
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    loaded = config.load(Path(configuration), assembly.resolver())
    if address:
        loaded = _with_tags(loaded, {f"t{number}": address.format(number) for number in range(tags)})
    writer = Writer(loaded.store.path, utc_now, queue_bytes=loaded.store.queue_mb << 20)
    writer.start()
    intake = Intake(writer)
    source: Any = assembly.sources(loaded, utc_now, {})[0]
    begun, watch = time.perf_counter(), Stopwatch()
    running = asyncio.create_task(source.run(intake))

    if go:
        await until(lambda: source.status()["connected"], "the source is connected", every=LOOK_S)
        publish.single(go, qos=1, hostname="127.0.0.1", port=broker)

    def current() -> Any:
        found = (one.current() for one in vars(source).values() if isinstance(one, TagEvents))
        return next(found, {})

    def all_say(value: int) -> bool:
        if running.done():
            running.result()
        now = current()
        return len(now) == tags and now["t0"].value >= value and all(one.value >= value for one in now.values())

    await until(lambda: len(current()) == tags, "every tag has a value", every=LOOK_S)
    figures: dict[str, Any] = {"subscribed_s": time.perf_counter() - begun, "subscribe_cpu_s": watch.read()["cpu_s"]}
    if rounds:
        await until(lambda: current()["t0"].value >= 1, "the flood begins", every=LOOK_S)
        watch = Stopwatch()
        await until(lambda: all_say(rounds), "every tag has its last value", every=LOOK_S)
        measured = watch.read()
        changes = tags * (rounds - 1)
        figures |= {"per_s": changes / measured["seconds"], "changes": changes, **measured, "threads": watch.threads()}
        await until(lambda: intake.stored[source.name] > 0, "an event is stored")
        figures |= {"cpu_s_per_10k": measured["cpu_s"] / changes * 10_000, "events": intake.stored[source.name]}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    writer.stop()
    tell({**figures, "commits": writer.figures.commits, "peak_mb": peak_mb()})


def _with_tags(loaded: config.Config, tags: Mapping[str, str]) -> config.Config:
    """More than fit into a file of 256 KiB, which is the most that the agent reads."""
    (one,) = loaded.sources
    settings = one.settings.model_copy(update={"tags": tags})
    return loaded.model_copy(update={"sources": (one.model_copy(update={"settings": settings}),)})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
