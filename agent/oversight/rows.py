"""Rows on record as another version of a model takes them: by the names of what the version that scored was given.

Two versions of a model that tells classes may know other values of a category, or do without an input.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agent.errors import GatepostError, ModelUnfit
from agent.features import row
from agent.features.row import Value
from agent.scores import Features
from agent.scoring import registry
from agent.scoring.modelfiles import Manifest
from agent.scoring.registry import Keys
from agent.store.scored import Scored


class Rows:
    """Reads the manifest of every version that scored, once."""

    def __init__(self, models: Path, keys: Keys) -> None:
        self._models = models
        self._keys = keys
        self._known: dict[str, Manifest | ModelUnfit] = {}  # by hash of the graph

    def values(self, one: Scored) -> Mapping[str, Value]:
        """What it was made of, by name. Raises ModelUnfit where the version that scored is not here any more."""
        manifest = self._manifest(one)
        told = row.values(one.features, [each.name for each in manifest.features], manifest.categories)
        return {**told, **one.unknown}

    def taken_by(self, manifest: Manifest, one: Scored) -> Features:
        """The row for this version. Raises ModelUnfit, too, where it takes what the one that scored was not given."""
        if manifest.kind != "classes" or manifest.files["model.onnx"] == one.sha256:
            return one.features
        values = self.values(one)
        numbers = numbers_of(manifest)
        if missing := {*numbers, *manifest.categories} - set(values):
            raise ModelUnfit(
                f"{manifest.name}/{manifest.version} takes {', '.join(sorted(missing))}, which {one.model} was not "
                "given: no row on record fits both"
            )
        return row.row(values, numbers, manifest.categories)

    def _manifest(self, one: Scored) -> Manifest:
        if one.sha256 not in self._known:
            try:
                folder = registry.holding(self._models, one.model, one.sha256)
                self._known[one.sha256] = registry.read(folder, self._keys).manifest
            except GatepostError as error:
                self._known[one.sha256] = ModelUnfit(str(error))
        found = self._known[one.sha256]
        if isinstance(found, ModelUnfit):
            raise ModelUnfit(str(found))
        return found


def numbers_of(manifest: Manifest) -> list[str]:
    """The inputs that are numbers, in the order of the row."""
    of_categories = {f"{name}={value}" for name, values in manifest.categories.items() for value in values}
    return [one.name for one in manifest.features if one.name not in of_categories]
