"""What becomes of a run once it is accepted: it is paused, resumed, cancelled as a whole, and one that is all or
nothing is settled when its fate is clear. Its slots are counted down where its jobs end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import bindparam, update
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from app.catalog.failures import Code
from app.core.errors import IllegalMove, NotFound
from app.core.events import Topic
from app.credits.ledger import Hold, post, void
from app.jobs.accept import dispatch_task
from app.jobs.cancel import IN_ONE_WRITE, cancel_many
from app.jobs.endings import settle_task
from app.jobs.events import RunCancelled, RunCompleted, RunFailed, RunPaused, RunResumed
from app.jobs.lifecycle import RUN, UNFINISHED, JobStatus, RunStatus
from app.jobs.model import Job, JobRow, RunRow
from app.services import Services
from app.store.advance import Moved, advance
from app.store.columns import table
from app.store.tasks import Task
from app.store.write import Tx

Settle = Callable[[Tx], None] | None

_J, _R = table(JobRow), table(RunRow)
_WAITING = select_columns(_J).where(_J.c.run == bindparam("the_run"), _J.c.status == JobStatus.QUEUED).order_by(_J.c.id)
_PAUSED_AT = select_columns(_R.c.paused_at).where(_R.c.id == bindparam("the_run"))
_POSTPONE = (
    update(_J)
    .where(_J.c.id == bindparam("the_id"), _J.c.status == JobStatus.QUEUED)
    .values(deadline_at=bindparam("until"), updated_at=bindparam("at"))
)


async def find(services: Services, workspace: str, run: str) -> RunRow:
    """The run, if it is this workspace's. Raises `NotFound`."""
    async with services.db.read() as session:
        row = await session.get(RunRow, run)
    if row is None or row.workspace != workspace:
        raise NotFound(f"There is no run {run[:40]!r} here.")
    return row


async def pause(services: Services, run: RunRow) -> None:
    """Send no more of its jobs to fal; what is there already goes on. Raises `IllegalMove`."""

    def paused(tx: Tx) -> None:
        since = {"paused_at": tx.now}
        advance(tx, RUN, RunRow, run.id, RunStatus.PAUSED, RunPaused(), topic_of_run(run), values=since)

    if run.status is not RunStatus.PAUSED:
        await _legally(services, run, RunStatus.PAUSED, paused)


async def resume(services: Services, run: RunRow) -> None:
    """Go on with what is still queued; it has as much time left as when it was paused. Raises `IllegalMove`."""
    if run.status is RunStatus.RUNNING:
        return
    if run.status is not RunStatus.PAUSED:
        raise _refusal(run.status, RunStatus.RUNNING)

    def resumed(tx: Tx) -> None:
        _give_back_time(tx, run)  # first, since jobs are locked before their run
        advance(tx, RUN, RunRow, run.id, RunStatus.RUNNING, RunResumed(), topic_of_run(run))
        # Looked up in here: a job that has come back to the queue meanwhile must not be overlooked.
        for row in tx.execute(_WAITING, {"the_run": run.id}).mappings():
            tx.spawn(dispatch_task(Job(**row)))

    await _legally(services, run, RunStatus.RUNNING, resumed)


def _give_back_time(tx: Tx, run: RunRow) -> None:
    """What waited in the queue while the run was paused has its deadline moved by as long as that."""
    since = tx.execute(_PAUSED_AT, {"the_run": run.id}).scalar_one() or tx.now
    waited = [Job(**row) for row in tx.execute(_WAITING, {"the_run": run.id}).mappings()]
    moved = [
        {"the_id": j.id, "until": j.deadline_at + (tx.now - max(since, j.created_at)), "at": tx.now} for j in waited
    ]
    if moved:
        tx.execute(_POSTPONE, moved)


async def cancel(services: Services, run: RunRow) -> None:
    """Cancel the run and every job of it that has not ended. Raises `IllegalMove`.

    From now on nothing of it is sent. The first jobs are cancelled at once, the others by a task, which makes up for a
    crash in between as well.
    """

    def cancelled(tx: Tx) -> None:
        ended = {"finished_at": tx.now}
        settle = _void(run, "cancelled")
        advance(
            tx, RUN, RunRow, run.id, RunStatus.CANCELLED, RunCancelled(), topic_of_run(run), values=ended, settle=settle
        )
        tx.spawn(settle_task(run.id, run.workspace))

    if run.status is not RunStatus.CANCELLED:
        await _legally(services, run, RunStatus.CANCELLED, cancelled)
    await cancel_many(services, await _jobs(services, run, UNFINISHED, most=IN_ONE_WRITE), "run")


