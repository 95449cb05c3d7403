"""A fal that does as it is told, one call at a time."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from app.core.signatures import webhook_message
from app.ports import (
    Accepted,
    Answer,
    Clock,
    FetchRefused,
    ListedRequest,
    NotAccepted,
    Progress,
    Rejected,
    Submission,
    Ticket,
    Unanswered,
    Unsent,
)
from tests.proof.simulated_letters import USER

_KEY = SigningKey(hashlib.sha256(b"scripted").digest())
_BODIES: Mapping[str, tuple[int, Any]] = {
    "refused": (422, {"detail": [{"loc": ["body"], "msg": "no", "type": "content_policy_violation", "input": None}]}),
    "fault": (500, {"detail": [{"loc": ["body"], "msg": "no", "type": "internal_server_error", "input": None}]}),
}


class ScriptedFal:
    """`fate` is what befalls the next submission, `finding` how the request stands that is asked for next. `died` is
    called where the service dies: after the POST, before its answer."""

    def __init__(self, clock: Clock, died: Callable[[], None]) -> None:
        self.fate = "accepted"
        self.finding = "running"
        self.lost = False
        self.lists = True
        self.taken: dict[str, ListedRequest] = {}
        self._clock = clock
        self._died = died

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any],
        *,
        webhook_url: str | None,
        low_priority: bool = False,
        start_timeout: float | None = None,
    ) -> Submission:
        match self.fate:
            case "unsent":
                return Unsent("connection refused")
            case "turned away":
                return NotAccepted(429, "too many requests")
            case "request lost":
                return Unanswered("cut before it arrived")
            case "rejected":
                return Rejected(*_BODIES["refused"])
        attempt = str(webhook_url).split("/")[-2]
        self.taken[attempt] = ListedRequest(
            f"req-{attempt}", endpoint, self._clock.now(), None, None, dict(arguments), None
        )
        if self.fate == "died":
            self._died()
        return Accepted(self.ticket(endpoint, f"req-{attempt}")) if self.fate == "accepted" else Unanswered("cut")

    def ticket(self, endpoint: str, request_id: str) -> Ticket:
        url = f"http://fal.sim/{endpoint}/requests/{request_id}"
        return Ticket(endpoint, request_id, f"{url}/status", url, f"{url}/cancel")

    async def progress(self, ticket: Ticket, *, logs: bool = False) -> Progress:
        return Progress("running" if self.finding == "running" else "done")

    async def result(self, ticket: Ticket) -> Answer:
        return Answer(*answer(ticket.request_id, self.finding))

    async def listed(self, endpoint: str, since: datetime, until: datetime) -> Sequence[ListedRequest] | None:
        if not self.lists:
            return None
        if self.finding == "running":
            return list(self.taken.values())
        now = self._clock.now()
        return [
            ListedRequest(r.request_id, r.endpoint, r.sent_at, now, status, r.arguments, body)
            for r in self.taken.values()
            for status, body in [answer(r.request_id, self.finding)]
        ]

    async def cancel(self, ticket: Ticket) -> str:
        return "accepted"

    async def place(self, chunks: AsyncIterator[bytes], *, size: int, content_type: str, name: str) -> str:
        raise NotImplementedError

    async def keys(self) -> Sequence[bytes]:
        return [bytes(_KEY.verify_key)]

    async def fetch(self, url: str, into: Path, *, purpose: str, max_bytes: int) -> str:
        if self.lost:
            raise FetchRefused("the picture is larger than 200 MB")
        await asyncio.to_thread(into.write_bytes, url.encode())
        return "image/jpeg"

    def judge(self, url: str, *, purpose: str) -> None: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def answer(request_id: str, outcome: str) -> tuple[int, Any]:
    """The model's own answer to that request."""
    if outcome == "ok":
        return 200, {"images": [{"url": f"http://fal.sim/files/{request_id}"}], "seed": 7}
    return _BODIES[outcome]


def letter(attempt: str, outcome: str, now: datetime) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The webhook that tells how the request of that attempt ended: its headers and its body."""
    request_id = f"req-{attempt}"
    status, payload = answer(request_id, outcome)
    told = {"request_id": request_id, "status": "OK" if status == 200 else "ERROR", "payload": payload}
    body, stamp = json.dumps(told).encode(), str(int(now.timestamp()))
    signature = _KEY.sign(webhook_message(request_id, USER, stamp, body)).signature.hex()
    values = {"request-id": request_id, "user-id": USER, "timestamp": stamp, "signature": signature}
    return [(b"x-fal-webhook-" + name.encode(), value.encode()) for name, value in values.items()], body
