"""`gatepost` with one workflow more, for the groups ordeal: each report asks for one group of effects in SAP, by name.

Between them the groups hold every kind of posting that SAP takes beside goods issues and confirmations; the defect goes
to a second target. A report that begins with `broken` has a member that SAP refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agent.cli import main
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.ports import Draft, Kind, Proposal
from agent.scores import Features, Score
from agent.strict.schema import Settings
from agent.workflows import WORKFLOWS

QUALITY: Final = "quality"  # the role of the second target
PLANT: Final = {"plant": "1710"}
DAYS: Final = {"posting_date": "2026-11-20", "document_date": "2026-11-20"}


def _stock(report: SegmentResponse) -> dict[str, Any]:
    return {
        **PLANT, **DAYS, "material": report.data["material"], "storage_location": report.data["place"],
        "quantity": "1", "unit": report.data["unit"], "text": report.id,
    }  # fmt: skip


def _scrap(report: SegmentResponse) -> list[tuple[Kind, Mapping[str, Any], str]]:
    broken = str(report.data["plan"]).startswith("broken")
    scrap = {"movement": "551", "cost_center": "4711", "order": "", "reason": "0007"}
    defect = {
        **PLANT, "order": report.order, "operation": report.operation, "work_center": report.work_center, "batch": "",
        "material": "NO-SUCH" if broken else report.data["material"], "defect_code": "0010",
        "defect_code_group": "SURFACE", "quantity": "1", "unit": report.data["unit"], "severity": "major",
        "text": report.id, "detected_at": report.occurred_at.isoformat(),
    }  # fmt: skip
    return [
        (Kind.SCRAP, _stock(report) | scrap, ""),
        (Kind.DEFECT, defect, QUALITY),
        (Kind.STOCK_TRANSFER, _stock(report) | {"movement": "344"}, ""),
    ]


def _count(report: SegmentResponse) -> list[tuple[Kind, Mapping[str, Any], str]]:
    what = {"material": report.data["material"], "batch": ""}
    document = {
        **PLANT, "storage_location": report.data["place"], "items": [what], "planned_count_date": "2026-11-20",
        "document_date": "2026-11-20", "text": report.id,
    }  # fmt: skip
    counted = {**what, "quantity": "70000", "unit": report.data["unit"]}
    of = {"document_of": Kind.COUNT_DOCUMENT.value}
    return [
        (Kind.COUNT_DOCUMENT, document, ""),
        (Kind.COUNT_ENTRY, {**of, "items": [counted]}, ""),
        (Kind.COUNT_DIFFERENCE, {**of, "posting_date": "2026-11-20"}, ""),
    ]


def _release(report: SegmentResponse) -> list[tuple[Kind, Mapping[str, Any], str]]:
    order = {**PLANT, "order": report.order}
    return [(Kind.ORDER_RELEASE, order, ""), (Kind.ORDER_NOTE, {**order, "text": f"{report.id} was released"}, "")]


PLANS: Final[Mapping[str, Callable[[SegmentResponse], list[tuple[Kind, Mapping[str, Any], str]]]]] = {
    "scrap": _scrap,
    "broken scrap": _scrap,
    "count": _count,
    "release": _release,
}


Config = Settings


class Effects:
    """A report of kind ``effects``: its `plan` says which group."""

    name = "effects"
    feature_names: tuple[str, ...] = ()

    def __init__(self, options: Settings) -> None:
        """It has no options."""

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        return None

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        return ()

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Score | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        members = PLANS[str(report.data["plan"])](report)
        drafts = tuple(Draft(kind, f"order/{report.order}", payload, role=role) for kind, payload, role in members)
        return Proposal(drafts, subject={"order": report.order, "line": "mixing"}, together=True), ()


if __name__ == "__main__":
    WORKFLOWS["effects"] = "tests.e2e.effects:Effects"  # type: ignore[index]  # the point of this program
    main()
