"""Which components a workflow issues, where two of them do: by work centre and material, and never the same twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.isa95 import MaterialUse, SegmentResponse


class Share(BaseModel):
    """All materials of a work centre, one material everywhere, or one material at one work centre."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    work_center: str = Field(default="", description="The work centre; absent: every one")
    material: str = Field(default="", description="The material; absent: every one")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.work_center and not self.material:
            raise ValueError("name a work_center, a material, or both; for everything leave `issues` out")
        return self

    def has(self, work_center: str, material: str) -> bool:
        """Whether this place belongs to it."""
        return self.work_center in ("", work_center) and self.material in ("", material)

    def meets(self, other: Share) -> bool:
        """Whether some place belongs to both."""
        return _alike(self.work_center, other.work_center) and _alike(self.material, other.material)

    def __str__(self) -> str:
        what, where = self.material or "every material", self.work_center or "every work centre"
        return f"{what} at {where}"


Shares = Annotated[
    tuple[Share, ...],
    Field(
        description="What this workflow issues, where another one issues the rest: work centres, materials, or both; "
        "absent: everything. A report of what the other one issues goes to that"
    ),
]


def issues(shares: Shares, work_center: str, material: str) -> bool:
    """Whether a workflow with these shares issues it; without any it issues everything."""
    return not shares or any(one.has(work_center, material) for one in shares)


def takes(shares: Shares, report: SegmentResponse) -> bool:
    """Whether a report is one of its own: what it says was consumed is issued here, or it says nothing like that."""
    consumed = (one.material for one in report.material_actuals if one.use is MaterialUse.CONSUMED)
    return all(issues(shares, report.work_center, material) for material in consumed)


def both(mine: Sequence[Share], theirs: Sequence[Share]) -> str:
    """Some place that belongs to both, in words; "": none does."""
    if not mine or not theirs:
        return str(next(iter(mine or theirs), "everything"))
    met = ((one, other) for one in mine for other in theirs if one.meets(other))
    pair = next(met, None)
    if pair is None:
        return ""
    one, other = pair
    work_center, material = one.work_center or other.work_center, one.material or other.material
    return str(Share(work_center=work_center, material=material))


def _alike(one: str, other: str) -> bool:
    return one == other or "" in (one, other)
