"""T21: wrong clocks. Minutes and an hour fast and slow, set back while work is in hand, past the end of 32 bits; and on
PostgreSQL three processes of which no two agree. Nothing is lost, settled twice or leased for ever, and nobody waits
for an hour that never comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.proof.both_sides import examine, until_quiet
from tests.proof.scoreboard import Effort, Score
from tests.running import running, schema_of_its_own
from tests.stories.desk import Desk
from tests.wrong_clock import WrongClock, why_not

SPEED = 30.0
WITHIN = 120.0
_NOTICED = 1.0
"""Seconds, some heartbeats at this pace: two jumps within one of them are seen as their sum."""
_SHIFTS = ("+4m", "-4m", "+6m", "-6m", "+1h", "-1h", "+0")
_END_OF_TIME = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)
_PATIENT = {"deadline_seconds": 86_400}
"""Our own limit of six hours is short at this pace, and a clock that jumps ahead by an hour has used it up."""


def prove_clocks(effort: Effort, folder: Path) -> Iterator[Score]:
    if refused := why_not():
        yield Score("T21", "wrong clocks", refused=refused)
        return
    rounds = effort.of(1, 6)
    proofs: tuple[Callable[[Path, int], Score], ...] = (_jumps, _the_end_of_32_bits, _nobody_agrees)
    with ThreadPoolExecutor(len(proofs)) as pool:
        yield from pool.map(lambda proof: proof(folder / proof.__name__, rounds), proofs)


def _jumps(folder: Path, rounds: int) -> Score:
    """One clock, set again and again while there are jobs at every stage."""
    clock = WrongClock.at(folder / "clock")
    given: Any = clock.environment
    with running(folder, speed=SPEED, **given) as service, Desk.open(service) as desk:
        jobs = []
        for _ in range(rounds):
            for shift in _SHIFTS:
                jobs += [desk.order(f"in hand at {shift} {words}", **_PATIENT) for words in ("", "[[slow:60]]")]
                clock.set(shift)
                jobs.append(desk.order(f"after {shift}", **_PATIENT))
                threading.Event().wait(_NOTICED)
        overdue = desk.ended(desk.order("[[never]]", deadline_seconds=1), within=WITHIN)
        wrong = _not_completed(desk, jobs)
        if overdue["error"]["code"] != "deadline-passed":
            wrong.append(f"what is done again and again is done no more: {overdue}")
        until_quiet(service, within=60)
        wrong += examine(service).wrong
    return Score("T21", "a clock that jumps", {"jobs": len(jobs), "jumps": rounds * len(_SHIFTS)}, wrong)


def _the_end_of_32_bits(folder: Path, rounds: int) -> Score:
    clock = WrongClock.at(folder / "clock")
    given: Any = clock.environment
    with running(folder, speed=SPEED, start=False, **given) as service:
        clock.set(f"{_END_OF_TIME.timestamp() - time.time() - 4:+.0f}")  # four seconds before it, when it starts
        service.start()
        with Desk.open(service) as desk:
            jobs = [desk.order(f"in 2038 {n} [[slow:{60 * n}]]", **_PATIENT) for n in range(4 * rounds)]
            wrong = _not_completed(desk, jobs)
            until_quiet(service, within=60)
            ended = max(desk.job(job["id"])["finished_at"] for job in jobs)
            if ended < _END_OF_TIME.isoformat()[:19]:
                wrong.append(f"all was over at {ended}, before the second in question")
            wrong += examine(service).wrong
    return Score("T21", "2038", {"jobs": len(jobs)}, wrong)


def _nobody_agrees(folder: Path, rounds: int) -> Score:
    """The service an hour slow, one worker right, one an hour fast and then an hour slow while it works."""
    service_clock, worker_clock = WrongClock.at(folder / "slow", "-1h"), WrongClock.at(folder / "fast", "+1h")
    given: Any = service_clock.environment | {"DARKROOM_RUNNER": "none"}
    with schema_of_its_own() as database, running(folder, speed=15.0, database=database, **given) as service:
        right = dict.fromkeys(service_clock.environment, "")
        workers = [service.beside("app", "work", **worker_clock.environment), service.beside("app", "work", **right)]
        with Desk.open(service) as desk:
            jobs = [desk.order(f"an hour apart {n} {_words(n)}", **_PATIENT) for n in range(12 * rounds)]
            worker_clock.set("-1h")
            jobs += [desk.order(f"and set back {n} {_words(n)}", **_PATIENT) for n in range(12 * rounds)]
            wrong = _not_completed(desk, jobs)
            until_quiet(service, within=60)
            wrong += examine(service).wrong
        wrong += [f"a worker ended with {code}" for worker in workers if (code := worker.stop())]
    return Score("T21", "three clocks, hours apart", {"jobs": len(jobs)}, wrong)


def _words(n: int) -> str:
    """What makes the rest of the line be used: webhooks that never come, generations that fail, slow ones."""
    return ("", "[[chaos:lost]]", "[[fail:1]]", "[[slow:60]]")[n % 4]


def _not_completed(desk: Desk, jobs: list[dict[str, Any]]) -> list[str]:
    ends = {job["id"]: desk.ended(job, within=WITHIN)["status"] for job in jobs}
    return [f"{job} is {status}" for job, status in ends.items() if status != "completed"]
