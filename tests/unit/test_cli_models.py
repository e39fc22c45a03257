"""`gatepost models` while no agent runs: what is there, whether it fits, which version the next start takes."""

from __future__ import annotations

import json
import re
import shutil
import stat
from pathlib import Path

import pytest

from agent import checkpoints
from agent.commands.place import login
from agent.scoring import modelfiles, registry
from tests.command_line import Ran, filled, folder, gatepost_
from tests.trained import KEY, copied, forecasts_moved, trust

HOUSE = Path(__file__).resolve().parents[2]
NAME = "consumption_anomaly"
MORE = f"""\
models: models
model_keys: keys
workflows:
  consumption: {{target: s4, model: {NAME}}}
"""


@pytest.fixture
def config(tmp_path):
    """A store, and two versions of the shipped model that the tests have signed."""
    for version in ("1", "2"):
        copied(tmp_path / "models", version)
    registry.name_champion(tmp_path / "models" / NAME, "1")
    trust(tmp_path / "keys")
    return filled(tmp_path, MORE)


def models(config: Path, *words: str) -> Ran:
    return gatepost_(config, "models", *words)


def aliases(config: Path) -> modelfiles.Aliases:
    return registry.aliases(config.parent / "models" / NAME)


def spoil(config: Path) -> None:
    with (config.parent / "models" / NAME / "2" / "model.onnx").open("ab") as stream:
        stream.write(b"\0")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, f"no version decides; `gatepost models promote {NAME} 2`"),
        ('{"champion": "3"}', "names version '3' as champion, which is not there; known: 1, 2"),
        ('{"champion": "1", "challenger": "7"}', "names version '7' as challenger, which is not there"),
        ('{"champion": 1}', "champion: must be text in quotes"),
    ],
)
def test_the_list_says_which_part_nobody_has(config, written, told):
    """A champion that is missing is not shown as if nothing were."""
    file = config.parent / "models" / NAME / "aliases.json"
    file.unlink()
    if written is not None:
        file.write_text(written)
    assert told in " ".join(models(config, "list").out.split())
    assert any(told in one["trouble"] for one in json.loads(models(config, "list", "--json").out))


def test_every_version_is_listed_with_who_signed_it(config):
    """For people and for programs."""
    ran = models(config, "list")
    assert ran.code == 0
    assert "champion" in ran.out
    assert "trained on simulators.line" in ran.out
    assert "asked by consumption" in ran.out
    rows = json.loads(models(config, "list", "--json").out)
    assert [(one["version"], one["part"], one["signed_by"]) for one in rows] == [
        ("1", "champion", "test"),
        ("2", "", "test"),
    ]


def test_what_is_wrong_with_a_version_is_listed_beside_the_others(config):
    """One bad version hides none."""
    spoil(config)
    rows = json.loads(models(config, "list", "--json").out)
    assert [bool(one["trouble"]) for one in rows] == [False, True]
    assert "has SHA-256" in models(config, "list").out


def test_all_versions_are_verified(config):
    """Exit code 0 where all fit; 1 with each reason where not."""
    assert models(config, "verify").out.splitlines() == [f"{NAME}/1: ok", f"{NAME}/2: ok"]
    spoil(config)
    ran = models(config, "verify")
    assert ran.code == 1
    assert f"{NAME}/1: ok" in ran.out
    assert "1 of 2 do not fit" in ran.out
    ran = models(config, "verify", "--json")
    assert ran.code == 1
    assert '"problem": ""' in ran.out


@pytest.mark.parametrize("content", [b"{", b'{"champion": "7"}'])
def test_aliases_that_lead_nowhere_are_found(config, content):
    """Broken, or naming a version that is not there."""
    (config.parent / "models" / NAME / "aliases.json").write_bytes(content)
    ran = models(config, "verify")
    assert ran.code == 1
    assert "aliases.json: " in ran.out
    assert models(config, "list").code == 0


