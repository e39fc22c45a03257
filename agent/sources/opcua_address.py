"""How a tag is written in the configuration, and which OPC UA node it means: by namespace URI, never by index."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

OPC_UA: Final = "http://opcfoundation.org/UA/"  # namespace 0, of every server
LONGEST: Final = 4096  # characters of an address, as the specification limits string identifiers

_LETTERS: Final = {int: "i", str: "s", UUID: "g", bytes: "b"}
_NODE = re.compile(r"(?:(nsu?)=(.*?);)?([isgb])=(.*)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]+")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX = "a namespace index changes when the server's configuration does"


class NodeAddress(NamedTuple):
    """A node by its id."""

    namespace: str  # URI
    identifier: int | str | UUID | bytes

    def __str__(self) -> str:
        """With its namespace, whatever alias it was written with."""
        shown = base64.b64encode(self.identifier).decode() if isinstance(self.identifier, bytes) else self.identifier
        return f"nsu={self.namespace};{_LETTERS[type(self.identifier)]}={shown}"


class Step(NamedTuple):
    """One browse name of a path."""

    namespace: str  # URI
    name: str


class PathAddress(NamedTuple):
    """A node by the browse names that lead to it from the server's root."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """With the namespaces, whatever aliases it was written with."""
        return "".join(f"/{step.namespace}:{step.name}" for step in self.steps)


Address = NodeAddress | PathAddress


def parse(text: str, aliases: Mapping[str, str]) -> Address:
    """The node that an address means. `aliases` are short names of namespace URIs. Raises ValueError.

    ``nsu=urn:plc;s=Line5.Good`` · ``ns=plc;s=Line5.Good`` · ``i=2258`` · ``/Objects/plc:Line5/plc:Good``
    """
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"is {len(text)} characters long; an address has 1 to {LONGEST}")
    if text.startswith("/"):
        return PathAddress(tuple(_step(one, text, aliases) for one in _split(text)))
    match = _NODE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no OPC UA address; write nsu=URI;s=NAME, ns=ALIAS;s=NAME, i=NUMBER (namespace 0) "
            "or a path of browse names, /Objects/ALIAS:Line5/ALIAS:Good"
        )
    kind, namespace, letter, identifier = match.groups()
    return NodeAddress(_namespace(kind, namespace, letter, text, aliases), _identifier(letter, identifier, text))


def namespaces(address: Address) -> frozenset[str]:
    """The namespace URIs that the server must know."""
    if isinstance(address, NodeAddress):
        return frozenset([address.namespace])
    return frozenset(step.namespace for step in address.steps)


def alias_refusal(alias: str, uri: str) -> str:
    """Why this cannot be an alias of a namespace; empty: it can."""
    if not _ALIAS.fullmatch(alias):
        return f"{alias!r} is no alias; begin with a letter, then letters, digits, _ and -"
    if not uri or _NUMBER.fullmatch(uri):
        return f"the alias {alias} needs the namespace's URI, not {uri!r}: {_INDEX}"
    return ""


def _namespace(kind: str | None, written: str | None, letter: str, text: str, aliases: Mapping[str, str]) -> str:
    if kind is None or written is None:
        if letter != "i":
            raise ValueError(f"{text!r} names no namespace; write nsu=URI;{text} or ns=ALIAS;{text}")
        return OPC_UA
    if kind == "ns":
        return OPC_UA if written == "0" else _by_alias(written, text, aliases)
    if not written or _NUMBER.fullmatch(written):
        raise ValueError(f"{text!r}: nsu= takes the namespace's URI, not {written!r}")
    return written.replace("%3B", ";").replace("%25", "%")  # as the specification escapes them


def _by_alias(alias: str, text: str, aliases: Mapping[str, str]) -> str:
    if alias in aliases:
        return aliases[alias]
    if _NUMBER.fullmatch(alias):
        raise ValueError(
            f"{text!r}: {_INDEX}, and {alias} may then be another one. Declare its URI under "
            "namespaces: {plc: URI} and write plc instead; the server lists its URIs in i=2255"
        )
    known = ", ".join(sorted(aliases)) or "none"
    raise ValueError(f"{text!r}: there is no alias {alias!r} under namespaces (known: {known})")


def _identifier(letter: str, written: str, text: str) -> int | str | UUID | bytes:
    if not written:
        raise ValueError(f"{text!r} has nothing after {letter}=")
    if letter == "s":
        return written
    try:
        if letter == "g":
            return UUID(written)
        if letter == "b":
            return base64.b64decode(written, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"{text!r}: {written!r} is no {'GUID' if letter == 'g' else 'base64'}") from None
    if not _NUMBER.fullmatch(written) or int(written) > 0xFFFFFFFF:
        raise ValueError(f"{text!r}: i= takes a whole number from 0 to 4294967295, not {written!r}; names are s=")
    return int(written)


def _split(text: str) -> list[str]:
    """The browse names of a path; `&` takes the meaning from the character after it, as the specification writes it."""
    parts = re.findall(r"/((?:[^/&]|&.)*)", text, re.DOTALL)
    if "/" + "/".join(parts) != text:
        raise ValueError(f"{text!r} ends in &, which must stand before the character that it escapes")
    if not all(parts):
        raise ValueError(f"{text!r} has an empty browse name; no / at the end, and none twice")
    return parts


def _step(part: str, text: str, aliases: Mapping[str, str]) -> Step:
    match = re.fullmatch(r"((?:[^:&]|&.)*?):(.*)", part, re.DOTALL)
    alias, name = match.groups() if match else (None, part)
    name = re.sub(r"&(.)", r"\1", name, flags=re.DOTALL)
    if not name:
        raise ValueError(f"{text!r} has an empty browse name after {alias}:")
    if alias is None or alias == "0":
        return Step(OPC_UA, name)
    return Step(_by_alias(alias, text, aliases), name)
