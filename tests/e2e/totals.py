"""What SAP has in the end, per order and component, and per order as yield and scrap: out of its own books."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from simulators.line.tags import totals

Totals = dict[tuple[str, str], Decimal]
_SIGN = {"261": 1, "262": -1}


def booked_totals(books: Path) -> Totals:
    """The sums of all documents in the books file."""
    sums: Totals = defaultdict(Decimal)
    for document in _lines(books):
        if document["kind"] == "confirmation":
            sums[document["order"], "yield"] += Decimal(document["yield_quantity"])
            sums[document["order"], "scrap"] += Decimal(document["scrap_quantity"])
            continue
        for item in document["items"]:
            quantity = Decimal(item["QuantityInEntryUnit"])
            sums[document["order"], item["Material"]] += _SIGN[item["GoodsMovementType"]] * quantity
    return {key: total for key, total in sums.items() if total}


def meant_totals(truth: Path) -> Totals:
    """The sums of what the simulated line has shown."""
    return totals(_lines(truth))


def differences(books: Path, truth: Path) -> list[str]:
    """Each order and component, or yield or scrap, whose sums are not equal; empty: SAP has exactly what was meant."""
    booked, meant = booked_totals(books), meant_totals(truth)
    return [
        f"order {key[0]} {key[1]}: {booked.get(key, 0)} in SAP, {meant.get(key, 0)} meant"
        for key in sorted(booked.keys() | meant.keys())
        if booked.get(key, 0) != meant.get(key, 0)
    ]


def _lines(file: Path) -> Iterable[Mapping[str, Any]]:
    """The whole lines of a file that another process appends to."""
    whole, _, _ = file.read_bytes().rpartition(b"\n") if file.exists() else (b"", b"", b"")
    return (json.loads(line) for line in whole.splitlines())
