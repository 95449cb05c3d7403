"""What an operation may answer, as the OpenAPI document says it: its own answers, the problems it names, and those that
follow from what it takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from app.core.errors import (
    Forbidden,
    Internal,
    InvalidRequest,
    KeyReused,
    Malformed,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    Problem,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)
from app.web.answers import Download, Redirect
from app.web.operation import Operation
from app.web.problems import MEDIA_TYPE, TooSlow
from app.web.schemas import Schemas

PROBLEM = {"$ref": "#/components/schemas/Problem"}
STREAM = "Server-sent events. Each `data:` line is one JSON object; lines that begin with `:` only keep the line open."


def responses_of(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """Every status, in order."""
    problems: dict[int, list[type[Problem]]] = {}
    for kind in dict.fromkeys([*problems_of(operation), *operation.raises]):
        problems.setdefault(kind.status, []).append(kind)
    found = _successes(operation, schemas) | {str(status): _problem(kinds) for status, kinds in problems.items()}
    return dict(sorted(found.items()))


def problems_of(operation: Operation) -> Iterable[type[Problem]]:
    """The problems that need no mention, because they follow from the contract."""
    contract = operation.contract
    yield from (Malformed, InvalidRequest, TooManyRequests, Internal, Unavailable)
    if contract.principal != "ignored" or operation.authenticated:
        yield from (NotAuthenticated, Forbidden)
    if contract.path:
        yield NotFound
    if "accept" in contract.plain:
        yield NotAcceptable
    if contract.body or contract.form:
        yield from (TooLarge, UnsupportedMediaType, TooSlow)
    if operation.method != "GET":
        yield StorageFull
    if contract.idempotency:
        yield KeyReused


def _successes(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    answer = operation.contract.answer
    content = _content(operation, schemas)
    found: dict[str, Any] = {}
    if content or answer.empty:
        for status in (operation.status, *operation.also):
            bare = not content or status in {204, 304}
            found[str(status)] = {"description": _phrase(status)} | ({} if bare else {"content": content})
    if answer.empty and content:
        found["204"] = {"description": _phrase(204)}
    if any(issubclass(kind, Redirect) for kind in answer.kinds):
        where = {"description": "Where it is.", "schema": {"type": "string", "format": "uri-reference"}}
        found["307"] = {"description": "It is elsewhere for the moment.", "headers": {"Location": where}}
    return found


def _content(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    answer = operation.contract.answer
    content: dict[str, Any] = {}
    if answer.adapter is not None:
        schema = schemas.of(operation, "answer")
        example = schemas.example(schema)
        content["application/json"] = {"schema": schema} | ({} if example is None else {"example": example})
    if any(issubclass(kind, Download) for kind in answer.kinds):
        content |= {media: {"schema": {"type": "string", "format": "binary"}} for media in operation.media}
    if answer.streams:
        stream: dict[str, Any] = {"type": "string", "description": STREAM}
        if "Event" in schemas.components:
            stream |= {"contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/Event"}}
        content["text/event-stream"] = {"schema": stream}
    return content


def _problem(kinds: list[type[Problem]]) -> dict[str, Any]:
    """All problems of one status, each with what it looks like."""
    examples = {
        kind.slug: {"summary": kind.title(), "value": kind().document("req_0123456789abcdef")} for kind in kinds
    }
    described = " / ".join(kind.title() for kind in kinds)
    response: dict[str, Any] = {
        "description": f"{described}.",
        "content": {MEDIA_TYPE: {"schema": PROBLEM, "examples": examples}},
    }
    if kinds[0].status in {429, 503}:
        wait = {"description": "Seconds to wait, where known.", "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": wait}
    return response


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
