"""Off the line: what is kept only for a while is trimmed, and gauges that come from the database are filled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Delete, and_, bindparam, delete, exists, func, select, tuple_, update

from app.credits.model import COSTS, Account, BalanceRow, EntryRow
from app.jobs.lifecycle import RunStatus
from app.jobs.model import JobRow, RunRow
from app.jobs.watching import FORGET
from app.services import Services
from app.store.columns import table
from app.store.idempotency import IdempotencyRow
from app.store.inbox import DeliveryRow
from app.store.log import CounterRow, EventRow
from app.store.tasks import Task, TaskRow, TaskState
from app.store.write import Tx

_AT_ONCE = 500
_E, _C, _J, _R, _T, _D, _B = (
    table(row) for row in (EventRow, CounterRow, JobRow, RunRow, TaskRow, DeliveryRow, BalanceRow)
)

_OLD_TASKS = select(_T.c.id).where(_T.c.state == "done", _T.c.finished_at < bindparam("before")).limit(_AT_ONCE)
_DROP_TASKS = delete(_T).where(_T.c.id.in_(_OLD_TASKS))
_OLD_DELIVERIES = (
    select(_D.c.id)
    .join(_J, _J.c.id == _D.c.job)
    .where(_D.c.received_at < bindparam("before"), _J.c.finished_at.is_not(None))
    .limit(_AT_ONCE)
)
_DROP_DELIVERIES = delete(_D).where(_D.c.id.in_(_OLD_DELIVERIES))
_K = table(IdempotencyRow)
_OLD_KEYS = select(_K.c.workspace, _K.c.key).where(_K.c.created_at < bindparam("before")).limit(_AT_ONCE)
_DROP_KEYS = delete(_K).where(tuple_(_K.c.workspace, _K.c.key).in_(_OLD_KEYS))
_OLD_EVENTS = (
    select(_E.c.workspace, func.max(_E.c.seq).label("upto"))
    .where(_E.c.time < bindparam("before"))
    .group_by(_E.c.workspace)
)
_OLDEST_NEEDED = select(func.min(_E.c.seq)).where(
    _E.c.workspace == bindparam("ws"),
    exists().where(_J.c.id == _E.c.job, _J.c.finished_at.is_(None))
    | exists().where(and_(_R.c.id == _E.c.run, _R.c.status.in_((str(RunStatus.RUNNING), str(RunStatus.PAUSED))))),
)
_TRIMMABLE = (
    select(_E.c.seq)
    .where(_E.c.workspace == bindparam("ws"), _E.c.seq <= bindparam("upto"))
    .order_by(_E.c.seq)
    .limit(_AT_ONCE)
)
_TRIM = delete(_E).where(_E.c.workspace == bindparam("ws"), _E.c.seq.in_(_TRIMMABLE))
_TRIMMED = (
    update(_C)
    .where(_C.c.workspace == bindparam("ws"), _C.c.trimmed < bindparam("upto"))
    .values(trimmed=bindparam("upto"))
)


_COSTS = select(func.coalesce(func.sum(table(EntryRow).c.amount), 0)).where(COSTS)
_PARKED = select(func.count()).select_from(_T).where(_T.c.state == TaskState.PARKED)


async def trim(services: Services, _task: Task) -> None:
    """Drop what is past its time: finished tasks, delivery bodies, idempotency keys, and events, though nothing of an
    unfinished job or run. The ledger is kept for ever."""
    rules, now = services.rules, services.clock.now()

    def forgotten(tx: Tx) -> None:
        tx.execute(FORGET, {"now": now})

    await services.db.write(forgotten)
    for drop, kept in (
        (_DROP_TASKS, rules.tasks_kept),
        (_DROP_DELIVERIES, rules.deliveries_kept),
        (_DROP_KEYS, rules.idempotency_kept),
    ):
        await _dropped(services, drop, {"before": now - timedelta(seconds=kept)})
    for workspace, upto in await _past_their_time(services, now - timedelta(seconds=rules.events_kept)):
        await _trim_events(services, workspace, upto)


async def _dropped(services: Services, drop: Delete, values: dict[str, Any]) -> None:
    """A little at a time, until nothing is left to drop: other writes have their turn in between."""

    def dropped(tx: Tx) -> int:
        return tx.execute(drop, values).rowcount

    while await services.db.write(dropped) >= _AT_ONCE:
        pass


async def _past_their_time(services: Services, before: datetime) -> list[tuple[str, int]]:
    """How far each workspace's events may be trimmed."""
    found = []
    async with services.db.read() as session:
        for workspace, upto in (await session.exec(_OLD_EVENTS, params={"before": before})).all():  # type: ignore[call-overload]
            needed = (await session.exec(_OLDEST_NEEDED, params={"ws": workspace})).scalar()  # type: ignore[call-overload]
            found.append((workspace, upto if needed is None else min(upto, needed - 1)))
    return found


async def _trim_events(services: Services, workspace: str, upto: int) -> None:
    """First say that they are gone, then let them go."""
    if upto <= 0:
        return

    def announced(tx: Tx) -> None:
        tx.execute(_TRIMMED, {"ws": workspace, "upto": upto})

    await services.db.write(announced)
    await _dropped(services, _TRIM, {"ws": workspace, "upto": upto})


async def fill_gauges(services: Services) -> None:
    """Called before a scrape."""
    by_status = select(_J.c.status, func.count()).where(_J.c.finished_at.is_(None)).group_by(_J.c.status)
    oldest = select(func.min(_T.c.due_at)).where(_T.c.state == "ready", _T.c.due_at <= services.clock.now())
    accounts = (Account.AVAILABLE, Account.HELD, Account.SPENT)
    sums = select(*(func.coalesce(func.sum(_B.c[str(account)]), 0).label(str(account)) for account in accounts))
    async with services.db.read() as session:
        jobs = (await session.exec(by_status)).all()  # type: ignore[call-overload]
        waiting = (await session.exec(oldest)).scalar()  # type: ignore[call-overload]
        balances = (await session.exec(sums)).one()  # type: ignore[call-overload]
        costs = (await session.exec(_COSTS)).scalar_one()  # type: ignore[call-overload]
        parked = (await session.exec(_PARKED)).scalar_one()  # type: ignore[call-overload]
    metrics = services.metrics
    metrics.gauge("tasks_parked", parked)
    metrics.clear("jobs")
    for status, count in jobs:
        metrics.gauge("jobs", count, status=status)
    metrics.gauge("queue_age_seconds", (services.clock.now() - waiting).total_seconds() if waiting else 0.0)
    for account in accounts:
        metrics.gauge("credits", float(getattr(balances, account)), account=account)
    metrics.gauge("micro_usd", float(costs), account=Account.COSTS)
