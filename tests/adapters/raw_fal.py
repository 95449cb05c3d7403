"""A fal that answers with raw bytes, or cuts the line: whatever an ingress, a proxy or a dying server may do."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[["RawFal", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawFal:
    script: Script
    url: str = ""
    posts: list[bytes] = field(default_factory=list)
    """The whole of each request that arrived, head and body."""

    @asynccontextmanager
    async def open(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["RawFal"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                self.posts.append(head + body)
                await self.script(self, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answer(status: str, body: bytes, **headers: str) -> bytes:
    lines = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    return (
        f"HTTP/1.1 {status}\r\n".encode() + "".join(f"{n}: {v}\r\n" for n, v in lines.items()).encode() + b"\r\n" + body
    )


def accepted(url: str, request_id: str = "3f2c8a1e-1111-4222-8333-444455556666") -> bytes:
    base = f"{url}/fal-ai/flux/requests/{request_id}"
    body = {
        "status": "IN_QUEUE",
        "request_id": request_id,
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "queue_position": 3,
    }
    return json.dumps(body).encode()


def says(data: bytes, *, then_cut: bool = False) -> Script:
    async def script(fal: RawFal, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_cut:
            raise ConnectionResetError

    return script


async def cuts(fal: RawFal, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    raise ConnectionResetError


async def hangs_up(fal: RawFal, writer: asyncio.StreamWriter) -> None:
    raise ConnectionResetError


async def never_answers(fal: RawFal, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drips(fal: RawFal, writer: asyncio.StreamWriter) -> None:
    """One byte after the other, so that no read ever times out."""
    loop = asyncio.get_running_loop()
    for byte in answer("200 OK", accepted(fal.url)):
        writer.write(bytes([byte]))
        await writer.drain()
        pause = loop.create_future()
        loop.call_later(0.05, pause.set_result, None)
        await pause
