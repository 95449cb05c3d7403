"""What pydantic found wrong, in plain words: what there should be, with the exact bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fault = Any
"""One of pydantic's error details: `type`, `loc`, `msg`, perhaps `ctx`."""

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a JSON object",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
}


def plain_words(fault: Fault) -> str:
    kind = fault["type"]
    if kind in _KINDS:
        return f"Must be {_KINDS[kind]}."
    if kind.startswith(("datetime_", "timezone_", "date_")):
        return "Must be a time with its zone, as 2027-01-31T09:30:00Z."
    if kind in _WITH_BOUNDS:
        return _WITH_BOUNDS[kind](fault["ctx"])
    match kind:
        case "missing":
            return "Required, but missing."
        case "extra_forbidden":
            return "Unknown here. Leave it out."
        case "value_error" | "assertion_error":
            text = fault["msg"].partition(", ")[2]
        case _:
            text = fault["msg"].replace("Input should", "Must", 1)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _too_short(ctx: Mapping[str, Any]) -> str:
    least = ctx["min_length"]
    return "Must not be empty." if least == 1 else f"Too short: at least {_count(least, 'character')}, please."


def _too_few(ctx: Mapping[str, Any]) -> str:
    least = ctx["min_length"]
    return "Must not be empty." if least == 1 else f"Too few: at least {least} are needed."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


_WITH_BOUNDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_too_short": _too_short,
    "string_too_long": lambda ctx: f"Too long: at most {_count(ctx['max_length'], 'character')} fit.",
    "too_short": _too_few,
    "too_long": lambda ctx: f"Too many: at most {ctx['max_length']} are taken.",
    "greater_than": lambda ctx: f"Must be more than {ctx['gt']}.",
    "greater_than_equal": lambda ctx: f"Must be {ctx['ge']} or more.",
    "less_than": lambda ctx: f"Must be less than {ctx['lt']}.",
    "less_than_equal": lambda ctx: f"Must be {ctx['le']} or less.",
    "multiple_of": lambda ctx: f"Must be a multiple of {ctx['multiple_of']}.",
    "enum": lambda ctx: f"Must be one of: {ctx['expected']}.",
    "literal_error": lambda ctx: f"Must be one of: {ctx['expected']}.",
    "union_tag_invalid": lambda ctx: f"Must be one of: {ctx['expected_tags']}.",
}
