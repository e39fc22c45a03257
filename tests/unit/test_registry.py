"""The registry: who signed, whether the files are what was signed, and which version decides."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import helper

from agent.errors import ModelUnfit, NotFound
from agent.scoring import modelfiles, registry
from agent.scoring.modelfiles import Aliases, Manifest
from tests.trained import KEY, KEYS, ROOT, graph, put

TRUST = ROOT / "edge_config" / "trust" / "models"


@pytest.fixture
def version(tmp_path):
    """A signed version of a model that gives back what it is given."""
    return put(tmp_path, graph([helper.make_node("Identity", ["x"], ["y"])]))


def refusal(folder: Path, keys=KEYS) -> str:
    with pytest.raises(ModelUnfit) as refused:
        registry.read(folder, keys)
    return str(refused.value)


def test_a_signed_version_is_read_and_says_who_signed_it(version):
    """With the bytes that were hashed, and its cases and its reference."""
    found = registry.read(version, KEYS)
    assert found.signer == "test"
    assert found.manifest.name == "test"
    assert found.parity.rows == ((0.0, 0.0),)
    assert found.reference.inputs.keys() == {"warm", "cold"} == set(found.inputs)


@pytest.mark.parametrize("name", registry.names(ROOT / "models"))
def test_what_is_shipped_is_signed_by_the_key_that_is_shipped(name):
    """A clone believes its own models."""
    folder = registry.champion(ROOT / "models" / name)
    assert registry.read(folder, registry.trusted(TRUST)).signer == "bench"


def test_a_key_that_nobody_trusts_is_a_stranger(version):
    """A version that somebody else signed is refused before its manifest is read."""
    (version / "manifest.json").write_bytes(b"not even JSON")
    (version / "manifest.sig").write_bytes(registry.sign(b"not even JSON", Ed25519PrivateKey.generate()))
    told = refusal(version)
    assert "is not signed by a key that is trusted here (bench, test)" in told
    assert "`model_keys`" in told


@pytest.mark.parametrize("signature", [b"", b"AAAA", b"!!!", b"\xff\xfe", b"QUJD" * 22])
def test_what_is_no_signature_is_refused(version, signature):
    """Empty, too short, no base64, another length."""
    (version / "manifest.sig").write_bytes(signature)
    assert "is not signed by a key" in refusal(version)


def test_one_changed_byte_of_the_manifest_is_refused(version):
    """Also a blank: the signature is over the bytes."""
    raw = (version / "manifest.json").read_bytes()
    (version / "manifest.json").write_bytes(raw.replace(b"\n", b"\n ", 1))
    assert "is not signed by a key" in refusal(version)


def test_without_keys_nothing_is_believed(version, tmp_path):
    """An empty folder and one that is not there."""
    assert registry.trusted(tmp_path / "nowhere") == {}
    assert "trusted here (none)" in refusal(version, {})


def test_a_file_that_is_no_public_key_is_named(tmp_path):
    """A private key does not belong there, and a text is none."""
    private = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (private, b"hello"):
        (tmp_path / "a.pub").write_bytes(content)
        with pytest.raises(ModelUnfit, match=r"a\.pub is no Ed25519 public key"):
            registry.trusted(tmp_path)


def test_a_version_under_another_name_is_refused(version, tmp_path):
    """A version that was copied to where another is expected is not taken for it."""
    moved = shutil.copytree(version, tmp_path / "test" / "2")
    assert "is of test/1; restore the folder under its own name" in refusal(moved)
    moved = shutil.copytree(version, tmp_path / "other" / "1")
    assert "is of test/1" in refusal(moved)


def test_a_hard_link_in_the_place_of_a_file_is_refused_by_its_hash(version):
    """What the link leads to is not what was signed."""
    secret = version / "secret.bin"
    secret.write_bytes(b"of somebody else")
    (version / "model.onnx").unlink()
    os.link(secret, version / "model.onnx")
    assert "model.onnx has SHA-256" in refusal(version)


def changed(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "test", "version": "1", "kind": "probability", "files": dict.fromkeys(modelfiles.FILES, "0" * 64),
        "features": [{"name": name, "least": 0, "most": 1, "low": 0, "high": 1} for name in ("a", "m=x")],
        "output": {"name": "y", "column": 1, "columns": 2}, "opsets": {"": 18}, "trained": {},
    }  # fmt: skip
    return base | changes


def test_a_manifest_that_fits_together_is_taken():
    """The smallest one, and one with everything."""
    Manifest.model_validate(changed())
    Manifest.model_validate(
        changed(
            kind="classes",
            categories={"m": ["x"]},
            output={"name": "y", "columns": 2},
            classes=["dent", "crack"],
            conformal={"0.05": 0.9},
            bars={"auto": 0.8},
            temperature=1.07,
            approved={"by": "anna", "reason": "better", "at": "2026-11-20T10:00:00+00:00"},
        )
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 1}, "Input should be 2"),
        ({"files": {"model.onnx": "0" * 64}}, "files must be"),
        ({"files": {**changed()["files"], "../x": "0" * 64}}, "files must be"),
        ({"name": "../x"}, "String should match"),
        ({"version": ""}, "String should match"),
        ({"features": [changed()["features"][0]] * 2}, "a name stands twice"),
        ({"features": [changed()["features"][0] | {"least": 2}]}, "the range of a is empty"),
        ({"features": [changed()["features"][0] | {"most": float("inf")}]}, "finite"),
        ({"categories": {"m": ["x", "z"]}}, "there is no feature m=z"),
        ({"output": {"name": "y", "column": 2, "columns": 2}}, "do not fit"),
        ({"kind": "classes", "classes": ["one"]}, "do not fit"),
        ({"kind": "quantiles", "quantiles": [0.9, 0.1]}, "must rise"),
        ({"conformal": {"5 %": 0.9}}, "shares of error"),
        ({"bars": {"auto": 80}}, "less than or equal to 1"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes, told):
    """Each with the place and the reason."""
    with pytest.raises(ValueError, match=told):
        Manifest.model_validate(changed(**changes))


def test_a_reference_says_something_about_every_input(version):
    """Drift and reasons would miss it otherwise."""
    reference = json.loads((version / "reference.json").read_text())
    del reference["inputs"]["cold"]
    found = registry.read(version, KEYS)
    forgetful = {**found.files, "reference.json": json.dumps(reference).encode()}
    registry.write(version.parents[1], found.manifest, forgetful, KEY)
    with pytest.raises(ModelUnfit, match=r"reference\.json: says nothing about cold"):
        _ = registry.read(version, KEYS).reference


# ── which version decides ───────────────────────────────────────────────────────────────────────────────────


def test_a_new_champion_leaves_the_way_back(version, tmp_path):
    """The one before is the previous one; a challenger that won is no challenger any more."""
    folder = version.parent
    assert registry.name_champion(folder, "1") == Aliases(champion="1")
    registry.name_aliases(folder, Aliases(champion="1", challenger="2"))
    assert registry.name_champion(folder, "2") == Aliases(champion="2", previous="1")
    assert registry.name_champion(folder, "2") == Aliases(champion="2", previous="1")
    assert registry.previous(folder) == "1"
    assert registry.aliases(folder).champion == "2"
    assert registry.names(tmp_path) == ["test"]
    assert registry.versions(tmp_path, "test") == ["1"]


def test_without_a_previous_version_there_is_no_way_back(version):
    """And it is said what to do."""
    registry.name_champion(version.parent, "1")
    with pytest.raises(NotFound, match="names no previous version"):
        registry.previous(version.parent)


@pytest.mark.parametrize("version_", ["", "..", "../1", "/etc", ".", "1\n"])
def test_an_alias_that_leaves_the_folder_is_refused(tmp_path, version_):
    """An alias names a version, not a path."""
    (tmp_path / "aliases.json").write_text(json.dumps({"champion": version_}))
    with pytest.raises(ModelUnfit, match=r"aliases\.json: champion: .* is no name of a folder"):
        registry.champion(tmp_path)


def test_a_missing_alias_is_refused(tmp_path):
    """Without a champion nothing scores; it is said how one comes to be."""
    with pytest.raises(ModelUnfit, match=r"no version decides; `gatepost models promote .* VERSION`"):
        registry.champion(tmp_path)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('{"champion": 1}', 'champion: must be text in quotes, such as "2"'),
        ("{}", "champion: is missing"),
        ('{"champ": "1"}', "champion: is missing"),
        ('{"champion": "1", "challanger": "2"}', "challanger: unknown key; did you mean 'challenger'?"),
        ('["1"]', "not with an object"),
        ('{"champion": "1",}', "not JSON"),
        ('{"champion": "3"}', "names version '3' as champion, which is not there; known: 1"),
    ],
)
def test_mistakes_in_aliases_are_told_in_words(version, written, told):
    """A person may write this file by hand."""
    (version.parent / "aliases.json").write_text(written)
    with pytest.raises(ModelUnfit, match=re.escape(told)) as found:
        registry.champion(version.parent)
    assert "aliases.json" in str(found.value)
    assert "Input should" not in str(found.value)


def test_missing_values_of_cases_are_written_as_null(tmp_path):
    """NaN is no JSON."""
    data = graph([helper.make_node("Identity", ["x"], ["y"])], {"unused": np.zeros(1, np.float32)})
    folder = put(tmp_path, data, inputs={"warm": {"null": "allowed"}}, parity=([[None, 0.5]], [[0.0, 0.5]]))
    assert registry.read(folder, KEYS).parity.rows == ((None, 0.5),)
