"""The API's description as one plain page: no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any, Final

STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:2.5rem;border-bottom:1px solid #999}code,pre{font:14px/1.4 monospace;background:#f2f2f2}"
    "pre{padding:.6rem;overflow:auto}td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}"
)
STYLE_HASH: Final = f"sha256-{base64.b64encode(sha256(STYLE.encode()).digest()).decode()}"
COMMON: Final = {"401", "403", "413", "422", "429", "503"}  # possible everywhere: told once, at the top


def page(api: Mapping[str, Any]) -> str:
    """HTML from an OpenAPI document."""
    info = api["info"]
    title = escape(f"{info['title']} {info['version']}")
    body = "".join(_operations(api))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>"
        f"<body><h1>{title}</h1>{_text(info.get('description', ''))}"
        f'<p>For programs: <a href="openapi.json">openapi.json</a>.</p>{body}</body></html>'
    )


def _operations(api: Mapping[str, Any]) -> Iterator[str]:
    schemas = api.get("components", {}).get("schemas", {})
    last = None
    for path, methods in sorted(api["paths"].items(), key=lambda item: (_tag(item[1]), item[0])):
        for method, operation in methods.items():
            if operation["tags"][0] != last:
                last = operation["tags"][0]
                yield f"<h2>{escape(last.capitalize())}</h2>"
            yield f"<h3><code>{method.upper()} {escape(path)}</code></h3>{_text(operation.get('description', ''))}"
            yield _parameters(operation.get("parameters", []))
            yield _body(operation.get("requestBody"), schemas)
            yield _answers(operation["responses"], schemas)


def _tag(methods: Mapping[str, Any]) -> str:
    return str(next(iter(methods.values()))["tags"][0])


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in parameters
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _body(body: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> str:
    if body is None:
        return ""
    content = body["content"]["application/json"]
    schema = _resolve(content["schema"], schemas)
    example = content.get("example") or next(iter(schema.get("examples", [])), None)
    shown = f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>" if example else ""
    return f"<p>Body:</p>{_fields(schema)}{shown}"


def _answers(responses: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    shown = ""
    for status, one in responses.items():
        if status in COMMON:
            continue
        schema = _resolve(one.get("content", {}).get("application/json", {}).get("schema", {}), schemas)
        text = schema.get("description") if status.startswith("2") else one.get("description")
        shown += f"<p><code>{escape(status)}</code> {escape(text or '')}</p>"
        shown += _fields(schema) if status.startswith("2") else ""
    return shown


def _fields(schema: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(one))}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for name, one in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "any"))


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = schemas.get(name, schema)
    return found
