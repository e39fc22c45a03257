"""What a tag of the checkpoint was read from: whether it is still the same, has become another one, or is gone.

A name may change, and an address may be given to another name: what counts is the place that the values come from. A
totaliser that is read elsewhere, or whose counts mean something else, is another totaliser: the difference between
the two would be a quantity that nobody made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import Any, Final, NamedTuple

from agent.ports import Notice

_RESCALING: Final = Context(prec=40)
_FINEST: Final = Decimal("1e-12")  # of a count: factors need not be multiples of each other; a report has 40 digits

_ANEW = (
    "counting begins anew with its next reading. What was made between `last` and that reading is in no report: "
    "compare the totalisers, and book by hand what is missing"
)
_GONE = (
    "the configuration does not name it any more (removed, or its event or field renamed). What it counts from `last` "
    "on is in no report, and `unreported` waits until it comes back: book by hand what is missing"
)


class Origin(NamedTuple):
    """What a totaliser is read from."""

    tag: str
    address: str  # in the protocol's words; empty: a checkpoint of an older agent does not have it
    factor: Decimal | None  # None: as above

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Origin:
        """From the checkpoint."""
        factor = kept.get("factor")
        return cls(kept["tag"], kept.get("address", ""), None if factor is None else Decimal(factor))

    def kept(self) -> dict[str, str | None]:
        """For the checkpoint."""
        return {"tag": self.tag, "address": self.address, "factor": None if self.factor is None else str(self.factor)}

    def continues(self, before: Origin) -> bool:
        """Whether the readings go on from where those of `before` ended."""
        same = same_place(self.tag, self.address, before.tag, before.address)
        return same and before.factor in (None, self.factor)

    def rescaled(self, counts: Decimal, before: Origin) -> Decimal:
        """As many counts as make the same quantity that `counts` made under the factor of `before`, to 12 places."""
        if None in (self.factor, before.factor) or self.factor == before.factor or not counts:
            return counts
        found = _RESCALING.divide(_RESCALING.multiply(counts, before.factor or 1), self.factor or 1)
        return found.quantize(_FINEST, context=_RESCALING).normalize(_RESCALING)

    def __str__(self) -> str:
        """For people."""
        return self.tag + f" at {self.address}" * bool(self.address) + f", factor {self.factor}" * bool(self.factor)


def same_place(tag: str | None, address: str, before: str | None, address_before: str) -> bool:
    """Whether a tag is what the checkpoint knows: by its address, or by its name where the address was not kept."""
    return address == address_before if address and address_before else tag == before


def changed(event: str, field: str, now: Origin, kept: Mapping[str, Any]) -> Notice:
    """A totaliser is another one than that of the checkpoint."""
    was = {"was": str(Origin.of(kept)), "now": str(now)}
    return Notice("counter_changed", {"event": event, "field": field, **was, **_counted(kept), "why": _ANEW})


def told_gone(event: str, counted: dict[str, Any]) -> Iterator[Notice]:
    """Say once of each totaliser of the checkpoint that it is no longer declared; `counted` remembers that it was."""
    for field, kept in counted.items():
        if not kept.get("told_gone") and (kept["total"] is not None or _unreported(kept)):
            kept["told_gone"] = True
            detail = {"event": event, "field": field, "was": str(Origin.of(kept)), **_counted(kept), "why": _GONE}
            yield Notice("counter_gone", detail)


def _counted(kept: Mapping[str, Any]) -> dict[str, str | None]:
    """How far it had come, in its own unit: the last reading, when that was, and what no event has reported yet."""
    last, at, _ = kept["total"] or (None, None, None)
    return {"last": last, "at": at, "unreported": str(_unreported(kept))}


def _unreported(kept: Mapping[str, Any]) -> Decimal:
    return Decimal(kept.get("pending", 0)) + Decimal(kept.get("loose", 0))
