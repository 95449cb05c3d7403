"""Tasks alone: claiming and finishing them with an event each, beside queues that others made, and whether those long
finished get in the way. Everything of ours runs in this process.
"""

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import URL

from app.adapters.clock import SystemClock
from app.commands.loop import run
from app.core.events import Topic
from app.core.ids import Ids
from app.jobs.events import JobStarted
from app.store import tasks
from app.store.database import Database, Hooks
from app.store.postgres import PostgresEngine
from app.store.runner import Limits, Runner
from app.store.schema import upgrade
from app.store.sqlite import SqliteEngine
from app.store.tasks import Lane, NewTask, Task
from app.store.write import Tx
from tests.bench.machine import Others
from tests.bench.table import Goal, Row, Size, missing
from tests.running import ROOT, schema_of_its_own

LOOKS, AT_ONCE = 60, 16
PEERS = {"SQLite": ("huey", Goal(2.0)), "PostgreSQL": ("procrastinate", Goal(6.0))}
PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)
"""One that has the peers."""


@dataclass
class Spent:
    """Seconds, and seconds of CPU of the worker's process."""

    seconds: float
    cpu: float


def claims(size: Size, folder: Path) -> Iterator[Row]:
    """The runner with a handler that records an event and finishes its task in one write."""
    with ExitStack() as open_:
        for where, place in _places(open_, folder):
            yield _claims(size, where, place)


def _claims(size: Size, where: str, place: URL) -> Row:
    peer, goal = PEERS[where]
    count, theirs_count = size.of(1500), size.of(300)
    mine, theirs = [], []
    with Others([]) as others, ExitStack() as open_:
        for number in range(size.rounds):
            mine.append(run(_our_drain(place, count, number)))
            try:
                theirs.append(_theirs(open_, peer, place, theirs_count, number))
            except subprocess.CalledProcessError as error:
                lines = error.stderr.strip().splitlines() or ["it said nothing"]
                return missing(f"claim, done, event, {where}", lines[-1], peer)
    ours_s, peer_s = (statistics.median(s.seconds for s in each) for each in (mine, theirs))
    ours_cpu, peer_cpu = (statistics.median(s.cpu for s in each) for each in (mine, theirs))
    return Row(
        f"claim, done, event, {where}",
        "tasks a second",
        ours=count / ours_s,
        against=peer,
        baseline=theirs_count / peer_s,
        ratio=(count / ours_s) / (theirs_count / peer_s),
        cpu_ratio=(peer_cpu / theirs_count) / (ours_cpu / count),
        goal=goal,
        others=others.cores,
        twin=f"{count * size.rounds} handled once each, all done, an event each",
        more={"cpu_us": round(1e6 * ours_cpu / count, 1), "baseline_cpu_us": round(1e6 * peer_cpu / theirs_count, 1)},
    )


def growth(size: Size, folder: Path) -> Iterator[Row]:
    """Claiming among a few hundred ready ones, with a hundred times as many finished ones lying about."""
    less, more = (80, 8000) if size.tiny else (10_000, 1_000_000)
    with ExitStack() as open_:
        for where, place in _places(open_, folder):
            with Others([]) as others:
                few, many, plan = run(_claim_times(place, less, more))
            assert "ix_tasks_ready" in plan, f"the claim does not use its index: {plan}"
            yield Row(
                f"claim, finished rows x100, {where}",
                "ms",
                ours=many * 1e3,
                against="itself, a hundredth",
                baseline=few * 1e3,
                ratio=many / few,
                goal=Goal(1.2, above=False),
                others=others.cores,
                twin=f"every one of {LOOKS} claims brought {AT_ONCE}; the plan uses ix_tasks_ready",
                more={"finished": [less, more]},
            )


def _places(open_: ExitStack, folder: Path) -> Iterator[tuple[str, URL]]:
    """Databases with our tables: a file, and a schema where there is a server."""
    places = {"SQLite": f"sqlite:///{folder / 'tasks.db'}"}
    if os.environ.get("DARKROOM_TEST_DATABASE_URL"):
        places["PostgreSQL"] = open_.enter_context(schema_of_its_own())
    for where, place in places.items():
        upgrade(place)
        yield where, make_url(place)


