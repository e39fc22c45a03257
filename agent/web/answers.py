"""Errors → answers: the one place that says which status and which words a caller gets."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.access.callers import Forbidden, NoRight
from agent.access.envelope import SignatureRefused
from agent.errors import (
    BadPayload,
    ConfigError,
    Conflict,
    ErpError,
    GatepostError,
    ModelUnfit,
    NotFound,
    StoreError,
    Unproven,
)
from agent.sources.http import IntakeFull

log = logging.getLogger("gatepost.web")

COME_BACK_S: Final = 5  # what Retry-After says while the store takes nothing
CONTENT_TYPE: Final = "application/problem+json"


class Refused(GatepostError):  # noqa: N818  # named by what happened, as all of agent.errors
    """The request itself is refused; `status` and `code` say how, `retry_after` (seconds) when to come again."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back for an error: a status, its headers and a small JSON object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The body as bytes."""
        return json.dumps(self.body, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them."""
        named = {"content-type": CONTENT_TYPE, **self.headers}
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in named.items()]


_KNOWN: Final[tuple[tuple[type[GatepostError], int, str], ...]] = (  # the first that fits counts
    (NoRight, 403, "no_right"),
    (Forbidden, 403, "forbidden"),
    (NotFound, 404, "not_found"),
    (Unproven, 409, "unproven"),
    (Conflict, 409, "conflict"),
    (BadPayload, 422, "bad_request"),
    (ConfigError, 422, "bad_configuration"),
    (ModelUnfit, 422, "model_unfit"),
    (IntakeFull, 503, "intake_full"),
    (StoreError, 503, "store_unavailable"),
    (ErpError, 503, "erp_unavailable"),
)


def answer(error: Exception) -> Answer:
    """The answer to an error; what is no deliberate error is logged and says nothing about the inside."""
    if isinstance(error, Refused):
        return _answer(error.status, error.code, str(error), retry_after=error.retry_after)
    if isinstance(error, SignatureRefused):
        return _answer(error.status, error.code, str(error), **_more(error))
    for kind, status, code in _KNOWN:
        if isinstance(error, kind):
            waits = COME_BACK_S if status == 503 else None
            return _answer(status, code, str(error), retry_after=waits, **_more(error))
    log.error("a request failed: %s", error, exc_info=error)
    return _answer(500, "internal", "the agent made a mistake; nothing was confirmed. Its log says what happened")


def _more(error: GatepostError) -> dict[str, Any]:
    if isinstance(error, Conflict | SignatureRefused):
        return {"decided_by": error.by or None, "state": error.state or None, "version": error.version or None}
    if isinstance(error, BadPayload):
        return {"field": error.field or None, "reason": error.reason}
    return {}


def _answer(status: int, code: str, message: str, *, retry_after: float | None = None, **more: Any) -> Answer:
    headers = {"retry-after": str(max(1, round(retry_after)))} if retry_after is not None else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return Answer(status, {"error": code, "message": message, **more}, headers)
