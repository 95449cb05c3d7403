"""The sandbox's own routes, for people and tests: its log, its chaos, its outages. None of them exist at fal."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox.box import Box
from app.sandbox.fal.chaos import MEANINGS
from app.sandbox.fal.submission import Submission
from app.sandbox.outage import MODES

PAGE = 10_000


@dataclass(frozen=True)
class Control:
    box: Box
    refuse: Callable[[float], Awaitable[None]]

    def routes(self) -> list[Route]:
        return [
            Route("/_log/posts", self.posts, methods=["GET"]),
            Route("/_log/{table}", self.table, methods=["GET"]),
            Route("/_chaos", self.read_chaos, methods=["GET"]),
            Route("/_chaos", self.change_chaos, methods=["POST"]),
            Route("/_knobs", self.knobs, methods=["POST"]),
            Route("/_pause", self.pause, methods=["POST"]),
            Route("/_resume", self.resume, methods=["POST"]),
            Route("/_rotate_keys", self.rotate, methods=["POST"]),
        ]

    async def posts(self, request: Request) -> Response:
        """Ten thousand at a time, as the others; `?after=` takes the number of the last one seen."""
        found = self.box.log.submissions("ordinal >= ?", _after(request), tail=f"ORDER BY ordinal LIMIT {PAGE}")
        return JSONResponse({"posts": [_post(sub) for sub in found]})

    async def table(self, request: Request) -> Response:
        name = request.path_params["table"]
        if name == "summary":
            return JSONResponse(summary_of(self.box))
        if name not in ("deliveries", "boxes", "questions"):
            return JSONResponse({"detail": "posts, deliveries, boxes, questions or summary"}, 404)
        sql = f"SELECT rowid AS number, * FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - one of ours
        return JSONResponse({name: self.box.log.rows(sql, _after(request), PAGE)})

    async def read_chaos(self, _: Request) -> Response:
        fired = summary_of(self.box)["chaos_fired"]
        return JSONResponse({"odds": self.box.chaos.odds, "fired": fired, "meanings": MEANINGS})

    async def change_chaos(self, request: Request) -> Response:
        try:
            self.box.chaos.change({str(name): float(odds) for name, odds in (await _json(request)).items()})
        except (ValueError, TypeError) as problem:
            return JSONResponse({"detail": str(problem)}, 422)
        return await self.read_chaos(request)

    async def knobs(self, request: Request) -> Response:
        """How the request list lags behind."""
        wish, knobs = await _json(request), self.box.knobs
        knobs.list_delay = float(wish.get("list_delay", knobs.list_delay))
        knobs.list_unfinished = bool(wish.get("list_unfinished", knobs.list_unfinished))
        return JSONResponse(asdict(knobs))

    async def pause(self, request: Request) -> Response:
        wish = await _json(request)
        mode = str(wish.get("mode", "500"))
        if mode not in MODES:
            return JSONResponse({"detail": f"mode is one of {', '.join(MODES)}"}, 422)
        self.box.outage.begin(mode)
        if mode == "refuse":
            await self.refuse(float(wish.get("seconds", 3)))
        return JSONResponse({"mode": mode})

    async def resume(self, _: Request) -> Response:
        self.box.outage.end()
        return JSONResponse({"mode": None})

    async def rotate(self, _: Request) -> Response:
        self.box.keys.rotate()
        return JSONResponse(self.box.keys.jwks())


def summary_of(box: Box) -> dict[str, Any]:
    counters = box.log.counters()
    return {
        "posts": box.log.ordinal,
        "spent_micro_usd": box.log.scalar("SELECT coalesce(sum(cost_micro), 0) FROM requests"),
        "queue": box.queue.counts(),
        "ended": _under("ended.", counters),
        "chaos_fired": {name: counters.get(f"chaos.{name}", 0) for name in MEANINGS},
        "webhooks": _under("webhook.", counters),
        "refused": _under("posts.refused.", counters),
        "counters": counters,
    }


def _under(prefix: str, counters: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}


def _post(sub: Submission) -> dict[str, Any]:
    return {
        "number": sub.ordinal + 1,
        "time": sub.submitted,
        "key": sub.account,
        "user_id": sub.user,
        "endpoint": sub.endpoint,
        "request_id": sub.id,
        "input": json.loads(sub.input),
        "webhook": sub.webhook,
        "webhook_state": sub.webhook_state,
        "chaos": sub.chaos,
        "state": sub.state,
        "outcome": sub.outcome or None,
        "status_code": sub.status_code,
        "units": sub.units,
        "cost_micro_usd": sub.cost_micro,
        "files": sub.files,
        "started": sub.started,
        "ended": sub.ended,
    }


def _after(request: Request) -> int:
    text = request.query_params.get("after", "0")
    return int(text) if text.isdigit() else 0


async def _json(request: Request) -> dict[str, Any]:
    try:
        value = json.loads(await request.body() or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
