"""Many processes: two webs and two workers on PostgreSQL, a bucket and Redis. Jobs come in at either web, readers hear
at one what a worker did, workers are killed and frozen in the middle of their work, Redis is killed under load. Nothing
is lost, bought or paid twice, and what has to be done once is done once.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, create_engine, text

from app.rules import Rules
from app.wiring import FEATURES
from tests.contracts.moto import moto
from tests.contracts.redis_server import RedisServer, redis_server
from tests.proof.both_sides import examine, until_quiet
from tests.proof.scoreboard import Effort, Score
from tests.running import Program, Service, free_port, log_lines, running, schema_of_its_own
from tests.subscriber import EventSource, subscribed
from tests.waiting import until, until_blocking

SPEED = 6.0
"""How much faster the workers' waits are: a lease lasts 5 s. The webs keep real time, so that a poll is a second."""
FAIR = 0.2
"""A worker's share of the work, at the least, where two have it."""
REVOKED_WITHIN = 1.0
FENCED = "somebody else has this task by now"


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

    def hire(self) -> Program:
        worker = self.service.beside("app", "work", DARKROOM_TIME_FACTOR=str(SPEED))
        self.workers.append(worker)
        return worker

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
        return httpx.request(method, self.webs[web] + path, headers=headers, timeout=30, trust_env=False, **options)

    def ended(self, jobs: Sequence[str], within: float = 60.0) -> None:
        wanted = set(jobs)

        def all_over() -> bool:
            over = self.rows("SELECT id FROM jobs WHERE finished_at IS NOT NULL")
            return wanted <= {row["id"] for row in over}

        try:
            until_blocking(all_over, within)
        except AssertionError:
            open_ = self.rows("SELECT id, status, note FROM jobs WHERE finished_at IS NULL")
            held = self.rows("SELECT key, state, worker, due_at, last_error FROM tasks WHERE state <> 'done'")
            raise AssertionError(f"still under way: {open_}\n{held}\n{self.workers[-1].text()[-2000:]}") from None

    def held_by(self, worker: Program, kind: str) -> int:
        assert worker.process
        of_it = {"kind": kind, "worker": f"%:{worker.process.pid}:%"}
        query = "SELECT id FROM tasks WHERE state = 'leased' AND kind = :kind AND worker LIKE :worker"
        return len(self.rows(query, **of_it))

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
                until_blocking(lambda port=port: _answers(port), within=40)  # type: ignore[misc]
            until_blocking(lambda: all("working" in worker.text() for worker in here.workers), within=40)
            yield here
        finally:
            engine.dispose()


def prove_many(effort: Effort, folder: Path) -> Iterator[Score]:
    with town(folder) as here:
        for prove in (_shared, _news, _revoked, _killed, _frozen, _without_redis, _once):
            yield prove(here, effort)
        until_quiet(here.service, within=60)
        verdict = examine(here.service)
        counts = {"jobs": verdict.looked["jobs"], "paid posts": verdict.looked["posts"]}
        assert all(counts.values()), "there was nothing to examine"
        yield Score("many", "afterwards, both sides agree", counts, verdict.wrong)


def _shared(here: Town, effort: Effort) -> Score:
    """Two workers have a fair share each of what comes in at two webs."""
    since = datetime.now(UTC)
    jobs = here.ask(effort.of(40, 1_000), "a bridge")
    here.ended(jobs, within=effort.of(60, 600))
    done = [here.done_by(worker, since) for worker in here.workers]
    least = min(done) / max(sum(done), 1)
    wrong = [] if least >= FAIR else [f"one of two workers did {least:.0%} of the work: {done}"]
    return Score(
        "many", "work is shared", {"jobs": len(jobs), "tasks": sum(done), "least share": round(least, 2)}, wrong
    )


