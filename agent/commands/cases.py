"""`gatepost cases`: an integrator's examples, run through mapping, workflow and authority as they are configured.

A case is two files: NAME.event.json, what arrives, and NAME.expected.json, what must become of it. Nothing is stored
and nothing is sent; master data is that of the configuration, and files of DIR/masterdata take the place of those of
the same name (orders.yaml, for plants whose orders come from the ERP).
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from agent import assembly
from agent.commands import show
from agent.commands.place import as_json, now
from agent.configuration import config
from agent.errors import BadPayload, ConfigError, Finding, GatepostError, NotFound
from agent.judging.judge import judge
from agent.judging.judgement import Verdict
from agent.judging.rules import Rules
from agent.ports import Acknowledgement, ErpTarget, Event, Kind, Posting
from agent.strict import strictjson

EVENT, EXPECTED = ".event.json", ".expected.json"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--config", "-c", "file", type=click.Path(path_type=Path), default="edge_config/agent.yaml",
    envvar="GATEPOST_CONFIG", show_default=True, show_envvar=True, help="The configuration that decides.",
)  # fmt: skip
@click.option("--write", is_flag=True, help="Write NAME.expected.json where it is missing, from what happens now.")
@as_json
def cases(*, folder: Path, file: Path, write: bool, json: bool) -> None:
    """Run an integrator's cases: does each event become what is expected?

    DIR/NAME.event.json says what arrives: topic, payload (or text, for what is no JSON), source, received_at.
    DIR/NAME.expected.json says what must become of it: state, why, reasons, postings. Only what it names is compared;
    a reason needs to name a part of the sentence. No broker, no ERP and no secrets are needed.

    Exit code 1 when a case fails.

    \b
    Examples:
      gatepost cases edge_config/cases
      gatepost cases my-cases --write     # then read what was written: is it what you want?
    """
    names = sorted(path.name.removesuffix(EVENT) for path in folder.glob(f"*{EVENT}"))
    if not names:
        raise NotFound(f"there is no case in {folder}: write NAME{EVENT} and NAME{EXPECTED}")
    loaded = config.load(file, assembly.resolver(), Unneeded(os.environ))
    results = []
    with prepared(loaded, folder) as ready:
        for name in names:
            actual = run(ready, folder / f"{name}{EVENT}")
            results.append((name, compare(folder / f"{name}{EXPECTED}", actual, write=write)))
    failed = [name for name, difference in results if difference]
    if json:
        show.data({name: {"ok": not difference, "difference": difference} for name, difference in results})
    else:
        for name, difference in results:
            show.say(f"{'FAILED' if difference else 'ok':<7} {name}" + "".join(f"\n    {line}" for line in difference))
    if failed:
        raise GatepostError(f"{len(failed)} of {len(names)} cases failed: {', '.join(failed)}")


class Unneeded(dict[str, str]):
    """An environment in which every secret has a value: a case needs none of them."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or str(name).startswith("GATEPOST_SECRET_")

    def __missing__(self, name: str) -> str:
        return "not needed for cases"


class Paper:
    """A target that takes everything and sends nothing."""

    settle_seconds = 0.0
    lookup_reliable = True

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def check(self, _kind: Kind, _payload: Mapping[str, Any]) -> Sequence[str]:
        """Nothing is refused: what the ERP itself would say is `gatepost check --connect`'s question."""
        return ()

    def freeze(self, _posting: Posting) -> bytes:
        """Nothing is sent."""
        return b""

    async def post(self, _posting: Posting) -> Acknowledgement:
        """Nothing is sent."""
        raise NotFound("a case posts nothing")

    async def find(self, _posting: Posting) -> Acknowledgement | None:
        """Nothing was sent."""
        return None

    def status(self) -> Mapping[str, Any]:
        """Always there."""
        return {"connected": True}


class Nothing:
    """A memory without a past: every case stands alone."""

    def known(self, _keys: Iterable[str]) -> Mapping[str, tuple[bytes, int]]:
        """No message was seen before."""
        return {}

    def states(self, _keys: Iterable[str]) -> Mapping[str, Any]:
        """No state."""
        return {}

    def in_quarantine(self, _orders: Iterable[str]) -> Set[tuple[str, int]]:
        """Nothing waits."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Ready:
    """A configuration that can judge cases; the rules depend on the day, because master data does."""

    loaded: config.Config
    targets: Mapping[str, ErpTarget]

    def rules(self, day: datetime) -> Rules:
        """What decides on that day."""
        table = assembly.units(self.loaded)
        return assembly.rules(self.loaded, assembly.facts(self.loaded, table, lambda: day), self.targets)


@contextmanager
def prepared(loaded: config.Config, folder: Path) -> Iterator[Ready]:
    """The configuration with the case folder's master data in the place of files of the same name."""
    with tempfile.TemporaryDirectory() as merged:
        for place in (loaded.masterdata, folder / "masterdata"):
            for path in sorted(place.glob("*")) if place.is_dir() else ():
                shutil.copyfile(path, Path(merged) / path.name)
        targets: dict[str, ErpTarget] = {one.name: Paper(one.name) for one in loaded.targets}
        yield Ready(loaded.model_copy(update={"masterdata": Path(merged)}), targets)


