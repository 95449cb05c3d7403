"""T2: kill -9 at random times under load, hundreds of them. Customers go on asking through all of it and write down
what they are answered; in the end every job that was acknowledged has ended, and nothing was bought, paid or kept
twice.

A killed service is born again from a nursery, which takes a tenth of a start. What it died in the middle of is read
from its database before the next life begins.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from tests.inside import newcomer
from tests.proof.both_sides import examine, until_quiet
from tests.proof.customers import Book, customers
from tests.proof.mortal import Mortal
from tests.proof.nursery import Nursery
from tests.proof.scoreboard import Effort, Score
from tests.running import running, schema_of_its_own
from tests.waiting import until_blocking

CHAOS = "all=0.05,late=0,storm_429=0"
"""A twentieth of the jobs has each trouble. What is late, and a pause of all sending, would only take time."""
LONGEST_LIFE = 1.5
STILLBORN = 0.15
STEPS = ("accepting", "dispatch", "submitting", "submitted", "ingest", "storing", "mirror", "reconcile")
"""Where a death must have fallen, often enough in the full effort: a stage that was under way, or a state."""
_OFTEN_ENOUGH = 20
_JOBS_A_LIFE = 6
_UNDER_WAY = "SELECT DISTINCT kind FROM tasks WHERE state = 'leased' AND kind LIKE 'jobs.%'"
_OPEN = "SELECT DISTINCT status FROM jobs WHERE finished_at IS NULL"
_OVER = "SELECT id FROM jobs WHERE finished_at IS NOT NULL"
_SET_ASIDE = "SELECT CAST(payload AS TEXT) FROM tasks WHERE state = 'parked' AND deaths >= 3"
"""A task in whose worker's hands it was at three deaths is taken for their cause. Here it never is; yet that it is set
aside is no violation, as long as each death makes one suspect guilty at most."""


@dataclass(frozen=True)
class Kind:
    """On SQLite whoever comes next inherits at once; on PostgreSQL leases have to run out, so that time goes slower."""

    name: str
    speed: float
    kills: int


@dataclass
class Killer:
    service: Mortal
    book: Book
    dice: random.Random
    deaths: Counter[str] = field(default_factory=Counter)

    def kill(self, engine: Engine) -> None:
        """At any time of its life; sometimes before it has answered anybody."""
        stillborn = self.dice.random() < STILLBORN
        if not stillborn:
            until_blocking(self.service.answers, within=30)
        before = self.book.cut
        threading.Event().wait(self.dice.uniform(0, LONGEST_LIFE))
        self.service.kill()
        self.deaths["kills"] += 1
        self.deaths["stillborn"] += stillborn
        with engine.connect() as connection:
            leased = connection.execute(text(_UNDER_WAY)).scalars()
            states = connection.execute(text(_OPEN)).scalars()
            for step in (*(str(kind).removeprefix("jobs.") for kind in leased), *map(str, states)):
                self.deaths[step] += 1
        self.service.start()
        self.deaths["accepting"] += self.book.cut > before


def prove_kills(effort: Effort, folder: Path) -> Iterator[Score]:
    kinds = [Kind("sqlite", 60.0, effort.of(12, 300)), Kind("postgresql", 15.0, effort.of(3, 100))]
    with Nursery() as nursery:
        for kind in kinds:
            yield _killed(kind, effort, folder / kind.name, nursery)


def _killed(kind: Kind, effort: Effort, folder: Path, nursery: Nursery) -> Score:
    with ExitStack() as stack:
        database = stack.enter_context(schema_of_its_own()) if kind.name == "postgresql" else None
        plain = stack.enter_context(running(folder, speed=kind.speed, chaos=CHAOS, database=database, start=False))
        service = Mortal.of(plain, nursery)
        stack.callback(service.end)
        assert service.settings
        jobs = kind.kills * _JOBS_A_LIFE
        service.key = newcomer(service.settings, jobs)
        engine = create_engine(service.settings.database, poolclass=NullPool)
        service.start()
        with customers(service, jobs=jobs, over=kind.kills * LONGEST_LIFE / 2, words="a port") as book:
            killer = Killer(service, book, random.Random(f"{kind.name} {effort.seed}"))
            for _ in range(kind.kills):
                killer.kill(engine)
            until_blocking(service.answers, within=20)
        until_quiet(service, within=effort.of(60, 300))
        wrong = [*book.odd, *_wrong(service, book, engine, killer.deaths)]
        if len(book.acknowledged) < jobs:
            wrong.append(f"only {len(book.acknowledged)} of {jobs} jobs were acknowledged")
        if effort.full:
            wrong += [f"died only {killer.deaths[s]} times in {s}" for s in STEPS if killer.deaths[s] < _OFTEN_ENOUGH]
        return Score("T2", f"kill -9 on {kind.name}", {"jobs": jobs, **killer.deaths}, wrong)


def _wrong(service: Mortal, book: Book, engine: Engine, counts: Counter[str]) -> Iterator[str]:
    with engine.connect() as connection:
        parked = " ".join(connection.execute(text(_SET_ASIDE)).scalars())
        over = set(connection.execute(text(_OVER)).scalars())
    aside = {job for job in over if job in parked}
    counts["set aside"] = len(aside)
    if len(aside) > counts["kills"]:
        yield f"{counts['kills']} deaths had {len(aside)} jobs set aside: suspects were not tried alone"
    for words in examine(service).wrong:
        if not (words.partition(":")[0] in aside and "poisoned" in words):
            yield words
    for job in book.acknowledged.values():
        if job not in over:
            yield f"{job} was acknowledged and has not ended"
