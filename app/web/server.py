"""What we ask of uvicorn beyond plain ASGI, each through what it lets one replace: the `http` protocol class, and the
server's `shutdown`. The pinned version is held to it by `tests/web/test_server.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from socket import socket

from uvicorn import Config, Server
from uvicorn.protocols.http.flow_control import FlowControl

from app.web.reception import Reception
from app.web.streams import TRANSPORT

_WRITABLE = asyncio.Event()
_WRITABLE.set()


class Flow(FlowControl):
    """Has an event of its own only while somebody is slow. It holds a queue for those who wait: a tenth of all that a
    reader weighs, and nearly all of them never wait."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._is_writable_event = _WRITABLE

    def pause_writing(self) -> None:
        if not self.write_paused:
            self._is_writable_event = asyncio.Event()
        super().pause_writing()


class Protocol(Reception):
    """Hands the connection to the application: closing it politely waits for ever for a reader that takes nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self.flow = Flow(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


class DrainingServer(Server):
    """uvicorn waits for open responses before it tells the application anything; streams have to be told first."""

    def __init__(self, config: Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._drain()
        await super().shutdown(sockets)
