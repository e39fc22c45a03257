"""People at the shipped Perspective project: two supervisors and one posting; a full queue before fifty sessions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from playwright.async_api import Locator, Page, expect

from simulators.gateway.sessions import Page as Tab
from tests.api_bench import Bench, until
from tests.gateway_stage import ADDRESS, PASSWORD, PATIENCE, plant, project, prove, stage
from tests.stories import SCORED, booked, twice_the_usage, usual, what_the_trace_must_tell

HELD, SESSIONS, POLLS = 500, 50, 4


# ── in a browser ────────────────────────────────────────────────────────────────────────────────────────────


async def test_two_supervisors_see_it_one_signs_and_the_other_learns_who(tmp_path: Path):
    """200 % usage is in both sessions within 5 s, signed by one and refused to the other, booked, and traced."""
    async with plant(tmp_path, **SCORED) as agent, stage(agent) as scene:
        await usual(agent, "usual-1")
        anna, ben = await scene.enter("anna"), await scene.enter("ben")
        published = await twice_the_usage(agent, "twice-2")
        await asyncio.gather(*(expect(row(one)).to_be_visible(timeout=published.left * 1000) for one in (anna, ben)))
        (waiting,) = await agent.held()
        for one in (anna, ben):
            await row(one).click(timeout=PATIENCE)
            await decide(one)
        await prove(anna, "anna")
        await expect(anna.get_by_text(f"posting {waiting['id']} is approved by anna")).to_be_visible(timeout=PATIENCE)
        await prove(ben, "ben")
        await expect(ben.get_by_text("already decided by anna")).to_be_visible(timeout=PATIENCE)
        document = await booked(agent, waiting["id"])
        await anna.locator('button[data-name="Trace"]').last.click()
        for told in (
            *await what_the_trace_must_tell(agent, waiting["id"], "twice-2", document),
            "anna via gateway",
        ):
            await expect(anna.locator(".dock-main")).to_contain_text(told, timeout=PATIENCE)


def row(page: Page) -> Locator:
    """Its line in the queue."""
    return page.locator('[data-name="Queue"] tbody tr', has_text="200 %")


async def decide(page: Page) -> None:
    """Everything up to the question for the password."""
    await page.locator('[data-name="Approve"]').click()
    await page.locator('select[data-name="Reason"]').select_option(label="Agreed with the shift lead")
    await page.locator('[data-name="Sign"]').click()
    await expect(page.locator("form.idp")).to_be_visible(timeout=PATIENCE)


# ── many ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_sessions_cost_the_agent_as_much_as_one(tmp_path: Path):
    """500 held postings, 50 open sessions: a request of the whole gateway for each poll, and nothing piles up."""
    async with plant(tmp_path) as agent, counted(agent.url) as (address, asked):
        await full(agent)
        gateway = project(agent)
        gateway.tags.write(ADDRESS, address)
        sessions = [gateway.log_in(("anna", "ben", "olga")[number % 3], PASSWORD) for number in range(SESSIONS)]
        tabs = [Tab(one, "/") for one in sessions if one]
        kept = []
        for number in range(POLLS):
            await refuse_one(agent)
            await asyncio.to_thread(gateway.known["gatepost"].poll.run)
            rows = [await asyncio.to_thread(rows_of, tab) for tab in tabs]
            assert rows == [HELD - number - 1] * SESSIONS
            gc.collect()
            kept.append(len(gc.get_objects()))
        assert asked == Counter({"/v1/board": POLLS})
        assert kept[-1] - kept[1] < HELD, kept  # one list of the queue that stays behind would be more


async def full(agent: Bench) -> None:
    """As many postings wait as the board shows."""
    for first in range(0, HELD, 50):
        answers = await asyncio.gather(*(agent.report(f"many-{first + number}") for number in range(50)))
        assert {one.status_code for one in answers} == {202}

    async def waiting() -> bool:
        counts: dict[str, int] = (await agent.get("/v1/board", "gateway"))["counts"]
        return counts["held"] == HELD

    await until(waiting)


async def refuse_one(agent: Bench) -> None:
    """Something is new on the board."""
    one = (await agent.get("/v1/approvals?limit=1"))["items"][0]
    body = {"expected_version": one["version"], "reason": "counted twice"}
    answer = await agent.ask("POST", f"/v1/approvals/{one['id']}/refuse", json=body)
    assert answer.status_code == 200, answer.text


def rows_of(tab: Tab) -> int:
    """How many rows this session sees in the queue."""
    drawn = tab.drawn()
    assert drawn["complaints"] == {}
    (queue,) = [one for one in drawn["view"]["root"]["children"] if one["name"] == "Queue"]
    return len(queue["props"]["data"])


@contextlib.asynccontextmanager
async def counted(url: str) -> AsyncIterator[tuple[str, Counter[str]]]:
    """An address before the agent that counts what is asked there, by path."""
    asked: Counter[str] = Counter()
    agent = httpx.URL(url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked[head.split()[1].decode().partition("?")[0]] += 1
        there, back = await asyncio.open_connection(agent.host, agent.port)
        back.write(head)
        writer.write(await there.read())
        for one in (back, writer):
            one.close()
            await one.wait_closed()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
