"""`gatepost models export-labels` and `compare` on a store with people's decisions, while no agent runs."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commands import feedback
from agent.oversight.rows import Rows
from agent.scoring import registry
from agent.store import approvals
from agent.store.approvals import Signature
from agent.store.labels import Label
from agent.store.scored import Scored
from agent.store.writer import Writer
from models.training import columns, table
from tests import stores
from tests.command_line import Ran, folder, gatepost_
from tests.trained import KEYS, ROOT, SHIPPED, copied, trust

NAME = "consumption_anomaly"
MORE = f"models: models\nmodel_keys: keys\nworkflows:\n  consumption: {{target: s4, model: {NAME}}}\n"
ROW = (0.001, 0.001, 2.5, 0.0, 0.005)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A plant with two versions; ten reports came to people, who refused the odd ones."""
    for version in ("1", "2"):
        copied(tmp_path / "models", version)
    registry.name_champion(tmp_path / "models" / NAME, "1")
    trust(tmp_path / "keys")
    file = folder(tmp_path, MORE)
    with stores.opened(tmp_path / "data" / "gatepost.db", stores.Clock(datetime.now(UTC))) as writer:
        for event in range(1, 11):
            told(writer, event, (float(np.float32(event / 7)), *ROW[1:]))
            reasons = ("confidence 0.25 is below 0.90",)
            (made,) = stores.add(writer, stores.posting(event, f"order/{event}", event_id=event, reasons=reasons))
            signature = Signature("=Anna", "refuse" if event % 2 else "approve", "weighed\nagain")
            writer.call(lambda tx, made=made, by=signature: approvals.decide(tx, made, 1, by))  # type: ignore[misc]
    return file


def told(writer: Writer, event: int, features: tuple[float, ...]) -> None:
    stores.arrive(writer, b"{}")
    score = {"model": f"{NAME}/1", "sha256": "ab", "confidence": 0.25, "features": features, "bar": 0.9}
    detail = {"mode": "assist", "reasons": ["confidence 0.25 is below 0.90", "=cmd|x"], "score": score}
    writer.call(lambda tx: tx.audit("decided", detail, event_id=event))


def models(config: Path, *words: str) -> Ran:
    return gatepost_(config, "models", *words)


def exported(config: Path, *words: str) -> list[dict[str, str]]:
    sheet = config.parent / "labels.csv"
    ran = models(config, "export-labels", NAME, "--out", str(sheet), *words)
    assert ran.code == 0, ran.out
    with sheet.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_labels_are_in_the_form_that_training_takes(config: Path):
    """The columns file beside them names every column; the features come back bit by bit."""
    exported(config)
    described = columns.read(str(config.parent / "labels.yaml"))
    read = table.read(config.parent / "labels.csv", described)
    assert read.target == ("wrong", "normal") * 5
    assert [one["deviation"] for one in read.rows] == [float(np.float32(event / 7)) for event in range(1, 11)]
    assert list(described.numbers) == [one.name for one in registry.read(SHIPPED, KEYS).manifest.features]
    assert described.numbers["deviation"].scale == "log"
    assert all(one.tzinfo is not None for one in read.times)


def test_names_of_people_are_exported_only_when_asked(config: Path):
    """Neither who decided nor what they wrote; and no cell is a formula to a spreadsheet."""
    first = exported(config)[0]
    assert "Anna" not in json.dumps(first)
    assert "weighed" not in json.dumps(first)
    assert (first["how"], first["unbiased"], first["model"]) == ("refused", "yes", f"{NAME}/1")
    assert first["held_because"].startswith("confidence")
    (config.parent / "labels.csv").unlink()
    (config.parent / "labels.yaml").unlink()
    first = exported(config, "--with-names")[0]
    assert (first["by"], first["reason"]) == ("'=Anna", "weighed\nagain")
    table.read(config.parent / "labels.csv", columns.read(str(config.parent / "labels.yaml")))


def test_what_is_there_is_not_written_over(config: Path):
    """The labels of last week, and a columns file that somebody has edited."""
    exported(config)
    described = config.parent / "labels.yaml"
    described.write_text("mine")
    ran = models(config, "export-labels", NAME, "--out", str(config.parent / "labels.csv"))
    assert ran.code == 1
    assert "is there already; name another file" in ran.out
    (config.parent / "labels.csv").unlink()
    exported(config)
    assert described.read_text() == "mine"


def test_a_model_that_is_not_there_is_told(config: Path):
    """With those that are."""
    ran = models(config, "export-labels", "consumption_anomoly", "--out", "x.csv")
    assert ran.code == 1
    assert "did you mean 'consumption_anomaly'?" in ran.out


def test_versions_are_compared_on_what_people_decided(config: Path):
    """Two equal versions agree about everything, and neither passes; on a narrow screen, too."""
    ran = models(config, "compare", NAME, "1", "2")
    assert ran.code == 0, ran.out
    assert "the latest 10 reports of this plant" in ran.out
    assert "they agree about 10 (100.0%)" in ran.out
    assert "people decided about 10 reports: 5 normal, 5 wrong" in ran.out
    assert "10 of these reports came to a person whatever their score was" in " ".join(ran.out.split())
    assert "neither its Brier score nor its cost is better" in " ".join(ran.out.split())
    found = json.loads(models(config, "compare", NAME, "1", "2", "--json").out)
    assert (found["passes"], found["reports"], found["judged"]["brier"]["low"]) == (False, 10, 0.0)


