"""`gatepost findings`: what reconciliation found and what became of it; and a finding's part of `gatepost trace`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import click

from agent import found as findings
from agent.commands import show
from agent.commands.facts import known
from agent.commands.place import AT_MOST, Place, as_json, at_place
from agent.units import UnitTable

DID = {
    "approved": "approved", "refused": "refused", "corrected": "corrected and approved", "signed": "signed first",
    "withdrawn": "withdrawn", "put_right": "put right by others, as seen",
}  # fmt: skip


@click.command("findings")
@click.option("--all", "every", is_flag=True, help="Also those that are put right, refused or only told.")
@click.option("--limit", type=AT_MOST, default=20, show_default=True, help="At most so many, the newest.")
@at_place
@as_json
def command(*, every: bool, limit: int, place: Place, json: bool) -> None:
    """List what reconciliation found and nobody has put right yet, with its evidence.

    \b
    Examples:
      gatepost findings
      gatepost findings --all --json
      gatepost trace finding:5417fd3b
    """
    facts = known(place)
    found = place.look(lambda live: findings.listed(live, facts, only_open=not every, limit=limit))
    if json:
        show.data(found)
        return
    if not found:
        rest = "nothing that was found is open; `gatepost findings --all` has the rest"
        show.say("nothing was found" if every else rest)
        return
    currency = place.plant.currency
    rows = [
        ([one["id"][:8], show.moment(one["found_at"]), one["cause"], one["state"], f"{one['value']} {currency}"],
         [f"{where(one)}: {'; '.join(one['evidence'])}"])
        for one in found
    ]  # fmt: skip
    show.entries(["finding", "found", "cause", "state", "value"], rows)
    show.say("look closer: gatepost trace finding:ID")


def told(one: Mapping[str, Any], units: UnitTable, currency: str) -> Iterator[str]:
    """A finding from its evidence to what the books say after it, a line each."""
    yield f"finding {one['id'][:8]}: {one['cause']} of {where(one)}: {one['state']}"
    yield f"  the books: {_wrong(one)}, worth {show.money(one['value'], currency)}"
    yield from (f"  shown by: {words}" for words in one["evidence"])
    for row in one["rows"]:
        yield f"  {row['is']} {row['name']}" + (f", event {row['event']}" if row["event"] else "")
        yield from (f"    {_posting(posting, units)}" for posting in row["postings"])
    yield from (f"  proposed: {_posting(posting, units)}" for posting in one["postings"])
    for advice in one["would_post"]:
        yield f"  advised, and not written: {show.kind(advice)}: {show.content(advice, units)}"
    if not one["postings"] and not one["would_post"]:
        yield "  proposed: nothing is to be posted"
    if one["decided"]:
        act = one["decided"]
        yield f"  {DID[act['did']]} by {act['by']} on {show.moment(act['at'])}: {act['reason']}"
    yield from (f"  {words}" for words in _books(one["books"]))


def where(one: Mapping[str, Any]) -> str:
    """Material, place and order."""
    at = f" at {one['storage_location']}" if one["storage_location"] else ""
    batch = f", batch {one['batch']}" if one["batch"] else ""
    return f"{one['material']}{at}{batch}" + (f", order {one['order']}" if one["order"] else "")


def _wrong(one: Mapping[str, Any]) -> str:
    excess = Decimal(one["excess"])
    if not excess:
        return "are right"
    return f"took {abs(excess):f} {one['unit']} too {'much' if excess > 0 else 'little'} off the stock"


def _posting(one: Mapping[str, Any], units: UnitTable) -> str:
    document = f", document {one['document']}" if one["document"] else ""
    what = f"{show.kind(one)}: {show.content(one, units)}".rstrip(": ")
    return f"posting {one['id']}, {what}, {one['state'].replace('_', ' ')}{document}"


def _books(books: Mapping[str, Any]) -> Iterator[str]:
    if "used" in books:
        yield (
            f"now: order {books['order']} has {books['booked']} {books['unit']} of {books['material']} booked, "
            f"{books['used']} used, {books['expected']} expected"
        )
        yield f"now: {books['says']}"
    elif books:
        yield f"now: {books['in_books']} {books['unit']} are in the books of the place"
