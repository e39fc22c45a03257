"""The quick look at a payload never lets pass what the thorough check would refuse, in any SAP system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.erp.sap_s4 import UNITS
from agent.ports import Kind
from agent.sap.bodies import call
from agent.sap.call import Rules, Unfit
from agent.sap.fits import ANY_KEY, OUTLINES, quick_look
from agent.sap.metadata import Metadata, read_metadata
from simulators.erp.metadata import edmx

SERVICES = {Kind.GOODS_ISSUE: "API_MATERIAL_DOCUMENT_SRV", Kind.CONFIRMATION: "API_PROD_ORDER_CONFIRMATION_2_SRV"}
GOOD: Mapping[Kind, dict[str, Any]] = {
    Kind.GOODS_ISSUE: {
        "plant": "1710", "material": "RM-RESIN", "order": "1000100", "operation": "0010", "reservation": "12345",
        "reservation_item": "1", "quantity": "12.500", "unit": "KGM", "floor_quantity": "12500", "floor_unit": "GRM",
        "storage_location": "171A", "batch": "0000000301", "posting_date": "2026-11-20",
        "document_date": "2026-11-20", "text": "MIX-01-000123",
    },
    Kind.CONFIRMATION: {
        "plant": "1710", "order": "1000100", "operation": "0010", "sequence": "0", "yield": "13", "scrap": "0",
        "rework": "0.500", "unit": "KGM", "final": True, "scrap_reason": "", "posting_date": "2026-11-20",
        "start": "2026-11-20T12:57:29+00:00", "end": "2026-11-20T13:00:05.123000+00:00",
        "activities": {"1": {"quantity": "2.6", "unit": "MIN"}, "2": {"quantity": "2.5", "unit": "MIN"}},
        "backflush": False, "text": "MIX-01-000124", "personnel": "4711",
    },
}  # fmt: skip
RULES = Rules(zone=ZoneInfo("Europe/Berlin"), units=UNITS, decimals={"PC": 0, "EA": 0}, services=SERVICES)
FIELDS = {
    Kind.GOODS_ISSUE: [
        *OUTLINES[Kind.GOODS_ISSUE].texts.values(), "QuantityInEntryUnit", "EntryUnit", "PostingDate",
        "ReferenceDocument", "to_MaterialDocumentItem",
    ],
    Kind.CONFIRMATION: [
        *OUTLINES[Kind.CONFIRMATION].texts.values(), "ConfirmationYieldQuantity", "ConfirmationScrapQuantity",
        "ConfirmationReworkQuantity", "ConfirmedExecutionStartTime", "ConfirmedExecutionEndDate", "OpWorkQuantityUnit2",
        "OpConfirmedWorkQuantity1", "IsFinalConfirmation", "FinalConfirmationType", "ExternalSystemConfirmation",
    ],
}  # fmt: skip

kinds = st.sampled_from(sorted(SERVICES))
texts = st.text(max_size=5) | st.integers(0, 60).map("7".__mul__)
numbers = st.from_regex(r"[0-9]{1,11}(\.[0-9]{1,4})?", fullmatch=True) | st.from_regex(r"[-+]?[0-9.eE]{0,4}")
days = st.dates().map(str) | st.from_regex(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}T?", fullmatch=True)
zones = st.timezones() | st.none()
moments = st.builds(lambda moment, zone: moment.replace(tzinfo=zone).isoformat(), st.datetimes(), zones) | st.just("")
units = st.sampled_from([*UNITS, "PR", ""])
activity = st.fixed_dictionaries({"quantity": numbers, "unit": units})
LIKELY = {
    **{name: texts for outline in OUTLINES.values() for name in outline.texts},
    **{name: numbers for outline in OUTLINES.values() for name in (outline.quantity, *outline.quantities)},
    **{name: days for outline in OUTLINES.values() for name in outline.days},
    **{name: moments for outline in OUTLINES.values() for name in outline.moments},
    "unit": units,
    "activities": st.dictionaries(st.sampled_from("01267"), activity, max_size=2),
    "final": st.booleans(),
}
unlikely = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=1)
rules = st.builds(
    lambda decimals, stamp: replace(RULES, decimals=decimals, confirmation_stamps=stamp),
    st.dictionaries(st.sampled_from(["PC", "KG", "MIN"]), st.integers(0, 5)),
    st.sampled_from([("ExternalSystemConfirmation",), ("ConfirmationText",)]),
)


@lru_cache(1000)
def metadata(kind: Kind, hidden: str = "", shorter: str = "", longest: int = 0) -> Metadata:
    """A service that does not know one field, and has another that is shorter than usual."""
    document = edmx(SERVICES[kind], frozenset({hidden}))
    size = rf'(Name="{shorter}"[^>]* (?:MaxLength|Precision)=)"\d+"'
    return read_metadata(SERVICES[kind], re.sub(size, rf'\1"{longest}"', document).encode())


def complaints(kind: Kind, payload: Mapping[str, Any], service: Metadata, its_rules: Rules) -> list[str]:
    """What the thorough check says."""
    try:
        made = call(kind, payload, ANY_KEY, its_rules)
    except Unfit as error:
        return [str(error)]
    return service.check(made.resource, made.body)


@pytest.mark.parametrize("kind", sorted(SERVICES))
def test_a_usual_payload_fits_at_the_first_look(kind: Kind):
    """What the line of the bench reports needs no thorough check."""
    assert quick_look(kind, RULES, metadata(kind))(GOOD[kind])
    assert complaints(kind, GOOD[kind], metadata(kind), RULES) == []


def agrees(kind: Kind, payload: Mapping[str, Any], service: Metadata, its_rules: Rules) -> None:
    """What fits has no complaint."""
    if quick_look(kind, its_rules, service)(payload):
        assert complaints(kind, payload, service, its_rules) == []


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in SERVICES for name in GOOD[kind] if name in LIKELY])
@given(data=st.data())
def test_a_field_that_fits_is_never_refused(kind: Kind, name: str, data: st.DataObject):
    """Field by field, in a payload that is good beside it."""
    agrees(kind, {**GOOD[kind], name: data.draw(LIKELY[name])}, metadata(kind), RULES)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_moment_that_is_no_day_in_the_plant_does_not_fit(moment: str):
    """At either end of the calendar a moment may have no day in the plant's zone: that is refused, not raised."""
    payload = {**GOOD[Kind.CONFIRMATION], "end": moment}

    assert not quick_look(Kind.CONFIRMATION, RULES, metadata(Kind.CONFIRMATION))(payload)
    assert complaints(Kind.CONFIRMATION, payload, metadata(Kind.CONFIRMATION), RULES)


