"""Master data files: what is in them becomes facts, what is wrong in them is told with file and line."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.configuration.config import parse
from agent.errors import ConfigError
from agent.facts import Facts, Plant
from agent.masterdata import files as masterfiles
from agent.masterdata.documents import from_document, to_document
from agent.masterdata.entities import Bom, Material, Order, Tolerance, WorkCenter
from agent.units import UnitsFile, UnitTable
from simulators import scenario

EDGE_CONFIG = Path(__file__).parents[2] / "edge_config"
TODAY = date(2026, 11, 20)


@pytest.fixture(scope="module")
def units():
    return UnitTable.of(parse(EDGE_CONFIG / "units.yaml", UnitsFile))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "materials.csv").write_text("material,base_unit,price\nA,KG,1.50\nB,PC,\n")
    return tmp_path


def findings(folder, units) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        masterfiles.load(folder, units)
    return [str(finding).replace(f"{folder}/", "") for finding in refused.value.findings]


def test_the_shipped_files_tell_the_same_as_the_simulated_plant(units):
    """The bench posts with the master data that its ERP has: prices, units, bills of material, work centres."""
    plant = scenario.load()
    facts = {(fact.kind, fact.key): fact for fact in masterfiles.load(EDGE_CONFIG / "masterdata", units).facts(TODAY)}
    for material in plant.materials.values():
        mine = facts["material", material.material]
        assert isinstance(mine, Material)
        assert (mine.base_unit, mine.price, mine.text) == (units.code(material.unit), material.price, material.text)
    for center in plant.work_centers.values():
        own = facts["work_center", center.work_center]
        assert isinstance(own, WorkCenter)
        assert (own.line, own.text) == (center.line, center.text)
    for routing in plant.routings.values():
        bom = facts["bom", routing.product]
        assert isinstance(bom, Bom)
        assert bom.unit == units.code(plant.materials[routing.product].unit)
        assert [(item.material, item.quantity, item.unit, item.set_up) for item in bom.items] == [
            (part.material, part.quantity, units.code(part.unit), part.set_up) for part in routing.components
        ]


def test_what_is_wrong_about_routings_people_and_set_ups_is_told_at_once(folder, units):
    """A material or a work centre that nobody knows, hours that are none, a change that names one family."""
    (folder / "routings.yaml").write_text(
        "routings:\n- {material: NONE, work_center: NOWHERE, minutes: 0.5, unit: PC}\n"
        "- {material: CMP-BLUE, work_center: MIX-01, minutes: 0, unit: PC}\n"
    )
    (folder / "operators.yaml").write_text("operators:\n- {operator: o, hours: 6-14, days: Mo}\n")
    (folder / "work_centers.yaml").write_text(
        "work_centers:\n- {work_center: MIX-01, line: mixing, changes: {red: 5}}\n"
    )
    told = "\n".join(findings(folder, units))
    for part in ("(NONE)", "(NOWHERE)", "minutes", "hours", "days", "changes"):
        assert part in told, told


def test_effectivity_decides_what_counts_on_a_day(folder, units):
    """Both days are inclusive; between two entries nothing counts."""
    (folder / "tolerances.yaml").write_text(
        "tolerances:\n"
        "  - {under: 0.1, over: 0.1, valid_to: 2026-06-30}\n"
        "  - {under: 0.2, over: 0.2, valid_from: 2026-07-02}\n"
    )
    files = masterfiles.load(folder, units)

    def over(day: date) -> list[Decimal]:
        return [fact.over for fact in files.facts(day) if isinstance(fact, Tolerance)]

    assert over(date(2026, 6, 30)) == [Decimal("0.1")]
    assert over(date(2026, 7, 1)) == []
    assert over(date(2026, 7, 2)) == [Decimal("0.2")]


def test_material_numbers_keep_their_leading_zeros(folder, units):
    """``0123`` is a material number, not 83 and not 123."""
    (folder / "materials.csv").write_text("material,base_unit\n0123,KG\n")
    (folder / "boms.yaml").write_text(
        "boms:\n  - {product: 0123, unit: KG, items: [{material: 0123, quantity: 1, unit: KG}]}\n"
    )
    assert [fact.key for fact in masterfiles.load(folder, units).facts(TODAY)] == ["0123", "0123"]


def test_per_material_units_are_read_from_a_cell(folder, units):
    """A cell lists how many base units one of another unit is."""
    (folder / "materials.csv").write_text("material,base_unit,units\nA,KG,LTR=0.9; TNE=1000\n")
    (fact,) = masterfiles.load(folder, units).facts(TODAY)
    assert isinstance(fact, Material)
    assert fact.units == {"LTR": Fraction(9, 10), "TNE": Fraction(1000)}


def test_safety_stock_is_exact(folder, units):
    """What should always be left is read with all its digits; an empty cell is nothing."""
    (folder / "materials.csv").write_text("material,base_unit,safety_stock\nA,KG,12.50\nB,KG,\n")
    found = masterfiles.load(folder, units).facts(TODAY)
    assert [one.safety_stock for one in found if isinstance(one, Material)] == [Decimal("12.50"), Decimal(0)]


def test_orders_may_stand_in_a_file(folder, units):
    """A plant without the ERP's order source lists its orders."""
    (folder / "work_centers.yaml").write_text("work_centers: [{work_center: W, line: one}]\n")
    (folder / "orders.yaml").write_text(
        "orders:\n"
        "  - order: 0001000\n    material: A\n    plant: 1710\n    quantity: 10\n    unit: KG\n"
        "    operations: [{operation: 0010, work_center: W, unit: KG}]\n"
        "    components: [{material: B, required: 20, unit: PC, reservation: 0000000055, item: 1}]\n"
    )
    (order,) = [fact for fact in masterfiles.load(folder, units).facts(TODAY) if isinstance(fact, Order)]
    assert (order.order, order.plant, order.operations[0].operation) == ("0001000", "1710", "0010")
    assert (order.components[0].reservation, order.components[0].unit) == ("0000000055", "H87")


