"""`gatepost counts` and `gatepost variance`: what is worth counting, and what orders took beside what they should."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from agent import masterfiles
from agent.balances import accounts, worth_counting
from agent.commands import show
from agent.commands.place import AT_MOST, Place, as_json, at_place, now
from agent.facts import Facts, Plant, from_document
from agent.store import masterdata

DAY = click.DateTime(["%Y-%m-%d"])


@click.command("counts")
@click.option("--costs", type=float, default=10.0, show_default=True, help="What counting one place costs.")
@click.option("--limit", type=AT_MOST, default=20, show_default=True, help="At most so many, the most valuable.")
@at_place
@as_json
def counts(*, costs: float, limit: int, place: Place, json: bool) -> None:
    """List what is worth counting, in money.

    That is by how much the books of a place are probably off, less what counting costs: it grows with what moved since
    the last count, with the noise of its scales, and with what reconciliation found there and nobody has put right.

    \b
    Examples:
      gatepost counts
      gatepost counts --costs 25 --json
    """
    facts = _facts(place)
    found = place.look(lambda live: worth_counting(live, facts, now(), costs))[:limit]
    if json:
        show.data(found)
        return
    if not found:
        show.say("no stock is known: reconciliation is not configured, or the ERP has not told any")
        return
    rows = [
        [one["material"], one["storage_location"], one["batch"], f"{one['in_books']:.6g} {one['unit']}",
         f"± {one['off']:.4g}", f"{one['value']:.2f}", _since(one)]
        for one in found
    ]  # fmt: skip
    show.table(
        ["material", "location", "batch", "in the books", "off by", f"worth {place.plant.currency}", "counted"], rows
    )
    show.say(f"worth: what the books are probably off by, less {costs:g} {place.plant.currency} for counting it")


@click.command("variance")
@click.argument("order", required=False, default="", metavar="[ORDER]")
@click.option("--day", type=DAY, help="All orders of this day, as they stood when it was over.")
@at_place
@as_json
def variance(*, order: str, day: datetime | None, place: Place, json: bool) -> None:
    """What an order took beside its bill of material, with the sentence that explains it.

    With a day: every order of that day. Without either: every order that is under way.

    \b
    Examples:
      gatepost variance 1000100
      gatepost variance --day 2026-11-20
    """
    facts = _facts(place)
    of_day = f"{day:%Y-%m-%d}" if day else ""
    found = place.look(lambda live: accounts(live, facts, order=order, day=of_day))
    if json:
        show.data(found)
        return
    if not found:
        show.say(no_account(order, of_day, today=facts.plant.day_text(now())))
        return
    for one in found:
        show.say(f"{one['day'] or 'now'}  {one['says']}")
        rows = [
            [
                part["material"],
                f"{part['expected']} {part['unit']}",
                part["used"],
                part["booked"],
                part["off"],
                part["money"],
            ]
            for part in one["components"]
        ]
        show.table(["material", "expected", "used", "booked", "off", place.plant.currency], rows)


def no_account(order: str, day: str, *, today: str) -> str:
    """Why there is no account of what was asked for, and what there may be."""
    alone = "`gatepost variance` alone lists the orders under way"
    of = f" of order {order}" if order else ""
    if day >= today:
        return f"{day} is not over: its accounts{of} are made when it is; {alone}"
    if day:
        return f"no account{of} was made on {day}: nothing was reported, or reconciliation was not configured; {alone}"
    if order:
        return f"nothing is known{of}: nothing was reported of it that reconciliation has read; {alone}"
    return "no order is under way of which anything was reported; what is reported now is here in half a minute"


def _since(one: Mapping[str, Any]) -> str:
    return show.moment(one["since"]) if one["counted"] else "never"


def _facts(place: Place) -> Facts:
    """The plant's files as they count today, and what the ERP said last. Raises ConfigError, NotFound, StoreError."""
    plant = Plant(place.plant.site, ZoneInfo(place.plant.time_zone), place.plant.currency)
    table = place.unit_table()
    files = masterfiles.load(place.masterdata, table).facts(plant.day(now()))
    learnt = place.look(lambda live: masterdata.current(live, "erp"))
    told = (from_document(kind, document) for kind, _, document in learnt)
    return Facts(plant, table).with_facts(files).with_facts(told)
