"""`gatepost deadletter`: what the ERP refused, and what nobody but a person can clear up."""

from __future__ import annotations

import click

from agent.commands import show
from agent.commands.approvals import shown, told
from agent.commands.place import AT_MOST, ID, Asked, Place, as_json, at_place, now, plain, signed
from agent.commands.reach import Reach, at_desk
from agent.people.desk import Desk
from agent.store import lists

STATES = ("dead", "doubtful")
IDS = click.argument("ids", metavar="ID...", type=ID, nargs=-1, required=True)


@click.group()
def deadletter() -> None:
    """Dead and doubtful postings: list, show, replay, refuse, document, not-booked.

    `dead`: the ERP refused it in its own words. Mend the cause there, then `replay`, or `refuse` it for ever.

    `doubtful`: it was sent, no answer came, and no lookup can prove what happened. Look into the ERP for the key:
    found → `document`, surely not there → `not-booked`. A guess here doubles or loses a posting.

    Each blocks the later postings of its own order and nothing else.
    """


@deadletter.command("list")
@click.option("--limit", type=AT_MOST, default=100, show_default=True, help="At most so many of each, oldest first.")
@at_place
@as_json
def list_(*, limit: int, place: Place, json: bool) -> None:
    """List them with the ERP's own words."""
    found = place.look(
        lambda connection: [one for state in STATES for one in lists.postings(connection, state, limit=limit)]
    )
    if json:
        show.data(found)
        return
    if not found:
        show.say("no dead letters")
        return
    at, units = now(), place.unit_table()
    rows = [
        (
            [one["id"], one["state"], one["ordering_key"], show.kind(one), one["idempotency_key"],
             show.age(one["changed_at"], at)],
            [
                show.content(one, units),
                f"{'the ERP said' if one['state'] == 'dead' else 'because'}: {one['error']}",
                *show.group(one),
            ],
        )
        for one in found
    ]  # fmt: skip
    show.entries(["posting", "state", "lane", "kind", "key", "for"], rows)


@deadletter.command("show")
@click.argument("id", type=ID)
@at_place
@as_json
def show_(*, id: int, place: Place, json: bool) -> None:
    """Show one of them; `gatepost trace posting:ID` tells its whole story."""
    shown(place, id, json=json)


@deadletter.command()
@IDS
@at_place
@signed
def replay(*, ids: tuple[int, ...], place: Place, asked: Asked) -> None:
    """Send dead letters again, unchanged, after the cause was mended in the ERP.

    \b
    Example:
      gatepost deadletter replay 12 13 --reason "stock was corrected, 4900000123"
    """
    for id in ids:
        act = Reach(place, asked).act(f"/v1/deadletters/{id}/replay", {}, at_desk(Desk.replay, id))
        told(act, asked)


@deadletter.command()
@IDS
@at_place
@signed
def refuse(*, ids: tuple[int, ...], place: Place, asked: Asked) -> None:
    """Never post them; their orders go on.

    \b
    Example:
      gatepost deadletter refuse 12 --reason "booked by hand, 4900000124"
    """
    for id in ids:
        act = Reach(place, asked).act(f"/v1/deadletters/{id}/refuse", {}, at_desk(Desk.give_up, id))
        told(act, asked)


@deadletter.command()
@click.argument("id", type=ID)
@click.argument("document", callback=plain)
@at_place
@signed
def document(*, id: int, document: str, place: Place, asked: Asked) -> None:
    """Name the document that a doubtful posting is found to have.

    \b
    Example:
      gatepost deadletter document 12 2026/4900000017 --reason "found by its key in MB51"
    """
    answer = Reach(place, asked).act(
        f"/v1/doubtful/{id}/document", {"document": document}, lambda at, by: at.name_document(id, document, by)
    )
    told(answer, asked)


@deadletter.command("not-booked")
@click.argument("id", type=ID)
@at_place
@signed
def not_booked(*, id: int, place: Place, asked: Asked) -> None:
    """Say that a doubtful posting is surely not in the ERP: it is sent.

    \b
    Example:
      gatepost deadletter not-booked 12 --reason "no document with this key, asked the ERP team"
    """
    answer = Reach(place, asked).act(f"/v1/doubtful/{id}/not-booked", {}, at_desk(Desk.not_booked, id))
    told(answer, asked)
