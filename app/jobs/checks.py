"""What must be true of the line at any time (promises I1, I4 to I6, I9, I11, I12), recomputed from the rows. The crash
tests use these as their oracle, and `darkroom verify` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.assets.model import AssetRow
from app.credits.model import Kind, TransferRow
from app.feature import Check, Found
from app.jobs.lifecycle import JOB, JobStatus, RunStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow, RunRow, SlotRow
from app.services import Services
from app.store.columns import table
from app.store.inbox import UNKNOWN, DeliveryRow, RefusalRow
from app.store.log import CounterRow, EventRow
from app.store.tasks import TaskRow

_J, _A, _R, _S = table(JobRow), table(AttemptRow), table(RunRow), table(SlotRow)
_T, _E, _C, _D, _X, _P = (table(r) for r in (TransferRow, EventRow, CounterRow, DeliveryRow, TaskRow, AssetRow))
_N = table(RefusalRow)


async def holds_match_jobs(services: Services) -> Found:
    """A completed job's hold is posted, a failed or cancelled one's is void, an unfinished one's is open."""
    ending = (
        select(_T.c.hold, func.min(_T.c.kind).label("kind"))
        .where(_T.c.kind.in_((str(Kind.POST), str(Kind.VOID))))
        .group_by(_T.c.hold)
        .subquery()
    )
    due = case(
        (_J.c.status == JobStatus.COMPLETED, str(Kind.POST)),
        (_J.c.finished_at.is_not(None), str(Kind.VOID)),
        else_="",
    )
    wrong = (
        select(_J.c.id, _J.c.status, ending.c.kind)
        .outerjoin(ending, ending.c.hold == _J.c.hold)
        .where(_J.c.hold.is_not(None), func.coalesce(ending.c.kind, "") != due)
    )
    return await _found(
        services, select(func.count()).where(_J.c.hold.is_not(None)), wrong, "job {0}: {1}, its hold: {2}"
    )


async def jobs_are_on_the_way(services: Services) -> Found:
    """An unfinished job has a task that will take it on, unless its run is paused."""
    waiting = exists().where(_X.c.state != "done", _X.c.state != "parked", _payload("job") == _J.c.id)
    paused = exists().where(_R.c.id == _J.c.run, _R.c.status == RunStatus.PAUSED)
    lost = select(_J.c.id, _J.c.status).where(
        _J.c.finished_at.is_(None), ~waiting, ~and_(_J.c.status == JobStatus.QUEUED, paused)
    )
    return await _found(
        services,
        select(func.count()).where(_J.c.finished_at.is_(None)),
        lost,
        "job {0}: {1}, and nothing will take it on",
    )


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
    return await _found(services, select(func.count()).select_from(_A), uneven, words)


async def turned_away_are_counted(services: Services) -> Found:
    """A job says of as many attempts that fal never took them as there are."""
    turned = select(func.count()).where(_A.c.job == _J.c.id, _A.c.status == AttemptStatus.NOT_ACCEPTED)
    recount = turned.correlate(_J).scalar_subquery()
    wrong = select(_J.c.id, _J.c.turned_away, recount).where(_J.c.turned_away != recount)
    words = "job {0}: {1} attempts turned away by its own count, {2} recorded"
    return await _found(services, select(func.count()).select_from(_J), wrong, words)


