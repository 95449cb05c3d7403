"""A model of who reads a stream: HTTP and server-sent events taken apart by the letter of the standards, byte by byte
if need be, sharing nothing with the code that puts them together."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Heard:
    id: str
    type: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass
class EventSource:
    """The parser of the HTML standard, section 9.2.6. `last_id` is what a browser would send on coming back."""

    last_id: str = ""
    retry: int | None = None
    events: list[Heard] = field(default_factory=list)
    comments: int = 0
    _rest: bytes = b""
    _id: str = ""
    _type: str = ""
    _data: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._id = self.last_id

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode())

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            self._dispatch()
        elif not name:
            self.comments += 1
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_id = self._id
        if self._data:
            self.events.append(Heard(self._id, self._type or "message", "\n".join(self._data)))
        self._data, self._type = [], ""


@dataclass
class Chunks:
    """Takes the chunked transfer coding off again."""

    ended: bool = False
    _rest: bytes = b""
    _left: int = 0

    def feed(self, data: bytes) -> bytes:
        out = b""
        self._rest += data
        while self._rest and not self.ended:
            if self._left > 2:
                piece, self._rest = self._rest[: self._left - 2], self._rest[self._left - 2 :]
                out += piece
                self._left -= len(piece)
            elif self._left:
                end, self._rest = self._rest[: self._left], self._rest[self._left :]
                self._left -= len(end)
            else:
                line, found, rest = self._rest.partition(b"\r\n")
                if not found:
                    break
                self._rest, self._left = rest, int(line, 16) + 2
                self.ended = line == b"0"
        return out


class Subscription:
    """One connection. `body` is all that came, as the reader of a chunked body sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: EventSource) -> None:
        self._reader, self._writer = reader, writer
        self._chunks = Chunks()
        self.source = source
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.pieces: list[bytes] = []
        self.gone = False

    async def ask(self, path: str, headers: dict[str, str]) -> None:
        lines = [f"GET {path} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in headers.items())]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}

    async def more(self) -> Self:
        data = await self._reader.read(65536)
        self.gone = not data
        piece = self._chunks.feed(data)
        self.pieces.append(piece)
        self.body += piece
        self.source.feed(piece)
        return self

    async def until_events(self, n: int, within: float = 10) -> list[Heard]:
        async with asyncio.timeout(within):
            while len(self.source.events) < n and not self.over:
                await self.more()
        return self.source.events

    async def until_over(self, within: float = 10) -> list[Heard]:
        async with asyncio.timeout(within):
            while not self.over:
                await self.more()
        return self.source.events

    async def until_text(self, text: bytes, within: float = 10) -> bytes:
        async with asyncio.timeout(within):
            while text not in self.body and not self.over:
                await self.more()
        return self.body

    @property
    def over(self) -> bool:
        return self._chunks.ended or self.gone

    @property
    def ended_well(self) -> bool:
        return self._chunks.ended


@asynccontextmanager
async def subscribed(
    port: int, path: str = "/", *, headers: dict[str, str] | None = None, last_id: str = "", window: int = 0
) -> AsyncIterator[Subscription]:
    """Connected, and the head of the answer read. Leaving cuts the connection off, without a word. `window` shrinks
    what our kernel takes in before we read it."""
    sock = socket.socket()
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=window or 65536)
    here = Subscription(reader, writer, EventSource(last_id))
    try:
        async with asyncio.timeout(10):
            await here.ask(path, (headers or {}) | ({"Last-Event-ID": last_id} if last_id else {}))
        yield here
    finally:
        writer.transport.abort()
