"""The page on the API: its requests go through a running agent as printed, and it names all there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agent.web import api, models
from tests.api_bench import bench

PAGE = Path("docs/api.md").read_text()
REQUESTS = dict(re.findall(r"^```http ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
ANSWERS = dict(re.findall(r"^```json ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
SHAPES: dict[str, Any] = {
    "list-approvals": models.Postings,
    "approve": models.Acted,
    "conflict": models.Problem,
    "report": models.Stored,
}


def sent(text: str) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body of a printed request."""
    head, _, body = text.partition("\n\n")
    line, *named = head.splitlines()
    method, path, _ = line.split(" ")
    return method, path, dict(one.split(": ", 1) for one in named if not one.startswith("Authorization")), body.encode()


async def test_every_printed_request_is_understood(tmp_path: Path):
    """A running agent finds nothing wrong with it: it does it, or says that posting 17 does not exist."""
    async with bench(tmp_path) as one:
        for name, text in REQUESTS.items():
            method, path, headers, body = sent(text)
            token = "scale" if "/v1/events" in path else "anna"
            answer = await one.ask(method, path, token, headers=headers, content=body)
            missing = answer.status_code == 404 and "posting 17" in answer.json()["message"]
            assert answer.is_success or missing, (name, answer.text)


def test_every_printed_answer_has_its_shape():
    """The printed answers are what the models of the API allow."""
    assert set(ANSWERS) == set(SHAPES)
    for name, text in ANSWERS.items():
        SHAPES[name].model_validate(json.loads(text))


def test_every_route_and_error_is_on_the_page():
    """Whatever the API offers or refuses is explained here."""
    described = api.routes(None, docs=True).openapi()
    paths = [path for path in described["paths"] if path != "/v1/events/{topic}"]
    shown = re.sub(r"/17(?=/)", "/{id}", PAGE)
    assert [path for path in paths if path not in shown] == []
    sources = "".join(path.read_text() for path in Path("agent/web").glob("*.py"))
    codes = set(re.findall(r'Refused\(\s*\d+, "(\w+)"', sources)) | set(re.findall(r'\(\w+, \d+, "(\w+)"\)', sources))
    inside = {"bad_configuration", "erp_unavailable"}  # no route can cause them today
    assert {code for code in codes - inside if f"`{code}`" not in PAGE} == set()
