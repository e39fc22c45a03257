"""Lots that are kept from use: by API and at the console somebody says what becomes of them, and a draft waits."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from agent.access import users
from agent.access.passwords import hashed
from agent.access.tokens import Scope
from agent.access.users import User
from tests.api_bench import Bench, bench, until
from tests.lots_bench import configured, keep_lots

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"
expect.set_options(timeout=60_000)  # a busy machine is no defect


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("lots")
    keep_lots(folder, ("L-1", "180", "major"), ("L-2", "12", "critical"))
    scopes = (Scope.READ, Scope.APPROVE, Scope.INGEST)
    anna = User(name="anna", full_name="Anna Berg", password=hashed(PASSWORD), scopes=scopes)
    users.write(folder / "data" / users.FILE, [anna])
    async with bench(folder, **configured(folder)) as one:
        yield one


async def lots(plant: Bench) -> dict[str, Any]:
    return {one["lot"]: one for one in (await plant.get("/v1/follow-ons"))["items"]}


async def drafts(plant: Bench) -> list[dict[str, Any]]:
    """The choices that wait for a signature."""
    held: list[dict[str, Any]] = (await plant.get("/v1/approvals"))["items"]
    return held


async def refuse(plant: Bench, one: dict[str, Any]) -> None:
    body = {"expected_version": one["version"], "reason": "not agreed with quality"}
    assert (await plant.ask("POST", f"/v1/approvals/{one['id']}/refuse", json=body)).status_code == 200


async def test_what_is_left_of_a_lot_waits_until_somebody_says_what_becomes_of_it(plant: Bench):
    """A choice about a part leaves the rest; one that is refused counts for nothing; more than is left is refused."""
    before = await lots(plant)
    assert [(lot, one["left"], one["suggested"]) for lot, one in before.items()] == [
        ("L-2", "12", "scrap"), ("L-1", "180", "rework"),
    ]  # fmt: skip
    assert before["L-1"]["costs"] == {"scrap": "414.00", "rework": "124.20", "use_as_is": "0.00"}
    assert (await plant.get("/v1/follow-ons", "mixer"))["items"] == []
    path = f"/v1/follow-ons/{before['L-2']['posting']}"
    body = {"choice": "rework", "quantity": "2", "reason": "can be polished"}
    assert (await plant.ask("POST", path, "viewer", json=body)).status_code == 403
    assert (await plant.ask("POST", path, "scale", json=body)).status_code == 202
    assert (await lots(plant))["L-2"]["left"] == "10"
    assert (await plant.ask("POST", path, "scale", json={"choice": "scrap", "reason": "worn"})).status_code == 202
    assert set(await lots(plant)) == {"L-1"}
    answer = await plant.ask("POST", path, "scale", json={"choice": "scrap", "reason": "worn"})
    assert (answer.status_code, "somebody has decided" in answer.text) == (409, True)
    await until(lambda: _waiting(plant, 2))
    for one in await drafts(plant):
        await refuse(plant, one)
    assert (await lots(plant))["L-2"]["left"] == "12"


async def _waiting(plant: Bench, number: int) -> bool:
    return len(await drafts(plant)) == number


async def test_a_choice_is_made_in_a_browser_with_the_password(plant: Bench):
    """Each choice with its cost; a wrong password does nothing; with the right one a draft waits for its signature."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here; `.ci/need chromium` installs it")
    complaints: list[str] = []
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = await browser.new_page(color_scheme="light")
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(plant.url)
        await page.get_by_label("User").fill("anna")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("link", name="Lots", exact=True).click()
        await page.get_by_role("link", name="L-1").click()
        await expect(page.locator("main")).to_contain_text("124.20 EUR")
        await expect(page.locator("main")).to_contain_text("usual for a major defect")
        await page.get_by_role("button", name="Rework…").click()
        await page.get_by_role("button", name="can be mended").click()
        for password in ("wrong", PASSWORD):
            await page.get_by_label("Your password").fill(password)
            await page.get_by_role("button", name="Sign: rework").click()
            if password == "wrong":
                await expect(page.locator("dialog .wrong")).not_to_be_empty()
                assert "L-1" in await lots(plant)
        await expect(page.get_by_role("status")).to_contain_text("chosen by anna")
        await expect(page.locator("main")).to_contain_text("About all of it somebody has said")
        await page.get_by_role("link", name="what became of FOLLOW-ON").click()
        await expect(page.locator("main")).to_contain_text("Rework 180 PC of lot L-1")
        await browser.close()
    assert complaints == []
    assert "L-1" not in await lots(plant)
    (draft,) = await until(lambda: _drafts(plant))
    assert draft["reasons"][0] == "what becomes of a blocked lot is signed by a person"
    trail = (await plant.get(f"/v1/trace/posting:{draft['id']}"))["history"]
    assert any(one["actor"].startswith("anna") for one in trail) or draft["payload"]["personnel"] == "anna"


async def _drafts(plant: Bench) -> list[dict[str, Any]]:
    return await drafts(plant)
