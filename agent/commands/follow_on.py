"""`gatepost follow-on`: what may become of a lot that is kept from use, what each choice costs, and the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from agent import follow_ons
from agent.commands import show
from agent.commands.facts import known, options_of
from agent.commands.place import ID, Asked, Place, as_json, at_place, signed
from agent.commands.reach import Reach
from agent.commands.reconciliation import typed
from agent.workflows.follow_on import CHOICES
from agent.workflows.scrap import Config, Scrap


@click.group("follow-on")
def command() -> None:
    """What becomes of a lot that is kept from use for a defect: show each choice with its cost, choose one."""


@command.command("list")
@at_place
@as_json
def listed(*, place: Place, json: bool) -> None:
    """List the lots that are kept from use for a defect and of which something is left to decide about.

    \b
    Example:
      gatepost follow-on list
    """
    facts, share = known(place), options_of(place, Scrap.name, Config).rework_share
    found = [follow_ons.shown(one, facts, share) for one in place.look(follow_ons.waiting)]
    if json:
        show.data(found)
        return
    if not found:
        show.say("no lot that is kept from use waits for a decision")
        return
    columns = ["posting", "since", "lot", "material", "left", "defect", "suggested"]
    show.entries(columns, [(_row(one), ()) for one in found])
    show.say("look closer: gatepost follow-on show POSTING")


@command.command("show")
@click.argument("posting", type=ID)
@at_place
@as_json
def shown(*, posting: int, place: Place, json: bool) -> None:
    """Show what may become of the lot, what each choice costs, and which one is usual for such a defect.

    POSTING is the number of what keeps the lot from use: a stock transfer 344, or restricted use of its batch.

    \b
    Example:
      gatepost follow-on show 14
    """
    one = place.look(lambda live: follow_ons.kept(live, posting))
    found = follow_ons.shown(one, known(place), options_of(place, Scrap.name, Config).rework_share)
    if json:
        show.data(found)
        return
    show.say(
        f"{_much(found, 'quantity')} of lot {one.lot} of {one.material} are kept from use for a {one.severity} defect"
    )
    if one.decided and not Decimal(found["left"] or 1):
        show.say(f"somebody has chosen for all of it: gatepost trace posting:{posting}")
        return
    for choice in CHOICES:
        cost = f"{found['costs'][choice]} {found['currency']}" if found["costs"][choice] else "price × quantity"
        usual = "   suggested" if choice == found["suggested"] else ""
        show.say(f"  {choice:10} {cost:>14}{usual}")
    if one.decided:
        show.say(f"somebody has chosen before; left: {_much(found, 'left')}")
    show.say(f'choose: gatepost follow-on choose {posting} {found["suggested"]} --reason "…"')


@command.command("choose")
@click.argument("posting", type=ID)
@click.argument("choice", type=click.Choice(CHOICES))
@click.option("--quantity", default="", help="How much of it, in the unit of the posting; else all of it.")
@at_place
@signed
def choose(*, posting: int, choice: str, quantity: str, place: Place, asked: Asked) -> None:
    """Choose what becomes of the lot, or of so much of it.

    It becomes a report like any other; what it posts waits for a signature (`gatepost approvals list`).

    \b
    Example:
      gatepost follow-on choose 14 rework --reason "agreed with quality"
    """
    much = typed(quantity) if quantity else None
    body = {"choice": choice} | ({"quantity": f"{much:f}"} if much is not None else {})
    answer = Reach(place, asked).act(
        f"/v1/follow-ons/{posting}",
        body,
        lambda desk, act: follow_ons.enter(desk, posting, choice, much, act),
    )
    report = answer["report"]
    show.say(f"{report} entered (by {answer['by']}: {asked.reason}); `gatepost trace {report}` shows what became of it")


def _row(one: Mapping[str, Any]) -> Sequence[object]:
    usual = one["suggested"].replace("_", " ")
    return (
        one["posting"],
        show.moment(one["since"]),
        one["lot"],
        one["material"],
        _much(one, "left"),
        one["severity"],
        usual,
    )


def _much(found: Mapping[str, Any], name: str) -> str:
    """So much of it, or its whole batch."""
    return f"{found[name]} {found['unit']}" if found[name] is not None else "the whole batch"
