"""`gatepost shortages`: which materials run short at their places within the next hours, and how that is known."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from agent.commands import show
from agent.commands.place import Place, as_json, at_place, now
from agent.errors import NotFound
from agent.shortages.looking import told
from agent.shortages.telling import shown


@click.command("shortages")
@at_place
@as_json
def command(*, place: Place, json: bool) -> None:
    """Which materials run short at their places within two and three hours.

    A running agent forecasts it after each quarter of an hour, from what was used of each material at each place in the
    last two weeks; this shows its last forecast, the likeliest shortage first. Short is what is below the safety stock
    of the master data. It changes nothing, here or in the ERP.

    \b
    Examples:
      gatepost shortages
      gatepost shortages --json
    """
    if place.shortages is None:
        raise NotFound(f"nothing is forecast: {place.file} has no section `shortages`; add `shortages: {{}}`")
    found = shown(*place.look(told), now(), place.unit_table())
    if json:
        show.data(found)
        return
    begin = found["forecast_from"]
    if begin is None:
        show.say("nothing was forecast yet; a running agent does it within a few seconds of its start")
        return
    if found["stale"]:
        show.folded(f"OLD: forecast at {show.moment(begin)}, and not since. Does the agent run? gatepost status")
    else:
        show.say(f"forecast of what is used from {show.moment(begin)} on")
    if found["doubt"]:
        show.folded(f"IN DOUBT: {found['doubt']}")
    if found["items"]:
        columns = ["material", "place", "stock", "safety", "use of the next 3 h", "short in 2 h", "in 3 h"]
        show.entries(columns, [(_cells(one), _below(one)) for one in found["items"]])
    for line in _rest(found):
        show.folded(line)


def _cells(one: Mapping[str, Any]) -> list[str]:
    soon, later = one["horizons"]
    stock = "unknown" if one["stock"] is None else f"{show.figure(one['stock'])} {one['unit']}"
    return [
        one["material"], one["storage_location"], stock, show.figure(one["safety_stock"]), _used(later),
        _chance(soon["short"]), _chance(later["short"]),
    ]  # fmt: skip


def _used(horizon: Mapping[str, Any]) -> str:
    """The likely and the largest use, no finer than the latter can be known."""
    most = horizon["at_most"]
    if most is None:
        return "?"
    places = 1 - math.floor(math.log10(most)) if most > 0 else 0
    return f"{show.figure(round(horizon['likely'], places))}, at most {show.figure(round(most, places))}"


def _chance(short: float | None) -> str:
    """A probability, no finer than it can be known."""
    if short is None:
        return "?"
    return "under 1 %" if short < 0.01 else "over 99 %" if short > 0.99 else f"{short:.0%}".replace("%", " %")


def _below(one: Mapping[str, Any]) -> Iterator[str]:
    """When, where it is worth a line."""
    begin, likely = show.moment(one["earliest_at"]), show.moment(one["likely_at"])
    if one["stock"] is not None and one["stock"] < one["safety_stock"]:
        yield "below its safety stock now"
    elif likely:
        yield f"below its safety stock likely from {likely} on, at the earliest from {begin}"
    elif begin:
        yield f"below its safety stock at the earliest from {begin} on; likely not within 3 h"


def _rest(found: Mapping[str, Any]) -> Iterator[str]:
    """Who said it and why not the model, what is left out, and how old the stock is."""
    heard = found["stock_as_of"]
    if any(one["stock"] is not None for one in found["items"]):
        when = f", heard last at {show.moment(heard)}" if heard else ""
        yield f"stock: as the ERP told it{when}; less what is on its way to the books"
    if unknown := [_place(one) for one in found["items"] if one["stock"] is None]:
        yield f"stock unknown, the ERP never told it: {', '.join(unknown)}"
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in found["items"]:
        last = one["horizons"][-1]
        said[last["by"], last["why"]].append(_place(one))
    for (by, why), places in said.items():
        whose = "all" if len(said) == 1 else ", ".join(places)
        yield f"{'forecast by ' + by if by else 'no forecast'}{f' ({why})' if why else ''}: {whose}"
    yield from _held(found["items"])
    left: dict[str, list[str]] = defaultdict(list)
    for one in found["left_out"]:
        left[one["why"]].append(_place(one))
    for why, places in left.items():
        yield f"left out ({why}): {', '.join(places)}"
    if not found["items"] and not left:
        yield "until then no goods issue of the last two weeks is booked or on its way to the books"


def _held(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How often the model was right, where it was held against what came."""
    last = [one["horizons"][-1] for one in items if one["horizons"][-1]["outcomes"]]
    if count := sum(one["outcomes"] for one in last):
        share = sum(one["outcomes"] * one["at_most_held"] for one in last) / count
        yield f"of {count} forecasts of 3 h, {share * 100:.0f} % held what they said at most, 95 % should"


def _place(one: Mapping[str, Any]) -> str:
    return f"{one['material']} at {one['storage_location']}" if one["storage_location"] else str(one["material"])
