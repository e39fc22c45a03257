"""The shipped Ignition project on the bench gateway, beside a running agent, and people in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from simulators.gateway.gateway import Gateway, User
from simulators.gateway.server import Server
from tests.api_bench import HOUSE, Bench, bench
from tests.gateway_bench import RIGHTS, SECRET, secrets, tokens

PROJECT = HOUSE / "ignition_project"
ADDRESS = "[default]Gatepost/Settings/Address"
PASSWORD = "bench"  # of people that only this test knows
PEOPLE = [
    User("anna", "Anna", "Berg", ("Supervisor",), PASSWORD),
    User("ben", "Ben", "Alt", ("Supervisor",), PASSWORD),
    User("olga", "Olga", "Ohm", ("Operator",), PASSWORD),
]
PATIENCE = 60_000  # ms; nothing waits that long when all is well


@contextlib.asynccontextmanager
async def plant(folder: Path, **changes: Any) -> AsyncIterator[Bench]:
    """An agent with the token of a gateway and the rights of its people."""
    secrets(folder)
    async with bench(folder, api={"tokens": tokens(), "rate_per_second": 2000}, rights=RIGHTS, **changes) as one:
        yield one


def project(plant: Bench) -> Gateway:
    """The shipped project, pointed at this agent; its timer does not run yet."""
    kept = {"gatepost-token": "gateway-secret", "gatepost-signing": SECRET}
    made = Gateway(PROJECT / "Gatepost", [PROJECT / "tags/gatepost.json"], PEOPLE, kept)
    made.tags.write(ADDRESS, plant.url)
    return made


@dataclass(frozen=True, slots=True)
class Stage:
    """A bench gateway that polls and serves, and a browser."""

    url: str
    browser: Browser
    gateway: Gateway

    async def enter(self, user: str) -> Page:
        """Somebody logs in, in a session of their own, and sees the queue."""
        context = await self.browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        await page.goto(f"{self.url}/client/")
        await prove(page, user)
        await expect(page.locator('[data-name="Queue"]')).to_be_visible(timeout=PATIENCE)
        return page


async def prove(page: Page, user: str) -> None:
    """Fill in the identity provider's form: at the door, and to sign."""
    form = page.locator("form.idp")
    await form.get_by_label("Username").fill(user)
    await form.get_by_label("Password").fill(PASSWORD)
    await form.get_by_role("button", name="Continue").click()


@contextlib.asynccontextmanager
async def stage(plant: Bench) -> AsyncIterator[Stage]:
    """The gateway is up and polls. Skips where there is no browser."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here; `.ci/need chromium` installs it")
    gateway = project(plant)
    server = await asyncio.to_thread(Server, gateway, 0)
    server.start()
    gateway.start()
    try:
        async with async_playwright() as play:
            browser = await play.chromium.launch(executable_path=program, args=["--no-sandbox"])
            yield Stage(f"http://127.0.0.1:{server.server_address[1]}", browser, gateway)
            await browser.close()
    finally:
        gateway.stop()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
