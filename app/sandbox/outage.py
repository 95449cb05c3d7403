"""An outage on demand: what is fal's or Claude's answers 500, hangs, or is cut off; our own (`/` and `/_...`) stays."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.sandbox.wire import cut

Mode = Literal["500", "hang", "cut", "refuse"]
MODES: tuple[str, ...] = get_args(Mode)


@dataclass
class Outage:
    mode: str | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, mode: str) -> None:
        self.mode = mode
        self.over.clear()

    def end(self) -> None:
        self.mode = None
        self.over.set()


class Gate:
    def __init__(self, app: ASGIApp, outage: Outage) -> None:
        self._app, self._outage = app, outage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mode = self._outage.mode
        if scope["type"] != "http" or mode is None or scope["path"] == "/" or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
        elif mode == "500":
            await JSONResponse({"detail": "Internal Server Error"}, 500)(scope, receive, send)
        else:
            if mode == "hang":
                await self._outage.over.wait()
            await cut(Request(scope, receive))
