"""Many processes: two webs and two workers on PostgreSQL, a bucket and Redis. Jobs come in at either web, readers hear
at one what a worker did, workers are killed and frozen in the middle of their work, Redis is killed under load. Nothing
is lost, bought or paid twice, and what has to be done once is done once.

How quick the machine is decides nothing: what is waited for is the event, and a bound only ends what hangs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from app.rules import Rules
from app.wiring import FEATURES
from tests.proof.both_sides import examine, until_quiet
from tests.proof.scoreboard import Effort, Score
from tests.proof.town import AT_LAST, SPEED, Town, town
from tests.running import Program, log_lines
from tests.subscriber import EventSource, subscribed
from tests.waiting import until, until_blocking

FAIR = 0.2
"""A worker's share of the work, at the least, where two have it."""
REVOKED_WITHIN = 1.0
FENCED = "somebody else has this task by now"
UNLOCKED = "ended the writes of a process that stands still"


def prove_many(effort: Effort, folder: Path) -> Iterator[Score]:
    with town(folder) as here:
        for prove in (_shared, _news, _revoked, _killed, _frozen, _unlocked, _without_redis, _once):
            yield prove(here, effort)
        until_quiet(here.service, within=AT_LAST)
        verdict = examine(here.service)
        counts = {"jobs": verdict.looked["jobs"], "paid posts": verdict.looked["posts"]}
        assert all(counts.values()), "there was nothing to examine"
        yield Score("many", "afterwards, both sides agree", counts, verdict.wrong)


def _shared(here: Town, effort: Effort) -> Score:
    """Two workers have a fair share each of what comes in at two webs."""
    since = datetime.now(UTC)
    jobs = here.ask(effort.of(40, 1_000), "a bridge")
    here.ended(jobs, within=effort.of(300, 600))
    done = [here.done_by(worker, since) for worker in here.workers]
    least = min(done) / max(sum(done), 1)
    wrong = [] if least >= FAIR else [f"one of two workers did {least:.0%} of the work: {done}"]
    return Score(
        "many", "work is shared", {"jobs": len(jobs), "tasks": sum(done), "least share": round(least, 2)}, wrong
    )


def _news(here: Town, effort: Effort) -> Score:
    """A reader at one web hears at once what a worker did; at one that no nudge reaches, with the next look. What both
    have to wait for on a busy machine says nothing: the looks are what lies between them, half a poll interval."""
    told, found = asyncio.run(_listened(here, effort.of(20, 200)))
    poll = Rules().poll_every * 1000
    wrong = []
    if not poll / 4 < found - told < poll:
        wrong.append(
            f"with nudges news took {told:.0f} ms, without {found:.0f} ms: a look each {poll:.0f} ms lies between"
        )
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
        await until(lambda: all(lateness.ends >= jobs for lateness in late), AT_LAST)
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
        until_blocking(lambda key=key: _believed(here, key), AT_LAST)  # type: ignore[misc]
        assert here.call("DELETE", f"/api/v1/keys/{made['id']}").status_code == 204
        began = asked = time.monotonic()
        while _believed(here, key) and asked < began + 10 * REVOKED_WITHIN:
            slowest = max(slowest, asked - began)  # however long the answer took, it was believed after this
            asked = time.monotonic()
    if slowest > REVOKED_WITHIN:
        wrong.append(f"a revoked key was believed for {slowest:.1f} s")
    return Score("many", "a revoked key stops everywhere", {"slowest s": round(slowest, 2)}, wrong)


def _killed(here: Town, effort: Effort) -> Score:
    """A worker dies with work in hand; the other takes it over when the lease has run out."""
    kills = took = 0
    while took < effort.of(1, 20):
        here.all_work()
        worker, other = here.workers
        jobs = here.ask_until(partial(here.mirrors, worker), f"a harbour {kills} [[chaos:slow_cdn]]")
        worker.kill()
        held = here.mirrors(worker)
        here.ended(jobs)
        assert other.alive
        here.workers.remove(worker)
        here.hire()
        kills, took = kills + 1, took + here.taken_over(held)
    return Score("many", "a killed worker's work is taken over", {"kills": kills, "tasks taken over": took})


