"""A database with nothing in it but an event log, on whichever engine, and a way to write to it."""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import create_engine, delete, text, update
from sqlalchemy.engine import URL, make_url

from app.core.events import Event, Topic
from app.store.columns import metadata, table
from app.store.database import Database, Hooks
from app.store.log import CounterRow, EventRow
from app.store.postgres import PostgresEngine
from app.store.sqlite import SqliteEngine
from app.store.write import Tx

DATABASES = ["sqlite", "postgresql"]


class Queued(Event):
    type: ClassVar[str] = "job.queued"
    n: int = 0


class Started(Event):
    type: ClassVar[str] = "job.started"
    n: int = 0


class Completed(Event):
    type: ClassVar[str] = "job.completed"
    n: int = 0


@dataclass
class Nudges:
    """Where the database's nudges go; `deaf` loses them all."""

    hear: list[Callable[[str], None]] = field(default_factory=list)
    deaf: bool = False

    def __call__(self, topics: Collection[str]) -> None:
        for topic in () if self.deaf else topics:
            for hear in self.hear:
                hear(topic)


@dataclass
class Journal:
    db: Database
    nudges: Nudges

    async def write(
        self,
        n: int = 1,
        *,
        workspace: str = "ws",
        job: str | None = None,
        run: str | None = None,
        event: Event | None = None,
    ) -> None:
        def record(tx: Tx) -> None:
            for i in range(n):
                tx.record(event or Queued(n=i), Topic(workspace, job, run))

        await self.db.write(record)

    async def trim(self, upto: int, workspace: str = "ws") -> None:
        events, counters = table(EventRow), table(CounterRow)

        def cut(tx: Tx) -> None:
            tx.execute(delete(events).where(events.c.workspace == workspace, events.c.seq <= upto))
            tx.execute(update(counters).where(counters.c.workspace == workspace).values(trimmed=upto))

        await self.db.write(cut)


@asynccontextmanager
async def journal_on(kind: str, folder: Path) -> AsyncIterator[Journal]:
    with place_for(kind, folder) as url:
        engine = create_engine(url)
        metadata.create_all(engine, [table(EventRow), table(CounterRow)])
        engine.dispose()
        async with journal_at(url) as journal:
            yield journal


@asynccontextmanager
async def journal_at(url: URL) -> AsyncIterator[Journal]:
    nudges = Nudges()
    hooks = Hooks(lambda: datetime.now(UTC), lambda prefix: f"{prefix}_{uuid.uuid4().hex}", nudges)
    postgres = url.get_backend_name() == "postgresql"
    db = Database(PostgresEngine(url, hooks) if postgres else SqliteEngine(Path(url.database or ""), hooks), hooks)
    await db.open()
    try:
        yield Journal(db, nudges)
    finally:
        await db.close()


@contextmanager
def place_for(kind: str, folder: Path) -> Iterator[URL]:
    """A file of its own, or a schema of its own."""
    if kind == "sqlite":
        yield make_url(f"sqlite:///{folder / 'log.db'}")
        return
    given = os.environ.get("DARKROOM_TEST_DATABASE_URL")
    if not given:
        pytest.skip("DARKROOM_TEST_DATABASE_URL names no PostgreSQL")
    schema = f"follow_{uuid.uuid4().hex[:12]}"
    engine = create_engine(given, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield make_url(given).update_query_dict({"options": f"-csearch_path={schema}"})
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        engine.dispose()
