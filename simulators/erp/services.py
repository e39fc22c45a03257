"""The OData services: addresses, reads and writes. Synchronous: what happens here happens at one instant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from simulators.erp import confirmations, movements, views
from simulators.erp.books import Document, Table
from simulators.erp.metadata import edmx
from simulators.erp.model import (
    CONFIRMATION,
    CONFIRMATION_ITEM,
    FUNCTION_MESSAGE,
    HEADER,
    ITEM,
    SERVICES,
    EntityType,
    Function,
    Service,
)
from simulators.erp.odata import (
    Answer,
    ODataError,
    Row,
    address,
    comparable,
    full,
    json_answer,
    read_entity,
    read_literal,
    read_value,
)
from simulators.erp.query import ordered, read_query
from simulators.erp.state import Erp, Remembered

ROOT = "/sap/opu/odata/sap/"
_SEGMENT = re.compile(r"(?P<name>[\w$]+)(?:\((?P<keys>.*)\))?")
_KEY = re.compile(r"(?:(?P<name>\w+)=)?(?P<value>(?:\w+)?'(?:[^']|'')*')")


@dataclass(slots=True)
class Call:
    """One request, with its address taken apart."""

    method: str
    path: str  # decoded
    options: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base: str  # scheme and host
    cookies: Mapping[str, str]
    arrived: float  # monotonic seconds
    user: str = ""
    _payload: Any = field(default=None)

    @property
    def service(self) -> str:
        """The name of the service, without a version."""
        return self.path[len(ROOT) :].partition("/")[0].partition(";")[0]

    @property
    def resource(self) -> str:
        """What is addressed inside the service."""
        return self.path[len(ROOT) :].partition("/")[2]

    def payload(self) -> Any:
        """The body as JSON; raises ODataError when it is not."""
        if self._payload is None:
            try:
                self._payload = json.loads(self.body)
            except (ValueError, RecursionError):
                raise ODataError(400, "/IWBEP/CM_MGW_RT/020", "Error when parsing the request body: not JSON") from None
        return self._payload

    def order(self) -> str:
        """The order that a write is about, for its lock; empty when it names none."""
        payload = self.payload() if self.body else self.options
        if not isinstance(payload, Mapping):
            return ""
        number = payload.get("OrderID") or payload.get("ManufacturingOrder")
        if not number:
            items = payload.get("to_MaterialDocumentItem", ())
            items = items.get("results", ()) if isinstance(items, dict) else items
            first: Any = items[0] if isinstance(items, list) and items else {}
            number = first.get("ManufacturingOrder", "") if isinstance(first, dict) else ""
        return str(number).strip("'").lstrip("0")


def find_service(name: str) -> Service:
    """The service; raises ODataError 403 as Gateway does for one that is not activated."""
    try:
        return SERVICES[name]
    except KeyError:
        raise ODataError(403, "/IWFND/MED/170", f"No service found for namespace '', name '{name}'") from None


# ── reads ───────────────────────────────────────────────────────────────────────────────────────────────────


def read(erp: Erp, call: Call) -> Answer:
    """GET and HEAD; raises ODataError."""
    service = find_service(call.service)
    resource = call.resource
    if not resource:
        return json_answer(200, {"d": {"EntitySets": list(service.sets)}})
    if resource == "$metadata":
        body = edmx(service.name, erp.settings.hidden).encode()
        return Answer(200, body, content_type=b"application/xml").add("dataserviceversion", "2.0")
    segments = [_segment(part) for part in re.split(r"/(?=\w+(?:\(|$)|\$)", resource)]
    name, keys = segments[0]
    entity_type = service.sets.get(name)
    if entity_type is None:
        raise _no_segment(name)
    if keys is None:
        return _read_set(erp, call, entity_type, counting=segments[1:] == [("$count", None)])
    row = _find(erp, entity_type, keys)
    if len(segments) == 1:
        return _read_one(erp, call, entity_type, row)
    return _read_navigation(erp, call, entity_type, row, segments[1][0])


def _segment(text: str) -> tuple[str, str | None]:
    match = _SEGMENT.fullmatch(text)
    if match is None:
        raise _no_segment(text)
    return match["name"], match["keys"]


def _no_segment(name: str) -> ODataError:
    return ODataError(404, "/IWBEP/CM_MGW_RT/010", f"Resource not found for the segment '{name}'")


def _find(erp: Erp, entity_type: EntityType, keys: str) -> Row:
    found = [(match["name"] or entity_type.keys[0], match["value"]) for match in _KEY.finditer(keys)]
    if {name for name, _ in found} != set(entity_type.keys):
        raise ODataError(400, "/IWBEP/CM_MGW_RT/011", f"Invalid key predicate for {entity_type.name}: ({keys})")
    wanted = {name: read_literal(entity_type.fields[name], value) for name, value in found}
    for row in _candidates(erp, entity_type, wanted):
        if all(comparable(entity_type.fields[name], row.get(name, "")) == value for name, value in wanted.items()):
            return row
    raise ODataError(404, "/IWBEP/CM_MGW_RT/012", f"Resource not found for {entity_type.name}({keys})")


def _table(erp: Erp, name: str) -> Table | None:
    books = erp.books
    return {
        HEADER.name: books.headers,
        ITEM.name: books.items,
        CONFIRMATION.name: books.confirmations,
        CONFIRMATION_ITEM.name: books.confirmation_items,
    }.get(name)


def _candidates(erp: Erp, entity_type: EntityType, wanted: Mapping[str, Any]) -> list[Row]:
    table = _table(erp, entity_type.name)
    if table is None:
        return views.rows_of(erp, entity_type.name)
    indexed = "ConfirmationGroup" if "ConfirmationGroup" in entity_type.fields else "MaterialDocument"
    return table.where(**{indexed: wanted[indexed]})


def _read_set(erp: Erp, call: Call, entity_type: EntityType, *, counting: bool) -> Answer:
    table = _table(erp, entity_type.name)
    rows = table.rows if table is not None else views.rows_of(erp, entity_type.name)
    if counting:
        return Answer(200, str(len(rows)).encode(), content_type=b"text/plain")
    return _page(erp, call, entity_type, rows, table)


def _read_navigation(erp: Erp, call: Call, source: EntityType, row: Row, navigation: str) -> Answer:
    if navigation not in source.navigations:
        raise _no_segment(navigation)
    target = find_service(call.service).sets[source.navigations[navigation]]
    rows = views.navigate(erp, navigation, row)
    if navigation == "to_MaterialDocumentHeader":
        return _read_one(erp, call, target, rows[0])
    return _page(erp, call, target, rows, None)


def _page(erp: Erp, call: Call, entity_type: EntityType, rows: list[Row], table: Table | None) -> Answer:
    query = read_query(entity_type, call.options)
    if table is not None:
        rows = table.select(query.filter)
    elif query.filter is not None:
        rows = [row for row in rows if query.filter.matches(row)]
    rows = ordered(entity_type, rows, query.order) if query.order else rows
    total, end = len(rows), query.skip + (query.top if query.top is not None else len(rows))
    stop = min(end, query.skip + erp.settings.page_size)
    page = rows[query.skip : stop]
    payload: dict[str, Any] = {
        "results": [_shape(erp, call, entity_type, row, query.select, query.expand) for row in page]
    }
    if query.count:
        payload["__count"] = str(total)
    if stop < min(end, total):
        payload["__next"] = _next(call, stop, query.top)
    return json_answer(200, {"d": payload})


def _next(call: Call, stop: int, top: int | None) -> str:
    kept = {name: text for name, text in call.options.items() if name not in {"$skip", "$skiptoken", "$top"}}
    if top is not None:
        kept["$top"] = str(top - (stop - int(call.options.get("$skiptoken", call.options.get("$skip", "0")))))
    kept["$skiptoken"] = str(stop)
    options = "&".join(f"{name}={quote(text, safe='')}" for name, text in kept.items())
    return f"{call.base}{quote(call.path)}?{options}"


def _read_one(erp: Erp, call: Call, entity_type: EntityType, row: Row) -> Answer:
    query = read_query(entity_type, call.options)
    answer = json_answer(200, {"d": _shape(erp, call, entity_type, row, query.select, query.expand)})
    if entity_type.name == "A_ProductionOrder_2":
        answer.add("etag", views.etag(erp.ledger.orders[row["ManufacturingOrder"]]))
    return answer


def _shape(
    erp: Erp, call: Call, entity_type: EntityType, row: Row, select: tuple[str, ...], expand: tuple[str, ...]
) -> Row:
    entity = _entity(erp, call, entity_type, row)
    if select and "*" not in select:
        entity = {name: value for name, value in entity.items() if name in select or name == "__metadata"}
    for navigation, target_name in entity_type.navigations.items():
        if navigation in expand:
            target = find_service(call.service).sets[target_name]
            children = [_entity(erp, call, target, child) for child in views.navigate(erp, navigation, row)]
            single = navigation == "to_MaterialDocumentHeader"
            entity[navigation] = children[0] if single else {"results": children}
        elif not select or navigation in select:
            entity[navigation] = {"__deferred": {"uri": f"{entity['__metadata']['uri']}/{navigation}"}}
    return entity


def _entity(erp: Erp, call: Call, entity_type: EntityType, row: Row) -> Row:
    uri = f"{call.base}{ROOT}{call.service}/{address(entity_type, row)}"
    meta: dict[str, str] = {"id": uri, "uri": uri, "type": f"{call.service}.{entity_type.type_name}"}
    if entity_type.name == "A_ProductionOrder_2":
        meta["etag"] = views.etag(erp.ledger.orders[row["ManufacturingOrder"]])
    return {"__metadata": meta, **full(entity_type, row, erp.settings.hidden)}


# ── writes ──────────────────────────────────────────────────────────────────────────────────────────────────


def write(erp: Erp, call: Call, now: float, *, cogi: bool = False) -> Answer:
    """POST and PATCH: at most one document, booked at once; `now` is monotonic. Raises ODataError."""
    request_id = call.headers.get("requestid", "")
    if not (erp.settings.idempotency and request_id and call.headers.get("repeatabilitycreation")):
        return _execute(erp, call, now, request_id, cogi=cogi)
    known = erp.recall(request_id)
    if known is None:
        answer = _execute(erp, call, now, request_id, cogi=cogi).add("RepeatabilityResult", "accepted")
        erp.remembered[request_id] = Remembered(answer, erp.clock())
        return answer
    if erp.response_dropped(known):
        raise ODataError(
            400,
            "/IWBEP/CM_COS/005",
            "RequestID is outdated. The request was already processed with success; there is nothing left to do",
        )
    return known.answer


def _execute(erp: Erp, call: Call, now: float, request_id: str, *, cogi: bool) -> Answer:
    service = find_service(call.service)
    name, keys = _segment(call.resource)
    if call.method == "PATCH" or call.headers.get("x-http-method") in {"PATCH", "MERGE"}:
        return _patch(erp, call, service, name, keys or "")
    if name in service.functions:
        return _call(erp, call, service.functions[name], now, request_id)
    if name not in service.sets:
        raise _no_segment(name)
    if name not in service.creatable or keys is not None:
        raise ODataError(405, "/IWBEP/CM_MGW_RT/013", f"Method POST is not allowed for {name}")
    entity_type = service.sets[name]
    row, children = read_entity(entity_type, call.payload(), erp.settings.hidden)
    posting = erp.posting(call.user)
    if entity_type is HEADER:
        document = movements.goods_movement(posting, row, children, erp.settings.hidden)
    else:
        document = confirmations.confirm(posting, row, children, erp.settings.hidden, cogi=cogi)
    erp.book(document, seconds=now - call.arrived, request_id=request_id)
    return _created(erp, call, entity_type, document)


def _created(erp: Erp, call: Call, entity_type: EntityType, document: Document) -> Answer:
    """201 with the document and its items; movements that will fail later are still shown, as SAP does."""
    entity = _entity(erp, call, entity_type, document.header)
    navigation, target = next(iter(entity_type.navigations.items()))
    child_type = find_service(call.service).sets[target]
    rows = document.items or [
        {name: value for name, value in row.items() if name in child_type.fields} for row in document.failed
    ]
    entity[navigation] = {"results": [_entity(erp, call, child_type, row) for row in rows]}
    answer = json_answer(201, {"d": entity})
    answer.add("location", entity["__metadata"]["uri"]).add("dataserviceversion", "2.0")
    order = erp.ledger.orders.get(document.order)
    if document.kind == "confirmation" and order is not None and order.confirmed_yield > order.quantity:
        text = f"Order {order.number}: the confirmed yield exceeds the order quantity"
        warning = {"code": "RU/135", "message": text, "severity": "warning", "target": "", "details": []}
        answer.add("sap-message", json.dumps(warning))
    return answer


def _patch(erp: Erp, call: Call, service: Service, name: str, keys: str) -> Answer:
    if name not in service.updatable:
        raise ODataError(405, "/IWBEP/CM_MGW_RT/013", f"Method PATCH is not allowed for {name}")
    row = _find(erp, service.sets[name], keys)
    order = erp.ledger.orders[row["ManufacturingOrder"]]
    expected = call.headers.get("if-match")
    if expected is None:
        raise ODataError(428, "/IWBEP/CM_MGW_RT/014", "Precondition required: send If-Match with the ETag")
    if expected not in {"*", views.etag(order)}:
        raise ODataError(412, "/IWBEP/CM_MGW_RT/015", "Precondition failed: the ETag does not match, read again")
    changes, _ = read_entity(service.sets[name], call.payload(), erp.settings.hidden)
    for field_name in changes:
        if field_name.startswith("OrderIs") or field_name in {"ManufacturingOrder", "LastChangeDateTime"}:
            raise ODataError(400, "/IWBEP/CM_MGW_RT/034", f"Property {field_name} is read-only", target=field_name)
    order.entered.update(changes)
    order.touch(erp.clock())
    return Answer(204).add("etag", views.etag(order))


def _call(erp: Erp, call: Call, function: Function, now: float, request_id: str) -> Answer:
    given: Row = {}
    for name, text in call.options.items():
        if name in function.parameters:
            given[name] = _parameter(function, name, text)
    missing = [name for name in function.required if name not in given]
    if missing:
        raise ODataError(400, "/IWBEP/CM_MGW_RT/016", f"Mandatory parameter {missing[0]} of {function.name} is missing")
    if function.returns == "FunctionMessage":
        return _order_function(erp, function.name, given["ManufacturingOrder"])
    posting = erp.posting(call.user)
    if function.returns == CONFIRMATION.name:
        group, count = given.pop("ConfirmationGroup"), given.pop("ConfirmationCount")
        document = confirmations.cancel(posting, group, count, given)
    else:
        year, number = given["MaterialDocumentYear"], given["MaterialDocument"]
        item = given.get("MaterialDocumentItem", "")
        document = movements.cancel(posting, year, number, item, given.get("PostingDate"))
    erp.book(document, seconds=now - call.arrived, request_id=request_id)
    if function.returns == ITEM.name:
        return json_answer(200, {"d": _entity(erp, call, ITEM, document.items[0])})
    entity_type = CONFIRMATION if function.returns == CONFIRMATION.name else HEADER
    return json_answer(200, {"d": _entity(erp, call, entity_type, document.header)})


def _parameter(function: Function, name: str, text: str) -> Any:
    one = function.parameters[name]
    match = _KEY.fullmatch(text)
    if match is None:
        raise ODataError(400, "/IWBEP/CM_MGW_RT/026", f"Invalid literal {text} for parameter {name}")
    value = match["value"]
    inner = value[value.index("'") + 1 : -1].replace("''", "'")
    return read_value(one, inner)


def _order_function(erp: Erp, name: str, number: str) -> Answer:
    order = erp.ledger.known_order(number)
    match name:
        case "ReleaseOrder":
            if order.released:
                raise ODataError(400, "CO/085", f"Order {order.number} has already been released")
            order.released = True
        case "TechlyCmpltOrder":
            order.technically_completed = True
        case "CloseOrder":
            order.closed = True
        case _:
            order.entered["OrderIsDelivered"] = "X"
    order.touch(erp.clock())
    message = {
        "SystemMessageType": "S",
        "SystemMessageIdentification": "CO",
        "SystemMessageNumber": "100",
        "SystemMessageLongText": f"Order number {order.number} saved",
        "SystemMessageVariable1": order.number,
    }
    return json_answer(200, {"d": {name: full(FUNCTION_MESSAGE, message, frozenset())}})