def test_a_promotion_is_signed_and_can_be_taken_back(config):
    """The alias moves, the trail says who and why, and one step leads back."""
    ran = models(config, "promote", NAME, "2", "--reason", "better", "--by", "anna")
    assert ran.code == 1
    assert "has not shown here that it is better: people have decided about 0 reports" in ran.out
    assert "whoever insists (--anyway, at the console a box to tick) promotes it" in " ".join(ran.out.split())
    ran = models(config, "promote", NAME, "2", "--reason", "better", "--by", "anna", "--anyway")
    assert ran.code == 0, ran.out
    assert f"{NAME}/2 (signed by test) is the champion instead of 1 (by anna via {login()}: better)" in ran.out
    assert "no workflow" not in ran.out
    named = aliases(config)
    assert named.parts == {"champion": "2", "previous": "1"}
    assert named.approved is not None
    assert (named.approved.by, named.approved.reason) == (f"anna via {login()}", "better")
    assert named.approved.meaning == "lets this version decide"
    listed = " ".join(models(config, "list").out.split())
    assert "trained on simulators.line" in listed
    assert listed.count(f"approved by anna via {login()} at ") == 1
    explained = models(config, "explain", NAME).out
    assert re.search(
        rf"^the champion here by anna via {login()} at \S+ \S+Z: lets this version\s+decide$", explained, re.M
    )
    assert re.search(rf"^promoted by anna via {login()} at \S+ \S+Z: better$", explained, re.M)
    ran = models(config, "rollback", NAME, "--reason", "worse")
    assert ran.code == 0, ran.out
    told = json.loads(models(config, "explain", NAME, "1", "--json").out)["promoted"]
    assert [(one["action"], one["reason"]) for one in told] == [("model_rolled_back", "worse")]
    named = aliases(config)
    assert named.parts == {"champion": "1"}
    assert named.approved is not None
    assert named.approved.meaning == "lets the version before decide again"
    trail = config.parent / "trail.jsonl"
    assert gatepost_(config, "export", "audit", str(trail)).code == 0
    assert "model_promoted" in trail.read_text()
    assert "model_rolled_back" in trail.read_text()
    ran = models(config, "rollback", NAME, "--reason", "again")
    assert ran.code == 1
    assert "names no previous version" in ran.out


def test_a_challenger_is_named_by_a_signed_act_and_taken_away(config):
    """The alias moves, the trail says who and why; what decides already, or is asked already, is told."""
    ran = models(config, "challenge", NAME, "2", "--reason", "trained on October", "--by", "anna")
    assert ran.code == 0, ran.out
    assert f"asked: {NAME}/2 in shadow (by anna via {login()}: trained on October)" in ran.out
    assert aliases(config) == modelfiles.Aliases(champion="1", challenger="2")
    assert "challenger" in models(config, "list").out
    for version, told in (
        ("2", "is the challenger already"),
        ("1", "is the champion already"),
        ("9", "has no version '9'"),
    ):
        ran = models(config, "challenge", NAME, version, "--reason", "x")
        assert ran.code == 1
        assert told in ran.out
    assert models(config, "challenge", NAME, "--none", "--reason", "no better").code == 0
    assert aliases(config) == modelfiles.Aliases(champion="1")
    assert f"{NAME} has no challenger" in models(config, "challenge", NAME, "--none", "--reason", "x").out
    for words in (["--none", "2"], []):
        assert models(config, "challenge", NAME, *words, "--reason", "x").code == 2
    trail = config.parent / "trail.jsonl"
    assert gatepost_(config, "export", "audit", str(trail)).code == 0
    assert '"challenger_named"' in trail.read_text()
    assert '"challenger_removed"' in trail.read_text()


def test_a_challenger_that_forecasts_is_said_to_be_named_only(tmp_path):
    """Nobody asks it in shadow: neither the answer nor the trail says that somebody does."""
    shutil.copytree(HOUSE / "models/shortage_forecast", tmp_path / "models/shortage_forecast")
    forecasts_moved(tmp_path / "models", "9", 0.5)
    trust(tmp_path / "keys")
    config = filled(tmp_path, "models: models\nmodel_keys: keys\nshortages: {}\n")
    ran = models(config, "challenge", "shortage_forecast", "9", "--reason", "x")
    assert ran.code == 0, ran.out
    assert "asked: shortage_forecast/9 as challenger" in ran.out
    assert registry.aliases(tmp_path / "models/shortage_forecast").challenger == "9"
    assert gatepost_(config, "export", "audit", str(trail := tmp_path / "trail.jsonl")).code == 0
    assert "none is asked in shadow" in trail.read_text()


