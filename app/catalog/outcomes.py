"""What a completion means, as data, from a webhook's body or from the answer of a result request. Both entries take any
JSON whatever and raise nothing. What fal echoes of prompts and addresses never reaches a `detail`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.catalog import error_types
from app.catalog.error_types import RULINGS, Kind, Ruling
from app.catalog.excerpts import place_of, sketch
from app.catalog.failures import Code
from app.catalog.spec import Model, Outputs


@dataclass(frozen=True)
class Made:
    """There are pictures, at least one. `outputs.note` says what was left out."""

    outputs: Outputs


@dataclass(frozen=True)
class Retryable:
    """This attempt came to nothing, but another may do better."""

    code: Code
    detail: str


@dataclass(frozen=True)
class Refused:
    """The request itself is at fault: sent again, it would be refused again."""

    code: Code
    detail: str


@dataclass(frozen=True)
class Failed:
    """Nothing more can be had from this request."""

    code: Code
    detail: str


@dataclass(frozen=True)
class Unfetched:
    """This says nothing yet of how it went: ask the queue (again) for status and result."""

    detail: str


Outcome = Made | Retryable | Refused | Failed | Unfetched


def is_missing(outcome: Outcome) -> bool:
    """Whether fal says that it does not know the request (any more). Said once, that is not to be believed yet."""
    return isinstance(outcome, Failed) and outcome.code is Code.GONE


Hint = bool | None
"""What fal's retry headers say, if anything."""


def from_delivery(model: Model, body: Any) -> Outcome:
    """What a webhook's body says (`fal.md` 2.2). Its `error` text is never read: `payload.detail` has the reason."""
    if not isinstance(body, Mapping) or not {"status", "payload", "payload_error"} & body.keys():
        return _unreadable(body)
    payload = body.get("payload")
    if payload is None:
        return Unfetched("fal delivered no result with its notice; it waits in the queue.")
    if isinstance(payload, Mapping) and "detail" in payload and (body.get("status") != "OK" or len(payload) == 1):
        return _errors(model, payload) or Unfetched("fal's notice names no reason; the queue may.")
    return _made(model, payload) if body.get("status") != "ERROR" else Unfetched("fal's notice names no reason.")


def from_answer(
    model: Model, status: int, body: Any, retryable_hint: Hint = None, error_type: str | None = None
) -> Outcome:
    """What the answer to a result request says: the model's own status and JSON, fal's retry and error type headers."""
    if status == 200:
        return _made(model, body)
    if errors := _errors(model, body, retryable_hint, error_type, status):
        return errors
    if status in {404, 410}:
        return _ruled(error_types.GONE)
    if _is_verdict(status, body, retryable_hint):
        unknown = error_types.UNKNOWN_FAULT if status >= 500 else error_types.UNKNOWN_REFUSAL
        return _ruled(unknown, f"(HTTP {status})", hint=retryable_hint)
    return Unfetched(f"fal answered {status} without a result." if status else "fal could not be reached.")


# ----------------------------------------------------------------------------------------------------------------------
# Good answers


def _made(model: Model, body: Any) -> Outcome:
    if not isinstance(body, Mapping):
        return _unreadable(body)
    try:
        outputs = model.parse(body)
    except ValueError as error:
        return _unreadable(body, f": {error}")
    if not outputs.files:
        return _ruled(error_types.EMPTY)
    return _without_blocked(outputs)


def _without_blocked(outputs: Outputs) -> Outcome:
    """A flagged picture comes back black, with nothing else to tell it by: it is no output."""
    kept = tuple(file for file, blocked in zip(outputs.files, outputs.blocked, strict=False) if not blocked)
    kept += outputs.files[len(outputs.blocked) :]
    if not kept:
        return _ruled(error_types.BLACKED_OUT)
    if dropped := len(outputs.files) - len(kept):
        said = f"The safety checker blacked out {dropped} of {len(outputs.files)} pictures; they were left out."
        outputs = replace(outputs, files=kept, note=f"{outputs.note} {said}" if outputs.note else said, blocked=())
    return Made(outputs)


# ----------------------------------------------------------------------------------------------------------------------
# Errors


def _errors(
    model: Model, body: Any, hint: Hint = None, error_type: str | None = None, status: int | None = None
) -> Outcome | None:
    """What the named error types decide, or None when there is no type we can go by."""
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if isinstance(detail, list) and (items := [item for item in detail if isinstance(item, Mapping)]):
        return _model_errors(model, items, hint, status)
    told = body.get("error_type") if isinstance(body, Mapping) else None
    ruling = next((RULINGS[name] for name in (error_type, told) if isinstance(name, str) and name in RULINGS), None)
    return _ruled(ruling, hint=hint) if ruling else None


_WEIGHT: Mapping[Kind, int] = {"refused": 2, "failed": 1, "retryable": 0}


def _model_errors(model: Model, items: Sequence[Mapping[str, Any]], hint: Hint, status: int | None) -> Outcome:
    """Several details, one outcome: the gravest decides, since what is refused once is refused again."""
    unknown = error_types.UNKNOWN_FAULT if status and status >= 500 else error_types.UNKNOWN_REFUSAL
    ruled = [(_ruling_of(item) or unknown, item) for item in items]
    gravest = max((ruling for ruling, _ in ruled), key=lambda ruling: _WEIGHT[ruling.kind])
    places = dict.fromkeys(place_of(item, model.references.sent_as) for ruling, item in ruled if ruling is gravest)
    return _ruled(gravest, ", ".join(list(filter(None, places))[:3]), hint=hint)


def _ruling_of(item: Mapping[str, Any]) -> Ruling | None:
    kind = item.get("type")
    return RULINGS.get(kind) if isinstance(kind, str) else None


def _is_verdict(status: int, body: Any, hint: Hint) -> bool:
    """Whether an error without a known type is the model's own, not that of a gateway on the way to it."""
    if status in {401, 402, 403, 405, 408, 425, 429} or status < 400:
        return False
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if status == 400 and isinstance(detail, str) and "in progress" in detail.lower():
        return False  # asked too early
    return status < 500 or hint is not None or detail is not None


# ----------------------------------------------------------------------------------------------------------------------
# From a ruling to an outcome

_OUTCOMES: Mapping[Kind, type[Retryable | Refused | Failed]] = {
    "retryable": Retryable,
    "refused": Refused,
    "failed": Failed,
}


def _ruled(ruling: Ruling, where: str = "", *, hint: Hint = None) -> Outcome:
    kind = ruling.kind
    if hint is not None and not ruling.firm:
        kind = "retryable" if hint else "failed" if kind == "retryable" else kind
    sentence = f"{ruling.sentence.removesuffix('.')} {where}." if where else ruling.sentence
    return _OUTCOMES[kind](ruling.code, f"{sentence} {ruling.advice}".strip())


def _unreadable(body: Any, why: str = "") -> Outcome:
    ruling = error_types.UNREADABLE
    return Failed(ruling.code, f"{ruling.sentence}{why}. It looks like {sketch(body)}. {ruling.advice}")
