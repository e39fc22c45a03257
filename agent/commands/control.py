"""`gatepost pause`, `resume` and `reverse`: stop sending, let it go on, take a document back."""

from __future__ import annotations

import sys
from typing import Any

import click

from agent.commands import show
from agent.commands.approvals import YES, told
from agent.commands.place import ID, Asked, Place, at_place, plain, signed
from agent.commands.reach import Reach, at_desk
from agent.people.desk import Desk
from agent.store.pauses import SCOPES

SCOPE = click.argument("scope", type=click.Choice(SCOPES))
KEY = click.argument("key", callback=plain)


@click.command()
@SCOPE
@KEY
@click.option("--force", is_flag=True, help="Also a line or an order that the agent does not know yet.")
@at_place
@signed
def pause(*, scope: str, key: str, force: bool, place: Place, asked: Asked) -> None:
    """Stop sending for a target, a line or an order.

    Reports are still taken in and decided; their postings wait. What is under way comes back. '*' is every target.
    A line is known by the work centres of the master data, an order when the ERP has told it or something of it waits.

    \b
    Examples:
      gatepost pause target s4 --reason "SAP upgrade"
      gatepost pause line mixing --reason "scale is being calibrated"
      gatepost pause order 1000017 --reason "wrong bill of material"
    """
    if scope == "target":
        place.require_target(key)
    answer = Reach(place, asked).act(
        "/v1/pause",
        {"scope": scope, "key": key, **({"force": True} if force else {})},
        lambda at, by: at.pause(scope, key, by, force=force),
    )
    _answered(answer, "paused", asked)


@click.command()
@SCOPE
@KEY
@at_place
@signed
def resume(*, scope: str, key: str, place: Place, asked: Asked) -> None:
    """Let it go on.

    After a restored backup (RECONCILE) every target is paused: make sure that no other copy of the agent runs, then
    `gatepost resume target '*'`. What was open is looked up in the ERP before it is sent.

    \b
    Examples:
      gatepost resume target s4 --reason "SAP is back"
      gatepost resume target '*' --reason "restored from last night, the old box is off"
    """
    _answered(
        Reach(place, asked).act("/v1/resume", {"scope": scope, "key": key}, lambda at, by: at.resume(scope, key, by)),
        "goes on", asked,
    )  # fmt: skip


@click.command()
@click.argument("id", type=ID)
@at_place
@signed
def seen(*, id: int, place: Place, asked: Asked) -> None:
    """Say that a notification was seen: who would be next is not told.

    ID is the number of its posting. Whoever acts on what it is about need not say so.

    \b
    Example:
      gatepost seen 4711 --reason "resin is on its way"
    """
    told(Reach(place, asked).act(f"/v1/notifications/{id}/seen", {}, at_desk(Desk.seen, id)), asked)


@click.command()
@click.argument("document")
@YES
@at_place
@signed
def reverse(*, document: str, yes: bool, place: Place, asked: Asked) -> None:
    """Take back a booked document, by a posting of its own that you sign.

    DOCUMENT is as `gatepost trace` shows it. A document is taken back once; where that came to nothing (refused, or a
    dry run), it can be asked again.

    \b
    Example:
      gatepost reverse 2026/4900000017 --reason "booked on the wrong order"
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Take back {document} as {asked.by}?", abort=True)
    answer = Reach(place, asked).act("/v1/reversals", {"document": document}, lambda at, by: at.reverse(document, by))
    told(answer, asked)


def _answered(answer: Any, what: str, asked: Asked) -> None:
    found = answer if isinstance(answer, dict) else {}
    about = f"{found.get('scope', '')} {found.get('key', '')}".strip()
    show.say(f"{about} {what} (by {found.get('by', asked.by)}: {asked.reason})")
