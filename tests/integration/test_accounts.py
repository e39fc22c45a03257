"""The G/L account of scrap, from the table to the ERP's books: real broker, whole agent, simulated SAP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.people.approving import Asked
from agent.store import approvals, labels
from agent.web.gateway import signatures
from simulators.scenario import load as scenario
from tests.command_line import gatepost_
from tests.integration.test_scrap import PERSON, careful, postings, report
from tests.plant import Plant, plant

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "posting_classification"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(Path(tmp_path_factory.mktemp("accounts")), change=careful, plan=scenario()) as one:
        yield one


async def valued(floor: Plant, before: str, after: str) -> None:
    """Somebody changes the valuation class of the valve body in the master data, and the agent takes it."""
    path = floor.folder / "masterdata" / "materials.csv"
    text = path.read_text(encoding="utf-8")
    assert f"BODY-55,PC,Valve body 55,2.30,,,HALB,{before}" in text
    path.write_text(text.replace(f"2.30,,,HALB,{before}", f"2.30,,,HALB,{after}"), encoding="utf-8")
    await floor.reload(careful)


def booked(floor: Plant, since: int) -> list[tuple[str, str, str]]:
    """Movement, account and cost centre of what the ERP has in its books since."""
    found = []
    for one in floor.sap.erp.books.documents[since:]:
        items = [item for item in one.items if item.get("GoodsMovementType") == "551"]
        found += [(item["GoodsMovementType"], item.get("GLAccount", ""), item["CostCenter"]) for item in items]
    return found


def account_of(floor: Plant, event: int) -> dict[str, Any]:
    """What the record of the decision says about the account."""
    told = floor.rows("SELECT detail FROM audit WHERE action = 'decided' AND event_id = ?", event)
    return dict(json.loads(told[-1][0])["account"])


async def test_the_account_of_the_table_is_in_the_books(floor: Plant):
    """Nobody is asked: the model finds nothing odd, and the record says so, beside what it says of the cause."""
    before = len(floor.sap.erp.books.documents)
    body = report(floor, "A-1", 4, "L1")
    (scrap, _) = await postings(floor, body, "acknowledged")
    assert booked(floor, before) == [("551", "890010", "17101300")]
    kept = account_of(floor, scrap["event_id"])
    assert (kept["account"], kept["score"]["model"], kept["score"]["said"]) == ("890010", f"{NAME}/1", "890010")
    assert floor.agent.status()["models"][NAME] == {"scores": f"{NAME}/1", "error": None, "meanwhile": None}
    for words, told in (
        (("replay",), ("scrap_classification/1 answers", "its account 890010", f"{NAME}/1 answers")),
        (("trace",), ("account: 890010 (movement 551, valuation class 7900, cost object cost centre)",)),
        (("models", "explain", "--event"), ("its account: 0.99", "for 890010")),
    ):
        ran = await asyncio.to_thread(gatepost_, floor.agent.config.file, *words, str(scrap["event_id"]))
        assert ran.code == 0, ran.out
        assert [one for one in told if one not in " ".join(ran.out.split())] == []


async def test_an_account_that_is_unlike_its_material_waits_and_a_person_puts_it_right(floor: Plant):
    """A valve body that was valued as resin: nothing is booked before a person has looked; what they say is a label."""
    await valued(floor, "7900", "3000")
    before = len(floor.sap.erp.books.documents)
    body = report(floor, "A-2", 3, "L2")
    first, _ = await postings(floor, body, "held")
    assert first["reasons"][0].startswith(
        "accounts.yaml gives account 890000 (raw material scrapped); postings like this went to 890010 (own products "
    )
    assert booked(floor, before) == []
    wanted = Asked("correct", first["id"], first["version"], "it is a body, no resin")
    await signatures(floor.agent).correct(wanted, {"account": "890010"}, PERSON)
    await postings(floor, body, "superseded", "acknowledged")
    assert booked(floor, before) == [("551", "890010", "17101300")]
    found = labels.labels(floor.readers[0], NAME)
    assert [(one.told, one.normal) for one in found if one.scored.event_id == first["event_id"]] == [("890010", True)]
    assert account_of(floor, first["event_id"])["account"] == "890000"  # what was decided stays on record
    await valued(floor, "3000", "7900")


async def test_a_correction_of_the_cause_asks_the_table_again(floor: Plant):
    """The cost centre is another, the account that of the table."""
    unclear = dict.fromkeys(("tool_used", "since_set_up", "since_stop", "cycle_off", "temperature_off", "pressure_off"))
    before = len(floor.sap.erp.books.documents)
    body = report(floor, "A-3", 2, "L3", defect="0001", **unclear)
    first, _ = await postings(floor, body, "held")
    wanted = Asked("correct", first["id"], first["version"], "scratched by the gripper")
    await signatures(floor.agent).correct(wanted, {"cause": "handling"}, PERSON)
    await postings(floor, body, "superseded", "acknowledged")
    assert booked(floor, before) == [("551", "890010", "17101400")]


async def test_where_no_rule_fits_nothing_is_guessed(floor: Plant):
    """It is held with what is likely; approved as it is, the ERP finds the account."""
    table = floor.folder / "accounts.yaml"
    table.write_text('rules: [{movement: "261", valuation_class: "*", cost_object: order, account: "400000"}]\n')

    def other(content: dict[str, Any]) -> None:
        careful(content)
        content["accounts"]["table"] = str(table)

    await floor.reload(other)
    before = len(floor.sap.erp.books.documents)
    body = report(floor, "A-4", 2, "L4", cause="tool")
    first, *_ = await postings(floor, body, "held", "acknowledged")
    assert first["reasons"][0].startswith("no rule of accounts.yaml fits movement 551, valuation class 7900")
    assert booked(floor, before) == []
    signature = approvals.Signature(PERSON.name, "approve", "as ever")
    await floor.agent.desk.decide(first["id"], first["version"], signature)
    await postings(floor, body, "acknowledged")
    assert booked(floor, before) == [("551", "", "17101300")]
