"""A whole installation in one thread and in virtual time: the service's own code over SQLite, a simulated fal, and
people who ask for pictures and change their minds. The service dies now and then, and lives again on what was
committed. One seed is one history.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from sqlmodel import col, select

from app.core.errors import Problem
from app.credits.ledger import grant
from app.jobs.model import JobRow
from app.jobs.webhook import fal_webhook
from app.services import Services
from app.settings import Settings, SettingsError
from app.store.tasks import TaskRow
from app.web.operation import Knock
from tests.proof.fate import Fate, Odds
from tests.proof.installation import Surroundings, UnlockedLife
from tests.proof.judgement import Judgement, judge
from tests.proof.simulated_fal import SimulatedFal
from tests.proof.simulated_people import WORKSPACE, Memory, Person
from tests.proof.simulated_store import MemoryBlobs
from tests.proof.virtual import Died, Gone, Process, VirtualClock, VirtualLoop

DAY = 86_400.0
_ASKED_WITHIN = 5_400.0
_DEATHS = 4
_SWAMPED_ONE_IN = 8
"""Seeds, by their number and not by dice: all others are lived as they were before there was such a fault."""


@dataclass(frozen=True)
class History:
    """What became of one seed: `wrong` is all that should not be. The trace of the same seed is always the same."""

    seed: int
    judgement: Judgement
    fired: Counter[str]
    wrong: list[str]
    lasted: float


def live(
    seed: int, folder: Path, *, people: int | None = None, odds: Odds | None = None, least: float = 0.0
) -> History:
    """Some hours of people asking, and however long it takes to come to rest. With `least` they ask throughout so many
    seconds, and it is not over before."""
    dice = random.Random(seed)
    loop = VirtualLoop(dice)
    swamped = 0.5 if seed % _SWAMPED_ONE_IN == _SWAMPED_ONE_IN - 1 else 0.0
    fate = Fate(dice, odds or replace(Odds.drawn(dice), swamped=swamped))
    world = World(loop, _surroundings(loop, fate, folder), least)
    try:
        with structlog.testing.capture_logs() as said:
            judgement = loop.run_until_complete(world.live(people or dice.randint(2, 5)))
    finally:
        loop.close()
    wrong = [*judgement.verdict.wrong, *loop.accidents, *(str(entry) for entry in said if _is_alarm(entry))]
    return History(seed, judgement, fate.fired, wrong, loop.time())


def _surroundings(loop: VirtualLoop, fate: Fate, folder: Path) -> Surroundings:
    clock = VirtualClock(loop)
    skew = fate.dice.uniform(-1000, 1000) if fate.strikes("clock_skewed") else 0.0
    if withheld := fate.strikes("list_withheld"):  # which matters only where answers and webhooks tarry
        worse = {"answer_lost": 0.7, "webhook_late": 0.9, "turned_away": 0.6, "fal_away": 1.0, "webhook_lost": 0.0}
        fate.odds = replace(fate.odds, **worse)
    fal = SimulatedFal(VirtualClock(loop, skew), fate, lists=not withheld)
    settings = Settings(data=folder, fal_url="http://fal.sim")
    return Surroundings(settings, clock, fate, fal, MemoryBlobs(clock, fate), laptop=fate.strikes("laptop"))


class World:
    def __init__(self, loop: VirtualLoop, surroundings: Surroundings, least: float) -> None:
        self._loop = loop
        self._least = least
        self._asked_within = least or _ASKED_WITHIN
        self._surroundings = surroundings
        self._fate = surroundings.fate
        self._dice = surroundings.fate.dice
        self._fal = surroundings.fal
        self._fal.postman.deliver = self._deliver
        self._process = Process()
        self._services: Services | None = None
        self._deaths = 0
        self._over = asyncio.Event()

    async def live(self, people: int) -> Judgement:
        self._surroundings.prepare()
        memory = Memory()
        async with asyncio.TaskGroup() as everything:
            everything.create_task(self._run_service())
            everything.create_task(self._weather())
            async with asyncio.TaskGroup() as crowd:
                for number in range(people):
                    person = Person(number, self, self._dice, memory, self._surroundings.settings.home)
                    crowd.create_task(person.live(self._asked_within))
            await self._rest()
            assert self._services
            judgement = await judge(self._services, self._surroundings, memory, self._deaths)
            self._over.set()
        return judgement

    async def ask(self, work: Callable[[Services], Awaitable[Any]]) -> Any:
        """A call at the service from outside. Raises `Gone` when it is down, or dies meanwhile."""
        if self._services is None:
            raise Gone
        return await self._process.ask(_called(work, self._services))

    async def _deliver(self, url: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
        """A webhook knocks. Nobody there: no status."""
        attempt, tag = urlsplit(url).path.split("/")[-2:]

        async def read(_most: int) -> bytes:
            return body

        knock = Knock({"attempt": attempt, "tag": tag}, headers, read)
        try:
            return int((await self.ask(lambda services: fal_webhook(services, knock))).status)
        except Gone:
            return 0
        except Problem as problem:
            return problem.status

    # What befalls it

    async def _run_service(self) -> None:
        while not self._over.is_set():
            self._process = Process()
            try:
                await self._process.ask(self._serve(self._process))
            except (Gone, SettingsError, Problem):  # it died, or it found no database when it began
                self._services = None
                await asyncio.sleep(self._dice.uniform(1, 300))

    async def _serve(self, process: Process) -> None:
        wired, database = self._surroundings.install(process, partial(self._passed, process))
        try:
            async with UnlockedLife(wired, works=True):
                services = wired.services
                await services.db.write(lambda tx: grant(tx, "xfer_simulated", WORKSPACE, 100_000, "to begin with"))
                self._services = services
                await self._over.wait()
        finally:
            if process.dead:
                database.die()

    def _passed(self, process: Process, _point: str) -> None:
        """Both sides of every commit and of every call to the outside: a place to die at."""
        process.live()
        if self._deaths < _DEATHS and self._services is not None and self._fate.strikes("death"):
            self._deaths += 1
            process.die()
            raise Died

    async def _weather(self) -> None:
        """What happens once or a few times in a history, if at all."""
        async with asyncio.TaskGroup() as all_of_it:
            for what, often, befall in (
                ("fal_away", 3, partial(self._away, self._fal)),
                ("storage_away", 1, partial(self._away, self._surroundings.blobs)),
                ("clock_set", 2, self._set_clock),
            ):
                for _ in range(often):
                    if self._fate.strikes(what):
                        all_of_it.create_task(self._some_time(befall))

    async def _some_time(self, befall: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._dice.uniform(0, self._asked_within))
        await befall()

    async def _away(self, something: SimulatedFal | MemoryBlobs) -> None:
        something.away = True
        await asyncio.sleep(self._dice.uniform(60, 3600))
        something.away = False

    async def _set_clock(self) -> None:
        self._surroundings.clock.ahead += self._dice.choice((-1, 1)) * self._dice.choice((30, 400, 3600))

    # The end

    async def _rest(self) -> None:
        """Until nobody has anything left to do."""
        while self._loop.time() < self._least or self._fal.busy or not await self._quiet():
            assert self._loop.time() < 4 * DAY, "it does not come to rest"
            await asyncio.sleep(600)
        self._fate.relent()

    async def _quiet(self) -> bool:
        try:
            return bool(await self.ask(_is_quiet))
        except (Gone, Problem):
            return False


async def _called(work: Callable[[Services], Awaitable[Any]], services: Services) -> Any:
    return await work(services)


async def _is_quiet(services: Services) -> bool:
    async with services.db.read() as session:
        job = await session.exec(select(JobRow.id).where(col(JobRow.finished_at).is_(None)).limit(1))
        live = col(TaskRow.state).in_(("ready", "leased")), ~col(TaskRow.kind).startswith("schedule.")
        task = await session.exec(select(TaskRow.id).where(*live).limit(1))
        return job.first() is None and task.first() is None


def _is_alarm(entry: Mapping[str, Any]) -> bool:
    """Something that should never be logged; but for the last words of the dying."""
    unforeseen = entry["log_level"] in ("error", "critical") or entry["event"] == "task failed"
    return unforeseen and not isinstance(entry.get("exc_info"), Died)
