"""A call to SAP as people read it: its own field names, with days and times as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.sap.call import Call
from agent.sap.formats import read_date

_DAY: Final = re.compile(r"/Date\(-?\d+\)/")
_TIME: Final = re.compile(r"PT(\d\d)H(\d\d)M(\d\d)S")
_LITERAL: Final = re.compile(r"(?:datetime|guid)?'(.*)'")


def said(call: Call, stamps: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Field and value in SAP's order, items after their header; without the stamps, which are made when it is sent."""
    fields = [*_flat(call.body), *((name, _plain(value)) for name, value in call.arguments.items())]
    return tuple((name, value) for name, value in fields if name not in stamps and value)


def _flat(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in body.items():
        items = value.get("results", ()) if isinstance(value, Mapping) else value
        if isinstance(items, (list, tuple)):
            for item in items:
                yield from _flat(item)
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    text = str(value if value is not None else "")
    if _DAY.fullmatch(text):
        return read_date(text).isoformat()
    if found := _TIME.fullmatch(text):
        return ":".join(found.groups())
    found = _LITERAL.fullmatch(text)
    return found[1].replace("''", "'") if found else text
