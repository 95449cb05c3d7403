"""A fal of a few lines, whose signing keys the test holds: what no honest fal would sign or publish can be tried."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from nacl.signing import SigningKey
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

USER = "user_little"
STRANGER = "user_stranger"

Pairs = list[tuple[bytes, bytes]]
Publish = Callable[[list[SigningKey]], Any]


def jwk(key: SigningKey, *, padded: bool = False) -> dict[str, str]:
    x = base64.urlsafe_b64encode(bytes(key.verify_key)).decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "x": x if padded else x.rstrip("=")}


def published(keys: list[SigningKey]) -> Any:
    return {"keys": [jwk(key) for key in keys]}


@dataclass(frozen=True)
class Letter:
    """A webhook, ready to be sent. `pairs` are headers in their order, so that one may come twice."""

    path: str
    pairs: Pairs
    body: bytes

    def without(self, name: str) -> Pairs:
        return [pair for pair in self.pairs if pair[0] != name.encode()]

    def with_header(self, name: str, value: bytes) -> Letter:
        return Letter(self.path, [*self.without(name), (name.encode(), value)], self.body)


@dataclass
class LittleFal:
    """`publish` shapes the key set; `away` makes it unavailable; `asked` counts who wanted it. A cleared `answering`
    holds submissions back after they were taken. `sent` is the size of the picture that was fetched last.
    `refusing` is the status with which the gateway turns everybody away, if it does, and `losing` the one with which
    files are refused. So many times the result is `missing` when it is asked for, and `looked_for` counts that.
    `listing` is its list of requests, of which every page leads to another one unless `listing_ends`."""

    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.generate()])
    publish: Publish = published
    away: bool = False
    asked: int = 0
    webhooks: dict[str, str] = field(default_factory=dict)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    sent: int = 0
    refusing: int = 0
    losing: int = 0
    missing: int = 0
    looked_for: int = 0
    listing: list[dict[str, Any]] = field(default_factory=list)
    listing_ends: bool = True

    def __post_init__(self) -> None:
        self.answering.set()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/jwks.json", self._jwks),
                Route("/files/{name}", self._file),
                Route("/{path:path}/requests/by-endpoint", self._listed),
                Route("/{path:path}/requests/{id}/status", self._status),
                Route("/{path:path}/requests/{id}/cancel", self._cancel, methods=["PUT"]),
                Route("/{path:path}/requests/{id}", self._result),
                Route("/{path:path}", self._submit, methods=["POST"]),
            ]
        )

    def letter(
        self,
        webhook: str,
        request_id: str,
        *,
        key: SigningKey | None = None,
        user: str = USER,
        at: float = 0.0,
        payload: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        about: str | None = None,
    ) -> Letter:
        """Signed as fal signs (`fal.md` 2.3). `at` is seconds from now, `about` the id that the header names."""
        body = json.dumps(payload or self.payload(request_id)).encode() if body is None else body
        named, moment = about or request_id, str(int(time.time() + at))
        message = "\n".join([named, user, moment, hashlib.sha256(body).hexdigest()]).encode()
        signature = (key or self.keys[-1]).sign(message).signature.hex()
        values = {"request-id": named, "user-id": user, "timestamp": moment, "signature": signature}
        pairs = [(b"x-fal-webhook-" + name.encode(), value.encode()) for name, value in values.items()]
        return Letter(urlsplit(webhook).path, [*pairs, (b"content-type", b"application/json")], body)

    def payload(self, request_id: str) -> dict[str, Any]:
        images = [{"url": f"{self.url}/files/{request_id}.png", "content_type": "image/png"}]
        return {"request_id": request_id, "gateway_request_id": request_id, "status": "OK", "error": None} | {
            "payload": {"images": images, "seed": 7, "has_nsfw_concepts": [False]}
        }

    async def _jwks(self, _: Request) -> Response:
        self.asked += 1
        if self.away:
            return Response(status_code=503)
        return JSONResponse(self.publish(self.keys))

    async def _submit(self, request: Request) -> Response:
        if self.refusing:
            return JSONResponse({"detail": "Not today"}, self.refusing)
        id_ = str(uuid.uuid4())
        self.webhooks[id_] = request.query_params.get("fal_webhook", "")
        await self.answering.wait()
        base = f"{self.url}/{request.path_params['path']}/requests/{id_}"
        urls = {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}
        return JSONResponse({"status": "IN_QUEUE", "request_id": id_, "queue_position": 0, **urls})

    async def _status(self, request: Request) -> Response:
        return JSONResponse({"status": "IN_PROGRESS", "request_id": request.path_params["id"], "logs": []}, 202)

    async def _result(self, request: Request) -> Response:
        self.looked_for += 1
        if self.looked_for <= self.missing:
            return JSONResponse({"status": "NOT_FOUND"}, 404)
        return JSONResponse(self.payload(request.path_params["id"])["payload"])

    async def _listed(self, request: Request) -> Response:
        start = datetime.fromisoformat(request.query_params["start"])
        items = [item for item in self.listing if datetime.fromisoformat(item["sent_at"]) >= start]
        return JSONResponse({"items": items, "next_cursor": None if self.listing_ends else "further"})

    async def _cancel(self, _: Request) -> Response:
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)

    async def _file(self, _: Request) -> Response:
        if self.losing:
            return Response(status_code=self.losing)
        out = io.BytesIO()
        Image.new("RGB", (64, 64), "teal").save(out, "PNG")
        self.sent = len(out.getvalue())
        return Response(out.getvalue(), media_type="image/png")
