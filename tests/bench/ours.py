"""Our service as it is served, on the first core, with two additions for measuring: an operation that does nothing, and
an account of the CPU that each stage of the line used. `python -m tests.bench.ours`

The account is exact, not sampled: every step of every task on the loop is timed by its thread's own clock, and every
write in the writer's thread. It is kept only when BENCH_STAGES names a file for it.
"""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app import logs, main
from app.commands.loop import run
from app.core.principal import Principal, Scope
from app.feature import Feature
from app.jobs.accept import JobRequest
from app.jobs.ingest import MIRROR
from app.services import Services
from app.settings import Settings, read_settings
from app.store import sqlite
from app.store.database import Committed, Hooks, Pending, attempt, name_of
from app.store.tasks import Task
from app.web.operation import Operation
from app.wiring import FEATURES, Wired, wire
from tests.bench.machine import FIRST, pin

NOTHING = "/api/v1/nothing"


class Nothing(BaseModel):
    model: str


async def do_nothing(principal: Principal, body: JobRequest) -> Nothing:
    """All that an operation costs before it does anything"""
    return Nothing(model=body.model)


class Account:
    """Seconds of CPU by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def follow_loop(self) -> None:
        asyncio.get_running_loop().set_task_factory(self._task)

    def follow_writer(self) -> None:
        commit = sqlite.SqliteEngine._commit

        def timed_attempt(pending: Pending, connection: Any, hooks: Hooks) -> Committed:
            stage = name_of(pending.work).partition(".")[0]
            done: Committed = self._timed(f"write {stage}", attempt, pending, connection, hooks)
            return done

        def timed_commit(*given: Any) -> Any:
            inside = sum(spent for name, spent in self.seconds.items() if name.startswith("write "))
            done = self._timed("commit", commit, *given)
            now_inside = sum(spent for name, spent in self.seconds.items() if name.startswith("write "))
            self.seconds["commit"] -= now_inside - inside
            return done

        vars(sqlite)["attempt"] = timed_attempt
        sqlite.SqliteEngine._commit = timed_commit  # type: ignore[assignment,method-assign]

    def _timed(self, name: str, call: Callable[..., Any], *given: Any) -> Any:
        began = time.thread_time()
        try:
            return call(*given)
        finally:
            self.seconds[name] += time.thread_time() - began

    def _task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Steps(work, self), loop=loop, **options)


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are timed."""

    def __init__(self, work: Coroutine[Any, Any, Any], account: Account) -> None:
        self._work = work
        self._account = account
        self._name = ""

    def send(self, value: Any) -> Any:
        self._name = self._name or _name(self._work)
        return self._account._timed(self._name, self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._account._timed(self._name, self._work.throw, *error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()


def _name(work: Any) -> str:
    """A task of the runner by its kind, a request by its route, anything else by its function."""
    task = asyncio.current_task()
    key = task.get_name() if task else ""
    if ":" in key:
        return key.partition(":")[0]
    if work.__qualname__ == "RequestResponseCycle.run_asgi":
        path = work.cr_frame.f_locals["self"].scope["path"]
        return f"http {'/'.join(path.split('/')[:4])}"
    return str(work.__qualname__)


async def _serve(settings: Settings) -> int:
    account, report = Account(), os.environ.get("BENCH_STAGES")
    if report:
        account.follow_loop()
        account.follow_writer()
    began = time.process_time()
    code = await main.serve(settings, main.listen("127.0.0.1", settings.port))
    if report:
        account.seconds["all"] = time.process_time() - began
        keep = Path(report).write_text
        keep(json.dumps(account.seconds))
    return code


async def mirror_nothing(_services: Services, _task: Task) -> None:
    """The pictures of these jobs exist nowhere."""


def _wire(settings: Settings, base_url: str) -> Wired:
    features = FEATURES
    if os.environ.get("BENCH_MIRROR") == "no":
        features = tuple(
            replace(f, tasks={**f.tasks, MIRROR: mirror_nothing}) if MIRROR in f.tasks else f for f in FEATURES
        )
    bench = Feature("bench", (Operation("POST", "/nothing", do_nothing, scope=Scope.JOBS_WRITE),))
    return wire(settings, base_url, (*features, bench))


if __name__ == "__main__":
    pin(FIRST)
    vars(main)["wire"] = _wire
    chosen = read_settings()
    logs.set_up(chosen.log_level, chosen.log_format)
    raise SystemExit(run(_serve(chosen)))
