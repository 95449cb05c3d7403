"""The log lines a model prints while it runs, made from how far it is: nothing is stored."""

from datetime import UTC, datetime
from typing import Any

from app.sandbox.fal.submission import Submission
from app.sandbox.pace import now

STEPS = 8


def log_lines(sub: Submission) -> list[dict[str, Any]]:
    if sub.started is None:
        return []
    until = sub.ended or now()
    lines = [_line(sub.started, f"Request {sub.id} started")]
    for step in range(1, STEPS + 1):
        at = sub.started + sub.duration * step / STEPS
        if sub.duration and at <= until and sub.status_code in (None, 200):
            share = step / STEPS
            lines.append(_line(at, f"{share:4.0%}|{'█' * step:<{STEPS}}| {step}/{STEPS}", "STDERR"))
    if sub.ended:
        lines.append(_line(sub.ended, "Done" if sub.status_code == 200 else f"Failed: {sub.error}"))
    return lines


def _line(at: float, message: str, level: str = "INFO") -> dict[str, Any]:
    return {
        "message": message,
        "level": level,
        "source": "USER",
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
    }
