"""GET /v1/shortages: which materials run short at their places within two and three hours. It changes nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from agent.access.masking import veiled
from agent.errors import NotFound
from agent.people.veil import covered
from agent.shortages.looking import told
from agent.shortages.telling import shown
from agent.web.looks import Reader
from agent.web.models import Shown
from agent.web.requests import TheAgent, look, new_router

router = new_router()


class UseToCome(Shown):
    """What will be used within so many hours, in the unit of its place."""

    hours: float
    likely: float | None = Field(description="As likely more as less; null: nobody can say, `why` says why")
    at_most: float | None = Field(description="More than this in one of twenty cases")
    quantiles: dict[str, float] = Field(description="Share of cases → in so many of them no more is used")
    short: float | None = Field(description="Probability that less than the safety stock is left; null: not known")
    by: str = Field(description="Model and version that said it, or `profile`; empty: nobody")
    why: str = Field(description="Why it is not the model; empty: it is")
    outcomes: int = Field(description="Forecasts of this model here that were held against what came")
    at_most_held: float | None = Field(description="The share of them in which no more than `at_most` was used")


class Shortage(Shown):
    """One material at one place."""

    material: str
    storage_location: str
    unit: str
    stock: float | None = Field(description="As the ERP told it, less what is on its way there; null: it never told")
    safety_stock: float
    earliest_at: AwareDatetime | None = Field(description="Less than the safety stock is left, if so much is used")
    likely_at: AwareDatetime | None = Field(description="The same if the likely quantity is used; null: not in 3 h")
    horizons: list[UseToCome]


class NotForecast(Shown):
    """A material that is used at a place, and why nothing is forecast of it."""

    material: str
    storage_location: str
    why: str


class Shortages(Shown):
    """What runs short, the likeliest first."""

    forecast_from: AwareDatetime | None = Field(description="It is forecast from here on; null: not yet")
    stale: bool = Field(description="It is older than three quarters of an hour: nobody forecasts any more")
    model: str = Field(description="The version that was asked; empty: none fits")
    drift: Literal["learning", "green", "warn", "alarm"] | None = Field(
        description="How far what it is asked, and how often it holds, lie from what was; null: no version was asked"
    )
    doubt: str = Field(description="Why the forecast is in doubt and what to do, in words; empty: it is not")
    stock_as_of: AwareDatetime | None = Field(description="When the ERP was last heard")
    items: list[Shortage]
    left_out: list[NotForecast]


@router.get("/v1/shortages", tags=["shortages"])
async def list_shortages(agent: TheAgent, caller: Reader) -> Shortages:
    """Which materials run short within two and three hours, with what probability and when, by which version.

    Stock belongs to no line: who may see single lines only is told nothing.
    """
    if agent.config.shortages is None:
        raise NotFound("nothing is forecast: the configuration has no section `shortages`")
    found = shown(*((None, {}) if caller.lines else await look(agent, told)), agent.clock(), agent.rules.facts.units)
    hidden = covered(agent.config, caller)
    return Shortages.model_validate({**found, **{part: veiled(found[part], hidden) for part in ("items", "left_out")}})
