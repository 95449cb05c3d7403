"""The ways a run can end, in fal's two error formats: details from the model, or one text from the infrastructure."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    status: int
    body: Any
    word: str  # ok, refused, failed, timeout, cancelled
    headers: dict[str, str] = field(default_factory=dict)
    error_type: str | None = None
    units: float = 0.0

    @property
    def text(self) -> str:
        return json.dumps(self.body)


def success(body: dict[str, Any], units: float) -> Outcome:
    return Outcome(200, body, "ok", units=units)


def detail(kind: str, message: str, loc: list[str | int], value: object = None, ctx: object = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"loc": loc, "msg": message, "type": kind, "url": f"https://docs.fal.ai/errors/#{kind}"}
    if ctx:
        entry["ctx"] = ctx
    entry["input"] = value
    return entry


def refusal(*details: dict[str, Any]) -> Outcome:
    """422: the input, or what it asks for, is at fault; repeating it is of no use."""
    return Outcome(422, {"detail": list(details)}, "refused", {"X-Fal-Retryable": "false"})


def model_failure(kind: str, message: str, status: int = 500) -> Outcome:
    word = "timeout" if status == 504 else "failed"
    return Outcome(status, {"detail": [detail(kind, message, ["body"])]}, word, {"X-Fal-Retryable": "true"})


def infrastructure_failure(status: int, kind: str, message: str, word: str = "failed", **headers: str) -> Outcome:
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return Outcome(status, {"detail": message, "error_type": kind}, word, {"X-Fal-Error-Type": kind, **extra}, kind)


def start_timeout() -> Outcome:
    return infrastructure_failure(
        504,
        "request_timeout",
        "Request timed out before it could start",
        word="timeout",
        X_Fal_Request_Timeout_Type="user",
    )


def cancelled() -> Outcome:
    return infrastructure_failure(499, "client_cancelled", "Request was cancelled by the client", word="cancelled")
