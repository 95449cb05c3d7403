"""What the handlers need below HTTP: cut a connection without an answer, read a key, the caller's own name for us."""

import hashlib
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

DEFAULT_KEY, DEFAULT_USER = "sandbox", "user_sandbox"


class CuttableProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol, with its transport in reach of the handlers."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Silence(Response):
    """An answer that is none: the connection ends instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await cut(Request(scope, receive))


async def cut(request: Request) -> None:
    """What was written still leaves; then the connection ends."""
    request.state.transport.close()
    ended = False
    while not ended:
        ended = (await request.receive())["type"] == "http.disconnect"


@dataclass(frozen=True)
class Account:
    name: str
    user: str


def account_of(request: Request) -> Account | Response:
    """Any key is an account; `bad` and `locked` are the two that are turned away, as fal's gateway does it."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "key" or not key:
        return JSONResponse({"detail": "Authentication is required to access this application"}, 401)
    if key == "bad":
        return JSONResponse({"detail": "No user found for Key ID and Secret"}, 401)
    if key == "locked":
        reason = "Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
        return JSONResponse({"detail": f"User is locked. Reason: {reason}"}, 403)
    if key == DEFAULT_KEY:
        return Account(DEFAULT_KEY, DEFAULT_USER)
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return Account(name, f"user_{name}")


def origin_of(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host') or request.url.netloc}"
