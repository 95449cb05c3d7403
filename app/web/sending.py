"""From what a handler gave back to bytes on the connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from app.web.answers import Download, Redirect, Reply
from app.web.contract import Answers

UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
NO_BODY = frozenset({204, 304})


class Answering:
    """Writes answers of one operation; `status` is what an answer has unless it says otherwise."""

    def __init__(self, answers: Answers, status: int) -> None:
        self._streams = answers.streams
        self._dump = answers.adapter.dump_json if answers.adapter else None
        self._status = status
        self._plain = None if answers.kinds or answers.empty else self._dump

    async def write(self, value: Any, scope: Scope, receive: Receive, send: Send) -> None:
        if type(value) is not Reply and self._plain is not None:
            # No second validation: what the handler gives is what its annotation says, mypy has seen to that.
            content = self._plain(value, by_alias=True, warnings=False)
            await send({"type": "http.response.start", "status": self._status, "headers": _plain_headers(content)})
            await send({"type": "http.response.body", "body": content if scope["method"] != "HEAD" else b""})
            return
        status = self._status
        headers: Mapping[str, str] = {}
        cookies: tuple[str, ...] = ()
        if type(value) is Reply:
            status, headers, cookies = value.status or status, value.headers, value.cookies
            value = value.value
        body = scope["method"] != "HEAD"
        if isinstance(value, Download):
            await send_download(value, receive, send, body=body)
        elif isinstance(value, Redirect):
            await _send(send, value.status, {"location": value.url, "content-length": "0"} | _lower(value.headers), b"")
        elif self._streams and hasattr(value, "serve"):
            await value.serve(scope, receive, send)
        elif value is None or self._dump is None:
            status = 204 if status == 200 else status
            length = {} if status in NO_BODY else {"content-length": "0"}
            await _send(send, status, length | {"cache-control": "no-store"} | _lower(headers), b"", cookies)
        else:
            content = self._dump(value, by_alias=True, warnings=False)
            fixed = {"content-type": "application/json", "content-length": str(len(content))}
            given = {"cache-control": "no-store"} | _lower(headers) | fixed
            await _send(send, status, given, content if body else b"", cookies)


async def send_download(download: Download, receive: Receive, send: Send, *, body: bool) -> None:
    """Stream the bytes while somebody reads them. The first ones are fetched before the status line is written, so that
    a file which cannot be read is still a proper problem.
    """
    chunks = download.chunks
    try:
        first = await anext(chunks, b"") if body else b""
        await send({"type": "http.response.start", "status": download.status, "headers": _file_headers(download)})
        if body:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(_until_gone(receive))
                await send({"type": "http.response.body", "body": first, "more_body": True})
                async for chunk in chunks:
                    await asyncio.sleep(0)  # neither a quick disk nor a quick socket may keep everybody else waiting
                    if reader.done():
                        return
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                reader.cancel()
        await send({"type": "http.response.body", "body": b""})
    finally:
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


def disposition(filename: str | None, *, inline: bool) -> str:
    """A Content-Disposition that no name can break out of."""
    safe = UNSAFE_IN_NAMES.sub("_", filename or "").strip("._")[:100] or "download"
    return f'{"inline" if inline else "attachment"}; filename="{safe}"'


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _file_headers(download: Download) -> list[tuple[bytes, bytes]]:
    fixed = {
        "content-type": download.content_type,
        "content-disposition": disposition(download.filename, inline=download.inline),
        "content-security-policy": download.policy,
        "x-content-type-options": "nosniff",
    }
    if download.size is not None:
        fixed["content-length"] = str(download.size)
    return _raw(_lower(download.headers) | fixed)


async def _send(
    send: Send, status: int, headers: Mapping[str, str], content: bytes, cookies: Iterable[str] = ()
) -> None:
    raw = _raw(headers)
    raw += [(b"set-cookie", cookie.encode("latin-1")) for cookie in cookies]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


def _plain_headers(content: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
    ]


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
