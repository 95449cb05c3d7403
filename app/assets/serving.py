"""Giving a file out: whole or a part of it, from the store through us, or by pointing at the bucket. What lies under
a key never changes, so browsers may keep it for good."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from app.core.errors import NotFound, RangeNotSatisfiable
from app.services import Services
from app.web.operation import Download, Reply

_FOR_GOOD = "private, max-age=31536000, immutable"
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def serve(
    services: Services, key: str, *, content_type: str, filename: str, wanted: str | None = None
) -> Download:
    """The file under `key`, or the part of it that `wanted`, a Range header as it came, asks for.

    Raises:
        NotFound: there is no such file.
        RangeNotSatisfiable: the range lies outside it.
    """
    blob = await services.blobs.stat(key)
    if blob is None:
        raise NotFound("There is no such file.")
    part = byte_range(wanted, blob.size)
    start, end = part or (0, blob.size)
    span = {"Content-Range": f"bytes {start}-{end - 1}/{blob.size}"} if part else {}
    return Download(
        given_out(services, key, start, end),
        content_type,
        size=end - start,
        filename=filename,
        headers=_lasting(key) | span,
        inline=True,
        status=206 if part else 200,
    )


async def given_out(
    services: Services, key: str, start: int = 0, end: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The bytes under `key` as they leave us: each chunk that was taken is counted."""
    chunks = services.blobs.read(key, start, end)
    try:
        async for chunk in chunks:
            services.metrics.count("transfer_bytes_total", len(chunk), direction="out")
            yield chunk
    finally:
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


def unchanged(key: str, known: str | None) -> Reply[None] | None:
    """304 for whoever has the file already: `known` is If-None-Match, as it came."""
    headers = _lasting(key)
    if known is None or (headers["ETag"] not in known and known.strip() != "*"):
        return None
    return Reply(None, status=304, headers=headers)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes [start, end) a Range header asks for; None for all of them, which is also the answer to several ranges
    at once: nobody can make us send a file a thousand times over."""
    match = _ONE_RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    if last and first and int(last) < int(first):
        return None
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def _lasting(key: str) -> dict[str, str]:
    """The hash in the file's own name is its tag; the thumbnail's says so behind it."""
    return {
        "ETag": f'"{key.rpartition("/")[2].rpartition(".")[0]}"',
        "Cache-Control": _FOR_GOOD,
        "Accept-Ranges": "bytes",
    }
