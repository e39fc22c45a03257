"""Units of measure: names, conversions and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from agent.configuration import config
from agent.errors import BadPayload, ConfigError
from agent.isa95 import Quantity
from agent.units import BUILT_IN, DELETED, UnitsFile, UnitTable, round_to, split

UNITS_YAML = Path("edge_config/units.yaml")


@dataclass(frozen=True)
class Screws:
    """Kept in pieces; sold by the box of 200, which weighs 1.5 kg, and by a pallet the table has never heard of."""

    material: str = "SCREW-4"
    base_unit: str = "H87"
    units: dict[str, Fraction] = field(
        default_factory=lambda: {"XBX": Fraction(200), "KGM": Fraction(400, 3), "PAL": Fraction(96000)}
    )


@pytest.fixture(scope="module")
def units() -> UnitTable:
    return UnitTable.of(config.parse(UNITS_YAML, UnitsFile))


def kg(value: str) -> Quantity:
    return Quantity(Decimal(value), "KGM")


@pytest.mark.parametrize(
    ("name", "code"),
    [("kg", "KGM"), ("KG", "KGM"), ("pcs", "H87"), ("ST", "H87"), ("PCE", "H87"), ("min", "MIN"), ("KGM", "KGM")],
)
def test_names_of_the_floor_become_codes(units: UnitTable, name: str, code: str):
    """What the floor writes is a code itself or a configured alias."""
    assert units.code(name) == code


@pytest.mark.parametrize("name", ["Kg", "", "furlong", "XX" * 1000, None, 5, True, ["kg"], {"kg": 1}])
def test_unknown_names_are_refused(units: UnitTable, name: object):
    """A name that is neither code nor alias is refused, with its field, its value and the file to mend."""
    with pytest.raises(BadPayload, match=r"^\$\.unit: unit .* is unknown; .* units\.yaml") as refusal:
        units.code(name, "$.unit")

    assert refusal.value.reason == "unknown_unit"
    assert repr(name)[:40] in str(refusal.value)


@pytest.mark.parametrize("name", sorted(DELETED))
def test_deleted_codes_need_an_alias(name: str):
    """A code that Rec 20 deleted is no unit by itself, and says so."""
    with pytest.raises(BadPayload, match=f"unit '{name}' is deleted in Rec 20"):
        UnitTable().code(name)


@pytest.mark.parametrize(
    ("value", "unit", "to_unit", "expected"),
    [
        ("12.5", "KGM", "GRM", "12500"),
        ("1", "LBR", "KGM", "0.45359237"),
        ("3", "DZN", "C62", "36"),
        ("90", "MIN", "HUR", "1.5"),
        ("2.6", "MIN", "SEC", "156.0"),
        ("-7", "HLT", "LTR", "-700"),
        ("1E-30", "TNE", "GRM", "1E-24"),
        ("0.1234567890123456789012345678901234567890", "KGM", "GRM", "123.4567890123456789012345678901234567890"),
    ],
)
def test_conversion_is_exact(value: str, unit: str, to_unit: str, expected: str):
    """Every digit survives a conversion, beyond the 28 of Python's default context too."""
    assert UnitTable().convert(Quantity(Decimal(value), unit), to_unit) == Quantity(Decimal(expected), to_unit)


def test_the_same_unit_changes_nothing():
    """A quantity that is already in the unit comes back as it is, digits and all."""
    quantity = kg("12.500")

    assert UnitTable().convert(quantity, "KGM") is quantity


def test_what_no_decimal_number_is_must_be_rounded_by_the_caller():
    """1 kg is no exact number of pounds: refused, or rounded once where the caller asks for it."""
    with pytest.raises(BadPayload, match=r"1 KGM is .* LBR: no decimal number") as refusal:
        UnitTable().convert(kg("1"), "LBR")

    assert refusal.value.reason == "inexact"
    assert UnitTable().convert_rounded(kg("1"), "LBR", 3) == Quantity(Decimal("2.205"), "LBR")


def test_another_dimension_is_refused_by_both_names():
    """Mass does not become volume; the refusal names both units and what they measure."""
    with pytest.raises(BadPayload, match=r"KGM \(mass\) cannot become LTR \(volume\)") as refusal:
        UnitTable().convert(kg("1"), "LTR")

    assert refusal.value.reason == "other_dimension"


@pytest.mark.parametrize(("unit", "to_unit"), [("XXX", "KGM"), ("KGM", "XXX")])
def test_an_unknown_code_is_refused_by_both_names(unit: str, to_unit: str):
    """A code that the table does not hold is refused together with its counterpart."""
    with pytest.raises(BadPayload, match=r"'XXX' is unknown .*'KGM'"):
        UnitTable().convert(Quantity(Decimal(1), unit), to_unit)


@pytest.mark.parametrize(
    ("value", "unit", "to_unit", "expected"),
    [
        ("3", "XBX", "H87", "600"),
        ("600", "H87", "XBX", "3"),
        ("1.5", "KGM", "XBX", "1"),
        ("1500", "GRM", "H87", "200"),
        ("2", "DZN", "GRM", "180"),
        ("1", "PAL", "XBX", "480"),
    ],
)
def test_a_material_adds_its_own_conversions(value: str, unit: str, to_unit: str, expected: str):
    """Numerator and denominator of the material connect dimensions, and units that only the material knows."""
    converted = UnitTable().convert(Quantity(Decimal(value), unit), to_unit, Screws())

    assert converted == Quantity(Decimal(expected), to_unit)


def test_a_material_without_the_conversion_is_named():
    """Where the material says nothing about it, the refusal names the material."""
    with pytest.raises(BadPayload, match=r"KGM \(mass\) of material SCREW-4 cannot become LTR"):
        UnitTable().convert(kg("1"), "LTR", Screws())


