"""Who may not read what is sensitive."""

from __future__ import annotations

from collections.abc import Collection

from agent.access.callers import Identity
from agent.access.rights import Action
from agent.access.tokens import Scope
from agent.configuration.settings import Document


def covered(config: Document, caller: Identity, roles: Collection[str] = ()) -> frozenset[str]:
    """The fields that this caller may not read; `roles` are those of the person for whom a gateway asks.

    Tokens and users without roles of their own read everything that their scopes let them.
    """
    held = caller.roles or frozenset(roles)
    if not caller.roles and caller.may(Scope.READ):
        return frozenset()
    reads = any(one.role in held and Action.READ_SENSITIVE in one.actions for one in config.rights)
    return frozenset() if reads else frozenset(config.sensitive)
