"""A YAML node tree → any frozen pydantic model, with every error at its line."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator, core_schema

from agent.errors import ConfigError, Finding
from agent.strict.yamltree import DECIMAL, Node, scan_yaml

Model = TypeVar("Model", bound=BaseModel)

MOST_COMPARED = 500
MOST_SHOWN = 50
A_NUMBER = "must be a number, written like 12 or 0.95"

_PRIVATE = re.compile(r"pass|secret|token|credential|auth(?!ority)|private", re.IGNORECASE)


Name = typing.Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]  # of what is configured


class Settings(BaseModel):
    """The base of everything that is configured: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def parse(source: str | Path | Node, model: type[Model], context: Mapping[str, Any] | None = None) -> Model:
    """The file or node as this model. Raises ConfigError with all findings at once.

    Scalars reach the model as written, so the field decides: a `str` gets ``0123``, a `Decimal` all its digits.
    Only ``true`` and ``false`` are booleans. Relative paths are relative to the file.
    `context` is what validators of the model ask for (secrets).
    """
    node, findings = (source, []) if isinstance(source, Node) else scan_yaml(source)
    result = None if node is None else validate(node, model, findings, context)
    if result is None or findings:
        raise ConfigError(sorted(findings, key=lambda finding: finding.line))
    return result


def validate(
    node: Node,
    model: type[Model],
    findings: list[Finding],
    context: Mapping[str, Any] | None = None,
    also: Iterable[str] = (),
) -> Model | None:
    """The node as this model, or None after adding what is wrong with it to `findings`.

    `also` are keys that others read from the same mapping: an unknown key may be one of them, mistyped.
    """
    if not isinstance(node.children, Mapping):
        findings.append(node.finding(f"must be a mapping with the keys {', '.join(_names([model]))}", ""))
        return None
    try:
        result: Model = _validator(model).validate_python(_written(node), context=dict(context or {}))
    except ValidationError as error:
        findings.extend(_finding(node, model, details, also) for details in error.errors(include_url=False))
        return None
    anchored: Model = _anchored(result, Path(node.file).parent)
    return anchored


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint for a mistyped name: the closest known one, else all of them."""
    lower = {word.lower(): word for word in known}
    begins = name.lower()[:3] if len(lower) > MOST_COMPARED else ""  # of thousands of tags only those that begin alike
    alike = [word for word in lower if word.startswith(begins)][:MOST_COMPARED]
    close = difflib.get_close_matches(name.lower(), alike, 1, 0.6)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    more = f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else ""
    return f"known: {', '.join(sorted(known)[:MOST_SHOWN]) or 'none'}{more}"


def _written(node: Node) -> Any:
    """What pydantic is given: numbers as text, because only the field knows whether 1.10 is a number."""
    if isinstance(node.children, Mapping):
        return {key: _written(child) for key, child in node.children.items()}
    if node.children is not None:
        return [_written(child) for child in node.children]
    return node.value if node.value is None or isinstance(node.value, bool) else node.text


def _anchored(value: Any, folder: Path) -> Any:
    """The value with every relative path made relative to this folder."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _anchored(part, folder) for name, part in value})
    if type(value) in (list, tuple):
        return type(value)(_anchored(part, folder) for part in value)
    if isinstance(value, dict):
        return {key: _anchored(part, folder) for key, part in value.items()}
    return value


@cache
def _validator(model: type[BaseModel]) -> SchemaValidator:
    """The model's own rules without pydantic's leniency: ``no`` is no boolean and ``0123`` no number."""
    model.model_rebuild()
    return SchemaValidator(_strict(model.__pydantic_core_schema__), _use_prebuilt=False)


def _strict(schema: Any) -> Any:
    """A copy of a core schema in which booleans and numbers take only what YAML 1.2 calls so."""
    if isinstance(schema, list | tuple):
        return type(schema)(_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    values = {"default", "serialization", "metadata", "expected", "config"} if isinstance(kind, str) else set()
    copy = {key: part if key in values else _strict(part) for key, part in schema.items()}
    if kind == "bool":
        return {**copy, "strict": True}
    if kind in ("int", "decimal", "float"):
        return core_schema.no_info_before_validator_function(_number, copy)
    return copy


def _number(written: Any) -> Any:
    if isinstance(written, str) and not (written[-1:].isdigit() and DECIMAL.fullmatch(written)):
        comma = "; with a decimal point, not a comma" if "," in written else ""
        raise ValueError(f"{A_NUMBER}{comma}")
    return written


def _finding(root: Node, model: type[BaseModel], details: ErrorDetails, also: Iterable[str]) -> Finding:
    """One pydantic error at its line. Parts of `loc` that are no keys of the file (tags of unions) are skipped."""
    node, here = root, [model]
    location = list(details["loc"])
    unknown = location.pop() if details["type"] in ("extra_forbidden", "missing") else None
    for part in location:
        child = node.get(part)
        here = list(_models_below(here, str(part)))
        node = child if child is not None else node
    if details["type"] == "extra_forbidden":
        known = [*_names(here), *(also if node is root else ())]
        return (node.get(str(unknown)) or node).finding(f"unknown key; {did_you_mean(str(unknown), known)}", "")
    if details["type"] == "missing":
        path = f"{node.path}.{unknown}" if node.path else str(unknown)
        return Finding(node.file, node.line, path, f"is required{_about(here, str(unknown))}")
    shown = "" if details["type"] == "secret" or _PRIVATE.search(node.path) else None
    return node.finding(_message(details), shown)


def _message(details: ErrorDetails) -> str:
    text = details["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")
    return {
        "bool_type": "must be true or false",
        "model_type": "must be a mapping",
        "model_attributes_type": "must be a mapping",
        "tuple_type": "must be a list",
        "string_type": "must be text",
        "decimal_type": A_NUMBER,
    }.get(details["type"], text)


def _names(models: Sequence[type[BaseModel]]) -> list[str]:
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _about(models: Sequence[type[BaseModel]], name: str) -> str:
    """The field's description, as a reminder of what to write."""
    for model in models:
        field = model.model_fields.get(name)
        if field is not None and field.description:
            return f": {field.description}"
    return ""


def _models_below(models: Sequence[type[BaseModel]], part: str) -> Iterator[type[BaseModel]]:
    """The models that a key, an index or a union's tag of these models leads to."""
    found = False
    for model in models:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                found = True
                yield from models_in(field.annotation)
    if not found:
        yield from models  # an index, a key of a dict, or the tag of a union


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model class named by an annotation: through Optional, unions, tuples, lists and mappings."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in typing.get_args(annotation):
        yield from models_in(part)
