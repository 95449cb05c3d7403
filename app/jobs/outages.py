"""Off the line: is fal there, is the storage there, could the database be written? Operators are told once when one of
them goes and once when it is back, whichever process noticed; jobs wait meanwhile, and go on as soon as it is back.

While nothing can be written, nobody can be told; so afterwards operators, and every workspace whose jobs had to wait,
hear from when to when that was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import bindparam, or_, update
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from app.accounts.model import SYSTEM
from app.core.errors import Problem, StorageFull, Unavailable
from app.core.events import Topic
from app.jobs.events import Notice
from app.jobs.model import JobRow
from app.services import Services
from app.standing import Trouble
from app.store.columns import table
from app.store.log import EventRow
from app.store.tasks import Task, TaskRow
from app.store.write import Tx

_PATIENCE = 10.0
_BELIEVED_AFTER = 2
"""Looks in a row: one that fails may be a hiccup."""
_SOONER = 10.0
"""Seconds between looks while one fails, so that what waits goes on within half a minute of its return."""
_PAGE = 1_000

_WORTH_TELLING = 10.0
"""Seconds that nothing could be written, before those are told who only waited a little longer for their pictures."""

_NAMES = {"provider": "fal", "storage": "The storage"}
_UNWRITABLE = {
    "database": ("database-was-away", "The database could not be written"),
    "storage": ("storage-was-full", "There was no room to store anything"),
}
_E = table(EventRow)
_NOTICES = select_columns(_E.c.data).where(_E.c.workspace == SYSTEM, _E.c.type == Notice.type)
_TOLD = _NOTICES.order_by(_E.c.seq.desc()).limit(100)
_TOLD_SINCE = _NOTICES.where(_E.c.time >= bindparam("since"))
_T = table(TaskRow)
_DISPATCH = "jobs.dispatch"
_WAITS = (_T.c.state == "ready", _T.c.last_error.is_not(None), _T.c.due_at > bindparam("now"))
_PUT_OFF = (
    select_columns(_T.c.id)
    .where(*_WAITS, _T.c.kind.like("jobs.%"), _T.c.id > bindparam("after"))
    .order_by(_T.c.id)
    .limit(_PAGE)
)
_PUT_OFF_BY = {"provider": _PUT_OFF, "storage": _PUT_OFF.where(_T.c.kind != _DISPATCH)}
"""The return of the storage sends nothing sooner than fal has asked for."""
_NEXT_SENT = select_columns(_T.c.id).where(*_WAITS, _T.c.kind == _DISPATCH).order_by(_T.c.due_at).limit(1)
_DUE_NOW = (
    update(_T)
    .where(_T.c.id.in_(bindparam("ids", expanding=True)), _T.c.state == "ready")
    .values(due_at=bindparam("now"))
)

log = structlog.get_logger("outages")


async def look_around(services: Services, task: Task) -> None:
    """Look at what the line depends on."""
    await _look_at(services, "provider", lambda: check_provider(services))
    await _look_at(services, "storage", services.blobs.check)
    await _tell_of_what_could_not_be_written(services)
    if services.standing.unreachable(services.clock.now(), services.rules.unreachable_after):
        await services.db.write(_hasten_one)
    if any(services.standing.failures.values()) or services.standing.unwritable:
        soon = services.clock.after(_SOONER)
        await services.db.write(lambda tx: tx.again(task, soon))


async def check_provider(services: Services) -> None:
    """Is fal there? It is not while nothing can be sent to it, whatever else it answers. Raises Unavailable."""
    standing = services.standing
    if standing.unreachable(services.clock.now(), services.rules.unreachable_after):
        raise Unavailable(f"No connection to fal: {standing.unsent_detail}")
    await services.provider.check()


async def unsent(services: Services, detail: str) -> None:
    """A submission found no connection."""
    standing, rules = services.standing, services.rules
    standing.unsent += 1
    standing.unsent_detail = detail
    standing.unsent_until = services.clock.after(2 * rules.submit_backoff_latest)
    if standing.unsent == rules.unreachable_after:
        await _away(services, "provider", f"No connection to fal: {detail}")


async def sent(services: Services) -> None:
    """A submission found its way, whatever fal said to it."""
    before, services.standing.unsent = services.standing.unsent, 0
    if before >= services.rules.unreachable_after:
        await _back(services, "provider")


def could_not_write(services: Services, what: str, problem: Problem) -> None:
    services.standing.could_not_write(what, services.clock.now(), services.clock.monotonic(), problem.detail)


def is_fresh(services: Services, trouble: Trouble, seconds: float) -> bool:
    """Whether it was last heard of within so many seconds of the service's own pace."""
    span = services.clock.after(seconds) - services.clock.now()
    return services.clock.monotonic() < trouble.heard + span.total_seconds()


async def _look_at(services: Services, what: str, check: Callable[[], Awaitable[None]]) -> None:
    failures = services.standing.failures
    trouble = await _trouble(services, check)
    before, failures[what] = failures.get(what), (failures.get(what, 0) + 1 if trouble else 0)
    away = failures[what] >= _BELIEVED_AFTER
    services.metrics.gauge("away", int(away), what=what)
    if away and failures[what] == _BELIEVED_AFTER:
        await _away(services, what, trouble)
    elif not failures[what] and before != 0:
        await _back(services, what)


