"""What was found, by API and in a real browser: its evidence, the way to the signature, counts, what orders took."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from playwright.async_api import Page, async_playwright, expect

from agent.access import users
from agent.access.passwords import hashed
from agent.access.tokens import Scope
from agent.access.users import User
from tests.api_bench import HOUSE, Bench, bench, until, write
from tests.command_line import gatepost_
from tests.findings_bench import found

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"
COUNT = ("document", "entry", "difference")
THEFT, ISSUE = "0123456789abcdef0123", "fedcba98765432100123"
expect.set_options(timeout=60_000)  # a busy machine is no defect


def settings(folder: Path, mode: str) -> dict[str, Any]:
    """What the bench is made of: reconciliation in this mode."""
    place = folder / "maps"
    place.mkdir()
    for name in ("consumption", "confirmation", "stock_count"):
        shutil.copy(HOUSE / f"edge_config/mappings/{name}.yaml", place)
    written: dict[str, Any] = yaml.safe_load(write(folder, "").read_text())
    written["sources"][1]["stock"] = True
    written["targets"][0]["count_service"] = "API_PHYSICAL_INVENTORY_DOC_SRV"
    written["targets"][0]["postings"] |= {f"count_{part}": "live" for part in COUNT}
    flows: dict[str, Any] = {name: {"target": "s4"} for name in ("consumption", "confirmation")}
    flows["reconciliation"] = {"target": "s4", "mapping": ["reconciliation", "stock_count"]}
    changes = {name: written[name] for name in ("sources", "targets")}
    modes = {"consumption": {"mode": "assist"}, "reconciliation": {"mode": mode}}
    return {"mappings": str(place), "workflows": flows, "authority": modes, **changes}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A lot that was weighed and signed; a silo that lost something, and a lot of pigment that nobody reported."""
    folder, scopes = tmp_path_factory.mktemp("plant"), (Scope.READ, Scope.APPROVE, Scope.INGEST)
    made = settings(folder, "assist")
    (folder / "data").mkdir()
    anna = User(name="anna", full_name="Anna Berg", password=hashed(PASSWORD), scopes=scopes)
    users.write(folder / "data" / users.FILE, [anna])
    async with bench(folder, **made) as one:
        await one.agent.reconciling.look()  # what was before does not count
        await one.report("R-1")
        (held,) = await one.held(1)
        await approve(one, held)
        await found(one, THEFT, "theft", "count", "RM-RESIN", "-120.000")
        await found(one, ISSUE, "missing report", "issue", "RM-PIGMENT", "-4.500", order="1000100", operation="10")
        await one.held(2)
        yield one


async def approve(plant: Bench, one: dict[str, Any]) -> None:
    body = {"expected_version": one["version"], "reason": "weighed again"}
    assert (await plant.ask("POST", f"/v1/approvals/{one['id']}/approve", json=body)).status_code == 200
    await until(lambda: _booked(plant, one["id"]))


async def _booked(plant: Bench, id: int) -> bool:
    return bool((await plant.get(f"/v1/approvals/{id}"))["state"] == "acknowledged")


async def test_findings_are_listed_with_their_evidence_and_what_became_of_them(plant: Bench):
    """The newest first, page by page; one of them with its reports and the books; of others nothing is told."""
    listed = await plant.get("/v1/findings?open=true")
    assert [(one["id"], one["state"], one["open"]) for one in listed["items"]] == [
        (ISSUE, "waits for a person", True), (THEFT, "waits for a person", True),
    ]  # fmt: skip
    (first,), (second,) = (await pages(plant, limit=1))[:2]
    assert (first["id"], second["id"]) == (ISSUE, THEFT)
    assert (second["excess"], second["value"], second["evidence"][1]) == ("-120.000", "384.00", "nothing explains it")
    one = await plant.get(f"/v1/findings/{ISSUE[:8]}")
    (row,) = one["rows"]
    assert (row["name"], row["is"]) == ("R-1", "report")
    assert row["postings"][0]["document"] == one["rows"][0]["postings"][0]["document"] != ""
    assert one["about"] == ["R-1"]
    assert (await plant.ask("GET", "/v1/findings/000000")).status_code == 404
    assert (await plant.get("/v1/findings", "moulder"))["items"] == []
    assert (await plant.ask("GET", f"/v1/findings/{THEFT}", "moulder")).status_code == 404


async def test_the_board_has_what_is_open_the_most_valuable_first_as_the_caller_may_see_it(plant: Bench):
    """Its excess, its evidence, its risk and what would put it right; who may see another line sees none of it."""
    theft, issue = (await plant.get("/v1/board"))["findings"]
    assert [(one["id"], one["state"], one["risk"]) for one in (theft, issue)] == [
        (THEFT, "waits for a person", "medium"), (ISSUE, "waits for a person", "medium"),
    ]  # fmt: skip
    assert (theft["excess"], theft["unit"], theft["value"], theft["currency"]) == ("-120.000", "KG", "384.00", "EUR")
    assert theft["evidence"][1] == "nothing explains it"
    held = {one["id"]: one["kind"] for one in (await plant.get("/v1/approvals"))["items"]}
    for one in (theft, issue):
        assert held[one["proposal"]["id"]] == one["proposal"]["kind"]
    assert (issue["proposal"]["kind"], issue["proposal"]["quantity"]) == ("goods_issue", "4.500")
    assert (await plant.get("/v1/board", "moulder"))["findings"] == []


