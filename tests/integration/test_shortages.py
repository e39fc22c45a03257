"""A running agent forecasts what runs short, from what it booked and what SAP says lies there."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import assembly
from agent.configuration.settings import ShortageNotice
from agent.errors import Conflict
from agent.features.shortage_forecast import DAY
from agent.people.desk import Act
from agent.shortages import drifting, looking, noticing
from agent.shortages.drifting import EVERY
from agent.shortages.looking import Shortages
from agent.store import audit, inbox, issues
from agent.store.encode import to_us
from simulators.receivers.hook import Hook, hook
from tests import stores
from tests.api_bench import HOUSE, Bench, bench, until
from tests.command_line import gatepost_
from tests.trained import forecasts_moved, trust

ERP: dict[str, Any] = {
    "name": "s4", "kind": "sap_s4", "url": "", "path": "/sap/opu/odata/sap", "client": "100",
    "time_zone": "Europe/Berlin", "auth": {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp_password"}},
    "postings": {"goods_issue": "live", "confirmation": "live", "reversal": "live"},
}  # fmt: skip
QUARTER = timedelta(minutes=15)
DAYS = 15
RESIN = ("RM-RESIN", "171A")


def people(web: Hook) -> dict[str, Any]:
    """A target that tells the planner, and then the lead."""
    return {
        "name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "lead",
        "channels": {"web": {"kind": "webhook", "url": web.url}}, "next": {"planner": "lead"},
        "people": {"planner": ["web"], "lead": ["web"]},
    }  # fmt: skip


def history(folder: Path, times: int = 1) -> None:
    """Two weeks and a day in which resin was used all the time, so many times as much as usual."""
    now = datetime.now(UTC)
    payload = {"material": RESIN[0], "storage_location": RESIN[1], "unit": "KGM"}
    issues = [(now - n * QUARTER, {**payload, "quantity": f"{(2 + n % 5) * times}.5"}) for n in range(DAYS * 96, 0, -1)]
    (folder / "data").mkdir()
    with stores.opened(folder / "data/gatepost.db", stores.Clock(now)) as writer:
        stores.booked(writer, issues)


async def forecast(plant: Bench, later: int, now: datetime | None = None) -> dict[str, Any]:
    """As it would be so many quarters of an hour from now."""
    agent = plant.agent
    at = (now or agent.clock()) + later * QUARTER
    look = Shortages(
        agent.desk, lambda: at, lambda: agent.config, lambda: agent.rules.facts,
        assembly.forecaster, agent.doubt.follow, agent.telling.about_short,
    )  # fmt: skip
    await look.look()
    (one,) = (await plant.get("/v1/shortages"))["items"]
    return dict(one)


async def alone(plant: Bench) -> None:
    """SAP has told its stock, and the agent itself forecasts no more: only what a test asks for."""

    async def nothing() -> None:
        pass

    async def stocks() -> bool:
        return bool(plant.agent.rules.facts.stocks)

    plant.agent.housekeeping.jobs["shortages"] = (3600.0, nothing)
    await plant.agent.shortages.look()  # what it may be at comes to its end
    await until(stocks)


@asynccontextmanager
async def forecasting(folder: Path, times: int = 1, **more: Any) -> AsyncIterator[Bench]:
    """A plant with a history of use, a model of its own, and a look at shortages only when it is asked for."""
    history(folder, times)
    shutil.copytree(HOUSE / "models/shortage_forecast", folder / "models/shortage_forecast")
    more = {"shortages": {}, "model_keys": str(HOUSE / "edge_config/trust/models"), **more}
    async with bench(folder, **more) as plant:
        await alone(plant)
        yield plant


@pytest.mark.asyncio
async def test_what_runs_short_is_forecast_and_shown(tmp_path: Path):
    """By the shipped model, to people and programs; a version that was tampered with leaves it to the profile."""
    async with forecasting(tmp_path) as plant:
        one = await forecast(plant, 1)
        stocks = plant.agent.rules.facts.stocks.values()
        lies = [float(stock.quantity) for stock in stocks if (stock.material, stock.storage_location) == RESIN]
        assert (one["material"], one["storage_location"], one["unit"]) == (*RESIN, "KG")
        assert one["stock"] == pytest.approx(sum(lies))
        soon, later = one["horizons"]
        assert [(at["by"], at["why"]) for at in (soon, later)] == [("shortage_forecast/2", "")] * 2
        assert soon["likely"] < later["likely"] < later["at_most"]
        assert 0 <= soon["short"] <= later["short"] <= 1
        assert (await plant.get("/v1/shortages", "mixer"))["items"] == []  # stock belongs to no line

        listed = {one["name"]: one for one in (await plant.get("/v1/models"))["items"]}["shortage_forecast"]
        assert (listed["scores"], listed["workflows"]) == ("shortage_forecast/2", ["shortages"])
        assert (listed["champion"], listed["drift"]["level"]) == ("2", "learning")
        told = (await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", "models", "list")).out
        assert "asked by shortages" in " ".join(told.split())

        told = (await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", "shortages")).out
        assert "RM-RESIN  171A " in told
        assert "forecast by shortage_forecast/2: all" in told
        ran = await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", "shortages", "--json")
        assert json.loads(ran.out)["items"] == [one]

        graph = tmp_path / "models/shortage_forecast/2/model.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
        one = await forecast(plant, 2)
        assert one["horizons"][0]["by"] == "profile"
        assert "model.onnx" in one["horizons"][0]["why"]
        sql = "SELECT alarm, detail FROM audit WHERE action = 'model_refused'"
        ((alarm, detail),) = plant.agent.desk.look(lambda reader: list(reader.execute(sql)))
        assert (alarm, "model.onnx" in detail) == (1, True)


@pytest.mark.asyncio
async def test_a_forecast_that_has_drifted_is_said_to_be_in_doubt(tmp_path: Path):
    """The first week is the measure; another rhythm is one alarm, the list says so until a person accepts it."""
    async with forecasting(tmp_path) as plant:
        began = plant.agent.clock()  # and so it stays: a quarter of an hour may end meanwhile
        now = to_us(began) // issues.SLOT_US
        await forecast(plant, EVERY - now % EVERY, began)
        rows = plant.agent.desk.look(looking.rows)
        assert {one.place for one in rows} == {RESIN}
        assert rows[-1].said == pytest.approx(1, abs=0.5)  # of the mean use: it is used all the time

        async def week(idle: float) -> dict[str, Any]:
            """As if it had been asked like that for the last week, `idle` a share of each day."""
            head = plant.agent.desk.look(audit.read_head).seq
            row = rows[-1].model_copy(update={"seq": head, "inputs": [*rows[-1].inputs[:-1], idle]})
            asked = [row.model_copy(update={"slot": now - n}) for n in range(0, 8 * DAY, EVERY)]
            written = drifting.ROWS.dump_json(asked)
            await plant.agent.writer.run(lambda tx: inbox.put_checkpoints(tx, ((looking.ASKED, written),)))
            await forecast(plant, 1 if now % EVERY != EVERY - 1 else 2, began)  # no row of its own
            return dict(await plant.get("/v1/shortages"))

        found = await week(0.0)
        assert (found["drift"], found["doubt"]) == ("green", "")
        found = await week(0.6)
        assert found["drift"] == "alarm"
        assert "inputs are spread otherwise (PSI: share_idle" in found["doubt"]
        assert "what it forecasts is in doubt" in found["doubt"]
        assert (await week(0.6))["drift"] == "alarm"
        told = {
            one: await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", one) for one in ("shortages", "status")
        }
        assert "IN DOUBT: shortage_forecast/2: inputs" in told["shortages"].out
        assert "drift   shortage_forecast/2: " in told["status"].out
        async with httpx.AsyncClient() as client:
            figures = (await client.get(plant.management + "/metrics")).text
        assert 'gatepost_model_drift{model="shortage_forecast"} 2' in figures

        await plant.agent.doubt.accept("shortage_forecast", Act("anna", "two shifts from now on"))
        assert (await plant.get("/v1/shortages"))["doubt"] == ""
        assert (await week(0.6))["drift"] == "green"
        sql = "SELECT action, alarm FROM audit WHERE action LIKE 'drift%' ORDER BY seq"
        trail = plant.agent.desk.look(lambda reader: list(reader.execute(sql)))
        assert trail == [("drift_measure", 0), ("drift_alarm", 1), ("drift_accepted", 0), ("drift_measure", 0)]


@pytest.mark.asyncio
async def test_people_are_told_once_of_what_runs_short(tmp_path: Path):
    """Not again while it lasts; whoever is next is told where nobody reacts, but not once it is over."""
    told = {"target": "people", "to": ["planner"], "above": 0.6}
    async with (
        hook() as web,
        forecasting(tmp_path, 50_000, shortages={"notify": told}, targets=[ERP, people(web)]) as it,
    ):

        async def arrived() -> bool:
            return bool(web.posted)

        await forecast(it, 1)
        await until(arrived)
        await forecast(it, 2)
        await it.agent.telling.look()
        message = json.loads(web.posted[0].body)
        assert (message["cause"], message["to"]) == ("short/RM-RESIN/171A", ["planner"])
        assert message["subject"] == "RM-RESIN at 171A is likely to run short"
        assert "Within 3 h less than that is left with a probability of " in message["text"]
        sql = "SELECT (SELECT count(*) FROM posting WHERE kind = 'notification'), due_us FROM notice"
        ((count, due),) = it.agent.desk.look(lambda reader: list(reader.execute(sql)))
        assert (count, due is not None) == (1, True)

        found = it.agent.desk.look(looking.kept)
        assert found is not None
        settings = ShortageNotice.model_validate(told)
        assert found.told == ["short/RM-RESIN/171A"]
        for at in found.outlooks[0].horizons:
            at.short = 0.1
        units = it.agent.rules.facts.units
        left = await it.agent.writer.run(
            lambda tx: noticing.told(tx, it.agent.telling.about_short, settings, found, units)
        )
        ((_, due),) = it.agent.desk.look(lambda reader: list(reader.execute(sql)))
        assert (left, due) == ([], None)


@pytest.mark.asyncio
async def test_a_clock_that_was_ahead_leaves_the_forecast_as_it_was(tmp_path: Path):
    """A look with a clock a month ahead forgets what was used; once the clock is right two weeks are read again."""
    async with forecasting(tmp_path) as plant:
        agent, ahead, began = plant.agent, [timedelta(0)], plant.agent.clock()
        look = Shortages(
            agent.desk, lambda: began + ahead[0], lambda: agent.config, lambda: agent.rules.facts,
            assembly.forecaster, agent.doubt.follow, agent.telling.about_short,
        )  # fmt: skip
        for ahead[0] in (QUARTER, timedelta(days=30), 2 * QUARTER):
            await look.look()
        (one,) = (await plant.get("/v1/shortages"))["items"]
        after_a_start = await forecast(plant, 2, began)
        assert [at["likely"] for at in one["horizons"]] == [at["likely"] for at in after_a_start["horizons"]]


@pytest.mark.asyncio
async def test_nothing_is_forecast_unless_it_is_wanted(tmp_path: Path):
    """Without the section both faces say that it is absent."""
    async with bench(tmp_path) as plant:
        answer = await plant.ask("GET", "/v1/shortages")
        assert (answer.status_code, "section `shortages`" in answer.text) == (404, True)
        ran = await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", "shortages")
        assert (ran.code, "has no section `shortages`" in ran.out) == (1, True)


@pytest.mark.asyncio
async def test_a_version_is_not_promoted_before_it_was_held_against_what_was_used(tmp_path: Path):
    """The running agent makes the forecasts of its last days again: one or two of them are no evidence."""
    history(tmp_path)
    shutil.copytree(HOUSE / "models/shortage_forecast", tmp_path / "models/shortage_forecast")
    forecasts_moved(tmp_path / "models", "3", 0.5)
    more: dict[str, Any] = {"shortages": {}, "model_keys": str(trust(tmp_path / "keys"))}
    act = Act("anna", "it seemed to be better")
    async with bench(tmp_path, **more) as plant:
        with pytest.raises(Conflict, match=r"of [12] days? that neither has learnt from .* fewer than 7"):
            await plant.agent.promote("shortage_forecast", "3", act)
        done = await plant.agent.promote("shortage_forecast", "3", act, anyway=True)
        assert done["version"] == "3"