async def _away(services: Services, what: str, trouble: str) -> None:
    log.warning("away", what=what, detail=trouble)
    services.metrics.gauge("away", 1, what=what)
    said = trouble if trouble.endswith(".") else f"{trouble}."
    detail = f"{said} Jobs wait and go on by themselves; nothing is bought twice."
    notice = Notice(level="error", code=f"{what}-away", title=f"{_NAMES[what]} is away", detail=detail)
    await services.db.write(lambda tx: _tell(tx, what, notice))


async def _back(services: Services, what: str) -> None:
    services.metrics.gauge("away", 0, what=what)
    detail = "What has waited goes on."
    notice = Notice(level="info", code=f"{what}-back", title=f"{_NAMES[what]} is back", detail=detail)
    if await services.db.write(lambda tx: _tell(tx, what, notice)):
        log.info("back", what=what)
        await _hasten_all(services, what)


async def _hasten_all(services: Services, what: str) -> None:
    """What was put off because of something that failed is tried again now, however long it was to wait: each once,
    even if it fails again meanwhile."""
    after: str | None = ""
    while after is not None:
        after = await services.db.write(partial(_hasten_page, what, after))


def _hasten_page(what: str, after: str, tx: Tx) -> str | None:
    """The last of the page; none when there are no more."""
    found = tx.execute(_PUT_OFF_BY[what], {"now": tx.now, "after": after}).scalars().all()
    _due_now(tx, found)
    return found[-1] if len(found) == _PAGE else None


def _hasten_one(tx: Tx) -> None:
    """A submission: nothing else finds out whether one gets through."""
    _due_now(tx, tx.execute(_NEXT_SENT, {"now": tx.now}).scalars().all())


def _due_now(tx: Tx, ids: Sequence[str]) -> None:
    if ids:
        tx.execute(_DUE_NOW, {"now": tx.now, "ids": ids})
        tx.topics.add("tasks")


async def _trouble(services: Services, check: Callable[[], Awaitable[None]]) -> str:
    """What is wrong, or nothing."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await check()
    except TimeoutError:
        return f"No answer within {_PATIENCE:g} s."
    except Problem as problem:
        if isinstance(problem, StorageFull):
            could_not_write(services, "storage", problem)
        return problem.detail
    return ""


def _tell(tx: Tx, what: str, notice: Notice) -> bool:
    """Unless operators know it already, from another process or from before a restart. Whether it was news."""
    codes = (json.loads(data).get("code") for data in tx.execute(_TOLD).scalars())
    known = next((code for code in codes if code in (f"{what}-away", f"{what}-back")), f"{what}-back")
    news = known != notice.code
    if news:
        tx.record(notice, Topic(SYSTEM))
    return news


async def _tell_of_what_could_not_be_written(services: Services) -> None:
    """Once it is over for good: for as long as a lease nothing has failed, so all that failed has been tried again."""
    standing, troubles = services.standing, services.standing.unwritable
    if not troubles or any(is_fresh(services, trouble, services.rules.lease) for trouble in troubles.values()):
        return
    standing.unwritable = {}
    try:
        waited = await _who_waited(services, list(troubles.values()))
        await services.db.write(lambda tx: _tell_afterwards(tx, troubles, waited))
    except Problem:
        standing.unwritable |= troubles
        raise


async def _who_waited(services: Services, troubles: Sequence[Trouble]) -> Sequence[str]:
    """The workspaces with jobs that were under way when it was over."""
    least = services.clock.after(_WORTH_TELLING) - services.clock.now()
    since, until = _span(troubles)
    if until - since < least:
        return ()
    finished, begins = col(JobRow.finished_at), col(JobRow.not_before)
    under_way = (
        select(JobRow.workspace)
        .where(col(JobRow.created_at) <= until)
        .where(or_(finished.is_(None), finished > until), or_(begins.is_(None), begins <= until))
        .distinct()
        .order_by(JobRow.workspace)
    )
    async with services.db.read() as session:
        return (await session.exec(under_way)).all()


def _tell_afterwards(tx: Tx, troubles: Mapping[str, Trouble], waited: Sequence[str]) -> None:
    """Unless another process, which saw the same, has told it already."""
    since, until = _span(list(troubles.values()))
    told = {json.loads(data).get("code") for data in tx.execute(_TOLD_SINCE, {"since": since}).scalars()}
    if told & {_UNWRITABLE[what][0] for what in troubles}:
        return
    for what, trouble in troubles.items():
        code, title = _UNWRITABLE[what]
        detail = (
            f"{_between(trouble.since, trouble.until)}: {trouble.detail} What has waited goes on; nothing was lost."
        )
        tx.record(Notice(level="warning", code=code, title=title, detail=detail), Topic(SYSTEM))
    detail = (
        f"{_between(since, until)} nothing could be written here. Jobs that were under way have waited and go on by "
        "themselves: no job, no picture and no credit was lost, and nothing is paid twice."
    )
    notice = Notice(level="warning", code="jobs-had-to-wait", title="Jobs had to wait", detail=detail)
    for workspace in waited:
        tx.record(notice, Topic(workspace))


def _span(troubles: Sequence[Trouble]) -> tuple[datetime, datetime]:
    return min(trouble.since for trouble in troubles), max(trouble.until for trouble in troubles)


def _between(since: datetime, until: datetime) -> str:
    return f"From {since:%Y-%m-%d %H:%M:%S} to {until:%H:%M:%S} UTC"
