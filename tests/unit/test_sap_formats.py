"""SAP's spelling of values, and the bodies that are made of business payloads."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.erp.sap_s4 import UNITS
from agent.ports import Kind, Posting
from agent.sap import formats
from agent.sap.bodies import call
from agent.sap.call import Rules, Unfit, thaw

RULES = Rules(
    zone=ZoneInfo("Europe/Berlin"),
    units=UNITS,
    decimals={"PC": 0},
    services={Kind.GOODS_ISSUE: "MAT", Kind.CONFIRMATION: "CONF"},
)
KEY = "3R8Z0K5XQH7M2V9C"
ISSUE: dict[str, Any] = {
    "plant": "1710",
    "material": "RM01",
    "order": "1000123",
    "reservation": "12345",
    "reservation_item": "1",
    "quantity": "12.5",
    "unit": "KGM",
    "storage_location": "171A",
    "batch": "",
    "posting_date": "2026-11-20",
    "document_date": "2026-11-20",
    "text": "",
}
CONFIRMATION: dict[str, Any] = {
    "order": "1000123",
    "operation": "10",
    "yield": "10",
    "scrap": "0",
    "unit": "H87",
    "final": True,
    "posting_date": "2026-11-20",
    "start": "2026-11-20T23:30:00Z",
    "activities": {"2": {"quantity": "1.25", "unit": "MIN"}},
    "backflush": True,
}


def test_a_date_is_utc_midnight_of_the_calendar_day():
    """2026-11-20 is 1795132800000 ms, wherever the machine stands."""
    assert formats.sap_date("2026-11-20") == "/Date(1795132800000)/"
    assert formats.sap_date(date(1969, 12, 31)) == "/Date(-86400000)/"


@given(st.dates())
def test_dates_round_trip(day: date):
    """A day that is written is the day that is read, for every day there is."""
    assert formats.read_date(formats.sap_date(day)) == day


@pytest.mark.parametrize("value", ["/Date(1795132800000)/", "/Date(1795132800000+0000)/", "2026-11-20T00:00:00"])
def test_dates_are_read_in_every_spelling(value: str):
    """SAP's ticks, with and without an offset, and ISO are the same day."""
    assert formats.read_date(value) == date(2026, 11, 20)


@given(st.decimals(min_value=0, max_value=Decimal("9999999999.999"), places=3))
def test_decimals_round_trip_without_exponent(number: Decimal):
    """A quantity of three decimals is written exactly, with no exponent."""
    text = formats.sap_decimal(number)
    assert Decimal(text) == number
    assert "E" not in text.upper()


@pytest.mark.parametrize("value", ["1.2345", "NaN", "Infinity", "", "12,5", "1e400", "0x1", None])
def test_a_quantity_that_would_lose_something_is_refused(value: Any):
    """Nothing is rounded on the way to SAP."""
    with pytest.raises(ValueError, match=r"\S"):
        formats.sap_decimal(value)


def test_large_and_small_numbers_have_no_exponent():
    """What Python would print as 1E+1 is 10.000."""
    assert formats.sap_decimal(Decimal("10").normalize()) == "10.000"
    assert formats.sap_decimal("1e-3") == "0.001"
    assert formats.sap_decimal("7", 0) == "7"


def test_times_guids_and_literals():
    """Times, GUIDs and URL literals are spelled as SAP wants them."""
    assert formats.sap_time(datetime(2026, 11, 20, 13, 5, 9, tzinfo=UTC)) == "PT13H05M09S"
    assert formats.key_guid(KEY) == formats.key_guid(KEY) != formats.key_guid(KEY[::-1])
    assert formats.string_literal("O'Brien") == "'O''Brien'"
    assert formats.date_literal("2026-11-20") == "datetime'2026-11-20T00:00:00'"
    assert formats.decimal_literal("10") == "10.000M"
    assert formats.guid_literal("a-b") == "guid'a-b'"
    assert (formats.padded("10", 4), formats.unpadded("000010"), formats.unpadded("RM01")) == ("0010", "10", "RM01")
    assert formats.query(filter="A eq 'x y&z'", top="3") == "$filter=A%20eq%20'x%20y%26z'&$top=3"


def test_the_guid_of_a_key_never_changes():
    """Documents are found by this GUID for years: the namespace is part of the contract."""
    assert formats.key_guid(KEY) == "664d15d3-e4c6-54a5-8a9b-a9af3cd0d19d"


def test_a_goods_issue_says_261_against_the_reservation():
    """The body is the deep insert of the documented shape, without empty fields."""
    made = call(Kind.GOODS_ISSUE, ISSUE, KEY, RULES)
    assert (made.service, made.resource) == ("MAT", "A_MaterialDocumentHeader")
    assert made.body == {
        "GoodsMovementCode": "03",
        "PostingDate": "/Date(1795132800000)/",
        "DocumentDate": "/Date(1795132800000)/",
        "ReferenceDocument": KEY,
        "to_MaterialDocumentItem": {
            "results": [
                {
                    "Material": "RM01",
                    "Plant": "1710",
                    "StorageLocation": "171A",
                    "GoodsMovementType": "261",
                    "ManufacturingOrder": "1000123",
                    "Reservation": "12345",
                    "ReservationItem": "1",
                    "QuantityInEntryUnit": "12.500",
                    "EntryUnit": "KG",
                }
            ]
        },
    }


