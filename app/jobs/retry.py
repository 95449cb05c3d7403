"""Making jobs again: new jobs with holds of their own, in the slots of those that failed or were cancelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import bindparam, update
from sqlmodel import col, select

from app.core.errors import IllegalMove
from app.core.idempotency import IdempotencyKey
from app.jobs.accept import LONGEST_DEADLINE, JobRequest, Order, Place, count_accepted, enqueue, prepare
from app.jobs.events import RunResumed
from app.jobs.lifecycle import RUN, JobStatus, RunStatus
from app.jobs.model import Job, JobRow, Policy, RunRow, SlotRow
from app.jobs.runs import find, topic_of_run
from app.jobs.view import JobView, job_view
from app.services import Services
from app.store.advance import Moved, advance
from app.store.columns import table
from app.store.idempotency import Replayed, once, recalled
from app.store.write import Tx

_R, _S = table(RunRow), table(SlotRow)
_REFILL = update(_S).where(_S.c.job == bindparam("before")).values(job=bindparam("now_job"))
_UNCOUNT = (
    update(_R)
    .where(_R.c.id == bindparam("the_run"), _R.c.status == bindparam("seen", type_=_R.c.status.type))
    .values(failed=_R.c.failed - bindparam("f"), cancelled=_R.c.cancelled - bindparam("c"), updated_at=bindparam("at"))
)


async def retry_failed(services: Services, run: RunRow, key: IdempotencyKey | None) -> tuple[int, bool]:
    """New jobs take the slots of those that failed or were cancelled: how many; and whether that had been asked before
    under the same key. Raises as `retry_jobs` does."""
    over = [job for job in await _current(services, run) if job.status in (JobStatus.FAILED, JobStatus.CANCELLED)]
    answer, replayed = await retry_jobs(services, run, over, lambda jobs: str(len(jobs)), key)
    return int(answer), replayed


async def retry_job(services: Services, run: RunRow, job: JobRow, key: IdempotencyKey | None) -> tuple[JobView, bool]:
    """A new job in the slot of this one; and whether that had been asked before under the same key. Raises as
    `retry_jobs` does."""

    def seen(jobs: Sequence[Job]) -> str:
        return job_view(services.base_url, jobs[0]).model_dump_json()

    answer, replayed = await retry_jobs(services, run, [job], seen, key)
    return JobView.model_validate_json(answer), replayed


async def retry_jobs(
    services: Services,
    run: RunRow,
    over: Sequence[JobRow],
    told: Callable[[Sequence[Job]], str],
    key: IdempotencyKey | None,
) -> tuple[str, bool]:
    """A new job in the slot of each of these, which have failed or were cancelled. What is `told` of the new ones is
    the answer, kept under the key; and whether it is the one of an earlier asking.

    Raises:
        IllegalMove: the run is over as a whole, or a slot was retried by somebody else.
        NotEnoughCredits, KeyReused: see there.
    """
    if (known := await recalled(services.db, run.workspace, key)) is not None:
        return known.answer, True
    _check_retryable(run.policy, run.status)
    orders = [await _again(services, job) for job in over]
    answer = told([order.job for order in orders])

    def retried(tx: Tx) -> Replayed | None:
        twin = once(tx, run.workspace, key, answer)
        if twin is None:
            _refill(tx, run, over, orders)
        return twin

    try:
        twin = await services.db.write(retried)
    except Moved:
        now = (await find(services, run.workspace, run.id)).status
        _check_retryable(run.policy, now)
        raise IllegalMove("Somebody retried this just now, or the run moved on. Look again.", state=now) from None
    if twin is not None:
        return twin.answer, True
    count_accepted(services, orders)
    return answer, False


def _refill(tx: Tx, run: RunRow, over: Sequence[JobRow], orders: Sequence[Order]) -> None:
    """The new ones take the slots of the old ones, which no longer count; a run that was complete goes on."""
    if not orders:
        return
    failed = sum(job.status is JobStatus.FAILED for job in over)
    for before, order in zip(over, orders, strict=True):
        enqueue(tx, order)  # while the run is paused, dispatch puts it aside until it is resumed
        if tx.execute(_REFILL, {"before": before.id, "now_job": order.job.id}).rowcount != 1:
            raise Moved(before.id)
    counts = {"the_run": run.id, "seen": run.status, "f": failed, "c": len(over) - failed, "at": tx.now}
    if tx.execute(_UNCOUNT, counts).rowcount != 1:
        raise Moved(run.id)
    if run.status is RunStatus.COMPLETED:
        event = RunResumed(retried=len(orders))
        values = {"finished_at": None}
        advance(tx, RUN, RunRow, run.id, RunStatus.RUNNING, event, topic_of_run(run), values=values)


def _check_retryable(policy: Policy, status: RunStatus) -> None:
    if policy is Policy.ALL_OR_NOTHING:
        raise IllegalMove("An all_or_nothing run cannot be retried in part. Send it again as a new run.", state=status)
    if status in (RunStatus.CANCELLED, RunStatus.FAILED):
        raise RUN.refusal(status, RunStatus.RUNNING)


async def _again(services: Services, job: JobRow) -> Order:
    place = Place(run=job.run, slot=job.slot, workflow=job.workflow, retry_of=job.id, pays=job.hold is not None)
    return await prepare(services, job.workspace, request_of(job), place)


def request_of(job: JobRow) -> JobRequest:
    """The request that would make this job again, with as much time as it was given, and could be asked for."""
    allowed = job.deadline_at - max(job.not_before or job.created_at, job.created_at)
    return JobRequest(
        model=job.model,
        input=job.input,
        reference_images=job.reference_images,
        priority=job.priority,
        max_attempts=job.max_attempts,
        deadline_seconds=min(max(1, round(allowed.total_seconds())), LONGEST_DEADLINE),
        metadata=job.meta,
    )


async def _current(services: Services, run: RunRow) -> list[JobRow]:
    """The jobs that fill the run's slots now."""
    async with services.db.read() as session:
        wanted = select(JobRow).join(SlotRow, col(SlotRow.job) == col(JobRow.id)).where(SlotRow.run == run.id)
        return list((await session.exec(wanted.order_by(col(SlotRow.number)))).all())
