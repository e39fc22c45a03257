"""`gatepost models explain`: what a version is, and why an event was scored as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from agent.commands import show
from agent.commands.models import folder_name, models, parts_of
from agent.commands.place import ID, Place, as_json, at_place
from agent.errors import ModelUnfit, NotFound
from agent.oversight import replay
from agent.oversight.explaining import explained
from agent.scoring import modelfiles, registry
from agent.store import archive, decisions
from agent.store.promotions import Promoted, promotions

__all__ = ["explain", "models"]


@models.command()
@click.argument("name", callback=folder_name, required=False)
@click.argument("version", required=False, callback=folder_name)
@click.option("--event", type=ID, help="Why this event was scored as it was, asked of the very version that did.")
@at_place
@as_json
def explain(*, name: str | None, version: str | None, event: int | None, place: Place, json: bool) -> None:
    """Tell what the model NAME is: its card, its inputs with their ranges, its figures, who signed and promoted it.

    VERSION is the champion where none is given. With --event the version that scored is asked again, with what it saw
    then: its answer must be the same, and what made the difference is told also where the report was not held.

    \b
    Examples:
      gatepost models explain consumption_anomaly
      gatepost models explain consumption_anomaly 1
      gatepost models explain --event 4711
    """
    if (name is None) == (event is None):
        raise click.UsageError("name a model, or an event with --event")
    if event is not None:
        _explain_event(place, event, json=json)
    elif name is not None:
        _explain_version(place, name, version, json=json)


def _explain_event(place: Place, event: int, *, json: bool) -> None:
    """What made the difference, asked of the very version that scored. Raises NotFound, ModelUnfit."""
    found = place.look(lambda connection: decisions.of_event(connection, event))
    if found is None or not any(one.keys() & {"score", "unfit"} for one in decisions.asked(found.detail)):
        raise NotFound(f"no model has scored event {event}; `gatepost trace {event}` tells what became of it")
    again = replay.alone(found, place.models, place.model_keys, {})
    told = explained(found.detail, place.models, place.model_keys)
    if json:
        show.data({"event": event, "recorded": found.detail.get("score"), "same": again["same"], **told})
        return
    account = told["account"]
    if "score" in found.detail or account is None:
        _tell_event(event, told, same=not again["differences"])
    if account is not None:
        _tell_event(event, account, ", its account", same=again["account"]["same"])


def _tell_event(event: int, told: Mapping[str, Any], about: str = "", *, same: bool) -> None:
    """One answer. Raises ModelUnfit where there is none to tell of."""
    if told["problem"]:
        raise ModelUnfit(told["problem"])
    verdict = "the same" if same else f"NOT the same: `gatepost replay {event}` shows the difference"
    said = f" for {told['said']}" if told["said"] else ""
    show.say(f"event {event}{about}: {told['confidence']:.4f}{said} by {told['model']}, asked again: {verdict}")
    for reason in told["reasons"]:
        show.folded(f"  because: {reason}")
    rows = [(one["text"], one["value"], one["usual"], f"{one['points']:+.1f}") for one in told["inputs"]]
    show.table(["what it saw", "here", "usually", "points of 100 if it were as usual"], rows)


def _explain_version(place: Place, name: str, version: str | None, *, json: bool) -> None:
    """Card, inputs, figures, origin and signatures of one version. Raises NotFound, ModelUnfit."""
    found = registry.read(registry.located(place.models, name, version), registry.trusted(place.model_keys))
    manifest = found.manifest
    if json:
        promoted = [one._asdict() for one in _promoted(place, manifest)]
        data = manifest.model_dump(mode="json")
        show.data({**data, "signed_by": found.signer, "promoted": promoted, "card": _card(found)})
        return
    show.say(_card(found))  # as it is written, with its figures: Markdown that is folded is no Markdown any more
    show.say(f"What {manifest.name}/{manifest.version} takes:")
    show.entries(["input", "unit", "missing"], [*_inputs(manifest)])
    show.say("\nHow it was trained:")
    for name, value in manifest.trained.items():
        show.folded(f"  {name}: {value}")
    show.say(f"signed by {found.signer}; manifest SHA-256 {found.digest}")
    if manifest.approved:
        show.say(f"approved by {manifest.approved.by} at {manifest.approved.at}: {manifest.approved.reason}")
    parts, approved = parts_of(place.models / manifest.name)
    if approved and parts.get(manifest.version) == "champion":
        show.folded(f"the champion here by {approved.by} at {show.moment(approved.at)}: {approved.meaning}")
    for one in _promoted(place, manifest):
        how = "promoted" if one.action == "model_promoted" else "gone back to"
        show.folded(f"{how} by {one.by} at {show.moment(one.at)}: {one.reason}")


def _promoted(place: Place, manifest: modelfiles.Manifest) -> Sequence[Promoted]:
    """Who let this version decide at this plant; where models are trained there is no store that could tell."""
    with archive.readers(place.store.archive) as archives, suppress(NotFound):
        graph = manifest.files["model.onnx"]
        return place.look(lambda live: promotions([*archives, live], manifest.name, manifest.version, graph))
    return ()


def _inputs(manifest: modelfiles.Manifest) -> Iterator[tuple[list[str], list[str]]]:
    """As people know them: a number with its range, a category with its values."""
    values = {f"{name}={value}" for name, known in manifest.categories.items() for value in known}
    for one in manifest.features:
        if one.name not in values:
            told = f"taken from {one.least:.4g} to {one.most:.4g}, mostly from {one.low:.4g} to {one.high:.4g}"
            yield [one.name, one.unit, one.null], [told]
    for name, known in manifest.categories.items():
        yield [name, "", "allowed"], [f"one of {', '.join(known)}; another value, or none, counts as none of these"]


def _card(found: registry.Version) -> str:
    return found.files["card.md"].decode("utf-8", "replace")
