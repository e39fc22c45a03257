"""Defect records of quality management."""

from __future__ import annotations

from decimal import Decimal

from simulators.erp.books import Document
from simulators.erp.ledger import UNITS
from simulators.erp.movements import Posting
from simulators.erp.odata import ODataError, Row, wire_date, wire_time

FIRST_DEFECT = 10000001


def record(posting: Posting, row: Row) -> Document:
    """Check a posted defect and make it; raises ODataError."""
    for name in ("DefectCodeCatalog", "DefectCodeGroup", "DefectCode", "Plant"):
        if not row.get(name):
            raise ODataError(400, "QM/114", f"Enter a value for {name}", target=name)
    ledger = posting.ledger
    if row["Plant"] != ledger.plant:
        raise ODataError(400, "M3/351", f"Plant {row['Plant']} does not exist", target="Plant")
    if row.get("Material"):
        ledger.known_material(row["Material"])
    unit = row.get("DefectiveQuantityUnit", "")
    if unit and unit not in UNITS:
        raise ODataError(400, "QM/412", f"Unit {unit} is not defined", target="DefectiveQuantityUnit")
    if Decimal(row.get("DefectiveQuantity", "0")) < 0:
        raise ODataError(400, "QM/075", "A negative quantity cannot be defective", target="DefectiveQuantity")
    number = ""
    if row.get("ManufacturingOrder"):
        order = ledger.known_order(row["ManufacturingOrder"])
        number = row["ManufacturingOrder"] = order.number
    internal = str(FIRST_DEFECT + len(posting.books.defects.rows))
    entered = {
        "CreatedByUser": posting.user[:12],
        "CreationDate": wire_date(posting.now.date()),
        "CreationTime": wire_time(posting.now),
    }
    return Document(
        "defect", internal, number, {**row, **entered, "DefectInternalID": internal, "Defect": internal}, []
    )
