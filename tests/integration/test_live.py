"""Live facts on a running agent: a node dies, and what is reported meanwhile waits for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.configuration.settings import LiveKind
from agent.tags.values import Key, Quality
from tests.mqtt_bench import Shelf
from tests.opcua_bench import child, free_port, running, source
from tests.plant import Plant, Row, plant, until
from tests.sparkplug_bench import STRING, Edge, metric

WORK_CENTERS = ("MIX-01", "MOLD-02", "ASSY-05")


def with_a_node(content: dict[str, Any]) -> None:
    """Beside the line that reports by MQTT a Sparkplug node tells the equipment states, which consumption needs."""
    brokers = list(content["sources"][0]["brokers"])
    live = [{"fact": "equipment_state", "of": of, "tag": f"state{n}"} for n, of in enumerate(WORK_CENTERS)]
    tags = {f"state{number}": f"G/N/D:State{number}" for number in range(len(WORK_CENTERS))}
    node = {"name": "tags", "kind": "sparkplug", "client_id": "tags-1", "brokers": brokers, "tags": tags, "live": live}
    content["sources"].append(node)
    content["authority"]["consumption"]["needs_fresh"] = {"equipment_state": 60}


def born(edge: Edge) -> None:
    states = [metric(f"State{number}", "RUNNING", STRING, alias=number + 1) for number in range(len(WORK_CENTERS))]
    edge.say("NBIRTH")
    edge.say("DBIRTH", *states, device="D")


def good(line: Plant) -> int:
    live = line.agent.status()["live"]
    return int(live["facts"] - live["not_good"])


async def reported(line: Plant, state: str) -> Row:
    body = line.report()
    line.publish(body)
    return await line.settled(body["id"], state)


async def test_a_dead_node_holds_the_next_report_and_its_rebirth_lets_the_following_one_be_posted(tmp_path: Path):
    """Posted while it lives, held with the reason after its death, posted after its birth; each with its facts."""
    async with plant(tmp_path, change=with_a_node) as line:
        unknown = await reported(line, "held")
        assert "equipment state of MIX-01 is not known: nothing has told it since" in unknown.reason
        with Edge(line.broker.port) as first:
            born(first)
            await until(lambda: good(line) == 3, "the states are known")
            await reported(line, "acknowledged")
            first.die()
            await until(lambda: good(line) == 0, "the states are stale")
        held = await reported(line, "held")
        assert "equipment state of MIX-01 is stale since" in held.reason
        assert "(edge node G/N: the node died)" in held.reason
        assert line.agent.status()["live"]["oldest"]["quality"] == "stale"
        with Edge(line.broker.port, bd=1) as second:
            born(second)
            await until(lambda: good(line) == 3, "the states are known again")
            await reported(line, "acknowledged")
        seen = [one["live"][0] for one in line.audited("decided")]
        assert [one["quality"] for one in seen] == ["unknown", "good", "stale", "good"]
        assert seen[1]["value"] == "RUNNING"
        assert 0 <= seen[1]["age_s"] <= 60


async def test_after_a_restart_nothing_is_known_before_the_source_has_read_it(tmp_path: Path):
    """Live facts are never on disk: the next life knows none of them until the node has said its births again."""
    async with plant(tmp_path, change=with_a_node) as line:
        with Edge(line.broker.port) as edge:
            born(edge)
            await until(lambda: good(line) == 3, "the states are known")
            await line.restart()
            assert good(line) == 0
            await until(edge.rebirths, "the node is asked for its births")
            born(edge)
            await until(lambda: good(line) == 3, "the states are known again")
            await reported(line, "acknowledged")


async def test_an_opc_ua_subscription_keeps_its_facts_fresh_and_a_killed_server_makes_them_stale():
    """A value that does not change is as old as the last keep-alive, not as its change; a loss says why."""
    port, shelf = free_port(), Shelf()
    live = [{"fact": "equipment_state", "of": "MIX-01", "tag": "good"}]
    key: Key = (LiveKind.EQUIPMENT_STATE, "MIX-01")
    async with child(port) as plc, running(source(port, live=live), shelf) as opcua:
        assert opcua.live().facts[key].at is None or opcua.live().facts[key].quality is Quality.GOOD
        await plc.set(5)
        await until(lambda: opcua.live().facts[key].value == 5, "the value is there")
        told = opcua.live().facts[key]
        await until(lambda: opcua.live().silent_s > 0.5, "nothing has been said for a moment")
        await until(lambda: opcua.live().silent_s < 0.3, "the server has said that it is there")
        assert opcua.live().facts[key] is told
        plc.kill()
        await until(lambda: opcua.live().facts[key].quality is Quality.STALE, "the facts are stale")
        stale = opcua.live().facts[key]
        assert (stale.value, bool(stale.why)) == (5, True)
        await plc.start()
        await until(lambda: opcua.live().facts[key].quality is Quality.GOOD, "the facts are good again")
