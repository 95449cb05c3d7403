"""T22: stopping and going on, again and again under load; and this version and the next side by side on one database,
which is migrated up and down again while jobs are in flight. What only the next one can do waits for it.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from app.store.schema import newest
from tests.inside import newcomer
from tests.proof.both_sides import examine, until_quiet
from tests.proof.customers import Book, customers, not_completed, request
from tests.proof.next_version import KIND, next_version
from tests.proof.scoreboard import Effort, Score
from tests.running import Program, Service, free_port, log_lines, running, schema_of_its_own
from tests.waiting import until_blocking

SPEED = 15.0
AT_LAST = 300.0
"""Seconds after which what is waited for counts as never coming, however busy the machine is."""
_STOPS = ("TERM", "TERM, TERM", "TERM, KILL")


def prove_upgrade(effort: Effort, folder: Path) -> Iterator[Score]:
    yield _drains(folder / "drain", effort.of(3, 45), effort.seed)
    yield _side_by_side(folder / "versions", effort.of(1, 4))


# ----------------------------------------------------------------------------------------------------------------------
# Stopping


def _drains(folder: Path, rounds: int, seed: int) -> Score:
    dice, wrong = random.Random(seed), list[str]()
    with running(folder, speed=60.0) as service:
        assert service.settings
        jobs = 10 * rounds
        service.key = newcomer(service.settings, jobs)
        with customers(service, jobs=jobs, over=1.5 * rounds) as book:
            for turn in range(rounds):
                _for(dice.uniform(0.2, 1.0))
                wrong += _stopped(service, _STOPS[turn % len(_STOPS)], dice)
                service.start()
        until_quiet(service, AT_LAST)
        wrong += [*book.odd, *examine(service).wrong, *not_completed(service, book)]
    return Score("T22", "stopped under load", {"stops": rounds, "jobs": len(book.acknowledged)}, wrong)


def _stopped(service: Service, way: str, dice: random.Random) -> list[str]:
    assert service.process
    service.process.send_signal(signal.SIGTERM)
    if way == "TERM":
        pass
    elif way == "TERM, TERM":
        service.process.send_signal(signal.SIGTERM)
    else:
        _for(dice.uniform(0.0, 0.2))
        service.kill()
        return []
    code = service.wait(20)
    return [f"{way}: it ended with {code}"] if code else []


# ----------------------------------------------------------------------------------------------------------------------
# Two versions


def _side_by_side(folder: Path, rounds: int) -> Score:
    tree, jobs = next_version(folder / "next"), 60 * rounds
    with ExitStack() as stack:
        database = stack.enter_context(schema_of_its_own())
        old = stack.enter_context(running(folder, speed=SPEED, database=database, DARKROOM_RUNNER="none"))
        assert old.settings
        old.key = newcomer(old.settings, jobs + 1_000 * rounds)
        pair = _Versions(old, old.beside("app", "work"), _another(old, tree))
        stack.callback(pair.end)
        with customers(old, jobs=jobs, over=8.0 * rounds) as book:
            for _ in range(rounds):
                pair.up(book)
                pair.start_this_one_again()
                pair.down(book)
        pair.up(book)
        until_quiet(old, AT_LAST)
        wrong = [*pair.wrong, *book.odd, *examine(old).wrong, *not_completed(old, book)]
        states = pair.admiring()
        if states.keys() - {"done"}:
            wrong.append(f"what only the next version does was not all done: {states}")
        counts = {"jobs": len(book.acknowledged), "tasks only the next one knows": states.get("done", 0)}
        counts |= {"of them met by this one": pair.met, "ups": rounds + 1, "downs": rounds}
        return Score("T22", "two versions on one database", counts, wrong)


@dataclass
class _Versions:
    """This version, always there; the next one, coming and going."""

    old: Service
    worker: Program
    new: Service
    met: int = 0
    wrong: list[str] = field(default_factory=list)

    def up(self, book: Book) -> None:
        """While this one is at work: the tables, then the processes."""
        self._migrate()
        if httpx.get(f"{self.old.base_url}/readyz", trust_env=False, timeout=AT_LAST).status_code != 200:
            self.wrong.append("this version is not ready with the next one's tables")
        before = self.admiring().get("done", 0)
        self.new.start()
        self._new_worker()
        self._ask_until(lambda: self.admiring().get("done", 0) > before, book)

    def start_this_one_again(self) -> None:
        """Beside the next one, on tables newer than its own."""
        self.worker.kill()
        self.worker.start()
        if self.old.stop():
            self.wrong.append("this version did not end well")
        self.old.start()

    def down(self, book: Book) -> None:
        """With jobs in flight, and with tasks left that nobody here knows."""
        [worker] = self.new.helpers
        self._ask_until(lambda: self.admiring().get("ready", 0), book)
        self._end(worker)
        while not self._unknown():  # it has done them all while it was stopping
            self._new_worker()
            self._ask_until(lambda: self.admiring().get("ready", 0), book)
            self._end(worker)
        self._end(self.new)
        self._migrate("--to", newest())
        met = f"tasks WHERE kind = '{KIND}' AND last_error IS NOT NULL"
        self.met += until_blocking(lambda: self._count(met), AT_LAST)

    def _new_worker(self) -> None:
        """At work: until then this version's own does all there is."""
        lives = sum(map(_lives, self.new.helpers))
        if self.new.helpers:
            self.new.helpers[0].start()
        else:
            self.new.beside("app", "work")
        until_blocking(lambda: _lives(self.new.helpers[0]) > lives, AT_LAST)

    def _ask_until(self, seen: Callable[[], Any], book: Book) -> None:
        """Either version may do what is asked for, and only the next one leaves what only it can do: some jobs, and
        more whenever all have ended without it."""
        deadline = time.monotonic() + AT_LAST
        with self.new.client() as client:
            while not seen():
                assert time.monotonic() < deadline, f"that was never seen: {self.admiring()}"
                if not self._count("jobs WHERE finished_at IS NULL"):
                    for n in range(5):
                        answer = client.post("/api/v1/jobs", json=request(f"to the next {n}"))
                        assert book.heed(uuid.uuid4().hex, answer)

    def _end(self, program: Program) -> None:
        if program.stop(AT_LAST):
            self.wrong.append("the next version did not end well")

    def _unknown(self) -> int:
        """The tasks left that only the next version knows."""
        return self._count(f"tasks WHERE kind = '{KIND}' AND state IN ('ready', 'leased')")

    def admiring(self) -> dict[str, int]:
        """The tasks that only the next version knows, by state."""
        states = ("ready", "leased", "done", "parked")
        found = {state: self._count(f"tasks WHERE kind = '{KIND}' AND state = '{state}'") for state in states}
        return {state: count for state, count in found.items() if count}

    def end(self) -> None:
        for program in (*self.new.helpers, self.new):
            if program.alive:
                program.kill()

    def _migrate(self, *more: str) -> None:
        command = [sys.executable, "-m", "app", "migrate", *more]
        done = subprocess.run(
            command, cwd=self.new.code, env=dict(self.new.environment), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _count(self, rows: str) -> int:
        assert self.old.settings
        engine = create_engine(self.old.settings.database)
        with engine.connect() as connection:
            count: int = connection.execute(text(f"SELECT count(*) FROM {rows}")).scalar_one()
        engine.dispose()
        return count


def _another(old: Service, tree: Path) -> Service:
    """The program in that tree beside the one that runs; fal calls the one that was there first."""
    port = free_port()
    place = {"PYTHONPATH": str(tree), "PORT": str(port), "DARKROOM_PUBLIC_URL": old.base_url}
    environment = {**old.environment, **place}
    told = tree / "serve.log"
    return replace(old, environment=environment, said=told, code=tree, process=None, port=port, folder=tree, helpers=[])


def _lives(worker: Program) -> int:
    """How often it has begun to work."""
    return [line.get("event") for line in log_lines(worker)].count("working")


def _for(seconds: float) -> None:
    threading.Event().wait(seconds)
