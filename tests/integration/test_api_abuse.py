"""The API under abuse: each bad request gets its clear error, and the next good one goes through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from agent.web.api import routes
from agent.web.protocol import Protocol
from agent.web.requests import body_of
from tests.api_bench import CONSUMPTION, Bench, bench

pytestmark = pytest.mark.asyncio(loop_scope="module")
BIDI = "looks\u202elike"
GOOD = {"expected_version": 1, "reason": "because"}
PATH = "/v1/approvals/999999/approve"
ABUSE: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "get with effect": ("GET", PATH, {}, 405, "method_not_allowed"),
    "form": ("POST", PATH, {"data": {"reason": "x"}}, 415, "unsupported_media_type"),
    "json as text": ("POST", PATH, {"content": json.dumps(GOOD), "headers": {"Content-Type": "text/plain"}}, 415,
                     "unsupported_media_type"),
    "no content type": ("POST", PATH, {"content": json.dumps(GOOD)}, 415, "unsupported_media_type"),
    "gzip bomb": ("POST", PATH, {"json": GOOD, "headers": {"Content-Encoding": "gzip"}}, 415, "unsupported_encoding"),
    "3 MiB": ("POST", PATH, {"json": {**GOOD, "reason": "x" * (3 << 20)}}, 413, "too_large"),
    "empty body": ("POST", PATH, {"content": b"", "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
    "duplicate key": ("POST", PATH, {"content": b'{"reason":"a","reason":"b","expected_version":1}',
                                     "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
    "not a number": ("POST", PATH, {"content": b'{"reason":"a","expected_version":NaN}',
                                    "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
    "deep": ("POST", PATH, {"content": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
                            "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
    "surrogate": ("POST", PATH, {"content": b'{"reason":"\\ud800","expected_version":1}',
                                 "headers": {"Content-Type": "application/json"}}, 422, "bad_request"),
    "list": ("POST", PATH, {"json": [GOOD]}, 422, "bad_request"),
    "mass assignment": ("POST", PATH, {"json": {**GOOD, "status": "approved"}}, 422, "bad_request"),
    "approved by somebody": ("POST", PATH, {"json": {**GOOD, "approved_by": "boss"}}, 422, "bad_request"),
    "version as text": ("POST", PATH, {"json": {**GOOD, "expected_version": "1"}}, 422, "bad_request"),
    "version as boolean": ("POST", PATH, {"json": {**GOOD, "expected_version": True}}, 422, "bad_request"),
    "no reason": ("POST", PATH, {"json": {"expected_version": 1}}, 422, "bad_request"),
    "blank reason": ("POST", PATH, {"json": {**GOOD, "reason": "  "}}, 422, "bad_request"),
    "endless reason": ("POST", PATH, {"json": {**GOOD, "reason": "x" * 1001}}, 422, "bad_request"),
    "reversed reason": ("POST", PATH, {"json": {**GOOD, "reason": BIDI}}, 422, "bad_request"),
    "person with a line break": ("POST", PATH, {"json": {**GOOD, "on_behalf_of": "a\nb"}}, 422, "bad_request"),
    "person with a token": ("POST", PATH, {"json": {**GOOD, "on_behalf_of": "boss via hq"}}, 422, "bad_request"),
    "traversal": ("GET", "/v1/approvals/..%2f..%2fstatus", {}, 404, "not_found"),
    "id with a NUL": ("GET", "/v1/approvals/1%00", {}, 422, "bad_request"),
    "id beyond 64 bit": ("GET", f"/v1/approvals/{2**64}", {}, 422, "bad_request"),
    "id of unicode dots": ("GET", "/v1/approvals/%e2%80%a4%e2%80%a4", {}, 422, "bad_request"),
    "limit": ("GET", "/v1/approvals?limit=100000", {}, 422, "bad_request"),
    "forged user": ("POST", PATH, {"json": GOOD, "headers": {"X-User": "boss", "X-Forwarded-For": "10.0.0.1"}}, 404,
                    "not_found"),
    "forged host": ("GET", "/v1/status/", {"headers": {"Host": "evil.example"}}, 404, "not_found"),
    "large header": ("GET", "/v1/status", {"headers": {"X-Large": "x" * 9000}}, 431, "headers_too_large"),
    "key with a blank": ("POST", PATH, {"json": GOOD, "headers": {"Idempotency-Key": "a b"}}, 422, "bad_request"),
    "unknown posting": ("POST", PATH, {"json": GOOD}, 404, "not_found"),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory) -> AsyncIterator[Bench]:
    async with bench(tmp_path_factory.mktemp("plant"), api={"rate_per_second": 2000, "max_body_kb": 64}) as one:
        yield one


@pytest.mark.parametrize("abuse", ABUSE.values(), ids=ABUSE.keys())
async def test_abuse_gets_its_clear_error_and_the_next_request_goes_through(plant: Bench, abuse: Any):
    """Each refusal is a small JSON object without a trace of the inside, and a good request follows it."""
    method, path, request, status, code = abuse
    answer = await plant.ask(method, path, **request)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.json()["message"]
    assert len(answer.content) < 4096
    assert "Traceback" not in answer.text
    assert "evil.example" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in answer.headers
    assert (await plant.get("/v1/health"))["ready"] is True


def bodies() -> list[tuple[str, str, tuple[str, ...]]]:
    """Method, path and the names of the fields of every route that takes a body."""
    found = []
    for route in routes(None, docs=False).routes:
        if isinstance(route, APIRoute) and route.body_field is not None:
            path = re.sub(r"{name(:path)?}", "consumption_anomaly", re.sub(r"{(?!name)\w+(:path)?}", "1", route.path))
            model = body_of(route)
            found += [
                (method, path, tuple(model.model_fields) if model else ()) for method in sorted(route.methods or ())
            ]
    return found


@pytest.mark.parametrize(("method", "path", "names"), bodies(), ids=lambda one: one if isinstance(one, str) else "")
async def test_a_wrong_body_is_told_in_words_of_our_own(plant: Bench, method: str, path: str, names: tuple[str, ...]):
    """Which field, what it has, what is expected: at every route that takes a body, and nothing of a library."""
    token = (plant.agent.config.store.path.parent / "operator.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    wrong = [b"", b"null", b"[]", b"{", b'{"reason":NaN}']
    if names:
        each: tuple[Any, ...] = ({"a": 1}, [], None, -5, "", "\u202e", 1.5, "x" * 2000)
        wrong += [b"{}", b'{"bogus":1}', *(json.dumps(dict.fromkeys(names, value)).encode() for value in each)]
    for body in wrong:
        answer = await plant.client.request(method, path, headers=headers, content=body)
        told = answer.json()
        if answer.status_code == 401 and path.startswith("/console/"):
            continue  # text is text: nobody is called so
        assert (answer.status_code, told["error"]) == (422, "bad_request"), (body, answer.text)
        assert not re.search(r"Input|should|Field required|valid|pattern|Extra", answer.text), answer.text
        assert told.get("fields") or told["message"].startswith("the body cannot be read: "), answer.text
        assert len(answer.content) < 8192


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/resume", {"reason": "on", "scope": "targets", "key": "s4"},
         "scope: must be 'target', 'line' or 'order', not \"targets\""),
        ("/v1/resume", {"reason": "on", "scope": "line", "kei": "x"}, "kei: is not taken here; did you mean 'key'?"),
        ("/v1/resume", {"scope": "line", "key": "x"}, "reason: is missing: Why, in the words of whoever acts"),
        ("/v1/counts", {"quantity": "12,5"}, 'with a decimal point, such as "12.5", not "12,5"'),
        ("/v1/feasibility/check", {"quantity": 1.23456}, "quantity: must have at most 3 decimals, not 1.23456"),
        ("/console/login", {"user": "anna", "password": ["a secret"]}, "password: must be text"),
    ],
)  # fmt: skip
async def test_a_wrong_field_says_what_it_has_and_what_is_expected(plant: Bench, path: str, body: Any, told: str):
    """Never a password."""
    answer = await plant.ask("POST", path, "scale" if "v1/resume" not in path else "anna", json=body)
    assert answer.status_code == 422
    assert told in answer.json()["message"]
    assert "secret" not in answer.text


async def spoken(url: str, *pieces: bytes, wait: float = 10.0) -> bytes:
    """What comes back until the connection ends, for bytes that no client library would send."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        async with asyncio.timeout(wait):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_two_lengths_are_refused(plant: Bench):
    """A request that two readers would end at different places is not read at all."""
    smuggled = b"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await spoken(plant.url, smuggled)).startswith(b"HTTP/1.1 400")
    assert (await plant.get("/v1/health"))["ready"] is True


