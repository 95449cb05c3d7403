"""What must be true of the events (promise I12): numbered without gap, and telling of each job and run what became of
it, one event for each change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.lifecycle import Lifecycle
from app.feature import Check, Found
from app.jobs.findings import found, rows_of
from app.jobs.lifecycle import JOB, RUN
from app.jobs.model import JobRow, RunRow
from app.services import Services
from app.store.columns import table
from app.store.log import CounterRow, EventRow

_E, _C = table(EventRow), table(CounterRow)


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
    return await found(
        services,
        select(func.count()).select_from(_E),
        wrong,
        "workspace {0}: the counter says {1}, there are {2} events",
    )


async def events_tell_the_state(services: Services) -> Found:
    """Walking a job's or a run's events along its lifecycle ends where it is: one event for each change, and no
    other."""
    async with services.db.read() as session:
        jobs = await _walked(session, JOB, table(JobRow))
        runs = await _walked(session, RUN, table(RunRow))
    return Found(jobs.looked + runs.looked, [*jobs.violations, *runs.violations])


async def _walked(session: AsyncSession, lifecycle: Lifecycle[Any], things: Table) -> Found:
    """Where a workspace's log was trimmed, a story may begin in the middle, and that of what has ended may be gone."""
    trimmed = {row.workspace for row in await rows_of(session, select(_C.c.workspace).where(_C.c.trimmed > 0))}
    about = _E.c[lifecycle.subject].label("about")
    told_of = select(about, _E.c.type, _E.c.workspace, _E.c.seq).where(
        _E.c.type.in_(sorted(lifecycle.events())), about.is_not(None)
    )
    moves = {edge.event: edge for edge in lifecycle.edges}
    told: dict[str, str] = {}
    wrong: list[str] = []
    for event in await rows_of(session, told_of.order_by(_E.c.workspace, _E.c.seq)):
        edge, before = moves.get(event.type), told.get(event.about)
        begins = before is None and (edge is None or event.workspace in trimmed)
        if not begins and (edge is None or before not in edge.sources):
            wrong.append(f"{lifecycle.subject} {event.about}: {event.type} (seq {event.seq}) after {before}")
        told[event.about] = str(edge.target if edge else lifecycle.initial)
    rows = await rows_of(session, select(things.c.id, things.c.status, things.c.workspace, things.c.finished_at))
    for row in rows:
        gone = row.id not in told and row.workspace in trimmed and row.finished_at is not None
        if not gone and told.get(row.id) != row.status:
            wrong.append(f"{lifecycle.subject} {row.id}: {row.status}, its events say {told.get(row.id)}")
    unknown = sorted(told.keys() - {row.id for row in rows})
    wrong += [f"{lifecycle.subject} {id_}: its events say {told[id_]}, and it is not there" for id_ in unknown]
    return Found(len(told), wrong)


CHECKS = (
    Check("events", "Event numbers are dense in each workspace", events_are_dense),
    Check("histories", "The events of a job or a run lead to its state", events_tell_the_state),
)
