"""What keeps things, in virtual time: the service's own SQLite engine with readers that need no thread, a bucket that
is a dict, and a darkroom that takes everything for a picture.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, Pool, QueuePool
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.errors import NotFound, Unavailable
from app.ports import BlobStat, Clock, Developed, Digest, SignedFile
from app.store.database import Committed, Hooks, Pending
from app.store.sqlite import SqliteEngine, _prepare_reader, _prepare_writer
from tests.proof.fate import Fate
from tests.proof.virtual import Died, Process


class InlineSqlite(SqliteEngine):
    """Belongs to a process: when that dies, what was not committed is lost."""

    def __init__(self, file: Path, hooks: Hooks, process: Process, fate: Fate) -> None:
        super().__init__(file, hooks)
        self._process = process

        def connected() -> sqlite3.Connection:
            return _Fragile(file, fate)

        self._writer = _like_template(NullPool(cast("Any", connected)))
        event.listen(self._writer, "connect", lambda connection, record: _prepare_writer(0, connection, record))
        event.listen(self._writer, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        self._reader = _like_template(QueuePool(cast("Any", lambda: sqlite3.connect(file))))
        event.listen(self._reader, "connect", lambda connection, record: _prepare_reader(0, connection, record))
        event.listen(self._reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    def submit(self, pending: Pending) -> None:
        if self._process.dead:  # on its way out it may still try
            pending.future.set_exception(Died())
            return
        super().submit(pending)

    def session(self) -> AsyncSession:
        return cast("AsyncSession", _InlineSession(self._reader, self._process))

    async def close(self) -> None:
        await super().close()
        self._reader.dispose()

    def die(self) -> None:
        """What the operating system does with the files of a dead program."""
        self._disconnect()
        self._reader.dispose()

    def _transact(self, batch: Sequence[Pending]) -> list[Committed]:
        self._process.live()
        return super()._transact(batch)


@cache
def _template() -> Engine:
    """What was compiled once is good for every history in this program."""
    engine = create_engine("sqlite+pysqlite:///:memory:", isolation_level="AUTOCOMMIT")
    engine.connect().close()
    return engine


def _like_template(pool: Pool) -> Engine:
    template = _template()
    engine = Engine(pool, template.dialect, template.url)
    engine._compiled_cache = template._compiled_cache
    return engine


class _Fragile(sqlite3.Connection):
    """A writing connection whose file is locked now and then, or fails."""

    def __init__(self, file: Path, fate: Fate) -> None:
        super().__init__(file, isolation_level=None)
        self.fate = fate

    def cursor(self, *_: Any) -> sqlite3.Cursor:  # type: ignore[override]
        return super().cursor(_FragileCursor)


class _FragileCursor(sqlite3.Cursor):
    def execute(self, statement: str, parameters: Any = ()) -> Self:
        if statement in ("BEGIN IMMEDIATE", "COMMIT"):
            fate = cast("_Fragile", self.connection).fate
            if statement == "COMMIT" and fate.strikes("commit_failed"):
                raise _error("disk I/O error", sqlite3.SQLITE_IOERR)
            if statement != "COMMIT" and fate.strikes("locked"):
                raise _error("database is locked", sqlite3.SQLITE_BUSY)
        return super().execute(statement, parameters)


def _error(words: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


class _InlineSession:
    """As much of an AsyncSession as the service uses."""

    def __init__(self, engine: Engine, process: Process) -> None:
        self._session = Session(engine, expire_on_commit=False)
        self._process = process

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        self._process.live()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._session.close()

    async def exec(self, statement: Any, *, params: Any = None) -> Any:
        return self._session.exec(statement, params=params)

    async def get(self, row: Any, key: Any) -> Any:
        return self._session.get(row, key)

    async def get_one(self, row: Any, key: Any) -> Any:
        return self._session.get_one(row, key)

    async def connection(self) -> _InlineConnection:
        return _InlineConnection(self._session.connection())


class _InlineConnection:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)


class MemoryBlobs:
    """`Blobs` as a dict, with the faults of a bucket."""

    provider_can_read = False

    def __init__(self, clock: Clock, fate: Fate) -> None:
        self.held: dict[str, tuple[bytes, BlobStat]] = {}
        self.away = False
        self._clock = clock
        self._fate = fate

    async def put(self, key: str, file: Path, *, content_type: str) -> None:
        self._answer("put_refused")
        if self._fate.strikes("put_slow"):
            await asyncio.sleep(self._fate.dice.uniform(1, 90))
        data = await asyncio.to_thread(file.read_bytes)
        self.held[key] = data, BlobStat(key, len(data), self._clock.now())
        self._answer("put_unanswered")

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if key not in self.held or self._fate.strikes("blob_missing"):
            raise NotFound("There is no such blob.")
        yield self.held[key][0][start:end]

    async def stat(self, key: str) -> BlobStat | None:
        return self.held[key][1] if key in self.held else None

    async def delete(self, key: str) -> None:
        self.held.pop(key, None)

    async def keys(self, prefix: str) -> AsyncIterator[BlobStat]:
        for key in sorted(self.held):
            if key.startswith(prefix):
                yield self.held[key][1]

    async def url(self, key: str, *, lifetime: timedelta, content_type: str, filename: str) -> str:
        return f"/files/{key}"

    def open_signed(self, token: str) -> SignedFile:
        raise NotFound(token)

    async def check(self) -> None:
        self._answer(None)

    async def close(self) -> None: ...

    def _answer(self, fault: str | None) -> None:
        if self.away or (fault is not None and self._fate.strikes(fault)):
            raise Unavailable("The bucket answers 503.", headers={"Retry-After": "10"})


class PlainDarkroom:
    """`Darkroom` that takes everything for a picture, and leaves it as it is."""

    async def develop(self, source: Path, into: Path, *, made_by_ai: bool) -> Developed:
        picture = thumbnail = into / "picture"
        await asyncio.to_thread(shutil.copy, source, picture)
        data = await asyncio.to_thread(picture.read_bytes)
        digest = Digest(len(data), hashlib.sha256(data).hexdigest(), f"{zlib.crc32(data):08x}")
        return Developed(picture, thumbnail, "image/jpeg", "jpg", 64, 64, "#000000", "data:,", digest)

    async def close(self) -> None: ...


def memory_folder() -> Path | None:
    """Where files cost least: nothing of a simulation has to survive."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None
