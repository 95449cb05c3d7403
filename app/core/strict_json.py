"""JSON as machines should have meant it, for bytes from strangers: what two readers might read differently is refused
(no name twice in an object, no NaN), and so is what could exhaust one (a tower of brackets, a number of thousands of
digits). The problem names the place and never repeats what was sent, which may be a secret.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from app.core.errors import FieldError, Malformed, pointer

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def strict_json(raw: bytes, deepest: int = 64) -> Any:
    """The document, if all readers would agree on it.

    Raises:
        Malformed: it is not UTF-8, not JSON, nested deeper than `deepest`, or says the same thing twice.
    """
    _refuse_deep(raw, deepest)
    try:
        return _STRICT.decode(raw.decode())
    except UnicodeDecodeError:
        malformed("The body is not UTF-8.", "encoding")
    except json.JSONDecodeError as error:
        malformed(
            f"The body is not valid JSON: {error.msg} at line {error.lineno} column {error.colno}.", "json-invalid"
        )
    except _RepeatedError:
        wrong = FieldError(pointer("/body", _place_of_repeat(raw)), "This name comes twice in its object.", "duplicate")
        raise Malformed("The body says the same thing twice.", errors=[wrong]) from None
    except ValueError:
        malformed("The body holds a number that is no JSON, or has thousands of digits.", "number")


def storable_json(raw: bytes) -> Any:
    """The document of somebody whose word we need, whatever letters are in it: a NUL, which PostgreSQL does not keep,
    and half a surrogate pair, which is no text, become replacement marks. Raises what `json.loads` raises.
    """
    document = json.loads(raw)
    if b"\\u" not in raw:
        return document
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return json.loads(text.replace(b"\\u0000", b"\\ufffd"))


def malformed(detail: str, code: str) -> NoReturn:
    """The body as a whole cannot be read."""
    raise Malformed(detail, errors=[FieldError("/body", detail, code)])


def _refuse_deep(raw: bytes, deepest: int) -> None:
    """Without recursion: taking away the innermost brackets, time after time, counts the levels."""
    if raw.count(b"[") + raw.count(b"{") <= deepest:
        return
    brackets = _STRING.sub(b"", raw).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(deepest):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        malformed(f"The body is nested more than {deepest} levels deep, or its brackets do not match.", "depth")


class _RepeatedError(Exception):
    """An object has a name twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedError
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


_STRICT = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant)


def _place_of_repeat(raw: bytes) -> list[str | int]:
    """Read again, now keeping the pairs. The document is no deeper than the limit, so recursion is safe."""
    return _search(json.loads(raw, object_pairs_hook=_Pairs)) or []


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written."""


def _search(document: Any) -> list[str | int] | None:
    if isinstance(document, _Pairs):
        counts = Counter(name for name, _ in document)
        for name, below in document:
            if counts[name] > 1:
                return [name]
            if (place := _search(below)) is not None:
                return [name, *place]
    elif isinstance(document, list):
        for index, below in enumerate(document):
            if (place := _search(below)) is not None:
                return [index, *place]
    return None