def test_what_goes_back_is_movement_262_of_the_same_reservation():
    """It reduces what is withdrawn of it; another movement, and a plant's own type of issue, are refused by name."""
    (item,) = call(Kind.GOODS_ISSUE, ISSUE | {"movement": "262"}, KEY, RULES).body["to_MaterialDocumentItem"]["results"]
    assert item["GoodsMovementType"] == "262"
    assert (item["ReservationItem"], item["MaterialDocumentPostingType"]) == ("1", "1")
    with pytest.raises(Unfit, match="'551' is neither 261 nor 262"):
        call(Kind.GOODS_ISSUE, ISSUE | {"movement": "551"}, KEY, RULES)
    with pytest.raises(Unfit, match="262 takes 261 back, not Z61"):
        call(Kind.GOODS_ISSUE, ISSUE | {"movement": "262"}, KEY, replace(RULES, issue_type="Z61"))


def test_a_confirmation_pads_localises_and_stamps():
    """Operation 0010, the plant's next calendar day, no scrap of zero, the key as GUID, movements by backflush."""
    body = call(Kind.CONFIRMATION, CONFIRMATION, KEY, RULES).body
    assert body["OrderOperation"] == "0010"
    assert (body["ConfirmedExecutionStartDate"], body["ConfirmedExecutionStartTime"]) == (
        "/Date(1795219200000)/",
        "PT00H30M00S",
    )
    assert "ConfirmationScrapQuantity" not in body
    assert (body["IsFinalConfirmation"], body["FinalConfirmationType"]) == (True, "X")
    assert body["APIConfHasNoGoodsMovements"] is False
    assert (body["OpConfirmedWorkQuantity2"], body["OpWorkQuantityUnit2"]) == ("1.250", "MIN")
    assert body["ExternalSystemConfirmation"] == formats.key_guid(KEY)


def test_reversals_are_function_imports():
    """A reversal names the document in the URL and sends no body."""
    goods = call(Kind.REVERSAL, {"of_kind": "goods_issue", "document": "2026/4900000001"}, KEY, RULES)
    assert (goods.resource, goods.body) == ("Cancel", {})
    assert goods.arguments == {"MaterialDocumentYear": "'2026'", "MaterialDocument": "'4900000001'"}
    content = {"of_kind": "confirmation", "document": "100/2", "posting_date": "2026-11-20", "reason": "it's wrong"}
    arguments = call(Kind.REVERSAL, content, KEY, RULES).arguments
    assert arguments["ConfirmationText"] == "'it''s wrong'"
    assert arguments["PostingDate"] == "datetime'2026-11-20T00:00:00'"
    assert arguments["ExternalSystemConfirmation"] == f"guid'{formats.key_guid(KEY)}'"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quantity": "1.5", "unit": "C62"}, "decimals"),
        ({"quantity": "-1"}, "negative"),
        ({"quantity": None}, "quantity"),
        ({"unit": "XYZ"}, "XYZ"),
        ({"unit": None}, "None"),
        ({"posting_date": "20.11.2026"}, "posting_date"),
        ({"posting_date": None}, "shape"),
    ],
)
def test_what_cannot_be_said_to_sap_names_field_and_value(change: dict[str, Any], named: str):
    """A payload that does not fit is refused with the field, before anything is sent."""
    with pytest.raises(Unfit, match=named):
        call(Kind.GOODS_ISSUE, ISSUE | change, KEY, RULES)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"of_kind": "x", "document": "1/2"},
        {"of_kind": "confirmation", "document": "12"},
        {"of_kind": "confirmation", "document": "1/2' or 1"},
    ],
)
def test_a_reversal_of_nothing_is_refused(payload: dict[str, Any]):
    """A reversal names a kind and a document of digits, or it is refused."""
    with pytest.raises(Unfit):
        call(Kind.REVERSAL, payload, KEY, RULES)


def test_a_kind_that_is_switched_off_is_refused():
    """A target without the service of a kind says so."""
    with pytest.raises(Unfit, match="switched off"):
        call(Kind.GOODS_ISSUE, ISSUE, KEY, replace(RULES, services={}))


def test_frozen_bytes_carry_all_that_belongs_to_the_posting():
    """Freezing twice gives the same bytes, and thawing gives back path, headers and body."""
    moment = datetime(2026, 11, 20, 14, 0, 5, 987654, tzinfo=UTC)
    posting = Posting(
        1, 1, Kind.GOODS_ISSUE, "s4", "o", KEY, ISSUE, "ready", 1, moment, first_sent_at=moment, request_id="AB" * 16
    )
    wire = call(Kind.GOODS_ISSUE, ISSUE, KEY, RULES).wire(posting)
    assert wire == call(Kind.GOODS_ISSUE, dict(ISSUE), KEY, RULES).wire(posting._replace(attempts=3))
    service, method, path, headers, body = thaw(wire)
    assert (service, method, path) == ("MAT", "POST", "MAT/A_MaterialDocumentHeader")
    assert headers == [
        (b"RequestID", b"AB" * 16),
        (b"RepeatabilityCreation", b"2026-11-20T14:00:05"),
        (b"Content-Type", b"application/json"),
    ]
    assert json.loads(body)["ReferenceDocument"] == KEY
