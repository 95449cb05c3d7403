"""How what went wrong is said: as RFC 9457 problems, whoever raised it. A crash is told without a word about its
inside; the log has the rest, under the same request id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Send

from app.core.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Internal,
    InvalidRequest,
    Malformed,
    MethodNotAllowed,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    Problem,
    RangeNotSatisfiable,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
    as_problem,
    pointer,
)
from app.core.faults import Fault, plain_words

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 50
COME_AGAIN = "10"
"""Seconds, for who may come again, where whoever turned them away did not say."""
NOWHERE = "There is nothing at this address. /docs lists what there is."

BY_STATUS: Mapping[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        Malformed,
        NotAuthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        Conflict,
        TooLarge,
        UnsupportedMediaType,
        RangeNotSatisfiable,
        InvalidRequest,
        TooManyRequests,
        Unavailable,
    )
}


class TooSlow(Problem):
    """The body of the request came too slowly"""

    slug, status, retryable = "too-slow", 408, True
    way_out = "Send the body faster, or in smaller pieces."


def problem_of(error: Exception) -> Problem:
    """The problem a caller is told about: itself, Starlette's in our words, and for all else that something broke."""
    if (problem := as_problem(error)) is not None:
        return problem
    if isinstance(error, HTTPException):
        kind = BY_STATUS.get(error.status_code, Malformed if error.status_code < 500 else Internal)
        headers = {name: _sorted_methods(name, value) for name, value in (error.headers or {}).items()}
        return kind(NOWHERE if kind is NotFound else "", headers=headers)
    return Internal("Something broke on our side. Tell us the request id, and we can find out what.")


async def send_problem(send: Send, problem: Problem, request_id: str, *, body: bool = True) -> None:
    """Write it to the connection; `body` is false for HEAD."""
    content = json.dumps(problem.document(request_id), default=str).encode()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), "cache-control": "no-store"}
    if problem.status == 401:
        headers["www-authenticate"] = 'Bearer realm="darkroom"'
    if problem.retryable:
        headers["retry-after"] = COME_AGAIN
    headers |= {name.lower(): value for name, value in problem.headers.items()}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": content if body else b""})


def wrong_fields(where: str, faults: Sequence[Fault], document: Any) -> list[FieldError]:
    """What pydantic found, as places in what was sent. `document` is only walked, to tell names in it from the names of
    union members that pydantic puts between; nothing of it is repeated.
    """
    return [
        FieldError(pointer(where, _place(fault, document)), plain_words(fault), fault["type"].replace("_", "-"))
        for fault in faults[:MOST_FAULTS]
    ]


def _place(fault: Fault, document: Any) -> list[str | int]:
    place: list[str | int] = []
    last = len(fault["loc"]) - 1
    for index, step in enumerate(fault["loc"]):
        known = (
            step in document if isinstance(document, dict) else isinstance(document, list | tuple) and step != "[key]"
        )
        if known:
            document = _below(document, step)
        elif not (index == last and fault["type"] in {"missing", "missing_argument"}):
            continue
        place.append(step)
    return place


def _below(document: Any, step: str | int) -> Any:
    try:
        return document[step]
    except (IndexError, TypeError):
        return None


def _sorted_methods(name: str, value: str) -> str:
    return ", ".join(sorted(value.split(", "))) if name.lower() == "allow" else value
