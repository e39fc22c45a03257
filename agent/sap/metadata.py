"""What one SAP service really accepts: its $metadata (EDMX) as a frozen table, a payload check and a drift report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from agent.errors import ErpUnavailable


@dataclass(frozen=True, slots=True)
class Property:
    """One field of an entity type; `max_length`, `precision` and `scale` are None where SAP states none."""

    name: str
    type: str  # Edm.String, Edm.Decimal, …
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    creatable: bool = True
    upper_case: bool = False
    updatable: bool = True

    def __str__(self) -> str:
        facets = [str(one) for one in (self.max_length, self.precision, self.scale) if one is not None]
        size = f"({','.join(facets)})" if facets else ""
        fixed = "" if self.updatable else ", not updatable"
        return f"{self.type.removeprefix('Edm.')}{size}{fixed if self.creatable else ', not creatable'}"

    def complaint(self, value: object) -> str:
        """Why SAP would refuse this value; empty: it would not."""
        if not self.creatable:
            return "may not be written in this SAP system; take it out of the configuration"
        if self.type == "Edm.String":
            return self._text(value)
        if self.type == "Edm.Decimal":
            return self._number(value)
        wanted = _JSON_TYPES.get(self.type)
        return "" if wanted is None or type(value) is wanted else f"must be {self.type}, not {value!r}"

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            return f"must be text, not {value!r}"
        if self.max_length is not None and len(value) > self.max_length:
            return f"{value!r} is too long: {len(value)} of at most {self.max_length} characters"
        return ""

    def _number(self, value: object) -> str:
        if type(value) is str and self._plain(value):
            return ""
        try:
            number = Decimal(value) if isinstance(value, str) else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite():
            return f"must be a decimal number as text, not {value!r}"
        exponent = number.as_tuple().exponent
        if self.scale is not None and isinstance(exponent, int) and -exponent > self.scale:
            return f"{value} is too precise: more than {self.scale} decimals"
        if self.precision is not None and number.adjusted() + 1 > self.precision - (self.scale or 0) and number:
            return f"{value} is too large: more than {self.precision - (self.scale or 0)} digits before the point"
        return ""

    def _plain(self, value: str) -> bool:
        """Whether it is plain digits that fit, with or without a point: almost every quantity."""
        whole, _, decimals = value.partition(".")
        return (
            (whole + decimals).isdecimal()
            and (self.scale is None or len(decimals) <= self.scale)
            and (self.precision is None or len(whole) <= self.precision - (self.scale or 0))
        )


_JSON_TYPES = {"Edm.Boolean": bool, "Edm.DateTime": str, "Edm.Time": str, "Edm.Guid": str, "Edm.DateTimeOffset": str}


@dataclass(frozen=True, slots=True)
class EntityType:
    """A kind of entity; `navigations` maps a navigation property to the name of the type it leads to."""

    name: str
    keys: tuple[str, ...]
    properties: Mapping[str, Property]
    navigations: Mapping[str, str]
    texts: dict[str, int] = field(init=False, compare=False, repr=False)  # field that takes text → longest it takes

    def __post_init__(self) -> None:
        texts = {
            name: sys.maxsize if known.max_length is None or known.type != "Edm.String" else known.max_length
            for name, known in self.properties.items()
            if known.creatable and (known.type == "Edm.String" or _JSON_TYPES.get(known.type) is str)
        }
        object.__setattr__(self, "texts", texts)


@dataclass(frozen=True, slots=True)
class EntitySet:
    """Where entities of a type are found, and whether a POST may create one and a PATCH change it."""

    name: str
    type: str
    creatable: bool = True
    updatable: bool = True


@dataclass(frozen=True, slots=True)
class Metadata:
    """One service as its $metadata describes it."""

    service: str
    types: Mapping[str, EntityType]
    sets: Mapping[str, EntitySet]
    functions: Mapping[str, Mapping[str, Property]] = field(default_factory=lambda: MappingProxyType({}))

    def check(self, entity_set: str, body: Mapping[str, Any]) -> list[str]:
        """What SAP would refuse in a POST of `body` to `entity_set`; empty: nothing. Pure."""
        found = self.sets.get(entity_set)
        if found is None:
            return [f"{self.service} has no {entity_set}; {_MEND}"]
        if not found.creatable:
            return [f"{self.service}/{entity_set} takes no new documents in this SAP system"]
        return self._check(self.types[found.type], body, "")

    def check_change(self, entity_set: str, body: Mapping[str, Any]) -> list[str]:
        """What SAP would refuse in a PATCH of one entity of `entity_set`; empty: nothing. Pure."""
        found = self.sets.get(entity_set)
        if found is None:
            return [f"{self.service} has no {entity_set}; {_MEND}"]
        if not found.updatable:
            return [f"{self.service}/{entity_set} takes no changes in this SAP system"]
        entity = self.types[found.type]
        fields = {name: replace(known, creatable=known.updatable) for name, known in entity.properties.items()}
        return self._check(replace(entity, properties=fields), body, "")

    def check_function(self, function: str, arguments: Mapping[str, str]) -> list[str]:
        """What SAP would refuse in a call of a function import; the arguments are URL literals. Pure."""
        known = self.functions.get(function)
        if known is None:
            return [f"{self.service} has no function {function}; {_MEND}"]
        return [f"{function}: unknown parameter {name}; {_MEND}" for name in arguments if name not in known]

    def _check(self, entity: EntityType, body: Mapping[str, Any], path: str) -> list[str]:
        texts: Mapping[str, int] = entity.texts
        found: list[str] = []
        for name, value in body.items():
            if type(value) is not str or len(value) > texts.get(name, -1):  # most of a body is text that fits
                found += self._complaints(entity, name, value, path)
        return found

    def _complaints(self, entity: EntityType, name: str, value: object, path: str) -> list[str]:
        if (known := entity.properties.get(name)) is not None:
            words = known.complaint(value)
            return [f"{path}{name}: {words}"] if words else []
        if (target := entity.navigations.get(name)) is not None:
            return self._check_below(self.types[target], value, f"{path}{name}")
        return [f"{path}{name}: unknown to this SAP system ({entity.name}); {_MEND}"]

    def _check_below(self, entity: EntityType, value: object, path: str) -> list[str]:
        items = value.get("results") if isinstance(value, dict) else value
        if not isinstance(items, list):
            return [f"{path}: must be a list of {entity.name}"]
        return [words for at, item in enumerate(items) for words in self._check(entity, item, f"{path}[{at}].")]


_MEND = "take it out of the configuration or let the service be activated in this release"


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────


def read_metadata(service: str, edmx: bytes) -> Metadata:
    """The table of a service. Raises ErpUnavailable where the document is not an EDMX of OData V2."""
    try:
        root = fromstring(edmx)
    except (ParseError, DefusedXmlException, ValueError, RecursionError) as error:
        raise ErpUnavailable(f"{service}/$metadata cannot be read: {error}; is the service active?") from error
    targets = _association_ends(root)
    types = {one.name: one for one in (_entity_type(node, targets) for node in _all(root, "EntityType"))}
    sets = {one.name: one for one in map(_entity_set, _all(root, "EntitySet"))}
    if not types or not sets or any(one.type not in types for one in sets.values()):
        raise ErpUnavailable(f"{service}/$metadata describes no entity sets; is the service active?")
    functions = {
        node.get("Name", ""): MappingProxyType({one.name: one for one in map(_property, _all(node, "Parameter"))})
        for node in _all(root, "FunctionImport")
    }
    return Metadata(service, MappingProxyType(types), MappingProxyType(sets), MappingProxyType(functions))


def _all(node: Element, name: str) -> Iterator[Element]:
    """Every element of this local name below `node`: the namespaces differ between releases."""
    return (one for one in node.iter() if str(one.tag).rpartition("}")[2] == name)


def _association_ends(root: Element) -> dict[tuple[str, str], str]:
    """(association, role) → entity type of this document: how a navigation property says where it leads."""
    here = {node.get("Name", "") for node in _all(root, "EntityType")}
    return {
        (association.get("Name", ""), end.get("Role", "")): target
        for association in _all(root, "Association")
        for end in _all(association, "End")
        if (target := _short(end.get("Type", ""))) in here
    }


def _entity_type(node: Element, targets: Mapping[tuple[str, str], str]) -> EntityType:
    properties = {one.name: one for one in map(_property, _all(node, "Property"))}
    navigations = {}
    for one in _all(node, "NavigationProperty"):
        target = targets.get((_short(one.get("Relationship", "")), one.get("ToRole", "")))
        if target is not None:
            navigations[one.get("Name", "")] = target
    return EntityType(
        name=node.get("Name", ""),
        keys=tuple(one.get("Name", "") for one in _all(node, "PropertyRef")),
        properties=MappingProxyType(properties),
        navigations=MappingProxyType(navigations),
    )


def _property(node: Element) -> Property:
    return Property(
        name=node.get("Name", ""),
        type=node.get("Type", ""),
        max_length=_whole(node.get("MaxLength")),
        precision=_whole(node.get("Precision")),
        scale=_whole(node.get("Scale")),
        creatable=_sap(node, "creatable") != "false",
        upper_case=_sap(node, "display-format") == "UpperCase",
        updatable=_sap(node, "updatable") != "false",
    )


def _entity_set(node: Element) -> EntitySet:
    return EntitySet(
        name=node.get("Name", ""),
        type=_short(node.get("EntityType", "")),
        creatable=_sap(node, "creatable") != "false",
        updatable=_sap(node, "updatable") != "false",
    )


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _whole(value: str | None) -> int | None:
    return int(value) if value and value.isdigit() else None  # MaxLength may say "Max"


def _sap(node: Element, attribute: str) -> str | None:
    return node.get(f"{{http://www.sap.com/Protocols/SAPData}}{attribute}")


# ── drift ───────────────────────────────────────────────────────────────────────────────────────────────────


def drift(before: Metadata, after: Metadata) -> tuple[str, ...]:
    """What changed in a service since it was last read, one line each; empty: nothing that a posting can notice."""
    sets, functions = (
        _came_or_went("entity set", before.sets, after.sets),
        _came_or_went("function", before.functions, after.functions),
    )
    return (*sets, *functions, *_field_drift(before, after))


def _came_or_went(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{what} {name} is gone" for name in before if name not in after)
    yield from (f"{what} {name} is new" for name in after if name not in before)


def _field_drift(before: Metadata, after: Metadata) -> Iterator[str]:
    for name, entity in before.types.items():
        now = after.types[name].properties if name in after.types else {}
        for field_name, old in entity.properties.items():
            new = now.get(field_name)
            if new != old:
                yield f"{name}.{field_name}: {old} is now {new if new else 'gone'}"
        yield from (f"{name}.{added} is new: {now[added]}" for added in now if added not in entity.properties)
