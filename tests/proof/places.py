"""Where a service can die: the failpoints that each workload passes, and which of them are tried."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

_MOST_TURNS = 5
_LOOKS = (
    "Bus.",
    "Blobs.url",
    "Blobs.stat",
    "Blobs.keys",
    "Blobs.read",
    *(f"Provider.{name}" for name in ("ticket", "keys", "progress", "result", "listed")),
)
"""What changes nothing anywhere."""
_SURE = 3
"""What is passed so often in one life is passed at least once in another."""
_ALWAYS_IN = {"Provider.listed": "unheard", "reconcile.searched": "unheard"}
"""Points that a slow answer of fal leads any workload past, however often, and the one that cannot miss them."""
_TICKING = ("Bus.", "runner.", "lifespan.", "housekeeping.", "sweep.")
"""Points that are passed by the clock or with every write, whatever the workload does."""


@dataclass(frozen=True)
class Place:
    """Where to die, at the n-th passing of a point, in a workload."""

    workload: str
    point: str
    turn: int
    then: str = ""
    """Where to die again, in the life after that one."""

    def __str__(self) -> str:
        return f"{self.workload}: {self.point}:{self.turn}{self.then and f', then {self.then}'}"


def sample(passed: dict[str, Counter[str]]) -> list[Place]:
    """Every point once, at its first passing, in the shortest workload that is sure to pass it. Before or after a look
    is all one."""
    places = []
    for point in sorted({point for points in passed.values() for point in points}):
        if point.startswith(_LOOKS) and point.endswith(":before"):
            continue
        workload = _ALWAYS_IN.get(point.rpartition(":")[0]) or _shortest_sure(point, passed)
        places.append(Place(workload, point, 1))
    return places


def _shortest_sure(point: str, passed: dict[str, Counter[str]]) -> str:
    enough = min(max(points[point] for points in passed.values()), _SURE)
    return next(workload for workload, points in passed.items() if points[point] >= enough)


def whole(passed: dict[str, Counter[str]]) -> list[Place]:
    """Every point in every workload, at each of its first passings; what ticks anyway in the shortest alone."""
    shortest = next(iter(passed))
    places = [
        Place(workload, point, turn)
        for workload, points in passed.items()
        for point, hits in sorted(points.items())
        if workload == shortest or not point.startswith(_TICKING)
        for turn in range(1, min(hits, _MOST_TURNS) + 1)
    ]
    random.Random(0).shuffle(places)  # however far it comes, it has been everywhere
    return places


def pairs(passed: dict[str, Counter[str]], number: int, dice: random.Random) -> list[Place]:
    """A death and another one in the recovery from it, so many of them by chance."""
    places = whole(passed)
    return [
        replace(place, then=dice.choice(sorted(passed[place.workload])))
        for place in (dice.choice(places) for _ in range(number))
    ]


NOT_REACHED = {
    # writes
    "reconcile._look_again": "only when fal answers that it is done and then that it is not",
    "ingest.again": "only when fal does not know a result that it has told of; tests/jobs/test_missing.py forgets some",
    "dispatch._evidence": "only when a lease runs out while fal is slow; the workers' test loses leases",
    "dispatch.fail": "only when a picture vanishes between acceptance and dispatch",
    "recall.again": "only when fal does not answer a cancel",
    "parked.fail": "only when a task is parked; stories/test_poison.py parks one",
    "runs.given_up": "the same",
    "runner._bury": "the same",
    "housekeeping.announced": "only when there are events of a month ago to trim",
    "runner.release": "only at an orderly stop; test_drain.py stops",
    "breaker._tell": "only after five refusals in a row; test_chaos.py storms",
    "dispatch._hold_back": "the same",
    "redrive.redriven": "for the operator alone",
    "api.granted": "for the operator alone",
    "page.create_signin": "for `admin` alone",
    "page.use_signin": "a person's browser",
    "development._make": "before anything is served",
    "playground.grant": "before anything is served",
    "storage.settle": "the same, by the first process of all",
    "restored.note_restore": "the command `restored` alone; tests/jobs/test_restored.py and the restore drill",
    "restored.note_purchases": "the same",
    "refusals.note_unknown": "a purchase that a restore has lost; tests/jobs/test_restored.py",
    "reconcile.record": "only after three completions in a row that no webhook told of",
    "outages.again": "only when fal is away for long; test_outages.py sends it away, and what else jobs need",
    "outages._tell": "the same",
    "outages._tell_afterwards": "the same; tests/jobs/test_outages.py ends an outage of the database",
    "outages._hasten_page": "the same",
    "outages._hasten_one": "the same",
    "lifespan.database_now": "only where processes share a database; test_clocks.py has them disagree",
    "runner.bring_back": "only when the machine's clock is set back",
    # ports
    "Fetcher.judge": "looks at an address and does nothing",
    "Blobs.check": "a health check",
    "Blobs.open_signed": "a page's picture; nothing is written",
    "Bus.check": "a health check",
    "Vision.check": "a health check; the doctor's alone",
    "Bus.close": "only at an orderly stop",
}
"""Points that no workload is sure to pass, and why, or which test does."""