async def pictures_match_jobs(services: Services) -> Found:
    """A completed job has at least one picture, any other none."""
    has = exists().where(_P.c.job == _J.c.id)
    wrong = select(_J.c.id, _J.c.status).where(
        or_(and_(_J.c.status == JobStatus.COMPLETED, ~has), and_(_J.c.status != JobStatus.COMPLETED, has))
    )
    return await _found(
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
    return await _found(
        services, select(func.count()).select_from(_R), wrong, "run {0}: {1}, its counts are not those of its slots"
    )


async def runs_are_settled(services: Services) -> Found:
    """A completed run's hold is posted, a failed or cancelled one's is void, a live one's is open; a run whose slots
    have all ended is complete, or about to be settled."""
    ending = (
        select(_T.c.hold, func.min(_T.c.kind).label("kind"))
        .where(_T.c.kind.in_((str(Kind.POST), str(Kind.VOID))))
        .group_by(_T.c.hold)
        .subquery()
    )
    live = _R.c.status.in_((RunStatus.RUNNING, RunStatus.PAUSED))
    due = case((_R.c.status == RunStatus.COMPLETED, str(Kind.POST)), (live, ""), else_=str(Kind.VOID))
    unlike = and_(_R.c.hold.is_not(None), func.coalesce(ending.c.kind, "") != due)
    all_ended = _R.c.completed + _R.c.failed + _R.c.cancelled == _R.c.total
    settling = exists().where(_X.c.state.in_(("ready", "leased")), _payload("run") == _R.c.id)
    forgotten = and_(live, all_ended, ~settling)
    too_soon = and_(_R.c.status == RunStatus.COMPLETED, ~all_ended)
    wrong = (
        select(_R.c.id, _R.c.status, ending.c.kind)
        .outerjoin(ending, ending.c.hold == _R.c.hold)
        .where(or_(unlike, forgotten, too_soon))
    )
    return await _found(
        services, select(func.count()).select_from(_R), wrong, "run {0}: {1}, which its slots or its hold ({2}) belie"
    )


async def events_are_dense(services: Services) -> Found:
    """Each workspace's events are numbered without gap, from what was trimmed to what the counter says."""
    counted = (
        select(
            _E.c.workspace, func.count().label("n"), func.min(_E.c.seq).label("low"), func.max(_E.c.seq).label("top")
        )
        .group_by(_E.c.workspace)
        .subquery()
    )
    wrong = (
        select(_C.c.workspace, _C.c.seq, counted.c.n)
        .outerjoin(counted, counted.c.workspace == _C.c.workspace)
        .where(
            or_(
                func.coalesce(counted.c.n, 0) != _C.c.seq - _C.c.trimmed,
                func.coalesce(counted.c.top, _C.c.trimmed) != _C.c.seq,
                func.coalesce(counted.c.low, _C.c.trimmed + 1) != _C.c.trimmed + 1,
            )
        )
    )
    return await _found(
        services,
        select(func.count()).select_from(_E),
        wrong,
        "workspace {0}: the counter says {1}, there are {2} events",
    )


async def events_tell_the_state(services: Services) -> Found:
    """Walking a job's events along the lifecycle ends where the job is: one event for each change, and no other."""
    moves = {edge.event: edge for edge in JOB.edges}
    of_edges = select(_E.c.job, _E.c.type, _E.c.workspace, _E.c.seq).where(
        _E.c.type.in_([JOB.birth_event, *moves]), _E.c.job.is_not(None)
    )
    async with services.db.read() as session:
        trimmed = {r.workspace for r in (await _rows(session, select(_C.c.workspace).where(_C.c.trimmed > 0)))}
        told: dict[str, str] = {}
        wrong: list[str] = []
        for event in await _rows(session, of_edges.order_by(_E.c.workspace, _E.c.seq)):
            if event.workspace in trimmed:
                continue
            edge = moves.get(event.type)
            if edge is not None and told.get(event.job) not in edge.sources:
                wrong.append(f"job {event.job}: {event.type} (seq {event.seq}) after {told.get(event.job)}")
            told[event.job] = str(edge.target if edge else JOB.initial)
        jobs = await _rows(session, select(_J.c.id, _J.c.status, _J.c.workspace))
    wrong += [
        f"job {job.id}: {job.status}, its events say {told.get(job.id)}"
        for job in jobs
        if job.workspace not in trimmed and told.get(job.id) != job.status
    ]
    return Found(len(told), wrong)


async def deliveries_have_an_effect(services: Services) -> Found:
    """Every delivery was worked on, or will be."""
    waiting = exists().where(_X.c.state != "done", _payload("delivery") == _D.c.id)
    idle = select(_D.c.id, _D.c.job).where(_D.c.effect.is_(None), ~waiting)
    return await _found(
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
        rows = await _rows(session, unknown.distinct().order_by(_N.c.attempt))
    lost = "It was paid for; its job came after the backup that this database was restored from, or not from here."
    return Found(looked, [], [f"{row.attempt}: {row.detail} {lost}" for row in rows])


def _payload(name: str) -> ColumnElement[str]:
    """A member of a task's payload, as text."""
    member: ColumnElement[str] = _X.c.payload[name].as_string()
    return member


async def _found(services: Services, count: Select[Any], wrong: Select[Any], words: str) -> Found:
    async with services.db.read() as session:
        looked = (await session.exec(count)).scalar_one()  # type: ignore[call-overload]
        rows = await _rows(session, wrong.limit(100))
    return Found(looked, [words.format(*row) for row in rows])


async def _rows(session: AsyncSession, query: Select[Any]) -> Sequence[Any]:
    rows: Sequence[Any] = (await session.exec(query)).all()  # type: ignore[call-overload]
    return rows


CHECKS = (
    Check("jobs and holds", "A job's state and its hold's ending agree", holds_match_jobs),
    Check("jobs and tasks", "Every unfinished job is on its way", jobs_are_on_the_way),
    Check("attempts", "Attempts are numbered without gap, and the earlier ones have an outcome", attempts_are_in_order),
    Check("turned away", "A job counts the attempts that fal never took", turned_away_are_counted),
    Check("jobs and pictures", "Completed jobs, and only they, have pictures", pictures_match_jobs),
    Check("runs", "A run's counts equal a recount", runs_count_right),
    Check("runs settled", "A run's state, its slots and its hold agree", runs_are_settled),
    Check("events", "Event numbers are dense in each workspace", events_are_dense),
    Check("histories", "A job's events lead to its state", events_tell_the_state),
    Check("deliveries", "Every delivery has an effect or a task", deliveries_have_an_effect),
    Check("purchases", "What fal finishes belongs to an attempt", purchases_are_known),
)