async def test_a_body_without_end_is_cut_off(plant: Bench, monkeypatch):
    """Chunk after chunk ends at the limit with 413, and the connection does not live for ever."""
    monkeypatch.setattr(Protocol, "headers_s", 0.3)
    head = (
        f"POST /v1/events/{CONSUMPTION} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer scale-secret\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()
    answer = await spoken(plant.url, head, *[b"4000\r\n" + b"x" * 0x4000 + b"\r\n"] * 8)
    assert answer.startswith(b"HTTP/1.1 413")
    assert (await plant.get("/v1/health"))["ready"] is True


@pytest.mark.parametrize("piece", [b"", b"GET /live HTTP/1.1\r\nHost: x\r\nX-Sl", b"\r\n", b"GET /" + b"x" * 40_000])
async def test_headers_without_end_do_not_hold_a_connection(plant: Bench, monkeypatch, piece: bytes):
    """Whoever does not come to the end of the headers is hung up on, also behind a good request."""
    monkeypatch.setattr(Protocol, "headers_s", 0.3)
    await spoken(plant.url, piece)
    host, _, port = plant.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.write(piece or b"G")
    async with asyncio.timeout(10.0):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()


async def test_a_client_has_a_rate_and_others_keep_theirs(tmp_path: Path):
    """Beyond the rate it is 429 with Retry-After, for this token alone."""
    async with bench(tmp_path, api={"rate_per_second": 5}) as one:
        answers = await asyncio.gather(*(one.ask("GET", "/v1/health", "viewer") for _ in range(30)))
        codes = [answer.status_code for answer in answers]
        assert codes.count(200) >= 5
        late = next(answer for answer in answers if answer.status_code == 429)
        assert (late.json()["error"], int(late.headers["retry-after"]) >= 1) == ("too_many_requests", True)
        assert (await one.ask("GET", "/v1/health", "anna")).status_code == 200
