"""The OData services: addresses and reads. Synchronous: what happens here and in `writes` happens at one instant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from simulators.erp import views
from simulators.erp.books import Table
from simulators.erp.metadata import edmx
from simulators.erp.model import (
    CONFIRMATION,
    CONFIRMATION_ITEM,
    COUNT_HEADER,
    COUNT_ITEM,
    DEFECT,
    HEADER,
    ITEM,
    SERVICES,
    SINGLE,
    EntityType,
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
    read_literal,
)
from simulators.erp.query import ordered, read_query
from simulators.erp.state import Erp

ROOT = "/sap/opu/odata/sap/"
_SEGMENT = re.compile(r"(?P<name>[\w$]+)(?:\((?P<keys>.*)\))?")
KEY = re.compile(r"(?:(?P<name>\w+)=)?(?P<value>(?:\w+)?'(?:[^']|'')*')")
_ORDER = re.compile(r"A_ProductionOrder_2\((?:ManufacturingOrder=)?'(?P<number>\w+)'\)")


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
        """The order that a write is about, or the batch, for its lock; empty when it names none."""
        if self.resource.startswith("Batch("):
            return self.resource
        payload = self.payload() if self.body else self.options
        if not isinstance(payload, Mapping):
            return ""
        number = payload.get("OrderID") or payload.get("ManufacturingOrder")
        if not number and (patched := _ORDER.search(self.resource)):
            number = patched["number"]
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
    segments = [segment(part) for part in re.split(r"/(?=\w+(?:\(|$)|\$)", resource)]
    name, keys = segments[0]
    entity_type = service.sets.get(name)
    if entity_type is None:
        raise no_segment(name)
    if keys is None:
        return _read_set(erp, call, entity_type, counting=segments[1:] == [("$count", None)])
    row = find(erp, entity_type, keys)
    if len(segments) == 1:
        return _read_one(erp, call, entity_type, row)
    return _read_navigation(erp, call, entity_type, row, segments[1][0])


def segment(text: str) -> tuple[str, str | None]:
    """A name and what stands in its parentheses; raises ODataError."""
    match = _SEGMENT.fullmatch(text)
    if match is None:
        raise no_segment(text)
    return match["name"], match["keys"]


def no_segment(name: str) -> ODataError:
    """Nothing of this name is there."""
    return ODataError(404, "/IWBEP/CM_MGW_RT/010", f"Resource not found for the segment '{name}'")


def find(erp: Erp, entity_type: EntityType, keys: str) -> Row:
    """The entity with these keys; raises ODataError 404."""
    found = [(match["name"] or entity_type.keys[0], match["value"]) for match in KEY.finditer(keys)]
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
        DEFECT.name: books.defects,
        COUNT_HEADER.name: books.count_headers,
        COUNT_ITEM.name: books.count_items,
    }.get(name)


def _candidates(erp: Erp, entity_type: EntityType, wanted: Mapping[str, Any]) -> list[Row]:
    table = _table(erp, entity_type.name)
    if table is None:
        return views.rows_of(erp, entity_type.name)
    return table.where(**{table.first: wanted[table.first]})


def _read_set(erp: Erp, call: Call, entity_type: EntityType, *, counting: bool) -> Answer:
    table = _table(erp, entity_type.name)
    rows = table.rows if table is not None else views.rows_of(erp, entity_type.name)
    if counting:
        return Answer(200, str(len(rows)).encode(), content_type=b"text/plain")
    return _page(erp, call, entity_type, rows, table)


def _read_navigation(erp: Erp, call: Call, source: EntityType, row: Row, navigation: str) -> Answer:
    if navigation not in source.navigations:
        raise no_segment(navigation)
    target = find_service(call.service).sets[source.navigations[navigation]]
    rows = views.navigate(erp, navigation, row)
    if navigation in SINGLE:
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
    if etag := views.etag(erp, entity_type, row):
        answer.add("etag", etag)
    return answer


def _shape(
    erp: Erp, call: Call, entity_type: EntityType, row: Row, select: tuple[str, ...], expand: tuple[str, ...]
) -> Row:
    shaped = entity(erp, call, entity_type, row)
    if select and "*" not in select:
        shaped = {name: value for name, value in shaped.items() if name in select or name == "__metadata"}
    for navigation, target_name in entity_type.navigations.items():
        if navigation in expand:
            target = find_service(call.service).sets[target_name]
            children = [entity(erp, call, target, child) for child in views.navigate(erp, navigation, row)]
            shaped[navigation] = children[0] if navigation in SINGLE else {"results": children}
        elif not select or navigation in select:
            shaped[navigation] = {"__deferred": {"uri": f"{shaped['__metadata']['uri']}/{navigation}"}}
    return shaped


def entity(erp: Erp, call: Call, entity_type: EntityType, row: Row) -> Row:
    """A row as it is answered, with its address and its ETag."""
    uri = f"{call.base}{ROOT}{call.service}/{address(entity_type, row)}"
    meta: dict[str, str] = {"id": uri, "uri": uri, "type": f"{call.service}.{entity_type.type_name}"}
    if etag := views.etag(erp, entity_type, row):
        meta["etag"] = etag
    return {"__metadata": meta, **full(entity_type, row, erp.settings.hidden)}
