"""`python -m tests.pictures`: every view of the Ignition project, light and dark, for panel and desk, in docs/pictures.

A simulated plant with an agent, its reports, and people who decide; the views are drawn by the bench gateway. What is
in the pictures happened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page, expect

from tests.api_bench import HOUSE, Bench, free_port, until, weighing
from tests.findings_bench import found
from tests.gateway_bench import Gateway
from tests.gateway_stage import ADDRESS, PATIENCE, Stage, plant, prove, stage
from tests.lots_bench import configured, keep_lots
from tests.palette import shrunk
from tests.stories import SCORED

SIZES: Final = {"panel": (1280, 800), "desk": (1920, 1080)}
THEMES: Final = ("light", "dark")
LARGEST: Final = 120_000  # bytes of a picture
NO_STRIP: Final = ".bench { display: none !important }"  # the line that says that it is no Ignition: the page says it
MOLD, ASSY = "plant/1710/molding/MOLD-02/consumption", "plant/1710/assembly/ASSY-05/consumption"
SHOWN: Final = SCORED | {
    "workflows": {**SCORED["workflows"], "confirmation": {"target": "s4"}},
    "authority": {
        "consumption": {**SCORED["authority"]["consumption"], "max_value": 5000},
        "confirmation": {"mode": "auto"},
    },
}


# ── what happened ───────────────────────────────────────────────────────────────────────────────────────────


async def a_shift(agent: Bench) -> dict[str, int]:
    """Reports of three lines and what people said to some; name → posting."""
    await _weighed(agent, "MIX-01-000101", quantity=13.98, lot_quantity=13)
    for number, quantity in enumerate((12.44, 12.5, 12.47, 12.52), 102):
        await _weighed(agent, f"MIX-01-000{number}", quantity=quantity, lot_quantity=13)
    maria = Gateway(agent)
    for number, why in ((106, "scale was not tared"), (107, "reported with the pallet")):
        id = await _weighed(agent, f"MIX-01-000{number}", quantity=24.9 + number / 1000, lot_quantity=13)
        await maria.sign(id, "refuse", reason=why)
    signed = await _weighed(agent, "MIX-01-000108", quantity=24.7, lot_quantity=13)
    await maria.sign(signed, reason="two lots in one report, weighed again", comment="shift lead was there")
    await until(lambda: _document(agent, signed))
    await agent.client.post(f"{agent.sap.base_url}/_sim/stock", json={"material": "PT-SPRING", "quantity": "0"})
    await _weighed(agent, "ASSY-05-000021", ASSY, order="1000120", material="PT-SPRING", quantity=12, unit="PCE",
                   lot_quantity=12, batch="")  # fmt: skip
    await _weighed(agent, "MOLD-02-000031", MOLD, order="1000110", material="CMP-BLUE", quantity=1650, unit="KG",
                   lot_quantity=8900, batch="")  # fmt: skip
    await _weighed(agent, "MOLD-02-000032", MOLD, order="1000111", material="CMP-BLUE", quantity=2.64, unit="KG",
                   lot_quantity=8, batch="")  # fmt: skip
    await _weighed(agent, "ASSY-05-000022", ASSY, order="1000121", material="PT-SEAL-20", quantity=52, unit="PCE",
                   lot_quantity=13, batch="")  # fmt: skip
    held = await _weighed(agent, "MIX-01-000110", quantity=24.96, lot_quantity=13)
    await _weighed(agent, "MIX-01-000111", material="RM-PIGMENT", quantity=0.72, lot_quantity=13, batch="0000000412")
    for number, cause in enumerate(("0002", "0001", "0002", "0003", "0002", "", "", ""), 201):
        scrap = await _confirmed(agent, f"MIX-01-000{number}", cause, scrap=number / 10 - 20)
    await _compared(agent, signed)
    return {"held": held, "signed": signed, "scrap": scrap}


async def _compared(agent: Bench, twice: int) -> None:
    """What reconciliation found: a report that came twice, a lot of which one is missing, and one that SAP refused."""
    one = await agent.get(f"/v1/approvals/{twice}")
    document = {"document": one["document"], "of_kind": "goods_issue", "of_key": one["idempotency_key"],
                "booked": "24.7", "booked_unit": "KGM", "posting_date": one["payload"]["posting_date"]}  # fmt: skip
    await found(agent, "5417fd3b21aa77c0e91d", "double report", "reversal", "RM-RESIN", "24.700", order="1000100",
                operation="0010", about="MIX-01-000107, MIX-01-000108", evidence="24.7 KG for a lot of 13 reported "
                "twice, as MIX-01-000107 and MIX-01-000108; the lot was made once", **document)  # fmt: skip
    await found(agent, "9ac41e07d3b85512f04a", "missing report", "issue", "RM-PIGMENT", "-0.585", order="1000100",
                operation="0010", about="MIX-01-000103", evidence="a lot of 13 was made, and no report says what it "
                "took of RM-PIGMENT; about 0.585 KG are usual for it, and nothing is booked")  # fmt: skip
    await found(agent, "77d0c5b2e6f1094a83bc", "missing report", "issue", "PT-SPRING", "-12.000", order="1000121",
                operation="0010", unit="H87", location="171B", about="ASSY-05-000020", evidence="a lot of 12 was "
                "made, and no report says what it took of PT-SPRING; about 12 PC are usual for it")  # fmt: skip
    refused = await until(lambda: _held_of(agent, "PT-SPRING"))
    await Gateway(agent).sign(refused, reason="the bag is empty")
    await until(lambda: _is(agent, refused, "dead"))


async def _held_of(agent: Bench, material: str) -> int:
    """The posting about this material that waits for a person; 0 while there is none."""
    held = (await agent.get("/v1/approvals?limit=500"))["items"]
    return next((one["id"] for one in held if one["payload"].get("material") == material), 0)


async def _weighed(agent: Bench, id: str, topic: str = "", **changes: Any) -> int:
    """A report of a scale or a counter, until it is decided; its posting."""
    topic = topic or "plant/1710/mixing/MIX-01/consumption"
    content = weighing(id, **changes)
    answer = await agent.ask("POST", f"/v1/events/{topic}", "scale", content=content)
    assert answer.status_code == 202, answer.text
    return await _posting(agent, id)


async def _confirmed(agent: Bench, id: str, cause: str, scrap: float) -> int:
    """A lot of the mixer with some scrap."""
    at = datetime.now(UTC)
    report = {
        "start": (at - timedelta(minutes=3)).isoformat(), "end": at.isoformat(), "id": id, "ts": at.isoformat(),
        "seq": int(id[-3:]), "order": "1000100", "operation": "0010", "yield": 12.6, "unit": "kg",
        "scrap": round(scrap, 1), "final": False, "operator": "4711", "machine_minutes": 3, "labor_minutes": 2,
        **({"scrap_reason": cause} if cause else {}),
    }  # fmt: skip
    path = "/v1/events/plant/1710/mixing/MIX-01/confirmation"
    answer = await agent.ask("POST", path, "scale", content=json.dumps(report).encode())
    assert answer.status_code == 202, answer.text
    return await _posting(agent, id)


async def _posting(agent: Bench, id: str) -> int:
    async def decided() -> Any:
        answer = await agent.ask("GET", f"/v1/trace/{id}")
        return answer.json().get("postings")

    postings = await until(decided)
    return int(postings[-1]["id"])


async def _is(agent: Bench, id: int, state: str) -> bool:
    return bool((await agent.get(f"/v1/approvals/{id}"))["state"] == state)


async def _document(agent: Bench, id: int) -> Any:
    return (await agent.get(f"/v1/approvals/{id}"))["document"]


# ── what is seen ────────────────────────────────────────────────────────────────────────────────────────────


async def taken(scene: Stage, folder: Path, known: dict[str, int], only: str) -> None:
    """Every view in every theme and size, and three moments of a decision; or one view `only`."""
    pages = {
        "approvals": "/", "approval": f"/approval/{known['held']}", "orders": "/orders", "scrap": "/scrap",
        "lot": "/lot/1", "findings": "/findings", "trace": "/trace/MIX-01-000108", "health": "/health",
    }  # fmt: skip
    pages = {name: path for name, path in pages.items() if only in ("", name)}
    page = await scene.enter("anna")
    for size, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            for name, path in pages.items():
                await _show(page, scene, path, theme)
                await _take(page, folder, f"ignition-{name}-{size}-{theme}")
    if not only:
        await _moments(scene, page, folder, known)


async def _moments(scene: Stage, page: Page, folder: Path, known: dict[str, int]) -> None:
    """The suggested causes, a signature, and a day without the agent."""
    await page.set_viewport_size({"width": 1280, "height": 800})
    await _show(page, scene, f"/approval/{known['scrap']}", "light")
    await _take(page, folder, "ignition-scrap-causes")
    await _show(page, scene, f"/approval/{known['held']}", "light")
    await page.locator('[data-name="Approve"]').click()
    await page.locator('select[data-name="Reason"]').select_option(index=1)
    await page.locator('[data-name="Comment"]').fill("weighed again on scale 4")
    await page.locator('[data-name="Sign"]').click()
    await expect(page.locator("form.idp")).to_be_visible(timeout=PATIENCE)
    await _take(page, folder, "ignition-signature")
    await prove(page, "anna")
    await expect(page.get_by_text("is approved by anna")).to_be_visible(timeout=PATIENCE)
    await _take(page, folder, "ignition-signed")
    scene.gateway.tags.write(ADDRESS, f"http://127.0.0.1:{free_port()}")
    await _show(page, scene, "/", "light")
    await expect(page.get_by_text("The agent has not answered since")).to_be_visible(timeout=PATIENCE)
    await _take(page, folder, "ignition-agent-away")


async def _show(page: Page, scene: Stage, path: str, theme: str) -> None:
    """The page of this path in this theme, all of it there."""
    await page.goto(f"{scene.url}/client{path}")
    header = page.locator('[data-name="Brand"]')
    await expect(header).to_be_visible(timeout=PATIENCE)
    dark = page.locator(':root[data-theme^="dark"]')
    if (await dark.count() > 0) != (theme == "dark"):
        await page.locator('[data-name="Theme"]').click()
        await expect(dark).to_have_count(1 if theme == "dark" else 0, timeout=PATIENCE)
    await page.add_style_tag(content=NO_STRIP)
    assert await page.locator(".complaints").inner_text() == ""


async def _take(page: Page, folder: Path, name: str) -> None:
    await page.mouse.move(0, 0)
    content = await asyncio.to_thread(shrunk, await page.screenshot())
    if len(content) > LARGEST:
        raise ValueError(f"{name} has {len(content)} bytes, more than {LARGEST}: show less")
    (folder / f"{name}.png").write_bytes(content)
    print(f"{name}.png {len(content) / 1000:.0f} kB")


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=HOUSE / "docs/pictures")
    parser.add_argument("--only", default="", metavar="VIEW", help="one view, for example findings")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(made(Path(place), given.folder, given.only))


async def made(place: Path, folder: Path, only: str = "") -> None:
    """A plant in this place, and its pictures in this folder."""
    keep_lots(place, ("L-1127-03", "180", "major"), ("L-1127-08", "12", "critical"))
    every = configured(place, "confirmation", "reconciliation")
    every["workflows"] |= SHOWN["workflows"]
    every["authority"] |= SHOWN["authority"]
    models = {name: SHOWN[name] for name in ("models", "model_keys")}
    async with plant(place, **every, **models) as agent:
        known = await a_shift(agent)
        async with stage(agent) as scene:
            await taken(scene, folder, known, only)


if __name__ == "__main__":
    main()
