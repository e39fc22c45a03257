"""What was forecast of shortages, as people and programs read it, the likeliest first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from agent.features.shortage_forecast import QUANTILES, SLOT_MINUTES
from agent.scoring.drift import State, advice
from agent.shortages.outlook import MIDDLE, Horizon, Kept, Outlook, begin_of
from agent.units import UnitTable

STALE: Final = timedelta(minutes=3 * SLOT_MINUTES)  # older than this, nobody forecasts any more


def shown(kept: Kept | None, states: Mapping[str, State], now: datetime, units: UnitTable) -> dict[str, Any]:
    """The forecast with its age, and whether it is in doubt; quantities in `unit`, as people call it."""
    if kept is None:
        nothing = {"forecast_from": None, "stale": False, "model": "", "drift": None, "doubt": "", "stock_as_of": None}
        return {**nothing, "items": [], "left_out": []}
    until, state = begin_of(kept.slot), states.get(kept.model, State())
    items = [_shown(one, units) for one in sorted(kept.outlooks, key=_urgency)]
    return {
        "forecast_from": until.isoformat(),
        "stale": now - until > STALE,
        "model": kept.model,
        "drift": state.level.value if kept.model else None,
        "doubt": advice(kept.model, state, now) if state.raised else "",
        "stock_as_of": kept.stock_as_of.isoformat() if kept.stock_as_of else None,
        "items": items,
        "left_out": [one.model_dump() for one in kept.left_out],
    }


def _urgency(one: Outlook) -> tuple[float, str, str]:
    short = max((at.short for at in one.horizons if at.short is not None), default=-1.0)
    return -short, one.material, one.storage_location


def _shown(one: Outlook, units: UnitTable) -> dict[str, Any]:
    return {
        "material": one.material,
        "storage_location": one.storage_location,
        "unit": units.shown(one.unit),
        "stock": None if one.stock is None else _figure(one.stock),
        "safety_stock": _figure(one.safety),
        "earliest_at": one.earliest_at.isoformat() if one.earliest_at else None,
        "likely_at": one.likely_at.isoformat() if one.likely_at else None,
        "horizons": [_horizon(at) for at in one.horizons],
    }


def _horizon(at: Horizon) -> dict[str, Any]:
    learnt, told = at.learnt, bool(at.used)
    return {
        "hours": at.slots * SLOT_MINUTES / 60,
        "likely": _figure(at.used[MIDDLE]) if told else None,
        "at_most": _figure(at.used[-1]) if told else None,
        "quantiles": {f"{share:g}": _figure(used) for share, used in zip(QUANTILES, at.used, strict=False)},
        "short": None if at.short is None else round(at.short, 4),
        "by": at.by,
        "why": at.why,
        "outcomes": learnt.outcomes,
        "at_most_held": round(learnt.below[-1] / learnt.outcomes, 4) if learnt.outcomes else None,
    }


def _figure(value: float) -> float:
    """Six digits that count."""
    return float(f"{value:.6g}")