async def settle_run(services: Services, task: Task) -> None:
    """Pay or release an all_or_nothing run, once its fate is clear: stored by whichever job made it so. And end what is
    left of a run that is over as a whole."""
    async with services.db.read() as session:
        run = await session.get_one(RunRow, task.payload["run"])
    if run.status in (RunStatus.RUNNING, RunStatus.PAUSED):
        await _settle_whole(services, run)
    if run.status is not RunStatus.COMPLETED:
        await cancel_many(services, await _jobs(services, run, UNFINISHED), "run")


async def give_up(services: Services, id_: str, why: str) -> None:
    """A run that could not be settled: nothing is charged, and what is left of it ends."""
    async with services.db.read() as session:
        run = await session.get_one(RunRow, id_)
    if run.status not in (RunStatus.RUNNING, RunStatus.PAUSED):
        return

    def given_up(tx: Tx) -> None:
        failed = RunFailed(job=None, code=Code.POISONED, detail=why)
        values, settle = {"finished_at": tx.now}, _void(run, "failed")
        advance(tx, RUN, RunRow, run.id, RunStatus.FAILED, failed, topic_of_run(run), values=values, settle=settle)

    await services.db.write(given_up)
    await cancel_many(services, await _jobs(services, run, UNFINISHED), "run")


async def _settle_whole(services: Services, run: RunRow) -> None:
    jobs = await _jobs(services, run, tuple(JobStatus))
    bad = next((job for job in jobs if job.status in (JobStatus.FAILED, JobStatus.CANCELLED)), None)

    def settled(tx: Tx) -> None:
        ended = {"finished_at": tx.now}
        if bad is None:
            counts = {"total": run.total, "completed": run.completed, "failed": run.failed, "cancelled": run.cancelled}
            done = RunCompleted(**counts)
            paid = _post(run)
            advance(tx, RUN, RunRow, run.id, RunStatus.COMPLETED, done, topic_of_run(run), values=ended, settle=paid)
        else:
            why = bad.error or {}
            failed = RunFailed(job=bad.id, code=why.get("code", ""), detail=why.get("detail", ""))
            given_back = _void(run, "failed")
            advance(
                tx, RUN, RunRow, run.id, RunStatus.FAILED, failed, topic_of_run(run), values=ended, settle=given_back
            )

    await services.db.write(settled)


async def _legally(services: Services, run: RunRow, to: RunStatus, work: Callable[[Tx], None]) -> None:
    """Do it, or say from the state the run is in by now why it cannot be done."""
    try:
        await services.db.write(work)
    except Moved:
        raise _refusal((await find(services, run.workspace, run.id)).status, to) from None


def _refusal(status: RunStatus, to: RunStatus) -> IllegalMove:
    """A completed run can run again, but only by a retry, which none of the moves here is."""
    if status is not RunStatus.COMPLETED:
        return RUN.refusal(status, to)
    moves = [str(move) for move in RUN.moves(status)]
    return IllegalMove(
        "This run has ended: it is completed. `retry-failed` makes its failed and cancelled jobs again.",
        state=str(status),
        moves=moves,
    )


async def _jobs(
    services: Services, run: RunRow, statuses: Sequence[JobStatus], most: int | None = None
) -> list[JobRow]:
    async with services.db.read() as session:
        wanted = select(JobRow).where(JobRow.run == run.id, col(JobRow.status).in_(statuses)).order_by(col(JobRow.slot))
        return list((await session.exec(wanted.limit(most))).all())


def topic_of_run(run: RunRow) -> Topic:
    return Topic(run.workspace, run=run.id, workflow=run.workflow)


def hold_of(run: RunRow) -> Hold:
    """What an all_or_nothing run has put by for all of its jobs."""
    return Hold(str(run.hold), run.workspace, run.credits_held, run.id)


def _post(run: RunRow) -> Settle:
    return (lambda tx: post(tx, hold_of(run), run.credits_held, topic_of_run(run))) if run.hold else None


def _void(run: RunRow, reason: str) -> Settle:
    return (lambda tx: void(tx, hold_of(run), reason, topic_of_run(run))) if run.hold else None
