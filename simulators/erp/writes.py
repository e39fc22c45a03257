"""What writes: a POST of an entity, a PATCH, a function import; at most one document, booked at one instant."""

from __future__ import annotations

import json
from typing import Any

from simulators.erp import batches, confirmations, counts, defects, movements, orders
from simulators.erp.books import Document
from simulators.erp.model import (
    BATCH,
    CONFIRMATION,
    COUNT_HEADER,
    COUNT_ITEM,
    DEFECT,
    HEADER,
    ITEM,
    ORDER,
    EntityType,
    Function,
    Service,
)
from simulators.erp.odata import Answer, ODataError, Row, json_answer, read_entity, read_value
from simulators.erp.services import KEY, Call, entity, find, find_service, no_segment, segment
from simulators.erp.state import Erp, Remembered
from simulators.erp.views import etag


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
    name, keys = segment(call.resource)
    if call.method == "PATCH" or call.headers.get("x-http-method") in {"PATCH", "MERGE"}:
        return _patch(erp, call, service, name, keys or "", now)
    if name in service.functions:
        return _call(erp, call, service.functions[name], now, request_id)
    if name not in service.sets:
        raise no_segment(name)
    if name not in service.creatable or keys is not None:
        raise ODataError(405, "/IWBEP/CM_MGW_RT/013", f"Method POST is not allowed for {name}")
    entity_type = service.sets[name]
    row, children = read_entity(entity_type, call.payload(), erp.settings.hidden)
    posting = erp.posting(call.user)
    if entity_type is HEADER:
        document = movements.goods_movement(posting, row, children, erp.settings.hidden)
    elif entity_type is DEFECT:
        document = defects.record(posting, row)
    elif entity_type is COUNT_HEADER:
        document = counts.create(posting, row, children, erp.settings.hidden)
    else:
        document = confirmations.confirm(posting, row, children, erp.settings.hidden, cogi=cogi)
    erp.book(document, seconds=now - call.arrived, request_id=request_id)
    return _created(erp, call, entity_type, document)


def _created(erp: Erp, call: Call, entity_type: EntityType, document: Document) -> Answer:
    """201 with the document and its items; movements that will fail later are still shown, as SAP does."""
    made = entity(erp, call, entity_type, document.header)
    for navigation, target in entity_type.navigations.items():
        child_type = find_service(call.service).sets[target]
        rows = document.items or [
            {name: value for name, value in row.items() if name in child_type.fields} for row in document.failed
        ]
        made[navigation] = {"results": [entity(erp, call, child_type, row) for row in rows]}
    answer = json_answer(201, {"d": made})
    answer.add("location", made["__metadata"]["uri"]).add("dataserviceversion", "2.0")
    order = erp.ledger.orders.get(document.order)
    if document.kind == "confirmation" and order is not None and order.confirmed_yield > order.quantity:
        text = f"Order {order.number}: the confirmed yield exceeds the order quantity"
        warning = {"code": "RU/135", "message": text, "severity": "warning", "target": "", "details": []}
        answer.add("sap-message", json.dumps(warning))
    return answer


def _patch(erp: Erp, call: Call, service: Service, name: str, keys: str, now: float) -> Answer:
    if name not in service.updatable:
        raise ODataError(405, "/IWBEP/CM_MGW_RT/013", f"Method PATCH is not allowed for {name}")
    entity_type = service.sets[name]
    row = find(erp, entity_type, keys)
    if call.headers.get("if-match") is None:
        raise ODataError(428, "/IWBEP/CM_MGW_RT/014", "Precondition required: send If-Match with the ETag")
    _check_etag(erp, call, entity_type, row)
    changes, _ = read_entity(entity_type, call.payload(), erp.settings.hidden)
    if entity_type is COUNT_ITEM:
        document = counts.enter(erp.posting(call.user), row, changes)
    elif entity_type is BATCH:
        document = batches.change(erp.ledger.batches[row["Material"], row["Batch"]], changes)
    else:
        document = orders.change(erp.ledger.orders[row["ManufacturingOrder"]], changes)
    erp.book(document, seconds=now - call.arrived, request_id="")
    return Answer(204).add("etag", etag(erp, entity_type, row))


def _check_etag(erp: Erp, call: Call, entity_type: EntityType, row: Row) -> None:
    if call.headers.get("if-match", "*") not in {"*", etag(erp, entity_type, row)}:
        raise ODataError(412, "/IWBEP/CM_MGW_RT/015", "Precondition failed: the ETag does not match, read again")


def _call(erp: Erp, call: Call, function: Function, now: float, request_id: str) -> Answer:
    given: Row = {}
    for name, text in call.options.items():
        if name in function.parameters:
            given[name] = _parameter(function, name, text)
    missing = [name for name in function.required if name not in given]
    if missing:
        raise ODataError(400, "/IWBEP/CM_MGW_RT/016", f"Mandatory parameter {missing[0]} of {function.name} is missing")
    if function.returns == "FunctionMessage":
        return _order_function(erp, call, function.name, given["ManufacturingOrder"], now)
    posting = erp.posting(call.user)
    if function.returns == COUNT_HEADER.name:
        return _post_differences(erp, call, given, now)
    if function.returns == CONFIRMATION.name:
        group, count = given.pop("ConfirmationGroup"), given.pop("ConfirmationCount")
        document = confirmations.cancel(posting, group, count, given)
    else:
        year, number = given["MaterialDocumentYear"], given["MaterialDocument"]
        item = given.get("MaterialDocumentItem", "")
        document = movements.cancel(posting, year, number, item, given.get("PostingDate"))
    erp.book(document, seconds=now - call.arrived, request_id=request_id)
    if function.returns == ITEM.name:
        return json_answer(200, {"d": entity(erp, call, ITEM, document.items[0])})
    entity_type = CONFIRMATION if function.returns == CONFIRMATION.name else HEADER
    return json_answer(200, {"d": entity(erp, call, entity_type, document.header)})


def _parameter(function: Function, name: str, text: str) -> Any:
    one = function.parameters[name]
    match = KEY.fullmatch(text)
    if match is None:
        raise ODataError(400, "/IWBEP/CM_MGW_RT/026", f"Invalid literal {text} for parameter {name}")
    value = match["value"]
    inner = value[value.index("'") + 1 : -1].replace("''", "'")
    return read_value(one, inner)


def _order_function(erp: Erp, call: Call, name: str, number: str, now: float) -> Answer:
    order = erp.ledger.known_order(number)
    _check_etag(erp, call, ORDER, {"ManufacturingOrder": order.number})
    if name == "ReleaseOrder":
        erp.book(orders.release(order), seconds=now - call.arrived, request_id="")
    else:
        orders.set_status(order, name)
        order.touch(erp.clock())
    return json_answer(200, {"d": {name: orders.saved(order)}})


def _post_differences(erp: Erp, call: Call, given: Row, now: float) -> Answer:
    year, number = given["FiscalYear"], given["PhysicalInventoryDocument"]
    _check_etag(erp, call, COUNT_HEADER, {"PhysicalInventoryDocument": number})
    document = counts.post_differences(erp.posting(call.user), year, number, given.get("PostingDate"))
    erp.book(document, seconds=now - call.arrived, request_id="")
    (header,) = erp.books.count_headers.where(PhysicalInventoryDocument=number)
    return json_answer(200, {"d": entity(erp, call, COUNT_HEADER, header)})
