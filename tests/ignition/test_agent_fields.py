"""Every path and field of HTTP that the scripts use is in the agent's OpenAPI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.web.api import routes
from simulators.gateway.project import Project

HOUSE = Path(__file__).resolve().parents[2]
PROJECT = HOUSE / "ignition_project/Gatepost"
gatepost: Any = Project(PROJECT).library(None)["gatepost"]
PAGE = (HOUSE / "docs/ignition/contract.md").read_text()
PRINTED = dict(re.findall(r"^```json ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TRACE = {
    "found_as": "posting 17",
    "also": [{"name": "order:1000100", "means": "an order"}],
    "event": {"source": "line", "topic": "a/b", "message": "m-1", "state": "done"},
    "history": [{"at": "2026-11-20T14:00:07+00:00", "action": "approved", "actor": "anna", "posting": 1, "detail": {}}],
    "postings": [
        {
            "id": 1,
            "kind": "goods_issue",
            "payload": {"quantity": "1"},
            "unit": "KG",
            "state": "held",
            "document": None,
            "order": "",
        }
    ],
}


class Noted(dict[str, Any]):
    """A JSON object that notes which of its fields are read; `open` ones hold whatever the plant sends."""

    def __init__(self, content: dict[str, Any], place: str, seen: set[str]) -> None:
        super().__init__({name: noted(value, f"{place}.{name}", seen) for name, value in content.items()})
        self.place, self.seen = place, seen

    def __getitem__(self, name: str) -> Any:
        self.seen.add(f"{self.place}.{name}")
        return super().__getitem__(name)

    def get(self, name: str, other: Any = None) -> Any:
        self.seen.add(f"{self.place}.{name}")
        return super().get(name, other)


def noted(value: Any, place: str, seen: set[str]) -> Any:
    if isinstance(value, dict):
        return Noted(value, place, seen)
    return [noted(one, place, seen) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    described: dict[str, Any] = routes(None, docs=False).openapi()
    return described


def schemas(api: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:
    """A schema with its references followed, and the alternatives in it."""
    if "$ref" in schema:
        yield from schemas(api, api["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        return
    yield schema
    for name in ("anyOf", "allOf", "oneOf"):
        for one in schema.get(name, ()):
            yield from schemas(api, one)
    if "items" in schema:
        yield from schemas(api, schema["items"])


def has(api: dict[str, Any], schema: Any, way: list[str]) -> bool:
    """Whether a field is described there; where the agent promises only an object, every field may be."""
    if not way:
        return True
    for one in schemas(api, schema):
        if way[0] in one.get("properties", {}):
            return has(api, one["properties"][way[0]], way[1:])
        if one.get("type") == "object" and "properties" not in one:
            return True
    return False


def answer(api: dict[str, Any], method: str, path: str) -> Any:
    return api["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]


def unknown(api: dict[str, Any], schema: Any, seen: set[str]) -> set[str]:
    return {one for one in seen if not has(api, schema, one.split(".")[1:])}


def test_what_is_read_of_the_board_is_described(api: dict[str, Any]):
    """All that becomes a tag."""
    seen: set[str] = set()
    board = noted(json.loads(PRINTED["board"]), "board", seen)
    gatepost.board.tables(board)
    gatepost.board.numbers(board)
    assert len(seen) > 40
    assert unknown(api, answer(api, "get", "/v1/board"), {*seen, "board.unchanged"}) == set()


def test_what_is_read_of_a_posting_is_described(api: dict[str, Any]):
    """All that the Approval view shows."""
    seen: set[str] = set()
    gatepost.approval.shown(noted(json.loads(PRINTED["approval"]), "approval", seen), 1795183262000)
    assert len(seen) > 40
    assert unknown(api, answer(api, "get", "/v1/approvals/{id}"), seen) == set()


def test_what_is_read_of_a_lot_is_described(api: dict[str, Any]):
    """All that the Lot view shows."""
    seen: set[str] = set()
    gatepost.lot.shown(noted(json.loads(PRINTED["lot"]), "lot", seen), 1795183262000)
    assert len(seen) > 15
    assert unknown(api, answer(api, "get", "/v1/follow-ons/{id}"), seen) == set()


def test_what_is_read_of_a_trace_is_described(api: dict[str, Any]):
    """All that the Trace view shows."""
    seen: set[str] = set()
    gatepost.trace.shown(noted(TRACE, "trace", seen))
    assert len(seen) > 15
    assert unknown(api, answer(api, "get", "/v1/trace/{name}"), seen) == set()


def body(api: dict[str, Any], path: str) -> dict[str, Any]:
    asked = api["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return next(iter(schemas(api, asked)))


@pytest.mark.parametrize("decision", ["approve", "correct", "rework"])
def test_what_is_signed_is_what_the_agent_takes(api: dict[str, Any], decision: str):
    """Every field is known, and none that must be there is missing."""
    wanted = {"reason": "r", "comment": "c", "field": "quantity", "value": "1"}
    of_lot = decision in gatepost.words.CHOICES
    what = {"choice": decision, "quantity": "1"} if of_lot else {"version": 1, "decision": decision}
    asked = {**what, "session_user": "panel"}
    given = {"nonce": "n" * 43, "shown_sha256": "0" * 64}
    content = gatepost.signing.content(wanted, asked, given)
    signer = {"user": "anna", "full_name": "Anna Berg", "roles": ["Supervisor"]}
    whole = gatepost.signing.signed(content, signer, "default", "line3", 1795183262000)
    path = "/v1/follow-ons/{id}/" if of_lot else "/v1/approvals/{id}/"
    schema = body(api, path + ("correct" if decision == "correct" else "sign"))
    assert set(whole) - set(schema["properties"]) == set()
    assert set(schema["required"]) - set(whole) == set()
    person = next(iter(schemas(api, schema["properties"]["signer"])))
    assert set(whole["signer"]) == set(person["properties"])


def test_every_address_is_the_agents(api: dict[str, Any]):
    """Paths in the script that asks are paths of the API, with their methods."""
    text = (PROJECT / "ignition/script-python/gatepost/agent/code.py").read_text()
    asked = {
        (method, re.sub(r"\?.*", "", path).replace("%d", "{id}"))
        for method, path in re.findall(r'gateway\.(get|post)\("([^"]+)"', text)
    }
    known = {(method, re.sub(r"\{name(:path)?\}", "", path)) for path, some in api["paths"].items() for method in some}
    assert len(asked) == 9
    assert asked - known == set()