async def test_what_is_only_advised_stands_where_findings_are_shown(tmp_path: Path):
    """Marked as advice, with what would put it right and nothing to sign: API, board, command line, trace."""
    config = tmp_path / "agent.yaml"
    async with bench(tmp_path, **settings(tmp_path, "advise")) as advising:
        await found(advising, ISSUE, "missing report", "issue", "RM-PIGMENT", "-4.500", order="1000100", operation="10")
        await until(lambda: _listed(advising))
        (one,) = (await advising.get("/v1/findings?open=true"))["items"]
        assert (one["state"], one["open"], one["postings"]) == ("advised", True, [])
        assert [(advice["kind"], advice["payload"]["quantity"]) for advice in one["would_post"]] == [
            ("goods_issue", "4.500")
        ]
        (line,) = (await advising.get("/v1/board"))["findings"]
        assert (line["state"], line["risk"], line["proposal"]["id"]) == ("advised", "low", None)
        assert (line["proposal"]["quantity"], line["proposal"]["state"]) == ("4.500", "advised")
        listed, traced, advised = [
            (await asyncio.to_thread(gatepost_, config, *words)).out
            for words in (["findings"], ["trace", ISSUE[:8]], ["advised"])
        ]
        assert "missing report  advised" in listed
        assert "advised, and not written: goods issue: 4.500 KG RM-PIGMENT" in traced
        assert "goods issue: 4.500 KG RM-PIGMENT" in advised


async def _listed(plant: Bench) -> bool:
    return bool((await plant.get("/v1/board"))["findings"])


async def pages(plant: Bench, limit: int) -> list[list[dict[str, Any]]]:
    told, before = [], ""
    while True:
        page = await plant.get(f"/v1/findings?limit={limit}{before}")
        told.append(page["items"])
        if page["next"] is None:
            return told
        before = f"&before={page['next']}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(plant: Bench) -> AsyncIterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here; `.ci/need chromium` installs it")
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        one = await browser.new_page(color_scheme="light")
        one.set_default_timeout(60_000)
        await one.goto(plant.url)
        await one.get_by_label("User").fill("anna")
        await one.get_by_label("Password").fill(PASSWORD)
        await one.get_by_role("button", name="Log in").click()
        yield one
        await browser.close()


async def test_a_finding_is_read_signed_and_closed_in_a_browser(plant: Bench, page: Page):
    """From the list to its evidence, to the posting that puts it right, and back: put right, by whom and why."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.get_by_role("link", name="Findings").click()
    listed = page.get_by_label("findings", exact=True)
    await expect(listed).to_contain_text("384.00 EUR")
    await listed.get_by_role("link", name=ISSUE[:8]).click()
    await expect(page.get_by_role("heading", name="missing report: RM-PIGMENT at 171A")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("report R-1")
    (posting,) = (await plant.get(f"/v1/findings/{ISSUE}"))["postings"]
    await page.get_by_role("link", name=f"posting {posting['id']}").click()
    await page.get_by_role("button", name="Approve…").click()
    await page.get_by_label("Reason").fill("the bag is empty")
    await page.get_by_label("Your password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign and approve").click()
    await until(lambda: _booked(plant, posting["id"]))
    await page.goto(f"{plant.url}/#/findings/{ISSUE}")
    await expect(page.locator("main")).to_contain_text("approved by anna")
    await expect(page.locator("main")).to_contain_text("put right")
    assert complaints == []


async def test_a_count_is_entered_signed_and_seen_in_a_browser(plant: Bench, page: Page):
    """The place with its worth, the count with the password, the group that waits; afterwards it counts as counted."""
    await page.goto(f"{plant.url}/#/findings")
    row = page.get_by_label("worth counting").get_by_role("row", name="RM-RESIN at 171A")
    await expect(row).to_contain_text("never")
    await row.get_by_role("button", name="Enter a count…").click()
    await page.get_by_label("quantity in KG").fill("240000")
    await page.get_by_label("Reason").fill("cycle count of week 48")
    await page.get_by_label("Your password").fill(PASSWORD)
    await page.get_by_role("button", name="Enter", exact=True).click()
    group = (await until(lambda: _counted(plant)))["group"]["postings"]
    assert [one["kind"] for one in group] == [f"count_{part}" for part in COUNT]
    await approve(plant, await plant.get(f"/v1/approvals/{group[0]['id']}"))
    await until(lambda: _booked(plant, group[-1]["id"]))
    await plant.agent.reconciling.look()
    await page.reload()
    await expect(row).not_to_contain_text("never")
    assert plant.sap.erp.ledger.stock["RM-RESIN", "171A"] == 240000


async def _counted(plant: Bench) -> dict[str, Any] | None:
    waiting = (await plant.get("/v1/approvals"))["items"]
    return next((one for one in waiting if one["group"]), None)


MEASURED = """() => {
  for (const page of ["held", "dead", "quarantine"]) {
    const count = document.querySelector(`nav [data-page=${page}] .count`);
    count.hidden = false;
    count.textContent = "128";
  }
  const [one, other] = ["1", "2"].map(() => Object.assign(document.createElement("section"), { className: "card" }));
  document.querySelector("main .stack").replaceChildren(one, other);
  const rows = new Set([...document.querySelectorAll("nav a")].map((link) => link.getBoundingClientRect().top));
  return [rows.size, other.getBoundingClientRect().top - one.getBoundingClientRect().bottom];
}"""


async def test_the_pages_are_named_in_one_row_and_cards_keep_apart(page: Page):
    """At 1280 pixels with three digits at each count, and with two orders under way."""
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.goto(f"{page.url.partition('#')[0]}#/findings")
    await expect(page.get_by_label("worth counting")).to_be_visible()
    rows, gap = await page.evaluate(MEASURED)
    assert rows == 1
    assert gap >= 8


async def test_the_page_fits_a_narrow_screen(page: Page):
    """On a phone nothing is wider than the screen, and each value says what it is."""
    await page.set_viewport_size({"width": 390, "height": 800})
    await expect(page.get_by_label("worth counting")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