def run(ready: Ready, path: Path) -> dict[str, Any]:
    """What becomes of one event. Raises ConfigError naming the case's file."""
    event = read_event(path)
    rules = ready.rules(event.received_at)
    judgement = judge([event], rules, Nothing(), rules.facts.plant.day(event.received_at), live=None)
    return outcome(judgement.verdicts[0])


def read_event(path: Path) -> Event:
    """The event of a case file. Raises ConfigError."""
    try:
        told = strictjson.read(path.read_bytes())
        if not isinstance(told, dict) or "topic" not in told or ("payload" in told) == ("text" in told):
            raise BadPayload("needs a topic, and payload or text")
        unknown = set(told) - {"topic", "payload", "text", "source", "received_at", "properties", "reason"}
        if unknown:
            raise BadPayload(f"has the unknown keys {', '.join(sorted(unknown))}")
        for key in ("topic", "text", "source", "received_at"):
            if not isinstance(told.get(key, ""), str):
                raise BadPayload(f"{key} must be text")
        if not isinstance(told.get("properties", {}), dict):
            raise BadPayload("properties must be an object")
        received = datetime.fromisoformat(told["received_at"]) if "received_at" in told else now()
        if received.tzinfo is None:
            raise BadPayload("received_at needs a time zone, such as 2026-11-20T12:00:00Z")
    except (BadPayload, OSError, ValueError) as error:
        raise ConfigError([Finding(str(path), 1, "", str(error))]) from error
    payload = told["text"] if "text" in told else json.dumps(told["payload"], default=_exact)
    source = told.get("source", "case")
    return Event(1, source, told["topic"], payload.encode(), received, dict(told.get("properties", {})))


def _exact(value: object) -> object:
    """A number of the case, handed on with its digits where JSON can carry them."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(value)


def outcome(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a case names it."""
    detail = verdict.detail
    found: dict[str, Any] = {"state": verdict.state}
    if verdict.state == "quarantined":
        return {**found, "code": detail.get("code"), "why": verdict.reason}
    found["reasons"] = list(detail.get("reasons", ()))
    if verdict.state == "advised":
        found["would_post"] = [one["payload"] for one in detail["would_post"]]
    found["postings"] = [
        {"kind": one.kind.value, "target": one.target, "lane": one.ordering_key, "value": f"{one.value:f}",
         "held": bool(one.reasons), "payload": dict(one.payload)}
        for one in verdict.postings
    ]  # fmt: skip
    return json.loads(json.dumps(found, default=str))  # type: ignore[no-any-return]  # the shape that was made above


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────


def compare(path: Path, actual: Mapping[str, Any], *, write: bool) -> list[str]:
    """The lines in which a case differs; empty: it is as expected. Raises ConfigError for a broken file."""
    if not path.exists():
        if not write:
            return [f"{path} is missing; --write makes it from what happens now:", *_lines(actual)]
        path.write_text(json.dumps(actual, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return []
    try:
        expected = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError([Finding(str(path), 1, "", f"is no JSON: {error}")]) from error
    seen = projected(expected, actual)
    if seen == expected:
        return []
    return list(difflib.unified_diff(_lines(expected), _lines(seen), "expected", "happened", lineterm="", n=2))


def projected(expected: Any, actual: Any) -> Any:
    """What happened, reduced to what the case names; a sentence that contains the expected part is the part."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return {name: projected(value, actual.get(name)) for name, value in expected.items()}
    if isinstance(expected, list) and isinstance(actual, list):
        if all(isinstance(one, str) for one in (*expected, *actual)):
            return [part for part in expected if any(part in whole for whole in actual)] or actual
        rest = actual[len(expected) :]
        return [projected(one, other) for one, other in zip(expected, actual, strict=False)] + rest
    if isinstance(expected, str) and isinstance(actual, str) and expected and " " in expected and expected in actual:
        return expected
    return actual


def _lines(found: Any) -> list[str]:
    return json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True).splitlines()