def _news(here: Town, effort: Effort) -> Score:
    """A reader at one web hears at once what a worker did; at one that no nudge reaches, within the poll interval."""
    told, found = asyncio.run(_listened(here, effort.of(20, 200)))
    poll = Rules().poll_every * 1000
    wrong = []
    if told > found / 2 or told > poll / 4:
        wrong.append(f"with nudges news took {told:.0f} ms, without {found:.0f} ms")
    if found > poll * 1.5:
        wrong.append(f"without nudges news took {found:.0f} ms: longer than a look each {poll:.0f} ms explains")
    return Score("many", "news between processes", {"nudged p50 ms": told, "deaf p50 ms": found}, wrong)


async def _listened(here: Town, jobs: int) -> tuple[float, float]:
    headers = {"Authorization": f"Bearer {here.service.key}", "Accept": "text/event-stream"}
    path = "/api/v1/events?types=job.submitted&types=job.generated&types=job.completed"
    async with (
        subscribed(here.service.port, path, headers=headers) as told,
        subscribed(here.deaf, path, headers=headers) as found,
        asyncio.TaskGroup() as group,
    ):
        late = [_Lateness(), _Lateness()]
        reading = [
            group.create_task(lateness.read(reader)) for lateness, reader in zip(late, (told, found), strict=True)
        ]
        for number in range(jobs):  # one after the other, so that each has news of its own
            [job] = await asyncio.to_thread(here.ask, 1, f"a tower {number}")
            if number % 4 == 3:
                await asyncio.to_thread(here.ended, [job])
        await until(lambda: all(lateness.ends >= jobs for lateness in late), within=60)
        for task in reading:
            task.cancel()
    return late[0].median, late[1].median


@dataclass
class _Lateness:
    """From the time an event names to its arrival, in milliseconds."""

    source: EventSource = field(default_factory=EventSource)
    seen: list[float] = field(default_factory=list)
    ends: int = 0

    async def read(self, reader: Any) -> None:
        known = 0
        while True:
            await reader.more()
            now = datetime.now(UTC)
            for heard in reader.source.events[known:]:
                event = json.loads(heard.data)
                self.seen.append((now - datetime.fromisoformat(event["time"])).total_seconds() * 1000)
                self.ends += event["type"] == "job.completed"
            known = len(reader.source.events)

    @property
    def median(self) -> float:
        return round(statistics.median(self.seen), 1)


def _revoked(here: Town, effort: Effort) -> Score:
    """A key that is revoked at one web stops at the other within a second, though it was in heavy use there."""
    slowest = 0.0
    wrong = []
    for _ in range(effort.of(3, 20)):
        made = here.call("POST", "/api/v1/keys", json={"name": "short-lived", "scopes": ["jobs:read"]}).json()
        key = made["key"]
        until_blocking(lambda key=key: here.call("GET", "/api/v1/jobs", web=1, key=key).status_code == 200)  # type: ignore[misc]
        assert here.call("DELETE", f"/api/v1/keys/{made['id']}").status_code == 204
        began = time.monotonic()
        last = began
        while here.call("GET", "/api/v1/jobs", web=1, key=key).status_code != 401 and time.monotonic() < began + 10:
            last = time.monotonic()  # it was still believed when this was asked, at the latest
        slowest = max(slowest, last - began)
    if slowest > REVOKED_WITHIN + 0.1:
        wrong.append(f"a revoked key was believed for {slowest:.1f} s")
    return Score("many", "a revoked key stops everywhere", {"slowest s": round(slowest, 2)}, wrong)


def _killed(here: Town, effort: Effort) -> Score:
    """A worker dies with work in hand; the other takes it over when the lease has run out."""
    kills = took = 0
    for turn in range(effort.of(1, 10)):
        worker, other = here.workers
        jobs = here.ask(12, f"a harbour {turn} [[chaos:slow_cdn]]")
        until_blocking(lambda worker=worker: here.held_by(worker, "jobs.mirror"), within=30)  # type: ignore[misc]
        worker.kill()
        orphans = here.held_by(worker, "jobs.mirror")
        here.ended(jobs)
        assert other.alive
        here.workers.remove(worker)
        here.hire()
        kills, took = kills + 1, took + orphans
    wrong = [] if took else ["no worker had anything in hand when it died"]
    return Score("many", "a killed worker's work is taken over", {"kills": kills, "tasks taken over": took}, wrong)


