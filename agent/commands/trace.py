"""`gatepost trace`: one event's whole life as a timeline a person can read."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import click

from agent import found as findings
from agent.commands import show
from agent.commands.advised import IN_AUTO
from agent.commands.facts import known
from agent.commands.findings import told
from agent.commands.place import Place, as_json, at_place
from agent.errors import ConfigError, NotFound
from agent.people import desk
from agent.people.shown import said
from agent.ports import Kind
from agent.store.named import ORDER, of_order
from agent.units import UnitTable
from agent.workflows.sentences import Words

PAYLOAD = 2000  # characters of the message that are shown; --json has all of it


@dataclass(frozen=True, slots=True)
class Shown:
    """How people call what a trace holds."""

    names: Callable[[Mapping[str, Any]], Sequence[str]]  # of the facts behind a score
    units: UnitTable
    currency: str


DECIDED = {
    "undecided": "arrived, not decided yet",
    "posted": "decided to post",
    "held": "decided to ask a person before it is posted",
    "advised": "decided, but this workflow only advises: nothing is written",
    "ignored": "decided, there is nothing to post",
    "duplicate": "not posted again",
    "quarantined": "in quarantine, nothing was posted",
}
BECAME = {
    "held": "is NOT booked: it waits for a person (held)",
    "ready": "is NOT booked yet: it waits for its turn (ready)",
    "sending": "is on its way, no answer yet (sending)",
    "in_doubt": "was sent, no answer came: its document is looked for (in_doubt)",
    "doubtful": "may be booked or not: a person must look into the ERP (doubtful)",
    "dead": "is NOT booked: the ERP refused it (dead)",
    "acknowledged": "is booked (acknowledged)",
    "refused": "is NOT booked and never will be (refused)",
    "simulated": "was a dry run, nothing was sent (simulated)",
    "superseded": "was replaced by a correction (superseded)",
}
ENDED = {  # action of the trail: why it was refused
    "refused": "a person decided so",
    "withdrawn": "what it is about was decided otherwise since",
    "expired": "nobody decided about it in time",
}

DELIVERED = "was delivered (acknowledged)"
TOLD = (Kind.NOTIFICATION, Kind.DISPATCH)  # what nobody books
NEVER = ("refused", "superseded", "simulated")  # a reversal that takes nothing back


@click.command()
@click.argument("name", metavar="ID")
@at_place
@as_json
def trace(*, name: str, place: Place, json: bool) -> None:
    """Show one event's life: message, facts, score, decision, signatures, every try, document.

    ID is an event's number, posting:NUMBER, the sender's message id, the key or the number of an ERP document, the id
    of a finding of reconciliation (its first characters will do), or an order: then its postings are listed. What ID
    was taken for is said first, and what else it means.

    \b
    Examples:
      gatepost trace 4711
      gatepost trace posting:12
      gatepost trace 2026/4900000017
      gatepost trace order:1000100
      gatepost trace finding:5417fd3b
    """
    found = place.look(lambda connection: _found(connection, name))
    if "order" in found:
        _list_order(found, place, json=json)
        return
    if json:
        show.data(found)
        return
    shown = Shown(lambda score: fact_names(place.models, score), place.unit_table(), place.plant.currency)
    for line in (*_taken_for(name, found), *_finding(found, place), *timeline(found, shown)):
        show.folded(line)


def _finding(found: Mapping[str, Any], place: Place) -> Iterator[str]:
    """Where the event is a finding: from its evidence to what the books say after it."""
    event = found["event"]
    if event is None or event.get("topic") != findings.TOPIC:
        return
    try:
        facts = known(place)
    except ConfigError:  # a trace is shown without them, too
        return
    one = place.look(lambda live: findings.of_event(live, event["id"], facts))
    if one is not None:
        yield from told(one, place.unit_table(), place.plant.currency)
        yield ""


def _found(connection: apsw.Connection, name: str) -> dict[str, Any]:
    """The trace of what `name` means, or the postings of the order that it names. Raises NotFound."""
    if name.startswith(ORDER):
        return of_order(connection, name.removeprefix(ORDER))
    try:
        return desk.trace(connection, name)
    except NotFound as error:
        with suppress(NotFound):
            return of_order(connection, name)
        raise error from None


def _taken_for(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    if found["found_as"] == name.replace(":", " "):  # asked for as what it is
        return
    yield f"{name} is {found['found_as']}"
    for other in found["also"]:
        yield f"{name} is also {other['means']}: gatepost trace {other['name']}"
    yield ""


def _list_order(found: Mapping[str, Any], place: Place, *, json: bool) -> None:
    """What was posted, or shall be, for one order."""
    if json:
        show.data(found)
        return
    units = place.unit_table()
    rows = [
        (
            [one["id"], one["state"], show.moment(one["created_at"]), one["document"]],
            [_one_of_order(one, units, found["taken_back"])],
        )
        for one in found["postings"]
    ]
    if found["release"]:
        show.folded(_release(**found["release"]))
    if rows:
        show.say(f"order {found['order']}: its newest postings")
        show.entries(["posting", "state", "made", "document"], rows)
    if found["quarantined"]:
        show.say(f"in quarantine: event {', '.join(map(str, found['quarantined']))}")
    show.say("look closer: gatepost trace posting:NUMBER")


def _release(status: str, causes: Sequence[str]) -> str:
    """What was decided last about its release, and what stands in its way: CONSTRAINT/OF WHAT/WEIGHT each."""
    ways = (" ".join(one.rpartition("/")[0].split("/", 1)) for one in causes)
    return f"release: {status}" + (f", because of {', '.join(ways)}" if causes else "")


def _one_of_order(one: Mapping[str, Any], units: UnitTable, taken_back: Sequence[Mapping[str, Any]]) -> str:
    why = f"; the ERP said: {one['error']}" if one["error"] else ""
    back = "".join(_back(one["id"], taken_back)) if one["kind"] != Kind.REVERSAL else ""  # what it is says the rest
    return f"{show.kind(one)}: {show.content(one, units)}{back}{why}"


def fact_names(models: Path, score: Mapping[str, Any]) -> Sequence[str]:
    """What the manifest of the very model that scored calls its facts; empty when that model is not here any more."""
    try:
        manifest = json_text.loads((models / score["model"] / "manifest.json").read_bytes())
        known = score["sha256"] in manifest["files"].values()
        return [str(one["name"]) for one in manifest["features"]] if known else ()
    except (OSError, ValueError, KeyError, TypeError):  # a trace is shown without them, too
        return ()


def timeline(found: Mapping[str, Any], shown: Shown) -> Iterator[str]:
    """The lines of one trace, oldest first."""
    event = found["event"]
    if event is not None:
        ended = {one["posting"]: ENDED[one["action"]] for one in found["history"] if one["action"] in ENDED}
        yield from _arrival(event, found["postings"], found["taken_back"], ended)
    behind = _behind(found["postings"])
    for one in found["history"]:
        yield from _step(one, shown, behind)
    recorded = any("said" in one["detail"] for one in found["history"])
    for posting in found["postings"]:
        yield ""
        yield from _posting(posting, shown)
        if not recorded or posting["supersedes"] is not None:
            yield from show.said(said({}, posting, Words(shown.units, shown.currency)), "  ")


def _arrival(
    event: Mapping[str, Any],
    postings: Sequence[Mapping[str, Any]],
    taken_back: Sequence[Mapping[str, Any]],
    ended: Mapping[int, str],
) -> Iterator[str]:
    """What arrived, and how far it has come: an event is decided, its postings are booked or not.

    `ended` says why a posting never will be.
    """
    if event.get("archived"):
        yield f"event {event['id']} has been archived: its row is in the folder of archive files"
        return
    yield f"event {event['id']}: {DECIDED[event['state']]}" + (f": {event['reason']}" if event["reason"] else "")
    for posting in postings:
        document = f": document {posting['document']}" if posting["document"] else ""
        became = (
            DELIVERED if posting["kind"] in TOLD and posting["state"] == "acknowledged" else BECAME[posting["state"]]
        )
        why = f": {ended[posting['id']]}" if posting["state"] == "refused" and posting["id"] in ended else ""
        yield f"posting {posting['id']} {became}{why}{document}{''.join(_back(posting['id'], taken_back))}"
    yield ""
    yield f"{show.moment(event['received_at'])}  arrived from {event['source']} on {event['topic']}"
    if event["message"]:
        yield f"    message id: {event['message'].partition(':')[2]} (a {event['message'].partition(':')[0]} report)"
    if event["properties"]:
        yield show.pairs({"transport": event["properties"]}, "    ")
    payload = event["payload"]
    yield f"    message: {payload[:PAYLOAD]}" + (" …" if len(payload) > PAYLOAD else "")


def _back(id: int, taken_back: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What else is to be said of a document that is taken back, and of the posting that does it."""
    for one in taken_back:
        if one["by"] == id:
            yield f"; it takes back {one['document']} of posting {one['posting']}"
        elif one["posting"] == id and one["state"] == "acknowledged":
            yield f"; TAKEN BACK by posting {one['by']}: document {one['by_document']}"
        elif one["posting"] == id and one["state"] not in NEVER:
            yield f"; to be taken back by posting {one['by']} ({one['state']})"


