"""Exact conversion between units of measure: fractions only, rounded nowhere but where the caller says so.

Codes are those of UN/ECE Recommendation 20. What the floor writes (``kg``, ``pcs``) and what SAP calls a unit
(internal, external and ISO code differ) are configuration: `UnitsFile`, in ``edge_config/units.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from agent.errors import BadPayload
from agent.isa95 import Quantity

DEFAULT_DECIMALS: Final = 3  # of a quantity in SAP, QUAN 13,3


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure: `factor` base units of its dimension make one."""

    dimension: str
    factor: Fraction


_BASES: Final[Mapping[str, Mapping[str, str]]] = {
    # The first of each line is the base. Factors are exact by definition: pound and inch since 1959.
    "count": {"C62": "1", "H87": "1", "EA": "1", "PR": "2", "DZN": "12", "CEN": "100", "GRO": "144", "MIL": "1000"},
    "mass": {
        "KGM": "1", "GRM": "1/1000", "MGM": "1/1000000", "TNE": "1000", "LBR": "0.45359237", "ONZ": "0.028349523125",
    },
    "volume": {
        "MTQ": "1", "LTR": "1/1000", "DMQ": "1/1000", "MLT": "1/1000000", "CMQ": "1/1000000", "HLT": "1/10",
        "GLL": "0.003785411784",
    },
    "length": {"MTR": "1", "CMT": "1/100", "MMT": "1/1000", "KMT": "1000", "INH": "0.0254", "FOT": "0.3048"},
    "area": {"MTK": "1", "CMK": "1/10000", "MMK": "1/1000000"},
    "time": {"SEC": "1", "MIN": "60", "HUR": "3600", "DAY": "86400"},
    "energy": {"JOU": "1", "KJO": "1000", "WHR": "3600", "KWH": "3600000", "MWH": "3600000000"},
    "ratio": {"P1": "1/100"},
}  # fmt: skip

BUILT_IN: Final[Mapping[str, Unit]] = MappingProxyType(
    {code: Unit(dimension, Fraction(factor)) for dimension, units in _BASES.items() for code, factor in units.items()}
)

# Still sent by many systems; as codes of Recommendation 20 they are deleted, or (PCE) never stood there.
DELETED: Final = frozenset({"ST", "CS", "BX", "PF", "RO", "PCE"})


# ── configuration ───────────────────────────────────────────────────────────────────────────────────────────


def _fraction(value: object) -> object:
    """Exact fractions are written ``3``, ``0.25`` or ``1/1000``."""
    if isinstance(value, Fraction):
        return value
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number or a fraction like 1/1000") from None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class UnitEntry(_Strict):
    """A unit beyond the built-in ones: a code of Recommendation 20 or 21, for example XBX for a box."""

    dimension: str = Field(min_length=1, description="units convert into each other within one dimension")
    factor: Annotated[Fraction, BeforeValidator(_fraction)] = Field(
        default=Fraction(1), gt=0, description="how many base units of the dimension make one"
    )


class SapUnit(_Strict):
    """How SAP calls a unit (tables T006, T006A, T006I) and how precise a quantity in it may be (T006-ANDEC)."""

    external: str = Field(min_length=1, max_length=3, description="commercial code in the language of the ERP user")
    internal: str = Field(default="", max_length=3, description="…SAPCode fields; the external code where empty")
    iso: str = Field(default="", max_length=3, description="…ISOCode fields; the key of this entry where empty")
    decimals: int = Field(default=DEFAULT_DECIMALS, ge=0, le=3, description="decimals of a quantity in this unit")
    primary: bool = Field(default=False, description="the one to read where two units share a code of SAP")


def _known(code: str, info: ValidationInfo) -> str:
    """A code that is built in or stands under `units`, which is read first."""
    if code not in BUILT_IN and code not in info.data.get("units", {}):
        raise ValueError(f"unknown unit {code!r}; use a code of Rec 20 or add it under units")
    return code


