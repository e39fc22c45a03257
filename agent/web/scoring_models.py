"""The shapes of answers about the models that score, for OpenAPI: who decides, what drifted, why it said that."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agent.web.models import Shown


class Promoted(Shown):
    """Which version of a model decides now."""

    model: str
    version: str
    before: str | None = Field(description="The version that decided before")
    signed_by: str = Field(description="The key that signed it, as its file in `model_keys` is called")
    by: str


class Challenged(Shown):
    """Which version of a model is asked in shadow now."""

    model: str
    version: str | None
    before: str | None = Field(description="The version that was asked in shadow before")
    by: str


class Accepted(Shown):
    """What a model is asked is right as it is now."""

    model: str
    versions: list[str] = Field(description="The versions, `name/version`, whose inputs had drifted")
    by: str


class Drift(Shown):
    """Where one version stands, and what a person does about it."""

    level: Literal["learning", "green", "warn", "alarm"] = Field(description="`learning`: too few reports yet")
    since: str = Field(description="When this level began; empty: it never was another")
    bar_raised: bool = Field(description="Whether its workflows ask for a higher score than the configuration")
    what: str = Field(description="What it means and what to do, in words; empty: nothing")
    figures: dict[str, Any] | None = Field(description="What was found in the newest reports; null: nothing yet")
    outcomes: dict[str, Any] | None = Field(description="What people found of what it said; null: nothing yet")
    held: dict[str, Any] | None = Field(
        description="Of a model that forecasts: how often no more came than it said at most; null: it forecasts nothing"
    )
    shift: float = Field(description="By which its log-odds are moved since a recalibration; 0: as the graph says")


class Model(Shown):
    """One configured model."""

    name: str
    scores: str = Field(
        description="The version that scores now, `name/version`; empty: none fits, or none was asked yet"
    )
    error: str | None = Field(description="Why none fits")
    workflows: list[str] = Field(description="Who asks it: workflows, or `shortages`, the forecast of what runs short")
    champion: str | None = Field(default=None, description="The version that shall score, as the aliases say")
    challenger: str | None = None
    versions: list[str] = Field(description="Every version that is there, whatever its part")
    previous: str | None = Field(default=None, description="The version before, for the way back")
    approved: dict[str, str] | None = Field(
        default=None, description="Who let the champion decide, when, why, and what that means; null: it came like that"
    )
    drift: Drift | None = Field(
        default=None,
        description="How far what the scoring version is asked lies from what it knows; null: not looked at yet",
    )


class Models(Shown):
    """Every configured model."""

    items: list[Model]


class Difference(Shown):
    """One field of a decision that is not the same when it is computed again."""

    field: str
    recorded: Any
    now: Any


class Recomputed(Shown):
    """A decision computed again from its record, by the very version of the model that decided."""

    event: int
    decided_at: str
    model: str | None = Field(description="The version that was asked; null: none was")
    same: bool
    exact: bool = Field(description="To the last bit; false: a record of an older release, compared within rounding")
    problem: str | None = Field(description="Why it could not be computed")
    differences: list[Difference]
    reasons_now: list[str] = Field(description="The model's reasons, where this release tells them otherwise")
    likely: list[str] = Field(description="What may have caused the differences")
    account: Recomputed | None = Field(
        default=None, description="The same of the model that looked over the G/L account; null: none did"
    )


class Influence(Shown):
    """One input of a model, as people read it."""

    text: str
    value: str = Field(description="With its unit")
    usual: str = Field(description="What training mostly saw")
    points: float = Field(description="Points of 100 that usual values in its place would add to the confidence")
    beyond: bool = Field(description="Outside of what training mostly saw")


class Told(Shown):
    """Why a model scored as it did."""

    model: str | None = Field(description="The version that scored; null: none did")
    confidence: float | None
    said: str | None = Field(default=None, description="The likeliest class, of a model that tells classes")
    reasons: list[str] = Field(description="What matters most, as sentences")
    inputs: list[Influence] = Field(description="Every input that people can read, the worst first")
    problem: str | None = Field(description="Why there is nothing to tell")


class Explained(Told):
    """Why models said what they did about one event."""

    event: int
    account: Told | None = Field(
        default=None, description="The same of the model that looked over the G/L account; null: none did"
    )
