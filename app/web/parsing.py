"""From bytes to models: the body, the query and their limits. What does not fit is a problem that names the place by a
JSON pointer and says what would fit; what was sent is never repeated, it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.core.errors import FieldError, InvalidRequest, Malformed, TooLarge, UnsupportedMediaType, pointer
from app.core.strict_json import malformed, strict_json
from app.web.contract import Part
from app.web.guards import Limits
from app.web.problems import wrong_fields

JSON_TYPE = re.compile(rb'^application/json *(?:; *charset *= *"?utf-8"? *)?\Z', re.IGNORECASE)
CLOSE = {"Connection": "close"}
NO_NUL = "The letter U+0000 cannot be kept. Leave it out."


def parse_json(part: Part, headers: Mapping[bytes, bytes], raw: bytes, limits: Limits) -> Any:
    """The body as the model wants it.

    Raises:
        UnsupportedMediaType: it is not labelled as JSON.
        Malformed: it is no JSON that every reader would read the same way.
        InvalidRequest: it does not fit the model.

    """
    if not raw and part.optional:
        return None
    refuse_other_media(headers, JSON_TYPE, "application/json")
    if not raw:
        malformed("The body is empty. Send a JSON object.", "missing")
    document = strict_json(raw, limits.depth)
    if b"\\u0000" in raw and (place := _place_of_nul(document)) is not None:
        raise InvalidRequest(errors=[FieldError(pointer("/body", place), NO_NUL, "nul")])
    try:
        return _fit(part, raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            malformed(f"The body is not valid JSON: {faults[0]['ctx']['error']}.", "json-invalid")
        raise InvalidRequest(errors=wrong_fields("/body", faults, document)) from None


def _place_of_nul(document: Any) -> list[str | int] | None:
    """Where a text has the one letter that PostgreSQL cannot keep; for a name that has it, where that name is."""
    if isinstance(document, str):
        return [] if "\0" in document else None
    steps: Iterable[tuple[str | int, Any]] = ()
    if isinstance(document, dict):
        if any("\0" in name for name in document):
            return []
        steps = document.items()
    elif isinstance(document, list):
        steps = enumerate(document)
    for step, below in steps:
        if (place := _place_of_nul(below)) is not None:
            return [step, *place]
    return None


def _fit(part: Part, raw: bytes) -> Any:
    """Strictly: a number in quotes is no number. But to JSON 2.0 is an integer, so that gets a second look."""
    try:
        return part.adapter.validate_json(raw, strict=True)
    except ValidationError as error:
        if all(fault["type"] != "int_type" for fault in error.errors(include_url=False, include_input=False)):
            raise
        return part.adapter.validate_json(json.dumps(json.loads(raw, parse_float=_number)), strict=True)


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def parse_query(part: Part, raw: bytes, limits: Limits) -> BaseModel:
    """The query as the model wants it: a name may come more than once where the model has a list.

    Raises:
        Malformed: it is too long or not UTF-8.
        InvalidRequest: an unknown name, a repeated one, or a value that does not fit.

    """
    if len(raw) > limits.query:
        raise Malformed(f"The query is longer than {limits.query} bytes.")
    return collect(part, query_pairs(raw), "/query") if raw else collect(part, [], "/query")


def query_pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise Malformed("The query is not UTF-8, percent-encoded.") from None


def collect(part: Part, pairs: list[tuple[str, Any]], where: str) -> BaseModel:
    """The model from names and values, as queries and forms send them."""
    lists = part.names
    values: dict[str, Any] = {}
    wrong: list[FieldError] = []
    for name, value in pairs:
        if name not in lists:
            known = f"Known are: {', '.join(sorted(lists))}." if lists else "Nothing of that kind is taken here."
            wrong.append(FieldError(pointer(where, [name]), f"Unknown here. {known}", "unknown"))
        elif isinstance(value, str) and "\0" in value:
            wrong.append(FieldError(pointer(where, [name]), NO_NUL, "nul"))
        elif lists[name]:
            values.setdefault(name, []).append(value)
        elif name in values:
            wrong.append(FieldError(pointer(where, [name]), "Send this once.", "repeated"))
        else:
            values[name] = value
    if wrong:
        raise InvalidRequest(errors=wrong)
    try:
        model: BaseModel = part.adapter.validate_python(values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise InvalidRequest(errors=wrong_fields(where, faults, values)) from None
    return model


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: as soon as there is more than `limit`.

    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            refuse_size(limit)
        return body
    return b"".join([chunk async for chunk in chunks_of(receive, limit, message)])


async def chunks_of(receive: Receive, limit: int, message: Any = None) -> AsyncIterator[bytes]:
    """The body as it comes, `message` first if one was taken already. The same promise as `read_body`."""
    total, more = 0, True
    while more:
        message = message or await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more, message = message.get("body", b""), message.get("more_body", False), None
        total += len(chunk)
        if total > limit:
            refuse_size(limit)
        yield chunk


def refuse_size(limit: int, per_file: int | None = None) -> NoReturn:
    """`per_file` is the most that one file of a form may have."""
    each = f" in all, and {megabytes(per_file)} per file" if per_file else ""
    raise TooLarge(f"At most {megabytes(limit)} are taken here{each}.", headers=CLOSE)


def refuse_long(headers: Mapping[bytes, bytes], limit: int, per_file: int | None = None) -> None:
    """Say no before the body is sent, when its length was announced."""
    if (length := headers.get(b"content-length")) is not None and length.isdigit() and int(length) > limit:
        refuse_size(limit, per_file)


def megabytes(size: int) -> str:
    return f"{size / 1e6:g} MB"


def refuse_other_media(headers: Mapping[bytes, bytes], wanted: re.Pattern[bytes], *names: str) -> None:
    if wanted.match(headers.get(b"content-type", b"")) is None:
        raise UnsupportedMediaType(f"Send the body as {' or '.join(names)}.", headers={"Accept": ", ".join(names)})
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("Send the body without a Content-Encoding.")
