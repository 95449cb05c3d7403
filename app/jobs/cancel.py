"""Off the line: ending jobs that somebody, or a deadline, says must end. The compare-and-set decides
between cancel and finish: whoever is first wins, and the loser says what happened."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import and_
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from app.core.errors import NotFound
from app.jobs import attempts
from app.jobs.endings import cancel as end_cancelled
from app.jobs.endings import count_ended
from app.jobs.lifecycle import JOB, JobStatus, RunStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow, ReferenceRow, RunRow
from app.jobs.recall import recall_task
from app.services import Services
from app.store.advance import Moved
from app.store.columns import table
from app.store.tasks import Task
from app.store.write import Tx

_AT_ONCE = 200
_J = table(JobRow)
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
        await _cancelled(services, row, "asked")
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


async def cancel_many(services: Services, jobs: list[JobRow], reason: Literal["asked", "deadline", "run"]) -> int:
    """Cancel those that have not ended by themselves meanwhile; how many."""
    return sum([await _cancelled(services, job, reason) for job in jobs])


async def _cancelled(services: Services, job: JobRow, reason: Literal["asked", "deadline", "run"]) -> bool:
    async with services.db.read() as session:
        sent = await attempts.of_job(session, job.id)

    def cancelled(tx: Tx) -> None:
        end_cancelled(tx, job, reason)
        for attempt in sent:
            _call_back(tx, attempt)

    try:
        await services.db.write(cancelled)
    except Moved:
        return False  # it ended by itself, which is final
    count_ended(services, job, JobStatus.CANCELLED, reason)
    return True


def _call_back(tx: Tx, attempt: AttemptRow) -> None:
    if attempt.status is AttemptStatus.ACCEPTED:
        tx.spawn(recall_task(attempt))


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
