"""Scrap: a worn tool is booked by itself, scratches puzzle the model, one defect comes twice, a lot is reworked."""

from __future__ import annotations

from typing import Any, Final

from simulators.stories.stage import Stage, reasons

PLACE: Final = "molding/MOLD-02"
ORDER: Final = {"order": "1000110", "operation": "0010", "material": "BODY-55", "unit": "pcs", "location": "171A"}
WORN: Final = {"tool_used": 0.97, "cycle_off": 0.4, "since_set_up": 4000, "since_stop": 200, "temperature_off": 0.1,
               "pressure_off": 0.1}  # fmt: skip
PERSON: Final = "supervisor"
SCRATCHED: Final = {**ORDER, "quantity": 20, "lot": "L-2", "defect": "0001", "lot_quantity": 200}


async def play(stage: Stage) -> None:
    """From the first bad piece to the last signature."""
    stage.tell("MOLD-02 moulds valve bodies for order 1000110. A camera looks at what went into stock.")
    await _a_worn_tool(stage)
    lot = await _scratches(stage)
    await _reported_twice(stage)
    chosen = await _reworked(stage, lot)
    await stage.next(
        "THE END. 4 pieces went to the cost centre of the tool shop without anybody, 20 to that of handling because a "
        "person knew better, none twice, and 180 wait in blocked stock with a note on the order. What the person said "
        "is a label that the next model learns from:"
    )
    stage.say("  .venv/bin/gatepost models export-labels scrap_classification --out labels.csv")
    stage.tell("From each report to its documents, with who decided and why:")
    for name in ("QC-1", "QC-2", "QC-3", chosen):
        stage.say(f"  .venv/bin/gatepost trace {name}")


async def _a_worn_tool(stage: Stage) -> None:
    await stage.next("BEGINNING. 4 of 200 bodies of lot L-1 are out of dimension. The tool is at 97 % of its life.")
    body = {"id": "QC-1", **ORDER, "quantity": 4, "lot": "L-1", "defect": "0002", "origin": "vision"}
    body |= {"lot_quantity": 200, "lot_stock": 200, "made_before": 1000, **WORN}
    scrap, defect = await stage.settled(await stage.report(f"{PLACE}/scrap", body))
    paid = scrap["payload"]
    await stage.next(
        f"The model is sure: {paid['cause']}. Nobody is asked: {paid['quantity']} pieces are scrapped (movement "
        f"{paid['movement']}, document {scrap['document']}) at the expense of cost centre {paid['cost_center']}, and "
        f"then the defect is on record ({defect['document']})."
    )


async def _scratches(stage: Stage) -> dict[str, Any]:
    await stage.next("CONFLICT. An operator finds 20 scratched bodies in lot L-2. Nobody has measured anything.")
    body = {"id": "QC-2", **SCRATCHED, "origin": "operator", "operator": "4711", "lot_stock": 200}
    name = await stage.report(f"{PLACE}/scrap", body)
    first, *rest = await stage.settled(name)
    await stage.next(
        f"The model is not sure. Posting {first['id']} and the {len(rest)} behind it in its group wait for a person:"
    )
    for reason in reasons(first):
        if not reason.startswith("speaks for"):  # `approvals show` tells what each input adds
            stage.tell(f"  - {reason}")
    await stage.next("More of it, with what each measurement speaks for:")
    stage.say(f"  .venv/bin/gatepost approvals show {first['id']}")
    await stage.next(
        f"The supervisor looks at a piece: the gripper has scratched it. That is handling. {_thought_of(first)} So:"
    )
    why = "scratched by the gripper"
    stage.say(f'  .venv/bin/gatepost approvals correct {first["id"]} cause=handling --reason "{why}"')
    await stage.next("One signature, for the whole group …")
    await stage.decide("correction", first, PERSON, why, changes={"cause": "handling"})
    done = await stage.settled(name, "acknowledged", "superseded")
    paid = next(one for one in done if one["kind"] == "scrap" and one["state"] == "acknowledged")
    blocked = next(one for one in done if one["kind"] == "stock_transfer")
    await stage.next(
        f"Now SAP has it: 20 pieces at the expense of cost centre {paid['payload']['cost_center']} "
        f"({paid['document']}), the defect on record, and the {blocked['payload']['quantity']} that are left of the "
        f"lot in blocked stock (344, {blocked['document']}), because a tenth of a lot is no small matter."
    )
    return blocked


def _thought_of(held: dict[str, Any]) -> str:
    """What the model had to say about the cause that was right in the end."""
    open_to = " ".join(one for one in reasons(held) if "cannot rule out" in one)
    if "handling" in open_to:
        return "The model had it among what it cannot rule out; which one it is only somebody who looks can say."
    return (
        "The model had ruled that out: about one right cause in ten lies outside of those that it leaves open. But it "
        "said that it was not sure, and that is why a person decides."
    )


async def _reported_twice(stage: Stage) -> None:
    await stage.next("Then the camera comes to lot L-2, too, and reports the same 20 pieces.")
    body = {"id": "QC-3", **SCRATCHED, "origin": "vision", "lot_stock": 180}
    name = await stage.report(f"{PLACE}/scrap", body)
    first, *_ = await stage.settled(name)
    await stage.next(f"It is held: {reasons(first)[0]}.")
    stage.tell("The supervisor refuses it, and what would have followed with it:")
    stage.say(f'  .venv/bin/gatepost approvals refuse {first["id"]} --reason "the operator has reported them"')
    await stage.next("None of it is booked …")
    await stage.decide("refuse", first, PERSON, "the operator has reported them")
    await stage.settled(name, "refused")


async def _reworked(stage: Stage, blocked: dict[str, Any]) -> str:
    """The id of the report of what was chosen."""
    number = blocked["id"]
    asked = await stage.ask("GET", f"/v1/follow-ons/{number}")
    costs = ", ".join(f"{choice.replace('_', ' ')} {cost}" for choice, cost in asked["costs"].items())
    await stage.next(f"What becomes of the {asked['quantity']} pieces in blocked stock? Who asks is told:")
    stage.say(f"  .venv/bin/gatepost follow-on show {number}")
    usual = asked["suggested"].replace("_", " ")
    stage.tell(f"For a {asked['severity']} defect {usual} is usual. It costs, in {asked['currency']}: {costs}.")
    await stage.next("Quality chooses rework:")
    stage.say(
        f'  .venv/bin/gatepost follow-on choose {number} rework --by quality --reason "scratches can be polished"'
    )
    choice = {"choice": "rework", "reason": "scratches can be polished", "on_behalf_of": "quality"}
    report = str((await stage.ask("POST", f"/v1/follow-ons/{number}", choice))["report"])
    stage.reported(f"{report} entered")
    name = f"follow_on:{report}"
    (note,) = await stage.settled(name)
    await stage.next(f"{reasons(note)[0].capitalize()}: posting {note['id']} waits, and the supervisor signs it:")
    stage.say(f'  .venv/bin/gatepost approvals approve {note["id"]} --reason "agreed with quality"')
    await stage.next("Signed …")
    await stage.decide("approve", note, PERSON, "agreed with quality")
    (note,) = await stage.settled(name, "acknowledged")
    await stage.next(f"Order 1000110 has it in its text: {note['payload']['text']}")
    return report
