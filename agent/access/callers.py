"""Who asks, and what they may: bearers of the tokens in the configuration, the same through every door."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from agent.access.signing import known_as
from agent.access.tokens import Scope, Token
from agent.errors import GatepostError


class Forbidden(GatepostError):  # noqa: N818  # named by what happened, as all of agent.errors
    """Whoever asks is known, and may not do this."""


class NoRight(Forbidden):
    """None of their roles may do this; that they tried is on record."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. Without `lines` all lines are theirs; `admin` holds every scope."""

    name: str
    scopes: frozenset[Scope]
    lines: frozenset[str] = frozenset()
    acts_for_people: bool = False
    roles: frozenset[str] = frozenset()  # as in `rights`, which then limit it; none: its scopes are all that counts
    door: str = ""  # how they came in, for the audit trail; empty: with the token of their name

    @property
    def session(self) -> str:
        """What the audit trail keeps of how they came in."""
        return self.door or f"token {self.name}"

    def may(self, scope: Scope) -> bool:
        """Whether this token was given the scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises Forbidden where this token was not given the scope."""
        if not self.may(scope):
            raise Forbidden(f"token {self.name} has no scope {scope.value!r}")

    def sees(self, line: str) -> bool:
        """Whether postings of this line are its business; to others they do not exist."""
        return not self.lines or line in self.lines

    def actor(self, on_behalf_of: str | None = None) -> str:
        """The name in the audit trail. Raises Forbidden where the token may not speak for a person, or names itself."""
        if on_behalf_of is None:
            return self.name
        if not (self.acts_for_people and self.may(Scope.APPROVE)):
            raise Forbidden(
                f"token {self.name} may not act for other people: set acts_for_people for it, or leave on_behalf_of"
            )
        if known_as(on_behalf_of) == known_as(self.name):  # else it would be a second person beside whom it acted for
            raise Forbidden(f"{on_behalf_of} is the name of the token itself: say which person acts")
        return f"{on_behalf_of} via {self.name}"


def bearer_of(given: bytes, tokens: Iterable[Token]) -> Identity | None:
    """Whose token this is; every known hash is compared, so that time tells nothing."""
    digest, found = sha256(given).hexdigest(), None
    for token in tokens:
        if hmac.compare_digest(digest, token.sha256):
            found = identity_of(token)
    return found


def identity_of(token: Token) -> Identity:
    """What the configuration gives to the bearer of this token."""
    return Identity(
        token.name, frozenset(token.scopes), frozenset(token.lines), token.acts_for_people, frozenset(token.roles)
    )