def _behind(postings: Sequence[Mapping[str, Any]]) -> set[int]:
    """Those that come behind another one of their group."""
    return {one["id"] for posting in postings if posting["group"] for one in posting["group"]["postings"][1:]}


def _step(one: Mapping[str, Any], shown: Shown, behind: Collection[int]) -> Iterator[str]:
    """One audit row. What a person wants first comes first; `behind`: see there."""
    which = f" posting {one['posting']}" if one["posting"] is not None else ""
    by = f" by {one['actor']}" if one["actor"] != "agent" else ""
    yield f"{show.moment(one['at'])}  {one['action'].replace('_', ' ')}{which}{by}" + (
        " (alarm)" if one["alarm"] else ""
    )
    detail = dict(one["detail"])
    score = detail.pop("score", None)
    for reason in detail.pop("reasons", None) or ():
        yield f"    because: {reason}"
    if score:
        yield from _score(score, shown)
    account = detail.pop("account", None)
    if isinstance(account, Mapping):  # of a correction it is a number
        yield f"    account: {_account(account)}"
        yield from _score(account["score"], shown) if "score" in account else ()
    elif account:
        detail["account"] = account
    yield from (f"    live: {_live(fact)}" for fact in detail.pop("live", None) or ())
    yield from show.said(detail.pop("said", None), "    ")
    subject = detail.pop("subject", None)
    if subject:
        yield "    about: " + ", ".join(f"{name} {value}" for name, value in subject.items() if value)
    yield from _advice(detail.pop("would_post", ()), detail.pop("in_auto", ""), shown)
    if one["action"] == "decided":
        detail["postings"] = ", ".join(_made(id, state, behind) for id, state in detail.get("postings", ()))
    lines = show.pairs(detail, "    ")
    if lines:
        yield lines


