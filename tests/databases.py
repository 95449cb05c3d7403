"""Databases for tests: a file of its own, or a schema of its own on the PostgreSQL that the environment names."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import create_engine, insert, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from app.core.events import Event, Topic
from app.credits.model import BalanceRow, EntryRow, TransferRow
from app.jobs.model import RunRow
from app.store.columns import Row, metadata, table
from app.store.database import Database, Hooks
from app.store.idempotency import IdempotencyRow
from app.store.inbox import DeliveryRow, RefusalRow
from app.store.log import CounterRow, EventRow
from app.store.postgres import PostgresEngine
from app.store.sqlite import SqliteEngine
from app.store.tasks import TaskRow
from app.store.write import Reactions, Tx

DATABASES = ("sqlite", "postgresql")
POSTGRES = os.environ.get("DARKROOM_TEST_DATABASE_URL", "postgresql+psycopg://root@127.0.0.1:5432/test")
ROWS: tuple[type[Row], ...] = (
    TaskRow,
    EventRow,
    CounterRow,
    DeliveryRow,
    RefusalRow,
    IdempotencyRow,
    BalanceRow,
    TransferRow,
    EntryRow,
    RunRow,
)
THE_PAST = datetime(2026, 1, 1, tzinfo=UTC)


class Noted(Event):
    type: ClassVar[str] = "notice"
    n: int = 0


@dataclass
class Shelf:
    """A database, and words for what tests put into it: notes (a table that has no rules) and events."""

    db: Database
    url: URL
    topics: list[str]

    async def notes(self) -> list[str]:
        notes = table(RefusalRow)
        return [row.id for row in await self.rows(select(notes.c.id).order_by(notes.c.id))]

    async def rows(self, query: Any) -> Sequence[Any]:
        async with self.db.read() as session:
            return (await (await session.connection()).execute(query)).all()

    async def seqs(self, workspace: str = "ws") -> list[int]:
        events = table(EventRow)
        found = await self.rows(select(events.c.seq).where(events.c.workspace == workspace).order_by(events.c.seq))
        return [row.seq for row in found]


def note(tx: Tx, id_: str, detail: str = "") -> None:
    """A row of a table without rules."""
    row = {"id": id_, "reason": "note", "attempt": "", "detail": detail, "received_at": THE_PAST}
    tx.execute(insert(table(RefusalRow)), row)


def record(tx: Tx, n: int = 0, workspace: str = "ws", workflow: str | None = None) -> None:
    tx.record(Noted(n=n), Topic(workspace, workflow=workflow))


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@contextmanager
def place_for(kind: str, folder: Path, rows: Sequence[type[Row]] = ROWS) -> Iterator[URL]:
    """Where an empty database with these tables is; gone afterwards."""
    if kind == "sqlite":
        url = make_url(f"sqlite:///{folder / 'darkroom.db'}")
        make_tables(url, rows)
        yield url
    else:
        with schema_on(make_url(POSTGRES)) as url:
            make_tables(url, rows)
            yield url


@contextmanager
def schema_on(server: URL) -> Iterator[URL]:
    schema = f"test_{uuid.uuid4().hex[:12]}"
    engine = create_engine(
        server, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 5}
    )
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
    except OperationalError as error:
        pytest.skip(f"no PostgreSQL at {server.render_as_string()}: {str(error.orig).splitlines()[0]}")
    try:
        yield server.update_query_dict({"options": f"-csearch_path={schema} -cdeadlock_timeout=50ms"})
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        engine.dispose()


def make_tables(url: URL, rows: Sequence[type[Row]] = ROWS) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
        metadata.create_all(connection, [table(row) for row in rows])
    engine.dispose()


@asynccontextmanager
async def opened(
    url: URL,
    *,
    probe: Callable[[str], None] = lambda _name: None,
    reactions: Reactions | None = None,
    lock_wait: float = 5.0,
    hear: Callable[[str], None] = lambda _topic: None,
) -> AsyncIterator[Shelf]:
    topics: list[str] = []

    def nudge(new: Collection[str]) -> None:
        topics.extend(sorted(new))
        for topic in new:
            hear(topic)

    hooks = Hooks(
        lambda: datetime.now(UTC), lambda prefix: f"{prefix}_{uuid.uuid4().hex}", nudge, reactions or {}, probe
    )
    if url.get_backend_name() == "postgresql":
        db = Database(PostgresEngine(url, hooks), hooks)
    else:
        db = Database(SqliteEngine(Path(url.database or ""), hooks, lock_wait=lock_wait), hooks)
    await db.open()
    try:
        yield Shelf(db, url, topics)
    finally:
        await db.close()
