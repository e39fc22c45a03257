"""The gate before the API: rates, sizes, patience."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from agent.access.callers import Forbidden, Identity
from agent.access.tokens import Scope, Token
from agent.errors import (
    BadPayload,
    ConfigError,
    Conflict,
    ErpUnavailable,
    GatepostError,
    ModelUnfit,
    NotFound,
    SourceLost,
    StoreCorrupt,
    StoreLocked,
)
from agent.sources.http import IntakeFull
from agent.web.answers import Refused, answer
from agent.web.auth import Doorkeeper, write_operator_token
from agent.web.limits import Body, Message, TokenBuckets


class Ticks:
    """A monotonic clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_second_and_fills_at_the_rate():
    """Five at once, then one every fifth of a second, and never more than five again."""
    clock = Ticks()
    buckets = TokenBuckets(clock)
    assert [buckets.take("a", 5) for _ in range(5)] == [0.0] * 5
    assert buckets.take("a", 5) == pytest.approx(0.2)
    assert buckets.take("b", 5) == 0.0
    clock.now += 0.21
    assert [bool(buckets.take("a", 5)) for _ in range(2)] == [False, True]
    clock.now += 3600
    assert [bool(buckets.take("a", 5)) for _ in range(6)] == [False] * 5 + [True]


def test_a_slow_rate_still_lets_one_through():
    """Less than one per second means one, then waiting."""
    buckets = TokenBuckets(Ticks())
    assert [buckets.take("a", 0.1), buckets.take("a", 0.1)] == [0.0, pytest.approx(10.0)]


def test_many_clients_are_forgotten_oldest_first():
    """An attacker with many addresses costs a bounded amount of memory."""
    buckets = TokenBuckets(Ticks(), remembered=2)
    for key in ("a", "b", "c"):
        buckets.take(key, 1)
    assert buckets.take("c", 1) > 0
    assert buckets.take("a", 1) == 0


async def test_a_body_that_trickles_is_given_up():
    """The time counts for the whole body, however often a byte arrives."""

    async def trickle() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    body = Body(trickle, limit=1 << 30, seconds=0.05)

    async def read() -> None:
        while True:
            await body()

    with pytest.raises(Refused, match="did not arrive within") as raised:
        await read()
    assert raised.value.status == 408


async def test_a_body_ends_at_its_limit():
    """One byte beyond is 413; a body of exactly the limit passes, and what follows is the connection's affair."""
    pieces: list[Message] = [
        {"type": "http.request", "body": b"xx", "more_body": True},
        {"type": "http.request", "body": b"xx", "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return pieces.pop(0)

    body = Body(receive, limit=4)
    assert [(await body())["type"] for _ in range(3)] == ["http.request", "http.request", "http.disconnect"]
    pieces[:] = [{"type": "http.request", "body": b"xxxxx", "more_body": True}]
    with pytest.raises(Refused, match="larger than the 4 bytes"):
        await Body(receive, limit=4)()


ERRORS: tuple[tuple[Exception, int, str], ...] = (
    (NotFound("x"), 404, "not_found"),
    (Conflict("x", by="anna", version=3, state="ready"), 409, "conflict"),
    (BadPayload("x"), 422, "bad_request"),
    (ConfigError([]), 422, "bad_configuration"),
    (IntakeFull(), 503, "intake_full"),
    (StoreLocked(), 503, "store_unavailable"),
    (StoreCorrupt("x"), 503, "store_unavailable"),
    (ErpUnavailable("x"), 503, "erp_unavailable"),
    (Refused(418, "teapot", "x"), 418, "teapot"),
    (ModelUnfit("x"), 422, "model_unfit"),
    (SourceLost("x"), 500, "internal"),
    (GatepostError("x"), 500, "internal"),
    (ZeroDivisionError("a secret"), 500, "internal"),
)


@pytest.mark.parametrize(("error", "status", "code"), ERRORS, ids=[type(one[0]).__name__ for one in ERRORS])
def test_every_error_has_its_answer(error: Exception, status: int, code: str):
    """Status and code by the kind of error; 503 says when to come again, and the inside stays inside."""
    told = answer(error)
    assert (told.status, told.body["error"]) == (status, code)
    assert ("retry-after" in told.headers) == (status == 503)
    assert b"secret" not in told.encoded()
    if status == 409:
        assert (told.body["decided_by"], told.body["state"], told.body["version"]) == ("anna", "ready", 3)


def token(name: str, **changes: Any) -> Token:
    fields: dict[str, Any] = {"name": name, "sha256": sha256(name.encode()).hexdigest(), "scopes": (Scope.READ,)}
    return Token(**{**fields, **changes})


def test_tokens_are_known_by_their_hash():
    """One header, the scheme in any case, the token exactly; two headers are nobody's."""
    door = Doorkeeper(lambda: [token("anna"), token("ben", lines=("mixing",))], "op")
    found = door.identify([(b"authorization", b"bearer ben")])
    assert found == Identity("ben", frozenset({Scope.READ}), frozenset({"mixing"}))
    assert door.identify([(b"authorization", b"Bearer op")]) == Identity(
        "operator", frozenset(Scope), acts_for_people=True
    )
    anna = (b"authorization", b"Bearer anna")
    for headers in ([], [anna, anna], [(b"authorization", b"Basic anna")], [(b"authorization", b"Bearer ")],
                    [(b"authorization", b"Bearer " + b"x" * 600)], [(b"x-user", b"anna")]):  # fmt: skip
        assert door.identify(headers) is None


def test_a_token_does_not_act_for_itself():
    """Else the command line's would be a second person beside the one for whom it has signed."""
    token = Identity("operator", frozenset({Scope.APPROVE}), acts_for_people=True)
    assert token.actor("Ann") == "Ann via operator"
    for name in ("operator", "OPERATOR", "oper\u200bator"):
        with pytest.raises(Forbidden, match="say which person acts"):
            token.actor(name)


def test_admin_holds_every_scope_and_lines_limit_all():
    """What `admin` may do needs no list; what a token of a line may see is its lines."""
    assert Identity("a", frozenset({Scope.ADMIN})).may(Scope.REVERSE)
    assert not Identity("a", frozenset({Scope.READ})).may(Scope.INGEST)
    assert Identity("a", frozenset()).sees("mixing")
    assert not Identity("a", frozenset(), frozenset({"molding"})).sees("mixing")


def test_every_start_has_another_operator_token(tmp_path):
    """The file is replaced, never readable by others, and what is in it is the token."""
    first, path = write_operator_token(tmp_path)
    second, _ = write_operator_token(tmp_path)
    assert first != second == path.read_text().strip()
    assert path.stat().st_mode & 0o777 == 0o600
