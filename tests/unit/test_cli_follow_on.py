"""`gatepost follow-on`: what may become of a lot that is kept from use, and the choice as a report."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.ports import Acknowledgement, Kind
from agent.store import outbox
from tests import stores
from tests.command_line import folder, gatepost_

EDGE = Path(__file__).parents[2] / "edge_config"
BLOCK = {
    "plant": "1710", "material": "BODY-55", "quantity": "180", "unit": "H87", "storage_location": "171A", "batch": "",
    "movement": "344", "order": "1000110", "operation": "0010", "lot": "L-2", "work_center": "MOLD-02",
    "severity": "critical",
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """1 keeps a lot from use, 2 would but is held, 3 is a goods issue."""
    config = folder(tmp_path, f"masterdata: {EDGE / 'masterdata'}\nunits: {EDGE / 'units.yaml'}\n")
    with stores.opened(tmp_path / "data" / "gatepost.db") as writer:
        stores.add(
            writer,
            stores.posting(1, kind=Kind.STOCK_TRANSFER, payload=BLOCK),
            stores.posting(2, "order/2", kind=Kind.STOCK_TRANSFER, payload=BLOCK, reasons=("odd",)),
            stores.posting(3, "order/3", reasons=("odd",)),
        )
        (one,) = stores.claim(writer)
        writer.call(lambda tx: outbox.acknowledged(tx, one.posting, Acknowledgement("2026/4900000001")))
    return config


def test_each_choice_is_shown_with_its_cost_and_the_usual_one(config: Path):
    """For people and for programs."""
    told = gatepost_(config, "follow-on", "show", "1").out
    assert "180 PC of lot L-2 of BODY-55 are kept from use for a critical defect" in told
    assert "scrap          414.00 EUR   suggested" in told
    assert "rework         124.20 EUR\n" in told
    found = json.loads(gatepost_(config, "follow-on", "show", "1", "--json").out)
    assert found["costs"] == {"scrap": "414.00", "rework": "124.20", "use_as_is": "0.00"}


def test_a_choice_becomes_a_report_on_record(config: Path):
    """Of all of it, or of so much; the report waits for the agent, and the trail names who and why."""
    ran = gatepost_(config, "follow-on", "choose", "1", "rework", "--quantity", "20", "--reason", "can be polished")
    assert "entered (by" in ran.out, ran.out
    with stores.reading(config.parent / "data" / "gatepost.db") as connection:
        events: Any = connection.execute("SELECT topic, CAST(payload AS TEXT) FROM event").fetchall()
        acts: Any = connection.execute("SELECT detail FROM audit WHERE action = 'follow_on_entered'").fetchall()
    ((topic, payload),), ((detail,),) = events, acts
    report = json.loads(payload)
    (rest,) = report["material_actuals"]
    assert topic == "gatepost/follow_on"
    assert (rest["lot"], rest["quantity"], report["data"]["choice"]) == ("L-2", "20", "rework")
    assert json.loads(detail)["reason"] == "can be polished"


def test_where_nothing_is_left_to_choose_nobody_is_asked_to(config: Path):
    """No list of choices that cost nothing, and no command that would be refused."""
    gatepost_(config, "follow-on", "choose", "1", "rework", "--quantity", "20", "--reason", "can be polished")
    assert "somebody has chosen before; left: 160 PC" in gatepost_(config, "follow-on", "show", "1").out
    gatepost_(config, "follow-on", "choose", "1", "scrap", "--reason", "too deep")
    told = gatepost_(config, "follow-on", "show", "1").out
    assert told.endswith("for a critical defect\nsomebody has chosen for all of it: gatepost trace posting:1\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("show", "2"), "posting 2 is held: nothing is kept from use by it yet"),
        (("show", "3"), "posting 3 keeps no lot from use"),
        (("show", "9"), "there is no posting 9"),
        (("choose", "2", "scrap", "--reason", "r"), "posting 2 is held"),
        (("choose", "1", "sell", "--reason", "r"), "'sell' is not one of"),
        (("choose", "1", "scrap", "--quantity", "some", "--reason", "r"), "is no quantity"),
    ],
)
def test_what_cannot_be_decided_about_is_refused(config: Path, words: tuple[str, ...], why: str):
    """With what it is; nothing is entered."""
    ran = gatepost_(config, "follow-on", *words)
    assert (ran.code != 0, why in ran.out) == (True, True), ran.out
