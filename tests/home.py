"""The whole service on the test's own loop, wired as the product wires it, with a little fal beside it. The runner
works only inside `home.working()`, so that a test can look at a house where nothing moves by itself.

    async with home_in(tmp_path) as home:
        waiting = await home.submitted()
        answer = await home.send(home.letter(waiting))
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from app.commands.playground import open_playground
from app.lifespan import Life
from app.main import application
from app.services import Services
from app.store.runner import Limits, Runner
from app.wiring import wire
from tests.little_fal import USER, Letter, LittleFal
from tests.running import SECRET, empty_database, prepared, schema_of_its_own, settings_from
from tests.serving import serving
from tests.waiting import until

BASE = "http://localhost:8000"
PASSING = frozenset({"refusals", "keys"})
"""What the door may write without changing anything: its own list of refusals, and when a key was used."""
ORDER = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a door", "image_size": {"width": 64, "height": 64}}}


@dataclass(frozen=True)
class Waiting:
    """A job that fal has taken, and the address fal was told to call."""

    job: str
    attempt: str
    request_id: str
    webhook: str


@dataclass
class Home:
    life: Life
    app: ASGIApp
    fal: LittleFal
    key: str
    file: Path

    @property
    def services(self) -> Services:
        return self.life.wired.services

    def client(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=BASE, headers=headers, **options)

    async def send(self, letter: Letter, method: str = "POST") -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=BASE) as web:
            return await web.request(method, letter.path, headers=letter.pairs, content=letter.body)

    def letter(self, waiting: Waiting, **changes: Any) -> Letter:
        return self.fal.letter(waiting.webhook, waiting.request_id, **changes)

    async def order(self) -> str:
        async with self.client() as web:
            answer = await web.post("/api/v1/jobs", json=ORDER)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def submitted(self, *, request_known: bool = True) -> Waiting:
        """A job that waits for its webhook. With `request_known` false, fal has not answered the submission yet: then
        call this inside `working()`, with `fal.answering` cleared."""
        job = await self.order()
        if not request_known:
            await until(lambda: self._asked_for(job))
        else:
            async with self.working():
                await until(lambda: self.job(job)["status"] == "submitted")
        [(attempt, request_id)] = self._asked_for(job)
        return Waiting(job, attempt, request_id, self.fal.webhooks[request_id])

    def _asked_for(self, job: str) -> list[tuple[str, str]]:
        """The attempts of a job that fal knows of, each with fal's id for it."""
        attempts = [row["id"] for row in self.rows("SELECT id FROM attempts WHERE job = ?", job)]
        return [(attempt, id_) for id_, url in self.fal.webhooks.items() for attempt in attempts if attempt in url]

    async def ended(self, job: str) -> dict[str, Any]:
        async with self.working():
            await until(lambda: self.job(job)["finished_at"], within=20)
        return self.job(job)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The runner, until what is due is done."""
        wired, rules = self.life.wired, self.services.rules
        runner = Runner(
            self.services.db,
            self.services.clock,
            Limits(rules.tasks_at_once, rules.lease, rules.heartbeat, 0.05, rules.deaths_allowed),
            worker="test",
            handlers=wired.handlers,
            mourners=wired.mourners,
            alone=True,
            dice=self.services.random,
        )
        stop_listening = self.services.bus.listen(runner.hear)
        running = asyncio.get_running_loop().create_task(runner.run())
        try:
            yield
            await until(lambda: not self._due(), within=20)
        finally:
            stop_listening()
            await runner.stop(5)
            await running

    def job(self, job: str) -> dict[str, Any]:
        [row] = self.rows("SELECT * FROM jobs WHERE id = ?", job)
        return row

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def tables(self, without: Collection[str] = PASSING) -> dict[str, str]:
        """Each table and a digest of all that is in it."""
        names = [row["name"] for row in self.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        with closing(sqlite3.connect(self.file)) as connection:
            return {
                name: hashlib.sha256(
                    repr(sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))).encode()
                ).hexdigest()
                for name in sorted(set(names) - set(without))
            }

    def _due(self) -> bool:
        now = self.services.clock.now().replace(tzinfo=None).isoformat(" ")
        return bool(self.rows("SELECT 1 FROM tasks WHERE state IN ('ready', 'leased') AND due_at <= ? LIMIT 1", now))


@asynccontextmanager
async def home_in(folder: Path, **settings: str) -> AsyncIterator[Home]:
    """`settings` join the environment, or leave it when they are empty."""
    fal = LittleFal()
    async with serving(fal.app()) as port:
        fal.url = f"http://127.0.0.1:{port}"
        given = {
            "DARKROOM_FAL_URL": fal.url,
            "DARKROOM_FAL_USER_ID": USER,
            "DARKROOM_DATA": str(folder),
            "DARKROOM_SECRET": SECRET,
        }
        wired = wire(settings_from({**given, **settings}), BASE)
        file = wired.settings.home / "darkroom.db"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(empty_database(), file)
        async with Life(wired, works=False) as life:
            services = wired.services
            key = await open_playground(services.db, services.ids, wired.settings)
            yield Home(life, application(life), fal, key, file)


@asynccontextmanager
async def services_on(kind: str, folder: Path) -> AsyncIterator[Services]:
    """The same without a fal, on SQLite or on PostgreSQL."""
    with ExitStack() as stack:
        given = {"DARKROOM_DATA": str(folder), "DARKROOM_FAL_URL": "http://127.0.0.1:9", "DARKROOM_SECRET": SECRET}
        if kind == "postgresql":
            given["DARKROOM_DATABASE_URL"] = stack.enter_context(schema_of_its_own())
        settings = settings_from(given)
        await asyncio.to_thread(prepared, settings)
        wired = wire(settings, BASE)
        async with Life(wired, works=False):
            yield wired.services