@settings(max_examples=300)
@given(kind=kinds, its_rules=rules, longest=st.integers(0, 12), data=st.data())
def test_what_fits_is_never_refused(kind: Kind, its_rules: Rules, longest: int, data: st.DataObject):
    """Whatever a system lacks or shortens, and whatever a payload says: what fits has no complaint."""
    hidden, shorter = (data.draw(st.just("") | st.sampled_from(FIELDS[kind])) for _ in range(2))
    likely = sorted(LIKELY.keys() & GOOD[kind].keys())
    changed = data.draw(st.lists(st.sampled_from(likely), min_size=1, max_size=2))
    payload = {**GOOD[kind], **{name: data.draw(LIKELY[name]) for name in changed}}

    agrees(kind, payload, metadata(kind, hidden, shorter, longest), its_rules)


@given(operation=st.from_regex(r"[0-9]{0,4}", fullmatch=True), longest=st.integers(0, 4))
def test_an_operation_is_measured_with_the_zeros_that_it_gets(operation: str, longest: int):
    """Operation 10 is sent as 0010, which a shorter field does not take."""
    payload = {**GOOD[Kind.CONFIRMATION], "operation": operation}

    agrees(Kind.CONFIRMATION, payload, metadata(Kind.CONFIRMATION, "", "OrderOperation", longest), RULES)


@given(kind=kinds, data=st.data())
def test_what_is_missing_or_of_another_type_fits_only_where_the_thorough_check_agrees(kind: Kind, data: st.DataObject):
    """A payload that lacks a field, or holds something else there, is never taken for a good one."""
    gone, changed, hidden = (data.draw(st.sampled_from(names)) for names in [sorted(GOOD[kind])] * 2 + [FIELDS[kind]])
    payload = {**GOOD[kind], changed: data.draw(unlikely)}
    agrees(kind, payload, metadata(kind), RULES)
    del payload[gone]

    agrees(kind, payload, metadata(kind, hidden), RULES)