def _frozen(here: Town, effort: Effort) -> Score:
    """A worker stands still with pictures in hand, the other takes them over, and what the first one wants to write
    when it comes to itself is refused: its fence is an old one."""
    turns = frozen = fenced = 0
    here.all_work()
    while frozen < effort.of(1, 20):
        worker = here.workers[turns % 2]
        jobs = here.ask_until(partial(here.mirrors, worker), f"a market {turns} [[chaos:slow_cdn]]")
        before = _fenced(worker)
        _signal(worker, signal.SIGSTOP)
        held = here.mirrors(worker)
        until_blocking(lambda worker=worker: not here.mirrors(worker), AT_LAST)  # type: ignore[misc]
        _signal(worker, signal.SIGCONT)
        here.ended(jobs)
        taken = here.taken_over(held)
        until_blocking(lambda worker=worker, most=before + taken: _fenced(worker) >= most, AT_LAST)  # type: ignore[misc]
        turns, frozen, fenced = turns + 1, frozen + taken, fenced + _fenced(worker) - before
    counts = {"tasks frozen": frozen, "late writes refused": fenced}
    return Score("many", "a frozen worker's late writes are refused", counts)


def _unlocked(here: Town, effort: Effort) -> Score:
    """A worker stands still in the middle of the write that completes a job, its customer's balance locked. All who
    need that go on when its lease has run out, and what it was about to write is refused when it comes to itself."""
    ended = 0
    turns = effort.of(1, 5)
    for turn in range(turns):
        sleeper = here.hire(DARKROOM_FAILPOINT="freeze mirror._stored:before-commit")
        here.all_work()
        jobs = here.ask_until(partial(_stands_still, sleeper), f"a canal {turn}")
        here.ended(jobs)
        _signal(sleeper, signal.SIGCONT)
        until_blocking(partial(_fenced, sleeper), AT_LAST)
        here.workers.remove(sleeper)
        sleeper.stop()
    for program in (here.service, *here.service.helpers):
        ended += sum(line.get("event") == UNLOCKED for line in log_lines(program))
    wrong = [] if ended >= turns else ["nobody noticed a worker that stood still in the middle of a write"]
    return Score("many", "a frozen worker's locks end", {"froze in a write": turns, "writes ended": ended}, wrong)


def _without_redis(here: Town, effort: Effort) -> Score:
    """Redis dies in the middle: all goes on, only later; when it is back, so are the nudges."""
    jobs = here.ask(effort.of(10, 100), "a windmill")
    here.redis.kill()
    jobs += here.ask(effort.of(10, 100), "a water mill")
    wrong = []
    for web in (0, 1):
        until_blocking(lambda web=web: not _bus(here, web)["ok"], AT_LAST)  # type: ignore[misc]
        if not here.call("GET", "/readyz", web=web).json()["ready"]:
            wrong.append(f"web {web} is not ready without Redis")
    here.ended(jobs)
    here.redis.start()
    began = time.monotonic()
    for web in (0, 1):
        until_blocking(lambda web=web: _bus(here, web)["ok"], AT_LAST)  # type: ignore[misc]
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


def _believed(here: Town, key: str) -> bool:
    return here.call("GET", "/api/v1/jobs", web=1, key=key).status_code != 401


def _signal(worker: Program, number: signal.Signals) -> None:
    assert worker.process
    worker.process.send_signal(number)


def _stands_still(worker: Program) -> bool:
    assert worker.process
    state = Path(f"/proc/{worker.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    return state == "T"


def _bus(here: Town, web: int) -> dict[str, Any]:
    found: dict[str, Any] = here.call("GET", "/readyz", web=web).json()["checks"]["bus"]
    return found
