"""The tag import of Ignition 8.1 and 8.3 for what the agent shows as an OPC UA server: a folder tree of OPC tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.errors import Conflict
from agent.opcua.nodes import NAMESPACE, Kind, Parts, Variable, variables

TYPES: Final[Mapping[Kind, str]] = {  # Ignition's names
    Kind.BOOLEAN: "Boolean",
    Kind.INT: "Int8",  # of eight bytes
    Kind.NUMBER: "Float8",
    Kind.TEXT: "String",
    Kind.TIME: "DateTime",
}
_UNFIT: Final = re.compile(r"^\W|[^\w '\-:()]")


def tag_import(parts: Parts, opc_server: str, folder: str) -> dict[str, Any]:
    """The folder with a tag for every variable of an agent with these parts, at Ignition's connection `opc_server`.

    Tags stay in the default tag group and cannot be written. Raises Conflict where two names would be one tag.
    """
    root = _folder(folder)
    known: dict[tuple[str, ...], dict[str, Any]] = {(): root}
    names: dict[tuple[str, ...], str] = {}
    for one in variables(parts):
        *above, last = one.path.split("/")
        place: tuple[str, ...] = ()
        for depth, written in enumerate(above, 1):
            inside, place = known[place], (*place, _claimed(names, place, written, "/".join(above[:depth])))
            if place not in known:
                known[place] = _folder(tag_name(written))
                inside["tags"].append(known[place])
        _claimed(names, place, last, one.path)
        known[place]["tags"].append(_tag(one, last, opc_server))
    return root


def count(node: Mapping[str, Any]) -> int:
    """How many tags are in a folder and below."""
    return sum(count(one) if "tags" in one else 1 for one in node["tags"])


def tag_name(written: str) -> str:
    """The name as Ignition takes it: a letter, digit or `_` first; then spaces and ``'-:()`` too."""
    return _UNFIT.sub("_", written.strip()) or "_"


def _claimed(names: dict[tuple[str, ...], str], place: tuple[str, ...], written: str, path: str) -> str:
    """The name in this folder; two that differ in capitals only are one, since tag paths are read that way."""
    name = tag_name(written).casefold()
    first = names.setdefault((*place, name), path)
    if first != path:
        raise Conflict(
            f"{first} and {path} would both be the tag {tag_name(written)!r}, since Ignition does not take every "
            "character in a name; call one of the two something else"
        )
    return name


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "tagType": "Folder", "tags": []}


def _tag(one: Variable, name: str, opc_server: str) -> dict[str, Any]:
    """An OPC tag. The namespace is named by its URI: its index is the server's business and may change."""
    unit = {"engUnit": one.unit} if one.unit else {}
    return {
        "name": tag_name(name),
        "tagType": "AtomicTag",
        "valueSource": "opc",
        "dataType": TYPES[one.kind],
        "opcServer": opc_server,
        "opcItemPath": f"nsu={NAMESPACE};s={one.path}",
        "readOnly": True,
        "documentation": one.text,
        **unit,
    }
