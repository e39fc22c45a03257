"""Who asks, and what they may: bearer tokens, known by their SHA-256 only."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.access.callers import Identity, bearer_of
from agent.access.tokens import Scope, Token
from agent.logs import conceal

OPERATOR_FILE: Final = "operator.token"
LONGEST_TOKEN: Final = 512  # bytes


class Doorkeeper:
    """Knows the tokens of the configuration as it is now, and the operator's token of this run."""

    def __init__(self, tokens: Callable[[], Sequence[Token]], operator: str) -> None:
        self._tokens = tokens
        self._operator = sha256(operator.encode()).hexdigest()

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Identity | None:
        """Whose token the request carries; every known hash is compared, so that time tells nothing."""
        given = _bearer(headers)
        if given is None:
            return None
        digest = sha256(given).hexdigest()
        operator = hmac.compare_digest(digest, self._operator)
        bearer = bearer_of(given, self._tokens())
        return bearer or (Identity("operator", frozenset(Scope), acts_for_people=True) if operator else None)


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The token of the one Authorization header; with two of them nobody knows which one counts."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and 0 < len(token) <= LONGEST_TOKEN else None


def write_operator_token(folder: Path) -> tuple[str, Path]:
    """A new token for the command line on this machine, in a file that only the agent's user can read."""
    token = f"gatepost_{secrets.token_urlsafe(32)}"
    conceal(token)
    path, fresh = folder / OPERATOR_FILE, folder / f"{OPERATOR_FILE}.new"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
    fresh.replace(path)
    return token, path
