"""$metadata: the EDMX document of a service, built from its entity types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from simulators.erp.model import FUNCTION_MESSAGE, SERVICES, SINGLE, EntityType, Field, Function, Service
from simulators.erp.tables import NUMERIC, UPPER_CASE

_EDMX = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"'
    ' xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"'
    ' xmlns:sap="http://www.sap.com/Protocols/SAPData">'
    '<edmx:DataServices m:DataServiceVersion="2.0">{schema}</edmx:DataServices></edmx:Edmx>'
)


@lru_cache(maxsize=64)
def edmx(service_name: str, hidden: frozenset[str] = frozenset()) -> str:
    """The EDMX of a service; `hidden` fields are left out, as a release that does not know them would."""
    service = SERVICES[service_name]
    return _EDMX.format(schema="".join(_schema(service, hidden)))


def _schema(service: Service, hidden: frozenset[str]) -> Iterator[str]:
    yield f'<Schema Namespace="{service.name}" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">'
    for entity_type in service.sets.values():
        yield from _entity_type(service, entity_type, hidden)
    if any(one.returns == "FunctionMessage" for one in service.functions.values()):
        properties = "".join(_property(one) for one in FUNCTION_MESSAGE.fields.values())
        yield f'<ComplexType Name="FunctionMessage">{properties}</ComplexType>'
    yield from _associations(service)
    yield from _container(service)
    yield "</Schema>"


def _entity_type(service: Service, entity_type: EntityType, hidden: frozenset[str]) -> Iterator[str]:
    yield f'<EntityType Name="{entity_type.type_name}" sap:content-version="1"><Key>'
    yield from (f'<PropertyRef Name="{key}"/>' for key in entity_type.keys)
    yield "</Key>"
    for one in entity_type.fields.values():
        if one.name not in hidden:
            yield _property(one, key=one.name in entity_type.keys)
    for navigation in entity_type.navigations:
        association = f"{entity_type.name}_{navigation}"
        yield (
            f'<NavigationProperty Name="{navigation}" Relationship="{service.name}.{association}"'
            f' FromRole="From_{association}" ToRole="To_{association}"/>'
        )
    yield "</EntityType>"


def _property(one: Field, *, key: bool = False) -> str:
    facets = ' Nullable="false"' if key else ""
    if one.kind == "S" and one.length:
        facets += f' MaxLength="{one.length}"'
    if one.kind == "D":
        facets += f' Precision="{one.length}" Scale="{one.scale}"'
    if one.kind in {"DT", "T"}:
        facets += ' Precision="0"'
    if one.kind == "DT":
        facets += ' sap:display-format="Date"'
    if one.name in UPPER_CASE:
        facets += ' sap:display-format="UpperCase"'
    elif one.name in NUMERIC:
        facets += ' sap:display-format="NonNegative"'
    if one.name == "LastChangeDateTime":
        facets += ' ConcurrencyMode="Fixed"'
    if not one.creatable:
        facets += ' sap:creatable="false" sap:updatable="false"'
    return f'<Property Name="{one.name}" Type="{one.edm}"{facets}/>'


def _associations(service: Service) -> Iterator[str]:
    for name, source, target in _navigations(service):
        many = "1" if name.rpartition(f"{source.name}_")[2] in SINGLE else "*"
        yield (
            f'<Association Name="{name}" sap:content-version="1">'
            f'<End Type="{service.name}.{source.type_name}" Multiplicity="1" Role="From_{name}"/>'
            f'<End Type="{service.name}.{target.type_name}" Multiplicity="{many}" Role="To_{name}"/></Association>'
        )


def _navigations(service: Service) -> Iterator[tuple[str, EntityType, EntityType]]:
    for source in service.sets.values():
        for navigation, target in source.navigations.items():
            yield f"{source.name}_{navigation}", source, service.sets[target]


def _container(service: Service) -> Iterator[str]:
    yield f'<EntityContainer Name="{service.name}_Entities" m:IsDefaultEntityContainer="true">'
    for name, entity_type in service.sets.items():
        yield (
            f'<EntitySet Name="{name}" EntityType="{service.name}.{entity_type.type_name}"'
            f' sap:creatable="{_yes(name in service.creatable)}" sap:updatable="{_yes(name in service.updatable)}"'
            ' sap:deletable="false" sap:content-version="1"/>'
        )
    for name, source, target in _navigations(service):
        yield (
            f'<AssociationSet Name="{name}_set" Association="{service.name}.{name}">'
            f'<End EntitySet="{source.name}" Role="From_{name}"/>'
            f'<End EntitySet="{target.name}" Role="To_{name}"/></AssociationSet>'
        )
    yield from (_function(service, one) for one in service.functions.values())
    yield "</EntityContainer>"


def _function(service: Service, one: Function) -> str:
    parameters = "".join(
        f'<Parameter Name="{field.name}" Type="{field.edm}" Mode="In"'
        + (f' MaxLength="{field.length}"' if field.length else "")
        + ("/>" if field.name in one.required else ' sap:optional="true"/>')
        for field in one.parameters.values()
    )
    if one.returns == "FunctionMessage":
        returns = f'ReturnType="{service.name}.FunctionMessage"'
    else:
        returns = f'ReturnType="{service.name}.{service.sets[one.returns].type_name}" EntitySet="{one.returns}"'
    return f'<FunctionImport Name="{one.name}" {returns} m:HttpMethod="POST">{parameters}</FunctionImport>'


def _yes(value: bool) -> str:  # noqa: FBT001 - one flag, printed
    return "true" if value else "false"
