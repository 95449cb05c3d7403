"""The OpenAPI document, made from the same table that answers requests, so the two cannot disagree. The same operations
always give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.errors import Problem
from app.core.events import Event
from app.web.guards import cookie_name
from app.web.operation import METHODS, Operation
from app.web.responses import responses_of
from app.web.schemas import Schemas

SECURITY: list[dict[str, list[str]]] = [{"key": []}, {"session": []}]

HEADERS: Mapping[str, dict[str, Any]] = {
    "idempotency": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Your word for this one intent, a UUID say. The same key and request again get the same answer.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    },
    "wait": {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N` waits up to N seconds (at most 60) for the end before answering.",
        "schema": {"type": "string", "examples": ["wait=30"]},
    },
    "last_event_id": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The `id` of the last event received: the stream goes on after it.",
        "schema": {"type": "string", "examples": ["41"]},
    },
    "range": {
        "name": "Range",
        "in": "header",
        "description": "One range of bytes; several at once are answered with the whole file.",
        "schema": {"type": "string", "examples": ["bytes=0-65535"]},
    },
    "if_none_match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of what you have: 304 when it is still the same.",
        "schema": {"type": "string"},
    },
}


@dataclass(frozen=True)
class About:
    """What the documents say of the service as a whole. `tags` are the headings in their order, with a line each;
    `problems` all that a request can be told; `failures` the ways in which accepted work ends badly: code, title and
    what to do."""

    title: str
    version: str
    description: str = ""
    server: str = "/"
    tags: Mapping[str, str] | None = None
    problems: tuple[type[Problem], ...] = ()
    failures: tuple[tuple[str, str, str], ...] = ()


def describe(
    operations: Sequence[Operation], *, about: About, events: Sequence[type[Event]] = (), secure: bool = False
) -> dict[str, Any]:
    """The document as plain JSON values.

    Raises:
        ValueError: two operations have the same name.

    """
    twice = [name for name, count in Counter(operation.id for operation in operations).items() if count > 1]
    if twice:
        raise ValueError(f"operations with the same name: {', '.join(sorted(twice))}")
    schemas = Schemas(operations, events)
    paths: dict[str, dict[str, Any]] = {}
    for operation in sorted(operations, key=lambda operation: (operation.address, METHODS.index(operation.method))):
        address = operation.address.replace(":path}", "}")
        paths.setdefault(address, {})[operation.method.lower()] = _describe(operation, schemas)
    document = {
        "openapi": "3.1.1",
        "info": _filled({"title": about.title, "version": about.version, "description": about.description}),
        "servers": [{"url": about.server}],
        "tags": _tags(operations, about.tags or {}),
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _security_schemes(secure=secure)},
    }
    from openapi_pydantic.v3.v3_1 import OpenAPI  # as slow to import as the whole of sqlmodel

    OpenAPI.model_validate(document)  # A document that no tool can read is better found here than by a caller.
    return document


def _describe(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    security = {"security": _security(operation)}
    return security | _filled(
        {
            "operationId": operation.id,
            "summary": operation.title,
            "description": operation.description,
            "tags": [operation.group],
            "parameters": _parameters(operation, schemas),
            "requestBody": _body(operation, schemas),
            "responses": responses_of(operation, schemas),
        }
    )


def _parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    contract = operation.contract
    ids = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The id of the {name}.",
            "schema": {"type": "string", "minLength": 1},
        }
        for name in contract.path
    ]
    query = schemas.query(operation)
    asked = [
        _filled({"name": name, "in": "query", "description": schema.get("description")})
        | {"required": name in query.get("required", ()), "schema": schema}
        for name, schema in query.get("properties", {}).items()
    ]
    return ids + asked + [header for name, header in HEADERS.items() if name in contract.plain]


def _body(operation: Operation, schemas: Schemas) -> dict[str, Any] | None:
    contract = operation.contract
    if contract.body is not None:
        schema = schemas.of(operation, "body")
        media = {"schema": schema} | _filled({"example": schemas.example(schema)})
        return {"required": not contract.body.optional, "content": {"application/json": media}}
    if contract.form is not None:
        media = {"multipart/form-data": {"schema": schemas.of(operation, "form")}}
        plain = schemas.without_files(operation)
        return {"required": True, "content": media | ({"application/json": {"schema": plain}} if plain else {})}
    return None


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """None is asked for where the list is empty; an empty entry means that one may also come as nobody."""
    if operation.authenticated:
        return SECURITY
    return [*SECURITY, {}] if operation.contract.principal == "welcome" else []


def _security_schemes(*, secure: bool) -> dict[str, Any]:
    return {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer <key>`."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie_name(secure=secure),
            "description": "A browser session. What changes something has to come from our own pages.",
        },
    }


def _tags(operations: Sequence[Operation], known: Mapping[str, str]) -> list[dict[str, Any]]:
    used = {operation.group for operation in operations}
    named = [name for name in known if name in used]
    return [_filled({"name": name, "description": known.get(name)}) for name in [*named, *sorted(used - set(named))]]


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [])}
