"""docs/operations.md explains everything that the agent can say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.sources.mqtt import MqttConfig, MqttSource
from agent.store.balance import EVENT_STATES, POSTING_STATES
from tests import opcua_bench, sparkplug_bench

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "agent").rglob("*.py"))}
REFUSALS = ("BadPayload", "bad", "quarantined", "case_quarantined", "put_aside")  # they name a reason code
# what names an audit action → which of its arguments that is
MOVES = {
    "audit": 0,
    "Notice": 0,
    "BrokerRefused": 1,
    "ServerRefused": 0,
    "Verdict": 2,
    "_make_ready": 2,
    "_Change": 0,
    "_end": 4,
    "_moved": 5,
}
CODE = re.compile(r"[a-z][a-z0-9_]+")


def called(node: ast.Call) -> str:
    """The name of what is called, without what it belongs to."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def calls(*names: str) -> Iterator[ast.Call]:
    """Calls of these functions or methods, anywhere in the agent."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in names:
                yield node


def words(nodes: list[ast.expr]) -> set[str]:
    """What is written out as a code: lower-case words, also on both sides of an `if`."""
    found = [one.value for node in nodes for one in ast.walk(node) if isinstance(one, ast.Constant)]
    return {text for text in found if isinstance(text, str) and CODE.fullmatch(text)}


def keyword(call: ast.Call, name: str) -> list[ast.expr]:
    return [one.value for one in call.keywords if one.arg == name]


def reason_codes() -> set[str]:
    """Every code with which a message can be refused."""
    found = {"unmapped"}  # the default of BadPayload
    for call in calls(*REFUSALS):
        written = call.args[1:] if called(call) != "BadPayload" else []
        found |= words([*keyword(call, "reason"), *(one for one in written if isinstance(one, ast.Constant))])
    return found


def actions(*, alarms: bool) -> set[str]:
    """Actions that are written to the trail; only those that can ring, with `alarms`."""
    found = set()
    for call in calls(*MOVES):
        name = called(call)
        quiet = any(isinstance(one, ast.Constant) and one.value is False for one in keyword(call, "alarm"))
        rings = not quiet if name in ("Notice", "BrokerRefused", "ServerRefused") else bool(keyword(call, "alarm"))
        if alarms and not rings:
            continue
        position = MOVES[name]
        found |= words(call.args[position : position + 1])
    return found


def errors() -> set[str]:
    """GatepostError and every class below it, by name; private ones are never shown."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"GatepostError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return {name for name in found if not name.startswith("_")}


def alerts() -> set[str]:
    rules = yaml.safe_load((ROOT / "edge_config/deploy/prometheus/rules.yml").read_text(encoding="utf-8"))
    return {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


SAID = {
    "error": errors(),
    "event state": set(EVENT_STATES),
    "posting state": set(POSTING_STATES),
    "reason code": reason_codes(),
    "alarm": actions(alarms=True),
    "audit action": actions(alarms=False),
    "alert": alerts(),
}


@pytest.mark.parametrize("kind", SAID)
def test_everything_the_agent_says_is_explained(kind):
    """Each error, state, reason code, alarm, audit action and alert stands on the page."""
    missing = sorted(one for one in SAID[kind] if f"`{one}`" not in PAGE)
    assert not missing, f"docs/operations.md does not explain the {kind}: {', '.join(missing)}"


def test_every_field_of_a_source_in_the_status_is_explained():
    """What `gatepost status --json` has of each kind of source stands in the table."""
    mqtt_source = MqttSource(MqttConfig(name="a", client_id="a", brokers=("mqtt://b:1",), topics=("t",)))
    plc, line = opcua_bench.source(1), sparkplug_bench.source(1)
    table = PAGE.split("has more of each source")[1].split("\n## ")[0]
    told = {field for source in (mqtt_source, plc, line) for field in source.status()}
    assert {field for field in told if f"`{field}`" not in table} == set()


def test_the_search_through_the_code_still_finds_what_it_should():
    """Were functions renamed, the test above would pass by finding nothing."""
    assert {"conflict", "erp_would_refuse", "bad_time", "not_json", "unknown_order"} <= SAID["reason code"]
    assert {"session_lost", "not_authorised", "dead", "doubtful", "quarantined", "clock_step"} <= SAID["alarm"]
    assert {"approved", "sending", "paused", "reversal_signed"} <= SAID["audit action"]
    assert {"StoreCorrupt", "Vanished", "AlreadyPosted"} <= SAID["error"]


def test_every_code_in_the_reason_table_exists():
    """The page names no reason code that the agent does not have."""
    table = PAGE.split("## Why a message is quarantined")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {code for row in rows for code in re.findall(r"`([a-z0-9_]+)`", row)} <= SAID["reason code"]