def test_an_unfit_challenger_is_not_named(config):
    """The same checks as at a promotion."""
    spoil(config)
    ran = models(config, "challenge", NAME, "2", "--reason", "x")
    assert ran.code == 1
    assert "has SHA-256" in ran.out
    assert aliases(config).challenger is None


def test_without_labels_a_comparison_says_what_is_missing(config):
    """And that there is nothing to export yet."""
    ran = models(config, "compare", NAME, "1", "2")
    assert ran.code == 0, ran.out
    assert "2 does not pass the gate:" in ran.out
    assert "people have decided about 0 reports that neither has learnt from" in ran.out
    assert models(config, "compare", NAME, "1").code == 2
    assert "has no challenger; name two versions" in models(config, "compare", NAME).out
    ran = models(config, "export-labels", NAME, "--out", str(config.parent / "labels.csv"))
    assert ran.code == 1
    assert "people have decided about no report that" in ran.out
    assert not (config.parent / "labels.csv").exists()


@pytest.mark.parametrize(
    ("champion", "pair", "told"),
    [
        ("1", ("1", "2"), "1 decides, 2 would;"),
        ("2", ("1", "2"), "1 would, 2 decides;"),
        ("3", ("1", "2"), "1 would, 2 would, 3 decides;"),
        (None, ("1", "2"), "1 would, 2 would;"),
    ],
)
def test_a_comparison_says_which_of_the_two_decides_today(config, champion, pair, told):
    """Whatever the order in which they are named, and also where it is neither, or none yet."""
    folder = config.parent / "models"
    if champion is None:
        (folder / NAME / "aliases.json").unlink()
    else:
        copied(folder, "3")
        registry.name_champion(folder / NAME, champion)
    assert f"{NAME}: {told}" in models(config, "compare", NAME, *pair).out


def test_a_champion_that_nobody_asks_is_said_to_be_one(config):
    """A promotion changes nothing in the plant while the configuration names the model for no workflow."""
    config.write_text(config.read_text().replace(f", model: {NAME}", ""))
    ran = models(config, "promote", NAME, "2", "--reason", "better")
    assert ran.code == 0, ran.out
    assert ran.out.rstrip().endswith("better); no workflow of the configuration asks it")


def test_a_workflow_that_asks_no_model_says_so(config):
    """`confirmation` computes no features: no training makes a model for it."""
    config.write_text(config.read_text().replace("consumption: {target", "confirmation: {target"))
    ran = models(config, "promote", NAME, "2", "--reason", "better")
    assert ran.code == 1
    assert "this workflow asks no model; remove `model` from it" in ran.out


def test_what_does_not_fit_is_not_promoted(config):
    """Nothing changes, and the trail has the alarm; a version that is there already is said so."""
    spoil(config)
    ran = models(config, "promote", NAME, "2", "--reason", "x")
    assert ran.code == 1
    assert "has SHA-256" in ran.out
    assert models(config, "challenge", NAME, "2", "--reason", "x").code == 1
    trail = config.parent / "trail.jsonl"
    assert gatepost_(config, "export", "audit", str(trail)).code == 0
    assert trail.read_text().count("model_refused") == 2
    ran = models(config, "promote", NAME, "1", "--reason", "x")
    assert ran.code == 1
    assert "is the champion already" in ran.out
    ran = models(config, "promote", NAME, "9", "--reason", "x")
    assert ran.code == 1
    assert "has no version '9'; known: 1, 2" in ran.out
    assert aliases(config).champion == "1"