def test_everything_wrong_is_told_at_once_with_file_and_line(folder, units):
    """One look at the message is enough to mend all files."""
    (folder / "materials.csv").write_text(
        "material,base_unit,price\nA,KG,1.50\nA,KG,1.60\nB,bucket,1\nC,KG,cheap\nD,KG\n,KG,1\n"
    )
    (folder / "boms.yaml").write_text(
        "boms:\n  - product: A\n    unit: KG\n    items:\n      - {material: X, quantity: 1, unit: KG}\n"
    )
    (folder / "tolerances.yaml").write_text(
        "tolerances:\n  - {work_center: W, under: 0.1, over: 0.1, valid_to: 2026-01-01, valid_from: 2026-02-01}\n"
    )
    (folder / "tolerance.yaml").write_text("tolerances: []\n")
    told = findings(folder, units)
    expected = [
        "boms.yaml:5: boms[0].items[0].material: is not in materials.csv",
        "materials.csv:3: material A is given in line 2 for the same days",
        "materials.csv:4: unit 'bucket' is unknown",
        "materials.csv:5: price: must be a number",
        "materials.csv:6: has 2 cells where the first line names 3 columns",
        "materials.csv:7: material: is required",
        "tolerance.yaml:1: is no master data file; did you mean 'tolerances.yaml'?",
        "tolerances.yaml:2: tolerances[0]: valid_to 2026-01-01 is before valid_from 2026-02-01",
    ]
    assert len(told) == len(expected), told
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start), line


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("boms.yaml", "boms: []\nboms: []\n", "duplicate key"),
        ("boms.yaml", "bom: []\n", "must hold one list under the key 'boms'"),
        ("boms.yaml", "boms: [{product: A, unit: KG, items: []}]\n", "at least 1"),
        (
            "boms.yaml",
            "boms: [{product: A, unit: KG, items: [{material: B, quantity: 0, unit: PC}]}]\n",
            "greater than 0",
        ),
        ("tolerances.yaml", "tolerances: [{under: 0.1, over: 0.1, ower: 1}]\n", "unknown key"),
        ("tolerances.yaml", "tolerances: [{material: AA, under: 0.1, over: 0.1}]\n", "did you mean 'A'"),
        ("materials.csv", 'material,base_unit\n"A,KG\n', "is no valid CSV"),
        ("materials.csv", "material,base_unit,units\nA,KG,DR is 200\n", "must be like"),
        ("materials.csv", "material,base_unit,safety_stock\nA,KG,-1\n", "greater than or equal to 0"),
        ("materials.csv", "material,base_unit,colour\nA,KG,blue\n", "unknown key"),
        ("materials.csv", "material,base_unit,batch_managed\nA,KG,yes\n", "must be true or false"),
    ],
)
def test_a_wrong_file_is_refused(folder, units, name, text, told):
    """Each mistake gets its own words."""
    (folder / name).write_text(text)
    assert any(told in line for line in findings(folder, units)), findings(folder, units)


def test_the_materials_file_is_required(tmp_path, units):
    """Without materials nothing can be decided."""
    assert findings(tmp_path, units) == ["materials.csv:1: is missing; it lists the materials"]


def test_the_version_follows_the_content(folder, units):
    """A changed byte is another version; the same bytes are the same version."""
    before = masterfiles.load(folder, units).version
    assert masterfiles.load(folder, units).version == before
    (folder / "materials.csv").write_text("material,base_unit,price\nA,KG,1.51\nB,PC,\n")
    assert masterfiles.load(folder, units).version != before


def test_a_cause_of_scrap_means_what_its_work_centre_says_before_what_counts_for_all(folder, units):
    """The store gives the same entry back; a work centre that nobody knows is told with its line."""
    (folder / "work_centers.yaml").write_text("work_centers: [{work_center: MIX-01, line: mixing}]\n")
    (folder / "scrap_reasons.yaml").write_text(
        "reasons:\n"
        '  - {cause: tool, reason: "0003", cost_center: "1"}\n'
        '  - {cause: tool, work_center: MIX-01, reason: "0003", cost_center: "2", movement: "553"}\n'
    )
    (folder / "defect_codes.yaml").write_text('defects: [{defect: "0001", group: SURFACE}]\n')
    found = masterfiles.load(folder, units).facts(TODAY)
    facts = Facts(Plant("1710", ZoneInfo("UTC"), "EUR"), units).with_facts(found)
    here, elsewhere = facts.scrap_reason("tool", "MIX-01"), facts.scrap_reason("tool", "MOLD-02")
    assert here is not None
    assert elsewhere is not None
    assert (here.cost_center, elsewhere.cost_center) == ("2", "1")
    assert facts.scrap_reason("handling", "MIX-01") is None
    assert [from_document(one.kind, to_document(one)) for one in found] == found
    (folder / "scrap_reasons.yaml").write_text('reasons: [{cause: tool, work_center: MIX-02, reason: "0003"}]\n')
    assert findings(folder, units) == [
        "scrap_reasons.yaml:1: reasons[0].work_center: is not in work_centers.yaml; did you mean 'MIX-01'? (MIX-02)"
    ]
