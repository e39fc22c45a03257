"""`gatepost models train` and `evaluate`: for where models are made, not for the box beside the line.

The code is in `models.training` and needs packages that the run-time image leaves out; it is imported when it is asked
for, by name: nothing of the agent rests on it.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import checkpoints
from agent.commands import show
from agent.commands.explaining import models
from agent.commands.figures import meaning
from agent.commands.models import NAME, folder_name
from agent.commands.place import Place, as_json, at_place
from agent.durable import replace_durably
from agent.errors import GatepostError, StoreError
from agent.scoring import registry
from agent.scoring.inference import PATIENCE_S, Model

FILE = click.Path(path_type=Path, dir_okay=False)
PAGE = "evaluation.html"

__all__ = ["evaluate", "models", "train"]


def training(module: str) -> Any:
    """A module of ``models.training``. Raises GatepostError where what it needs is not installed."""
    try:
        return importlib.import_module(f"models.training.{module}")
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise GatepostError(
            f"training needs packages that this installation leaves out ({missing} is missing); where models are "
            f"made: {installing(Path(__file__).parents[2])}"
        ) from None


def installing(root: Path) -> str:
    """What to type for the packages of training: in a clone of the repository these are pinned."""
    return f"make -C {root} training" if (root / "Makefile").exists() else "pip install 'gatepost[train]'"


@models.command()
@NAME
@click.option("--data", type=FILE, required=True, help="The CSV: a row per case, its first line names the columns.")
@click.option("--columns", type=FILE, required=True, help="The YAML file that says what the columns are.")
@click.option(
    "--key", type=FILE, required=True, help="The private key that signs the model (`gatepost models key` makes one)."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="models", show_default=True,
    help="The folder of models to write into.",
)  # fmt: skip
@click.option("--version", callback=folder_name, help="What the version is called; default: the next number.")
@click.option("--about", default="", help="A sentence for the card: where the data are from, what to know about them.")
@as_json
def train(
    *, name: str, data: Path, columns: Path, key: Path, out: Path, version: str | None, about: str, json: bool
) -> None:
    """Train a version of the model NAME out of a CSV, prove that ONNX computes the same, judge it and sign it.

    Rows are judged that it did not learn from: the last ones in time where the columns file names a time, else a
    share of each class. The first version of a model decides; a later one waits for `gatepost models challenge`
    and `promote`.
    Nothing is written when anything is wrong. How to: docs/training.md.

    \b
    Example:
      gatepost models train scrap_cause --data scrap.csv --columns scrap.yaml --key ~/keys/models.pem
    """
    pipeline, table, described = training("pipeline"), training("table"), training("columns")
    signing_key = _private(key)
    if version and (out / name / version / registry.MANIFEST).exists():
        raise GatepostError(f"{out / name / version} is there already; choose another --version")
    read = described.read(str(columns))
    rows = table.read(data, read)
    origin = pipeline.Origin(str(data.name), about)
    trained = pipeline.train(name, rows, read, origin, version=version or pipeline.next_version(out, name))
    folder = trained.write(out, signing_key)
    replace_durably(folder / PAGE, trained.page.encode())
    figures = trained.judged.figures()
    if json:
        show.data({"folder": str(folder), "figures": figures})
        return
    rows = [[one, f"{value:.4f}", meaning(one)] for one, value in figures.items()]
    show.table(["figure", "value", "meaning"], rows, f"{name}, judged")
    show.say(f"{folder}: signed; read {folder / 'card.md'}, and open {folder / PAGE} in a browser")
    champion = registry.aliases(folder.parent).champion
    if champion == folder.name:
        show.say(
            f"first version: it is the champion. Put {key.with_suffix('.pub')} into `model_keys` of the plant, so that "
            "the agent believes it, then: gatepost models verify"
        )
    else:
        show.say(
            f"{name}/{champion} stays the champion; ask it in shadow: gatepost models challenge {name} {folder.name}"
        )


def _private(key: Path) -> Ed25519PrivateKey:
    """The key that signs. Raises GatepostError where there is none, or where it is another thing."""
    if not key.exists():
        raise GatepostError(f"{key}: there is no such key; `gatepost models key {key.parent}` makes a pair")
    try:
        return checkpoints.load_key(key)
    except StoreError:
        found = "no Ed25519 private key (PEM, without a passphrase)"
    with suppress(StoreError):
        checkpoints.load_public(key)
        found = "a public key"
    raise GatepostError(f"{key} is {found}; give the private one that `gatepost models key` made")


@models.command()
@NAME
@click.argument("version", required=False, callback=folder_name)
@click.option("--data", type=FILE, help="A CSV with rows that the model has not seen, and their answers.")
@click.option("--columns", type=FILE, help="Its columns file; default: the columns that the manifest names.")
@click.option("--page", type=FILE, help="Write the evaluation page into this file.")
@at_place
@as_json
def evaluate(
    *, name: str, version: str | None, data: Path | None, columns: Path | None, page: Path | None, place: Place,
    json: bool,
) -> None:  # fmt: skip
    """Judge a version of the model NAME on other rows, as the agent would ask it; without --data: what training found.

    VERSION is the champion where none is given. Rows outside of the model's ranges are counted: a person gets these.

    \b
    Examples:
      gatepost models evaluate scrap_cause --data last-month.csv --page last-month.html
      gatepost models evaluate scrap_cause
    """
    keys = registry.trusted(place.model_keys)
    folder = registry.located(place.models, name, version)
    found = registry.read(folder, keys)
    told = f"{name}/{found.manifest.version}"
    if data is None:
        _figures(json, told, dict(found.manifest.metrics), str(found.manifest.trained.get("protocol", "")))
        return
    evaluating, described = training("evaluating"), training("columns")
    read = described.read(str(columns)) if columns else evaluating.columns_of(found.manifest, data)
    model = Model.load(folder, keys, explain_below=0.0, deadline_s=PATIENCE_S)
    try:
        result = evaluating.evaluate(model, found, data, read)
    finally:
        model.close()
    if page is not None:
        shown = {"Data": data.name, "Rows": f"{result.rows}, {result.not_asked} of them for a person: out of range"}
        page.write_text(training("page").page(f"{told} on {data.name}", shown, result.judged), encoding="utf-8")
    asked = {"rows": result.rows, "not_asked": result.not_asked}
    _figures(json, told, asked | result.judged.figures(), data.name)


def _figures(json: bool, told: str, figures: dict[str, Any], on: str) -> None:  # noqa: FBT001  # a flag of click
    if json:
        show.data(figures)
        return
    rows = [[name, f"{value:g}", meaning(name)] for name, value in figures.items()]
    show.table(["figure", "value", "meaning"], rows, f"{told}: {on}")
