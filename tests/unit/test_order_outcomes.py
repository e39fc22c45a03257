"""What became of orders, as the label of what a model said of them before they were begun."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.masterdata.documents import to_document
from agent.masterdata.entities import Operation, Order
from agent.oversight import order_outcomes
from agent.scoring import registry
from agent.store import masterdata, scored
from agent.store.labels import Label
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from agent.workflows.order_release import ONLY_ASKED
from models.order_feasibility.train import COLUMNS
from models.training import columns, table
from tests.command_line import folder, gatepost_
from tests.stores import START, Clock, arrive, opened, reading
from tests.trained import KEYS, ROOT, trust

NAME = "order_feasibility"
VERSION = registry.read(ROOT / "models" / NAME / "3", KEYS)
PLANNED, DUE = START + timedelta(hours=6), START + timedelta(hours=30)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Iterator[Writer]:
    (tmp_path / "data").mkdir()
    with opened(tmp_path / "data" / "gatepost.db", clock) as started:
        yield started


def told(
    writer: Writer, number: str, status: str = "created", due: datetime | None = DUE,
    first: tuple[float | None, float | None] = (None, None), last: tuple[float | None, float | None] = (None, None),
) -> None:  # fmt: skip
    """A version of an order of two operations, each with the hours after START at which it was begun and finished."""
    moments = [[None if one is None else START + timedelta(hours=one) for one in each] for each in (first, last)]
    operations = [
        Operation(
            f"00{at}0", f"WC-{at}", "PCE", Decimal(60), confirmed=ended is not None, started=begun, finished=ended
        )
        for at, (begun, ended) in enumerate(moments, 1)
    ]
    order = Order(number, "FG-1", "1010", Decimal(10), "PCE", status, tuple(operations), planned_start=PLANNED, due=due)
    writer.call(partial(masterdata.put, documents=[(Order.kind, number, to_document(order))], origin="erp"))


def asked(writer: Writer, event: int, number: str, reasons: tuple[str, ...] = (), row: int = 0) -> None:
    """A decision for which the model gave what it gave in training, of one of its parity cases."""
    arrive(writer, b"{}", source="gatepost")
    outputs = list(VERSION.parity.outputs[row])
    classes = VERSION.manifest.classes
    score: dict[str, Any] = {
        "model": f"{NAME}/3", "sha256": VERSION.manifest.files["model.onnx"], "confidence": max(outputs), "bar": 0.7,
        "features": VERSION.parity.rows[row], "kind": "classes", "outputs": outputs,
        "said": classes[outputs.index(max(outputs))],
    }  # fmt: skip
    detail = {"mode": "auto", "reasons": reasons, "subject": {"order": number}, "score": score}
    writer.call(partial(Transaction.audit, action="decided", detail=detail, event_id=event))


def found(writer: Writer) -> list[Label]:
    with reading(writer.path) as connection:
        return order_outcomes.labels(connection, scored.newest(connection, NAME, 100))


@pytest.mark.parametrize(
    ("begun", "ended", "what"),
    [(5.0, 29.0, "on time"), (7.0, 29.0, "late start"), (7.0, 31.0, "late finish"), (5.0, 31.0, "late finish")],
)
def test_an_order_that_is_finished_is_a_label(writer: Writer, clock: Clock, begun: float, ended: float, what: str):
    """Against the dates that it had when the model was asked; whoever moved them since makes nothing right."""
    told(writer, "1")
    asked(writer, 1, "1")
    clock.forward(hours=40)
    told(writer, "1", "completed", DUE + timedelta(days=9), (begun, begun + 1), (begun + 2, ended))
    (one,) = found(writer)
    assert (one.told, one.how, one.by, one.tells) == (what, "finished", "erp", True)
    assert one.normal == (what == one.scored.likeliest)


def test_what_was_said_last_before_the_release_counts(writer: Writer, clock: Clock):
    """Not what was said before it was known, about other dates, once it was released or while it was made."""
    asked(writer, 1, "1")
    clock.forward(minutes=1)
    told(writer, "1")
    asked(writer, 2, "1")
    clock.forward(minutes=1)
    asked(writer, 3, "1")
    asked(writer, 4, "1", (ONLY_ASKED,))
    clock.forward(minutes=1)
    told(writer, "1", "released")
    asked(writer, 5, "1")
    clock.forward(hours=30)
    told(writer, "1", "completed", DUE, (1, 2), (3, 4))
    asked(writer, 6, "1")
    assert [one.scored.event_id for one in found(writer)] == [3]


def test_an_order_begun_before_it_was_asked_about_is_no_label(writer: Writer, clock: Clock):
    """The model says what will be, not what is."""
    told(writer, "1")
    clock.forward(hours=2)
    asked(writer, 1, "1")
    clock.forward(hours=2)
    told(writer, "1", "completed", DUE, (1, 2), (3, 4))
    assert found(writer) == []


@pytest.mark.parametrize(
    ("due", "first", "last"),
    [(DUE, (5, 6), (7, None)), (DUE, (None, 6), (None, 8)), (None, (5, 6), (7, 8))],
    ids=["something is left", "nobody tells when it was begun", "it was never due"],
)
def test_of_what_is_not_known_nothing_is_said(writer: Writer, clock: Clock, due: Any, first: Any, last: Any):
    """No label is guessed."""
    told(writer, "1", due=due)
    asked(writer, 1, "1")
    clock.forward(hours=40)
    told(writer, "1", "completed", due, first, last)
    assert found(writer) == []


@pytest.fixture
def place(tmp_path: Path, writer: Writer) -> Path:
    """The configuration of a plant with the shipped versions."""
    shutil.copytree(ROOT / "models" / NAME, tmp_path / "models" / NAME)
    trust(tmp_path / "keys")
    workflows = f"workflows:\n  order_release: {{target: s4, model: {NAME}}}\n"
    return folder(tmp_path, f"models: models\nmodel_keys: keys\n{workflows}")


def finished(writer: Writer, clock: Clock, number: int, ended: float) -> None:
    """An order of which the model was asked a day and more before it was finished, so many hours after START."""
    clock.now = START + timedelta(seconds=number)
    told(writer, f"{number}")
    asked(writer, number, f"{number}", row=number)
    clock.forward(hours=40)
    told(writer, f"{number}", "completed", DUE, (5, 6), (7, ended))


def test_two_versions_are_compared_on_what_became_of_orders(place: Path, writer: Writer, clock: Clock):
    """`gatepost models compare` needs nobody's label for them: it has figures, and the gate counts what is known."""
    for number in range(1, 12):
        finished(writer, clock, number, ended=31 if number % 2 else 29)
    asked(writer, 12, "12")  # nobody tells what became of it
    ran = gatepost_(place, "models", "compare", NAME, "2", "3", "--json")
    assert ran.code == 0, ran.out
    answer = json.loads(ran.out)
    assert answer["labels"] == 11
    assert answer["judged"] is not None
    assert any("the class is known of 11 reports" in one for one in answer["against"])


def test_they_are_exported_with_what_physics_says(tmp_path: Path, place: Path, writer: Writer, clock: Clock):
    """A row per finished order; who trains on it gets a version for which more work is never better, as this one is."""
    sheet = tmp_path / "labels.csv"
    ran = gatepost_(place, "models", "export-labels", NAME, "--out", str(sheet))
    assert f"no order is finished about which {NAME} was asked before its release" in " ".join(ran.out.split())
    for number in range(1, 4):
        finished(writer, clock, number, ended=31 if number == 1 else 29)
    ran = gatepost_(place, "models", "export-labels", NAME, "--out", str(sheet))
    assert f"3 finished orders in {sheet}" in ran.out
    described = columns.read(str(sheet.with_suffix(".yaml")))
    data = table.read(sheet, described)
    assert data.target == ("late finish", "on time", "on time")
    assert described.order == VERSION.manifest.classes
    assert {name: one.more for name, one in described.numbers.items()} == {
        name: one.more for name, one in COLUMNS.numbers.items()
    }
