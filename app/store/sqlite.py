"""SQLite: one writer thread with group commit, readers that cannot write.

While one batch is being committed the next one gathers, so a sync costs the same for one write and for a hundred (33
times a session per request, `performance.md` section 2). `synchronous=FULL`: nothing is answered before it is on disk.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.errors import Problem, StorageFull, Unavailable
from app.store.database import Committed, Hooks, Pending, attempt, closed, name_of, resolve

_READERS = 8
_BATCH = 256


class SqliteEngine:
    """`lock_wait` is how many seconds another program may hold the file. `executor` runs the batches one at a time and
    in order; `read_creator` replaces the reading connections. Both are given only by tests and the simulation."""

    dialect = "sqlite"

    def __init__(
        self,
        path: Path,
        hooks: Hooks,
        *,
        lock_wait: float = 5.0,
        executor: Executor | None = None,
        read_creator: Callable[[], Any] | None = None,
    ) -> None:
        self._path = path
        self._hooks = hooks
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._waiting: list[Pending] = []
        self._busy = False
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer = create_engine(f"sqlite+pysqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
        event.listen(self._writer, "connect", partial(_prepare_writer, lock_wait))
        self._connection: Connection | None = None
        options: dict[str, Any] = {"async_creator": read_creator} if read_creator else {}
        if read_creator is None:
            options |= {"pool_size": _READERS, "max_overflow": 0}
        self._readers = create_async_engine(f"sqlite+aiosqlite:///{path}", **options)
        event.listen(self._readers.sync_engine, "connect", partial(_prepare_reader, lock_wait))
        event.listen(self._readers.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    async def open(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._connected)
        except (DBAPIError, sqlite3.Error) as error:
            raise explained(error) or error from error

    def submit(self, pending: Pending) -> None:
        if self._closing:
            pending.future.set_exception(closed())
            return
        self._waiting.append(pending)
        if not self._busy:
            self._next_batch()

    def session(self) -> AsyncSession:
        return AsyncSession(self._readers, expire_on_commit=False)

    def explained(self, error: Exception) -> Problem | None:
        # Without more detail, "read-only" is what a reader hears who tries to write: a fault of ours.
        return None if _code(error) == sqlite3.SQLITE_READONLY else explained(error)

    async def close(self) -> None:
        self._closing = True
        await self._idle.wait()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._disconnect)
        self._executor.shutdown(wait=False)
        await self._readers.dispose()

    def _next_batch(self) -> None:
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        self._busy = bool(batch)
        if not batch:
            self._idle.set()
            return
        self._idle.clear()
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._commit, batch)
        running.add_done_callback(lambda done: self._committed(batch, done))

    def _committed(self, batch: Sequence[Pending], done: asyncio.Future[list[Committed]]) -> None:
        error = done.exception()
        try:
            resolve(done.result() if error is None else [Committed(p, error=error) for p in batch], self._hooks)
        finally:
            self._next_batch()

    # The writer's thread from here on

    def _commit(self, batch: Sequence[Pending]) -> list[Committed]:
        try:
            return self._transact(batch)
        except (DBAPIError, sqlite3.Error) as error:
            self._disconnect()
            if isinstance(explained(error), StorageFull) and len(batch) > 1:
                # Where one write finds no room, its smaller neighbours may.
                return [done for pending in batch for done in self._commit([pending])]
            return [Committed(pending, error=_blamed(error)) for pending in batch]

    def _transact(self, batch: Sequence[Pending]) -> list[Committed]:
        connection = self._connected()
        done: list[Committed] = []
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            done += [self._one(connection, pending) for pending in batch]
            for each in done:
                self._hooks.probe(f"{name_of(each.pending.work)}:before-commit")
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            with suppress(DBAPIError):  # after some errors SQLite has rolled back by itself
                connection.exec_driver_sql("ROLLBACK")
            raise
        for each in done:
            self._hooks.probe(f"{name_of(each.pending.work)}:after-commit")
        return done

    def _one(self, connection: Connection, pending: Pending) -> Committed:
        _say(connection, "SAVEPOINT one")
        result = attempt(pending, connection, self._hooks)
        if isinstance(result.error, DBAPIError) and explained(result.error):
            raise result.error  # the whole transaction is lost with this statement
        if result.error is not None:
            _say(connection, "ROLLBACK TO one")
        _say(connection, "RELEASE one")
        return result

    def _connected(self) -> Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._writer.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class FolderLock:
    """Held by `serve` and `work` while they use a SQLite data folder: a second one must not start beside them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def acquire(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def _say(connection: Connection, words: str) -> None:
    """To the driver itself: two of these go with every write, and SQLAlchemy's care costs ten times the words."""
    driver: Any = connection.connection.driver_connection
    driver.execute(words)


def explained(error: Exception) -> Problem | None:
    """A driver's error in words a person can act on, when it is the surroundings that failed."""
    match _code(error) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return StorageFull(
                "The disk that holds the database is full or failing. Free some room; nothing was changed."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return Unavailable(
                "The database cannot be written: its folder is read-only or gone.", headers={"Retry-After": "10"}
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable("The database is locked by another program.", headers={"Retry-After": "5"})
    if isinstance(error, PoolTimeout):
        return Unavailable("Too many wait to read the database.", headers={"Retry-After": "5"})
    return None


def _code(error: Exception) -> int:
    """SQLite's extended result code; 0 when the error is none of SQLite's."""
    return int(getattr(getattr(error, "orig", error), "sqlite_errorcode", 0))


def _blamed(error: Exception) -> Exception:
    problem = explained(error)
    if problem is None:
        return error
    problem.__cause__ = error
    return problem


def _prepare_writer(lock_wait: float, connection: sqlite3.Connection, _record: object) -> None:
    # temp_store and a large cache keep savepoints from spilling to disk (performance.md section 13).
    for pragma in (
        f"busy_timeout={int(lock_wait * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-65536",
        "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_reader(lock_wait: float, connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("query_only=ON", f"busy_timeout={int(lock_wait * 1000)}", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
