"""$metadata becomes a table that payloads are checked against; what changed between two readings is reported."""

from typing import Any

import pytest

from agent.errors import ErpUnavailable
from agent.sap.metadata import drift, read_metadata
from simulators.erp.metadata import edmx

MATERIAL = "API_MATERIAL_DOCUMENT_SRV"
FULL = read_metadata(MATERIAL, edmx(MATERIAL).encode())


def body(**item: Any) -> dict[str, Any]:
    return {"GoodsMovementCode": "03", "to_MaterialDocumentItem": {"results": [item]}}


def test_a_table_has_lengths_precision_and_what_may_be_created():
    """Length, precision, scale and the creatable flag are read from the EDMX."""
    item = FULL.types["A_MaterialDocumentItemType"].properties
    assert item["Material"].max_length == 40
    assert (item["QuantityInEntryUnit"].precision, item["QuantityInEntryUnit"].scale) == (13, 3)
    assert not item["ProductTheme"].creatable
    assert FULL.types["A_MaterialDocumentHeaderType"].keys == ("MaterialDocumentYear", "MaterialDocument")
    assert set(FULL.functions["Cancel"]) == {"MaterialDocumentYear", "MaterialDocument", "PostingDate"}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"Plnt": "1710"}, "unknown"),
        ({"Batch": "B" * 11}, "too long"),
        ({"Batch": 7}, "must be text"),
        ({"QuantityInEntryUnit": "1.2345"}, "too precise"),
        ({"QuantityInEntryUnit": "12345678901"}, "too large"),
        ({"QuantityInEntryUnit": 1.5}, "must be a decimal"),
        ({"QuantityInEntryUnit": "NaN"}, "must be a decimal"),
        ({"ProductTheme": "X"}, "may not be written"),
        ({"IsCompletelyDelivered": "X"}, "must be Edm.Boolean"),
    ],
)
def test_what_sap_would_refuse_is_named(item: dict[str, Any], words: str):
    """Unknown, too long, too precise, not creatable and of the wrong type: each is found with its place."""
    (found,) = FULL.check("A_MaterialDocumentHeader", body(**item))
    assert words in found
    assert found.startswith(f"to_MaterialDocumentItem[0].{next(iter(item))}")


def test_a_good_payload_has_no_findings_and_many_faults_are_found_at_once():
    """Nothing wrong gives nothing; three things wrong give three."""
    assert FULL.check("A_MaterialDocumentHeader", body(Material="RM01", QuantityInEntryUnit="9999999999.999")) == []
    assert len(FULL.check("A_MaterialDocumentHeader", body(A="", B="", Batch="B" * 11))) == 3
    assert FULL.check("A_MaterialDocumentItem", {})
    assert FULL.check("Nothing", {})
    assert FULL.check("A_MaterialDocumentHeader", {"to_MaterialDocumentItem": "x"})
    assert FULL.check_function("Cancel", {"MaterialDocument": "'1'"}) == []
    assert FULL.check_function("Cancel", {"Reason": "'1'"})
    assert FULL.check_function("Undo", {})


def test_a_change_is_checked_against_what_may_be_changed():
    """A field that is fixed once it is created, an unknown one, a set that takes no changes: each is named."""
    orders = edmx("API_PRODUCTION_ORDER_2_SRV")
    full = read_metadata("ORDERS", orders.encode())
    assert full.check_change("A_ProductionOrder_2", {"OrderLongText": "x" * 5000}) == []
    (unknown,) = full.check_change("A_ProductionOrder_2", {"OrderText": "x"})
    assert "unknown" in unknown
    (operations,) = full.check_change("A_ProductionOrderOperation_2", {"WorkCenter": "x"})
    assert "takes no changes" in operations
    fixed = orders.replace('Name="OrderLongText"', 'Name="OrderLongText" sap:updatable="false"')
    (words,) = read_metadata("ORDERS", fixed.encode()).check_change("A_ProductionOrder_2", {"OrderLongText": "x"})
    assert "may not be written" in words
    (change,) = drift(full, read_metadata("ORDERS", fixed.encode()))
    assert change == "A_ProductionOrder_2Type.OrderLongText: String is now String, not updatable"


def test_drift_names_every_field_that_came_changed_or_went():
    """A lost field, a shorter field and a new field are one line each; no change is no line."""
    lost = read_metadata(MATERIAL, edmx(MATERIAL, frozenset({"StockSegment"})).encode())
    batch = 'Name="Batch" Type="Edm.String" MaxLength='
    shorter = read_metadata(MATERIAL, edmx(MATERIAL).replace(f'{batch}"10"', f'{batch}"8"').encode())
    assert drift(FULL, FULL) == ()
    assert drift(FULL, lost) == ("A_MaterialDocumentItemType.StockSegment: String(40) is now gone",)
    assert drift(lost, FULL) == ("A_MaterialDocumentItemType.StockSegment is new: String(40)",)
    assert drift(FULL, shorter) == ("A_MaterialDocumentItemType.Batch: String(10) is now String(8)",)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>Logon</body></html>",
        b"<html>",
        b'{"error":{}}',
        b"<Edmx/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><Edmx>&x;</Edmx>',
        edmx(MATERIAL).encode()[:-200],
    ],
)
def test_what_is_no_metadata_is_unavailable(document: bytes):
    """A login page, cut XML or an entity bomb is no $metadata, and says which service it was asked of."""
    with pytest.raises(ErpUnavailable, match=MATERIAL):
        read_metadata(MATERIAL, document)
