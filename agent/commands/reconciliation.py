"""`gatepost counts` and `gatepost variance`: what is worth counting, what was counted, and what orders took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from agent.balances import accounts, settled_by_backflush, worth_counting
from agent.commands import show
from agent.commands.facts import known
from agent.commands.place import AT_MOST, Asked, Place, as_json, at_place, now, plain, signed
from agent.commands.reach import Reach
from agent.people import counts as counted

DAY = click.DateTime(["%Y-%m-%d"])


class Listing(click.Group):
    """A group that lists where nothing else is asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without the name of a command it is that of the list."""
        named = bool(args) and (args[0] in self.commands or args[0] in ("-h", "--help"))
        return super().parse_args(ctx, args if named else ["list", *args])


@click.group("counts", cls=Listing)
def counts() -> None:
    """List what is worth counting, in money; enter what was counted."""


@counts.command("list")
@click.option("--costs", type=float, default=10.0, show_default=True, help="What counting one place costs.")
@click.option("--limit", type=AT_MOST, default=20, show_default=True, help="At most so many, the most valuable.")
@at_place
@as_json
def listed(*, costs: float, limit: int, place: Place, json: bool) -> None:
    """List what is worth counting, in money; `gatepost counts` alone does so, too.

    That is by how much the books of a place are probably off, less what counting costs: it grows with what moved since
    the last count, with the noise of its scales, and with what reconciliation found there and nobody has put right.

    \b
    Examples:
      gatepost counts
      gatepost counts list --costs 25 --json
    """
    facts = known(place)
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


def _quantity(_context: click.Context, _argument: click.Parameter, text: str) -> Decimal:
    return typed(text)


def typed(text: str) -> Decimal:
    """A quantity that a person types. Raises click.UsageError."""
    try:
        number = Decimal(text)
        fits = 0 <= number < 10**10
    except InvalidOperation:  # no number, or NaN, which cannot be compared
        fits = False
    if not fits:
        raise click.UsageError(f"QUANTITY: {text!r} is no quantity that can lie anywhere; a number such as 412.5")
    if number != round(number, 6):
        raise click.UsageError(f"QUANTITY: {text!r} has more than six places behind the point")
    return number.normalize()


@counts.command("enter")
@click.argument("material", callback=plain)
@click.argument("storage_location", callback=plain)
@click.argument("quantity", callback=_quantity)
@click.argument("unit", callback=plain)
@click.option("--batch", default="", callback=plain, help="The batch, where the material is managed in batches.")
@at_place
@signed
def enter(
    *, material: str, storage_location: str, quantity: Decimal, unit: str, batch: str, place: Place, asked: Asked
) -> None:
    """Enter what was counted at one place.

    It becomes a report like any other: the physical inventory document, the count in it and the difference to the
    books wait as one group for a signature (`gatepost approvals list`). A count that agrees posts nothing.

    \b
    Examples:
      gatepost counts enter RM-RESIN 171A 412.5 kg --reason "cycle count of week 48"
      gatepost counts enter RM-PIGMENT 171A 18 kg --batch B7 --by "E. Muster" --reason "silo looked too full"
    """
    one = counted.checked(counted.Counted(material, storage_location, quantity, unit, batch), known(place))
    body = {
        "material": material, "storage_location": storage_location, "quantity": f"{quantity:f}", "unit": one.unit,
        "batch": batch,
    }  # fmt: skip
    answer = Reach(place, asked).act("/v1/counts", body, lambda desk, act: counted.enter(desk, one, act))
    report = answer["report"]
    show.say(f"{report} entered (by {answer['by']}: {asked.reason}); `gatepost trace {report}` shows what became of it")


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
    facts = known(place)
    of_day = f"{day:%Y-%m-%d}" if day else ""
    found = place.look(lambda live: accounts(live, facts, order=order, day=of_day))
    if json:
        show.data(found)
        return
    if not found:
        backflush = bool(order) and place.look(lambda live: settled_by_backflush(live, order))
        show.say(no_account(order, of_day, today=facts.plant.day_text(now()), backflush=backflush))
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


def no_account(order: str, day: str, *, today: str, backflush: bool = False) -> str:
    """Why there is no account of what was asked for, and what there may be."""
    alone = "`gatepost variance` alone lists the orders under way"
    of = f" of order {order}" if order else ""
    if backflush:
        return (
            f"backflush settles order {order} with its own measurements, and reconciliation keeps no account of it; "
            f"`gatepost trace order:{order}` shows what was booked; {alone}"
        )
    if day >= today:
        return f"{day} is not over: its accounts{of} are made when it is; {alone}"
    if day:
        return f"no account{of} was made on {day}: nothing was reported, or reconciliation was not configured; {alone}"
    if order:
        return f"nothing is known{of}: nothing was reported of it that reconciliation has read; {alone}"
    return "no order is under way of which anything was reported; what is reported now is here in some seconds"


def _since(one: Mapping[str, Any]) -> str:
    return show.moment(one["since"]) if one["counted"] else "never"
