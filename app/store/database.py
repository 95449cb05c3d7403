"""The database: one way in for writes, one for reads.

`write(fn)` runs a plain function in the database's own threads and answers after the commit is on disk. On SQLite the
one writer takes everything that is waiting into one transaction, a savepoint each, so that one sync serves them all; on
PostgreSQL each write is its own transaction. `read()` is a snapshot that cannot write; close it before awaiting
anything outside.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.errors import Problem, Unavailable
from app.store.prepared import Prepared
from app.store.write import Reactions, Tx

_HINTS = 256
"""How many hints may be under way: nobody misses those beyond."""

T = TypeVar("T")
Work = Callable[[Tx], T]

log = structlog.get_logger("database")


@dataclass
class Pending:
    """A write that waits for its turn, and who waits for it. A hint is no loss: what cannot be had at once is not tried
    again, lest it stand before a write."""

    work: Work[Any]
    now: datetime
    future: asyncio.Future[Any]
    is_hint: bool = False


@dataclass(frozen=True)
class Committed:
    """What became of one pending write: its value or its error, and what to tell the others. `said` is the answer to
    the last statement."""

    pending: Pending
    value: Any = None
    error: BaseException | None = None
    tx: Tx | None = None
    said: Any = None


@dataclass(frozen=True)
class Hooks:
    """What a database needs from its surroundings. `probe` is called with a name at both sides of every commit; the
    crash tests use it to die there."""

    now: Callable[[], datetime]
    new_id: Callable[[str], str]
    nudge: Callable[[Collection[str]], None] = lambda _topics: None
    reactions: Reactions = field(default_factory=dict)
    probe: Callable[[str], None] = lambda _name: None


class Engine(Protocol):
    """What SQLite and PostgreSQL do differently: `app.store.sqlite` and `app.store.postgres`."""

    dialect: str

    async def open(self) -> None: ...

    def submit(self, pending: Pending) -> None:
        """Have the write run and its future resolved."""
        ...

    def session(self) -> AsyncSession:
        """A reading session that has not begun."""
        ...

    def explained(self, error: Exception) -> Problem | None:
        """What a failed read means to its caller, when it is the database's surroundings that failed."""
        ...

    async def close(self) -> None: ...


class Database:
    def __init__(self, engine: Engine, hooks: Hooks) -> None:
        self._engine = engine
        self._hooks = hooks
        self._hints: set[str] = set()
        self.dialect = engine.dialect

    async def open(self) -> None:
        await self._engine.open()

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction; its value, once that is durable.

        Raises whatever `work` raises (and then nothing of it stands), `Unavailable` when the database is away or locked
        for too long, `StorageFull` when there is no room.
        """
        pending = Pending(work, self._hooks.now(), asyncio.get_running_loop().create_future())
        self._engine.submit(pending)
        value: T = await pending.future
        return value

    def hint(self, work: Work[None], key: str, noted: Callable[[], None] = lambda: None) -> None:
        """A write that nobody waits for, of something whose loss costs nothing, so that reading never waits for a
        writer. While one of this `key` is under way another one is not begun; `noted` is called once it stands."""
        if key in self._hints or len(self._hints) >= _HINTS:
            return
        self._hints.add(key)
        pending = Pending(work, self._hooks.now(), asyncio.get_running_loop().create_future(), is_hint=True)
        pending.future.add_done_callback(functools.partial(self._hinted, key, noted))
        self._engine.submit(pending)

    def _hinted(self, key: str, noted: Callable[[], None], written: asyncio.Future[None]) -> None:
        self._hints.discard(key)
        if written.cancelled():
            return
        error = written.exception()
        if error is None:
            noted()
        elif not isinstance(error, Problem):
            log.error("a hint could not be written", hint=key, exc_info=error)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A snapshot of the database: everything committed before its first query, nothing after.

        Raises `Unavailable` when the database is away: not a fault of whoever reads, who may come again.
        """
        try:
            async with self._engine.session() as session:
                yield session
        except (DBAPIError, PoolTimeout) as error:
            problem = self._engine.explained(error)
            if problem is None:
                raise
            raise problem from error

    async def check(self) -> None:
        """Raises what `write` raises: reading may well go on while nothing can be written."""
        async with self.read() as session:
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]  # exec() types know models only
        await self.write(_nothing)

    async def close(self) -> None:
        await self._engine.close()


def closed() -> Problem:
    """What a write hears that comes after `close`."""
    return Unavailable("The database is closed: this process is stopping.", headers={"Retry-After": "5"})


def _nothing(_tx: Tx) -> None:
    """An empty write, which costs no sync."""


def attempt(pending: Pending, connection: Any, hooks: Hooks, last: Prepared | None = None) -> Committed:
    """Run one write on an open transaction, up to but not including its commit. `last` is asked at its end, in the
    same breath."""
    tx = Tx(connection, pending.now, hooks.reactions, hooks.new_id)
    try:
        value = pending.work(tx)
        tx.close()
        said = tx.execute(last).scalar() if last else None
        tx.settle()
    except BaseException as error:  # noqa: BLE001  # the caller of write() gets it, whatever it is
        with suppress(SQLAlchemyError):  # what else went wrong follows from it
            tx.settle()
        if isinstance(error, StopIteration):  # the one exception that a future cannot carry
            error = RuntimeError(f"{name_of(pending.work)} ran out of something: {error!r}")
        return Committed(pending, error=error)
    return Committed(pending, value=value, tx=tx, said=said)


def name_of(work: Work[Any]) -> str:
    """How a write is called in failpoints and logs: its module's last word and its function's name, a lambda's being
    that of the function it calls."""
    named: Any = work.func if isinstance(work, functools.partial) else work
    name = getattr(named, "__name__", type(named).__name__)
    if name == "<lambda>":
        called = (each for each in named.__code__.co_names if not inspect.ismodule(named.__globals__.get(each)))
        name = next(called, name)
    return f"{named.__module__.rsplit('.', 1)[-1]}.{name}"


def resolve(done: Collection[Committed], hooks: Hooks) -> None:
    """Tell those who wait, on their loop, after the commit: first mark what is settled, then wake the readers."""
    topics: set[str] = set()
    for each in done:
        if each.tx is not None:
            for task in each.tx.settled:
                task.settled = True
            topics |= each.tx.topics
        if each.pending.future.done():
            continue
        if each.error is not None:
            each.pending.future.set_exception(each.error)
        else:
            each.pending.future.set_result(each.value)
    if topics:
        hooks.nudge(topics)
