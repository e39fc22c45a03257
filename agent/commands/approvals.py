"""`gatepost approvals`: look at held postings, approve, correct or refuse them, signed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from agent.access.rights import at_stake, with_it
from agent.commands import show
from agent.commands.facts import known
from agent.commands.place import AT_MOST, ID, Asked, Place, as_json, at_place, now, signed
from agent.commands.reach import Reach
from agent.errors import Conflict
from agent.people import desk
from agent.people.scrap_reasons import suggested
from agent.people.shown import said
from agent.ports import Kind
from agent.store import approvals as store
from agent.store import decisions, lists
from agent.workflows.sentences import Words

VERSION = click.option(
    "--version",
    type=click.IntRange(1),
    help="Act only if the posting still has this version, as `show` told it.  [default: as it is now]",
)
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")


@click.group()
def approvals() -> None:
    """Held postings: list, show, approve, correct, refuse.

    A posting is held where the agent may not decide alone. A decision counts for exactly the version that was
    shown: whoever comes second is told who was first.
    """


@approvals.command("list")
@click.option("--limit", type=AT_MOST, default=100, show_default=True, help="At most so many, oldest first.")
@at_place
@as_json
def list_(*, limit: int, place: Place, json: bool) -> None:
    """List what waits for a person, oldest first."""
    found = place.look(lambda connection: lists.to_decide(connection, limit=limit))
    if json:
        show.data([priced(one, place) for one in found])
        return
    if not found:
        show.say("nothing waits for a person")
        return
    at, units = now(), place.unit_table()
    rows = [
        (
            [
                one["id"],
                one["ordering_key"],
                show.kind(one),
                show.money(at_stake(one), place.plant.currency),
                show.age(one["created_at"], at),
            ],
            [
                show.content(one, units),
                *(f"because: {reason}" for reason in one["reasons"]),
                *signatures(one),
                *show.group(one),
            ],
        )
        for one in found
    ]
    show.entries(["posting", "lane", "kind", "value", "waits"], rows)
    show.say("look closer: gatepost approvals show ID")


@approvals.command("show")
@click.argument("id", type=ID)
@at_place
@as_json
def show_(*, id: int, place: Place, json: bool) -> None:
    """Show one posting with everything a decision needs."""
    shown(place, id, json=json)


@approvals.command()
@click.argument("id", type=ID)
@VERSION
@YES
@at_place
@signed
def approve(*, id: int, version: int | None, yes: bool, place: Place, asked: Asked) -> None:
    """Approve a held posting: it goes to the ERP.

    \b
    Example:
      gatepost approvals approve 12 --reason "weighed again, the scale was right"
    """
    decide("approve", id, version, place, asked, yes=yes)


@approvals.command()
@click.argument("id", type=ID)
@VERSION
@YES
@at_place
@signed
def refuse(*, id: int, version: int | None, yes: bool, place: Place, asked: Asked) -> None:
    """Refuse a held posting: it is never posted.

    \b
    Example:
      gatepost approvals refuse 12 --reason "reported twice"
    """
    decide("refuse", id, version, place, asked, yes=yes)


@approvals.command()
@click.argument("id", type=ID)
@click.argument("changes", nargs=-1, required=True, metavar="FIELD=VALUE...")
@VERSION
@YES
@at_place
@signed
def correct(*, id: int, changes: tuple[str, ...], version: int | None, yes: bool, place: Place, asked: Asked) -> None:
    """Correct a held posting and approve it: one with these figures takes its place and goes to the ERP.

    A goods issue has `quantity`; a confirmation `yield`, `scrap`, `rework`, `scrap_reason`; scrap `quantity`, `cause`,
    which brings with it who bears it, and `account`, where a table gives it one. The agent must run: it checks what the
    ERP would refuse.

    \b
    Examples:
      gatepost approvals correct 12 quantity=12.6 --reason "scale was not tared"
      gatepost approvals correct 14 cause=tool --reason "the edge is worn"
    """
    pairs = [one.partition("=") for one in changes]
    if wrong := [name for name, given, _ in pairs if not (name and given)]:
        raise click.UsageError(f"{wrong[0]!r} is no FIELD=VALUE, such as quantity=12.6")
    found = place.look(lambda connection: store.show(connection, id))
    expected = version or found["version"]
    wanted = {name: value for name, _, value in pairs}
    if not yes and sys.stdin.isatty() and expected == found["version"]:
        describe(found, place)
        told_ = ", ".join(f"{name} {value}" for name, value in wanted.items())
        click.confirm(f"Correct posting {id} ({told_}) and approve it, as {asked.by}?", abort=True)
    body = {"expected_version": expected, "record_hash": found["record_hash"], "changes": wanted}
    told(Reach(place, asked).act(f"/v1/approvals/{id}/correction", body, _needs_the_agent), asked)


async def _needs_the_agent(*_: object) -> Any:
    raise Conflict("a correction is checked against the ERP by the agent, which does not run: start it, then correct")


def decide(meaning: str, id: int, version: int | None, place: Place, asked: Asked, *, yes: bool) -> None:
    """Show it, ask, and sign exactly what was shown."""
    found = place.look(lambda connection: store.show(connection, id))
    expected = version or found["version"]  # another than now: whoever decides says by whom it was changed
    if not yes and sys.stdin.isatty() and expected == found["version"]:
        describe(found, place)
        click.confirm(f"{meaning.capitalize()} posting {id} as {asked.by}?", abort=True)
    signature = desk.Signature(
        asked.actor, meaning, asked.reason, session="command line", record_hash=found["record_hash"]
    )
    answer = Reach(place, asked).act(
        f"/v1/approvals/{id}/{meaning}",
        {"expected_version": expected, "record_hash": found["record_hash"]},
        lambda at, _: at.decide(id, expected, signature),
    )
    told(answer, asked)


def signatures(one: dict[str, Any]) -> list[str]:
    """Who has signed of how many, where one is not enough."""
    if one["signers"] == 1:
        return []
    signed = ", ".join(one["signed_by"]) or "nobody yet"
    return [f"signed by {signed}: {len(one['signed_by'])} of {one['signers']} people"]


def shown(place: Place, id: int, *, json: bool) -> None:
    """One posting, for people or for programs; of what waits for a person also why its model scored it so."""
    found = place.look(lambda connection: store.show(connection, id))
    told = _explained(place, found["event_id"]) if found["state"] == "held" else None
    if json:
        show.data({**priced(found, place), "said": narrative(found, place), "score": told})
        return
    describe(found, place)
    for one in (told, told["account"]) if told else ():
        if one and one["model"]:
            sure = f"{one['confidence']:.0%} sure that it is {one['said'] or 'normal'}"
            show.folded(f"  {one['model']} is {sure}; asked again, closely:")
            for line in one["reasons"] or (f"cannot be asked: {one['problem']}",):
                show.folded(f"    {line}")


def _explained(place: Place, event: int | None) -> dict[str, Any] | None:
    """What the models that scored this event say about it; None: none did."""
    decided = place.look(lambda connection: decisions.of_event(connection, event)) if event is not None else None
    if decided is None or not any("score" in one for one in decisions.asked(decided.detail)):
        return None
    from agent.oversight.explaining import explained  # only where there is a model: it takes a while

    return explained(decided.detail, place.models, place.model_keys)


def priced(found: dict[str, Any], place: Place) -> dict[str, Any]:
    """With the currency of its value."""
    return {**found, "currency": place.plant.currency}


def describe(found: dict[str, Any], place: Place) -> None:
    """One posting for people."""
    value = show.money(found["value"], place.plant.currency)
    if with_it(found):
        value += f", with what goes with it {show.money(at_stake(found), place.plant.currency)}"
    show.say(
        f"posting {found['id']}, version {found['version']}: {show.kind(found)} to {found['target']}, {found['state']}"
    )
    show.say(f"  {show.content(found, place.unit_table())}   value {value}   lane {found['ordering_key']}")
    for line in (*(f"because: {reason}" for reason in found["reasons"]), *signatures(found), *show.group(found)):
        show.folded(f"  {line}")
    for one in (found["group"] or {}).get("postings", ()):
        if one["id"] in found["group"]["goes_with_it"]:
            show.say(f"  posting {one['id']}, {show.kind(one)}: {show.money(one['value'], place.plant.currency)}")
            show.say(show.payload(one, place.unit_table(), "      "))
    for line in show.said(narrative(found, place), "  "):
        show.folded(line)
    for line in causes(found, place):
        show.folded(f"  {line}")
    if found["error"]:
        show.say(f"  the ERP said: {found['error']}")
    show.say(f"  key in the document: {found['idempotency_key']}   tries: {found['attempts']}")
    show.say(show.payload(found, place.unit_table()))
    show.say(f"  more: gatepost trace posting:{found['id']}")


def causes(found: dict[str, Any], place: Place) -> Iterator[str]:
    """Which causes of its scrap are likely or usual, and how one of them is taken."""
    if found["state"] != "held" or found["kind"] not in (Kind.SCRAP, Kind.CONFIRMATION):
        return
    facts = known(place)
    for one in place.look(lambda connection: suggested(connection, found, facts)):
        called = f"{one['value']}: {one['text']}" if one["text"] else one["value"]
        often = f"{one['times']} of {one['of']} on this line" if "times" in one else f"{100 * one['share']:.0f} %"
        yield f"cause may be {called} ({often}); gatepost approvals correct {found['id']} {one['field']}={one['value']}"


def narrative(found: dict[str, Any], place: Place) -> dict[str, str]:
    """What it is about in plain sentences, as the decision recorded them or by the same templates."""
    event = found["event_id"]
    decided = place.look(lambda connection: decisions.of_event(connection, event)) if event is not None else None
    return said(decided.detail if decided else {}, found, Words(place.unit_table(), place.plant.currency))


def told(answer: Any, asked: Asked) -> None:
    """What became of it."""
    found = answer if isinstance(answer, dict) else {}
    about = f"posting {found['id']}" if "id" in found else f"event {found['event']}" if "event" in found else "it"
    waits = f"; it waits for {found['waits_for']}" if found.get("waits_for") else ""
    show.say(f"{about} is now {found.get('state', 'changed')}{waits} (by {found.get('by', asked.by)}: {asked.reason})")
