"""What was said of an order before, and how much of it still counts: what came to nothing is proposed anew.

A workflow sees neither the store nor authority. Whoever puts an order before it again may tell what became of the last
that it proposed, in the data of the report; it counts only where nothing else was proposed since then:

    unsent    report whose release is not sent, nor any before it, and never will be
    refused   by whom and why, where a person refused that release
    anew      report that was decided with less authority than there is now, and nothing was done about it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from agent.isa95 import SegmentResponse

MOST: Final = 50  # proposals of a release that are remembered: with more it is taken for sent
_AGAIN: Final = (
    "its release was proposed before, and the ERP does not tell yet that it is released: look whether its line has it"
)


class Before(NamedTuple):
    """The state of one order. `released` and `proposed` name the order's content (its digest)."""

    status: str = ""
    causes: tuple[str, ...] = ()
    released: str = ""  # as it was when its release was said last, and nothing else since
    proposed: str = ""  # as it was when its release was proposed last, whatever was said since
    by: tuple[str, ...] = ()  # reports that its release was proposed on
    last: str = ""  # report that something was proposed on
    unsent: bool = False
    refused: str = ""

    @classmethod
    def of(cls, state: Mapping[str, Any], report: SegmentResponse) -> Before:
        """What still counts."""
        by, told = tuple(state.get("by", ())), report.data
        found = cls(
            state.get("status", ""), tuple(state.get("causes", ())), state.get("released", ""),
            state.get("proposed", ""), by, state.get("last", ""),
        )  # fmt: skip
        if 0 < len(by) < MOST and told.get("unsent") == by[-1]:
            found = found._replace(unsent=True, refused=str(told.get("refused", "")))
        if found.last and told.get("anew") == found.last:
            found = found._replace(status="", causes=(), released="")
        return found

    def holds(self, content: str) -> tuple[str, ...]:
        """Why a person must look before an order of this content is released."""
        if self.proposed != content:
            return ()
        if self.refused:
            return (f"its release was proposed before; {self.refused}",)
        return () if self.unsent else (_AGAIN,)

    def kept(self) -> dict[str, Any]:
        """What the state keeps of it where nothing is proposed."""
        return {"released": self.released, "proposed": self.proposed, "by": list(self.by), "last": self.last}

    def after_release(self, report: SegmentResponse, content: str) -> dict[str, Any]:
        """The same where the release of an order of this content is proposed on a report."""
        by = [*(() if self.unsent else self.by), report.id]
        return {"released": content, "proposed": content, "by": by[:MOST], "last": report.id}

    def after_exception(self, report: SegmentResponse) -> dict[str, Any]:
        """The same where something else is."""
        return self.kept() | {"released": "", "last": report.id}
