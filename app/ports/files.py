"""Files: where they are kept (a folder, or S3 / DigitalOcean Spaces), the one way out to an address that somebody else
chose, and where a file of unknown origin becomes a picture of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class BlobStat:
    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class SignedFile:
    """What an address of ours, `/files/{token}`, was given out for."""

    key: str
    content_type: str
    filename: str


class Blobs(Protocol):
    """Keys are `w/{workspace}/{asset}/{sha256}.{ext}`: immutable, so putting one twice is harmless."""

    provider_can_read: bool
    """Whether `url` gives an address the provider can fetch from (a bucket: yes; a folder: no)."""

    async def put(self, key: str, file: Path, *, content_type: str) -> None:
        """Store a finished local file under `key`, durably before it returns. Raises `Unavailable`, `StorageFull`."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream bytes [start, end). Raises `NotFound` before the first chunk when there is no such blob."""
        ...

    async def stat(self, key: str) -> BlobStat | None: ...

    async def delete(self, key: str) -> None:
        """Remove it; no error when it is already gone."""
        ...

    def keys(self, prefix: str) -> AsyncIterator[BlobStat]: ...

    async def url(self, key: str, *, lifetime: timedelta, content_type: str, filename: str) -> str:
        """An address that works without credentials for `lifetime` (a CDN address may work longer). A folder gives a
        path of ours, `/files/{token}`; a bucket a whole URL."""
        ...

    def open_signed(self, token: str) -> SignedFile:
        """What the token of such a path stands for. Raises `NotFound` for one that is expired or not ours."""
        ...

    async def check(self) -> None:
        """Write, read and delete a probe. Raises `Unavailable` with what a person can do about it."""
        ...

    async def close(self) -> None: ...


class Fetcher(Protocol):
    """Streams an outside URL into a file, refusing addresses that are not public, redirects, encodings, and sizes over
    the limit (`promises.md` D20)."""

    async def fetch(self, url: str, into: Path, *, purpose: str, max_bytes: int) -> str:
        """The content type as sent. `purpose` is `result` (hosts are allow-listed) or `user` (any public https host).

        Raises:
            FetchRefused: the address or the answer is not allowed; trying again will not help.
            FetchFailed: the transfer broke, was too slow or came back with an error status; may work later.
            StorageFull: there is no room for the file.
        """
        ...

    def judge(self, url: str, *, purpose: str) -> None:
        """What can be said of the URL without looking up its name or connecting. Raises `FetchRefused`."""
        ...

    async def close(self) -> None: ...


class FetchRefused(Exception):
    """The URL must not be fetched; the text says why in words fit for the caller."""


class FetchFailed(Exception):
    """The URL could not be fetched this time. `status` is the HTTP answer, 0 if there was none."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class Digest:
    """What was written, told in the pass that wrote it. `crc32` is eight hex digits."""

    size: int
    sha256: str
    crc32: str


@dataclass(frozen=True)
class Developed:
    """`picture` is the clean file to keep: the same pixels, upright, without metadata. `colour` is `#rrggbb`,
    `placeholder` a tiny data URI."""

    picture: Path
    thumbnail: Path
    content_type: str
    extension: str
    width: int
    height: int
    colour: str
    placeholder: str
    digest: Digest


class Darkroom(Protocol):
    async def develop(self, source: Path, into: Path, *, made_by_ai: bool) -> Developed:
        """Judge, clean, mark and measure the file `source`; what comes of it is written into the folder `into`, which
        is for this file alone. Raises `NotAPicture` (app.assets), `StorageFull`, `Unavailable`."""
        ...

    async def close(self) -> None: ...
