"""Off the line: ending jobs that somebody, or a deadline, says must end. The compare-and-set decides
between cancel and finish: whoever is first wins, and the loser says what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import Literal

from sqlalchemy import and_, bindparam
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from app.core.errors import NotFound
from app.jobs import attempts
from app.jobs.endings import cancel as end_cancelled
from app.jobs.endings import count_ended
from app.jobs.lifecycle import JOB, JobStatus, RunStatus
from app.jobs.model import AttemptRow, JobRow, ReferenceRow, RunRow
from app.jobs.recall import recall_task
from app.services import Services
from app.store.advance import Moved
from app.store.columns import table
from app.store.tasks import Task
from app.store.write import Tx

_AT_ONCE = 200
IN_ONE_WRITE = 50
"""Jobs that are cancelled together: a longer write would hold up those of everybody else."""
Reason = Literal["asked", "deadline", "run"]

_J = table(JobRow)
_LOCK = select_columns(_J.c.id).where(_J.c.id.in_(bindparam("ids", expanding=True))).order_by(_J.c.id).with_for_update()
_HOLDING = (
    select_columns(_J.c.id)
    .join(table(ReferenceRow), table(ReferenceRow).c.job == _J.c.id)
    .where(_J.c.finished_at.is_(None))
    .limit(1)
)


async def cancel_job(services: Services, workspace: str, job: str) -> JobRow:
    """Cancel a job; cancelling twice is cancelling once.

    Raises:
        NotFound: there is no such job here.
        IllegalMove: it has ended otherwise; says how.
    """
    row = await find(services, workspace, job)
    if row.finished_at is None:
        await cancel_many(services, [row], "asked")
        row = await find(services, workspace, job)
    if row.status is not JobStatus.CANCELLED:
        raise JOB.refusal(row.status, JobStatus.CANCELLED)
    return row


async def find(services: Services, workspace: str, job: str) -> JobRow:
    """The job, if it is this workspace's. A foreign id answers like a missing one."""
    async with services.db.read() as session:
        row = await session.get(JobRow, job)
    if row is None or row.workspace != workspace:
        raise NotFound(f"There is no job {job[:40]!r} here.")
    return row


async def cancel_many(services: Services, jobs: Iterable[JobRow], reason: Reason) -> int:
    """Cancel those that have not ended by themselves meanwhile, a good number in each write; how many."""
    ended = 0
    for _, alike in groupby(sorted(jobs, key=_kind), key=_kind):
        while together := list(islice(alike, IN_ONE_WRITE)):
            ended += await _cancelled(services, together, reason)
    return ended


def _kind(job: JobRow) -> tuple[str, bool]:
    """Jobs that a write may cancel together: those of one balance, or of one workspace and no balance."""
    return job.workspace, job.hold is None


async def _cancelled(services: Services, jobs: Sequence[JobRow], reason: Reason) -> int:
    async with services.db.read() as session:
        at_fal = await attempts.at_fal(session, [job.id for job in jobs])

    def cancelled(tx: Tx) -> list[JobRow]:
        if jobs[0].hold is None:  # no balance stands before them: they are locked before their run as well
            tx.execute(_LOCK, {"ids": [job.id for job in jobs]}).all()
        return [job for job in jobs if _end(tx, job, reason, at_fal)]

    ended = await services.db.write(cancelled)
    for job in ended:
        count_ended(services, job, JobStatus.CANCELLED, reason)
    return len(ended)


def _end(tx: Tx, job: JobRow, reason: Reason, at_fal: Sequence[AttemptRow]) -> bool:
    try:
        end_cancelled(tx, job, reason)
    except Moved:
        return False  # it ended by itself, which is final
    for attempt in at_fal:
        if attempt.job == job.id:
            tx.spawn(recall_task(attempt))
    return True


async def sweep_deadlines(services: Services, _task: Task) -> None:
    """Cancel what has not ended within its deadline. What is paid for already and only has to be stored is waited for
    (`waiting.py` says how long), and so is what a person has paused."""
    paused = select(RunRow.id).where(RunRow.status == RunStatus.PAUSED)
    waits = and_(col(JobRow.status) == JobStatus.QUEUED, col(JobRow.run).in_(paused), col(JobRow.run).is_not(None))
    overdue = (
        select(JobRow)
        .where(col(JobRow.finished_at).is_(None), JobRow.deadline_at < services.clock.now())
        .where(JobRow.status != JobStatus.STORING, ~waits)
        .order_by(col(JobRow.deadline_at))
        .limit(_AT_ONCE)
    )
    async with services.db.read() as session:
        jobs = list((await session.exec(overdue)).all())
    await cancel_many(services, jobs, "deadline")


def holds_asset(tx: Tx, asset: str) -> str | None:
    """Which unfinished job still draws from this asset, if any."""
    job = tx.execute(_HOLDING.where(table(ReferenceRow).c.asset == asset)).scalar()
    return f"job {job} still draws from it" if job else None
