"""`gatepost status`: the state of the whole on one screen, also while no agent runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import apsw
import click

from agent.commands import reach, show
from agent.commands.place import Place, as_json, at_place, now
from agent.errors import GatepostError
from agent.scoring.drift import shown
from agent.store import drifts, lists
from agent.store.forecast import forecast

ALARMS = 5
LABEL = {"posted": "to post"}  # the state of an event says what was decided, not what the ERP has
MEANING = {  # short: on 80 columns the commands stay in one piece
    "posted": "decided; how far: see postings",
    "ignored": "nothing to post, or master data",
    "duplicate": "the same message as an earlier one",
    "advised": "shown what would be posted, nothing written",
    "undecided": "arrived, not decided yet",
    "quarantined": "not posted: gatepost quarantine list",
    "held": "decided to ask a person; how far: see postings",
}
MEANING_OF_POSTINGS = {
    "held": "wait for a person: gatepost approvals list",
    "ready": "wait for their turn",
    "sending": "on their way to the ERP",
    "in_doubt": "no answer yet: their documents are looked for",
    "doubtful": "look into the ERP: gatepost deadletter list",
    "dead": "refused by the ERP: gatepost deadletter list",
    "acknowledged": "booked with a document, or delivered",
    "refused": "never posted: refused by a person, withdrawn, or not decided about in time",
    "simulated": "dry-run: nothing was sent",
    "superseded": "replaced by a correction",
}


@click.command()
@at_place
@as_json
def status(*, place: Place, json: bool) -> None:
    """Show what runs, what waits, what needs somebody.

    Reads the store itself, and asks the running agent about its connections where there is one. `disk full` and
    `drained` are what the last hour leads to. Of a younger store `drained` is what its whole life leads to, and `disk
    full` is not known yet.

    \b
    Examples:
      gatepost status
      gatepost status --json | jq .postings.dead
    """
    found = gather(place)
    if json:
        show.data(found)
    else:
        print_status(place, found)


def gather(place: Place) -> dict[str, Any]:
    """Everything `status` tells."""
    owner = place.owner()
    used = sum(one.stat().st_size for one in place.path.parent.glob(place.path.name + "*"))
    left = shutil.disk_usage(place.path.parent if place.path.parent.exists() else ".").free
    free = max(0, left - (place.store.reserve_mb << 20))

    def read(connection: apsw.Connection) -> dict[str, Any]:
        coming = forecast(connection, now(), used=used, free=free)
        alarms = lists.history(connection, limit=ALARMS, alarms_only=True)
        drift = shown(drifts.kept(connection), now())
        told = {**lists.overview(connection), "waiting": lists.waiting(connection)}
        return {**told, "forecast": asdict(coming), "alarms": alarms, "drift": drift}

    found = place.look(read)
    running = _running(place) if owner else {}
    return {
        "agent": {"running": bool(owner), "process": owner, "store": str(place.path), **running.get("agent", {})},
        "store": {
            "bytes": used,
            "free_bytes": left,
            "reserve_bytes": place.store.reserve_mb << 20,
            **{name: value for name, value in running.get("store", {}).items() if name in ("chain_ok", "damage")},
        },
        "sources": running.get("sources", {}),
        "live": running.get("live", {}),
        "targets": running.get("targets", {}),
        "models": running.get("models", {}),
        "faces": running.get("faces", {}),
        **found,
    }


def _running(place: Place) -> dict[str, Any]:
    """What the running agent says; an API that cannot be asked is a fact of its own, not an error."""
    if place.api is None:
        return {}
    try:
        told = reach.Line(place, place.api, reach.token(place)[0]).ask("GET", "/v1/status", timeout=2.0)
    except GatepostError as error:
        return {"agent": {"api": str(error)}}
    return told if isinstance(told, dict) else {}


def print_status(place: Place, found: dict[str, Any]) -> None:
    """For people."""
    show.folded(_headline(place, found))
    store, coming = found["store"], found["forecast"]
    full, drained = coming["disk_full_in_s"], coming["drained_in_s"]
    show.folded(
        f"store   {show.size(store['bytes'])}, {show.size(store['free_bytes'])} free; "
        + disk_full(full, young=coming["young"])
    )
    shrinks = f"drained in {show.roughly(drained)}" if drained else "it does not shrink"
    waits = "nothing waits" if drained == 0 else shrinks
    waits += _once(found) if drained else ""
    show.folded(
        f"backlog {waits}; lately {show.rate(coming['events_per_s'])} events/s, "
        f"{show.rate(coming['documents_per_s'])} documents/s"
    )
    for trouble in damage(store):
        show.folded(trouble)
    off = [f"{name} by {one}" for name, one in found["balance"].items() if one]
    show.say(
        "balance " + (f"OFF: {', '.join(off)}; run gatepost audit verify" if off else "everything is accounted for")
    )
    for line in (*stale_facts(found["live"]), *absent_models(found["models"]), *drifted(found["drift"])):
        show.folded(line)
    _connections(found)
    _states(found)
    if found["paused"]:
        show.say("")
        rows = [
            [f"{one['scope']} {one['key']}", one["by"], one["reason"], show.moment(one["since"])]
            for one in found["paused"]
        ]
        show.table(["paused", "by", "reason", "since"], rows)
    if found["blocked_lanes"]:
        show.say("")
        rows = [[one["ordering_key"], one["target"], one["posting"]] for one in found["blocked_lanes"]]
        show.table(["blocked", "target", "behind posting"], rows)
    if found["alarms"]:
        show.say("")
        rows = [[show.moment(one["at"]), one["action"], _detail(one)] for one in found["alarms"]]
        show.table(["last alarms", "", ""], rows)


def _once(found: dict[str, Any]) -> str:
    """What keeps the backlog from being drained at all."""
    if found["paused"]:
        return " once it goes on: something is paused"
    down = [name for name, one in found["targets"].items() if connection(one) == "down"]
    return f" once {' and '.join(down)} takes postings again" if down else ""


def disk_full(seconds: float | None, *, young: bool) -> str:
    """When, as far as it can be known."""
    if young:
        return "disk full: not known yet, the store is younger than an hour"
    if seconds is None:
        return "disk full not in sight: nothing arrived this hour"
    return f"disk full in {show.roughly(seconds)} at this rate"


def damage(store: dict[str, Any]) -> Iterator[str]:
    """What the running agent's checks found; the alarms below say it where none runs."""
    if store.get("damage"):
        yield f"DAMAGED {store['damage']}: restore a backup, or gatepost recover; docs/operations.md, A damaged page"
    if store.get("chain_ok") is False:
        yield "BROKEN  the audit trail does not verify: gatepost audit verify"


