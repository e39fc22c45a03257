"""A report of 200 % from the line to the books, decided at the agent's own doors: its console, and its API alone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from agent.access import users
from agent.access.passwords import hashed
from agent.access.tokens import Scope
from agent.access.users import User
from tests.api_bench import Bench, bench
from tests.stories import SCORED, Published, booked, in_time, twice_the_usage, usual, what_the_trace_must_tell

PASSWORD = "correct horse battery"
PATIENCE = 60_000  # ms; nothing waits that long when all is well


# ── by the console ──────────────────────────────────────────────────────────────────────────────────────────


async def test_two_people_at_the_console_one_signs_and_the_other_learns_who(tmp_path: Path):
    """200 % usage is on both people's pages within 5 s, signed by one and refused to the other, booked, and traced."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here; `.ci/need chromium` installs it")
    _people(tmp_path / "data")
    async with bench(tmp_path, api={"rate_per_second": 2000}, **SCORED) as agent, async_playwright() as play:
        await usual(agent, "usual-1")
        browser = await play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        anna, ben = await _enter(browser, agent, "anna"), await _enter(browser, agent, "ben")
        published = await twice_the_usage(agent, "twice-2")
        await asyncio.gather(*(expect(_row(one)).to_be_visible(timeout=published.left * 1000) for one in (anna, ben)))
        (waiting,) = await agent.held()
        for page, name in ((anna, "anna"), (ben, "ben")):
            await _row(page).locator("a").first.click()
            await _sign(page, name)
        await anna.get_by_role("button", name="Sign and approve").click()
        await expect(anna.get_by_role("dialog")).to_have_count(0, timeout=PATIENCE)
        await ben.get_by_role("button", name="Sign and approve").click()
        await expect(ben.get_by_role("dialog")).to_contain_text("already decided by anna", timeout=PATIENCE)
        document = await booked(agent, waiting["id"])
        await anna.goto(f"{agent.url}/#/trace/{document}")
        for told in (*await what_the_trace_must_tell(agent, waiting["id"], "twice-2", document), "approved by anna"):
            await expect(anna.locator("main")).to_contain_text(told, timeout=PATIENCE)
        await browser.close()


def _people(folder: Path) -> None:
    folder.mkdir()
    known = [
        User(name=name, full_name=name.capitalize(), password=hashed(PASSWORD), scopes=(Scope.READ, Scope.APPROVE))
        for name in ("anna", "ben")
    ]
    users.write(folder / users.FILE, known)


async def _enter(browser: Browser, agent: Bench, name: str) -> Page:
    """Somebody logs in, in a browser of their own, and looks at what is held."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(PATIENCE)
    await page.goto(f"{agent.url}/#/held")
    await page.get_by_label("User").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text("Nothing waits for a person.")).to_be_visible(timeout=PATIENCE)
    return page


def _row(page: Page) -> Locator:
    """Its line in the queue."""
    return page.locator("main tbody tr", has_text="200 %")


async def _sign(page: Page, name: str) -> None:
    """Everything up to the last button."""
    await page.get_by_role("button", name="Approve…").click()
    await page.get_by_label("Reason").fill(f"{name} weighed again")
    await page.get_by_label("Your password").fill(PASSWORD)


# ── by the API alone ────────────────────────────────────────────────────────────────────────────────────────


async def test_two_people_with_tokens_one_approves_and_the_other_learns_who(tmp_path: Path):
    """200 % usage is in both people's lists within 5 s, signed by one and refused to the other, booked, and traced."""
    async with bench(tmp_path, api={"rate_per_second": 2000}, **SCORED) as agent:
        await usual(agent, "usual-1")
        published = await twice_the_usage(agent, "twice-2")
        seen = await asyncio.gather(*(_seen(agent, published, name) for name in ("anna", "ben")))
        assert seen[0] == seen[1]
        answers = [await _approve(agent, one, name) for one, name in zip(seen, ("anna", "ben"), strict=True)]
        assert [status for status, _ in answers] == [200, 409]
        assert answers[0][1] == {"id": seen[0]["id"], "state": "ready", "by": "anna"}
        assert "already decided by anna" in answers[1][1]["message"]
        assert answers[1][1]["decided_by"] == "anna"
        document = await booked(agent, seen[0]["id"])
        life = await agent.get(f"/v1/trace/{document}", "ben")
        for told in (*await what_the_trace_must_tell(agent, seen[0]["id"], "twice-2", document), "anna weighed again"):
            assert told in str(life), told
        (signed,) = [row for row in life["history"] if row["action"] == "approved"]
        assert (signed["actor"], signed["detail"]["record_sha256"]) == ("anna", seen[0]["record_hash"])


async def _seen(agent: Bench, published: Published, name: str) -> dict[str, Any]:
    """What somebody's list shows, before the five seconds are over."""

    async def there() -> Any:
        return (await agent.get("/v1/approvals", name))["items"]

    (one,) = await in_time(published, there)
    assert "200 %" in one["reasons"][0]
    found: dict[str, Any] = one
    return found


async def _approve(agent: Bench, one: dict[str, Any], name: str) -> tuple[int, dict[str, Any]]:
    body = {"expected_version": one["version"], "reason": f"{name} weighed again", "record_hash": one["record_hash"]}
    answer = await agent.ask("POST", f"/v1/approvals/{one['id']}/approve", name, json=body)
    return answer.status_code, answer.json()
