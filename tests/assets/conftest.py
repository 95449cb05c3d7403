"""The real app around the assets alone: a SQLite file, a folder of blobs, decoding processes, and a client without a
network between. What pictures never touch is left out."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest_asyncio
import sqlalchemy
import sqlmodel

from app.adapters.disk import DiskBlobs
from app.assets import feature
from app.assets.darkroom import WorkerProcesses
from app.core.errors import NotAuthenticated
from app.core.ids import Ids
from app.core.paging import Cursors
from app.core.principal import EVERYTHING_IN_A_WORKSPACE, Principal
from app.metrics import Metrics
from app.ports import FetchRefused
from app.rules import Rules
from app.services import Services
from app.store.columns import metadata
from app.store.database import Database, Hooks
from app.store.sqlite import SqliteEngine
from app.store.tasks import Task, TaskRow
from app.web.app import build_app
from app.web.endpoint import House
from app.web.guards import Credentials
from app.web.openapi import About


class HandClock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time

    def agree_with(self, other: datetime) -> None: ...

    def monotonic(self) -> float:
        return self.time.timestamp()

    def after(self, seconds: float) -> datetime:
        return self.time + timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Outside:
    """Somebody else's server, as the fetcher sees it, and the provider's storage."""

    files: dict[str, bytes] = field(default_factory=dict)
    placed: list[bytes] = field(default_factory=list)

    async def fetch(self, url: str, into: Path, *, purpose: str, max_bytes: int) -> str:
        assert purpose == "user"
        if url not in self.files:
            raise FetchRefused("The host is not a public address.")
        await asyncio.to_thread(into.write_bytes, self.files[url])
        return "text/html"

    async def place(self, chunks: AsyncIterator[bytes], *, size: int, content_type: str, name: str) -> str:
        self.placed.append(b"".join([chunk async for chunk in chunks]))
        assert len(self.placed[-1]) == size
        return f"https://provider.example/{name}"

    async def close(self) -> None: ...


class Gallery:
    """The app, with a client for each workspace."""

    def __init__(self, services: Services, held: set[str]) -> None:
        self.services = services
        self.held = held
        self.app = build_app(
            feature([lambda _, asset: f"{asset} is in a frame" if asset in held else None]).operations,
            house=House(services, _authenticate, scratch=services.scratch),
            about=About("Assets", "0"),
        )

    @property
    def clock(self) -> HandClock:
        return cast("HandClock", self.services.clock)

    @property
    def outside(self) -> Outside:
        return cast("Outside", self.services.fetcher)

    def client(self, workspace: str = "ws_a") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://localhost",
            headers={"Authorization": f"Bearer {workspace}"},
            timeout=60,
        )

    async def run_tasks(self) -> None:
        """Do what was stored to be done, as the runner would."""
        async with self.services.db.read() as session:
            waiting = (await session.exec(sqlmodel.select(TaskRow).where(TaskRow.state == "ready"))).all()
        handlers = feature().tasks
        for row in waiting:
            await handlers[row.kind](self.services, cast("Task", row))

    def stored(self) -> set[str]:
        root = self.services.scratch.parent / "blobs"
        return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and ".incoming" not in p.parts}


async def _authenticate(_services: Any, credentials: Credentials) -> Principal:
    if credentials.bearer is None:
        raise NotAuthenticated
    return Principal(credentials.bearer, "key_test", EVERYTHING_IN_A_WORKSPACE)


@pytest_asyncio.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Gallery]:
    clock, outside = HandClock(), Outside()
    ids = Ids(clock.now, secrets.token_bytes)
    hooks = Hooks(now=clock.now, new_id=ids.new)
    _make_tables(tmp_path / "darkroom.db")
    db = Database(SqliteEngine(tmp_path / "darkroom.db", hooks), hooks)
    await db.open()
    (tmp_path / "scratch").mkdir()
    given: dict[str, Any] = {
        "db": db,
        "provider": outside,
        "blobs": DiskBlobs(tmp_path / "blobs", b"secret", clock.now),
        "fetcher": outside,
        "darkroom": WorkerProcesses(max_pixels=40_000_000),
        "clock": clock,
        "ids": ids,
        "random": random.Random(1),
        "cursors": Cursors(b"secret"),
        "rules": Rules(),
        "metrics": Metrics(),
        "base_url": "http://localhost",
        "webhook_base": None,
        "scratch": tmp_path / "scratch",
        "secret": b"secret",
    }
    # What pictures never touch is None, so that a use of it would show.
    services = Services(**({each.name: None for each in fields(Services)} | given))
    yield Gallery(services, set())
    await services.darkroom.close()
    await db.close()


def _make_tables(path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