def _score(score: Mapping[str, Any], shown: Shown) -> Iterator[str]:
    """What a model said, and what it saw."""
    moved = f", odds moved by {score['shift']:+.2f}" if "shift" in score else ""
    yield f"    score: {score['confidence']:.3f} by {score['model']} (sha256 {score['sha256'][:12]}…){moved}"
    if "top" in score:
        yield "    it may be: " + ", ".join(f"{name} {share:.2f}" for name, share in score["top"])
    yield from (f"    score says: {reason}" for reason in score["reasons"])
    called = [f"{name} " for name in shown.names(score)]
    if len(called) != len(score["features"]):
        called = [""] * len(score["features"])
    facts = ", ".join(f"{name}{_number(value)}" for name, value in zip(called, score["features"], strict=True))
    yield f"    facts it saw: {facts}"


def _account(account: Mapping[str, Any]) -> str:
    """What the table said, and of what."""
    beside = f" and cost centre {account['cost_center']}" if account.get("cost_center") else ""
    gave = f"{account['account']}{beside}" if account["account"] else "none: no rule fits"
    valued = account["valuation_class"] or "none"
    case = f"movement {account['movement']}, valuation class {valued}, cost object {account['cost_object']}"
    return f"{gave} ({case})".replace("cost_center", "cost centre")


def _made(id: int, state: str, behind: Collection[int]) -> str:
    """What a decision made; what is held for nothing but the one before it waits for no person."""
    return f"{id} waits for the one before" if state == "held" and id in behind else f"{id} {state}"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4g}"


def _advice(would_post: Sequence[Mapping[str, Any]], in_auto: str, shown: Shown) -> Iterator[str]:
    """What was not posted, because the workflow only advises."""
    for one in would_post:
        yield f"    would post: {show.content(one, shown.units)}, {show.money(one['value'], shown.currency)}"
        yield show.payload(one, shown.units, "      ")
    if in_auto:
        yield f"    in mode auto: {IN_AUTO[in_auto]}"


def _live(fact: Mapping[str, Any]) -> str:
    """One live fact that the decision looked at: value, quality and age."""
    name = f"{fact['fact'].replace('_', ' ')} of {fact['of']}"
    if "value" not in fact:
        return f"{name}: {fact['quality']}"
    value = f"{fact['value']} {fact.get('unit', '')}".rstrip()
    age = f"{fact['age_s']:g} s old" if "age_s" in fact else f"since {show.moment(fact['since'])}"
    return f"{name}: {value}, {fact['quality']}, {age} ({fact['allowed_s']} s allowed)"


def _posting(posting: Mapping[str, Any], shown: Shown) -> Iterator[str]:
    yield f"posting {posting['id']}: {show.kind(posting)} to {posting['target']}, {posting['state']}"
    yield f"  does: {show.content(posting, shown.units)}"
    yield f"  lane: {posting['ordering_key']}   key in the document: {posting['idempotency_key']}"
    if posting["document"]:
        yield f"  document: {posting['document']}"
    if posting["error"]:
        yield f"  the ERP said: {posting['error']}"
    if posting["state"] == "held":
        yield from (f"  held: {reason}" for reason in posting["reasons"])
    yield from (f"  {line}" for line in show.group(posting))
    value = show.money(posting["value"], shown.currency)
    yield f"  tries: {posting['attempts']}   value: {value}   version: {posting['version']}"
    yield show.payload(posting, shown.units)
