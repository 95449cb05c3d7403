"""What must be true of the line at any time (promises I1, I4 to I6, I9), recomputed from the rows. The crash tests use
these as their oracle, and `darkroom verify` prints them, with those of `books` (what is held and paid) and `told` (what
the events say)."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select

from app.assets.model import AssetRow
from app.feature import Check, Found
from app.jobs import books, told
from app.jobs.findings import found, payload, rows_of
from app.jobs.lifecycle import JobStatus, RunStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow, RunRow, SlotRow
from app.services import Services
from app.store.columns import table
from app.store.inbox import UNKNOWN, DeliveryRow, RefusalRow
from app.store.swept import swept_until
from app.store.tasks import TaskRow

_J, _A, _R, _S = table(JobRow), table(AttemptRow), table(RunRow), table(SlotRow)
_AFTER_DEADLINE = timedelta(minutes=10)
"""Deadlines are looked at every few seconds, and of a great many at once not all in the first."""
_D, _X, _P, _N = table(DeliveryRow), table(TaskRow), table(AssetRow), table(RefusalRow)


async def jobs_are_on_the_way(services: Services) -> Found:
    """An unfinished job has a task that will take it on, unless its run is paused."""
    waiting = exists().where(_X.c.state != "done", _X.c.state != "parked", payload("job") == _J.c.id)
    paused = exists().where(_R.c.id == _J.c.run, _R.c.status == RunStatus.PAUSED)
    lost = select(_J.c.id, _J.c.status).where(
        _J.c.finished_at.is_(None), ~waiting, ~and_(_J.c.status == JobStatus.QUEUED, paused)
    )
    return await found(
        services,
        select(func.count()).where(_J.c.finished_at.is_(None)),
        lost,
        "job {0}: {1}, and nothing will take it on",
    )


async def jobs_end_in_time(services: Services) -> Found:
    """No job goes on past its deadline, nor its hold with it, unless a person has paused it. What only has to be stored
    may take as long as fal keeps it."""
    now = services.clock.now()
    async with services.db.read() as session:
        before = await swept_until(session, "jobs.deadlines", now) - _AFTER_DEADLINE
    made_at = select(func.max(_A.c.ended_at)).where(_A.c.job == _J.c.id).correlate(_J).scalar_subquery()
    kept = services.clock.after(services.rules.files_kept) - now
    stores = _J.c.status == JobStatus.STORING
    waits = and_(_J.c.status == JobStatus.QUEUED, _R.c.status.is_not_distinct_from(RunStatus.PAUSED))
    late = (
        select(_J.c.id, _J.c.status, _J.c.deadline_at, func.coalesce(_J.c.hold, _R.c.hold))
        .outerjoin(_R, _R.c.id == _J.c.run)
        .where(_J.c.finished_at.is_(None))
        .where(or_(and_(~stores, ~waits, _J.c.deadline_at < before), and_(stores, made_at < before - kept)))
    )
    words = "job {0}: still {1}, though its deadline was {2:%Y-%m-%d %H:%M} UTC; hold {3} waits with it"
    return await found(services, select(func.count()).where(_J.c.finished_at.is_(None)), late, words)


async def attempts_are_in_order(services: Services) -> Found:
    """A job's attempts are numbered 1 to n, the job names the newest, and each earlier one has an outcome."""
    numbers = (
        select(_A.c.job, func.count().label("n"), func.max(_A.c.number).label("top")).group_by(_A.c.job).subquery()
    )
    open_ended = exists().where(_A.c.job == _J.c.id, _A.c.number < _J.c.attempt, _A.c.outcome.is_(None))
    uneven = (
        select(_J.c.id, _J.c.attempt, func.coalesce(numbers.c.n, 0))
        .outerjoin(numbers, numbers.c.job == _J.c.id)
        .where(
            or_(
                func.coalesce(numbers.c.n, 0) != _J.c.attempt,
                func.coalesce(numbers.c.top, 0) != _J.c.attempt,
                open_ended,
            )
        )
    )
    words = "job {0}: attempt {1}, of {2} recorded, or an earlier one has no outcome"
    return await found(services, select(func.count()).select_from(_A), uneven, words)