async def _our_drain(place: URL, count: int, number: int) -> Spent:
    db, clock = _database(place), SystemClock()
    await db.open()
    handled: list[str] = []
    done = asyncio.Event()

    async def handle(task: Task) -> None:
        def handled_it(tx: Tx) -> None:
            tx.record(JobStarted(attempt=1), Topic("ws", job=task.id))
            tx.finish(task)

        await db.write(handled_it)
        handled.append(task.id)
        if len(handled) == count:
            done.set()

    def store(tx: Tx) -> None:
        for each in range(count):
            tx.spawn(NewTask("bench.nothing", f"bench.nothing:{number}:{each}", "ws", {"job": f"job_{each}"}))

    await db.write(store)
    runner = Runner(
        db,
        clock,
        Limits(at_once=64, lease=30, heartbeat=10, poll=1, deaths=3),
        worker="bench",
        handlers={"bench.nothing": handle},
        mourners={},
        alone=db.dialect == "sqlite",
        dice=random.Random(1),
    )
    spent, began = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        await done.wait()
        seconds = time.perf_counter() - began
        await runner.stop(within=10)
        spent = time.process_time() - spent
    await db.close()
    assert len(set(handled)) == len(handled) == count
    assert _counted(place, "SELECT count(*) FROM tasks WHERE state = 'done'") == count * (number + 1)
    assert _counted(place, "SELECT count(*) FROM events") == count * (number + 1)
    return Spent(seconds, spent)


def _theirs(open_: ExitStack, peer: str, place: URL, count: int, number: int) -> Spent:
    """The peer in a process of its own, in a place of its own."""
    where = f"{place.database}.{peer}.{number}"
    if peer == "procrastinate":
        theirs = make_url(open_.enter_context(schema_of_its_own()))
        where = theirs.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [PYTHON, "-m", "tests.bench.queues", peer, where, str(count)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    told = json.loads(said.splitlines()[-1])
    return Spent(told["seconds"], told["cpu"])


async def _claim_times(place: URL, less: int, more: int) -> tuple[float, float, str]:
    """Medians with few and with many finished ones, and how the database means to find what is ready."""
    medians, plan = [], ""
    for finished in (less, more - less):
        _fill(place, finished, "done")
        _fill(place, LOOKS * AT_ONCE, "ready")
        db = _database(place)
        await db.open()
        times = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            found = await db.write(_claim)
            times.append(time.perf_counter() - began)
            assert len(found) == AT_ONCE
        plan = await db.write(_plan)
        await db.close()
        medians.append(statistics.median(times))
    return medians[0], medians[1], plan


def _claim(tx: Tx) -> list[Task]:
    return tasks.claim(tx, "me", Lane.LINE, AT_ONCE, now=tx.now, until=tx.now)


def _plan(tx: Tx) -> str:
    values = {"me": "me", "the_lane": 0, "most": AT_ONCE, "now": tx.now, "until": tx.now}
    claim = tasks._CLAIM.text(tx._connection.dialect, tuple(values))
    explain, given = "EXPLAIN", claim.bound(values)
    if claim.positional:
        explain, given = "EXPLAIN QUERY PLAN", tuple(given)
    tx.settle()
    return str(tx._connection.exec_driver_sql(f"{explain} {claim.sql}", given).all())


def _database(place: URL) -> Database:
    clock = SystemClock()
    hooks = Hooks(clock.now, Ids(clock.now, random.Random().randbytes).new)
    if place.drivername == "sqlite":
        return Database(SqliteEngine(Path(str(place.database)), hooks), hooks)
    return Database(PostgresEngine(place, hooks), hooks)


def _fill(place: URL, count: int, state: str) -> None:
    """So many tasks at once: the database makes them up itself."""
    numbers = f"SELECT generate_series(1, {count}) AS n"
    if place.drivername == "sqlite":
        numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c"
    finished = "CURRENT_TIMESTAMP" if state == "done" else "NULL"
    engine = create_engine(place, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        before = connection.execute(text("SELECT count(*) FROM tasks")).scalar_one()
        name = f"CAST({before} + n AS text)"
        columns = (
            "id, kind, key, workspace, payload, state, lane, due_at, created_at, finished_at, tries, deaths, fence"
        )
        connection.execute(
            text(
                f"INSERT INTO tasks ({columns}) SELECT 'task_' || {name}, 'bench.nothing', {name}, 'ws', '{{}}', "
                f"'{state}', 0, :due, :due, {finished}, 0, 0, 0 FROM ({numbers}) AS numbers"
            ),
            {"due": "2026-01-01 00:00:00.000000"},
        )
        connection.execute(text("ANALYZE tasks"))
    engine.dispose()


def _counted(place: URL, query: str) -> int:
    engine = create_engine(place)
    with engine.connect() as connection:
        found = connection.execute(text(query)).scalar_one()
    engine.dispose()
    return int(found)
