"""What may be quoted of fal's JSON: its shape, never its texts. fal echoes prompts and addresses in errors and answers,
and a job's error is read by more eyes than its prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_WORD = re.compile(r"(?=.{1,16}$)[A-Za-z0-9]+([.:/+-][A-Za-z0-9]+)*")
LIMITS = frozenset(
    {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "max_size"}
    | {"min_height", "min_width", "max_height", "max_width"}
)


def place_of(error: Mapping[str, Any], sent_as: Mapping[str, str]) -> str:
    """Where one of the model's errors points, and the limits it names: "at `num_images` (le 4)". `sent_as` has what
    the caller calls the fields, where that is something else."""
    names = [part for part in _list(error.get("loc")) if isinstance(part, str) and _NAME.fullmatch(part)]
    names = names[1:] if names[:1] == ["body"] else names
    names = [sent_as.get(name, name) for name in names[:1]] + names[1:]
    limits = _limits(error.get("ctx"))
    place = f"at `{'.'.join(names[:3])}`" if names else ""
    return f"{place} ({limits})".strip() if limits else place


def _limits(ctx: Any) -> str:
    if not isinstance(ctx, Mapping):
        return ""
    told = [f"{name} {ctx[name]}" for name in sorted(LIMITS & ctx.keys()) if _is_number(ctx[name])]
    for name in ("expected", "supported_formats"):
        words = [word for word in _list(ctx.get(name)) if isinstance(word, str) and _WORD.fullmatch(word)]
        if words:
            told.append(f"{name.replace('_', ' ')} {', '.join(words[:12])}")
    return "; ".join(told)


def sketch(value: Any, depth: int = 2) -> str:
    """The shape of a JSON value in at most a line: names, kinds and lengths."""
    return _shape(value, depth)[:200]


def _shape(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        if depth == 0:
            return "{...}"
        told = (f"{_name(name)}: {_shape(inner, depth - 1)}" for name, inner in islice(value.items(), 8))
        return "{" + ", ".join(told) + (", ..." if len(value) > 8 else "") + "}"
    if isinstance(value, list):
        return f"[{len(value)} x {_shape(value[0], depth - 1)}]" if value and depth else f"[{len(value)}]"
    if isinstance(value, str):
        return f"text({len(value)})"
    return "null" if value is None else type(value).__name__


def _name(name: Any) -> str:
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "?"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
