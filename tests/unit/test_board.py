"""The board: how much a posting wants a careful look, what is said of a model, and lines that are never stale."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agent.authority import EVERY
from agent.people.board import Lines, drifted, risk
from agent.scoring.drift import Level, State
from agent.store import approvals
from agent.store.approvals import Signature
from agent.store.postings import WAITS
from tests.integration.test_process import rules
from tests.stores import Clock, add, opened, posting


@pytest.mark.parametrize(
    ("reasons", "confidence", "value", "limit", "expected"),
    [
        ([EVERY], 0.99, "5000", None, "low"),
        ([WAITS], None, "1", None, "low"),
        (["200 % usage", EVERY], 0.9, "1", None, "medium"),
        ([EVERY], 0.49, "1", None, "high"),
        ([EVERY], 1.0, "101", "100", "high"),
    ],
)
def test_what_is_odd_dear_or_doubted_is_told_apart(reasons, confidence, value, limit, expected):
    """Low is what a person only sees because every posting is approved."""
    assert risk(reasons, confidence, Decimal(value), Decimal(limit) if limit else None) == expected


def test_a_model_that_drifted_is_told_with_its_time():
    """Warned, alarmed, or as before with a bar that is still raised."""
    state = State(level=Level.ALARM, since="2026-11-20T08:00:12+00:00", raised=True)
    assert drifted(state) == "alarm since 2026-11-20 08:00 UTC"
    assert drifted(state.model_copy(update={"level": Level.GREEN})) == (
        "its bar is still raised since 2026-11-20 08:00 UTC"
    )


def test_a_line_that_was_remembered_is_never_stale(tmp_path: Path):
    """A new version, and master data that changed, are read anew; what was decided is gone."""
    with opened(tmp_path / "gp.db", Clock()) as writer:
        one, two = add(writer, posting(1, reasons=("value",), signers=2), posting(2, reasons=("value",)))
        lines, known = Lines(), rules()

        def shown() -> dict[int, tuple[int, list[str], str]]:
            found = writer.call(lambda tx: lines.of_held(tx.connection, known))
            return {line["id"]: (line["version"], line["signed_by"], line["material_text"]) for line in found}

        before = shown()
        assert set(before) == {one, two}
        writer.call(lambda tx: approvals.decide(tx, one, 1, Signature("ann", "approve", "looked")))
        writer.call(lambda tx: approvals.decide(tx, two, 1, Signature("ann", "refuse", "looked")))
        assert shown() == {one: (2, ["ann"], before[one][2])}
        material = replace(known.facts.materials["RM-RESIN"], text="another text")
        known = replace(known, facts=known.facts.with_facts([material]))
        assert shown()[one][2] == "another text"
