"""`gatepost models`: which models are here, whether they are what was signed, which version decides.

The group grows from file to file: `explaining`, `training`, `feedback`, the last of which the command line loads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from agent import checkpoints
from agent.commands import show
from agent.commands.approvals import YES
from agent.commands.facts import known
from agent.commands.place import Asked, Place, as_json, at_place, now, signed
from agent.commands.reach import Reach
from agent.configuration.config import read_yaml
from agent.errors import GatepostError, ModelUnfit, NotFound
from agent.oversight import doubt
from agent.oversight.past_use import Past
from agent.oversight.promotion import Shelf
from agent.oversight.promotion import promote as to_champion
from agent.oversight.promotion import roll_back as to_previous
from agent.scoring import modelfiles, registry
from agent.scoring.drift import State
from agent.store import drifts


def folder_name(_context: click.Context, argument: click.Parameter, text: str | None) -> str | None:
    """A name that is that of a folder, never a path. Raises click.UsageError."""
    if text is not None and not re.fullmatch(modelfiles.FOLDER_NAME, text):
        raise click.UsageError(f"{argument.name}: {text!r} is no name of a folder; `gatepost models list` shows them")
    return text


NAME = click.argument("name", callback=folder_name)
VERSION = click.argument("version", callback=folder_name)


@click.group()
def models() -> None:
    """The models that score: list, verify, explain, train, evaluate, challenge, compare, promote, rollback.

    A model scores what a workflow proposes; it never posts. A version is believed when its manifest is signed by a key
    that the plant trusts (`model_keys`), and loaded when its files and answers are what the manifest says.
    """


# ── look ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Row:
    """One version of one model, as far as it could be read."""

    model: str
    version: str
    part: str  # champion, challenger, previous, or none
    kind: str = ""
    signed_by: str = ""
    trained_on: str = ""
    bytes: int = 0
    drift: str = ""  # level of drift; empty: it never scored here
    approved: Mapping[str, str] | None = None  # by whom, why and when it came to decide here; of the champion alone
    asked_by: tuple[str, ...] = ()  # of the champion: workflows, and `accounts` or `shortages` of the configuration
    trouble: str = ""


@models.command("list")
@at_place
@as_json
def list_(*, place: Place, json: bool) -> None:
    """List every version of every model: which decides, what asks it, who signed it, what it was trained on, its drift.

    \b
    Example:
      gatepost models list
    """
    rows = list(rows_of(place))
    if json:
        show.data([asdict(one) for one in rows])
        return
    if not rows:
        show.say(f"there are no models in {place.models}")
        return
    show.entries(
        ["model", "version", "part", "kind", "KiB", "signed by"],
        [
            (
                [one.model, one.version, one.part, one.kind, f"{one.bytes / 1024:.0f}", one.signed_by],
                [one.trouble or "; ".join(_about(one))],
            )
            for one in rows
        ],
    )


def _about(one: Row) -> Iterator[str]:
    """What a person wants to know of a version that fits."""
    yield f"trained on {one.trained_on}"
    if one.part == "champion":
        yield f"asked by {', '.join(one.asked_by) or 'nothing in this configuration'}"
    if one.drift:
        yield f"drift: {one.drift}"
    if one.approved:
        yield f"approved by {one.approved['by']} at {show.moment(one.approved['at'])}"


def rows_of(place: Place) -> Iterator[Row]:
    """Every version; what is wrong with one is told in its row."""
    keys, states, asking = registry.trusted(place.model_keys), _states(place), _asking(place)
    for name in registry.names(place.models):
        parts, approved = parts_of(place.models / name)
        for version in registry.versions(place.models, name):
            part = parts.get(version, "")
            try:
                found = registry.read(place.models / name / version, keys)
            except ModelUnfit as error:
                yield Row(name, version, part, trouble=str(error))
                continue
            size = sum(map(len, found.files.values()))
            trained_on = str(found.manifest.trained.get("data", ""))
            state = states.get(f"{name}/{version}")
            drift = state.level.value if state else ""
            by = approved.model_dump() if approved and part == "champion" else None
            asked_by = tuple(asking.get(name, ())) if part == "champion" else ()
            yield Row(name, version, part, found.manifest.kind, found.signer, trained_on, size, drift, by, asked_by)
        if problem := _alias_problem(place.models / name):
            yield Row(name, "", "", trouble=problem)


def _states(place: Place) -> Mapping[str, State]:
    try:
        return place.look(drifts.kept)
    except GatepostError:  # no store yet, or one that cannot be read: the models are here all the same
        return {}


def parts_of(folder: Path) -> tuple[dict[str, str], modelfiles.Approval | None]:
    """Version → its part, and who let the champion decide; nothing where `verify` tells that aliases are unreadable."""
    try:
        told = registry.aliases(folder)
    except ModelUnfit:
        return {}, None
    return {version: part for part, version in reversed(list(told.parts.items()))}, told.approved


@models.command()
@at_place
@as_json
def verify(*, place: Place, json: bool) -> None:
    """Load every version as the agent would: signature, hashes, graph, parity. Exit code 1 when one is unfit.

    \b
    Examples:
      gatepost models verify
      gatepost models verify --json
    """
    shelf, found = shelf_of(place), []
    for name in registry.names(place.models):
        versions = registry.versions(place.models, name)
        found += [{"model": name, "version": one, "problem": _problem(shelf, name, one)} for one in versions]
        if problem := _alias_problem(place.models / name):
            found.append({"model": name, "version": "", "problem": problem})
    if json:
        show.data(found)
    for one in () if json else found:
        show.say(f"{one['model']}/{one['version'] or registry.ALIASES}: {one['problem'] or 'ok'}")
    if wrong := [one for one in found if one["problem"]]:
        raise ModelUnfit(f"{len(wrong)} of {len(found)} do not fit; the agent would not take them")
    if not found:
        raise NotFound(f"there are no models in {place.models}")


def _problem(shelf: Shelf, name: str, version: str) -> str:
    try:
        shelf.load(name, version).close()
    except GatepostError as error:
        return str(error)
    return ""


def _alias_problem(folder: Path) -> str:
    """What is wrong with the aliases themselves: unreadable, or naming what is not there."""
    try:
        told = registry.aliases(folder).parts
    except ModelUnfit as error:
        return str(error)
    there = registry.versions(folder.parent, folder.name)
    missing = [(version, part) for part, version in told.items() if version not in there]
    return "; ".join(
        f"{folder / registry.ALIASES} names version {version!r} as {part}, which is not there; known: "
        f"{', '.join(there) or 'none'}"
        for version, part in missing
    )


def _flows(place: Place) -> Iterator[tuple[str, str, str | None]]:
    """Name, kind and model of every workflow."""
    workflows = read_yaml(place.file).get("workflows")
    for name, item in (workflows.mapping if workflows else {}).items():
        kind, model = item.get("kind"), item.get("model")
        yield name, kind.text if kind else name, model.text if model else None


def _beside(place: Place) -> dict[str, str | None]:
    """The models that no workflow asks about its reports: of accounts, and of shortages."""
    looks = read_yaml(place.file).get("accounts", "model")
    return {
        "accounts": looks.text if looks else None,
        "shortages": place.shortages.model if place.shortages else None,
    }


def _asking(place: Place) -> Mapping[str, Sequence[str]]:
    """Model → what asks it, as the configuration calls it."""
    found: dict[str, list[str]] = {}
    asked = [(name, model) for name, _, model in _flows(place)]
    for name, model in (*asked, *_beside(place).items()):
        if model:
            found.setdefault(model, []).append(name)
    return found


def shelf_of(place: Place) -> Shelf:
    """The models of this place, and what the workflows of its configuration feed them with."""
    flows = [(kind, model) for _, kind, model in _flows(place)]
    found = Shelf.of(place.models, place.model_keys, flows, **_beside(place))
    return replace(found, past=lambda: Past(known(place), now(), place.store.retention_days))


def tried(shelf: Shelf, name: str, version: str) -> None:
    """Load it here first: what ends a process must not end the agent. What does not fit is refused there, on record.

    Raises NotFound.
    """
    with suppress(ModelUnfit):
        shelf.load(name, version).close()


# ── act ─────────────────────────────────────────────────────────────────────────────────────────────────────


@models.command()
@NAME
@VERSION
@click.option("--anyway", is_flag=True, help="Also where it has not shown here that it is better; the trail says so.")
@YES
@at_place
@signed
def promote(*, name: str, version: str, anyway: bool, yes: bool, place: Place, asked: Asked) -> None:
    """Let VERSION of the model NAME decide, after every check.

    A running agent takes it between two batches; without one the next start does. The version before stays for the
    way back. What does not fit changes nothing. Where the agent asks the model, VERSION must be better on what people
    decided here, what became of orders, or what was used (`gatepost models compare`).

    \b
    Example:
      gatepost models promote consumption_anomaly 2 --reason "fewer good lots held in shadow"
    """
    shelf = shelf_of(place)
    tried(shelf, name, version)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Let {name}/{version} decide, as {asked.by}?", abort=True)
    answer = Reach(place, asked).act(
        f"/v1/models/{name}/promote",
        {"version": version, "anyway": anyway},
        lambda desk, act: to_champion(desk, shelf, name, version, act, place.promotion, anyway=anyway),
    )
    _told(answer, asked, shelf)


@models.command()
@NAME
@YES
@at_place
@signed
def rollback(*, name: str, yes: bool, place: Place, asked: Asked) -> None:
    """Let the version before the champion of NAME decide again.

    \b
    Example:
      gatepost models rollback consumption_anomaly --reason "holds every first lot"
    """
    shelf = shelf_of(place)
    version = registry.previous(place.models / name)
    tried(shelf, name, version)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Go back to {name}/{version}, as {asked.by}?", abort=True)
    answer = Reach(place, asked).act(
        f"/v1/models/{name}/rollback", {}, lambda desk, act: to_previous(desk, shelf, name, act)
    )
    _told(answer, asked, shelf)


@models.command("accept-drift")
@NAME
@YES
@at_place
@signed
def accept_drift(*, name: str, yes: bool, place: Place, asked: Asked) -> None:
    """Say that what the model NAME is asked now is right: a new product, another sensor, another recipe.

    The bar is the configuration's again, and the next reports become what later ones are held against. Whether the
    model knows such reports is another question, which `gatepost models compare` answers.

    \b
    Example:
      gatepost models accept-drift consumption_anomaly --reason "new resin since Monday, weighed and right"
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Take what {name} is asked now for right, as {asked.by}?", abort=True)
    answer = Reach(place, asked).act(
        f"/v1/models/{name}/accept-drift", {}, lambda desk, act: doubt.accept(desk, name, act)
    )
    found = answer if isinstance(answer, dict) else {}
    show.say(f"accepted: {', '.join(found.get('versions', ()))} (by {found.get('by', asked.by)}: {asked.reason})")


