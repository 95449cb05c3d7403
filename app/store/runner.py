"""The runner: claims tasks, runs their handlers, keeps the leases alive and sees to those that fail.

It knows no stage. A handler that ends in a write of its own finishes its task there; otherwise the runner does. What
goes wrong is one of four things: the work moved on without us (look again), something is away (wait, without counting),
a fault (count, then park), or the lease is lost (somebody else has it: say nothing).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from app.core.errors import Problem, Unavailable, as_problem
from app.ports import EVERYTHING, Clock
from app.store import tasks
from app.store.advance import Moved
from app.store.database import Database
from app.store.tasks import Lane, LeaseLost, NewTask, Task
from app.store.write import Tx

_BEGINNINGS = (Lane.HIGH, Lane.NORMAL, Lane.LOW)
_NOTICED_FROM = 5.0
_LANES = (Lane.LINE, *_BEGINNINGS, Lane.SUSPECT)
_FAULTS_ALLOWED = 5
_LONGEST_WAIT = 300.0
_AWAY = 10.0
"""Seconds until something that was away is tried again, when it did not say itself."""
_MOVED = 0.1
"""Seconds until a task is looked at again whose work moved on meanwhile: soon, but never in a busy loop."""

log = structlog.get_logger("runner")


@dataclass(frozen=True)
class Limits:
    """How many tasks are in hand at once, and the times of `app.rules` in seconds of the service's own pace."""

    at_once: int
    lease: float
    heartbeat: float
    poll: float
    deaths: int

    @property
    def beginnings(self) -> int:
        """A slow provider must not block the pictures that are already paid for."""
        return max(self.at_once * 3 // 4, 1)


class Runner:
    """`handlers` maps a task's kind to what does it. `mourners` maps the first word of a kind to the kind of task that
    is stored when such a task is parked, so that its job can be ended. `alone`: no other process shares this
    database. `troubled` is told when the database does not answer."""

    def __init__(  # noqa: PLR0913  # all that it needs of the house, by name
        self,
        db: Database,
        clock: Clock,
        limits: Limits,
        *,
        worker: str,
        handlers: Mapping[str, Callable[[Task], Awaitable[None]]],
        mourners: Mapping[str, str],
        alone: bool,
        dice: random.Random,
        troubled: Callable[[Problem], None] = lambda _: None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._limits = limits
        self._worker = worker
        self._handlers = handlers
        self._mourners = mourners
        self._alone = alone
        self._dice = dice
        self._troubled = troubled
        self._in_hand: dict[asyncio.Task[None], Task] = {}
        self._looked_at: datetime | None = None
        self._nudged = asyncio.Event()
        self._stopping = False
        self._takes_nothing = asyncio.Event()
        self._takes_nothing.set()
        self._stopped = asyncio.Event()

    def hear(self, topic: str) -> None:
        """A nudge: there may be something to do."""
        if topic in ("tasks", EVERYTHING):
            self._nudged.set()

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    async def run(self) -> None:
        """Work until stopped. The leases are kept until the last task in hand has ended."""
        self._takes_nothing.clear()
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(self._beat())
            try:
                await self._take_on()
            finally:
                self._takes_nothing.set()
            await self._stopped.wait()
            beat.cancel()

    async def stop(self, within: float) -> None:
        """Take nothing new, let what is in hand end within so many real seconds, give the rest back."""
        self._stopping = True
        self._nudged.set()
        deadline = time.monotonic() + within
        with suppress(TimeoutError):
            await asyncio.wait_for(self._takes_nothing.wait(), within)
        await self._wait_for_hands(deadline - time.monotonic())
        for running in list(self._in_hand):
            running.cancel()
        await self._wait_for_hands(1.0)
        await self._quietly(lambda tx: tasks.release(tx, self._worker))
        self._stopped.set()

    async def _wait_for_hands(self, seconds: float) -> None:
        if self._in_hand:
            await asyncio.wait(list(self._in_hand), timeout=max(seconds, 0.0))

    async def _take_on(self) -> None:
        if self._alone:
            await self._quietly(lambda tx: tasks.inherit(tx, self._worker))
        while not self._stopping:
            self._nudged.clear()
            if not await self._claim():
                await self._rest()

    # Claiming

    async def _claim(self) -> bool:
        """Take what is due and there is room for; whether anything was found."""
        held = [task.lane for task in self._in_hand.values()]
        room = self._limits.at_once - len(held)
        if room <= 0:
            return False
        beginnings = self._limits.beginnings - sum(lane in _BEGINNINGS for lane in held)
        suspects = 0 if Lane.SUSPECT in held else 1
        try:
            found = await self._db.write(lambda tx: self._take(tx, room, beginnings, suspects))
        except Problem as problem:
            self._complain(problem)
            return False
        for task in found:
            # What was claimed while we were told to stop goes back with the rest.
            if task.deaths < self._limits.deaths and not self._stopping:
                self._start(task)
        return bool(found)

    def _take(self, tx: Tx, room: int, beginnings: int, suspects: int) -> list[Task]:
        now = self._looked_at = tx.database_now()
        until = now + self._span(self._limits.lease)
        found: list[Task] = []
        for lane in _LANES:
            begun = sum(task.lane in _BEGINNINGS for task in found)
            allowed = beginnings - begun if lane in _BEGINNINGS else suspects if lane is Lane.SUSPECT else room
            most = min(room - len(found), allowed)
            if most > 0:
                found += tasks.claim(tx, self._worker, lane, most, now=now, until=until)
        for task in found:
            if task.deaths >= self._limits.deaths:
                self._bury(tx, task, f"its worker died while working on it, {task.deaths} times")
        return found

    def _start(self, task: Task) -> None:
        running = asyncio.create_task(self._work(task), name=task.key)
        self._in_hand[running] = task
        running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        del self._in_hand[running]
        self._nudged.set()
        if not running.cancelled() and (error := running.exception()):
            log.error("a task ended in a way nobody foresaw; its lease will lapse", exc_info=error)

    async def _rest(self) -> None:
        """Wait for a nudge, for the next task to fall due, or for the poll interval, which makes up for lost nudges."""
        wait = self._span(self._limits.poll)
        with suppress(Problem):
            if (due := await self._db.write(self._next_due)) is not None:
                wait = min(wait, max(due, timedelta(0)))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._nudged.wait(), wait.total_seconds())

    def _next_due(self, tx: Tx) -> timedelta | None:
        """How long until more falls due than we could see when we looked last."""
        now = tx.database_now()
        due = tasks.next_due(tx, _LANES, self._looked_at or now)
        return due - now if due else None

    # Working

    async def _work(self, task: Task) -> None:
        structlog.contextvars.bind_contextvars(task=task.key, workspace=task.workspace, job=task.payload.get("job"))
        try:
            await self._handler(task)(task)
            if not task.settled:
                await self._db.write(lambda tx: tx.finish(task))
        except LeaseLost:
            log.info("somebody else has this task by now")
        except Moved:
            due_at = self._clock.after(self._spread(_MOVED))
            await self._settle(lambda tx: tx.again(task, due_at, tries=task.tries))
        except Exception as error:  # noqa: BLE001  # whatever a handler raises must not end the runner
            await self._failed(task, error)

    async def _failed(self, task: Task, error: Exception) -> None:
        """Something is away: wait without counting, however often the task has counted for reasons of its own. A
        fault: count, and park the task when it keeps happening."""
        problem = as_problem(error)
        if problem is not None and problem.retryable:
            wait, tries, enough = float(problem.headers.get("Retry-After", _AWAY)), task.tries, False
            log.warning("task waits", kind=task.kind, error=problem.detail)
        else:
            wait, tries = min(5.0**task.tries, _LONGEST_WAIT), task.tries + 1
            enough = tries >= _FAULTS_ALLOWED
            log.warning("task failed", kind=task.kind, key=task.key, tries=tries, exc_info=error)
        if enough:
            return await self._settle(lambda tx: self._bury(tx, task, repr(error)))
        due_at = self._clock.after(self._spread(wait))
        return await self._settle(lambda tx: tx.again(task, due_at, tries=tries, error=repr(error)))

    async def _settle(self, work: Callable[[Tx], None]) -> None:
        try:
            await self._db.write(work)
        except LeaseLost:
            log.info("somebody else has this task by now")
        except Problem as problem:
            self._complain(problem)  # the database is away too: the task is freed when its lease lapses

    def _handler(self, task: Task) -> Callable[[Task], Awaitable[None]]:
        """What does this kind of task. One that a newer version has stored waits for a process that knows it."""
        handler = self._handlers.get(task.kind)
        if handler is None:
            raise Unavailable(f"This process knows no task of the kind {task.kind}.")
        return handler

    def _bury(self, tx: Tx, task: Task, error: str) -> None:
        tx.park(task, error)
        mourner = self._mourners.get(task.kind.partition(".")[0])
        if mourner and mourner != task.kind:
            payload = {"kind": task.kind, "payload": task.payload, "deaths": task.deaths, "error": error}
            tx.spawn(NewTask(mourner, f"{mourner}:{task.id}", task.workspace, payload))

    def _spread(self, seconds: float) -> float:
        """Half of it to one and a half, so that what failed together does not come back together."""
        return seconds * self._dice.uniform(0.5, 1.5)

    # Staying alive

    async def _beat(self) -> None:
        """Renew our leases and free those of the dead, for as long as we run."""
        while True:
            ahead = self._ahead()
            await self._clock.sleep(self._limits.heartbeat)
            held = [task.id for task in self._in_hand.values()]
            await self._quietly(partial(self._renew, held))
            await self._mind_the_clock(ahead - self._ahead())

    async def _mind_the_clock(self, set_back: float) -> None:
        """Due times written by a clock that has been set back since would make everything wait for as long. Where
        several machines share the tasks, one of them cannot know what the others' clocks wrote."""
        if self._alone and set_back > _NOTICED_FROM:
            log.warning("the clock was set back", seconds=round(set_back))
            await self._quietly(partial(tasks.bring_back, by=timedelta(seconds=set_back)))

    def _ahead(self) -> float:
        """How far the wall clock is ahead of the one that cannot be set."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _renew(self, held: Sequence[str], tx: Tx) -> None:
        now = tx.database_now()
        tasks.heartbeat(tx, self._worker, held, now=now, until=now + self._span(self._limits.lease))

    async def _quietly(self, work: Callable[[Tx], None]) -> None:
        try:
            await self._db.write(work)
        except Problem as problem:
            self._complain(problem)

    def _complain(self, problem: Problem) -> None:
        log.warning("the database does not answer the runner", error=problem.detail)
        self._troubled(problem)

    def _span(self, seconds: float) -> timedelta:
        """A duration of the service's own pace in real time."""
        return self._clock.after(seconds) - self._clock.now()
