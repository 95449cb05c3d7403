"""T22: stopping and going on, again and again under load; and this version and the next side by side on one database,
which is migrated up and down again while jobs are in flight. What only the next one can do waits for it.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from sqlalchemy import create_engine, text

from app.store.schema import newest
from tests.inside import newcomer
from tests.proof.both_sides import examine, until_quiet
from tests.proof.customers import Book, customers, not_completed, request
from tests.proof.next_version import KIND, next_version
from tests.proof.scoreboard import Effort, Score
from tests.running import Program, Service, free_port, running, schema_of_its_own
from tests.waiting import until_blocking

SPEED = 15.0
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
        until_quiet(service, within=300)
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
        old.key = newcomer(old.settings, jobs + 10 * rounds)
        pair = _Versions(old, old.beside("app", "work"), _another(old, tree))
        stack.callback(pair.end)
        with customers(old, jobs=jobs, over=8.0 * rounds) as book:
            for _ in range(rounds):
                pair.up(book)
                pair.start_this_one_again()
                pair.down()
        pair.up(book)
        until_quiet(old, within=300)
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
        if httpx.get(f"{self.old.base_url}/readyz", trust_env=False).status_code != 200:
            self.wrong.append("this version is not ready with the next one's tables")
        self.new.start()
        self.new.beside("app", "work")
        before = self.admiring().get("done", 0)
        with self.new.client() as client:
            for n in range(5):
                assert book.heed(uuid.uuid4().hex, client.post("/api/v1/jobs", json=request(f"to the next {n}")))
        until_blocking(lambda: self.admiring().get("done", 0) > before, within=120)

    def start_this_one_again(self) -> None:
        """Beside the next one, on tables newer than its own."""
        self.worker.kill()
        self.worker.start()
        if self.old.stop():
            self.wrong.append("this version did not end well")
        self.old.start()

    def down(self) -> None:
        """With jobs in flight, and with tasks left that nobody here knows."""
        until_blocking(lambda: self.admiring().get("ready", 0), within=120)
        for program in (*self.new.helpers, self.new):
            if program.stop():
                self.wrong.append("the next version did not end well")
        self.new.helpers.clear()
        self._migrate("--to", newest())
        self.met += until_blocking(lambda: self._count(f"kind = '{KIND}' AND last_error IS NOT NULL"), within=120)

    def admiring(self) -> dict[str, int]:
        """The tasks that only the next version knows, by state."""
        states = ("ready", "leased", "done", "parked")
        found = {state: self._count(f"kind = '{KIND}' AND state = '{state}'") for state in states}
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

    def _count(self, condition: str) -> int:
        assert self.old.settings
        engine = create_engine(self.old.settings.database)
        with engine.connect() as connection:
            count: int = connection.execute(text(f"SELECT count(*) FROM tasks WHERE {condition}")).scalar_one()
        engine.dispose()
        return count


def _another(old: Service, tree: Path) -> Service:
    """The program in that tree beside the one that runs; fal calls the one that was there first."""
    port = free_port()
    place = {"PYTHONPATH": str(tree), "PORT": str(port), "DARKROOM_PUBLIC_URL": old.base_url}
    environment = {**old.environment, **place}
    told = tree / "serve.log"
    return replace(old, environment=environment, said=told, code=tree, process=None, port=port, folder=tree, helpers=[])


def _for(seconds: float) -> None:
    threading.Event().wait(seconds)
