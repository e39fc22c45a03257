"""The bodies of acts: what people and machines ask for over HTTP, checked strictly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from agent.access.signing import LONGEST_NAME, LONGEST_REASON, person, readable

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_REASON), AfterValidator(readable)
]
Person = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME), AfterValidator(person)
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128), AfterValidator(readable)]

Word = Annotated[str, StringConstraints(strip_whitespace=True, max_length=128), AfterValidator(readable)]


class Reasoned(BaseModel):
    """Why, and for whom."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reason: Reason = Field(description="Why, in the words of whoever acts; kept in the audit trail")
    on_behalf_of: Person | None = Field(
        default=None, description="The person a gateway acts for; only for tokens with `acts_for_people`"
    )


class Decide(Reasoned):
    """An approval or refusal of what was shown."""

    expected_version: int = Field(ge=1, lt=2**63, description="The `version` that was shown: who comes second gets 409")
    record_hash: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="The `record_hash` that was shown; binds the signature to it",
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"expected_version": 1, "reason": "weighed again, 12.5 kg is right"}]}
    )


class Amend(Decide):
    """A correction of what was shown: the posting with these figures takes its place, approved by whoever corrects."""

    changes: dict[str, str] = Field(
        min_length=1, max_length=8,
        description="Field → what it shall be, in the unit of the posting; `record.correctable` names the fields",
    )  # fmt: skip

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"expected_version": 1, "reason": "the edge is worn", "changes": {"cause": "tool"}}]
        }
    )


class Document(Reasoned):
    """The document that a person found in the ERP."""

    document: Name = Field(description="As the ERP numbers it, for SAP `year/number` or `group/count`")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"document": "2026/4900000001", "reason": "found in MB51 by its key"}]}
    )


class Stop(Reasoned):
    """What is to stop, or to go on."""

    scope: Literal["target", "line", "order"]
    key: Name = Field(description="The target (`*`: every one), the line or the order")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scope": "line", "key": "mixing", "reason": "stocktaking until 14:00"}]}
    )


class Pause(Stop):
    """What is to stop."""

    force: bool = Field(default=False, description="Also a line or an order that the agent does not know yet")


class Promotion(Reasoned):
    """The version of a model that shall decide."""

    version: Name = Field(description="A version that `gatepost models list` shows")
    anyway: bool = Field(
        default=False, description="Also where it has not shown on this plant's reports that it is better; on record"
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": "2", "reason": "fewer good lots held in shadow"}]}
    )


class Challenge(Reasoned):
    """The version of a model that shall be asked in shadow."""

    version: Name | None = Field(description="A version that `gatepost models list` shows; null: none any more")

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "2", "reason": "trained on October"}]})
