"""advance: one of many wins, and whoever is late leaves nothing behind, not even the settlement."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select

from app.core.events import Topic
from app.core.ids import derived
from app.credits.ledger import Hold, grant, hold, post, void
from app.credits.model import BalanceRow, TransferRow
from app.jobs.events import RunCancelled, RunCompleted, RunFailed, RunPaused, RunResumed
from app.jobs.lifecycle import RUN, RunStatus
from app.jobs.model import Policy, RunRow
from app.store.advance import Moved, advance
from app.store.columns import table
from app.store.log import EventRow
from app.store.tasks import NewTask, TaskRow
from app.store.write import Tx
from tests.databases import THE_PAST, Shelf

HELD = Hold("hold", "ws", 5, "run")
TOPIC = Topic("ws", run="run")
R, B, E = table(RunRow), table(BalanceRow), table(EventRow)


@pytest.fixture
async def run(shelf: Shelf) -> Shelf:
    def begin(tx: Tx) -> None:
        grant(tx, "xfer", "ws", 12, "")
        hold(tx, HELD, TOPIC)
        row = RunRow(
            id="run",
            workspace="ws",
            name="",
            policy=Policy.ALL_OR_NOTHING,
            status=RunStatus.RUNNING,
            total=1,
            meta={},
            created_at=THE_PAST,
            updated_at=THE_PAST,
        )
        tx.execute(insert(R), row.model_dump())

    await shelf.db.write(begin)
    return shelf


def complete(tx: Tx, **more: Any) -> None:
    event = RunCompleted(total=1, completed=1, failed=0, cancelled=0)
    paid = partial(post, held=HELD, used=3, topic=TOPIC)
    then = (NewTask("kind", "completed", "ws"),)
    advance(tx, RUN, RunRow, "run", RunStatus.COMPLETED, event, TOPIC, settle=paid, then=then, **more)


def cancel(tx: Tx, **more: Any) -> None:
    back = partial(void, held=HELD, reason="", topic=TOPIC)
    then = (NewTask("kind", "cancelled", "ws"),)
    advance(tx, RUN, RunRow, "run", RunStatus.CANCELLED, RunCancelled(), TOPIC, settle=back, then=then, **more)


async def world(shelf: Shelf) -> tuple[Any, ...]:
    """Status, balance, and the names of events and tasks."""
    ((status,),) = await shelf.rows(select(R.c.status))
    ((available, held, spent),) = await shelf.rows(select(B.c.available, B.c.held, B.c.spent))
    events = [row.type for row in await shelf.rows(select(E.c.type).order_by(E.c.seq))]
    tasks = [row.key for row in await shelf.rows(select(table(TaskRow).c.key))]
    return status, (available, held, spent), events[2:], tasks


COMPLETED = ("completed", (9, 0, 3), ["credits.posted", "run.completed"], ["completed"])
CANCELLED = ("cancelled", (12, 0, 0), ["credits.voided", "run.cancelled"], ["cancelled"])
RUNNING: tuple[Any, ...] = ("running", (7, 5, 0), [], [])


async def test_a_move_brings_its_event_its_settlement_and_its_tasks(run: Shelf) -> None:
    await run.db.write(partial(complete, values={"finished_at": THE_PAST}))

    assert await world(run) == COMPLETED
    ((finished, updated),) = await run.rows(select(R.c.finished_at, R.c.updated_at))
    assert finished == THE_PAST
    assert updated > THE_PAST


@pytest.mark.parametrize("seed", range(4))
async def test_of_many_who_move_it_at_once_one_wins(run: Shelf, seed: int) -> None:
    rivals = [complete, cancel] * 12
    random.Random(seed).shuffle(rivals)
    ends = await asyncio.gather(*map(run.db.write, rivals), return_exceptions=True)

    won = [rival for rival, end in zip(rivals, ends, strict=True) if end is None]
    assert len(won) == 1
    assert all(isinstance(end, Moved) for end in ends if end is not None), ends
    assert await world(run) == (COMPLETED if won == [complete] else CANCELLED)


async def test_of_many_who_settle_nothing_one_wins_too(run: Shelf) -> None:
    """No hold stands between them that could end only once: the state itself has to."""

    def pause(tx: Tx) -> None:
        advance(tx, RUN, RunRow, "run", RunStatus.PAUSED, RunPaused(), TOPIC)

    ends = await asyncio.gather(*(run.db.write(pause) for _ in range(12)), return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [Moved] * 11
    assert (await world(run))[::2] == ("paused", ["run.paused"])


async def test_what_has_ended_does_not_move_again(run: Shelf) -> None:
    event = RunFailed(job="job", code="c", detail="")
    await run.db.write(lambda tx: advance(tx, RUN, RunRow, "run", RunStatus.CANCELLED, RunCancelled(), TOPIC))
    with pytest.raises(Moved):
        await run.db.write(lambda tx: advance(tx, RUN, RunRow, "run", RunStatus.FAILED, event, TOPIC))
    assert (await world(run))[::2] == ("cancelled", ["run.cancelled"])


async def test_who_is_late_leaves_nothing_behind(run: Shelf) -> None:
    await run.db.write(cancel)
    with pytest.raises(Moved):
        await run.db.write(complete)
    assert await world(run) == CANCELLED


@pytest.mark.parametrize("only", [{"name": "another"}, {"total": 2}])
async def test_a_settlement_is_undone_with_the_move_even_if_the_write_goes_on(run: Shelf, only: dict[str, Any]) -> None:
    """Another attempt's failure must not give back what the present one still needs."""

    def late(tx: Tx) -> str:
        try:
            cancel(tx, only=only)
        except Moved:
            tx.spawn(NewTask("kind", "late", "ws"))
            return "late"
        return "moved"

    assert await run.db.write(late) == "late"
    assert await world(run) == (*RUNNING[:3], ["late"])
    await run.db.write(partial(complete, only={"name": "", "total": 1}))
    assert (await world(run))[:3] == COMPLETED[:3]


async def test_an_impossible_edge_is_a_fault_of_the_program(run: Shelf) -> None:
    def impossible(tx: Tx) -> None:
        advance(tx, RUN, RunRow, "run", RunStatus.PAUSED, RunResumed(), TOPIC)

    with pytest.raises(ValueError, match=r"no edge to paused with run\.resumed"):
        await run.db.write(impossible)


async def test_what_is_not_there_has_moved(run: Shelf) -> None:
    with pytest.raises(Moved):
        await run.db.write(lambda tx: advance(tx, RUN, RunRow, derived("run", 1), RunStatus.PAUSED, RunPaused(), TOPIC))
    assert [row.kind for row in await run.rows(select(table(TransferRow).c.kind).order_by("kind"))] == ["grant", "hold"]
