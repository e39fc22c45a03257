"""Training: what is committed is what the training makes, and its parity gate catches what it must."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.scoring import registry
from agent.scoring.inference import Model
from agent.workflows.consumption import FEATURES
from models.consumption_anomaly import train as training
from simulators import scenario as plant

KEY = Ed25519PrivateKey.generate()
KEYS = {"test": KEY.public_key(), **registry.trusted(training.ROOT / "edge_config" / "trust" / "models")}
KEPT = training.HERE / training.VERSION


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return folder / training.HERE.name / training.VERSION, training.train(folder, KEY)


def test_training_makes_what_is_committed(trained):
    """A fresh version takes the same inputs and answers alike: where not, train again and commit."""
    folder, _ = trained
    fresh, kept = (Model.load(place, KEYS, FEATURES) for place in (folder, KEPT))
    ranges = [[(one.name, one.least, one.most) for one in model.manifest.features] for model in (fresh, kept)]
    assert ranges[0] == ranges[1]
    cases = json.loads((KEPT / "parity.json").read_text())["rows"]
    rows = np.array(cases[: -training.EXTREMES], np.float32)
    assert np.abs(fresh.run(rows) - kept.run(rows)).mean() < 0.02
    fresh.close()
    kept.close()


def test_the_figures_are_worth_shipping(trained):
    """On the last part of each run: gross errors are all found, and few normal reports wait for a person."""
    _, figures = trained
    assert figures["auc"] > 0.99
    assert figures["normal_accepted_at_0.9"] > 0.98
    for name in ("twice", "power of ten", "unit", "far too little"):
        assert figures[f"found: {name}"] > 0.99


def test_the_parity_gate_refuses_a_graph_that_computes_something_else():
    """A conversion that is wrong without a word writes nothing."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(2000, len(FEATURES))).astype(np.float32)
    model = training.fit(rows, (rows[:, 0] > 0).astype(np.int64))
    other = training.fit(rows, (rows[:, 1] > 0).astype(np.int64))
    graph = training.export(model)
    assert len(training.check_parity(model, graph, rows)) == len(rows)
    with pytest.raises(SystemExit, match="nothing is written"):
        training.check_parity(other, graph, rows)


@pytest.mark.parametrize("parts", [1, 7, 20])
def test_good_reports_pass_whatever_the_size_of_their_order(parts):
    """The kept model: of runs it has not seen, with large and small orders, one good report in a hundred waits at most.

    The share of the order's requirement tells how large an order is, not whether a report is right.
    """
    scenario = training.split(plant.load(), parts)
    found = [one for one in training.samples(training.bench_facts(scenario), scenario, seed=99) if not one.distortion]
    model = Model.load(KEPT, KEYS, FEATURES)
    normal = model.run(np.array([one.row for one in found], np.float32))[:, 1]
    model.close()
    assert (normal >= 0.9).mean() > 0.99
