"""What a story plays on: it reports to the broker, asks the agent as people do, and tells what happens in words."""

from __future__ import annotations

import asyncio
import importlib
import json
import textwrap
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from simulators.line.publisher import Address, Publisher
from simulators.line.wire import Message
from simulators.scenario import Bench as Ports
from simulators.stories import MODES, OPTIONS, STORIES

PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.3
ASK_S: Final = 2.0  # between two questions that the agent keeps as events
ANSWER_S: Final = 10.0
WIDTH: Final = 100
SETTLED: Final = ("acknowledged", "held", "dead", "refused", "superseded", "simulated")

Say = Callable[[str], None]
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StoryError(Exception):
    """The story cannot go on; the message says at what it stands."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One bench, seen by a story. `data` is its folder.

    `reported` is told of each report; `pause_s`: how long a reader has for what was told, before the next comes.
    """

    ports: Ports
    data: Path
    say: Say
    reported: Say = field(default=lambda _: None)
    pause_s: float = 0.0
    plant: str = "1710"

    def tell(self, text: str) -> None:
        """A few sentences, in lines that fit a terminal; an id stays in one piece, so that it can be copied."""
        for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False):
            self.say(line)

    async def next(self, text: str) -> None:
        """A few sentences, when what went before has been read, and agent and SAP have said their part of it."""
        await asyncio.sleep(self.pause_s)
        self.tell(text)

    async def report(self, place: str, body: Mapping[str, Any]) -> str:
        """Publish a report of `line/work centre/kind`, stamped now; returns the name by which the agent knows it."""
        kind = place.rpartition("/")[2]
        content = json.dumps({"ts": datetime.now(UTC).isoformat(timespec="milliseconds"), **body})
        topic = f"plant/{self.plant}/{place}"
        await asyncio.to_thread(self._publish, Message(topic, content.encode()))
        self.reported(f"{body['id']} reported on {topic}")
        return f"{kind}:{body['id']}"

    def _publish(self, message: Message) -> None:
        publisher = Publisher(Address("127.0.0.1", self.ports.broker), client_id="story")
        publisher.send(message)
        stored = publisher.drain(PATIENCE_S)
        publisher.close()
        if not stored:
            raise StoryError(f"the broker took no report within {PATIENCE_S:g} s")

    async def settled(self, name: str, *states: str) -> list[dict[str, Any]]:
        """The postings of a report, once none of them moves any more; or each is in one of these states."""

        async def there() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await self.ask("GET", f"/v1/trace/{name}") or {}).get("postings", [])
            return found if found and all(one["state"] in (states or SETTLED) for one in found) else []

        settled: list[dict[str, Any]] = await self.until(there, f"what {name} became")
        return settled

    async def until(self, found: Callable[[], Awaitable[Any]], what: str, every_s: float = LOOK_S) -> Any:
        """The first answer that is one. Raises StoryError after a minute."""
        for _ in range(int(PATIENCE_S / every_s)):
            if answer := await found():
                return answer
            await asyncio.sleep(every_s)
        raise StoryError(f"the story waited {PATIENCE_S:g} s for {what}; look at {self.data}/agent.log")

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request to the agent's API, as the operator of this machine; None: it knows nothing like that yet."""
        return await asyncio.to_thread(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        token = (self.data / "operator.token").read_text(encoding="utf-8").strip()
        request = urllib.request.Request(  # of the bench
            f"http://127.0.0.1:{self.ports.api}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
            method=method,
        )
        try:
            with _DIRECT.open(request, timeout=ANSWER_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            if refusal.code == 404:
                return None
            raise StoryError(f"{method} {path}: {refusal.code} {refusal.read().decode(errors='replace')}") from None

    async def decide(self, what: str, posting: Mapping[str, Any], who: str, reason: str, **more: Any) -> dict[str, Any]:
        """Approve, refuse or correct (`correction`) a held posting, as one of the bench's people."""
        shown = await self.ask("GET", f"/v1/approvals/{posting['id']}")
        if shown["state"] != "held":  # a reader has typed the command, and was quicker
            return dict(shown)
        body = {"expected_version": shown["version"], "reason": reason, "on_behalf_of": who, **more}
        answer: dict[str, Any] = await self.ask("POST", f"/v1/approvals/{posting['id']}/{what}", body)
        return answer


def staged(config: Path, story: str) -> None:
    """Give workflows the modes and options that the story needs, in the bench's own copy of a configuration.

    A story whose module has `configure` adds there what else it needs.
    """
    modes, options = MODES.get(story, {}), OPTIONS.get(story, {})
    if not modes and not options:
        return
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    for workflow, mode in modes.items():
        content["authority"][workflow] = {"mode": mode, "min_confidence": 0, "audit_sample": 0}
    for workflow, chosen in options.items():
        content["workflows"][workflow]["options"] = dict(chosen)
    configure = getattr(importlib.import_module(STORIES[story].partition(":")[0]), "configure", None)
    if configure is not None:
        configure(content)
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def player(name: str) -> Callable[[Stage], Awaitable[None]]:
    """The function that plays a story."""
    module, _, function = STORIES[name].partition(":")
    found: Callable[[Stage], Awaitable[None]] = getattr(importlib.import_module(module), function)
    return found


def reasons(posting: Mapping[str, Any]) -> Sequence[str]:
    """Why a posting is held."""
    found: Sequence[str] = posting["reasons"]
    return found
