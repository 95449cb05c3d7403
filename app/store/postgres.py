"""PostgreSQL: each write is its own transaction on a few writer threads; reads are REPEATABLE READ READ ONLY snapshots.

A write is run again after a deadlock, a serialization failure or a lost connection. When the connection is lost during
COMMIT, the transaction's own number is asked for before anything is repeated (`promises.md` D11).
"""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from sqlalchemy import Connection, String, cast, create_engine, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.errors import Problem, StorageFull, Unavailable
from app.store.database import Committed, Hooks, Pending, attempt, closed, name_of, resolve
from app.store.prepared import Prepared
from app.store.standstill import WRITER

_WRITERS = 8
_READERS = 10
_TRIES = 6
_NO_HINTS_FOR = 10.0
"""Seconds after a write that failed, unless another one has stood since."""
_AGAIN = {"40001", "40P01"}
"""A serialization failure, a deadlock."""
_AWAY = {"08", "53", "57"}
"""Classes of errors: connections, the server's means (too many connections, no memory), an operator (shutting down,
starting up)."""
_FULL = {"53100"}
_GIVE_UP = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that vanished without a word must not hold a writer for the quarter of an hour that TCP would wait."""

_XID = Prepared(select(cast(func.pg_current_xact_id_if_assigned(), String)))
_FATE = text("SELECT pg_xact_status(CAST(:xid AS xid8))")

log = structlog.get_logger("postgres")


class PostgresEngine:
    dialect = "postgresql"

    def __init__(self, url: URL, hooks: Hooks) -> None:
        self._hooks = hooks
        self._closing = False
        self._failed_at = -_NO_HINTS_FOR
        self._executor = ThreadPoolExecutor(_WRITERS, thread_name_prefix="postgres-writer")
        options: dict[str, Any] = {"pool_pre_ping": False, "pool_recycle": 1800, "connect_args": _GIVE_UP}
        known = {"connect_args": {**_GIVE_UP, "application_name": WRITER}}
        self._writer = create_engine(url, pool_size=_WRITERS, max_overflow=0, **options | known)
        self._readers = create_async_engine(url, pool_size=_READERS, max_overflow=0, **options).execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    async def open(self) -> None: ...

    def submit(self, pending: Pending) -> None:
        if self._closing:
            pending.future.set_exception(closed())
            return
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._run, pending)
        running.add_done_callback(lambda done: self._ran(pending, done))

    def session(self) -> AsyncSession:
        return AsyncSession(self._readers, expire_on_commit=False)

    def explained(self, error: Exception) -> Problem | None:
        return explained(error)

    async def close(self) -> None:
        self._closing = True
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
        self._writer.dispose()
        await self._readers.dispose()

    def _ran(self, pending: Pending, done: asyncio.Future[Committed]) -> None:
        error = done.exception()
        resolve([done.result() if error is None else Committed(pending, error=error)], self._hooks)

    # A writer's thread from here on

    def _run(self, pending: Pending) -> Committed:
        if pending.is_hint and time.monotonic() < self._failed_at + _NO_HINTS_FOR:
            raise Unavailable("The database failed just now, and this can be done without.")
        tries = 1 if pending.is_hint else _TRIES
        for turn in range(tries):
            try:
                result = self._transact(pending)
                self._failed_at = -_NO_HINTS_FOR
                return result
            except (DBAPIError, PoolTimeout) as error:
                problem = explained(error)
                if problem is None:
                    raise
                self._failed_at = time.monotonic()
                if turn == tries - 1 or isinstance(problem, StorageFull):
                    raise problem from error
            time.sleep(random.uniform(0, 0.02 * 2**turn))  # noqa: S311  # spreads rivals apart, guards nothing
        raise AssertionError("unreachable: the last turn answers or raises")

    def _transact(self, pending: Pending) -> Committed:
        with self._writer.connect() as connection:
            connection.begin()
            result = attempt(pending, connection, self._hooks, last=_XID)
            if isinstance(result.error, DBAPIError) and explained(result.error):
                raise result.error
            if result.error is not None:
                connection.rollback()
                return result
            xid = result.said
            self._hooks.probe(f"{name_of(pending.work)}:before-commit")
            unanswered = _commit(connection)
        # Asked on another connection, with the broken one given back: there is one for each writer.
        if unanswered and (xid is None or not self._stands(pending, xid)):
            raise unanswered
        self._hooks.probe(f"{name_of(pending.work)}:after-commit")
        return result

    def _stands(self, pending: Pending, xid: str) -> bool:
        stands = self._was_committed(xid)
        log.warning("a commit was not answered", write=name_of(pending.work), stands=stands)
        return stands

    def _was_committed(self, xid: str) -> bool:
        """What became of a transaction whose COMMIT was never answered."""
        for turn in range(_TRIES):
            try:
                with self._writer.connect() as connection:
                    fate = connection.execute(_FATE, {"xid": xid}).scalar()
            except (DBAPIError, PoolTimeout):
                fate = "in progress"
            if fate != "in progress":
                return fate == "committed"
            time.sleep(0.05 * 2**turn)
        raise Unavailable(
            "The database went away during a commit; whether it stands is not known yet.", headers={"Retry-After": "5"}
        )


def explained(error: Exception) -> Problem | None:
    """A driver's error in words a person can act on, when it is the surroundings or a rival that failed us."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", "") or "")
    if state in _FULL:
        return StorageFull("The database's disk is full; nothing was changed.")
    if state in _AGAIN or state[:2] in _AWAY or isinstance(error, PoolTimeout) or _lost(error, state):
        return Unavailable("The database is away or too busy.", headers={"Retry-After": "5"})
    return None


def _lost(error: Exception, state: str) -> bool:
    """Whether the connection is gone or could not be made."""
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated or (isinstance(error, OperationalError) and not state)
    )


def _commit(connection: Connection) -> DBAPIError | None:
    """None when it stands; what went wrong when the connection broke, so that only the database knows."""
    try:
        connection.commit()
    except DBAPIError as error:
        if explained(error) is None:
            raise
        return error
    return None