def test_what_is_left_out_of_the_labels_is_said_with_its_cause(tmp_path: Path):
    """Of causes: what was refused without one, and what another version scored; neither as the other."""
    name = "scrap_classification"
    shutil.copytree(ROOT / "models" / name, tmp_path / "models" / name)
    trust(tmp_path / "keys")
    more = f"models: models\nmodel_keys: keys\nworkflows:\n  scrap: {{target: s4, model: {name}, mapping: [scrap]}}\n"
    file = folder(tmp_path, more)
    manifest = registry.read(registry.champion(tmp_path / "models" / name), KEYS).manifest
    row = tuple(None if one.null == "allowed" else 0.0 for one in manifest.features)
    known = {"model": f"{name}/{manifest.version}", "sha256": manifest.files["model.onnx"]}
    with stores.opened(tmp_path / "data" / "gatepost.db", stores.Clock(datetime.now(UTC))) as writer:
        for event, (meaning, of) in enumerate((("approve", known), ("refuse", known), ("approve", {})), 1):
            stores.arrive(writer, b"{}")
            score = {"model": f"{name}/0", "sha256": "gone", "confidence": 0.5, "features": row, "kind": "classes"}
            score |= {"outputs": [0.5] * len(manifest.classes), "said": manifest.classes[0], **of}
            detail = {"mode": "assist", "reasons": [], "subject": {"cause": manifest.classes[0]}, "score": score}
            writer.call(lambda tx, event=event, detail=detail: tx.audit("decided", detail, event_id=event))  # type: ignore[misc]
            (made,) = stores.add(writer, stores.posting(event, f"order/{event}", event_id=event, reasons=("doubt",)))
            signature = Signature("anna", meaning, "looked at it")
            writer.call(lambda tx, made=made, by=signature: approvals.decide(tx, made, 1, by))  # type: ignore[misc]
    ran = models(file, "export-labels", name, "--out", str(tmp_path / "labels.csv"))
    assert ran.code == 0, ran.out
    told = " ".join(ran.out.split())
    assert "1 left out: refused, and nobody said what class it is" in told
    other = "1 left out: another version scored them, with other features or not here any more"
    assert other in told
    with stores.opened(tmp_path / "data" / "gatepost.db", stores.Clock(datetime.now(UTC))) as writer:
        writer.call(lambda tx: tx.audit("decided", detail, event_id=1))  # by what is gone, as the third
    ran = models(file, "export-labels", name, "--out", str(tmp_path / "none.csv"))
    assert ran.code == 1
    told = " ".join(ran.out.split())
    assert "nothing to export: of what people decided, 1 left out: refused" in told
    assert other.replace("1 left", "2 left") in told


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=False)


def test_the_labels_of_causes_are_what_training_of_causes_takes():
    """Each category is one column again, also a value that the model did not know; the label is a person's."""
    manifest = registry.read(ROOT / "models" / "scrap_classification" / "1", KEYS).manifest
    told = {"scrapped_share": 0.1, "machine=MIX-01": 1.0, "defect=0003": 1.0}
    row = tuple(told.get(one.name, np.nan if one.null == "allowed" else 0.0) for one in manifest.features)
    graph, unknown = manifest.files["model.onnx"], {"shift": "weekend"}
    scored = Scored(
        1, 7, 0, "scrap_classification/1", graph, 0.4, 0.76, row, "auto", (), taken_for="tool", unknown=unknown
    )
    values = feedback._values(scored, manifest, Rows(ROOT / "models", KEYS))
    assert values is not None
    said = Label(scored, False, "superseded", 0, "anna", "", "material"), values
    (header, cells) = feedback._sheet([said], manifest, with_names=False)
    read = dict(zip(header, cells, strict=True))
    assert (read["label"], read["machine"], read["defect"], read["shift"]) == ("material", "MIX-01", "0003", "weekend")
    assert (read["scrapped_share"], read["tool_used"]) == ("0.1", "")
    described = feedback._columns([said], manifest, with_names=False)
    assert list(described["categories"]) == ["machine", "defect", "shift"]
    assert not [name for name in described["numbers"] if "=" in name]
    assert "tool_used" not in described["numbers"]  # nobody measures it here: training would refuse an empty column
    assert "tool_used" in described["ignore"]


@given(st.lists(st.tuples(*[NUMBERS] * 5), min_size=1, max_size=5))
def test_every_number_of_a_row_comes_back_to_the_last_bit(rows: list[tuple[float, ...]]):
    """Through text; what is missing is an empty cell."""
    manifest = registry.read(SHIPPED, KEYS).manifest
    labels = [
        Label(Scored(1, 1, 0, f"{NAME}/1", "ab", 0.5, None, row, "auto", ()), True, "approved", 0, "anna", "x")
        for row in rows
    ]
    known = Rows(ROOT / "models", KEYS)
    told = [(one, values) for one in labels if (values := feedback._values(one.scored, manifest, known)) is not None]
    _, *sheet = feedback._sheet(told, manifest, with_names=False)
    back = np.array([[float(cell or "nan") for cell in line[1:6]] for line in sheet], np.float32)
    np.testing.assert_array_equal(back, np.array(rows, np.float32))
