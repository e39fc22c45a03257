"""`gatepost models export-labels`, `challenge`, `compare`: from what people decided to a version that may decide."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import apsw
import click
import yaml

from agent.commands import compared, show
from agent.commands.approvals import YES
from agent.commands.export import harmless
from agent.commands.models import NAME, folder_name, shelf_of, tried
from agent.commands.place import Asked, Place, as_json, at_place, signed
from agent.commands.reach import Reach
from agent.commands.training import models
from agent.errors import Conflict, GatepostError, ModelUnfit, NotFound
from agent.features import row
from agent.features.row import Value
from agent.oversight import contest, order_outcomes, past_use
from agent.oversight.promotion import challenge as to_challenger
from agent.oversight.rows import Rows, numbers_of
from agent.scoring import registry
from agent.scoring.forecast_comparison import ForecastComparison
from agent.scoring.modelfiles import Manifest
from agent.store import archive, scored, shadow
from agent.store import labels as people
from agent.store.encode import from_us
from agent.store.labels import Label
from agent.store.scored import Scored

LABEL: Final = "label"
TIME: Final = "decided_at"

Values = Mapping[str, Value]  # raw inputs by name
Row = tuple[Label, Values]

__all__ = ["challenge", "compare", "export_labels", "models"]


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────────────


@models.command("export-labels")
@NAME
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The CSV to write; none is replaced."
)
@click.option("--with-names", is_flag=True, help="Also who decided, and what they gave as their reason.")
@at_place
def export_labels(*, name: str, out: Path, with_names: bool, place: Place) -> None:
    """Write what people decided about reports that the model NAME has scored, with what it saw at that time.

    A row per report: approved is normal; refused, corrected or taken back is wrong. Of a model that tells classes the
    label is the class that was approved, or that a person put in its place; of the model of orders, what became of
    each that is finished. The columns file that `gatepost models train` wants is written beside it, under the same
    name with .yaml, where there is none. Archives are read, too.

    \b
    Example:
      gatepost models export-labels consumption_anomaly --out labels.csv
      gatepost models train consumption_anomaly --data labels.csv --columns labels.yaml --key ~/keys/models.pem
    """
    manifest = _champion(place, name)
    known = Rows(place.models, registry.trusted(place.model_keys))
    with archive.readers(place.store.archive) as archives:
        found = place.look(lambda connection: _labels(connection, manifest, archives))
    telling = [one for one in found if one.tells]
    fitting = ((one, _values(one.scored, manifest, known)) for one in telling)
    rows = [(one, values) for one, values in fitting if values is not None]
    left_out = _left_out(len(found) - len(telling), len(telling) - len(rows))
    if out.exists():
        raise Conflict(f"{out} is there already; name another file")
    if not rows:
        raise NotFound(
            f"nothing to export: of what people decided, {'; '.join(left_out)}" if found else _nothing(manifest)
        )
    described = out.with_suffix(".yaml")
    kept = described.exists()
    try:
        with out.open("x", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(_sheet(rows, manifest, with_names=with_names))
        if not kept:
            text = yaml.safe_dump(_columns(rows, manifest, with_names=with_names), sort_keys=False, allow_unicode=True)
            described.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GatepostError(f"{out}: {error.strerror}; the export is not complete") from error
    wrong = sum(not one.normal for one, _ in rows)
    unbiased = sum(contest.unbiased(one.scored) for one, _ in rows)
    right, other = ("as it said", "another class") if manifest.kind == "classes" else ("normal", "wrong")
    counted = f"{len(rows) - wrong} {right}, {wrong} {other}"
    beside = f"{described} {'is kept as it was' if kept else 'says what the columns are'}"
    if order_outcomes.tells(manifest):
        show.say(f"{len(rows)} finished {'order' if len(rows) == 1 else 'orders'} in {out}: {counted}")
        show.say(beside)
    else:
        reports = "report" if len(rows) == 1 else "reports"
        show.say(f"{len(rows)} {reports} in {out}: {counted}; {unbiased} of them were shown to")
        show.say(f"a person whatever their score was. {beside}")
    for one in left_out:
        show.folded(one)


def _labels(live: apsw.Connection, manifest: Manifest, archives: Sequence[apsw.Connection]) -> list[Label]:
    """What people decided, or what became of orders."""
    if order_outcomes.tells(manifest):
        every = (one for file in (*archives, live) for one in scored.every(file, manifest.name))
        return order_outcomes.labels(live, every)
    return people.labels(live, manifest.name, archives=archives)


def _nothing(manifest: Manifest) -> str:
    """Why there is no label, and what brings some."""
    if order_outcomes.tells(manifest):
        return f"no order is finished about which {manifest.name} was asked before its release"
    return (
        f"people have decided about no report that {manifest.name} has scored; approve or refuse what is held "
        "(`gatepost approvals list`), then export"
    )


def _left_out(refused: int, unfit: int) -> list[str]:
    """Why what people decided is not among the rows, each cause with its number."""
    causes = (
        (refused, "refused, and nobody said what class it is"),
        (unfit, "another version scored them, with other features or not here any more"),
    )
    return [f"{count} left out: {why}" for count, why in causes if count]


def _champion(place: Place, name: str) -> Manifest:
    return registry.read(registry.champion(place.models / name), registry.trusted(place.model_keys)).manifest


def _values(one: Scored, manifest: Manifest, known: Rows) -> Values | None:
    """The raw inputs by name, as this version takes them; None where what is on record does not have them."""
    if manifest.kind != "classes":
        names = [each.name for each in manifest.features]
        return row.values(one.features, names, {}) if len(one.features) == len(names) else None
    try:
        values = known.values(one)
    except ModelUnfit:
        return None
    wanted = {*numbers_of(manifest), *manifest.categories}
    return values if wanted <= set(values) else None


def _beside(*, with_names: bool) -> list[str]:
    """The columns that are not learnt from."""
    names = ["by", "reason"] if with_names else []
    return ["event", "how", "labelled_at", "unbiased", "model", "said", "held_because", *names]


def _sheet(rows: Sequence[Row], manifest: Manifest, *, with_names: bool) -> list[list[Any]]:
    """Numbers as they are, so that they come back bit by bit; text as no spreadsheet takes for a formula."""
    names = [*numbers_of(manifest), *manifest.categories]
    table: list[list[Any]] = [[TIME, *names, LABEL, *_beside(with_names=with_names)]]
    for one, values in rows:
        said = one.scored
        features = [_cell(values[name]) for name in names]
        told: list[Any] = [
            said.event_id,
            one.how,
            from_us(one.at_us).isoformat(),
            "yes" if contest.unbiased(said) else "no",
            said.model,
            repr(said.said),
            harmless("; ".join(said.reasons)),
        ]
        told += [harmless(one.by), harmless(one.why)] if with_names else []
        label = one.told if manifest.kind == "classes" else "normal" if one.normal else "wrong"
        table.append([from_us(said.at_us).isoformat(), *features, label, *told])
    return table


def _cell(value: Value) -> str:
    """Empty where it is missing."""
    if value is None:
        return ""
    return harmless(value) if isinstance(value, str) else repr(value)


def _columns(rows: Sequence[Row], manifest: Manifest, *, with_names: bool) -> dict[str, Any]:
    """The columns file for `gatepost models train`: the features in the order in which the workflow computes them.

    A model of classes may do without an input: one that nobody measures here is named among what is not learnt from.
    """
    numbers: dict[str, Any] = {}
    features = {one.name: one for one in manifest.features}
    missing = _not_measured(rows, manifest)
    for name in numbers_of(manifest):
        if name in missing:
            continue
        one = features[name]
        seen = [value for _, values in rows if isinstance(value := values[name], float)]
        told = {
            "text": one.text,
            "unit": one.unit,
            "scale": one.scale if one.scale != "plain" else "",
            "more": one.more,
        }
        limits = {"least": min([one.least, *seen]), "most": max([one.most, *seen])}
        numbers[name] = {key: value for key, value in told.items() if value} | limits
    bound = any(features[name].more for name in numbers)
    found: dict[str, Any] = {"target": LABEL, "time": TIME}
    if manifest.kind != "classes":
        found["positive"] = "normal"
    elif bound:
        found["order"] = list(manifest.classes)
    if bound:
        found["learner"] = "boosting"
    found["numbers"] = numbers
    if manifest.kind == "classes":
        found["categories"] = {name: {} for name in manifest.categories}
    return found | {"ignore": [*missing, *_beside(with_names=with_names)]}


def _not_measured(rows: Sequence[Row], manifest: Manifest) -> list[str]:
    if manifest.kind != "classes":
        return []
    return [name for name in numbers_of(manifest) if all(values[name] is None for _, values in rows)]


# ── challenge ───────────────────────────────────────────────────────────────────────────────────────────────


@models.command()
@NAME
@click.argument("version", required=False, callback=folder_name)
@click.option("--none", is_flag=True, help="No version is asked in shadow any more.")
@YES
@at_place
@signed
def challenge(*, name: str, version: str | None, none: bool, yes: bool, place: Place, asked: Asked) -> None:
    """Ask VERSION of the model NAME in shadow, about everything that the champion decides from now on.

    It sees the same features, behind the champion and without any effect; what it says is kept, for `gatepost models
    compare`. With --none the shadow ends. A model that forecasts is only named: comparing makes the forecasts anew.

    \b
    Examples:
      gatepost models challenge consumption_anomaly 2 --reason "trained on what was refused in October"
      gatepost models challenge consumption_anomaly --none --reason "no better"
    """
    if (version is None) != none:
        raise click.UsageError("name a version, or say --none")
    shelf = shelf_of(place)
    if version is not None:
        tried(shelf, name, version)
    forecasts = shelf.kinds.get(name) == past_use.KIND
    what = f"{name}/{version} in shadow" if version else f"no version of {name} in shadow any more"
    if forecasts:
        what = f"{name}/{version} as challenger" if version else f"no challenger of {name} any more"
    if not yes and sys.stdin.isatty():
        click.confirm(f"Ask {what}, as {asked.by}?", abort=True)
    answer = Reach(place, asked).act(
        f"/v1/models/{name}/challenge",
        {"version": version},
        lambda desk, act: to_challenger(desk, shelf, name, version, act),
    )
    by = answer.get("by", asked.by) if isinstance(answer, dict) else asked.by
    unasked = "" if name in shelf.features else "; no workflow of the configuration asks this model"
    if forecasts and version:
        unasked = (
            f"; no shadow is needed: `gatepost models compare {name}` makes the forecasts of the last weeks by both"
        )
    show.say(f"asked: {what} (by {by}: {asked.reason}){unasked}")


# ── compare ─────────────────────────────────────────────────────────────────────────────────────────────────


@models.command()
@NAME
@click.argument("champion", required=False, callback=folder_name)
@click.argument("challenger", required=False, callback=folder_name)
@at_place
@as_json
def compare(*, name: str, champion: str | None, challenger: str | None, place: Place, json: bool) -> None:
    """Compare two versions of the model NAME on what this plant has on record, and tell whether the newer may decide.

    Without versions: the champion and the challenger. Both are taken at their word where they decided or were asked in
    shadow, and are asked now about the rest. A difference is the challenger's figure less the champion's; its interval
    holds 95 of 100 differences that chance would make of the same reports. Models that tell classes are held against
    the classes that people named, that of orders against what became of them, over all and class by class. Two that
    forecast shortages make the forecasts of the last weeks again, held against what was used. What the gate wants is
    set under `promotion`.

    \b
    Examples:
      gatepost models compare consumption_anomaly
      gatepost models compare scrap_classification
      gatepost models compare consumption_anomaly 1 3 --json
      gatepost models compare shortage_forecast 1 2
    """
    if (champion is None) != (challenger is None):
        raise click.UsageError("name both versions, or none of them")
    if champion is None or challenger is None:
        told = registry.aliases(place.models / name)
        if told.challenger is None:
            raise NotFound(f"{name} has no challenger; name two versions, or: gatepost models challenge {name} VERSION")
        champion, challenger = told.champion, told.challenger
    shelf = shelf_of(place)
    found = place.look(lambda connection: shelf.compare(connection, name, champion, challenger, place.promotion))
    asked = place.look(lambda connection: shadow.counted(connection, name, challenger))
    forecasts = isinstance(found, ForecastComparison)
    if json:
        data = {"champion": champion, "challenger": challenger, "passes": not found.against, **asdict(found)}
        show.data(data if forecasts else {**data, "shadow": asked})
        return
    compared.told(name, champion, challenger, found, asked, _deciding(place.models / name))


def _deciding(folder: Path) -> str:
    """The version that decides today; empty where none does yet."""
    try:
        return registry.aliases(folder).champion
    except ModelUnfit:
        return ""
