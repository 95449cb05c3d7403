"""Webhooks: build the payload, sign it, send it with fal's timeouts and retries, write every try down.

A letter is signed once. Whether fal signs a retry again is not documented; not doing so is the harder case.
"""

import asyncio
import hashlib
import json
import time
import uuid
from typing import Any

import httpx

from app.sandbox import room
from app.sandbox.fal.chaos import Chaos, Letter
from app.sandbox.fal.keys import Keys
from app.sandbox.fal.submission import Submission
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now

FIRST_TIMEOUT, LATER_TIMEOUT, RETRIES = 15.0, 120.0, 31
FIRST_PAUSE, GROWTH = 5.0, 1.15  # 31 pauses make 42 minutes
QUICKEST_TIMEOUT = 2.0  # real seconds: at high speed the receiver still needs a fair chance
STRANGER = "user_stranger"


class Postman:
    def __init__(self, log: Log, keys: Keys, chaos: Chaos, pace: Pace, web: httpx.AsyncClient) -> None:
        self._log, self._keys, self._chaos, self._pace, self._web = log, keys, chaos, pace, web
        self._rounds: dict[str, asyncio.Task[None]] = {}

    def post(self, sub: Submission) -> asyncio.Task[None] | None:
        if not sub.webhook or sub.webhook_state != "due":
            return None
        task = asyncio.create_task(self._round(sub))
        self._rounds[sub.id] = task
        task.add_done_callback(lambda _: self._rounds.pop(sub.id, None))
        return task

    def round_of(self, request_id: str) -> asyncio.Task[None] | None:
        return self._rounds.get(request_id)

    def resume(self) -> None:
        """After a restart: what was due and not delivered is due again."""
        for sub in self._log.submissions("webhook_state = 'due' AND state = 'completed'"):
            self.post(sub)

    async def close(self) -> None:
        tasks = list(self._rounds.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _round(self, sub: Submission) -> None:
        plan = self._chaos.letters(sub.chaos)
        if all(letter.once for step in plan for letter in step):
            await self._settle(sub, "lost")
        for step in plan:
            await asyncio.gather(*(self._deliver(sub, letter) for letter in step))

    async def _deliver(self, sub: Submission, letter: Letter) -> None:
        await asyncio.sleep(self._pace.real(letter.after))
        body, headers = self._seal(sub, letter)
        pause, last = FIRST_PAUSE, 1 if letter.once else RETRIES + 1
        for number in range(1, last + 1):
            limit = self._pace.real(FIRST_TIMEOUT if number == 1 else LATER_TIMEOUT, QUICKEST_TIMEOUT)
            status = await self._send(sub, letter, number, body, headers, limit)
            wait = self._pace.real(pause, 0.02)
            if letter.once or 200 <= status < 400 or now() + wait > (sub.webhook_until or 0):
                break
            await asyncio.sleep(wait)
            pause *= GROWTH
        if not letter.once:
            await self._settle(sub, "done" if 200 <= status < 300 else "lost" if 300 <= status < 400 else "dead")

    def _seal(self, sub: Submission, letter: Letter) -> tuple[bytes, dict[str, str]]:
        payload, user = payload_of(sub), sub.user
        if letter.empty:
            payload["payload"] = None
            payload["payload_error"] = "The payload could not be serialized. Fetch the result from the queue."
        if letter.foreign:
            user = STRANGER
            payload = {**payload, "request_id": str(uuid.uuid4()), "gateway_request_id": None}
        body = json.dumps(payload, sort_keys=True).encode()
        headers = self._keys.headers(payload["request_id"], user, int(now()) - letter.age, body)
        if letter.forged:
            body = json.dumps({**payload, "forged": True}, sort_keys=True).encode()
        return body, {**headers, "Content-Type": "application/json"}

    async def _send(
        self, sub: Submission, letter: Letter, number: int, body: bytes, headers: dict[str, str], limit: float
    ) -> int:
        began, status, error = time.monotonic(), 0, None
        try:
            async with asyncio.timeout(limit):
                answer = await self._web.post(str(sub.webhook), content=body, headers=headers, timeout=limit)
            status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        entry = {
            "request_id": sub.id,
            "time": now(),
            "kind": letter.kind,
            "number": number,
            "url": sub.webhook,
            "timestamp": int(headers["X-Fal-Webhook-Timestamp"]),
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "status": status,
            "error": error,
            "seconds": round(time.monotonic() - began, 4),
        }
        await room.once_there_is_room(lambda: self._log.add("deliveries", **entry))
        self._log.count("webhook.tries")
        return status

    async def _settle(self, sub: Submission, state: str) -> None:
        sub.webhook_state = state
        change = "UPDATE requests SET webhook_state = ? WHERE id = ?"
        await room.once_there_is_room(lambda: self._log.change(change, state, sub.id))
        self._log.count(f"webhook.{state}")


def payload_of(sub: Submission) -> dict[str, Any]:
    return {
        "error": sub.error,
        "gateway_request_id": sub.gateway_id,
        "payload": None if sub.output is None else json.loads(sub.output),
        "request_id": sub.id,
        "status": "OK" if sub.status_code == 200 else "ERROR",
    }
