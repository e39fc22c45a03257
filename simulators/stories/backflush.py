"""Backflush: resin is booked while it is mixed, a scale corrects what was expected, a pallet stands on the scale."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from simulators.stories.stage import Stage, reasons

PLACE: Final = "mixing/MIX-01"
ORDER: Final = {"order": "1000100", "operation": "0010"}
RESIN: Final = "RM-RESIN"
PIGMENT: Final = "RM-PIGMENT"
PERSON: Final = "supervisor"
LOT: Final = 100  # KG
WEIGHED: Final = ("99.300", "97.700", "97.900", "97.600")  # of resin, for each lot


async def play(stage: Stage) -> None:
    """From the first kilogram made to the last one taken back."""
    stage.tell("MIX-01 mixes blue compound for order 1000100. A kilogram takes 0.96 KG of resin, setting up 1.5.")
    numbers = iter(range(1, 1000))
    await _before_anything_is_weighed(stage, numbers)
    await _it_learns(stage, numbers)
    refused = await _a_pallet_on_the_scale(stage, numbers)
    await _the_end(stage, numbers)
    stage.tell("What was refused, from the scale on:")
    stage.say(f"  .venv/bin/gatepost trace {refused}")


async def _made(stage: Stage, numbers: Any, good: int, *, final: bool = False) -> str:
    number = next(numbers)
    body = {"id": f"MADE-{number}", "seq": number, **ORDER, "good": good, "final": final}
    return await stage.report(f"{PLACE}/production", body)


async def _weighed(stage: Stage, numbers: Any, quantity: str, lot: int, *, final: bool = False) -> str:
    number = next(numbers)
    body = {"id": f"SCALE-{number}", "seq": number, **ORDER, "material": RESIN, "quantity": float(quantity)}
    body |= {"unit": "kg", "batch": "", "location": "171A", "lot_quantity": lot, "final": final}
    return await stage.report(f"{PLACE}/measured", body)


async def _decided(stage: Stage, name: str) -> dict[str, Any]:
    """The event, once it was decided: many reports of pieces and most of scales are no posting of their own."""

    async def there() -> Any:
        event = (await stage.ask("GET", f"/v1/trace/{name}") or {}).get("event")
        return event if event and event["state"] != "undecided" else None

    found: dict[str, Any] = await stage.until(there, f"what was decided about {name}")
    return found


async def _issued(stage: Stage, name: str, material: str = RESIN) -> dict[str, Any]:
    """The goods issue of a component that a report became."""
    return next(one for one in await stage.settled(name) if one["payload"]["material"] == material)


async def _expects(stage: Stage, name: str) -> str:
    """What the agent said that it expects of resin, when it decided about a report."""
    history = (await stage.ask("GET", f"/v1/trace/{name}"))["history"]
    said = [reason for row in history for reason in row["detail"].get("reasons", ())]
    return next(str(one) for one in said if one.startswith(RESIN) and " expected for " in one)


async def _before_anything_is_weighed(stage: Stage, numbers: Any) -> None:
    await stage.next(
        f"BEGINNING. The counter reports {LOT} KG made. Nobody has weighed anything yet, and the shift is long."
    )
    name = await _made(stage, numbers, LOT)
    issue, pigment = await _issued(stage, name), await _issued(stage, name, PIGMENT)
    await stage.next(
        f"{issue['payload']['quantity']} KG of resin (document {issue['document']}) and "
        f"{pigment['payload']['quantity']} KG of pigment are booked now, not at the end of the shift: by the bill of "
        "material, with what setting up takes."
    )
    await _decided(stage, await _weighed(stage, numbers, WEIGHED[0], LOT))
    await stage.next(
        f"Later the scale says {WEIGHED[0]} KG for these. That takes the place of what was expected: no posting of its "
        "own, the difference goes with the next one. Nothing is booked twice."
    )


async def _it_learns(stage: Stage, numbers: Any) -> None:
    for weight in WEIGHED[1:]:
        expecting = await _made(stage, numbers, LOT)
        await _decided(stage, expecting)
        await _decided(stage, await _weighed(stage, numbers, weight, LOT))
    issue = await _issued(stage, expecting)
    await stage.next(
        f"Three lots on, every one was a little over the 96 KG of the bill of material. The agent has learnt that, and "
        f"says so: {await _expects(stage, expecting)}. For the last {LOT} KG it booked {issue['payload']['quantity']} "
        f"KG ({issue['document']}): that, and what the lots before took beside what was booked for them."
    )


async def _a_pallet_on_the_scale(stage: Stage, numbers: Any) -> str:
    await stage.next(f"CONFLICT. {LOT} KG more are made and booked. Then the scale reports 212.4 KG of resin for them.")
    await _issued(stage, await _made(stage, numbers, LOT))
    name = await _weighed(stage, numbers, "212.400", LOT)
    (held,) = await stage.settled(name)
    await stage.next(f"Posting {held['id']} waits for a person, because by the bill of material that is far too much:")
    for reason in reasons(held):
        stage.tell(f"  - {reason}")
    await stage.next(
        "The supervisor goes and looks: a pallet stood on the scale. Refused, so that what was expected stands:"
    )
    stage.say(f'  .venv/bin/gatepost approvals refuse {held["id"]} --reason "a pallet stood on the scale"')
    await stage.decide("refuse", held, PERSON, "a pallet stood on the scale")
    await stage.settled(name, "refused")
    return name


async def _the_end(stage: Stage, numbers: Any) -> None:
    await stage.next("The order ends with 120 KG more. For these the scale is low: some resin was still in the hopper.")
    await _issued(stage, await _made(stage, numbers, LOT))
    await _decided(stage, await _made(stage, numbers, 20, final=True))
    await _decided(stage, await _weighed(stage, numbers, "92.600", LOT))
    name = await _weighed(stage, numbers, "18.300", 20, final=True)
    (back,) = await stage.settled(name)
    await stage.next(
        f"Now everything is weighed, and {back['payload']['quantity']} KG too much is booked. No issue follows that "
        f"could make up for it, so posting {back['id']} takes it back (movement {back['payload']['movement']}), once "
        "the supervisor has signed:"
    )
    stage.say(f'  .venv/bin/gatepost approvals approve {back["id"]} --reason "the scales are right"')
    await stage.decide("approve", back, PERSON, "the scales are right")
    (back,) = await stage.settled(name, "acknowledged")
    expected = sum(map(Decimal, (*WEIGHED, "92.600", "18.300")))
    told = await stage.until(lambda: _books(stage, back["document"]), "the books of SAP")
    await stage.next(
        f"THE END. The scale saw {expected} KG in six lots, and one lot that it did not see right stands as expected: "
        f"{told - expected} KG. SAP has {told} KG of resin for order 1000100, to the gram, in steps while it was made."
    )


async def _books(stage: Stage, last: str) -> Decimal | None:
    """What SAP has of resin for the order, once it has the last document."""
    books = [json.loads(line) for line in (stage.data / "sap-books.jsonl").read_text(encoding="utf-8").splitlines()]
    if last not in [one["number"] for one in books]:
        return None
    moved = [item for one in books for item in one.get("items", []) if item.get("Material") == RESIN]
    signs = {"261": 1, "262": -1}
    return sum((signs[one["GoodsMovementType"]] * Decimal(one["QuantityInEntryUnit"]) for one in moved), Decimal(0))
