"""The life of one process: it opens what it needs and refuses to start where it could do harm, works, and when asked to
stop lets go of everything in good time, so that nothing acknowledged is lost and nobody is left hanging.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Self

import structlog
from sqlalchemy import bindparam, update

from app.accounts.model import SYSTEM
from app.accounts.workspaces import OtherWorld, claim_world
from app.assets import OtherStorage, claim_storage
from app.core.errors import Problem
from app.feature import Schedule
from app.jobs.outages import could_not_write
from app.services import Services
from app.settings import SettingsError
from app.store.columns import table
from app.store.runner import Limits, Runner
from app.store.schema import check_schema
from app.store.sqlite import FolderLock
from app.store.standstill import break_locks
from app.store.tasks import NewTask, Task, TaskRow
from app.store.write import Tx
from app.wiring import Wired

_T = table(TaskRow)
_UNPARK = update(_T).where(_T.c.key == bindparam("k"), _T.c.state == "parked").values(state="ready", deaths=0, tries=0)
_AGREED_EVERY = 10.0
"""Seconds between looks at the database's clock."""

log = structlog.get_logger("life")


class Life:
    """`async with Life(wired, works=True) as life`. `works`: it runs tasks; `on_crash` is called when the runner dies,
    since a process that takes jobs and does nothing about them is worse than none."""

    def __init__(self, wired: Wired, *, works: bool, on_crash: Callable[[], None] = lambda: None) -> None:
        self.wired = wired
        self.draining = False
        self.crashed = False
        self._works = works
        self._on_crash = on_crash
        self._open = AsyncExitStack()
        self._runner: Runner | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_failure: object) -> None:
        self.drain()
        if self._stopping is not None:
            await self._stopping
        await self._open.aclose()

    def drain(self) -> None:
        """Take nothing new: requests are turned away, streams are told to come back, the runner ends what it has."""
        if self.draining:
            return
        self.draining = True
        log.info("stopping")
        self.wired.services.streams.drain()
        if self._runner is not None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(self._runner))

    async def _begin(self) -> None:
        services, opened = self.wired.services, self._open
        self._lock()
        for port in (services.provider, services.vision, services.blobs, services.fetcher, services.darkroom):
            opened.push_async_callback(port.close)
        await services.db.open()
        opened.push_async_callback(services.db.close)
        await self._check_database(services)
        if services.db.dialect == "postgresql":
            await self._agree_on_the_time(services)
            for keeping in (self._keep_time(services), self._keep_unlocked(services)):
                opened.callback(asyncio.get_running_loop().create_task(keeping).cancel)
        await services.bus.open()
        opened.push_async_callback(services.bus.close)
        opened.push_async_callback(services.hub.close)
        opened.callback(services.bus.listen(services.hub.hear))
        services.metrics.live("open_streams", lambda: len(services.streams))
        if self._works:
            await self._begin_to_work(services)

    def _lock(self) -> None:
        """A SQLite data folder has one user: its tasks are leased by a clock and inherited without asking."""
        settings = self.wired.settings
        if settings.database_url is not None:
            return
        lock = FolderLock(settings.home)
        self._open.callback(lock.release)
        if not lock.acquire():
            raise SettingsError(
                f"Another process works with {settings.home.resolve()} already. Stop it first, choose another data "
                "folder (--data), or use PostgreSQL, where several may work together."
            )

    async def _check_database(self, services: Services) -> None:
        try:
            await check_schema(services.db)
            await services.db.write(lambda tx: claim_world(tx, self.wired.settings.world))
            await claim_storage(services)
        except (Problem, OtherWorld, OtherStorage) as error:
            raise SettingsError(str(error)) from error

    async def _keep_time(self, services: Services) -> None:
        while True:
            await asyncio.sleep(_AGREED_EVERY)
            with suppress(Problem):
                await self._agree_on_the_time(services)

    async def _agree_on_the_time(self, services: Services) -> None:
        """Processes that share a database go by its clock: a wrong one here would put off what it leaves to others."""
        began = services.clock.monotonic()
        told = await services.db.write(lambda tx: tx.database_now())
        took = services.clock.monotonic() - began
        services.clock.agree_with(told + timedelta(seconds=took / 2))

    async def _keep_unlocked(self, services: Services) -> None:
        """Who stands still for as long as a lease may have no lock any more, whatever it is that has to wait."""
        while True:
            await services.clock.sleep(services.rules.heartbeat)
            held_for = services.clock.after(services.rules.lease) - services.clock.now()
            with suppress(Problem):
                if broken := await break_locks(services.db, held_for.total_seconds()):
                    log.warning("ended the writes of a process that stands still", writes=broken)

    async def _begin_to_work(self, services: Services) -> None:
        rules = services.rules
        services.standing.up_since = services.clock.now()
        schedules = [schedule for feature in self.wired.features for schedule in feature.schedules]
        await services.db.write(lambda tx: _arm(tx, schedules))
        runner = self._runner = Runner(
            services.db,
            services.clock,
            Limits(rules.tasks_at_once, rules.lease, rules.heartbeat, rules.poll_every, rules.deaths_allowed),
            worker=f"{socket.gethostname()}:{os.getpid()}:{services.ids.secret(4).hex()}",
            handlers={
                **self.wired.handlers,
                **{f"schedule.{each.name}": self._scheduled(services, each) for each in schedules},
            },
            mourners=self.wired.mourners,
            alone=services.db.dialect == "sqlite",
            dice=services.random,
            troubled=lambda problem: could_not_write(services, "database", problem),
        )
        services.metrics.live("tasks_in_hand", lambda: runner.in_hand)
        self._open.callback(services.bus.listen(runner.hear))
        self._running = asyncio.get_running_loop().create_task(runner.run())
        self._running.add_done_callback(self._ended)

    def _scheduled(self, services: Services, schedule: Schedule) -> Callable[[Task], Awaitable[None]]:
        """A schedule's handler: it is always run again, whatever became of it this time."""
        work = self.wired.handlers[f"schedule.{schedule.name}"]

        async def run(task: Task) -> None:
            try:
                await work(task)
            except Problem as problem:
                log.warning("schedule failed", schedule=schedule.name, error=problem.detail)
            except Exception:  # tomorrow is another day
                log.exception("schedule failed", schedule=schedule.name)
            if not task.settled:
                due = services.clock.after(schedule.every)
                await services.db.write(lambda tx: tx.again(task, due))

        return run

    async def _stop(self, runner: Runner) -> None:
        await runner.stop(self.wired.services.rules.drain_within)
        if self._running is not None:
            await asyncio.wait([self._running], timeout=1.0)

    def _ended(self, running: asyncio.Task[None]) -> None:
        if self.draining:
            return
        self.crashed = True
        log.critical("the runner is dead, so this process ends", exc_info=running.exception())
        self._on_crash()


def _arm(tx: Tx, schedules: list[Schedule]) -> None:
    """Have every schedule waiting in the table; one that was set aside gets another chance with each start."""
    for each in schedules:
        key = f"schedule:{each.name}"
        tx.execute(_UNPARK, {"k": key})
        tx.spawn(NewTask(key.replace(":", "."), key, SYSTEM))
