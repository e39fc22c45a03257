"""Masking by name and by value: fields that must not be read, wherever they stand, and what tells of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

MASK: Final = "***"
TELLS: Final = {"material": ("material_text", "to_material"), "batch": ("to_batch", "lot")}
"""A field → what tells of it beside it: what it is called in words, and where a transfer goes."""
SHORTEST: Final = 3  # shorter values would be found in texts that do not mean them
HASHES: Final = frozenset({"record_hash", "record_sha256", "payload_sha256", "shown_sha256"})
"""Hashes of what is masked, too: whoever knows all the rest finds the missing field by trying."""


def veiled(found: Any, fields: Collection[str], also: Collection[str] = ()) -> Any:
    """The same with these fields masked, at any depth, and their values in the texts beside them.

    `also` are values of these fields that are known from elsewhere.
    """
    if not fields:
        return found
    names = {*fields, *(told for name in fields for told in TELLS.get(name, ())), *HASHES}
    return _veiled(found, names, frozenset(also))


def hidden_in(found: Any, fields: Collection[str]) -> frozenset[str]:
    """The values of these fields in this object, and in the payload that it has."""
    if not isinstance(found, Mapping):
        return frozenset()
    payload = found.get("payload")
    inside = [found, payload] if isinstance(payload, Mapping) else [found]
    values = {str(value) for one in inside for name in fields if (value := one.get(name)) not in ("", None)}
    return frozenset(value for value in values if len(value) >= SHORTEST)


def _veiled(found: Any, names: Collection[str], hidden: frozenset[str]) -> Any:
    if isinstance(found, dict):
        hidden |= hidden_in(found, names)
        return {
            name: MASK if name in names and value not in ("", None) else _veiled(value, names, hidden)
            for name, value in found.items()
        }
    if isinstance(found, list | tuple):
        return [_veiled(one, names, hidden) for one in found]
    return without(found, hidden) if isinstance(found, str) and hidden else found


def without(text: str, hidden: Collection[str]) -> str:
    """The text without these values, where they stand as words of their own."""
    for value in hidden:
        if value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
    return text


def without_message(found: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The same without what arrived, byte for byte: nobody knows under which names it has what is sensitive."""
    return {**found, "payload": MASK} if fields and "payload" in found else found