KnownCode = Annotated[str, AfterValidator(_known)]


class UnitsFile(_Strict):
    """``units.yaml``: what the plant and its ERP call the units."""

    units: dict[str, UnitEntry] = Field(default_factory=dict, description="codes beyond the built-in ones")
    aliases: dict[str, KnownCode] = Field(default_factory=dict, description="name on the floor → code")
    sap: dict[KnownCode, SapUnit] = Field(default_factory=dict, description="code → codes of SAP")

    @field_validator("units")
    @classmethod
    def _units_are_new(cls, units: dict[str, UnitEntry]) -> dict[str, UnitEntry]:
        for code in units:
            if code in BUILT_IN or code in DELETED:
                raise ValueError(f"{code} is {'built in' if code in BUILT_IN else 'deleted in Rec 20: use an alias'}")
        return units

    @field_validator("aliases")
    @classmethod
    def _aliases_are_no_units(cls, aliases: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, code in aliases.items():
            if name != code and (name in BUILT_IN or name in info.data.get("units", {})):
                raise ValueError(f"{name} is a unit itself and cannot mean {code}")
        return aliases

    @field_validator("sap")
    @classmethod
    def _sap_codes_are_one(cls, sap: dict[str, SapUnit]) -> dict[str, SapUnit]:
        _by_sap_code(sap)
        return sap


def _by_sap_code(sap: Mapping[str, SapUnit]) -> dict[str, str]:
    """Code of SAP → code of Recommendation 20. One ISO code may belong to several units: then one is primary."""
    claims: dict[str, list[str]] = {}
    for code, entry in sap.items():
        for sap_code in {entry.external, entry.internal, entry.iso} - {""}:
            claims.setdefault(sap_code, []).append(code)
    chosen = {}
    for sap_code, codes in claims.items():
        primary = codes if len(codes) == 1 else [code for code in codes if sap[code].primary]
        if len(primary) != 1:
            raise ValueError(f"code {sap_code!r} of SAP belongs to {', '.join(codes)}; mark just one as primary")
        chosen[sap_code] = primary[0]
    return chosen


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────


class MaterialUnits(Protocol):
    """What a material adds: `units` says how many base units one of another unit is (A_ProductUnitsOfMeasure)."""

    @property
    def material(self) -> str:
        """Number of the material."""

    @property
    def base_unit(self) -> str:
        """Unit in which the ERP keeps its stock."""

    @property
    def units(self) -> Mapping[str, Fraction]:
        """Base units per one of each other unit."""


@dataclass(frozen=True, slots=True)
class UnitTable:
    """All units the agent knows. Quantities are exact; what cannot be exact is refused by name."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    sap: Mapping[str, SapUnit] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=lambda: BUILT_IN)
    _names: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _sap_codes: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", {**{code: code for code in self.units}, **self.aliases})
        object.__setattr__(self, "_sap_codes", _by_sap_code(self.sap))

    @classmethod
    def of(cls, file: UnitsFile) -> UnitTable:
        """The table of a configuration file."""
        added = {code: Unit(entry.dimension, entry.factor) for code, entry in file.units.items()}
        return cls(aliases=dict(file.aliases), sap=dict(file.sap), units={**BUILT_IN, **added})

    def code(self, name: Any, where: str = "") -> str:
        """The Rec 20 code of what the floor wrote; `where` names the field. Raises BadPayload (``unknown_unit``)."""
        code = self._names.get(name) if type(name) is str else None
        if code is None:
            shown = repr(name)[:40]
            why = "is deleted in Rec 20" if shown.strip("'") in DELETED else "is unknown"
            raise BadPayload(f"unit {shown} {why}; add it to aliases in units.yaml", field=where, reason="unknown_unit")
        return code

    def names(self, dimension: str = "") -> Mapping[str, str]:
        """Every name the floor may write → its code; only those of one dimension where one is given."""
        return {
            name: code for name, code in self._names.items() if not dimension or self.units[code].dimension == dimension
        }

    def limits(self, written: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
        """Limits of quantities by every code that measures the same, so that none is evaded by another unit.

        What is written for a unit itself counts for it; elsewhere the lowest. Raises BadPayload (``unknown_unit``).
        """
        own = {self.code(name, name): most for name, most in written.items()}
        found: dict[str, Decimal] = {}
        for unit, most in own.items():
            for other in {*self.names(self.dimension(unit)).values()}:
                factor = self.factor(unit, other)
                with localcontext(prec=12):  # digits; for people to read, too
                    limit = most * factor.numerator / factor.denominator
                found[other] = min(limit, found.get(other, limit))
        return found | own

    def dimension(self, unit: str) -> str:
        """What the unit measures: ``mass``, ``count``, ``time`` …"""
        return self._unit(unit).dimension

    def factor(self, from_unit: str, to_unit: str, material: MaterialUnits | None = None) -> Fraction:
        """How many `to_unit` one `from_unit` is. What the material itself says counts more than the table.

        Raises BadPayload that names both units: ``unknown_unit`` or ``other_dimension``.
        """
        if from_unit == to_unit:
            return Fraction(1)
        if material is not None:
            one, other = self._in_base_units(from_unit, material), self._in_base_units(to_unit, material)
            if one is not None and other is not None:
                return one / other
        source, target = self._unit(from_unit, to_unit), self._unit(to_unit, from_unit)
        if source.dimension == target.dimension:
            return source.factor / target.factor
        of = f" of material {material.material}" if material is not None else ""
        raise BadPayload(
            f"{from_unit} ({source.dimension}){of} cannot become {to_unit} ({target.dimension}); "
            "the material's units of measure name no conversion",
            reason="other_dimension",
        )

    def convert(self, quantity: Quantity, to_unit: str, material: MaterialUnits | None = None) -> Quantity:
        """The same amount in another unit, exactly. Raises BadPayload; ``inexact`` where no decimal number is it."""
        if quantity.unit == to_unit:
            return quantity
        value = Fraction(quantity.value) * self.factor(quantity.unit, to_unit, material)
        exact = _exact(value)
        if exact is None:
            raise BadPayload(f"{quantity} is {value} {to_unit}: no decimal number is exactly that", reason="inexact")
        return Quantity(exact, to_unit)

    def convert_rounded(
        self, quantity: Quantity, to_unit: str, decimals: int, material: MaterialUnits | None = None
    ) -> Quantity:
        """The same amount in another unit, rounded once, HALF_UP: for where the configuration allows the loss."""
        value = Fraction(quantity.value) * self.factor(quantity.unit, to_unit, material)
        return Quantity(_half_up(value, decimals), to_unit)

    def shown(self, unit: str) -> str:
        """As the users of the ERP know it, for people to read; the code itself where nothing says how."""
        entry = self.sap.get(unit)
        return entry.external if entry else unit

    def sap_external(self, unit: str) -> str:
        """The commercial code that SAP expects in ``…Unit`` fields. Raises BadPayload (``unknown_unit``)."""
        return self._sap(unit).external

    def sap_internal(self, unit: str) -> str:
        """The code for ``…UnitSAPCode`` fields. Raises BadPayload (``unknown_unit``)."""
        entry = self._sap(unit)
        return entry.internal or entry.external

    def sap_iso(self, unit: str) -> str:
        """The code for ``…UnitISOCode`` fields. Raises BadPayload (``unknown_unit``)."""
        return self._sap(unit).iso or unit

    def decimals(self, unit: str) -> int:
        """How many decimals SAP takes for a quantity in this unit."""
        entry = self.sap.get(unit)
        return entry.decimals if entry else DEFAULT_DECIMALS

    def from_sap(self, sap_code: str) -> str:
        """The Rec 20 code of an external, internal or ISO code of SAP. Raises BadPayload (``unknown_unit``)."""
        code = self._sap_codes.get(sap_code)
        if code is None:
            raise BadPayload(f"SAP unit {sap_code!r} is unknown; add it under sap in units.yaml", reason="unknown_unit")
        return code

    def _sap(self, unit: str) -> SapUnit:
        entry = self.sap.get(unit)
        if entry is None:
            raise BadPayload(f"unit {unit!r} has no SAP code; add it under sap in units.yaml", reason="unknown_unit")
        return entry

    def _unit(self, code: str, counterpart: str = "") -> Unit:
        unit = self.units.get(code)
        if unit is None:
            beside = f" (to convert with {counterpart!r})" if counterpart else ""
            raise BadPayload(f"unit {code!r} is unknown{beside}; add it in units.yaml", reason="unknown_unit")
        return unit

    def _in_base_units(self, code: str, material: MaterialUnits) -> Fraction | None:
        """How many base units of the material one `code` is; None: nothing says so."""
        if code == material.base_unit:
            return Fraction(1)
        if code in material.units:
            return material.units[code]
        unit = self.units.get(code)
        for known, factor in ((material.base_unit, Fraction(1)), *material.units.items()):
            other = self.units.get(known)
            if unit is not None and other is not None and unit.dimension == other.dimension:
                return unit.factor / other.factor * factor
        return None


# ── rounding and splitting ──────────────────────────────────────────────────────────────────────────────────


def round_to(quantity: Quantity, decimals: int, *, loss_allowed: bool) -> Quantity:
    """The quantity with `decimals` places, HALF_UP as SAP rounds. Raises BadPayload (``too_precise``) at a loss
    that is not allowed."""
    exact = Fraction(quantity.value)
    value = _half_up(exact, decimals)
    if not loss_allowed and value != exact:
        raise BadPayload(
            f"{quantity} has more than the {decimals} decimals that the ERP keeps; allow the loss or send fewer",
            reason="too_precise",
        )
    return Quantity(value, quantity.unit)


def split(total: Quantity, shares: int | Sequence[Decimal | int], decimals: int) -> tuple[Quantity, ...]:
    """`total` in parts of `decimals` places that add up to it again: equal parts, or in proportion to weights.

    What the parts' rounding down leaves over goes, one last place each, to those that lost most (largest remainder).
    Raises BadPayload (``too_precise``) where the total itself has more places.
    """
    weights = [Fraction(1)] * shares if isinstance(shares, int) else [Fraction(share) for share in shares]
    if not weights or min(weights) < 0 or not sum(weights):
        raise ValueError(f"cannot split {total} by {shares}: weights must not be negative, and not all zero")
    value = round_to(total, decimals, loss_allowed=False).value
    places = int(Fraction(abs(value)) * 10**decimals)
    exact = [places * weight / sum(weights) for weight in weights]
    parts = [part.__floor__() for part in exact]
    lost_most = sorted(range(len(parts)), key=lambda index: parts[index] - exact[index])
    for index in lost_most[: places - sum(parts)]:
        parts[index] += 1
    sign = -1 if value < 0 else 1
    return tuple(Quantity(_decimal(sign * part, decimals), total.unit) for part in parts)


def _half_up(value: Fraction, decimals: int) -> Decimal:
    scaled = abs(value) * 10**decimals
    places = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return _decimal(-places if value < 0 else places, decimals)


def _exact(value: Fraction) -> Decimal | None:
    """The decimal number that is exactly `value`; None where there is none (a denominator beyond 2 and 5)."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    decimals = max(twos, fives)
    return _decimal(value.numerator * 10**decimals // value.denominator, decimals)


def _decimal(places: int, decimals: int) -> Decimal:
    """`places` of 10^-decimals. By text, because arithmetic on Decimal would round to the context's 28 digits."""
    return Decimal(f"{places}E-{decimals}")
