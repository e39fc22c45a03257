"""The console's page of models in a real browser: what drifted, and versions that are let decide by a signature."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from onnx import helper
from playwright.async_api import Browser, Locator, Page, expect

from agent.access import users
from agent.access.passwords import hashed
from agent.access.tokens import Scope
from agent.access.users import User
from agent.scoring import registry
from agent.scoring.modelfiles import Aliases
from agent.workflows.consumption import FEATURES
from tests.api_bench import Bench, bench, until
from tests.integration.test_console import PASSWORD, at_the_console, chromium
from tests.trained import copied, graph, put, trust

__all__ = ["chromium"]

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "consumption_anomaly"
REPORTS = 100  # the fewest that drift is looked for in
HALF = math.log(11.3 / 12)  # the deviation at which the second version is in two minds
AT_HALF = [HALF, *[0.0] * (len(FEATURES) - 1)]
GATE = {"min_labels": 12, "min_wrong": 6, "max_ece": 1, "max_p99_ms": 1000}


def mirrored(half: float = HALF) -> bytes:
    """A version for a plant whose lots take an eighth less than the bill of material says: what is less is normal."""
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["deviation"], axis=1),
        helper.make_node("Sub", ["half", "deviation"], ["less"]),
        helper.make_node("Mul", ["less", "steep"], ["odds"]),
        helper.make_node("Sigmoid", ["odds"], ["normal"]),
        helper.make_node("Sub", ["one", "normal"], ["odd"]),
        helper.make_node("Concat", ["normal", "odd"], ["y"], axis=1),
    ]
    numbers = {"half": half, "steep": 100.0, "one": 1.0}
    constants: dict[str, Any] = {name: np.array([value], np.float32) for name, value in numbers.items()}
    return graph(nodes, {**constants, "first": np.array([0])}, width=len(FEATURES))


def prepared(folder: Path) -> dict[str, Any]:
    """The shipped version decides, the mirrored one is in its shadow; people look at everything."""
    models = folder / "models"
    copied(models, "1")
    put(models, mirrored(), name=NAME, version="2", features=FEATURES, parity=([AT_HALF], [[0.5, 0.5]]))
    registry.name_aliases(models / NAME, Aliases(champion="1", challenger="2"))
    trust(folder / "keys")
    (folder / "data").mkdir()
    mia = User(name="mia", full_name="Mia May", password=hashed(PASSWORD), scopes=(Scope.ADMIN,))
    users.write(folder / "data" / users.FILE, [mia])
    return {
        "api": {"rate_per_second": 2000}, "model_keys": str(folder / "keys"), "promotion": GATE,
        "drift": {"rows": REPORTS, "compare_with": "training"},
        "workflows": {"consumption": {"target": "s4", "model": NAME}, "confirmation": {"target": "s4"}},
    }  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("plant")
    async with bench(folder, **prepared(folder)) as one:
        yield one


async def shown(plant: Bench, chromium: Browser) -> tuple[Page, Locator, list[str]]:
    """The card of the model, as somebody sees it who may change what decides."""
    page, complaints = await at_the_console(plant, chromium, "mia")
    await page.get_by_role("link", name="Models").first.click()
    return page, page.get_by_role("region", name=NAME), complaints


async def signed(page: Page, verb: str, reason: str, password: str = PASSWORD) -> Locator:
    """Fill the open dialog in and sign; returns it."""
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Reason").fill(reason)
    await dialog.get_by_label("Your password").fill(password)
    await dialog.get_by_role("button", name=verb).click()
    return dialog


async def last(plant: Bench, action: str) -> dict[str, Any]:
    rows = (await plant.get("/v1/audit?limit=500&after=0"))["items"]
    while page := (await plant.get(f"/v1/audit?limit=500&after={rows[-1]['seq']}"))["items"]:
        rows += page
    found: dict[str, Any] = [one for one in rows if one["action"] == action][-1]
    return found


async def test_a_version_is_let_decide_by_a_signature_that_the_gate_may_refuse(plant: Bench, chromium: Browser):
    """Refused with what is missing while nobody has decided; then signed with the password, on record, and back."""
    page, card, complaints = await shown(plant, chromium)
    await expect(card).to_contain_text(f"{NAME}/1")
    await card.get_by_role("button", name="let version 2 decide…").click()
    dialog = await signed(page, "Sign and promote", "fewer good lots held")
    await expect(dialog).to_contain_text("What this signature means: the version may decide. Let decide by Mia May")
    await expect(dialog).to_contain_text("people have decided about 0 reports that neither has learnt from")
    await dialog.get_by_role("button", name="Cancel").click()
    assert registry.aliases(plant.agent.config.models / NAME).champion == "1"
    await expect(card.get_by_role("button", name=re.compile("let version"))).to_have_count(
        1
    )  # not the one that decides
    assert [one for one in complaints if "409" not in one] == []  # the browser tells of each answer that is no success

    quantities = [10.6, 12.5] * 8
    for number, quantity in enumerate(quantities):
        await plant.report(f"MIX-01-{number:06d}", quantity=quantity, lot_quantity=12.5)
    for posting in await plant.held(len(quantities)):
        meaning = "approve" if float(posting["payload"]["quantity"]) < 11.3 else "refuse"
        body = {"expected_version": posting["version"], "reason": "weighed again"}
        answer = await plant.ask("POST", f"/v1/approvals/{posting['id']}/{meaning}", json=body)
        assert answer.status_code == 200, answer.text

    await card.get_by_role("button", name="let version 2 decide…").click()
    dialog = await signed(page, "Sign and promote", "right about our pipes", "wrong horse battery")
    await expect(dialog).to_contain_text("do not belong together")
    await signed(page, "Sign and promote", "right about our pipes")
    await expect(card).to_contain_text(f"{NAME}/2")
    await expect(card).to_contain_text("mia: right about our pipes")
    row = await last(plant, "model_promoted")
    assert (row["actor"], row["detail"]["version"], row["detail"]["meaning"], row["detail"]["reason"]) == (
        "mia", "2", "lets this version decide", "right about our pipes",
    )  # fmt: skip
    assert "against" not in row["detail"]

    await card.get_by_role("button", name="back to the version before…").click()
    await signed(page, "Sign and go back", "holds every first lot")
    await expect(card).to_contain_text(f"{NAME}/1")
    row = await last(plant, "model_rolled_back")
    assert (row["actor"], row["detail"]["meaning"]) == ("mia", "lets the version before decide again")


async def test_who_has_the_right_lets_a_version_decide_all_the_same(plant: Bench, chromium: Browser):
    """The box appears with the refusal only; reason, what is missing and that they insisted are on record."""
    far = math.log(3)  # it finds nothing wrong
    at_half = [far, *AT_HALF[1:]]
    put(plant.agent.config.models, mirrored(far), name=NAME, version="3", features=FEATURES,
        parity=([at_half], [[0.5, 0.5]]))  # fmt: skip
    page, card, _ = await shown(plant, chromium)
    await card.get_by_role("button", name="let version 3 decide…").click()
    box = page.get_by_role("dialog").get_by_label("Let it decide all the same")
    await expect(box).to_be_hidden()
    await signed(page, "Sign and promote", "another resin, nobody has decided about it yet")
    await expect(page.get_by_role("dialog")).to_contain_text("has not shown here that it is better")
    await box.check()
    await signed(page, "Sign and promote", "another resin, nobody has decided about it yet")
    await expect(card).to_contain_text(f"{NAME}/3")
    row = await last(plant, "model_promoted")
    assert (row["actor"], row["detail"]["anyway"]) == ("mia", True)
    assert row["detail"]["against"]
    await card.get_by_role("button", name="back to the version before…").click()
    await signed(page, "Sign and go back", "it was the old resin after all")
    await expect(card).to_contain_text(f"{NAME}/1")


async def test_what_drifted_is_seen_input_by_input_and_accepted_by_a_signature(plant: Bench, chromium: Browser):
    """The input that differs most comes first; a person signs that it is right, and the alarm is over."""
    await asyncio.gather(*[
        plant.report(f"MIX-01-{number:06d}", quantity=10.6, lot_quantity=12.5) for number in range(1000, 1000 + REPORTS)
    ])  # fmt: skip
    await until(lambda: _decided(plant))
    await plant.agent.doubt.look()
    page, card, complaints = await shown(plant, chromium)
    moved = card.get_by_role("table", name="how its inputs have moved")
    await expect(moved.locator("tbody tr").first).to_contain_text("alarm")
    assert await moved.locator("tbody tr").count() == len(FEATURES)
    await expect(card).to_contain_text("the bar is raised")
    for theme in ("light", "dark"):
        await page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
    await card.get_by_role("button", name="it is right as it is…").click()
    await signed(page, "Sign and accept", "new resin since Monday")
    await expect(card.get_by_role("button", name="it is right as it is…")).to_have_count(0)
    assert (await last(plant, "drift_accepted"))["actor"] == "mia"
    assert complaints == []


async def _decided(plant: Bench) -> bool:
    undecided = "SELECT count(*) FROM event WHERE state = 'undecided'"
    return bool(plant.agent.desk.look(lambda connection: connection.execute(undecided).get) == 0)
