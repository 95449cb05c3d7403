"""The service on its database, without a runner: nothing happens until it is asked for."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, text, update

from app.services import Services
from app.settings import Settings
from app.store.advance import Moved
from app.store.columns import table
from app.store.tasks import Task, TaskRow, inherit
from app.wiring import FEATURES, task_handlers
from tests.proof.fate import Fate, Odds
from tests.proof.installation import Surroundings
from tests.proof.scripted_fal import ScriptedFal
from tests.proof.simulated_store import MemoryBlobs
from tests.proof.virtual import Died, Gone, Process, VirtualClock, VirtualLoop

_HANDLERS = task_handlers(FEATURES)
_T = table(TaskRow)
_TAKE = (
    update(_T)
    .where(_T.c.key == bindparam("k"), _T.c.state == "ready")
    .values(state="leased", worker="model", fence=_T.c.fence + 1, lease_until=_T.c.due_at)
    .returning(
        _T.c.id, _T.c.kind, _T.c.key, _T.c.workspace, _T.c.payload, _T.c.lane, _T.c.tries, _T.c.deaths, _T.c.fence
    )
)


class House:
    """The service on its database, without a runner: a task is done when it is asked for by its key."""

    def __init__(self, folder: Path) -> None:
        self.loop = VirtualLoop(random.Random(0))
        fate = Fate(random.Random(1), Odds.none())
        clock = VirtualClock(self.loop)
        self.fal = ScriptedFal(clock, self._die)
        blobs = MemoryBlobs(clock, fate)
        surroundings = Surroundings(Settings(data=folder, fal_url="http://fal.sim"), clock, fate, self.fal, blobs)  # type: ignore[arg-type]
        surroundings.prepare()
        self._surroundings = surroundings
        self._begin()
        self._reader = sqlite3.connect(surroundings.settings.home / "darkroom.db")

    def do(self, work: Callable[[Services], Awaitable[Any]]) -> Any:
        """Ask the service. Raises `Gone` when it dies of it; then another one lives already."""
        try:
            return self.loop.run_until_complete(self._process.ask(_called(work, self.services)))
        except Gone:
            self._database.die()
            self._begin()
            raise

    def restart(self) -> None:
        self._process.die()
        self._database.die()
        self._begin()

    def work(self, key: str) -> None:
        """Do that task, if it is there, as the runner does."""
        self.do(partial(_worked, key=key))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._reader.execute(query, values).fetchall()

    def sweep_deadlines(self) -> None:
        task = Task("", "", "", "", {}, 0, 0, 0, 0)
        self.do(lambda services: _HANDLERS["schedule.jobs.deadlines"](services, task))

    def change(self, statement: str, **values: Any) -> None:
        """What only time does otherwise."""
        self.do(lambda services: services.db.write(lambda tx: tx.execute(text(statement), values).rowcount))

    def close(self) -> None:
        self._reader.close()
        self._process.die()
        self._database.die()
        self.loop.close()

    def _begin(self) -> None:
        self._process = Process()
        wired, self._database = self._surroundings.install(self._process, lambda _point: self._process.live())
        self.services = wired.services
        self.do(lambda services: services.bus.open())
        self.do(lambda services: services.db.write(lambda tx: inherit(tx, "the next one")))

    def _die(self) -> None:
        self._process.die()
        raise Died


async def _called(work: Callable[[Services], Awaitable[Any]], services: Services) -> Any:
    return await work(services)


async def _worked(services: Services, *, key: str) -> None:
    found = await services.db.write(lambda tx: tx.execute(_TAKE, {"k": key}).mappings().one_or_none())
    if found is None:
        return
    task = Task(**found)
    services.standing.rejections = 0  # the breaker has tests of its own
    try:
        await _HANDLERS[task.kind](services, task)
    except Moved:
        await services.db.write(lambda tx: tx.again(task, tx.now))
    if not task.settled:
        await services.db.write(lambda tx: tx.finish(task))
