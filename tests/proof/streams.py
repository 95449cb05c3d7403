"""T13: streams, cut off at every byte and again and again while events come, resumed by header and by query, on both
databases: each event is heard once, in order, and where history was trimmed that is said.

Beside it stands the same reader where numbers come from a sequence. It has to lose an event.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.contracts.following import Followed, cut_again_and_again, cut_at_every_byte, numbered_by_a_sequence
from tests.proof.scoreboard import Effort, Score
from tests.store.journal import DATABASES, journal_on

_WORKSPACES = ("ws", "other")
"""Each with a stream of its own, at the same time."""
_FRESH_AFTER = 2_500
"""Cuts; then a new log."""


def prove_streams(effort: Effort, folder: Path) -> Iterator[Score]:
    """So many cuts on the wire; those at every byte come on top."""
    for kind in DATABASES:
        cuts, counts, wrong = effort.of(1_000, 25_000), Counter[str](), list[str]()
        for begin in range(0, cuts, _FRESH_AFTER):
            place = folder / f"{kind} {begin}"
            place.mkdir(parents=True)
            dice = Random(f"streams {kind} {effort.seed} {begin}")
            for each in asyncio.run(_cut(kind, place, min(_FRESH_AFTER, cuts - begin) // len(_WORKSPACES), dice)):
                counts += each.counts
                wrong += each.wrong
        if not counts["resets"]:
            wrong.append("history was never trimmed beyond what was heard")
        yield Score("T13", f"streams cut on the wire, {kind}", {"missing": 0, "again": 0, **counts}, wrong)
        (folder / kind).mkdir()
        followed = asyncio.run(_cut_at_every_byte(kind, folder / kind))
        yield Score("T13", f"a stream cut at every byte, {kind}", followed.counts, followed.wrong)
    heard = asyncio.run(numbered_by_a_sequence(folder))
    missed = 3 - len(heard)
    blind = [] if missed else ["a reader who has to lose an event lost none"]
    yield Score("T13", "control: numbers from a sequence", {"missing": missed}, blind)


async def _cut(kind: str, folder: Path, cuts: int, dice: Random) -> list[Followed]:
    async with journal_on(kind, folder) as journal:
        readers = (cut_again_and_again(journal, cuts, Random(dice.random()), each) for each in _WORKSPACES)
        return await asyncio.gather(*readers)


async def _cut_at_every_byte(kind: str, folder: Path) -> Followed:
    async with journal_on(kind, folder) as journal:
        return await cut_at_every_byte(journal)
