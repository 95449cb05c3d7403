"""T15: the whole path for a long time: jobs at a steady pace, people who follow, and one job in fifty in some trouble.
Once it is warm, what the service holds grows no more: memory, descriptors, threads, work in hand, the database's log.
In the end nothing is lost, paid twice or kept twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx

from tests.bench.machine import memory
from tests.inside import newcomer
from tests.proof.both_sides import examine, until_quiet
from tests.proof.crowd import Crowd
from tests.proof.scoreboard import Effort, Score
from tests.running import Service, running, schema_of_its_own

CHAOS = "all=0.02,late=0,storm_429=0"
SPEED = 10.0
RATE = 5
"""Jobs a second."""
_WARM = 0.5
"""Of the time. Caches fill and pools open meanwhile."""
_EVERY = 1.0
_LONG = 600
_CERTAIN = 1.96
_LOG_KB = 65_536.0
"""Four times what is written before the log is moved into the database."""
_GROWS = {"descriptors": 32.0, "threads": 4.0, "in_hand": 32.0}
"""What comes and goes with the pace of the moment, over the whole of the warm time."""
_KB_A_JOB = 4.0
_KB_A_JOB_AT_FIRST = 512.0
"""In a minute caches do not fill: what it can find is pictures that are kept."""
_IN_HAND = re.compile(r"^darkroom_tasks_in_hand (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Look:
    """At the service, so many seconds after the beginning: KB, counts, and the KB of the database's log."""

    at: float
    memory: float
    descriptors: float
    threads: float
    in_hand: float
    log: float


@dataclass(frozen=True)
class Line:
    """Least squares: units a second, and how far off that may be with 95 % certainty."""

    slope: float
    margin: float

    @classmethod
    def through(cls, times: Sequence[float], values: Sequence[float]) -> Line:
        n = len(times)
        middle, level = sum(times) / n, sum(values) / n
        spread = sum((t - middle) ** 2 for t in times)
        slope = sum((t - middle) * (v - level) for t, v in zip(times, values, strict=True)) / spread
        rest = sum((v - level - slope * (t - middle)) ** 2 for t, v in zip(times, values, strict=True))
        return cls(slope, _CERTAIN * (rest / (n - 2) / spread) ** 0.5)


def prove_soak(effort: Effort, folder: Path) -> Iterator[Score]:
    seconds, readers = effort.of(60, 1_200), effort.of(50, 200)
    with ThreadPoolExecutor(2) as pool:
        kinds = ("sqlite", "postgresql")
        yield from pool.map(lambda kind: _soaked(kind, seconds, readers, Random(effort.seed), folder / kind), kinds)


def _soaked(kind: str, seconds: int, readers: int, dice: Random, folder: Path) -> Score:
    with ExitStack() as stack:
        database = stack.enter_context(schema_of_its_own()) if kind == "postgresql" else None
        service = stack.enter_context(running(folder, speed=SPEED, chaos=CHAOS, database=database))
        assert service.settings
        service.key = newcomer(service.settings, 2 * seconds * RATE)
        crowd = stack.enter_context(Crowd(service.port, service.key, dice))
        crowd.follow(readers)
        looks = _watched(service, crowd, seconds)
        wrong = list[str]()
        crowd.until(crowd.orders_answered, within=30)
        until_quiet(service, within=max(120, seconds))
        if missed := sum(reader.missed + reader.again for reader in crowd.readers):
            wrong.append(f"readers missed events or heard them again {missed} times")
        if odd := {status: n for status, n in crowd.answered.items() if status != 202}:
            wrong.append(f"orders were answered {odd}")
        wrong += examine(service).wrong
        most = _KB_A_JOB if seconds > _LONG else _KB_A_JOB_AT_FIRST
    warm = [look for look in looks if look.at >= seconds * _WARM]
    wrong += judged(warm, most)
    line = _line(warm, "memory")
    counts: dict[str, float] = {"jobs": crowd.answered[202], "streams": readers, "MB": round(warm[-1].memory / 1024)}
    counts |= {"KB a job": round(line.slope / RATE, 2), "give or take": round(line.margin / RATE, 2)}
    counts |= {"MB of log": round(max(look.log for look in looks) / 1024)}
    return Score("T15", f"{seconds / 60:g} minutes on {kind}", counts, wrong)


def _watched(service: Service, crowd: Crowd, seconds: int) -> list[Look]:
    looks, began = list[Look](), time.monotonic()
    with httpx.Client(base_url=service.base_url, trust_env=False, timeout=30) as client:

        def over() -> bool:
            at = time.monotonic() - began
            if at >= (looks[-1].at if looks else 0.0) + _EVERY:
                looks.append(_look(service, client, at))
            return at >= seconds

        crowd.until(over, orders=RATE, within=2 * seconds)
    return looks


def _look(service: Service, client: httpx.Client, at: float) -> Look:
    assert service.process
    own = Path(f"/proc/{service.process.pid}")
    log = service.settings.home / "darkroom.db-wal" if service.settings else Path()
    in_hand = _IN_HAND.search(client.get("/metrics").text)
    return Look(
        at,
        memory(service.process.pid),
        len(list((own / "fd").iterdir())),
        len(list((own / "task").iterdir())),
        float(in_hand[1]) if in_hand else 0.0,
        log.stat().st_size / 1024 if log.is_file() else 0.0,
    )


def judged(warm: Sequence[Look], most_kb_a_job: float) -> Iterator[str]:
    """What grows for certain."""
    span = warm[-1].at - warm[0].at
    line = _line(warm, "memory")
    if (line.slope - line.margin) / RATE > most_kb_a_job:
        yield f"each job leaves {line.slope / RATE:.1f} KB of memory behind, give or take {line.margin / RATE:.1f}"
    for what, most in _GROWS.items():
        line = _line(warm, what)
        if (line.slope - line.margin) * span > most:
            yield f"{what} grew by {line.slope * span:.0f} in {span:.0f} s"
    if (log := max(look.log for look in warm)) > _LOG_KB:
        yield f"the database's log grew to {log:.0f} KB"


def _line(looks: Sequence[Look], what: str) -> Line:
    return Line.through([look.at for look in looks], [getattr(look, what) for look in looks])
