"""Asks a server of the bench, past every proxy; Python alone is enough for that."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
LONGEST_WAIT_S = 2.0


def ask(url: str, content: Any = None) -> tuple[int, str]:
    """Status and text of a GET, or of a POST where there is something to send. Raises OSError where nobody answers."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - of the bench
    try:
        with _DIRECT.open(request, timeout=LONGEST_WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode(errors="replace")
    except HTTPException as error:
        raise OSError(f"{url}: no HTTP: {error}") from error
