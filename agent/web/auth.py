"""Who asks, and what they may: bearer tokens, known by their SHA-256 only."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.logs import conceal
from agent.settings import Scope, Token
from agent.web.answers import Refused

OPERATOR_FILE: Final = "operator.token"
LONGEST_TOKEN: Final = 512  # bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. Without `lines` all lines are theirs; `admin` holds every scope."""

    name: str
    scopes: frozenset[Scope]
    lines: frozenset[str] = frozenset()
    acts_for_people: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether this token was given the scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def sees(self, line: str) -> bool:
        """Whether postings of this line are its business; to others they do not exist."""
        return not self.lines or line in self.lines

    def actor(self, on_behalf_of: str | None = None) -> str:
        """The name in the audit trail. Raises Refused (403) where the token may not speak for a person."""
        if on_behalf_of is None:
            return self.name
        if not (self.acts_for_people and self.may(Scope.APPROVE)):
            message = (
                f"token {self.name} may not act for other people: set acts_for_people for it, or leave on_behalf_of"
            )
            raise Refused(403, "forbidden", message)
        return f"{on_behalf_of} via {self.name}"


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
        found = None
        if hmac.compare_digest(digest, self._operator):
            found = Identity("operator", frozenset(Scope), acts_for_people=True)
        for token in self._tokens():
            if hmac.compare_digest(digest, token.sha256):
                found = Identity(token.name, frozenset(token.scopes), frozenset(token.lines), token.acts_for_people)
        return found


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
