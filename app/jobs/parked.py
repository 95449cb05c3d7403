"""Off the line: a task was set aside for good, because its worker died at it or it failed too often. Whoever waits for
what it would have done is told, and nothing stays held."""

from __future__ import annotations

from app.catalog.failures import Code
from app.jobs import runs
from app.jobs.accept import DISPATCH
from app.jobs.deliveries import INGEST
from app.jobs.endings import SETTLE_RUN, count_ended, fail
from app.jobs.ingest import MIRROR
from app.jobs.lifecycle import JobStatus
from app.jobs.model import JobRow
from app.jobs.reconcile import RECONCILE
from app.services import Services
from app.store.tasks import Task

_THE_LINE = (DISPATCH, INGEST, MIRROR, RECONCILE)
"""What a job cannot do without. Tasks that stand beside the line may be parked without harm to it."""


async def mourn(services: Services, task: Task) -> None:
    """End the job or the run that the parked task would have taken on."""
    parked = task.payload
    if parked["kind"] == SETTLE_RUN:
        await runs.give_up(services, parked["payload"]["run"], _why(task))
    if parked["kind"] not in _THE_LINE:
        return
    async with services.db.read() as session:
        job = await session.get(JobRow, parked["payload"]["job"])
    if job is None or job.finished_at is not None:
        return
    await services.db.write(lambda tx: fail(tx, job, Code.POISONED, _why(task)))
    count_ended(services, job, JobStatus.FAILED, Code.POISONED)


def _why(task: Task) -> str:
    died = task.payload["deaths"] > 0
    return "Its worker died each time it was worked on." if died else "An unexpected fault on our side stopped it."
