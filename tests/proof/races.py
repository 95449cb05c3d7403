"""The races: what eight programs go for at the same moment, and what must be true afterwards. One wins, the others hear
that they were late, and nothing is done twice or lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from app.core.errors import IllegalMove, NotEnoughCredits
from app.core.events import Topic
from app.core.idempotency import IdempotencyKey
from app.credits.ledger import Hold, grant, hold, post, void
from app.credits.model import TransferRow
from app.jobs.accept import accept, topic_of
from app.jobs.cancel import cancel_job, sweep_deadlines
from app.jobs.deliveries import keep_look
from app.jobs.endings import complete
from app.jobs.events import JobGenerated
from app.jobs.ingest import ingest
from app.jobs.lifecycle import JOB, JobStatus
from app.jobs.model import AttemptRow, JobRow
from app.jobs.webhook import fal_webhook
from app.ports import Answer
from app.services import Services
from app.store import tasks
from app.store.advance import Moved, advance
from app.store.columns import table
from app.store.inbox import DeliveryRow
from app.store.log import EventRow
from app.store.tasks import Lane, LeaseLost, NewTask, Task, TaskRow
from app.store.write import Tx
from tests.proof.rivals import RIVALS, Strike
from tests.proof.stakes import WISH, WORKSPACE, accepted, count, letter, request_of, result_of, sent_to_fal

TOPIC = Topic(WORKSPACE)
_TASKS = 12

J, D, E, T, X = (table(row) for row in (JobRow, DeliveryRow, EventRow, TaskRow, TransferRow))

Prepare = Callable[[Services, int], Awaitable[list[Any]]]
Judge = Callable[[Services, Sequence[Any]], Awaitable[list[str]]]


async def _fine(_services: Services, _stakes: Sequence[Any]) -> list[str]:
    return []


@dataclass(frozen=True)
class Race:
    """`fair` says whether what the eight heard in one round goes together; `judge` looks at what is left of all rounds
    in the database."""

    name: str
    prepare: Prepare
    strike: Strike
    fair: Callable[[Counter[str]], bool]
    judge: Judge = _fine
    beside: tuple[str, ...] = ()
    """Checks of the house that its stakes cannot meet."""


def _one_won(heard: Counter[str]) -> bool:
    return heard["won"] == 1


def _all_done(heard: Counter[str]) -> bool:
    return heard["done"] == RIVALS


def _cancelled_or_finished(heard: Counter[str]) -> bool:
    """Cancelling twice is cancelling once, so everybody who cancels may hear that it is done."""
    return (heard["won"], heard["cancelled"]) in ((1, 0), (0, RIVALS // 2))


# ----------------------------------------------------------------------------------------------------------------------
# The same hold: posted by some, voided by others


async def _holds(services: Services, rounds: int) -> list[Any]:
    held = [Hold(services.ids.new("hold"), WORKSPACE, 3, f"job_{n}") for n in range(rounds)]
    await asyncio.gather(*(services.db.write(lambda tx, each=each: hold(tx, each, TOPIC)) for each in held))  # type: ignore[misc]
    return held


async def _settle(services: Services, held: Hold, me: int) -> str:
    try:
        await services.db.write(lambda tx: post(tx, held, 2, TOPIC) if me % 2 else void(tx, held, "", TOPIC))
    except Moved:
        return "late"
    return "won"


# ----------------------------------------------------------------------------------------------------------------------
# The same key: one job, and the same answer for everybody


async def _keys(_services: Services, rounds: int) -> list[Any]:
    return [IdempotencyKey(f"key {n}", "the same") for n in range(rounds)]


async def _accept(services: Services, key: IdempotencyKey, _me: int) -> str:
    _, replayed = await accept(services, WORKSPACE, WISH, key)
    return "late" if replayed else "won"


async def _one_job_each(services: Services, stakes: Sequence[Any]) -> list[str]:
    jobs = await count(services, select(func.count()).select_from(J))
    return [] if jobs == len(stakes) else [f"{jobs} jobs for {len(stakes)} keys"]


# ----------------------------------------------------------------------------------------------------------------------
# The same webhook: everybody hears 200, one delivery is kept


async def _at_fal(services: Services, rounds: int) -> list[Any]:
    """Jobs whose submission fal has taken and not answered, each with the attempt that tells of it."""
    jobs = await accepted(services, rounds)
    return [(job, await sent_to_fal(services, job)) for job in jobs]


async def _knock(services: Services, stake: tuple[JobRow, AttemptRow], me: int) -> str:
    _, attempt = stake
    answer = await fal_webhook(services, letter(services, attempt))
    return "won" if answer.body == b"accepted" else answer.body.decode()


async def _one_delivery_each(services: Services, stakes: Sequence[Any]) -> list[str]:
    kept = await count(services, select(func.count()).select_from(D))
    due = await count(services, select(func.count()).select_from(T).where(T.c.kind == "jobs.ingest"))
    return [] if kept == due == len(stakes) else [f"{kept} deliveries and {due} tasks for {len(stakes)} completions"]


# ----------------------------------------------------------------------------------------------------------------------
# The webhook, and the reconciler's own look at the same completion: generated once, its cost booked once


async def _hear_or_look(services: Services, stake: tuple[JobRow, AttemptRow], me: int) -> str:
    _, attempt = stake
    if me % 2:
        await fal_webhook(services, letter(services, attempt))
    else:
        answer = Answer(200, result_of(attempt), billable_units=1.0)
        await services.db.write(lambda tx: keep_look(tx, attempt, request_of(attempt), answer))
    worker = f"worker {me}"
    now = services.clock.now()
    mine = await services.db.write(
        lambda tx: tasks.claim(tx, worker, Lane.LINE, 4, now=now, until=now + timedelta(seconds=30))
    )
    for task in mine:
        if task.kind == "jobs.ingest":
            await ingest(services, task)
    return "done"


async def _generated_once(services: Services, stakes: Sequence[Any]) -> list[str]:
    events = await count(services, select(func.count()).select_from(E).where(E.c.type == "job.generated"))
    booked = await count(services, select(func.count()).select_from(X).where(X.c.kind == "cost"))
    waiting = await count(services, select(func.count()).select_from(D).where(D.c.effect.is_(None)))
    right = (len(stakes), len(stakes), 0)
    return [] if (events, booked, waiting) == right else [f"{events=} {booked=} {waiting=}, not {right}"]


# ----------------------------------------------------------------------------------------------------------------------
# Cancel and finish: whoever is first


async def _storing(services: Services, rounds: int) -> list[Any]:
    stakes = await _at_fal(services, rounds)

    def stored(job: JobRow, tx: Tx) -> None:
        event = JobGenerated(attempt=1, files=1)
        advance(tx, JOB, JobRow, job.id, JobStatus.STORING, event, topic_of(job))

    await asyncio.gather(*(services.db.write(lambda tx, job=job: stored(job, tx)) for job, _ in stakes))  # type: ignore[misc]
    return [job.model_copy(update={"status": JobStatus.STORING}) for job, _ in stakes]


async def _cancel_or_finish(services: Services, job: JobRow, me: int) -> str:
    try:
        if me % 2:
            await services.db.write(lambda tx: complete(tx, job, [], 1, {}))
            return "won"
        await cancel_job(services, WORKSPACE, job.id)
    except (Moved, IllegalMove):
        return "late"
    return "cancelled"


async def _ended_once(services: Services, stakes: Sequence[Any]) -> list[str]:
    ends = ("job.completed", "job.cancelled")
    events = await count(services, select(func.count()).select_from(E).where(E.c.type.in_(ends)))
    return [] if events == len(stakes) else [f"{events} endings of {len(stakes)} jobs"]


# ----------------------------------------------------------------------------------------------------------------------
# Eight sweepers, and eight workers at the same tasks


async def _sweep(services: Services, job: JobRow, _me: int) -> str:
    """Whoever is first makes it overdue; all of them look for what is."""
    past = services.clock.now() - timedelta(hours=1)
    late = update(J).where(J.c.id == job.id).values(deadline_at=past)
    await services.db.write(lambda tx: tx.execute(late).rowcount)
    await sweep_deadlines(services, Task("task", "", "", "", {}, 0, 0, 0, 0))
    return "done"


async def _numbers(_services: Services, rounds: int) -> list[Any]:
    return list(range(rounds))


async def _work(services: Services, number: int, me: int) -> str:
    """Whoever is first stores the tasks; all of them do what they can get."""

    def stored(tx: Tx) -> None:
        for n in range(_TASKS):
            tx.spawn(NewTask("race", f"race {number} {n}", WORKSPACE))

    def claimed(tx: Tx) -> list[Task]:
        now = tx.database_now()
        return tasks.claim(tx, f"worker {me}", Lane.LINE, 3, now=now, until=now + timedelta(seconds=60))

    await services.db.write(stored)
    while mine := await services.db.write(claimed):
        for task in mine:
            try:
                await services.db.write(lambda tx, task=task: tx.finish(task))  # type: ignore[misc]
            except LeaseLost:
                return "somebody else had it"
    return "done"


async def _each_done(services: Services, stakes: Sequence[Any]) -> list[str]:
    rows = select(T.c.state, func.count(), func.max(T.c.fence)).where(T.c.kind == "race").group_by(T.c.state)
    async with services.db.read() as session:
        found = [tuple(row) for row in (await (await session.connection()).execute(rows)).all()]
    # A key is free again when its task is done, so some are stored twice; but each is claimed once.
    return [] if [(str(state), fence) for state, _, fence in found] == [("done", 1)] else [f"tasks: {found}"]


# ----------------------------------------------------------------------------------------------------------------------
# The last credit


async def _poor(services: Services, rounds: int) -> list[Any]:
    poor = [f"ws_poor_{n}" for n in range(rounds)]
    await asyncio.gather(*(services.db.write(lambda tx, w=w: grant(tx, f"xfer {w}", w, 1, "")) for w in poor))  # type: ignore[misc]
    return poor


async def _spend(services: Services, workspace: str, _me: int) -> str:
    try:
        await accept(services, workspace, WISH, None)
    except NotEnoughCredits:
        return "late"
    return "won"


RACES = (
    Race("same hold", _holds, _settle, _one_won, beside=("holds and owners",)),
    Race("same key", _keys, _accept, _one_won, _one_job_each),
    Race("same webhook", _at_fal, _knock, _one_won, _one_delivery_each),
    Race("webhook and look", _at_fal, _hear_or_look, _all_done, _generated_once),
    Race("cancel and finish", _storing, _cancel_or_finish, _cancelled_or_finished, _ended_once),
    Race("sweepers", accepted, _sweep, _all_done, _ended_once),
    Race("workers", _numbers, _work, _all_done, _each_done),
    Race("last credit", _poor, _spend, _one_won),
)
