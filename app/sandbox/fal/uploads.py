"""Both of fal's upload paths: a token and `files/upload` (with multipart), or `initiate` and a PUT."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox.fal.files import Files
from app.sandbox.pace import now
from app.sandbox.wire import account_of, origin_of

MOST = 200_000_000


@dataclass
class _Ticket:
    """A place that was promised: filled by one PUT, or by numbered parts and `complete`."""

    content_type: str
    name: str
    life: float | None
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Uploads:
    files: Files
    tickets: dict[str, _Ticket] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        return [
            Route("/storage/auth/token", self.token, methods=["POST"]),
            Route("/files/upload", self.upload, methods=["POST"]),
            Route("/files/upload/multipart", self.begin_parts, methods=["POST"]),
            Route("/storage/upload/initiate", self.initiate, methods=["POST"]),
            Route("/storage/upload/initiate-multipart", self.initiate, methods=["POST"]),
            Route("/storage/put/{ticket}", self.put, methods=["PUT"]),
            Route("/storage/put/{ticket}/complete", self.complete, methods=["POST"]),
            Route("/storage/put/{ticket}/{number:int}", self.part, methods=["PUT"]),
            Route("/files/{path:path}/multipart/{ticket}/complete", self.complete, methods=["POST"]),
            Route("/files/{path:path}/multipart/{ticket}/{number:int}", self.part, methods=["PUT"]),
            Route("/files/{path:path}", self.files.serve, methods=["GET", "HEAD"]),
        ]

    async def token(self, request: Request) -> Response:
        account = account_of(request)
        if isinstance(account, Response):
            return account
        expires = datetime.now(UTC) + timedelta(hours=1)
        body = {
            "token": _token(int(expires.timestamp())),
            "token_type": "Bearer",
            "base_url": origin_of(request),
            "expires_at": expires.isoformat(),
        }
        return JSONResponse(body)

    async def upload(self, request: Request) -> Response:
        if not self._may_upload(request):
            return JSONResponse({"detail": "Invalid upload token"}, 401)
        stored = self.files.keep(await request.body(), *_what(request), life=_life(request))
        return JSONResponse({"access_url": f"{origin_of(request)}/files/{stored.path}"})

    async def begin_parts(self, request: Request) -> Response:
        if not self._may_upload(request):
            return JSONResponse({"detail": "Invalid upload token"}, 401)
        kind, name = _what(request)
        ticket, path = self._promise(_Ticket(kind, name, _life(request)))
        return JSONResponse({"access_url": f"{origin_of(request)}/files/{path}", "uploadId": ticket})

    async def initiate(self, request: Request) -> Response:
        account = account_of(request)
        if isinstance(account, Response):
            return account
        wish = json.loads(await request.body() or b"{}")
        kind = str(wish.get("content_type") or "application/octet-stream")
        ticket, path = self._promise(_Ticket(kind, str(wish.get("file_name") or ""), _life(request)))
        origin = origin_of(request)
        return JSONResponse({"upload_url": f"{origin}/storage/put/{ticket}", "file_url": f"{origin}/files/{path}"})

    async def put(self, request: Request) -> Response:
        return self._fill(request, await request.body())

    async def part(self, request: Request) -> Response:
        ticket = self.tickets.get(request.path_params["ticket"])
        if ticket is None:
            return JSONResponse({"detail": "Unknown upload"}, 404)
        data, number = await request.body(), request.path_params["number"]
        ticket.parts[number] = data
        etag = hashlib.sha256(data).hexdigest()[:32]
        return JSONResponse({"partNumber": number, "etag": etag}, headers={"ETag": etag})

    async def complete(self, request: Request) -> Response:
        ticket = self.tickets.get(request.path_params["ticket"])
        parts = [] if ticket is None else [ticket.parts[number] for number in sorted(ticket.parts)]
        return self._fill(request, b"".join(parts))

    def _promise(self, ticket: _Ticket) -> tuple[str, str]:
        token = secrets.token_urlsafe(16)
        self.tickets[token] = ticket
        return token, self.files.path_for(f"up/{token}", ticket.content_type, ticket.name)

    def _fill(self, request: Request, data: bytes) -> Response:
        token = request.path_params["ticket"]
        ticket = self.tickets.get(token)
        if ticket is None:
            return JSONResponse({"detail": "Unknown upload"}, 404)
        path = self.files.path_for(f"up/{token}", ticket.content_type, ticket.name)
        self.files.keep(data, ticket.content_type, ticket.name, ticket.life, path=path)
        del self.tickets[token]
        return JSONResponse({"url": f"{origin_of(request)}/files/{path}"})

    def _may_upload(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").partition(" ")[2]
        expires = token.partition(".")[0]
        by_token = expires.isdigit() and int(expires) > now() and token == _token(int(expires))
        return by_token or not isinstance(account_of(request), Response)


def _token(expires: int) -> str:
    """Nothing is remembered: callers keep a token for an hour, over a restart of ours too."""
    return f"{expires}.{hashlib.sha256(f'upload/{expires}'.encode()).hexdigest()[:24]}"


def _what(request: Request) -> tuple[str, str]:
    return request.headers.get("content-type", "application/octet-stream"), request.headers.get("x-fal-file-name", "")


def _life(request: Request) -> float | None:
    headers = request.headers
    text = headers.get("x-fal-object-lifecycle-preference") or headers.get("x-fal-object-lifecycle") or "{}"
    try:
        value = json.loads(text).get("expiration_duration_seconds")
    except (ValueError, AttributeError):
        return None
    return float(value) if isinstance(value, int | float) else None
