"""Reconciliation: a terminal reports a lot twice, a scale is silent for one, a store holds less than the books say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

from simulators.stories.stage import Stage, reasons

PLACE: Final = "mixing/MIX-01"
ORDER: Final = {"order": "1000100", "operation": "0010"}
PERSON: Final = "supervisor"
LOTS: Final = ("96.112", "95.874", "96.341")  # KG of resin for 100 KG of compound each
AGAIN: Final = 2  # the lot that is reported twice
DYE: Final = "4512"  # g


async def play(stage: Stage) -> None:
    """From the first lot to the day's account."""
    numbers = count(1)
    stage.tell("MIX-01 mixes blue compound for order 1000100: 0.96 KG of resin and 45 g of pigment for each kilogram.")
    await _three_lots(stage, numbers)
    found = await _found(stage)
    await _counted(stage)
    await _the_end(stage, found)


async def _three_lots(stage: Stage, numbers: Iterator[int]) -> None:
    await stage.next(
        "BEGINNING. Three lots of 100 KG are mixed, weighed and confirmed. The agent books each report in SAP."
    )
    weighed = count(1)
    for number, resin in enumerate(LOTS, start=1):
        for _ in range(2 if number == AGAIN else 1):
            await _weighed(stage, numbers, f"R-{next(weighed)}", "RM-RESIN", float(resin), "kg")
        if number != 3:
            await _weighed(stage, numbers, f"D-{number}", "RM-PIGMENT", float(DYE), "g")
        body = {
            "id": f"C-{number}",
            "seq": next(numbers),
            **ORDER,
            "yield": 100,
            "scrap": 0,
            "unit": "kg",
            "scrap_reason": "",
            "final": False,
        }
        body |= {"operator": "4711", "machine_minutes": 3, "labor_minutes": 2}
        await stage.settled(await stage.report(f"{PLACE}/confirmation", body | _minutes()))
    await stage.next(
        "CONFLICT. Nobody has noticed: after a restart the terminal sent lot 2 of resin again under another number, "
        "and the pigment scale said nothing about lot 3. Every single report looked right, and SAP has booked it."
    )


async def _found(stage: Stage) -> list[str]:
    """Ids of the two findings, once both are put right."""
    await stage.next(
        "Every five seconds the agent holds reports, lots and documents against each other. What may be late it waits "
        "for: here six seconds, in a plant hours …"
    )
    double = await _finding(stage, "double report")
    await stage.next(f"FOUND: {_why(double)}. Its evidence, and all that belongs to it:")
    first = await _id(stage, double)
    stage.say(f"  .venv/bin/gatepost trace finding:{first}")
    await stage.next(
        f"Posting {double['id']} would take back document {double['payload']['document']}: it waits for a person."
    )
    back = await _signed(stage, double, "looked at the terminal")
    await stage.next(f"SAP has taken it back: document {back['document']}.")
    missing = await _finding(stage, "missing report")
    await stage.next(f"FOUND: {_why(missing)}.")
    quantity = missing["payload"]["quantity"]
    stage.tell(f"Posting {missing['id']} would issue {quantity} KG of pigment: an estimate, and it says so.")
    issued = await _signed(stage, missing, "the bag is empty")
    await stage.next(f"SAP has issued it: document {issued['document']}. The books have what was used.")
    return [first, await _id(stage, missing)]


async def _id(stage: Stage, posting: dict[str, Any]) -> str:
    """The first characters of the id of the finding that a posting puts right: enough to ask for it."""
    found = (await stage.ask("GET", "/v1/findings"))["items"]
    return next(str(one["id"])[:8] for one in found if posting["id"] in [each["id"] for each in one["postings"]])


async def _signed(stage: Stage, posting: dict[str, Any], reason: str) -> dict[str, Any]:
    """The posting as it is booked, once the supervisor has signed it."""
    await stage.next("The supervisor signs:")
    stage.say(f'  .venv/bin/gatepost approvals approve {posting["id"]} --reason "{reason}"')
    await stage.decide("approve", posting, PERSON, reason)
    (booked,) = await stage.settled(f"posting:{posting['id']}", "acknowledged")
    return booked


