"""Features of one report of scrap: what the process did, what was seen, and the history of machine and lot.

Pure, the same in training and in serving. What nobody measured is None and reaches the model as missing. Nothing says
who worked there. The model tells the likeliest causes; which cost centre bears a cause is a table, not a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agent.features.row import Value

NUMBERS: Final = (
    "scrapped_share",
    "since_set_up",
    "tool_used",
    "since_stop",
    "temperature_off",
    "pressure_off",
    "cycle_off",
    "scrap_of_machine",
    "scrap_of_batch",
)
CATEGORIES: Final = ("machine", "defect", "shift")

EARLY, LATE, NIGHT = "early", "late", "night"
SHIFTS: Final = ((6, EARLY), (14, LATE), (22, NIGHT))  # the hour at which each begins
USUAL_SCRAP: Final = 0.007  # share of the pieces, where history is short
WEIGHT: Final = 200.0  # pieces that the usual share counts for
LONG: Final = 5000.0  # pieces: of a machine that has made more, what is long ago counts less
KEPT: Final = 0.9  # of its history, with each report


@dataclass(frozen=True, slots=True)
class Pieces:
    """What was made and scrapped before, of one machine or with one batch."""

    made: float = 0.0
    scrapped: float = 0.0

    def share(self) -> float:
        """The share of scrap; with few pieces it stays near the usual one, so that one bad piece is no bad batch."""
        return (self.scrapped + WEIGHT * USUAL_SCRAP) / (max(self.made, self.scrapped) + WEIGHT)


@dataclass(frozen=True, slots=True)
class Scrap:
    """One report. `pieces` are good and scrapped together; minutes, and deviations in widths of their tolerance."""

    machine: str
    defect: str  # the code that was reported; empty: none
    at: datetime  # in the plant's time zone
    pieces: float
    scrapped: float
    since_set_up: float | None = None  # pieces
    tool_used: float | None = None  # share of the tool's life
    since_stop: float | None = None  # minutes
    temperature_off: float | None = None
    pressure_off: float | None = None
    cycle_off: float | None = None
    of_machine: Pieces = Pieces()
    of_batch: Pieces = Pieces()


def shift(at: datetime) -> str:
    """The shift of a time of the plant's day."""
    begun = [name for hour, name in SHIFTS if at.hour >= hour]
    return begun[-1] if begun else NIGHT


def values(scrap: Scrap) -> dict[str, Value]:
    """By name what the model looks at; `agent.features.row` makes its row with the values that the manifest knows."""
    return {
        "scrapped_share": min(scrap.scrapped / scrap.pieces, 1.0) if scrap.pieces > 0 else None,
        "since_set_up": scrap.since_set_up,
        "tool_used": scrap.tool_used,
        "since_stop": scrap.since_stop,
        "temperature_off": scrap.temperature_off,
        "pressure_off": scrap.pressure_off,
        "cycle_off": scrap.cycle_off,
        "scrap_of_machine": scrap.of_machine.share(),
        "scrap_of_batch": scrap.of_batch.share(),
        "machine": scrap.machine,
        "defect": scrap.defect or None,
        "shift": shift(scrap.at),
    }


def cost_centre(cause: str, machine: str, centres: Mapping[str, str]) -> str | None:
    """Who bears a cause: the entry ``cause@machine`` before the entry ``cause``; None where the table has neither."""
    return centres.get(f"{cause}@{machine}") or centres.get(cause)
