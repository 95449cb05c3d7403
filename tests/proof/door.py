"""T7: the webhook door. It takes in a letter if and only if a second reader, who shares no line with it, finds it
genuine, ours, fresh and rightly tagged; whatever is sent, it has an answer of its own, and what it did not take in has
changed nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from structlog.testing import capture_logs

from tests.home import Home, home_in
from tests.little_fal import Letter
from tests.proof.forgeries import Addressed, Forger
from tests.proof.scoreboard import Effort, Score
from tests.proof.second_reader import Delivery, SecondReader

_AT_ONCE = 64
_TOLD = 5
_CORES = 2
_FOUND = {(200, "accepted"): "genuine", (200, "repeated"): "genuine", (200, "stale"): "stale"}
_MAY_CHANGE = frozenset({"refusals", "deliveries", "tasks"})
"""Beside what was taken in there is its task, and one that is woken by what is stale."""
_DELIVERIES = "SELECT attempt, request_id, timestamp, body_sha256 FROM deliveries"


@dataclass
class Tried:
    """`taken`: what was rightly taken in. `wrong` holds the first few sentences; `counts` has all that was amiss."""

    counts: Counter[str] = field(default_factory=Counter)
    taken: set[Delivery] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def blame(self, words: str) -> None:
        self.counts["amiss"] += 1
        if len(self.wrong) < _TOLD:
            self.wrong.append(words)


def prove_door(effort: Effort, folder: Path) -> Iterator[Score]:
    """Each part has a house of its own."""
    each, parts = effort.of(10_000, 100_000), effort.of(2, 20)
    chances = [f"door {effort.seed} {part}" for part in range(parts)]
    with ProcessPoolExecutor(_CORES, multiprocessing.get_context("spawn")) as pool:
        tried = list(pool.map(_tried, [each] * parts, chances, [folder / str(part) for part in range(parts)]))
    counts = sum((each.counts for each in tried), Counter[str]())
    yield Score("T7", "webhook door against a second reader", counts, [words for each in tried for words in each.wrong])


def _tried(count: int, chance: str, folder: Path) -> Tried:
    try:
        return asyncio.run(_in_a_house(count, chance, folder))
    finally:
        shutil.rmtree(folder)


async def _in_a_house(count: int, chance: str, folder: Path) -> Tried:
    tried = Tried()
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        home = await stack.enter_async_context(home_in(folder))
        waiting = [await home.submitted() for _ in range(4)]
        forger = Forger(home.fal, [Addressed(w.webhook, w.request_id) for w in waiting], Random(chance))
        public = bytes(home.fal.keys[-1].verify_key)
        reader = SecondReader.of(public, {w.attempt: w.request_id for w in waiting})
        before, asked = home.tables(_MAY_CHANGE), home.fal.asked
        began = time.monotonic()
        for _ in range(count // _AT_ONCE + 1):
            await asyncio.gather(*(_judged(home, reader, forger.letter(), tried) for _ in range(_AT_ONCE)))
            for line in lines:
                if line["log_level"] in ("error", "critical"):
                    tried.blame(f"logged: {line}")
            lines.clear()
        minutes = (time.monotonic() - began) // 60 + 1
        kept = {tuple(row.values()) for row in home.rows(_DELIVERIES)}
        if kept != tried.taken:
            tried.blame(f"taken in and not kept: {tried.taken - kept}; kept and not taken in: {kept - tried.taken}")
        if changed := [name for name, rows in home.tables(_MAY_CHANGE).items() if rows != before[name]]:
            tried.blame(f"letters that wait to be worked on have changed {changed}")
        if home.fal.asked - asked > minutes:
            tried.blame(f"fal was asked for its keys {home.fal.asked - asked} times in {minutes} minutes")
    for verdict in ("genuine", "stale", "neither"):
        if tried.counts[verdict] < count / 100:
            tried.blame(f"only {tried.counts[verdict]} of {count} letters were {verdict}")
    return tried


async def _judged(home: Home, reader: SecondReader, letter: Letter, tried: Tried) -> None:
    """A letter may grow stale while it is being read: then either verdict is right."""
    before = reader.read(letter, time.time())
    try:
        status, said = await knock(home, letter)
    except Exception as error:  # noqa: BLE001  # that there is none is what is to be shown
        tried.blame(f"{error!r} came out of {letter}")
        return
    right = dict([before, before if before[0] == "neither" else reader.read(letter, time.time())])
    found = _FOUND.get((status, said), "neither")
    tried.counts.update(["cases", found])
    if found not in right or (found == "neither" and not 400 <= status < 500):
        tried.blame(f"{' or '.join(right)}, but the door says {status} {said}: {letter}")
    elif delivery := right[found]:
        tried.taken.add(delivery)


async def knock(home: Home, letter: Letter) -> tuple[int, str]:
    """The status and what was said. Without a client, whose own work would be most of what is measured."""
    scope = {"type": "http", "method": "POST", "path": letter.path, "query_string": b"", "headers": letter.pairs}
    middle = len(letter.body) // 2
    pieces, said = iter([(letter.body[:middle], True), (letter.body[middle:], False)]), list[Any]()

    async def receive() -> Any:
        body, more = next(pieces)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: Any) -> None:
        said.append(message)

    await home.app(scope, receive, send)
    return int(said[0]["status"]), b"".join(m.get("body", b"") for m in said[1:]).decode()