async def _counted(stage: Stage) -> None:
    await stage.next("The agent looks again, and finds nothing new: what was signed explains itself …")
    resin = await stage.until(lambda: _put_right(stage), "reconciliation to see what was signed")
    await stage.next("Is the stock right now?")
    stage.say("  .venv/bin/gatepost counts")
    stage.tell(
        f"{resin['in_books']:.0f} KG of resin are in the books of {resin['storage_location']}, and may be off by about "
        f"{resin['off']:.1f} KG by the noise of what moved there: what nobody reports only a count tells. "
        "A worker counts, and enters it:"
    )
    counted = str(round(resin["in_books"] - 62.5))
    stage.say(f'  .venv/bin/gatepost counts enter RM-RESIN 171A {counted} kg --by worker --reason "cycle count"')
    body = {"material": "RM-RESIN", "storage_location": "171A", "quantity": counted, "unit": "kg"}
    body |= {"reason": "cycle count", "on_behalf_of": "worker"}
    report = (await stage.ask("POST", "/v1/counts", body))["report"]
    stage.reported(f"{report} entered")
    first, *rest = await stage.settled(f"stock_count:{report}")
    await stage.next(f"It waits: {reasons(first)[1]}.")
    stage.tell(f"One signature for document, count and difference (postings {first['id']} to {rest[-1]['id']}):")
    stage.say(f'  .venv/bin/gatepost approvals approve {first["id"]} --reason "counted twice"')
    await stage.decide("approve", first, PERSON, "counted twice")
    booked = await stage.settled(f"stock_count:{report}", "acknowledged")
    since = await stage.until(lambda: _since(stage), "the place to count as counted")
    await stage.next(
        f"SAP's stock is what was counted: physical inventory document {booked[0]['document']}. The place was counted "
        f"at {since}, and that is told by the same command:"
    )
    stage.say("  .venv/bin/gatepost counts")


async def _since(stage: Stage) -> str:
    """When the resin was counted, as `gatepost counts` has it; empty: never."""
    worth = (await stage.ask("GET", "/v1/counts"))["items"]
    resin = next(one for one in worth if one["material"] == "RM-RESIN")
    return f"{datetime.fromisoformat(resin['since']):%H:%M:%S} UTC" if resin["counted"] else ""


async def _put_right(stage: Stage) -> dict[str, Any] | None:
    """The resin's line of what is worth counting, once both corrections are in the account of the order."""
    accounts = (await stage.ask("GET", "/v1/variance?order=1000100"))["items"]
    if not accounts or accounts[0]["says"].count("put right") != 2:
        return None
    worth: list[dict[str, Any]] = (await stage.ask("GET", "/v1/counts"))["items"]
    return next(one for one in worth if one["material"] == "RM-RESIN")


async def _the_end(stage: Stage, findings: list[str]) -> None:
    (account,) = (await stage.ask("GET", "/v1/variance?order=1000100"))["items"]
    await stage.next(f"THE END. {account['says']}")
    stage.say("  .venv/bin/gatepost variance 1000100")
    stage.tell("What the floor said, what was found in it, who decided, and what the books have now:")
    for name in (f"R-{AGAIN + 1}", *(f"finding:{one}" for one in findings)):
        stage.say(f"  .venv/bin/gatepost trace {name}")


async def _weighed(
    stage: Stage, numbers: Iterator[int], id: str, material: str, quantity: float, unit: str, **more: Any
) -> None:
    body = {
        "id": id,
        "seq": next(numbers),
        **ORDER,
        "material": material,
        "quantity": quantity,
        "unit": unit,
        "batch": "",
        "location": "171A",
    }
    name = await stage.report(f"{PLACE}/consumption", {**body, "lot_quantity": 100, "operator": "4711"})
    (posting,) = await stage.settled(name)
    if posting["state"] == "held":  # by another rule: the story is about what looks right
        await stage.decide("approve", posting, PERSON, "looks right")
        await stage.settled(name, "acknowledged")


def _minutes() -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "start": (now - timedelta(minutes=3)).isoformat(timespec="milliseconds"),
        "end": now.isoformat(timespec="milliseconds"),
    }


async def _finding(stage: Stage, cause: str) -> dict[str, Any]:
    """The held posting of the finding with this cause."""

    async def there() -> Any:
        held = (await stage.ask("GET", "/v1/approvals"))["items"]
        return next(
            (one for one in held if one["workflow"] == "reconciliation" and cause in " ".join(_said(one))), None
        )

    found: dict[str, Any] = await stage.until(there, f"a finding: {cause}")
    return found


def _said(posting: dict[str, Any]) -> list[str]:
    return [str(one) for one in reasons(posting)]


def _why(posting: dict[str, Any]) -> str:
    return next((one for one in _said(posting) if ": " in one), "")
