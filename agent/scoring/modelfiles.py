"""What the files of a trained model say: manifest, parity cases, reference, aliases. `registry` reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

FILES: Final = ("model.onnx", "parity.json", "card.md", "reference.json")  # beside the manifest and its signature

FOLDER_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
FolderName = Annotated[str, StringConstraints(pattern=FOLDER_NAME)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Told(BaseModel):
    """Whatever such a file says: read once, never changed, nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(Told):
    """One feature: outside of `least` to `most` the model is not asked; `low` to `high` is what training mostly saw."""

    name: str
    least: FiniteFloat
    most: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    text: str = ""  # what people read about it; empty: not told
    unit: str = ""  # in which people read it
    scale: Literal["plain", "log"] = "plain"  # log: people read its exponential
    more: Literal["", "raises", "lowers"] = (
        ""  # raises: more of it never makes a lower class likelier; lowers: a higher
    )
    null: Literal["refused", "allowed"] = "refused"  # allowed: the graph takes NaN for a value that is missing


class Output(Told):
    """Where the answer stands among the graph's outputs: `columns` of it, for a probability the one that is meant."""

    name: str
    column: int = Field(default=0, ge=0)
    columns: int = Field(ge=1)


class Approval(Told):
    """Who approved a version: before it was signed (manifest), or as it came to decide at a plant (aliases)."""

    by: str
    reason: str
    at: str  # ISO 8601, UTC
    meaning: str = ""  # what the signature means


class Manifest(Told):
    """``manifest.json``: what the files must be, what the graph takes and gives, what is known about it."""

    format: Literal[2] = 2
    name: FolderName
    version: FolderName
    kind: Literal["probability", "classes", "quantiles"]
    files: Mapping[str, Sha256]
    input: str = "features"
    features: tuple[Input, ...] = Field(min_length=1)  # what the graph takes, float32, in this order
    categories: Mapping[str, tuple[str, ...]] = {}  # `machine` → its values, each a feature ``machine=value``
    output: Output
    classes: tuple[str, ...] = ()  # in the order of the columns
    quantiles: tuple[float, ...] = ()
    temperature: float = Field(default=1.0, gt=0)  # is inside of the graph; told for people and for replay
    conformal: Mapping[str, Share] = {}  # by alpha: a class is in the set when 1 − p is at most this
    bars: Mapping[str, Share] = {}  # by action: the probability that it needs
    opsets: Mapping[str, int]
    trained: Mapping[str, str | int | float]  # on what, how, with which packages
    metrics: Mapping[str, FiniteFloat] = {}  # how well, on data it had not seen
    approved: Approval | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if set(self.files) != set(FILES):
            raise ValueError(f"files must be {', '.join(FILES)}, not {', '.join(self.files) or 'none'}")
        names = [one.name for one in self.features]
        if len(set(names)) != len(names):
            raise ValueError("features: a name stands twice")
        if wrong := [one.name for one in self.features if not (one.least <= one.most and one.low <= one.high)]:
            raise ValueError(f"features: the range of {wrong[0]} is empty")
        expanded = [f"{name}={value}" for name, values in self.categories.items() for value in values]
        if missing := set(expanded) - set(names):
            raise ValueError(f"categories: there is no feature {min(missing)}")
        columns = {"classes": len(self.classes), "quantiles": len(self.quantiles)}.get(self.kind, self.output.columns)
        if columns != self.output.columns or self.output.column >= columns:
            raise ValueError(f"output: {self.output.columns} columns do not fit {columns} {self.kind}")
        if any(not 0 < low < high < 1 for low, high in pairwise(self.quantiles)):
            raise ValueError("quantiles: must rise, between 0 and 1")
        if any(not re.fullmatch(r"0\.\d+", alpha) for alpha in self.conformal):
            raise ValueError("conformal: the keys are shares of error, as 0.05")
        return self


class Parity(Told):
    """``parity.json``: what training computed for rows of the graph's input; null: a value that is missing."""

    rows: tuple[tuple[float | None, ...], ...] = Field(min_length=1)
    outputs: tuple[tuple[FiniteFloat, ...], ...] = Field(min_length=1)  # every column of the output


class InputReference(Told):
    """What training saw of one raw input: the 9 deciles of a number, or the shares of the values of a category."""

    deciles: tuple[FiniteFloat, ...] = ()
    shares: Mapping[str, Share] = {}
    nulls: Share = 0.0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if len(self.deciles) not in (0, 9) or bool(self.deciles) == bool(self.shares):
            raise ValueError("has either 9 deciles or shares")
        if list(self.deciles) != sorted(self.deciles):
            raise ValueError("deciles must rise")
        return self


class Reference(Told):
    """``reference.json``: by raw input, and the mean of each column of the output over `rows` rows."""

    rows: int = Field(ge=1)
    inputs: Mapping[str, InputReference]
    mean: tuple[FiniteFloat, ...]


class Aliases(Told):
    """``aliases.json``: which version has which part."""

    champion: FolderName
    challenger: FolderName | None = None
    previous: FolderName | None = None
    approved: Approval | None = None  # who let the champion decide here; None: nobody has, it came like that

    @property
    def parts(self) -> Mapping[str, str]:
        """Part → the version that has it."""
        told = {"champion": self.champion, "challenger": self.challenger, "previous": self.previous}
        return {part: version for part, version in told.items() if version}
