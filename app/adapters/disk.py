"""Files in a folder, which is all that one machine needs. A file is either whole and on the disk, or not there."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from itsdangerous import BadData, URLSafeSerializer

from app.core.errors import NotFound, StorageFull, Unavailable
from app.core.signatures import derive
from app.ports import BlobStat, SignedFile

# Parts never begin with a dot, so no key can climb out of the folder or reach our own `.incoming`.
_KEY = re.compile(r"(?=.{1,500}\Z)[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_CHUNK = 256 * 1024
_LISTED_AT_ONCE = 500
_LEFTOVER_AGE = 24 * 3600.0
_TRIES = 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskBlobs:
    """`now` says when addresses given out expire. `least_room` is the free space below which `check` speaks up."""

    provider_can_read = False

    def __init__(
        self,
        root: Path,
        secret: bytes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        least_room: int = 0,
    ) -> None:
        self._root = root.resolve()
        self._incoming = self._root / ".incoming"
        self._signer = URLSafeSerializer(derive(secret, "disk-urls"), salt="files")
        self._now = now
        self._least_room = least_room

    async def put(self, key: str, file: Path, *, content_type: str) -> None:  # noqa: ARG002 - the address carries the type
        await asyncio.to_thread(self._put, self._path(key), file)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        source = await asyncio.to_thread(self._open, key, start)
        left = None if end is None else max(end - start, 0)
        try:
            while chunk := await asyncio.to_thread(source.read, _CHUNK if left is None else min(_CHUNK, left)):
                yield chunk
                left = None if left is None else left - len(chunk)
        finally:
            source.close()

    async def stat(self, key: str) -> BlobStat | None:
        try:
            found = await asyncio.to_thread(os.stat, self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return BlobStat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, self._path(key))

    async def keys(self, prefix: str) -> AsyncIterator[BlobStat]:
        found = self._walk(prefix)
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(found, _LISTED_AT_ONCE))):
            for blob in batch:
                yield blob

    async def url(self, key: str, *, lifetime: timedelta, content_type: str, filename: str) -> str:
        # Rounded up to the minute: the same address for a while, so that a browser can keep the picture.
        expires = -int(-(self._now() + lifetime).timestamp() // 60) * 60
        return f"/files/{self._signer.dumps([key, expires, content_type, filename])}"

    def open_signed(self, token: str) -> SignedFile:
        try:
            key, expires, content_type, filename = self._signer.loads(token)
        except (BadData, ValueError, TypeError):
            raise NotFound("This address is not one of ours.") from None
        if self._now().timestamp() > expires:
            raise NotFound("This address has expired; ask for a new one.")
        return SignedFile(key, content_type, filename)

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    def room(self) -> int:
        """Bytes that can still be written."""
        return shutil.disk_usage(self._root).free

    async def close(self) -> None:
        """Nothing is kept open."""

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise NotFound(f"{key[:80]!r} cannot be the key of a file.")
        return self._root / key

    def _put(self, target: Path, file: Path) -> None:
        with _disk_errors("store a file"):
            self._incoming.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._incoming)
            os.close(handle)
            try:
                shutil.copyfile(file, name)
                _sync(Path(name))
                self._rename(Path(name), target)
            finally:
                Path(name).unlink(missing_ok=True)

    def _rename(self, source: Path, target: Path) -> None:
        for tries_left in reversed(range(_TRIES)):
            try:
                made = self._make_folders(target.parent)
                source.replace(target)
                break
            except (FileNotFoundError, FileExistsError):  # a delete beside us took a folder away under our hands
                if not tries_left:
                    raise
        for folder in (target.parent, *made):
            with suppress(FileNotFoundError):  # deleted again already, and the file with it
                _sync(folder)

    def _make_folders(self, folder: Path) -> list[Path]:
        """Make `folder`; those that hold a new entry because of it and have to be synced too."""
        missing = [f for f in (folder, *folder.parents) if f.is_relative_to(self._root) and not f.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        return [f.parent for f in missing]

    def _open(self, key: str, start: int) -> BinaryIO:
        with _disk_errors("read a file"):
            try:
                source = self._path(key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NotFound("There is no such file.") from None
            source.seek(start)
            return source

    def _delete(self, path: Path) -> None:
        with _disk_errors("delete a file"):
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: the end of the tidying
                for folder in path.parents:
                    if folder == self._root:
                        break
                    folder.rmdir()

    def _walk(self, prefix: str) -> Iterator[BlobStat]:
        for folder, names, files in os.walk(self._root):
            here = Path(folder).relative_to(self._root).as_posix().removeprefix(".")
            lead = f"{here}/" if here else ""
            names[:] = [n for n in names if not n.startswith(".") and _may_hold(f"{lead}{n}/", prefix)]
            for key in (f"{lead}{name}" for name in files):
                with suppress(FileNotFoundError):
                    if key.startswith(prefix):
                        found = (self._root / key).stat()
                        yield BlobStat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _check(self) -> None:
        with _disk_errors("write a probe"):
            self._incoming.mkdir(parents=True, exist_ok=True)
            for leftover in self._incoming.iterdir():  # of a process that died while storing
                with suppress(FileNotFoundError):
                    if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE:
                        leftover.unlink()
            with tempfile.TemporaryFile(dir=self._incoming) as probe:
                probe.write(b"probe")
                probe.seek(0)
                probe.read()
        if self.room() < self._least_room:
            raise Unavailable(f"Only {self.room() // 1_000_000} MB are left in {self._root}: make room on that disk.")


def _may_hold(folder: str, prefix: str) -> bool:
    return folder.startswith(prefix) or prefix.startswith(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(deed: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise StorageFull(f"The disk is full: could not {deed}.") from e
        named = Path(str(e.filename)).name if e.filename else "no file named"  # where it lies is nobody's business
        raise Unavailable(f"Could not {deed}: {e.strerror or e} ({named}).") from e
