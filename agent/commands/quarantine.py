"""`gatepost quarantine`: messages that could not be read or were refused; looked at, taken out, read again."""

from __future__ import annotations

import json as encoder
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import click

from agent.commands import show
from agent.commands.approvals import told
from agent.commands.place import AT_MOST, ID, Asked, Place, as_json, at_place, now, signed
from agent.commands.reach import Reach, at_desk
from agent.errors import GatepostError, NotFound
from agent.people.desk import Desk
from agent.store import lists

PIECE = 500


@click.group()
def quarantine() -> None:
    """Quarantined messages: list, show, replay, keep, export.

    Nothing of a quarantined message was posted. Mend the mapping or the master data, then `replay`.
    """


@quarantine.command("list")
@click.option("--limit", type=AT_MOST, default=100, show_default=True, help="At most so many, oldest first.")
@at_place
@as_json
def list_(*, limit: int, place: Place, json: bool) -> None:
    """List them with the reason."""
    found = place.look(lambda connection: lists.quarantined(connection, limit=limit))
    if json:
        show.data(found)
        return
    if not found:
        show.say("nothing is quarantined")
        return
    at = now()
    rows = [
        ([one["id"], one["source"], show.age(one["received_at"], at), one["topic"]], [one["reason"]]) for one in found
    ]
    show.entries(["event", "source", "for", "topic"], rows)


@quarantine.command("show")
@click.argument("event", type=ID)
@at_place
@as_json
def show_(*, event: int, place: Place, json: bool) -> None:
    """Show one with its raw message."""
    found = place.look(lambda connection: one_of(connection, event))
    if json:
        show.data(found)
        return
    show.say(f"event {event} from {found['source']} on {found['topic']}, {show.moment(found['received_at'])}")
    show.say(f"  refused: {found['reason']}")
    show.say(found["payload"])


@quarantine.command()
@click.argument("events", metavar="EVENT...", type=ID, nargs=-1, required=True)
@at_place
@signed
def replay(*, events: tuple[int, ...], place: Place, asked: Asked) -> None:
    """Read messages again, after what refused them was mended.

    \b
    Example:
      gatepost quarantine replay 71 72 --reason "mapping knows the unit now"
    """
    for event in events:
        answer = Reach(place, asked).act(f"/v1/quarantine/{event}/replay", {}, at_desk(Desk.replay_event, event))
        told(answer, asked)


@quarantine.command()
@click.argument("events", metavar="EVENT...", type=ID, nargs=-1, required=True)
@at_place
@signed
def keep(*, events: tuple[int, ...], place: Place, asked: Asked) -> None:
    """Leave reports where they are: they were booked by hand.

    A report of an order, material, defect code or cause that is not known yet is read again by itself when it is. Not
    so these.
    The same message delivered again, before or after, is a duplicate; `replay` takes the word back.

    \b
    Example:
      gatepost quarantine keep 73 --reason "booked by hand, 4900001234"
    """
    for event in events:
        answer = Reach(place, asked).act(f"/v1/quarantine/{event}/keep", {}, at_desk(Desk.keep_event, event))
        told(answer, asked)


@quarantine.command()
@click.argument("folder", type=click.Path(path_type=Path))
@at_place
def export(*, folder: Path, place: Place) -> None:
    """Write each as FOLDER/EVENT.event.json, ready for `gatepost cases`.

    The folder gets one file a message: topic, message and the reason why it was refused.
    """
    count, last = 0, 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while found := place.look(partial(lists.quarantined, after=last, limit=PIECE)):
            for one in found:
                text = encoder.dumps(as_case(one), indent=2) + "\n"
                (folder / f"{one['id']}.event.json").write_text(text, encoding="utf-8")
            count, last = count + len(found), found[-1]["id"]
    except OSError as error:
        raise GatepostError(f"{folder}: {error.strerror}; {count} messages are in it") from error
    show.say(f"{count} messages in {folder}")


def as_case(one: dict[str, Any]) -> dict[str, Any]:
    """The event of a case; a payload that is no JSON stays text."""
    case = {name: one[name] for name in ("source", "topic", "received_at", "reason")}
    try:
        return {**case, "payload": encoder.loads(one["payload"], parse_float=_refuse, parse_constant=_refuse)}
    except ValueError:  # also a number whose digits JSON would not keep
        return {**case, "text": one["payload"]}


def _refuse(text: str) -> float:
    raise ValueError(text)


def one_of(connection: apsw.Connection, event: int) -> dict[str, Any]:
    """One quarantined event. Raises NotFound."""
    found = lists.quarantined(connection, after=event - 1, limit=1)
    if not found or found[0]["id"] != event:
        raise NotFound(f"event {event} is not quarantined; gatepost trace {event} tells where it is")
    return found[0]
