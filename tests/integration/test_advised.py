"""What a workflow that only advises would have posted: one list on the command line and over the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.api_bench import Bench, bench, until
from tests.command_line import gatepost_

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def advising(tmp_path_factory) -> AsyncIterator[tuple[Bench, Path]]:
    """A plant in mode advise with two reports: one as usual, one of twice as much as can be."""
    folder = tmp_path_factory.mktemp("plant")
    limits = {"consumption": {"mode": "advise", "max_value": 500}}
    async with bench(folder, authority=limits) as one:
        for id, quantity in (("S-1", 13.9), ("S-2", 250)):
            assert (await one.report(id, quantity=quantity)).status_code == 202
        await until(lambda: _advised(one))
        yield one, folder / "agent.yaml"


async def _advised(plant: Bench) -> bool:
    return len((await plant.get("/v1/advised"))["items"]) == 2


async def shown(config: Path, *words: str) -> str:
    """What the command prints."""
    ran = await asyncio.to_thread(gatepost_, config, "advised", *words)
    assert ran.code == 0, ran.out
    return ran.out


async def test_what_would_have_been_posted_is_one_list(advising: tuple[Bench, Path]):
    """Order, material, quantity with its unit and value, what `auto` would have made of it, and why."""
    _, config = advising
    out = await shown(config)
    usual, much = out[out.index("would be") :].split("would be held", 1)
    assert "goods issue: 13.900 KG RM-RESIN" in usual
    assert "EUR" in usual
    assert "1000100" in usual
    assert "goods issue: 250.000 KG RM-RESIN" in much
    assert "because: value" in much
    assert "2 listed: 1 would be posted, 1 would be held" in out


async def test_advice_is_the_same_over_the_api(advising: tuple[Bench, Path]):
    """Programs read the same rows with exact values, and go on behind the last one."""
    plant, config = advising
    items = (await plant.get("/v1/advised"))["items"]
    assert items == json.loads(await shown(config, "--json"))
    assert [one["in_auto"] for one in items] == ["posted", "held"]
    assert items[0]["would_post"][0]["payload"]["quantity"] == "13.900"
    page = await plant.get(f"/v1/advised?after={items[0]['event_id']}")
    assert [one["message"] for one in page["items"]] == ["consumption:S-2"]
    assert page["next"] == items[1]["event_id"]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ({}, 2),
        ({"workflow": "consumption"}, 2),
        ({"workflow": "confirmation"}, 0),
        ({"since": timedelta(hours=-1)}, 2),
        ({"since": timedelta(hours=1)}, 0),
        ({"until": timedelta(hours=1)}, 2),
        ({"until": timedelta(hours=-1)}, 0),
    ],
)
async def test_advice_is_filtered_by_workflow_and_time(advising: tuple[Bench, Path], words: dict[str, Any], count: int):
    """On the command line and over the API alike."""
    plant, config = advising
    now = datetime.now(UTC)
    asked = {name: one if isinstance(one, str) else f"{now + one:%Y-%m-%dT%H:%M}" for name, one in words.items()}
    found = json.loads(await shown(config, "--json", *(f"--{name}={one}" for name, one in asked.items())))
    over_http = {name: one if isinstance(words[name], str) else f"{one}Z" for name, one in asked.items()}
    answer = await plant.ask("GET", "/v1/advised", params=over_http)
    assert [len(found), len(answer.json()["items"])] == [count, count]


async def test_a_token_of_another_line_sees_no_advice(advising: tuple[Bench, Path]):
    """`lines` limits what is advised as it limits what is held."""
    plant, _ = advising
    assert len((await plant.get("/v1/advised", "mixer"))["items"]) == 2
    assert (await plant.get("/v1/advised", "moulder"))["items"] == []


async def test_where_nothing_was_advised_the_list_says_where_the_modes_are(advising: tuple[Bench, Path]):
    """An empty list is a sentence."""
    _, config = advising
    assert "which mode a workflow has says `authority`" in await shown(config, "--workflow", "none")


async def test_trace_tells_the_advice_in_words(advising: tuple[Bench, Path]):
    """What would have been posted, its value, and what the mode `auto` would have made of it."""
    _, config = advising
    out = (await asyncio.to_thread(gatepost_, config, "trace", "S-2")).out
    assert "would post: 250.000 KG RM-RESIN" in out
    assert "in mode auto: would be held" in out
