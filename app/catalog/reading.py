"""Reads what a caller sent for a model into its typed input, and names all that is wrong with it, by JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from app.catalog.spec import Input, Model, References
from app.core.errors import FieldError, InvalidRequest
from app.core.faults import plain_words


def read_input(
    model: Model,
    raw: Mapping[str, Any],
    references: int = 0,
    *,
    input_at: str = "/body/input",
    references_at: str = "/body/references",
) -> Input:
    """The model's input from the caller's JSON, with `references` pictures beside it.

    Raises:
        InvalidRequest: with one entry per fault.
    """
    faults = list(_reference_faults(model.references, references, references_at))
    try:
        asked = model.input.model_validate(raw)
    except ValidationError as error:
        faults += _input_faults(error, raw, input_at)
    if faults:
        raise InvalidRequest(f"{model.title} does not take this input", errors=faults)
    return asked


def _reference_faults(references: References, given: int, at: str) -> Iterator[FieldError]:
    least, most = references.least, references.most
    if least <= given <= most:
        return
    if most == 0:
        yield FieldError(at, "This model takes no reference pictures", "too-many")
    else:
        wanted = str(least) if least == most else f"{least} to {most}"
        names = ": the picture, then its mask" if len(references.fields) > 1 else ""
        plural = "" if most == 1 else "s"
        code = "too-few" if given < least else "too-many"
        yield FieldError(at, f"This model takes {wanted} reference picture{plural}{names}", code)


_WORDS = {
    "string_pattern_mismatch": "Must hold at least one visible character, and no NUL",
    "extra_forbidden": "This model has no such field",
    "missing": "This field is required",
}


def _input_faults(error: ValidationError, raw: Any, at: str) -> Iterator[FieldError]:
    for found in error.errors(include_url=False, include_input=False):
        code = found["type"].replace("_", "-")
        yield FieldError(at + _pointer(found["loc"], raw), _WORDS.get(found["type"]) or plain_words(found), code)


def _pointer(loc: Sequence[str | int], raw: Any) -> str:
    """The place without the names pydantic gives to forms of a union: only steps that lead somewhere in what was
    sent, and a last one that names what is missing there."""
    pointer = ""
    for index, step in enumerate(loc):
        if isinstance(raw, Mapping) and (step in raw or index == len(loc) - 1):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw = raw[step]
        else:
            continue
        pointer += f"/{str(step).replace('~', '~0').replace('/', '~1')}"
    return pointer
