"""The models of this repository load as they are, with the features of the code that serves them."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from agent.features import order_feasibility, shortage_forecast
from agent.scoring import registry
from agent.scoring.inference import Model
from models import shipped

ROOT = Path(__file__).parents[2]
KEYS = registry.trusted(ROOT / "edge_config" / "trust" / "models")
SHIPPED = {
    "order_feasibility": (order_feasibility.FEATURES, "classes", order_feasibility.CLASSES),
    "posting_classification": (None, "classes", None),  # its accounts and features come out of the ledger
    "shortage_forecast": (shortage_forecast.FEATURES, "quantiles", shortage_forecast.QUANTILES),
}


@pytest.mark.parametrize("name", registry.names(ROOT / "models"))
def test_says_what_it_was_trained_on(name):
    """The manifest that is signed has the hash of the training data and how it was judged."""
    trained = registry.read(registry.champion(ROOT / "models" / name), KEYS).manifest.trained
    assert re.fullmatch("[0-9a-f]{64}", str(trained["data_sha256"]))
    assert trained["protocol"]


@pytest.mark.parametrize("name", SHIPPED)
def test_loads(name):
    """Signature, hashes, operators, features and parity cases are right, and it is small."""
    features, kind, answers = SHIPPED[name]
    folder = registry.champion(ROOT / "models" / name)
    Model.load(folder, KEYS, features, kind=kind).close()
    version = registry.read(folder, KEYS)
    assert answers is None or (version.manifest.classes or version.manifest.quantiles) == answers
    assert len(version.files["model.onnx"]) <= 1.5 * 2**20
    assert version.reference.rows > 1_000


@pytest.mark.parametrize(
    "card", sorted((ROOT / "models").glob("*/*/card.md")), ids=lambda one: "/".join(one.parts[-3:-1])
)
def test_a_card_names_only_modules_that_are_there(card):
    """It is signed: whoever moves a module writes the card anew."""
    for name in re.findall(r"`((?:agent|models)\.[\w.]+)`", card.read_text()):
        assert find_spec(name), name


def test_training_into_another_folder_touches_nothing_that_is_committed(tmp_path, monkeypatch):
    """The bench believes a key only once it signs the models of this repository."""
    trusted = tmp_path / "edge_config" / "trust" / "models" / "bench.pub"
    trusted.parent.mkdir(parents=True)
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path / "elsewhere")])
    shipped.key_of_the_bench()
    assert not trusted.exists()
    monkeypatch.setattr(sys, "argv", ["train"])
    shipped.key_of_the_bench()
    assert trusted.read_bytes() == (tmp_path / "build" / "keys" / "models.pub").read_bytes()