def test_sap_codes_go_out_and_come_in(units: UnitTable):
    """SAP's external, internal and ISO codes are configuration; the primary unit is read where two share a code."""
    assert units.sap_external("KGM") == "KG"
    assert (units.sap_external("C62"), units.sap_internal("C62"), units.sap_iso("C62")) == ("PC", "ST", "PCE")
    assert [units.from_sap(code) for code in ("KG", "PC", "ST", "PCE", "STD")] == ["KGM", "H87", "H87", "H87", "HUR"]
    assert (units.decimals("H87"), units.decimals("KGM"), units.decimals("DZN")) == (0, 3, 3)


def test_units_without_a_sap_code_are_refused(units: UnitTable):
    """Nothing goes to SAP in a unit that nobody configured, and nothing comes in so."""
    with pytest.raises(BadPayload, match="unit 'DZN' has no SAP code"):
        units.sap_external("DZN")
    with pytest.raises(BadPayload, match="SAP unit 'XXX' is unknown"):
        units.from_sap("XXX")


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [("1.0005", 3, "1.001"), ("-1.0005", 3, "-1.001"), ("1.00049", 3, "1.000"), ("2.5", 0, "3"), ("7", 3, "7.000")],
)
def test_rounding_is_half_up_where_a_loss_is_allowed(value: str, decimals: int, expected: str):
    """Halves go away from zero, as SAP rounds them; the result has just the asked places."""
    assert str(round_to(kg(value), decimals, loss_allowed=True).value) == expected


def test_a_loss_that_is_not_allowed_is_refused():
    """Digits that the ERP would drop are refused, trailing zeros are not digits."""
    assert round_to(kg("1.500000"), 3, loss_allowed=False) == kg("1.500")
    with pytest.raises(BadPayload, match=r"1\.0005 KGM has more than the 3 decimals") as refusal:
        round_to(kg("1.0005"), 3, loss_allowed=False)

    assert refusal.value.reason == "too_precise"


@pytest.mark.parametrize(
    ("total", "shares", "decimals", "expected"),
    [
        ("10", 3, 3, ["3.334", "3.333", "3.333"]),
        ("-10", 3, 3, ["-3.334", "-3.333", "-3.333"]),
        ("10", [Decimal("0.2"), 0, Decimal("0.4")], 0, ["3", "0", "7"]),
        ("1", [1, 1, 1, 4], 0, ["0", "0", "0", "1"]),
        ("0", 2, 3, ["0.000", "0.000"]),
    ],
)
def test_a_split_adds_up_again(total: str, shares: int | list[Decimal | int], decimals: int, expected: list[str]):
    """10 by 3 is 10 again: what rounding leaves over goes to the parts that lost most."""
    parts = split(kg(total), shares, decimals)

    assert parts == tuple(kg(value) for value in expected)
    assert sum(part.value for part in parts) == Decimal(total)


def test_a_split_refuses_what_cannot_add_up():
    """A total finer than the parts, and weights that are negative, missing or all zero, are refused."""
    with pytest.raises(BadPayload, match="more than the 0 decimals"):
        split(kg("1.5"), 2, 0)
    for shares in (0, [], [0, 0], [1, -1]):
        with pytest.raises(ValueError, match="cannot split 10 KGM"):
            split(kg("10"), shares, 3)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("aliases:\n  kg: KGM\n  st: ST\n", 3, "unknown unit 'ST'"),
        ("units:\n  KGM: {dimension: mass}\n", 1, "KGM is built in"),
        ("units:\n  BX: {dimension: box}\n", 1, "BX is deleted in Rec 20"),
        ("units:\n  XBX:\n    dimension: box\n    factor: 1/0\n", 4, "fraction like 1/1000"),
        ("units:\n  XBX:\n    dimension: box\n    factor: -2\n", 4, "greater than 0"),
        ("aliases:\n  MIN: H87\n", 1, "MIN is a unit itself"),
        ("sap:\n  KGM: {external: KG}\n  XYZ: {external: XY}\n", 3, "unknown unit 'XYZ'"),
        ("sap:\n  H87: {external: PC}\n  EA: {external: PC}\n", 1, "'PC' of SAP belongs to H87, EA"),
        ("sap:\n  KGM: {external: KILO}\n", 2, "at most 3"),
        ("aliasses: {}\n", 1, "did you mean 'aliases'"),
    ],
)
def test_mistakes_in_the_file_are_found_at_their_line(tmp_path: Path, text: str, line: int, words: str):
    """A wrong units.yaml is refused with line and reason."""
    file = tmp_path / "units.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as refusal:
        config.parse(file, UnitsFile)

    assert [finding.line for finding in refusal.value.findings] == [line]
    assert words in str(refusal.value)


def test_added_units_convert_within_their_dimension(tmp_path: Path):
    """A unit of the plant's own joins a dimension by an exact fraction."""
    file = tmp_path / "units.yaml"
    file.write_text("units:\n  BLL: {dimension: volume, factor: 0.158987294928}\naliases:\n  bbl: BLL\n")
    table = UnitTable.of(config.parse(file, UnitsFile))

    assert table.convert(Quantity(Decimal(2), table.code("bbl")), "LTR") == Quantity(Decimal("317.974589856"), "LTR")


def test_the_built_in_codes_have_one_base_per_dimension():
    """Each dimension holds a unit with factor one, and no deleted code is built in."""
    bases = {unit.dimension for unit in BUILT_IN.values() if unit.factor == 1}

    assert bases | {"ratio"} == {unit.dimension for unit in BUILT_IN.values()}
    assert not DELETED & BUILT_IN.keys()
