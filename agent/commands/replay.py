"""`gatepost replay`: decisions computed again from what their records keep, and whether they are the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Any

import apsw
import click

from agent import assembly
from agent.commands import show
from agent.commands.cases import Nothing, Paper, Unneeded, outcome
from agent.commands.place import Place, as_json, at_place, now
from agent.configuration import config
from agent.errors import GatepostError, NotFound
from agent.judging.judge import judge
from agent.oversight.replay import Replayed, Versions, as_data, bits, replay
from agent.ports import ErpTarget, Event
from agent.scoring import registry
from agent.store import archive, decisions, sampling
from agent.store.decisions import Decided
from agent.store.encode import to_us
from agent.store.named import LONGEST_ID, named

PIECE = 1000  # decisions at a time
LAST = 2**63 - 1
DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command("replay")
@click.argument("name", metavar="[ID]", required=False)
@click.option("--all", "every", is_flag=True, help="Every decision on record, archives included, instead of one.")
@click.option("--from", "since", type=DAY, help="With --all: only from this day or moment (UTC) on.")
@click.option("--to", "until", type=DAY, help="With --all: only before this day or moment (UTC).")
@at_place
@as_json
def command(
    *, name: str | None, every: bool, since: datetime | None, until: datetime | None, place: Place, json: bool
) -> None:
    """Compute a decision again from its record: is the answer the same, bit by bit?

    ID is what `gatepost trace` takes. The very version that decided is loaded by its hash, wherever it lies in the
    folder of models. Beside it, and never mixed with it, stands what would be decided today about the same message: by
    today's rules, master data and champion, as if it had come alone. Records of releases that kept less are compared
    within rounding, and that is said.

    Exit code 1 where anything differs, or could not be computed.

    \b
    Examples:
      gatepost replay 4711
      gatepost replay 2026/4900000017 --json
      gatepost replay --all --from 2026-10-01 --to 2026-11-01
    """
    if (name is None) != every or (not every and (since or until)):
        raise click.UsageError("name one decision, or ask for --all, with --from and --to where you like")
    span = _moment(since, 0), _moment(until, LAST)

    def look(live: apsw.Connection) -> None:
        with archive.readers(place.store.archive) as archives:
            if name is not None:
                _one(place, [live, *archives], versions, name, json=json)
            else:
                _all([*archives, live], versions, span, json=json)

    with closing(Versions(place.models, registry.trusted(place.model_keys))) as versions:
        place.look(look)


def _moment(told: datetime | None, otherwise: int) -> int:
    return to_us(told.replace(tzinfo=UTC)) if told else otherwise


# ── one ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _one(place: Place, files: Sequence[apsw.Connection], versions: Versions, name: str, *, json: bool) -> None:
    """Raises NotFound where there is no decision, GatepostError where it differs or cannot be computed."""

    found, event, ran_with = _found(files, name)
    (replayed,) = replay([found], versions)
    data, today = as_data(replayed, ran_with), _today(place, event, found)
    if name.isdecimal() and int(name) != found.event and not json:
        show.say(f"nothing was decided about event {name}; {name} means something else, too: `gatepost trace {name}`")
    if json:
        show.data({**data, "today": today})
    for line in () if json else (*told(replayed, data), *_told_of_today(today)):
        show.folded(line)
    if not replayed.same:
        raise GatepostError(f"event {found.event}: it is not shown that the same would be decided again")


def _found(files: Sequence[apsw.Connection], name: str) -> tuple[Decided, Event | None, Mapping[str, str]]:
    """The decision, what it was about, and what the agent computed with; the live file first. Raises NotFound."""
    for about in _meant(files[0], name):
        for file in files:
            if found := decisions.of_event(file, about):
                event = next((event for one in files if (event := decisions.event(one, about))), None)
                return found, event, decisions.ran_with(file, found.seq)
    raise NotFound(f"no decision is on record for {name!r}; `gatepost trace {name}` tells what became of it")


def _meant(live: apsw.Connection, name: str) -> Iterator[int]:
    """The events that may be meant, the likeliest first; one is known by its number also where it has been archived.

    Raises NotFound.
    """
    number = name.removeprefix("event:")
    if number.isdecimal() and len(number) < LONGEST_ID:
        yield int(number)
    for meaning in named(live, name):
        if meaning.event is not None:
            yield meaning.event


def told(replayed: Replayed, data: Mapping[str, Any]) -> Iterator[str]:
    """One replay, for people: a line for each answer where it is the same. `data` is the same for programs."""
    decided = replayed.decided
    yield from _told(replayed, data["likely"], decided.detail, f"event {decided.event}")
    if replayed.account is not None:
        account = decided.detail["account"]
        head = f"event {decided.event}, its account {account['account'] or 'that no rule gives'}"
        yield from _told(replayed.account, data["account"]["likely"], account, head)


def _told(replayed: Replayed, causes: Iterable[str], detail: Mapping[str, Any], head: str) -> Iterator[str]:
    """One answer; `detail` is the part of the record that holds it."""
    head = f"{head}, decided {show.moment(replayed.decided.at.isoformat())}:"
    went = f"; {detail['route']}" if "route" in detail else ""
    if replayed.problem:
        yield f"{head} cannot be computed again: {replayed.problem}"
    elif replayed.differences:
        yield f"{head} NOT the same by {replayed.model}"
        for one in replayed.differences:
            yield f"    {one.field}: {_value(one.recorded)} is on record, {_value(one.now)} now"
        yield from (f"    likely: {cause}" for cause in causes)
    elif not replayed.model:
        yield f"{head} no model was asked, there is nothing to compute again{went}"
    elif "unfit" in detail:
        yield f"{head} the same: {replayed.model} has no answer to this row{went}"
    else:
        yield from _the_same(replayed, detail["score"], head, went)


def _the_same(replayed: Replayed, score: Mapping[str, Any], head: str, went: str) -> Iterator[str]:
    how = "bit by bit" if replayed.exact else "within rounding (its record keeps no more)"
    bar = f"; the bar was {score['bar']:.2f}" if "bar" in score else ""
    yield f"{head} the same: {replayed.model} answers {score['confidence']:.4f} again, {how}{bar}{went}"
    yield from (f"    its reason reads now: {reason}" for reason in replayed.reasons)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value!r} ({bits(value)})"
    return "nothing" if value is None else str(value)


# ── today ───────────────────────────────────────────────────────────────────────────────────────────────────


def _today(place: Place, event: Event | None, found: Decided) -> dict[str, Any]:
    """What would be decided about the same message by what is configured and known now; or why that cannot be told."""
    if event is None:
        return {"problem": "the message itself has been archived, and its archive is not here"}
    if sha256(event.payload).hexdigest() != found.detail.get("payload_sha256"):
        return {"problem": "the message in the store is not the one that was decided: `gatepost audit verify`"}
    try:
        loaded = config.load(place.file, assembly.resolver(), Unneeded(os.environ))
        targets: dict[str, ErpTarget] = {one.name: Paper(one.name) for one in loaded.targets}
        known = place.look(lambda live: assembly.facts(loaded, assembly.units(loaded), now, live))
        rules = assembly.rules(loaded, known, targets, sampling_key=place.look(sampling.kept))
        judgement = judge([event], rules, Nothing(), rules.facts.plant.day(now()), live=None)
    except GatepostError as error:
        return {"problem": str(error)}
    return {"configuration": loaded.version, **outcome(judgement.verdicts[0])}


def _told_of_today(today: dict[str, Any]) -> Iterator[str]:
    if "problem" in today:
        yield f"today: cannot be told: {today['problem']}"
        return
    yield f"today, as if it came alone: {today['state']}"
    why = [today["why"]] if today.get("why") else today.get("reasons", [])
    yield from (f"    because: {reason}" for reason in why)


# ── all ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _all(files: Iterable[apsw.Connection], versions: Versions, span: tuple[int, int], *, json: bool) -> None:
    """Raises NotFound where there is none, GatepostError where any differs."""
    counts = dict.fromkeys(("decided", "same", "without_model", "within_rounding", "different", "not_computed"), 0)
    wrong: list[dict[str, Any]] = []
    for file in files:
        rows = decisions.between(file, *span)
        while piece := list(islice(rows, PIECE)):
            for one in replay(piece, versions):
                _count(counts, one)
                if not one.same:
                    wrong.append(as_data(one, decisions.ran_with(file, one.decided.seq)))
                    for line in () if json else told(one, wrong[-1]):
                        show.folded(line)
    if json:
        show.data({**counts, "wrong": wrong})
    elif counts["decided"]:
        show.say(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count))
    if wrong:
        raise GatepostError(f"{len(wrong)} of {counts['decided']} decisions are not shown to be the same again")
    if not counts["decided"]:
        raise NotFound("no decision is on record for that time")


def _count(counts: dict[str, int], one: Replayed) -> None:
    counts["decided"] += 1
    answers = [one] if one.account is None else [one, one.account]
    if any(each.problem for each in answers):
        counts["not_computed"] += 1
    elif any(each.differences for each in answers):
        counts["different"] += 1
    else:
        counts["same"] += 1
        counts["without_model"] += not any(each.model for each in answers)
        counts["within_rounding"] += not all(each.exact for each in answers)
