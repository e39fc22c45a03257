"""Order release: an order goes to its line by itself, the next lacks springs, and is released when they come."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from simulators.receivers.topic_line import TopicLine, topic_line
from simulators.stories.stage import ASK_S, Stage

FIRST: Final = "1000124"
SECOND: Final = "1000125"
SPRING: Final = "PT-SPRING"
LEFT: Final = "100"
PLENTY: Final = "900000"
TOPIC: Final = "plant/1710/{work_center}/dispatch"
ANSWERS: Final = "plant/1710/dispatch/answer"
PANEL: Final = "plant/1710/notify/planner"
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def configure(content: dict[str, Any]) -> None:
    """A line and people in the bench's own copy of the configuration."""
    broker = content["sources"][0]["brokers"][0]
    content["targets"] += [
        {"name": "line", "kind": "line", "postings": {"dispatch": "live"},
         "mqtt": {"brokers": [broker], "topic": TOPIC, "answers": ANSWERS}},
        {"name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "planner",
         "channels": {"panel": {"kind": "mqtt", "brokers": [broker]}}, "people": {"planner": [f"panel:{PANEL}"]}},
    ]  # fmt: skip
    content["workflows"]["order_release"]["targets"] = {"line": "line", "notify": "people"}


async def play(stage: Stage) -> None:
    """From the first order to the last."""
    dispatched = TOPIC.format(work_center="ASSY-05")
    async with (
        topic_line(stage.ports.broker, dispatched, ANSWERS) as line,
        topic_line(stage.ports.broker, PANEL, "plant/1710/notify/seen") as planner,
    ):
        stage.tell("ASSY-05 assembles valves. A planner creates orders in SAP; nobody releases them by hand any more.")
        await _all_is_well(stage, line)
        await _no_springs(stage, planner)
        await _the_springs_come(stage, line)
    await stage.next(
        "THE END. Two orders were released and sent to their line without anybody; the planner was told once, with the "
        "number that was missing, and had nothing to do when it was there."
    )
    stage.tell("What stood in the way of the second, and what followed:")
    stage.say(f"  .venv/bin/gatepost trace order:{SECOND}")


async def _all_is_well(stage: Stage, line: TopicLine) -> None:
    await stage.next(f"BEGINNING. The planner creates order {FIRST} in SAP: 4000 valves, due in two weeks.")
    await _created(stage, FIRST)
    sent = await _sent(stage, line, FIRST)
    released, dispatched = (one["id"] for one in sent["postings"])
    await stage.next(
        "Seconds later the agent has read it, found material, people and time for it, and done two things, one after "
        f"the other: released it in SAP (posting {released}), and sent it to ASSY-05 (posting {dispatched}). The line "
        "has order, operation and quantity, and has acknowledged them."
    )


async def _no_springs(stage: Stage, planner: TopicLine) -> None:
    await stage.next(
        f"CONFLICT. A box of springs is found to be the wrong ones: {LEFT} are left. Then the next order comes."
    )
    await _sap(stage, "stock", {"material": SPRING, "quantity": LEFT})

    async def missing() -> Any:
        answer = await _asked(stage, "PROD-QUESTION")
        return answer["status"] == "BLOCKED"

    await stage.until(missing, "the agent to know the stock", ASK_S)
    await _created(stage, SECOND)

    async def told() -> Any:
        return next((one for one in planner.orders if one.get("order") == SECOND), None)

    message = await stage.until(told, "the planner to be told")
    await stage.next(f"It is not released. The planner's panel says ({message['severity']}): {message['subject']}")
    answer = await _asked(stage, SECOND)
    await stage.next(
        f"Whoever asks (POST /v1/feasibility/check) is told the same at once: {answer['status']}, with that sentence."
    )
    stage.tell(
        f"And {FIRST}? It is released, and now lacks springs like every order that runs. Of that nobody is told: the "
        "agent looks at an order until it is released; from then on it is the line's business."
    )


async def _the_springs_come(stage: Stage, line: TopicLine) -> None:
    await stage.next("A lorry brings springs, enough for all of them, and they are booked into stock.")
    await _sap(stage, "stock", {"material": SPRING, "quantity": PLENTY})
    sent = await _sent(stage, line, SECOND)
    await stage.next(
        f"Nobody touches the order: the agent looks again because the stock has changed, and order {SECOND} is "
        f"released and sent to its line (postings {' and '.join(str(one['id']) for one in sent['postings'])})."
    )


async def _created(stage: Stage, order: str) -> None:
    due = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(days=14)
    told = {"order": order, "released": False, "due": f"{due:%Y-%m-%dT%H:%M:%S}"}
    await _sap(stage, "order", told)


async def _sent(stage: Stage, line: TopicLine, order: str) -> dict[str, Any]:
    """The decision that sent an order to its line, once all of it is booked."""

    async def there() -> Any:
        message = next((one for one in line.orders if one["order"] == order), None)
        trace = await stage.ask("GET", f"/v1/trace/{message['id']}") if message else None
        return trace if trace and all(one["state"] == "acknowledged" for one in trace["postings"]) else None

    found: dict[str, Any] = await stage.until(there, f"order {order} to reach its line")
    return found


async def _asked(stage: Stage, order: str) -> dict[str, Any]:
    due = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(days=14)
    question = {
        "order_id": order, "material": "VALVE-55", "quantity": 4000, "required_work_center": "ASSY-05",
        "required_skill": "TORQUE_CERT", "due_date": due.isoformat(),
    }  # fmt: skip
    answer: dict[str, Any] = await stage.ask("POST", "/v1/feasibility/check", question)
    return answer


async def _sap(stage: Stage, what: str, told: dict[str, Any]) -> None:
    """What somebody does in SAP."""
    await asyncio.to_thread(_tell_sap, stage, what, told)


def _tell_sap(stage: Stage, what: str, told: dict[str, Any]) -> None:
    password = (stage.data / "secrets" / "erp_password").read_text(encoding="utf-8")
    key = base64.b64encode(f"{stage.ports.erp_user}:{password}".encode()).decode()
    request = urllib.request.Request(  # of the bench
        f"http://127.0.0.1:{stage.ports.erp_http}/_sim/{what}", json.dumps(told).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {key}"}, method="POST",
    )  # fmt: skip
    with _DIRECT.open(request, timeout=10) as answer:
        answer.read()