async def turned_away_are_counted(services: Services) -> Found:
    """A job says of as many attempts that fal never took them as there are."""
    turned = select(func.count()).where(_A.c.job == _J.c.id, _A.c.status == AttemptStatus.NOT_ACCEPTED)
    recount = turned.correlate(_J).scalar_subquery()
    wrong = select(_J.c.id, _J.c.turned_away, recount).where(_J.c.turned_away != recount)
    words = "job {0}: {1} attempts turned away by its own count, {2} recorded"
    return await found(services, select(func.count()).select_from(_J), wrong, words)


async def pictures_match_jobs(services: Services) -> Found:
    """A completed job has at least one picture, any other none."""
    has = exists().where(_P.c.job == _J.c.id)
    wrong = select(_J.c.id, _J.c.status).where(
        or_(and_(_J.c.status == JobStatus.COMPLETED, ~has), and_(_J.c.status != JobStatus.COMPLETED, has))
    )
    return await found(
        services, select(func.count()).select_from(_J), wrong, "job {0}: {1}, its pictures do not match that"
    )


async def runs_count_right(services: Services) -> Found:
    """A run's counts equal a recount of the jobs in its slots."""

    def ended(status: JobStatus) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((_J.c.status == status, 1), else_=0)), 0)

    recount = (
        select(
            _S.c.run,
            func.count().label("total"),
            *(ended(s).label(str(s)) for s in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)),
        )
        .join(_J, _J.c.id == _S.c.job)
        .group_by(_S.c.run)
        .subquery()
    )
    names = ("total", "completed", "failed", "cancelled")
    differs = or_(*(_R.c[name] != recount.c[name] for name in names))
    wrong = select(_R.c.id, _R.c.status).join(recount, recount.c.run == _R.c.id).where(differs)
    return await found(
        services, select(func.count()).select_from(_R), wrong, "run {0}: {1}, its counts are not those of its slots"
    )


async def deliveries_have_an_effect(services: Services) -> Found:
    """Every delivery was worked on, or will be."""
    waiting = exists().where(_X.c.state != "done", payload("delivery") == _D.c.id)
    idle = select(_D.c.id, _D.c.job).where(_D.c.effect.is_(None), ~waiting)
    return await found(
        services, select(func.count()).select_from(_D), idle, "delivery {0} of job {1}: no effect, and no task for it"
    )


async def purchases_are_known(services: Services) -> Found:
    """What fal finishes for us belongs to an attempt. Where a restore has lost that, a person has to be told what was
    bought: nothing here can say for which job it was."""
    unknown = select(_N.c.attempt, _N.c.detail).where(
        _N.c.reason == UNKNOWN, ~exists().where(or_(_A.c.id == _N.c.attempt, _A.c.request_id == _N.c.attempt))
    )
    async with services.db.read() as session:
        looked = (await session.exec(select(func.count()).select_from(_A))).scalar_one()  # type: ignore[call-overload]
        rows = await rows_of(session, unknown.distinct().order_by(_N.c.attempt))
    lost = "It was paid for; its job came after the backup that this database was restored from, or not from here."
    return Found(looked, [], [f"{row.attempt}: {row.detail} {lost}" for row in rows])


CHECKS = (
    Check("jobs and tasks", "Every unfinished job is on its way", jobs_are_on_the_way),
    Check("deadlines", "No job goes on long past its deadline", jobs_end_in_time),
    Check("attempts", "Attempts are numbered without gap, and the earlier ones have an outcome", attempts_are_in_order),
    Check("turned away", "A job counts the attempts that fal never took", turned_away_are_counted),
    Check("jobs and pictures", "Completed jobs, and only they, have pictures", pictures_match_jobs),
    Check("runs", "A run's counts equal a recount", runs_count_right),
    Check("deliveries", "Every delivery has an effect or a task", deliveries_have_an_effect),
    Check("purchases", "What fal finishes belongs to an attempt", purchases_are_known),
    *books.CHECKS,
    *told.CHECKS,
)
