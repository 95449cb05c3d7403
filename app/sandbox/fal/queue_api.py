"""fal's queue over HTTP: submit, status, stream, result, cancel. Reads accept the app root and the full endpoint id."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.sandbox.fal import spells
from app.sandbox.fal.catalogue import MODELS
from app.sandbox.fal.chaos import MEANINGS, Chaos
from app.sandbox.fal.progress import log_lines
from app.sandbox.fal.queue import Queue
from app.sandbox.fal.submission import Submission, app_root, digest_of
from app.sandbox.fal.webhooks import Postman
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now
from app.sandbox.wire import Account, Silence, account_of, origin_of

NOT_FOUND = {"status": "NOT_FOUND"}
EARLY_PATIENCE, PING = 5.0, 15.0


@dataclass(frozen=True)
class QueueApi:
    log: Log
    queue: Queue
    chaos: Chaos
    postman: Postman
    pace: Pace

    def routes(self) -> list[Route]:
        request = "/{endpoint:path}/requests/{id}"
        return [
            Route(f"{request}/status/stream", self.stream, methods=["GET"]),
            Route(f"{request}/status", self.status, methods=["GET"]),
            Route(f"{request}/cancel", self.cancel, methods=["PUT"]),
            Route(f"{request}/response", self.result, methods=["GET"]),
            Route(request, self.result, methods=["GET"]),
            Route("/{endpoint:path}", self.submit, methods=["POST"]),
        ]

    async def submit(self, request: Request) -> Response:
        account = account_of(request)
        if isinstance(account, Response):
            return self._turned_away(account)
        endpoint = request.path_params["endpoint"].strip("/")
        if endpoint not in MODELS:
            return JSONResponse({"detail": f"Application '{endpoint}' not found"}, 404)
        text = (await request.body()).decode("utf-8", "replace")
        try:
            given = json.loads(text)
        except ValueError:
            return JSONResponse({"detail": "Invalid JSON in the request body", "error_type": "bad_request"}, 400)
        sub = self._new(request, account, endpoint, text, given)
        if self._crowded(request, endpoint) or self.chaos.storming(sub.digest, sub.chaos):
            return self._turned_away(_too_many())
        return await self._accept(sub)

    async def status(self, request: Request) -> Response:
        sub = self._find(request)
        if isinstance(sub, Response):
            return sub
        return JSONResponse(
            self._status(sub, _wants_logs(request)), 200 if sub.done else 202, {"x-fal-request-id": sub.id}
        )

    async def stream(self, request: Request) -> Response:
        sub = self._find(request)
        if isinstance(sub, Response):
            return sub
        events = self._events(sub.id, _wants_logs(request))
        return StreamingResponse(events, media_type="text/event-stream", headers={"x-fal-request-id": sub.id})

    async def result(self, request: Request) -> Response:
        sub = self._find(request)
        if isinstance(sub, Response):
            return sub
        mine = {"x-fal-request-id": sub.id}
        if not sub.done:
            return JSONResponse({"detail": "Request is still in progress"}, 400, mine)
        if sub.output is None or now() > (sub.result_until or 0):
            return JSONResponse(NOT_FOUND, 404, mine)
        return Response(sub.output, sub.status_code or 500, {**mine, **sub.headers}, "application/json")

    async def cancel(self, request: Request) -> Response:
        sub = self._find(request)
        if isinstance(sub, Response):
            return sub
        status, word = self.queue.cancel(sub)
        return JSONResponse({"status": word}, status, {"x-fal-request-id": sub.id})

    def _new(self, request: Request, account: Account, endpoint: str, text: str, given: object) -> Submission:
        headers, query = request.headers, request.query_params
        prompt = str(given.get("prompt") or "") if isinstance(given, dict) else ""
        forced = [*headers.get("x-sandbox-chaos", "").replace(" ", "").split(","), *spells.chaos_in(prompt)]
        request_id, ordinal = str(uuid.uuid4()), self.log.ordinal
        start = _seconds(headers.get("x-fal-request-start-timeout") or headers.get("x-fal-request-timeout"))
        return Submission(
            id=request_id,
            ordinal=ordinal,
            account=account.name,
            user=account.user,
            endpoint=endpoint,
            input=text,
            digest=digest_of(account.name, endpoint, given),
            origin=origin_of(request),
            submitted=now(),
            gateway_id=str(uuid.uuid4()) if "[[rerun]]" in prompt else request_id,
            webhook=query.get("fal_webhook") or None,
            priority=int(headers.get("x-fal-queue-priority", "normal").lower() == "low"),
            start_by=None if start is None else self.pace.after(start),
            keep=headers.get("x-fal-store-io", "1") != "0",
            file_life=_life(headers.get("x-fal-object-lifecycle-preference")),
            chaos=self.chaos.draw(name for name in forced if name in MEANINGS),
        )

    async def _accept(self, sub: Submission) -> Response:
        self.queue.add(sub)
        self.log.ordinal += 1
        self.log.count("posts.accepted")
        position = self.queue.position(sub)
        if "early" in sub.chaos:
            await self._finish_first(sub)
        if "answer_cut" in sub.chaos:
            self.chaos.fired("answer_cut")
            return Silence()
        body = {
            "status": "IN_QUEUE",
            "request_id": sub.id,
            **sub.urls,
            "queue_position": position,
            "gateway_request_id": sub.gateway_id,
        }
        return JSONResponse(body, headers={"x-fal-request-id": sub.id})

    async def _finish_first(self, sub: Submission) -> None:
        """`early`: the run, and the webhook with its answer, before the submit is answered."""
        self.chaos.fired("early")
        if run := self.queue.start_now(sub):
            await asyncio.wait([run], timeout=EARLY_PATIENCE)
        if webhook := self.postman.round_of(sub.id):
            await asyncio.wait([webhook], timeout=EARLY_PATIENCE)

    def _crowded(self, request: Request, endpoint: str) -> bool:
        longest = request.query_params.get("fal_max_queue_length", "")
        return longest.isdigit() and self.queue.length(endpoint) >= int(longest)

    def _turned_away(self, answer: Response) -> Response:
        self.log.count(f"posts.refused.{answer.status_code}")
        return answer

    def _find(self, request: Request) -> Submission | Response:
        account = account_of(request)
        if isinstance(account, Response):
            return account
        sub, endpoint = self.queue.find(request.path_params["id"]), request.path_params["endpoint"].strip("/")
        known = sub and sub.account == account.name and endpoint in (sub.endpoint, app_root(sub.endpoint))
        if sub is None or not known:
            return JSONResponse(NOT_FOUND, 404)
        return sub

    def _status(self, sub: Submission, known: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {"status": "COMPLETED", "request_id": sub.id, **sub.urls}
        if sub.state == "queued":
            return {**body, "status": "IN_QUEUE", "queue_position": self.queue.position(sub)}
        body["logs"] = None if known is None else log_lines(sub)[known:]
        if sub.state == "running":
            return {**body, "status": "IN_PROGRESS"}
        body["metrics"] = {"inference_time": (sub.ended or 0) - (sub.started or sub.ended or 0)}
        if sub.error:
            body["error"] = sub.error
            if sub.error_type:
                body["error_type"] = sub.error_type
        return body

    async def _events(self, request_id: str, told: int | None) -> AsyncIterator[str]:
        last, quiet = None, 0.0
        step = max(0.02, self.pace.real(0.5))
        while not self.queue.closing and (sub := self.queue.find(request_id)) is not None:
            current = self._status(sub, told)
            if current != last and (current.get("logs") or last is None or _differs(current, last)):
                yield f"data: {json.dumps(current)}\n\n"
                last, quiet = current, 0.0
                told = None if told is None else told + len(current.get("logs") or ())
            if sub.done:
                return
            await asyncio.sleep(step)
            quiet += step
            if quiet > PING:
                yield ": ping\n\n"
                quiet = 0.0


def _wants_logs(request: Request) -> int | None:
    """How many lines are known already: none. None when no logs are wanted."""
    return 0 if request.query_params.get("logs", "0").lower() in ("1", "true") else None


def _differs(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return any(one.get(name) != other.get(name) for name in ("status", "queue_position"))


def _too_many() -> Response:
    detail = "Too many concurrent requests"
    body = {"detail": detail, "error_type": "concurrent_requests_limit"}
    return JSONResponse(body, 429, {"X-Fal-Needs-Retry": "1", "X-Fal-Error-Type": "concurrent_requests_limit"})


def _seconds(text: str | None) -> float | None:
    value = spells.number(text or "", 0.0)
    return value if value > 0.1 else None


def _life(text: str | None) -> float | None:
    try:
        value = json.loads(text or "{}").get("expiration_duration_seconds")
    except (ValueError, AttributeError):
        return None
    return float(value) if isinstance(value, int | float) else None
