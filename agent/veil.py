"""What is sensitive, masked for whoever may not read it: fields by name, wherever they stand in an answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agent.callers import Identity
from agent.rights import Action
from agent.settings import Document, Scope
from agent.shown import MASK


def covered(config: Document, caller: Identity, roles: Collection[str] = ()) -> frozenset[str]:
    """The fields that this caller may not read; `roles` are those of the person for whom a gateway asks.

    Tokens and users without roles of their own read everything that their scopes let them.
    """
    held = caller.roles or frozenset(roles)
    if not caller.roles and caller.may(Scope.READ):
        return frozenset()
    reads = any(one.role in held and Action.READ_SENSITIVE in one.actions for one in config.rights)
    return frozenset() if reads else frozenset(config.sensitive)


def veiled(found: Any, fields: Collection[str]) -> Any:
    """The same with these fields masked, at any depth."""
    if not fields:
        return found
    if isinstance(found, dict):
        return {
            name: MASK if (name in fields or name == "said") and value not in ("", None) else veiled(value, fields)
            for name, value in found.items()
        }
    if isinstance(found, list | tuple):
        return [veiled(one, fields) for one in found]
    return found


def without_message(found: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The same without what arrived, byte for byte: nobody knows under which names it has what is sensitive."""
    return {**found, "payload": MASK} if fields and "payload" in found else found
