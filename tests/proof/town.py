"""Two webs and two workers on PostgreSQL, a bucket and Redis: where they are, what they are asked, and what stands in
their database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, create_engine, text

from tests.contracts.moto import moto
from tests.contracts.redis_server import RedisServer, redis_server
from tests.running import Program, Service, free_port, running, schema_of_its_own
from tests.waiting import until_blocking

SPEED = 6.0
"""How much faster the workers' waits are: a lease lasts 5 s. The webs keep real time, so that a poll is a second."""
AT_LAST = 300.0
"""Seconds after which what is waited for counts as never coming, however busy the machine is."""


@dataclass
class Town:
    """`webs` are addresses: the first tells fal to call it. `deaf` is a third, which has no Redis."""

    service: Service
    redis: RedisServer
    engine: Engine
    webs: tuple[str, str]
    deaf: int
    workers: list[Program]
    began: float = field(default_factory=time.monotonic)

    def hire(self, **extra: str) -> Program:
        worker = self.service.beside("app", "work", DARKROOM_TIME_FACTOR=str(SPEED), **extra)
        self.workers.append(worker)
        return worker

    def all_work(self) -> None:
        until_blocking(lambda: all("working" in worker.text() for worker in self.workers), AT_LAST)

    def ask(self, number: int, prompt: str) -> list[str]:
        """So many jobs, at one web and the other in turn."""
        size = {"width": 64, "height": 64}
        jobs = []
        for each in range(number):
            wish = {"model": "fal-ai/flux/schnell", "input": {"prompt": f"{prompt} {each}", "image_size": size}}
            answer = self.call("POST", "/api/v1/jobs", web=each % 2, json=wish)
            assert answer.status_code == 202, answer.text
            jobs.append(str(answer.json()["id"]))
        return jobs

    def call(self, method: str, path: str, *, web: int = 0, key: str = "", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.service.key}"}
        return httpx.request(
            method, self.webs[web] + path, headers=headers, timeout=AT_LAST, trust_env=False, **options
        )

    def ask_until(self, seen: Callable[[], Any], prompt: str) -> list[str]:
        """Whom the work comes to is chance: a dozen jobs, and another one whenever they have ended without it."""
        jobs: list[str] = []
        deadline = time.monotonic() + AT_LAST
        while not seen():
            assert time.monotonic() < deadline, f"{len(jobs)} jobs have ended, and that was never seen"
            if not self.open(jobs):
                jobs += self.ask(12, f"{prompt} {len(jobs)}")
        return jobs

    def open(self, jobs: Sequence[str]) -> set[str]:
        over = self.rows("SELECT id FROM jobs WHERE finished_at IS NOT NULL")
        return set(jobs) - {row["id"] for row in over}

    def ended(self, jobs: Sequence[str], within: float = AT_LAST) -> None:
        try:
            until_blocking(lambda: not self.open(jobs), within)
        except AssertionError:
            open_ = self.rows("SELECT id, status, note FROM jobs WHERE finished_at IS NULL")
            held = self.rows("SELECT key, state, worker, due_at, last_error FROM tasks WHERE state <> 'done'")
            raise AssertionError(f"still under way: {open_}\n{held}\n{self.workers[-1].text()[-2000:]}") from None

    def mirrors(self, worker: Program) -> dict[str, int]:
        """The pictures that it has in hand, with the fence of each task."""
        assert worker.process
        query = "SELECT id, fence FROM tasks WHERE state = 'leased' AND kind = 'jobs.mirror' AND worker LIKE :worker"
        return {row["id"]: row["fence"] for row in self.rows(query, worker=f"%:{worker.process.pid}:%")}

    def taken_over(self, held: Mapping[str, int]) -> int:
        """How many of them somebody else has claimed since; the others had been finished in that moment."""
        fences = {
            row["id"]: row["fence"] for row in self.rows("SELECT id, fence FROM tasks WHERE kind = 'jobs.mirror'")
        }
        return sum(fences[id_] > fence for id_, fence in held.items())

    def done_by(self, worker: Program, since: datetime) -> int:
        assert worker.process
        query = "SELECT id FROM tasks WHERE state = 'done' AND finished_at > :since AND worker LIKE :worker"
        return len(self.rows(query, since=since, worker=f"%:{worker.process.pid}:%"))

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]


@contextmanager
def town(folder: Path) -> Iterator[Town]:
    with (
        schema_of_its_own() as database,
        moto(strict=False) as s3,
        redis_server() as redis,
        running(
            folder,
            speed=SPEED,
            database=database,
            DARKROOM_TIME_FACTOR="1",
            DARKROOM_RUNNER="none",
            DARKROOM_REDIS_URL=redis.url,
            **s3.environment(),
        ) as service,
    ):
        other, deaf = free_port(), free_port()
        for port, more in ((other, {}), (deaf, {"DARKROOM_REDIS_URL": ""})):
            service.beside("app", "serve", "--host", "127.0.0.1", "--port", str(port), **more)
        assert service.settings
        engine = create_engine(service.settings.database)
        here = Town(service, redis, engine, (service.base_url, f"http://localhost:{other}"), deaf, [])
        try:
            for _ in range(2):
                here.hire()
            for port in (other, deaf):
                until_blocking(lambda port=port: _answers(port), AT_LAST)  # type: ignore[misc]
            here.all_work()
            yield here
        finally:
            engine.dispose()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
