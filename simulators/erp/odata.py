"""OData V2 as SAP Gateway speaks it: error bodies, literals, dates, and the JSON of entities."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from simulators.erp.model import EntityType, Field
from simulators.erp.tables import NUMERIC, UPPER_CASE

Row = dict[str, Any]  # an entity in wire form, without the fields that have their initial value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_TIME = re.compile(r"PT(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?")
_LITERAL = re.compile(r"(?:(?P<prefix>[a-zA-Z]+))?'(?P<text>(?:[^']|'')*)'")
_NUMBER = re.compile(r"-?\d+(?:\.(?P<decimals>\d+))?")  # no exponent: SAP reads 1E+1 as a mistake
_INT16 = 1 << 15
_LAST_DAY = 253_402_300_800_000  # milliseconds of the end of the year 9999
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class ODataError(Exception):
    """A refusal in SAP's own shape: HTTP status, message class/number, sentence, and where it belongs."""

    def __init__(
        self, status: int, code: str, message: str, *, target: str = "", more: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.more = tuple(more)  # further (code, message) pairs for `errordetails`


@dataclass(slots=True)
class Answer:
    """What goes back: status, headers and body."""

    status: int
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_type: bytes = b"application/json"

    def add(self, name: str, value: str) -> Answer:
        """Add one header."""
        self.headers.append((name.encode("latin-1"), value.encode("latin-1")))
        return self


def json_answer(status: int, payload: Any) -> Answer:
    """An answer in JSON."""
    return Answer(status, _ENCODER.encode(payload).encode(errors="surrogatepass"))  # a test may want broken texts


def error_answer(error: ODataError, service: str, now: datetime) -> Answer:
    """SAP's V2 error body with `transactionid` and `timestamp`."""
    details = [(error.code, error.message, error.target), *((code, text, "") for code, text in error.more)]
    inner = {
        "application": {
            "component_id": "",
            "service_namespace": "/SAP/",
            "service_id": service,
            "service_version": "0001",
        },
        "transactionid": uuid.uuid4().hex.upper(),
        "timestamp": now.strftime("%Y%m%d%H%M%S.%f") + "0",
        "Error_Resolution": {
            "SAP_Transaction": "Run transaction /IWFND/ERROR_LOG on the hub system and search for the timestamp",
            "SAP_Note": "See SAP Note 1797736 for error analysis",
        },
        "errordetails": [
            {
                "code": code,
                "message": text,
                "longtext_url": "",
                "propertyref": target,
                "severity": "error",
                "target": "",
            }
            for code, text, target in details
        ],
    }
    message = {"lang": "en", "value": error.message}
    return json_answer(error.status, {"error": {"code": error.code, "message": message, "innererror": inner}})


def wire_date(day: date) -> str:
    """UTC midnight of a calendar day as /Date(ms)/."""
    return f"/Date({(datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)})/"


def wire_time(moment: datetime) -> str:
    """A time of day as PT13H05M09S."""
    return moment.strftime("PT%HH%MM%SS")


def wire_moment(moment: datetime) -> str:
    """A moment as /Date(ms+0000)/."""
    return f"/Date({(moment - EPOCH) // timedelta(milliseconds=1)}+0000)/"


def wire_decimal(value: Decimal, scale: int = 3) -> str:
    """A quantity as SAP prints it: a string with all its decimals."""
    return f"{value:.{scale}f}"


def day_of(text: str) -> date:
    """The calendar day of a wire date in normal form."""
    return (EPOCH + timedelta(milliseconds=int(text[6:-2]))).date()


# ── values that arrive ──────────────────────────────────────────────────────────────────────────────────────


def read_value(one: Field, value: Any) -> Any:
    """One JSON value of a request in wire form; raises ODataError when it does not fit its field."""
    if one.kind == "S":
        return _read_string(one, value)
    if one.kind == "D":
        return _read_decimal(one, value)
    if value is None:
        return one.initial
    if one.kind == "B" and isinstance(value, bool):
        return value
    if one.kind == "I" and isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT16:
        return value
    if isinstance(value, str):
        if one.kind in {"DT", "DTO"}:
            return _read_date(one, value)
        if one.kind == "T" and _TIME.fullmatch(value):
            return value
        if one.kind == "Guid":
            return _read_guid(one, value)
    raise _unreadable(one, value)


def _read_string(one: Field, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _unreadable(one, value)
    if one.length and len(value) > one.length:
        raise ODataError(
            400,
            "/IWBEP/CM_MGW_RT/032",
            f"Property '{one.name}' has value '{value}' with {len(value)} characters; at most {one.length} are allowed",
            target=one.name,
        )
    return value.upper() if one.name in UPPER_CASE else value


def _read_decimal(one: Field, value: Any) -> str:
    if value is None:
        return str(one.initial)
    if not isinstance(value, str):  # Gateway V2 wants decimals as strings
        raise _unreadable(one, value)
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise _unreadable(one, value)
    number = Decimal(value)
    if len(match["decimals"] or "") > one.scale or abs(number) >= 10 ** (one.length - one.scale):
        raise ODataError(
            400,
            "/IWBEP/CM_MGW_RT/033",
            f"Property '{one.name}' has value '{value}', which is not a valid Decimal({one.length},{one.scale})",
            target=one.name,
        )
    return f"{number:.{one.scale}f}"


def _read_date(one: Field, value: str) -> str:
    match = _DATE.fullmatch(value)
    if match:
        if abs(int(match[1])) >= _LAST_DAY:
            raise _unreadable(one, value)
        return f"/Date({match[1]})/"
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _unreadable(one, value) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return f"/Date({(moment - EPOCH) // timedelta(milliseconds=1)})/"


def _read_guid(one: Field, value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise _unreadable(one, value) from None


def _unreadable(one: Field, value: Any) -> ODataError:
    return ODataError(
        400,
        "/IWBEP/CM_MGW_RT/028",
        f"Failed to read property '{one.name}': {json.dumps(value, default=str)[:60]} is not a valid {one.edm}",
        target=one.name,
    )


def read_entity(entity_type: EntityType, payload: Any, hidden: frozenset[str]) -> tuple[Row, dict[str, list[Row]]]:
    """A POSTed entity in wire form, and its inlined children by navigation; raises ODataError."""
    if not isinstance(payload, dict):
        raise ODataError(400, "/IWBEP/CM_MGW_RT/020", "The request body must be one JSON object")
    row: Row = {}
    children: dict[str, list[Row]] = {}
    for name, value in payload.items():
        one = entity_type.fields.get(name)
        if one is not None and name not in hidden:
            if not one.creatable:
                raise ODataError(
                    400, "/IWBEP/CM_MGW_RT/034", f"Property {name} cannot be set when creating", target=name
                )
            row[name] = read_value(one, value)
        elif name in entity_type.navigations:
            children[name] = _inlined(name, value)
        elif name != "__metadata":
            raise ODataError(
                400, "/IWBEP/CM_MGW_RT/021", f"Property {name} not found in type {entity_type.type_name}", target=name
            )
    return row, children


def _inlined(name: str, value: Any) -> list[Row]:
    inlined = value.get("results") if isinstance(value, dict) else value
    if not isinstance(inlined, list) or not all(isinstance(one, dict) for one in inlined):
        raise ODataError(400, "/IWBEP/CM_MGW_RT/022", f"{name} must be a list of objects", target=name)
    return inlined


# ── literals in URLs ────────────────────────────────────────────────────────────────────────────────────────


def read_literal(one: Field, text: str) -> Any:
    """A URL literal ('x', guid'…', datetime'…', 1.5M, true) in comparable form; raises ODataError."""
    match = _LITERAL.fullmatch(text)
    try:
        if match is None:
            if one.kind not in "DIFB":
                raise ValueError(text)
            plain = text.rstrip("MmLlDdFf") if one.kind in "DIF" else text
            return comparable(one, {"true": True, "false": False}.get(plain, plain))
        value = match["text"].replace("''", "'")
        if match["prefix"] in {"datetime", "datetimeoffset"}:
            return comparable(one, _read_date(one, value.replace("Z", "+00:00")))
        if (match["prefix"] == "guid") != (one.kind == "Guid"):
            raise ValueError(text)
        return comparable(one, value)
    except (ValueError, InvalidOperation):
        raise ODataError(
            400, "/IWBEP/CM_MGW_RT/026", f"Invalid literal {text} for property {one.name}", target=one.name
        ) from None


def comparable(one: Field, value: Any) -> Any:
    """A wire value in the form in which two of them compare."""
    if one.kind == "S":
        if one.name in NUMERIC:
            return str(value).lstrip("0")
        return value.upper() if one.name in UPPER_CASE else value
    if one.kind in "DIF":
        return Decimal(value)
    if one.kind in {"DT", "DTO"}:
        return int(value[6:-2]) if value else None
    return str(value).lower() if one.kind == "Guid" else value


def same_number(first: str, second: str) -> bool:
    """True when two digit strings differ in leading zeros only."""
    return first.lstrip("0") == second.lstrip("0")


# ── entities that go out ────────────────────────────────────────────────────────────────────────────────────


def full(entity_type: EntityType, row: Mapping[str, Any], hidden: frozenset[str]) -> Row:
    """A row with every field of its type, initial values included."""
    complete = {**entity_type.initial, **row}
    for name in hidden:
        complete.pop(name, None)
    return complete


def address(entity_type: EntityType, row: Mapping[str, Any]) -> str:
    """The address of an entity below its service, for example ``A_ProductionOrder_2('1000100')``."""
    if len(entity_type.keys) == 1:
        return f"{entity_type.name}('{row[entity_type.keys[0]]}')"
    keys = ",".join(f"{key}='{row.get(key, '')}'" for key in entity_type.keys)
    return f"{entity_type.name}({keys})"
