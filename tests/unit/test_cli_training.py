"""`gatepost models train` and `evaluate`: from a CSV to a version that the agent would take, and every way to fail."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent import checkpoints
from agent.commands.training import installing
from agent.scoring import registry
from tests.command_line import Ran, folder, gatepost_
from tests.trained import ROOT

COLUMNS = """target: defect
numbers:
  temperature: {unit: °C, text: melt temperature}
  pressure:
categories:
  machine: {text: machine}
ignore: [id]
learner: linear
"""


def csv(rows: int, seed: int = 1) -> str:
    """Burrs where it is hot, flash at machine 2, else ok."""
    chance = random.Random(seed)
    lines = ["id,machine,temperature,pressure,defect"]
    for at in range(rows):
        heat, machine = chance.gauss(200, 20), chance.choice(["M1", "M2", "M3"])
        defect = "burr" if heat > 215 else "flash" if machine == "M2" else "ok"
        lines.append(f"{at},{machine},{heat:.2f},{chance.gauss(80, 5):.2f},{defect}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def place(tmp_path):
    """A configuration, keys, a CSV and its columns file."""
    (tmp_path / "keys").mkdir()
    checkpoints.load_key(tmp_path / "keys" / "models.pem")
    (tmp_path / "data.csv").write_text(csv(200))
    (tmp_path / "columns.yaml").write_text(COLUMNS)
    return folder(tmp_path, "models: models\nmodel_keys: keys\n").parent


def train(place: Path, *words: str) -> Ran:
    files = {"--data": "data.csv", "--columns": "columns.yaml", "--key": "keys/models.pem", "--out": "models"}
    told = [word for option, file in files.items() for word in (option, str(place / file))]
    return gatepost_(place / "agent.yaml", "models", "train", "scrap", *told, *words)


def evaluate(place: Path, *words: str) -> Ran:
    return gatepost_(place / "agent.yaml", "models", "evaluate", "scrap", *words)


def test_a_csv_becomes_a_version_that_the_agent_takes(place):
    """Signed, with a card and a page; `verify` loads it as the agent would, and the next one waits for a person."""
    ran = train(place)
    assert ran.code == 0, ran.out
    assert "macro_f1" in ran.out
    assert f"Put {place / 'keys' / 'models.pub'} into `model_keys`" in ran.out
    assert (place / "models" / "scrap" / "1" / "evaluation.html").read_text().startswith("<!doctype html>")
    assert gatepost_(place / "agent.yaml", "models", "verify").code == 0
    again = train(place, "--json")
    assert json.loads(again.out)["folder"].endswith("/scrap/2")
    assert registry.aliases(place / "models" / "scrap").champion == "1"
    later = train(place).out
    assert "gatepost models challenge scrap 3" in later
    assert "first version" not in later


def test_a_version_is_judged_on_other_rows(place):
    """Columns come from the manifest; what is out of range is for a person; the page is written where asked."""
    train(place)
    other = csv(100, seed=2) + "1,M1,2000,80,burr\n2,M9,200,80,ok\n"
    (place / "other.csv").write_text(other)
    page = place / "page.html"
    ran = evaluate(place, "--data", str(place / "other.csv"), "--page", str(page), "--json")
    figures = json.loads(ran.out)
    assert (figures["rows"], figures["not_asked"]) == (102, 1)
    assert figures["accuracy"] > 0.85
    assert "1 of them for a person" in page.read_text()
    described = evaluate(place, "--data", str(place / "other.csv"), "--columns", str(place / "columns.yaml"))
    assert "not_asked" in described.out


def test_without_data_the_figures_of_training_are_told(place):
    """Those that are signed."""
    train(place)
    told = json.loads(evaluate(place, "--json").out)
    assert told == dict(
        registry.read(place / "models" / "scrap" / "1", registry.trusted(place / "keys")).manifest.metrics
    )


def test_rows_of_a_class_that_the_model_does_not_know_are_refused(place):
    """It cannot be right about them."""
    train(place)
    (place / "other.csv").write_text(csv(30) + "1,M1,200,80,crack\n")
    ran = evaluate(place, "--data", str(place / "other.csv"))
    assert ran.code == 2
    assert "defect: the model knows burr, flash, ok" in ran.out


def test_data_in_other_units_are_told(place):
    """Every row is out of range: most likely it is kelvin."""
    train(place)
    (place / "other.csv").write_text("machine,temperature,pressure,defect\nM1,2000,80,ok\nM1,2100,80,burr\n")
    ran = evaluate(place, "--data", str(place / "other.csv"))
    assert ran.code == 1
    assert "are the units the same?" in ran.out


def test_wrong_data_write_nothing(place):
    """Exit code 2, file, line and column; no folder of a model is there."""
    (place / "data.csv").write_text(csv(200).replace(",M1,", ",M1,x", 1))
    ran = train(place)
    assert ran.code == 2
    assert "data.csv:" in ran.out
    assert "temperature: is no number" in ran.out
    assert not (place / "models").exists()


def test_a_key_that_is_not_there_is_not_made(place):
    """A key made by accident would sign models that no plant believes."""
    (place / "keys" / "models.pem").unlink()
    ran = train(place)
    assert ran.code == 1
    assert "there is no such key; `gatepost models key" in ran.out
    assert not (place / "keys" / "models.pem").exists()


@pytest.mark.parametrize(("content", "told"), [(None, "is a public key"), ("x", "is no Ed25519 private key")])
def test_a_key_that_cannot_sign_is_told(place, content, told):
    """And no agent is said to make one: a key for training is made by a person."""
    wrong = place / "keys" / "models.pub"
    if content is not None:
        wrong = place / "x.pem"
        wrong.write_text(content)
    ran = train(place, "--key", str(wrong))
    assert ran.code == 1
    assert f"{wrong} {told}" in ran.out
    assert "give the private one that `gatepost models key` made" in ran.out
    assert "the agent makes" not in ran.out
    assert not (place / "models").exists()


def test_a_version_is_never_written_over(place):
    """What was signed once stays what it is."""
    train(place, "--version", "1")
    assert "is there already" in train(place, "--version", "1").out


def test_a_name_is_no_path(place):
    """Nothing is written outside of the folder of models."""
    ran = gatepost_(place / "agent.yaml", "models", "train", "../scrap", "--data", "x", "--columns", "x", "--key", "x")
    assert ran.code == 2
    assert "is no name of a folder" in ran.out


def test_an_installation_without_training_says_so(tmp_path):
    """The run-time image has no scikit-learn: one sentence with what to install, other words in a clone."""
    program = "import sys; sys.modules['sklearn'] = None; from agent.cli import main; main()"
    words = ["models", "train", "a", "--data", "x", "--columns", "x", "--key", "x"]
    ran = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 1
    assert ran.stderr.strip().endswith(f"(sklearn is missing); where models are made: make -C {ROOT} training")
    assert re.search(r"^training:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert installing(tmp_path) == "pip install 'gatepost[train]'"


def test_the_extra_is_what_training_is_pinned_with():
    """Two lists, one meaning."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["train"]
    lines = (ROOT / "requirements" / "train.in").read_text().splitlines()
    assert wanted == [line.split("#")[0].strip() for line in lines if line and not line.startswith(("#", "-r"))]
