"""The webhooks of the simulated fal: signed as fal signs them, repeated until one is taken, and late, lost, doubled,
forged, cut or another account's as fate will have it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nacl.signing import SigningKey

from app.core.signatures import webhook_message
from app.ports import Clock
from tests.proof.fate import Fate

USER = "user_simulated"
PRICES = {"fal-ai/flux/schnell": 3_000, "fal-ai/nano-banana/edit": 39_000}
"""micro-USD for each picture."""
_RETRIES, _PAUSE = 12, 5.0

Deliver = Callable[[str, list[tuple[bytes, bytes]], bytes], Awaitable[int]]


@dataclass
class Request:
    """One paid request, as its own log remembers it. `withheld`: fal never lists it. `lost` counts pictures of it that
    cannot be fetched."""

    id: str
    endpoint: str
    arguments: Mapping[str, Any]
    webhook: str | None
    sent_at: datetime
    listed_at: datetime
    withheld: bool
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status: int = 0
    outcome: str | None = None
    body: Any = None
    files: list[str] = field(default_factory=list)
    lost: int = 0

    @property
    def post(self) -> dict[str, Any]:
        cost = PRICES[self.endpoint] * len(self.files) if self.outcome == "ok" else 0
        return {
            "webhook": self.webhook,
            "request_id": self.id,
            "outcome": self.outcome,
            "cost_micro_usd": cost,
            "files": self.files,
            "withheld": self.withheld,
            "lost": self.lost,
        }


class Postman:
    """`begin` has something done that nobody waits for; `note` writes fal's log. `deliver` knocks at the service's
    door; its answer is a status."""

    def __init__(self, clock: Clock, fate: Fate, begin: Callable[[Any], None], note: Callable[[str], None]) -> None:
        self.deliver: Deliver | None = None
        self.wrong: list[str] = []
        self.key = SigningKey(fate.dice.randbytes(32))
        self._clock = clock
        self._dice = fate.dice
        self._strikes = fate.strikes
        self._begin = begin
        self._note = note

    async def tell(self, request: Request) -> None:
        if self._goes_wrong("webhook_lost"):
            return
        if self._goes_wrong("webhook_late"):
            await asyncio.sleep(self._dice.uniform(60, self._dice.choice((2400, 7200))))
        age = 3600 if self._goes_wrong("webhook_stale") else 0
        if self._goes_wrong("webhook_forged"):
            await self._never_believed(request, age, forged=True)
        if self._goes_wrong("webhook_of_a_stranger"):
            await self._never_believed(request, age, user="user_stranger")
        if self._goes_wrong("webhook_twice"):
            self._begin(self._letters(request, age))
        await self._letters(request, age)

    async def _letters(self, request: Request, age: int) -> None:
        """Until one is taken, as fal does, each after a longer pause."""
        pause = _PAUSE
        for _ in range(_RETRIES):
            await asyncio.sleep(self._dice.uniform(0, 5))  # the order of two is anybody's guess
            if self._goes_wrong("webhook_cut"):
                await self._never_believed(request, age, cut=True)
            elif 200 <= await self._letter(request, age) < 300:
                return
            await asyncio.sleep(pause)
            pause *= 1.5

    async def _never_believed(self, request: Request, age: int, **changes: Any) -> None:
        status = await self._letter(request, age, **changes)
        if status == 200:
            self.wrong.append(f"{request.id}: a webhook was believed that is {changes}")

    async def _letter(
        self, request: Request, age: int, *, user: str = USER, forged: bool = False, cut: bool = False
    ) -> int:
        payload = None if self._goes_wrong("payload_null") else request.body
        told = {
            "request_id": request.id,
            "gateway_request_id": request.id,
            "status": "OK" if request.status == 200 else "ERROR",
            "payload": payload,
            "payload_error": None,
        }
        body = json.dumps(told, sort_keys=True).encode()
        stamp = str(int(self._clock.now().timestamp()) - age)
        signature = self.key.sign(webhook_message(request.id, user, stamp, body)).signature.hex()
        headers = [
            (b"x-fal-webhook-request-id", request.id.encode()),
            (b"x-fal-webhook-user-id", user.encode()),
            (b"x-fal-webhook-timestamp", stamp.encode()),
            (b"x-fal-webhook-signature", signature.encode()),
        ]
        sent = body + b" " if forged else body[: len(body) // 2] if cut else body
        assert self.deliver
        status = await self.deliver(str(request.webhook), headers, sent)
        self._note(f"told {request.id} {status}")
        return status

    def _goes_wrong(self, what: str) -> bool:
        if struck := self._strikes(what):
            self._note(what)
        return struck
