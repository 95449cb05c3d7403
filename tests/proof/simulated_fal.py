"""fal as a seeded actor in virtual time: it queues, runs, answers, signs and delivers, and lets go wrong what its fate
says. It keeps a log in the form of the sandbox's own, so that one comparison serves both.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import copy_context
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from app.core.errors import Unavailable
from app.jobs.model import AttemptRow
from app.ports import (
    Accepted,
    Answer,
    Clock,
    FetchFailed,
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
from tests.proof.fate import Fate
from tests.proof.simulated_letters import Postman, Request

_LATEST_LISTED = timedelta(minutes=8)
"""So long may fal's list not show a request. More than the grace time, and nobody could know what was bought."""
_SWAMPED_FOR = (900, 2700)
"""Seconds: mostly more than the grace time, which is ten minutes and twice the longest run seen."""


class SimulatedFal:
    """`Provider` and, for its files, `Fetcher`. While it is `away`, nobody can connect to it."""

    def __init__(self, clock: Clock, fate: Fate, *, lists: bool = True) -> None:
        self.requests: dict[str, Request] = {}
        self.log: list[str] = []
        self.away = False
        self._clock = clock
        self._fate = fate
        self._dice = fate.dice
        self._lists = lists
        self._swamped = False
        self.postman = Postman(clock, fate, self._begin, self._note)
        self._files: dict[str, bytes | None] = {}
        self._busy: dict[asyncio.Task[None], None] = {}
        self._mine = copy_context()

    @property
    def busy(self) -> int:
        return len(self._busy)

    def posts(self, attempts: Sequence[AttemptRow], base_url: str) -> list[dict[str, Any]]:
        """All that was paid for. Without webhooks, whose it was is told as fal itself could be asked: by the request's
        id, else by the exact input, one to one."""
        known = {attempt.request_id: attempt for attempt in attempts if attempt.request_id}
        unknown = [attempt for attempt in attempts if not attempt.request_id]
        posts = []
        for request in self.requests.values():
            post = request.post
            if request.webhook is None:
                alike = (a for a in unknown if a.arguments == request.arguments)
                if (attempt := known.get(request.id) or next(alike, None)) is not None:
                    post["webhook"] = f"{base_url}/api/webhooks/fal/{attempt.id}/"
                    unknown = [a for a in unknown if a is not attempt]
            posts.append(post)
        return posts

    # Provider

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any],
        *,
        webhook_url: str | None,
        low_priority: bool = False,
        start_timeout: float | None = None,
    ) -> Submission:
        await self._travel()
        if self.away or self._goes_wrong("unsent"):
            return Unsent("connection refused")
        if self._swamped:
            return NotAccepted(429, "too many requests", 300.0)
        if self._fate.odds.swamped and webhook_url is not None and self._goes_wrong("swamped"):
            self._accept(endpoint, arguments, webhook_url, swamps=True)
            return Unanswered("cut before the answer")
        if self._goes_wrong("turned_away"):
            return NotAccepted(*self._dice.choice([(429, "too many requests", 30.0), (403, "no balance", None)]))
        if self._goes_wrong("request_lost"):
            await asyncio.sleep(self._dice.uniform(1, 60))
            return Unanswered("cut before it arrived")
        if self._goes_wrong("rejected"):
            return Rejected(422, _detail("content_policy_violation"))
        request = self._accept(endpoint, arguments, webhook_url)
        await self._travel()
        if self._goes_wrong("answer_lost"):
            await asyncio.sleep(self._dice.uniform(0, 60))
            return Unanswered("cut before the answer")
        return Accepted(self.ticket(endpoint, request.id))

    def ticket(self, endpoint: str, request_id: str) -> Ticket:
        url = f"http://fal.sim/{endpoint}/requests/{request_id}"
        return Ticket(endpoint, request_id, f"{url}/status", url, f"{url}/cancel")

    async def progress(self, ticket: Ticket, *, logs: bool = False) -> Progress:
        await self._travel()
        if self.away or self._goes_wrong("status_unclear"):
            return Progress("unclear")
        request = self.requests.get(ticket.request_id)
        if request is None:
            return Progress("missing")
        return Progress("done" if request.ended_at else "running" if request.started_at else "queued")

    async def result(self, ticket: Ticket) -> Answer:
        await self._travel()
        request = self.requests.get(ticket.request_id)
        if self.away or self._goes_wrong("result_lost"):
            return Answer(0, None)
        if self._goes_wrong("result_broken"):
            return Answer(502, None)
        if request is None:
            return Answer(404, {"status": "NOT_FOUND"})
        if request.ended_at is None:
            return Answer(400, {"detail": "Request is still in progress"})
        return Answer(request.status, request.body, billable_units=float(len(request.files)))

    async def cancel(self, ticket: Ticket) -> str:
        await self._travel()
        if self.away:
            return "unclear"
        request = self.requests[ticket.request_id]
        if request.ended_at is not None:
            return "too_late"
        if self._dice.random() < 0.5:  # fal may finish it all the same
            self._end(request, 499, "cancelled", None)
        return "accepted"

    async def listed(self, endpoint: str, since: datetime, until: datetime) -> Sequence[ListedRequest] | None:
        await self._travel()
        if not self._lists:
            return None
        if self.away or self._goes_wrong("list_away"):
            raise Unavailable("the list is away")
        return [
            ListedRequest(r.id, r.endpoint, r.sent_at, r.ended_at, r.status or None, dict(r.arguments), r.body)
            for r in self.requests.values()
            if r.endpoint == endpoint
            and since <= r.sent_at < until
            and not r.withheld
            and r.listed_at <= self._clock.now()
        ]

    async def place(self, chunks: AsyncIterator[bytes], *, size: int, content_type: str, name: str) -> str:
        data = b"".join([chunk async for chunk in chunks])
        if self.away:
            raise Unavailable("fal's storage is away")
        return self._keep(data)

    async def keys(self) -> Sequence[bytes]:
        await self._travel()
        if self.away or self._goes_wrong("keys_away"):
            raise Unavailable("the keys are away")
        return [bytes(self.postman.key.verify_key)]

    async def check(self) -> None:
        if self.away:
            raise Unavailable("no connection")

    async def close(self) -> None: ...

    # Fetcher

    async def fetch(self, url: str, into: Path, *, purpose: str, max_bytes: int) -> str:
        await self._travel()
        if self._goes_wrong("file_broken"):
            raise FetchFailed("the transfer broke", self._dice.choice((0, 429, 500)))
        data = self._files[url]
        if data is None:
            raise FetchRefused("the picture is larger than 200 MB")
        await asyncio.to_thread(into.write_bytes, data)
        return "image/jpeg"

    def judge(self, url: str, *, purpose: str) -> None: ...

    # What happens there

    def _accept(
        self, endpoint: str, arguments: Mapping[str, Any], webhook: str | None, *, swamps: bool = False
    ) -> Request:
        now = self._clock.now()
        late = self._dice.random() * _LATEST_LISTED if self._goes_wrong("list_late") else timedelta(0)
        id_ = f"req-{self._dice.randbytes(8).hex()}"
        request = Request(id_, endpoint, dict(arguments), webhook, now, now + late, swamps or not self._lists)
        self.requests[id_] = request
        self._note(f"accepted {id_} {json.dumps(request.arguments, sort_keys=True)}")
        self._begin(self._swamp(request) if swamps else self._run(request))
        return request

    async def _swamp(self, request: Request) -> None:
        """So busy with this one that it is listed nowhere and everybody else is turned away, for longer than the grace
        time: its webhook finds a job that was put back and cannot be sent again."""
        self._swamped = True
        await asyncio.sleep(self._dice.uniform(*_SWAMPED_FOR))
        await self._run(request)
        self._swamped = False

    async def _run(self, request: Request) -> None:
        await asyncio.sleep(self._dice.expovariate(1 / 20))
        if request.ended_at is not None:
            return
        request.started_at = self._clock.now()
        await asyncio.sleep(self._dice.lognormvariate(1.5, 0.8) * (50 if self._goes_wrong("slow") else 1))
        if request.ended_at is not None:
            return
        if self._goes_wrong("failed"):
            self._end(request, 500, "failed", _detail("internal_server_error"))
        elif self._goes_wrong("refused"):
            self._end(request, 422, "refused", _detail("content_policy_violation"))
        elif self._goes_wrong("garbled"):
            self._end(request, 200, "garbled", {"images": "there they are"})
        else:
            pictures = [self._drawn(request) for _ in range(request.arguments.get("num_images", 1))]
            self._end(request, 200, "ok", {"images": pictures, "seed": request.arguments.get("seed", 1)})
        if request.webhook is not None:
            await self.postman.tell(request)

    def _drawn(self, request: Request) -> dict[str, Any]:
        data = self._dice.randbytes(64)
        request.files.append(hashlib.sha256(data).hexdigest())
        url = self._keep(data)
        if self._goes_wrong("file_too_large"):
            self._files[url] = None
            request.lost += 1
        return {"url": url, "width": 64, "height": 64, "content_type": "image/jpeg"}

    def _end(self, request: Request, status: int, outcome: str, body: Any) -> None:
        request.ended_at, request.status, request.outcome, request.body = self._clock.now(), status, outcome, body
        self._note(f"ended {request.id} {outcome}")

    def _keep(self, data: bytes) -> str:
        url = f"http://fal.sim/files/{hashlib.sha256(data).hexdigest()}"
        self._files[url] = data
        return url

    # Fate

    def _goes_wrong(self, what: str) -> bool:
        if struck := self._fate.strikes(what):
            self._note(what)
        return struck

    async def _travel(self) -> None:
        await asyncio.sleep(self._dice.uniform(0.01, 0.5))

    def _note(self, what: str) -> None:
        self.log.append(f"{self._clock.now().isoformat()} {what}")

    def _begin(self, work: Any) -> None:
        """In its own name: it goes on whoever asked for it dies."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, context=self._mine.copy())
        self._busy[task] = None
        task.add_done_callback(self._busy.pop)


def _detail(kind: str) -> dict[str, Any]:
    return {"detail": [{"loc": ["body"], "msg": kind, "type": kind, "input": None}]}
