"""From corrected causes to a better model of causes: people say what it was, a version learns it, and shows itself."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from agent import checkpoints
from agent.scoring import registry
from agent.scoring.modelfiles import Aliases
from tests.api_bench import HOUSE, Bench, bench, until
from tests.command_line import Ran, gatepost_

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "scrap_classification"
PLACE = "plant/1710/molding/MOLD-02/scrap"
GATE = {"min_labels": 48, "min_of_class": 8, "max_p99_ms": 1000}
USUAL = {"tool_used": 0.4, "cycle_off": 0.0, "since_set_up": 3000, "since_stop": 300, "temperature_off": 0.0,
         "pressure_off": 0.0, "defect": "0002"}  # fmt: skip
TRACES: dict[str, dict[str, Any]] = {  # what causes look like at this plant: not as where the champion was trained
    "material": {"tool_used": 0.97, "cycle_off": 0.4},
    "set-up": {"since_set_up": 5},  # but for this one
    "handling": {"since_stop": 1, "cycle_off": 0.6},
    "tool": {"temperature_off": 1.3},
    "machine": {"pressure_off": -1.3},
    "process": {"defect": "0001"},
}


def prepared(folder: Path) -> dict[str, Any]:
    """A plant that reports scrap, whose people look at all of it, and a key to train with."""
    shutil.copytree(HOUSE / "models" / NAME, folder / "models" / NAME)
    registry.name_aliases(folder / "models" / NAME, Aliases(champion="1"))
    shutil.copytree(HOUSE / "edge_config/trust/models", folder / "keys")
    (folder / "private").mkdir()
    checkpoints.load_key(folder / "private" / "models.pem")
    shutil.copy(folder / "private" / "models.pub", folder / "keys" / "mine.pub")
    mappings = folder / "scrap_mappings"
    mappings.mkdir()
    shutil.copy(HOUSE / "edge_config/mappings/scrap.yaml", mappings)
    target = {
        "name": "s4", "kind": "sap_s4", "url": "", "path": "/sap/opu/odata/sap", "client": "100",
        "time_zone": "Europe/Berlin",
        "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp_password"}},
        "defect_service": "API_DEFECT_SRV", "defect": {"classes": {"critical": "01", "major": "02", "minor": "03"}},
        "postings": {"scrap": "live", "defect": "live"},
    }  # fmt: skip
    scrap = {"target": "s4", "mapping": ["scrap"], "model": NAME, "options": {"block_from": "never"}}
    return {
        "targets": [target], "model_keys": str(folder / "keys"), "mappings": str(mappings),
        "workflows": {"scrap": scrap},
        "authority": {"scrap": {"mode": "assist", "min_confidence": 0.76}}, "promotion": GATE,
    }  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("plant")
    async with bench(folder, api={"rate_per_second": 2000}, **prepared(folder)) as made:
        made.agent.shadow._tick_s = 0.1
        yield made


async def gatepost(one: Bench, *words: str) -> Ran:
    """A command beside the running agent."""
    return await asyncio.to_thread(gatepost_, one.agent.config.file, "models", *words)


def rows(one: Bench, sql: str) -> list[tuple[Any, ...]]:
    return one.agent.desk.look(lambda connection: list(connection.execute(sql)))


def causes(chance: Random, rounds: int) -> list[str]:
    """Each once a round, so that the first rows of a time hold as many of each."""
    return [cause for _ in range(rounds) for cause in chance.sample(sorted(TRACES), len(TRACES))]


async def reported_and_judged(one: Bench, chance: Random, rounds: int) -> None:
    """Lots with scrap; a person approves where the proposed cause is the true one, and puts it right where not."""
    lots = dict(enumerate(causes(chance, rounds), len(rows(one, "SELECT id FROM event WHERE source = 'reports'"))))
    for number, cause in lots.items():
        noise = {name: round(chance.gauss(0, 0.1), 3) for name in ("temperature_off", "pressure_off")}
        body = {
            "id": f"S-{number}", "ts": datetime.now(UTC).isoformat(timespec="milliseconds"), "order": "1000110",
            "operation": "0010", "material": "BODY-55", "quantity": 2, "unit": "pcs", "lot": f"L{number}",
            "location": "171A", "lot_quantity": 200, "lot_stock": 200, **USUAL, **noise, **TRACES[cause],
        }  # fmt: skip
        answer = await one.ask("POST", f"/v1/events/{PLACE}", "scale", content=json.dumps(body).encode())
        assert answer.status_code == 202, answer.text
    held = await until(lambda: _held(one, len(lots)))
    for posting, right in zip(held, lots.values(), strict=True):
        path = f"/v1/approvals/{posting['id']}"
        body = {"expected_version": posting["version"], "reason": "looked at the piece"}
        if posting["payload"]["cause"] == right:
            answer = await one.ask("POST", f"{path}/approve", json=body)
        else:
            answer = await one.ask("POST", f"{path}/correction", json=body | {"changes": {"cause": right}})
        assert answer.status_code == 200, answer.text


async def _held(one: Bench, count: int) -> list[dict[str, Any]]:
    found, after = [], 0
    while True:
        page = await one.get(f"/v1/approvals?after={after}")
        found += [each for each in page["items"] if each["kind"] == "scrap"]
        if page["next"] is None:
            return sorted(found, key=lambda each: int(each["event_id"])) if len(found) == count else []
        after = page["next"]


async def test_from_corrected_causes_to_a_better_model_and_back(one: Bench):
    """Decided, put right by people, exported, trained, in shadow, compared, promoted, rolled back."""
    folder, chance = one.agent.config.file.parent, Random(5)
    await reported_and_judged(one, chance, 15)
    sheet = folder / "labels.csv"
    ran = await gatepost(one, "export-labels", NAME, "--out", str(sheet))
    assert ran.code == 0, ran.out
    with sheet.open() as stream:
        told = list(csv.DictReader(stream))
    assert sorted({each["label"] for each in told}) == sorted(TRACES)
    assert {each["how"] for each in told} == {"approved", "superseded"}
    columns = folder / "labels.yaml"
    columns.write_text(columns.read_text() + "learner: linear\n")
    key = str(folder / "private" / "models.pem")
    words = ["--data", str(sheet), "--columns", str(columns), "--key", key, "--out", str(folder / "models")]
    ran = await gatepost(one, "train", NAME, *words)
    assert ran.code == 0, ran.out
    learnt = registry.read(folder / "models" / NAME / "2", registry.trusted(folder / "keys")).manifest
    assert learnt.categories["machine"] == ("MOLD-02",)  # another row than the champion's: made anew of its names

    ran = await gatepost(one, "challenge", NAME, "2", "--reason", "trained on what we put right")
    assert ran.code == 0, ran.out
    ran = await gatepost(one, "promote", NAME, "2", "--reason", "it has learnt all of it")
    assert "the class is known of 0 reports that neither has learnt from" in ran.out
    assert "too few labels of a class: 0 of handling, 0 of machine" in " ".join(ran.out.split())
    await reported_and_judged(one, chance, 8)
    await until(lambda: _shadowed(one, 48))
    assert rows(one, "SELECT DISTINCT json_extract(detail, '$.score.model') FROM audit WHERE action = 'decided' "
                "AND event_id IS NOT NULL") == [(f"{NAME}/1",)]  # fmt: skip

    found = json.loads((await gatepost(one, "compare", NAME, "--json")).out)
    assert found["passes"], found["against"]
    assert (found["labels"], found["seen"], found["left_out"]) == (48, 90, 0)
    assert [(each["name"], each["labels"]) for each in found["classes"]] == [(cause, 8) for cause in sorted(TRACES)]
    assert found["judged"]["accuracy"]["low"] > 0.3
    assert found["shadow"]["asked"] == 48
    shown = await gatepost(one, "compare", NAME)
    assert f"2 passes the gate: gatepost models promote {NAME} 2" in shown.out
    back = await gatepost(one, "compare", NAME, "2", "1")  # and the other way round it does not
    assert "its accuracy is worse beyond chance" in " ".join(back.out.split())

    ran = await gatepost(one, "promote", NAME, "2", "--reason", "knows our causes")
    assert ran.code == 0, ran.out
    assert registry.aliases(folder / "models" / NAME).parts == {"champion": "2", "previous": "1"}
    ran = await gatepost(one, "rollback", NAME, "--reason", "one step back")
    assert ran.code == 0, ran.out
    assert registry.aliases(folder / "models" / NAME).parts == {"champion": "1"}


async def _shadowed(one: Bench, count: int) -> bool:
    return rows(one, "SELECT count(*) FROM shadow WHERE said IS NOT NULL AND outputs <> '[]'") == [(count,)]
