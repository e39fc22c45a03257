"""`gatepost advised`: what workflows in mode `advise` would have posted, as one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from agent.commands import show
from agent.commands.place import AT_MOST, Place, as_json, at_place
from agent.store.advised import advised as found_in

TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"])
IN_AUTO = {"posted": "would be posted", "held": "would be held", "advised": "is off for its target"}


@click.command()
@click.option("--workflow", default="", help="Only what this workflow advised.")
@click.option("--since", type=TIMES, help="Only what arrived from this time (UTC) on.")
@click.option("--until", type=TIMES, help="Only what arrived before this time (UTC).")
@click.option("--limit", type=AT_MOST, default=100, show_default=True, help="At most so many, the newest.")
@at_place
@as_json
def advised(
    *, workflow: str, since: datetime | None, until: datetime | None, limit: int, place: Place, json: bool
) -> None:
    """List what workflows in mode `advise` would have posted; nothing of it was.

    Each with what the mode `auto` would have made of it: posted by itself, or held for a person, and why.

    \b
    Examples:
      gatepost advised --since "2026-11-20 06:00"
      gatepost advised --workflow consumption --json
    """
    if since and until and since >= until:
        raise click.UsageError(f"--until {until:%Y-%m-%d %H:%M} is not behind --since {since:%Y-%m-%d %H:%M}")
    found = place.look(
        lambda connection: found_in(connection, workflow=workflow, since=_utc(since), until=_utc(until), limit=limit)
    )
    if json:
        show.data([{**one, "currency": place.plant.currency} for one in found])
        return
    if not found:
        show.say("nothing was advised; which mode a workflow has says `authority` in the configuration")
        return
    rows = [
        (
            [one["event_id"], show.moment(one["received_at"]), one["workflow"], one["order"], IN_AUTO[one["in_auto"]]],
            _below(one, place),
        )
        for one in found
    ]
    show.entries(["event", "arrived", "workflow", "order", "in mode auto"], rows)
    counts = Counter(IN_AUTO[one["in_auto"]] for one in found)
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    more = "; older ones with a higher --limit" if len(found) == limit else ""
    show.say(f"{len(found)} listed: {told}{more}; look closer: gatepost trace EVENT")


def _utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None


def _below(one: Mapping[str, Any], place: Place) -> Iterator[str]:
    """What would be posted, and why so."""
    units = place.unit_table()
    for posting in one["would_post"]:
        value = show.money(posting["value"], place.plant.currency)
        yield f"{show.kind(posting)}: {show.content(posting, units)}, {value}"
    yield from (f"because: {reason}" for reason in one["reasons"])