def _told(answer: Any, asked: Asked, shelf: Shelf) -> None:
    found = answer if isinstance(answer, dict) else {}
    unasked = "" if found.get("model") in shelf.features else "; no workflow of the configuration asks it"
    before = f" instead of {found['before']}" if found.get("before") else ""
    show.say(
        f"{found.get('model')}/{found.get('version')} (signed by {found.get('signed_by')}) is the champion{before} "
        f"(by {found.get('by', asked.by)}: {asked.reason}){unasked}"
    )


@models.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default="models", show_default=True, callback=folder_name, help="What the key is called.")
def key(*, folder: Path, name: str) -> None:
    """Make a pair of keys in DIR to sign models with: NAME.pem stays with whoever trains, NAME.pub goes to plants.

    Put the public half into the folder `model_keys` of every plant that shall believe these models.

    \b
    Example:
      gatepost models key ~/keys --name plant-1710
    """
    private = folder / f"{name}.pem"
    if private.exists():
        raise GatepostError(f"{private} is there already; choose another --name, or use it")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        checkpoints.load_key(private)
    except OSError as error:
        raise GatepostError(f"{folder}: {error.strerror}; choose a folder that you may write") from None
    show.say(f"{private}: keep it where models are trained, and nowhere else")
    show.say(f"{private.with_suffix('.pub')}: into `model_keys` of the plants that shall believe its models")