def _frozen(here: Town, effort: Effort) -> Score:
    """A worker stands still with pictures in hand, the other takes them over, and what the first one wants to write
    when it comes to itself is refused: its fence is an old one."""
    frozen = fenced = 0
    for turn in range(effort.of(1, 10)):
        worker = here.workers[turn % 2]
        assert worker.process
        jobs = here.ask(12, f"a market {turn} [[chaos:slow_cdn]]")
        until_blocking(lambda worker=worker: here.held_by(worker, "jobs.mirror"), within=30)  # type: ignore[misc]
        before = _fenced(worker)
        worker.process.send_signal(signal.SIGSTOP)
        frozen += here.held_by(worker, "jobs.mirror")
        until_blocking(lambda worker=worker: not here.held_by(worker, "jobs.mirror"), within=30)  # type: ignore[misc]
        worker.process.send_signal(signal.SIGCONT)
        here.ended(jobs)
        until_blocking(lambda worker=worker, before=before: _fenced(worker) > before, within=30)  # type: ignore[misc]
        fenced += _fenced(worker) - before
    counts = {"tasks frozen": frozen, "late writes refused": fenced}
    return Score("many", "a frozen worker's late writes are refused", counts)


def _without_redis(here: Town, effort: Effort) -> Score:
    """Redis dies in the middle: all goes on, only later; when it is back, so are the nudges."""
    jobs = here.ask(effort.of(10, 100), "a windmill")
    here.redis.kill()
    jobs += here.ask(effort.of(10, 100), "a water mill")
    wrong = []
    for web in (0, 1):
        until_blocking(lambda web=web: not _bus(here, web)["ok"], within=10)  # type: ignore[misc]
        if not here.call("GET", "/readyz", web=web).json()["ready"]:
            wrong.append(f"web {web} is not ready without Redis")
    here.ended(jobs)
    here.redis.start()
    began = time.monotonic()
    for web in (0, 1):
        until_blocking(lambda web=web: _bus(here, web)["ok"], within=30)  # type: ignore[misc]
    back = round(time.monotonic() - began, 1)
    return Score("many", "without Redis all goes on", {"jobs": len(jobs), "back after s": back}, wrong)


def _once(here: Town, _effort: Effort) -> Score:
    """What is scheduled is done by one process at a time, as often as it should be and no oftener. A fence counts how
    often a task was claimed; each takeover is one more."""
    every = {f"schedule.{each.name}": each.every for feature in FEATURES for each in feature.schedules}
    lived = (time.monotonic() - here.began) * SPEED
    found = {row["kind"]: row["fence"] for row in here.rows("SELECT kind, fence FROM tasks WHERE kind LIKE 'sch%'")}
    doubled = [
        row["kind"] for row in here.rows("SELECT kind FROM tasks WHERE kind LIKE 'sch%' GROUP BY 1 HAVING count(*) > 1")
    ]
    wrong = [f"{kind} is there twice" for kind in doubled]
    wrong += [f"{kind} is not there" for kind in every.keys() - found.keys()]
    takeovers = len(here.service.helpers)
    for kind, claims in found.items():
        most = lived / every[kind] + 1 + takeovers
        if claims > most:
            wrong.append(f"{kind} was begun {claims} times in {lived:.0f} s of its time, {most:.0f} at the most")
    return Score("many", "schedules run once", {"schedules": len(found), "runs": sum(found.values())}, wrong)


def _fenced(worker: Program) -> int:
    return sum(line.get("event") == FENCED for line in log_lines(worker))


def _bus(here: Town, web: int) -> dict[str, Any]:
    found: dict[str, Any] = here.call("GET", "/readyz", web=web).json()["checks"]["bus"]
    return found


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