def stale_facts(live: dict[str, Any]) -> Iterator[str]:
    """One line where live facts are not good: how many, and the one for the longest time."""
    if live and live["not_good"]:
        oldest = live["oldest"]
        why = f": {oldest['why']}" if oldest["why"] else ""
        yield (
            f"live    {live['not_good']} of {live['facts']} facts are not good; longest {oldest['fact']}, "
            f"{oldest['quality']} since {show.moment(oldest['since'])}{why}"
        )


def absent_models(models: dict[str, Any]) -> Iterator[str]:
    """One line for each model of which no version fits."""
    for name, one in models.items():
        if one["error"]:
            yield f"model   {name}: {one['error']}; {one['meanwhile']}"


def drifted(states: dict[str, Any]) -> Iterator[str]:
    """One line for each model that is asked about something else than before."""
    for one in states.values():
        if one["what"]:
            yield f"drift   {one['what']}"


def _headline(place: Place, found: dict[str, Any]) -> str:
    agent = found["agent"]
    if not agent["running"]:
        return f"agent   not running on {place.path}"
    ready = agent.get("ready")
    state = (
        "ready" if ready else f"not ready: {agent.get('why_not')}" if ready is not None else agent.get("api", "no api")
    )
    problems = "".join(f"\n        {one}" for one in agent.get("problems", ()))
    return f"agent   running (process {agent['process']}) on {place.path}: {state}{problems}"


def _connections(found: dict[str, Any]) -> None:
    rows = [
        [f"{kind}{name}", connection(one), one.get("waiting") or one.get("error") or ""]
        for kind, part in (("source ", "sources"), ("target ", "targets"), ("", "faces"))
        for name, one in found[part].items()
    ]
    if rows:
        show.say("")
        show.table(["connection", "", ""], rows)


def connection(one: dict[str, Any]) -> str:
    """What is known of it: a pulled cable is silence at first."""
    if not one.get("connected", not one.get("waiting")):
        return "down"
    silent = one.get("silent_s")
    return "up" if silent is None else f"silent for {show.span(silent)}"


def _states(found: dict[str, Any]) -> None:
    at = now()
    what = MEANING_OF_POSTINGS | {"held": _held(found["waiting"]["to_decide"], found["postings"]["held"])}
    for part, meaning, total in (("events", MEANING, "received"), ("postings", what, "created")):
        aged = {"undecided"} if part == "events" else meaning
        rows = [
            [
                LABEL.get(name, name) if part == "events" else name,
                count,
                show.age(found["oldest"].get(name), at) if name in aged else "",
                meaning.get(name, ""),
            ]
            for name, count in found[part].items()
            if count and name != total
        ]
        show.say("")
        show.table([part, f"{found[part][total]} {total}", "oldest", ""], rows)


def _held(decisions: int, held: int) -> str:
    """What follows in a group is decided with its first, and waits for no person once that is approved."""
    if decisions == held:
        return MEANING_OF_POSTINGS["held"]
    if not decisions:
        return "wait for those before them in their group"
    return f"need {decisions} decision{'s' if decisions > 1 else ''}: gatepost approvals list"


def _detail(one: dict[str, Any]) -> str:
    detail = one["detail"]
    about = " ".join(f"{name} {one[name]}" for name in ("event", "posting") if one[name] is not None)
    text = detail.get("why") or detail.get("reason") or ", ".join(f"{k} {v}" for k, v in detail.items())
    return f"{about}: {text}" if about else str(text)
