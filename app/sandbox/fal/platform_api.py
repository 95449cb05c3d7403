"""fal's platform API, as far as a careful caller needs it: prices, the request list, billing, forgetting payloads."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox.fal.catalogue import MODELS, Model
from app.sandbox.fal.files import Files
from app.sandbox.fal.submission import Submission
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now
from app.sandbox.wire import Account, account_of

KINDS = {"success": "status_code < 400", "error": "status_code >= 500", "user_error": "status_code BETWEEN 400 AND 499"}


@dataclass
class Knobs:
    """How the request list lags behind; fal documents neither."""

    list_delay: float = 0.0  # fal's seconds until a request shows
    list_unfinished: bool = True


@dataclass(frozen=True)
class PlatformApi:
    log: Log
    files: Files
    pace: Pace
    knobs: Knobs

    def routes(self) -> list[Route]:
        return [
            Route("/v1/meta", self.meta, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/pricing", self.pricing, methods=["GET"]),
            Route("/v1/models/pricing/estimate", self.estimate, methods=["POST"]),
            Route("/v1/models/requests/by-endpoint", self.requests, methods=["GET"]),
            Route("/v1/models/billing-events", self.billing, methods=["GET"]),
            Route("/v1/models/requests/{id}/payloads", self.forget, methods=["DELETE"]),
        ]

    async def meta(self, _: Request) -> Response:
        return JSONResponse({"webhook_ip_ranges": ["127.0.0.1/32", "::1/128"]})

    async def models(self, request: Request) -> Response:
        wanted = _asked_for(request) or list(MODELS)
        found = [{"endpoint_id": name, "metadata": {"status": "active"}} for name in wanted if name in MODELS]
        return JSONResponse({"models": found, "next_cursor": None, "has_more": False})

    async def pricing(self, request: Request) -> Response:
        wanted = _asked_for(request)
        if isinstance(account := account_of(request), Response):
            return account
        if not 1 <= len(wanted) <= 50:
            return _problem("validation_error", "endpoint_id must be given 1 to 50 times", 400)
        if missing := [name for name in wanted if name not in MODELS]:
            return _problem("not_found", f"No pricing for {', '.join(missing)}", 404)
        prices = [_price(MODELS[name]) for name in wanted]
        return JSONResponse({"prices": prices, "next_cursor": None, "has_more": False})

    async def estimate(self, request: Request) -> Response:
        if isinstance(account := account_of(request), Response):
            return account
        try:
            wish = json.loads(await request.body())
            kind, endpoints = wish["estimate_type"], wish["endpoints"]
            field = {"unit_price": "unit_quantity", "historical_api_price": "call_quantity"}[kind]
            total = sum(MODELS[name].price_micro * float(amount[field]) for name, amount in endpoints.items())
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            return _problem("validation_error", f"not understood: {problem}", 400)
        return JSONResponse({"estimate_type": kind, "total_cost": total / 1e6, "currency": "USD"})

    async def requests(self, request: Request) -> Response:
        account = account_of(request)
        if isinstance(account, Response):
            return account
        wanted = _asked_for(request)
        if not wanted:
            return _problem("validation_error", "endpoint_id is required", 400)
        found = self._page(request, account, [f"endpoint IN ({', '.join('?' * len(wanted))})"], list(wanted))
        with_payloads = "payloads" in request.query_params.get("expand", "")
        return _listing("items", found, request, lambda sub: _item(sub, with_payloads=with_payloads))

    async def billing(self, request: Request) -> Response:
        account = account_of(request)
        if isinstance(account, Response):
            return account
        found = self._page(request, account, ["cost_micro > 0"], [])
        return _listing("billing_events", found, request, _billed)

    async def forget(self, request: Request) -> Response:
        account = account_of(request)
        if isinstance(account, Response):
            return account
        request_id = request.path_params["id"]
        sub = self.log.submission(request_id)
        if sub is None or sub.account != account.name or not sub.done:
            return _problem("not_found", "Request not found", 404)
        paths = self.files.forget(request_id)
        self.log.change("UPDATE requests SET keep = 0, result_until = 0 WHERE id = ?", request_id)
        links = [{"link": f"{sub.origin}/files/{path}", "exception": None} for path in paths]
        return JSONResponse({"cdn_delete_results": links})

    def _page(
        self, request: Request, account: Account, conditions: list[str], values: list[object]
    ) -> list[Submission]:
        query = request.query_params
        conditions += ["account = ?", "submitted <= ?"]
        values += [account.name, now() - self.pace.real(self.knobs.list_delay)]
        if not self.knobs.list_unfinished:
            conditions.append("ended IS NOT NULL")
        for name, condition in (("start", "submitted >= ? - 1e-6"), ("end", "submitted < ?")):
            if (at := _moment(query.get(name))) is not None:
                conditions.append(condition)
                values.append(at)
        if request_id := query.get("request_id"):
            conditions.append("id = ?")
            values.append(request_id)
        if kind := KINDS.get(query.get("status", "")):
            conditions.append(kind)
        if cursor := query.get("cursor"):
            conditions.append("ordinal < ?")
            values.append(int(cursor) if cursor.isdigit() else 0)
        tail = f"ORDER BY ordinal DESC LIMIT {_limit(request) + 1}"  # one more tells whether there is more
        return list(self.log.submissions(" AND ".join(conditions), *values, tail=tail))


def _asked_for(request: Request) -> list[str]:
    given = request.query_params.getlist("endpoint_id")
    return [name for part in given for name in part.split(",") if name]


def _price(model: Model) -> dict[str, Any]:
    return {"endpoint_id": model.endpoint, "unit_price": model.price_micro / 1e6, "unit": model.unit, "currency": "USD"}


def _item(sub: Submission, *, with_payloads: bool) -> dict[str, Any]:
    item = {
        "request_id": sub.id,
        "endpoint_id": sub.endpoint,
        "sent_at": _iso(sub.submitted),
        "started_at": _iso(sub.started),
        "ended_at": _iso(sub.ended),
        "status_code": sub.status_code,
        "duration": None if sub.ended is None else sub.ended - sub.submitted,
    }
    if with_payloads:
        item["json_input"] = json.loads(sub.input) if sub.keep else None
        item["json_output"] = json.loads(sub.output) if sub.keep and sub.output else None
    return item


def _billed(sub: Submission) -> dict[str, Any]:
    return {
        "request_id": sub.id,
        "endpoint_id": sub.endpoint,
        "timestamp": _iso(sub.ended),
        "output_units": sub.units,
        "unit_price": MODELS[sub.endpoint].price_micro / 1e6,
        "cost_total": sub.cost_micro / 1e6,
        "currency": "USD",
    }


def _listing(
    name: str, found: list[Submission], request: Request, tell: Callable[[Submission], dict[str, Any]]
) -> Response:
    page = found[: _limit(request)]
    more = len(found) > len(page)
    items = [tell(sub) for sub in page]
    return JSONResponse({name: items, "next_cursor": str(page[-1].ordinal) if more else None, "has_more": more})


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "50")
    return min(max(int(text), 1), 100) if text.isdigit() else 50


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str | None) -> float | None:
    try:
        at = datetime.fromisoformat((text or "").replace("Z", "+00:00").replace(" ", "+"))
    except ValueError:
        return None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


def _problem(kind: str, message: str, status: int) -> Response:
    return JSONResponse({"error": {"type": kind, "message": message}}, status)