def test_a_model_for_another_workflow_is_not_promoted(config):
    """What the workflow of the configuration computes is what the model must take."""
    folder = config.parent / "models" / NAME / "2"
    found = registry.read(folder, registry.trusted(config.parent / "keys"))
    inputs = [one.model_dump() | {"name": f"my_{one.name}"} for one in found.manifest.features]
    changed = modelfiles.Manifest.model_validate(found.manifest.model_dump() | {"features": inputs})
    reference = json.loads(found.files["reference.json"])
    reference["inputs"] = {f"my_{name}": one for name, one in reference["inputs"].items()}
    files = {**found.files, "reference.json": json.dumps(reference).encode()}
    registry.write(config.parent / "models", changed, files, KEY)
    ran = models(config, "promote", NAME, "2", "--reason", "x")
    assert ran.code == 1
    assert "this agent computes deviation" in ran.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["explain", "consumption_anomoly"], f"did you mean '{NAME}'?"),
        (["evaluate", "nope"], f"known: {NAME}"),
        (["promote", "nope", "1", "--reason", "x"], f"known: {NAME}"),
        (["rollback", "nope", "--reason", "x"], f"known: {NAME}"),
    ],
)
def test_a_model_that_is_not_there_is_told_with_those_that_are(config, words, told):
    """A slip of the pen sends nobody to look for files to restore."""
    ran = models(config, *words)
    assert ran.code == 1
    assert f"there is no model {words[1]!r} in {config.parent / 'models'}; {told}" in ran.out


def test_a_version_that_is_not_there_is_told_with_those_that_are(config):
    """Also where it is only looked at."""
    for command in ("explain", "evaluate"):
        assert "has no version '9'; known: 1, 2" in models(config, command, NAME, "9").out


@pytest.mark.parametrize("words", [["promote", "../x", "1"], ["promote", NAME, ".."], ["explain", "/etc"]])
def test_a_path_is_no_name(config, words):
    """Neither of a model nor of a version."""
    ran = models(config, *words, *(["--reason", "x"] if words[0] == "promote" else []))
    assert ran.code == 2
    assert "is no name of a folder" in ran.out


def test_a_category_is_explained_by_its_values(tmp_path):
    """Not as the zeros and ones that the model is given."""
    config = folder(tmp_path, f"models: {HOUSE / 'models'}\nmodel_keys: {HOUSE / 'edge_config/trust/models'}\n")
    out = " ".join(models(config, "explain", "scrap_classification").out.split())
    assert "defect allowed one of 0001, 0002, 0003; another value, or none, counts as none of these" in out
    assert "defect=0001" not in out


@pytest.mark.parametrize("width", ["80", "100"])
def test_a_model_is_explained(config, monkeypatch, width):
    """Its card as it is written, what it takes by whole names, how it was trained and who signed it, on any screen."""
    monkeypatch.setenv("COLUMNS", width)
    ran = models(config, "explain", NAME)
    assert ran.code == 0
    card = (config.parent / "models" / NAME / "1" / "card.md").read_text()
    assert ran.out.startswith(card)
    rest = ran.out.removeprefix(card)
    assert re.search(r"^share_of_required +refused\n    taken from \S+ to \S+, mostly from \S+ to \S+$", rest, re.M)
    assert "mostly from -0.02028 to 0.02288" in rest
    assert "signed by test" in rest
    assert "normal_accepted_at_0.9" not in rest  # the card has the figures
    told = json.loads(models(config, "explain", NAME, "2", "--json").out)
    assert (told["version"], told["signed_by"]) == ("2", "test")
    assert told["card"].startswith("# Does this consumption")


def test_a_pair_of_keys_is_made_once(config, tmp_path):
    """The private half for its owner only; what is there is not overwritten."""
    folder = tmp_path / "new" / "keys"
    ran = models(config, "key", str(folder), "--name", "plant")
    assert ran.code == 0, ran.out
    assert stat.S_IMODE((folder / "plant.pem").stat().st_mode) == 0o400
    assert registry.trusted(folder).keys() == {"plant"}
    key = checkpoints.load_key(folder / "plant.pem")
    assert registry.signer(b"x", registry.sign(b"x", key), registry.trusted(folder)) == "plant"
    assert models(config, "key", str(folder), "--name", "plant").code == 1


def test_without_models_it_is_said(tmp_path):
    """An empty folder is no mistake of a list, but nothing to verify."""
    config = filled(tmp_path)
    assert "there are no models" in models(config, "list").out
    assert models(config, "verify").code == 1
