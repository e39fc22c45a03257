"""`gatepost sequence`: in which order the open orders of a work centre should be made, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from agent.commands import show
from agent.commands.facts import known, options_of
from agent.commands.place import Place, as_json, at_place, now
from agent.sequence.releasing import release_sequence, shown
from agent.workflows.order_release import Config, OrderRelease

LONGEST_S = 20.0


@click.command("sequence")
@click.argument("work_center", metavar="WORK_CENTER")
@click.option("--set-up-for", default="", metavar="FAMILY", help="What the work centre is set up for now.")
@click.option("--running", default="", metavar="ORDER", help="The order that it is at; else what the ERP tells.")
@at_place
@as_json
def command(*, work_center: str, set_up_for: str, running: str, place: Place, json: bool) -> None:
    """In which order a work centre should make its open orders so that least is late, and why.

    It looks at due dates, weights and what is confirmed of the orders as the ERP told them last, minutes, set-up
    families and certificates of the plant's files, stock, tools, and the hours of people. Tags are seen by a running
    agent alone: GET /v1/sequence looks at the state of the machine, too. It changes nothing, here or in the ERP.

    \b
    Examples:
      gatepost sequence ASSY-05
      gatepost sequence MIX-01 --set-up-for blue --json
    """
    facts = known(place)
    until = time.monotonic() + LONGEST_S
    found = shown(
        release_sequence(
            facts, work_center, now(), options_of(place, OrderRelease.name, Config).limits,
            running=running, set_up_for=set_up_for, out_of_time=lambda: time.monotonic() > until,
        )
    )  # fmt: skip
    if json:
        show.data(found)
        return
    rows = [([one["position"], one["order"], one["material"], show.moment(one["begin"]), _due(one)], _below(one))
            for one in found["orders"]]  # fmt: skip
    if said := found["machine"]["said"]:
        show.folded(said)
    if (oee := found["machine"]["oee"]) < 1:
        show.say(f"minutes are divided by the OEE of {work_center}: {oee:g}")
    if rows:
        show.entries(["", "order", "material", "begin", "due"], rows)
        show.folded("\n".join(_gain(found)))
    for one in found["left_out"]:
        show.folded(f"left out: {one['order']}: {one['why']}")
    if not rows and not found["left_out"]:
        show.say(f"{work_center} has no open orders")


def _due(one: Mapping[str, Any]) -> str:
    return show.moment(one["due"]) if one["due"] else "none"


def _below(one: Mapping[str, Any]) -> Iterator[str]:
    yield "; ".join(one["reasons"])


def _gain(found: Mapping[str, Any]) -> Iterator[str]:
    here, erp = found["here"], found["erp"]
    number, due = len(found["orders"]), here["due"]
    if not due:
        yield f"no order has a due date: this saves set-ups alone; {_set_ups(here)}"
        yield f"by the order of the ERP: {_set_ups(erp)}"
    else:
        yield (
            f"{here['late']} of {due} late, {_many(here['weighted_lateness_minutes'], 'minute')} in all, weighted; "
            f"{_set_ups(here)}"
        )
        yield (
            f"by the order of the ERP: {erp['late']} late, {_many(erp['weighted_lateness_minutes'], 'minute')}, "
            f"{_set_ups(erp)}"
        )
    if due < number:
        yield (
            f"{number - due} of {number} have no due date: they come where they cost nothing; give them one in the ERP "
            "(basic finish date)"
        )
    if not found["whole_search"]:
        yield "the search was cut off: asked again on a machine with less to do it may find a better one"


def _set_ups(figures: Mapping[str, Any]) -> str:
    if not figures["set_ups"]:
        return "no set-up"
    return f"{_many(figures['set_ups'], 'set-up')} of {_many(figures['set_up_minutes'], 'minute')}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
