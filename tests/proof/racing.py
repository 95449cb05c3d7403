"""True concurrency (T5): eight programs at one database, first SQLite, then PostgreSQL, set off together round by
round.

Beside the races stands the way in which it must not be done: read the balance, subtract, commit. It has to lose, or
this machine shows no races at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, create_engine, delete, update
from sqlmodel import Session

from app.credits.ledger import grant
from app.credits.model import BalanceRow
from app.services import Services
from app.settings import Settings
from app.store.columns import metadata, table
from app.store.write import Tx
from app.wiring import FEATURES
from tests.proof.races import RACES, Race
from tests.proof.rivals import RIVALS, Rivals, Strike, at, rivals
from tests.proof.scoreboard import Effort, Score
from tests.proof.stakes import USER, WORKSPACE
from tests.running import SECRET, prepared, schema_of_its_own, settings_from

_CREDITS = 1_000_000
_DEBITS = 40
_BLOCK = 5
_TOLD = 20
_AS_IT_GOES = ("jobs and tasks", "runs settled", "jobs and pictures", "deliveries")
"""Checks of a house in which the work goes on: here it is stopped in the middle of it."""


_FAL = {"DARKROOM_FAL_URL": "http://127.0.0.1:9", "DARKROOM_FAL_USER_ID": USER}
"""Nobody answers there: no race may need to ask."""


def prove_races(effort: Effort, folder: Path) -> Iterator[Score]:
    """One score for each database."""
    for kind in ("sqlite", "postgresql"):
        with ExitStack() as open_:
            given = {"DARKROOM_DATA": str(folder / kind)}
            if kind == "postgresql":
                given["DARKROOM_DATABASE_URL"] = open_.enter_context(schema_of_its_own())
            settings = settings_from({**given, "DARKROOM_SECRET": SECRET, **_FAL})
            prepared(settings)
            eight = open_.enter_context(rivals(settings))
            yield asyncio.run(_raced(effort, f"races on {kind}", settings, eight))


async def _raced(effort: Effort, name: str, settings: Settings, eight: Rivals) -> Score:
    """As many rounds of each race as there is time for: it is short where others are at work too."""
    wrong: list[str] = []
    done: Counter[str] = Counter()
    async with at(settings) as services:
        for race in RACES:
            over = time.monotonic() + effort.of(2, 70)
            while done[race.name] < effort.of(200, 5_000) and (not done[race.name] or time.monotonic() < over):
                wrong += await _rounds(services, race, eight)
                done[race.name] += _BLOCK
        lost = await _lost(services, eight, settings.database, unsafe_debit)
        if not lost:
            wrong.append("the unsafe debit lost nothing, so these races show nothing")
        if safe := await _lost(services, eight, settings.database, safe_debit):
            wrong.append(f"the conditional debit lost {safe} updates")
    counts = {"races": len(RACES), "rounds": done.total(), "fewest rounds": min(done.values()), "rivals": RIVALS}
    return Score("T5", name, counts | {"unsafe debits": RIVALS * _DEBITS, "of them lost": lost}, wrong[:_TOLD])


async def _rounds(services: Services, race: Race, eight: Rivals) -> list[str]:
    """Some rounds in a house with nothing in it but credits and the stakes; what was wrong."""
    await _clear(services)
    stakes = await race.prepare(services, _BLOCK)
    heard = eight.strike(race.strike, stakes)
    wrong = [str(dict(Counter(words))) for words in heard if not race.fair(Counter(words))]
    wrong += await race.judge(services, stakes)
    beside = (*_AS_IT_GOES, *race.beside)
    for check in (each for feature in FEATURES for each in feature.checks if each.name not in beside):
        wrong += (await check.find(services)).violations
    return [f"{race.name}: {what}" for what in wrong]


async def _clear(services: Services) -> None:
    def cleared(tx: Tx) -> None:
        for each in metadata.sorted_tables:
            tx.execute(delete(each))
        grant(tx, "xfer_races", WORKSPACE, _CREDITS, "to race for")

    await services.db.write(cleared)


# ----------------------------------------------------------------------------------------------------------------------
# How it must not be done, and the same thing done right


async def _lost(services: Services, eight: Rivals, url: str, debit: Strike) -> int:
    """How many debits were reported and are not in the balance."""
    await _clear(services)
    heard = eight.strike(debit, [url] * _DEBITS)
    reported = sum(words.count("won") for words in heard)
    async with services.db.read() as session:
        left = (await session.get_one(BalanceRow, WORKSPACE)).available
    return int(reported - (_CREDITS - left))


@cache
def _engine(url: str) -> Engine:
    """With nothing set: as it comes."""
    return create_engine(url)


async def unsafe_debit(_services: Services, url: str, _me: int) -> str:
    """As anybody would write it down: read, subtract, commit."""
    with Session(_engine(url)) as session:
        balance = session.get_one(BalanceRow, WORKSPACE)
        balance.available -= 1
        session.add(balance)
        session.commit()
    return "won"


async def safe_debit(services: Services, _url: str, _me: int) -> str:
    balances = table(BalanceRow)
    enough = update(balances).where(balances.c.workspace == WORKSPACE, balances.c.available >= 1)
    statement = enough.values(available=balances.c.available - 1)
    changed = await services.db.write(lambda tx: tx.execute(statement).rowcount)
    return "won" if changed == 1 else "late"
