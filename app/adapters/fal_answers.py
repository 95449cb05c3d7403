"""What fal's answers mean, as values. Tolerant of what is missing or new; where nothing can be said, it says so."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from app.core.strict_json import storable_json
from app.ports import Answer, ListedRequest, NotAccepted, Progress, Rejected, Submission, Unanswered

_STATES = {"IN_QUEUE": "queued", "IN_PROGRESS": "running", "COMPLETED": "done"}
_TURNED_AWAY = {401, 402, 403, 429}
_MAYBE_TAKEN = {408, 409, 425, 499}
_MOST_LOG_LINES = 100
_LONGEST_TEXT = 500
_LONGEST_PAUSE = 3600.0

Headers = Mapping[str, str]


def json_of(body: bytes) -> Any:
    """The JSON of an answer, or None when it is none."""
    try:
        return storable_json(body)
    except (ValueError, RecursionError):
        return None


def refusal(status: int, headers: Headers, body: bytes) -> Submission:
    """What an answer other than success says about a submission. Only fal's own word settles it: an ingress in front
    may have passed the request on before it gave up."""
    answer, request_id = json_of(body), headers.get("x-fal-request-id")
    if status in _TURNED_AWAY:
        return NotAccepted(status, detail_of(answer, body), retry_after(headers.get("retry-after")))
    if 400 <= status < 500 and (request_id or (status not in _MAYBE_TAKEN and isinstance(answer, dict))):
        return Rejected(status, answer if answer is not None else text_of(body), request_id)
    return Unanswered(f"fal answered {status}: {detail_of(answer, body)}")


def progress(status: int, body: bytes) -> Progress:
    answer = json_of(body)
    if not isinstance(answer, dict):
        return Progress("unclear", detail=f"fal answered {status}: {text_of(body)}")
    if status == 404:
        return Progress("missing", detail=detail_of(answer, body))
    state = _STATES.get(str(answer.get("status")))
    if state is None or status >= 300:
        return Progress("unclear", detail=f"fal answered {status}: {detail_of(answer, body)}")
    position = answer.get("queue_position")
    return Progress(
        state,
        position=position if isinstance(position, int) else None,
        logs=_log_lines(answer.get("logs")),
        detail=str(answer.get("error") or ""),
    )


def result(status: int, headers: Headers, body: bytes) -> Answer:
    """The model's own answer; with status 0 whenever it is somebody else's who stands between."""
    answer = json_of(body)
    from_fal = "x-fal-request-id" in headers
    between = status in _TURNED_AWAY | _MAYBE_TAKEN or status >= 500
    if (answer is None and body.strip() != b"null") or (between and not from_fal) or 300 <= status < 400:
        return Answer(0, f"fal answered {status}: {detail_of(answer, body)}")
    return Answer(
        status,
        answer,
        billable_units=_number(headers.get("x-fal-billable-units")),
        retryable=_retryable(headers),
        error_type=_error_type(headers, answer),
    )


def cancelled(status: int, body: bytes) -> str:
    answer = json_of(body)
    word = str(answer.get("status", "")) if isinstance(answer, dict) else ""
    if word == "ALREADY_COMPLETED":
        return "too_late"
    return "accepted" if 200 <= status < 300 and word != "NOT_FOUND" else "unclear"


def listed(items: Iterable[Any], endpoint: str) -> list[ListedRequest]:
    return [
        ListedRequest(
            request_id=item["request_id"],
            endpoint=str(item.get("endpoint_id") or endpoint),
            sent_at=sent_at,
            ended_at=_time(item.get("ended_at")),
            status=item["status_code"] if isinstance(item.get("status_code"), int) else None,
            arguments=item.get("json_input"),
            result=item.get("json_output"),
        )
        for item in items
        if isinstance(item, dict) and isinstance(item.get("request_id"), str)
        if (sent_at := _time(item.get("sent_at")))
    ]


def ed25519_keys(body: bytes, most: int) -> Sequence[bytes]:
    """The keys of a JWKS, padded or not; what is no Ed25519 key is passed over."""
    answer = json_of(body)
    entries = answer.get("keys") if isinstance(answer, dict) else None
    found = [_key(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [key for key in found if key is not None][:most]


def detail_of(answer: Any, body: bytes) -> str:
    """What an answer says for a person, cut short."""
    if isinstance(answer, dict):
        said = answer.get("detail") or answer.get("error") or answer.get("status")
        return said[:_LONGEST_TEXT] if isinstance(said, str) else json.dumps(said)[:_LONGEST_TEXT]
    return text_of(body)


def text_of(body: bytes) -> str:
    text = body[: 4 * _LONGEST_TEXT].decode("utf-8", "replace").replace("\0", " ")
    return " ".join(text.split())[:_LONGEST_TEXT] or "nothing"


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date."""
    seconds = _number(value)
    if seconds is None and value:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_PAUSE)


def _log_lines(logs: Any) -> tuple[str, ...]:
    if not isinstance(logs, list):
        return ()
    entries = [entry for entry in logs[-_MOST_LOG_LINES:] if isinstance(entry, dict)]
    return tuple(str(entry.get("message", ""))[:_LONGEST_TEXT] for entry in entries)


def _retryable(headers: Headers) -> bool | None:
    """There have been three names for the same hint (`fal.md` 3.4); header names differ in case only."""
    word = headers.get("x-fal-retryable", headers.get("x-fal-needs-retry", "")).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(word)


def _error_type(headers: Headers, answer: Any) -> str | None:
    if not isinstance(answer, dict):
        return headers.get("x-fal-error-type")
    details = answer.get("detail")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    found = answer.get("error_type") or headers.get("x-fal-error-type") or first.get("type")
    return found if isinstance(found, str) else None


def _key(entry: Mapping[str, Any]) -> bytes | None:
    x = entry.get("x")
    if (entry.get("kty"), entry.get("crv")) != ("OKP", "Ed25519") or not isinstance(x, str):
        return None
    try:
        raw = base64.b64decode(x.rstrip("=") + "=" * (-len(x.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if len(raw) == 32 else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
