"""Listens for fal's calls while `doctor --live` looks: refuses the first one about each request, takes the others."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass
from typing import Self

LARGEST = 1_000_000


@dataclass(frozen=True)
class Call:
    at: float
    headers: dict[str, str]
    fields: list[str]

    @property
    def about(self) -> str | None:
        """The request that it names."""
        return self.headers.get("x-fal-webhook-request-id")


class Catcher:
    """`async with Catcher(port) as catcher`; port 0 picks a free one. Only this machine can reach it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._calls: list[Call] = []
        self._called = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_failure: object) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    async def calls(self, request: str, wanted: int, until: float) -> list[Call]:
        """The first `wanted` calls about a request, or those that came before that moment of the monotonic clock."""
        while len(self._about(request)) < wanted and (left := until - time.monotonic()) > 0:
            self._called.clear()
            try:
                await asyncio.wait_for(self._called.wait(), left)
            except TimeoutError:
                break
        return self._about(request)[:wanted]

    def _about(self, request: str | None) -> list[Call]:
        return [call for call in self._calls if call.about == request]

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()[1:]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
                body = await reader.readexactly(min(int(headers.get("content-length", 0)), LARGEST))
            call = Call(time.monotonic(), headers, _fields(body))
            status = "200 OK" if self._about(call.about) else "500 Not Yet"
            self._calls.append(call)
            self._called.set()
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except (TimeoutError, ValueError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever that was, it was not fal
        finally:
            writer.close()


def _fields(body: bytes) -> list[str]:
    try:
        return sorted(json.loads(body))
    except (ValueError, TypeError):
        return []
