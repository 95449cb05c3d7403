"""The event log as it is read: pages in order, and each event as the bytes of one SSE frame."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Row, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.events import Recorded
from app.store.columns import table
from app.store.log import CounterRow, EventRow


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted; naming nothing means all."""

    job: str | None = None
    run: str | None = None
    types: frozenset[str] = frozenset()

    def about(self, job: str | None, run: str | None) -> bool:
        return (self.job is None or self.job == job) and (self.run is None or self.run == run)


class Frame(NamedTuple):
    seq: int
    type: str
    job: str | None
    run: str | None
    text: bytes


class Extent(NamedTuple):
    """How far a workspace's log goes: the newest number given out, and the highest that was trimmed away."""

    newest: int = 0
    trimmed: int = 0


Rows: TypeAlias = Sequence[Row[Any]]

EVERYTHING = Filter()
_events, _counters = table(EventRow).c, table(CounterRow).c
_PAGE = (
    select(_events.seq, _events.type, _events.time, _events.job, _events.run, _events.data)
    .where(_events.workspace == bindparam("of"), _events.seq > bindparam("after"))
    .order_by(_events.seq)
    .limit(bindparam("most"))
)
_LAST = select(func.max(_events.seq)).where(_events.workspace == bindparam("of"))
_COUNTERS = select(_counters.workspace, _counters.seq, _counters.trimmed).where(
    _counters.workspace.in_(bindparam("those", expanding=True))
)


async def read_page(
    session: AsyncSession, workspace: str, after: int, limit: int, wanted: Filter = EVERYTHING
) -> list[Recorded]:
    """The next events after number `after`, oldest first."""
    rows = await _rows(session, workspace, after, limit, wanted)
    return [Recorded(workspace, r.seq, r.type, _utc(r.time), r.job, r.run, json.loads(r.data)) for r in rows]


async def read_frames(
    session: AsyncSession, workspace: str, after: int, limit: int, wanted: Filter = EVERYTHING
) -> list[Frame]:
    """The same, each event as the frame that readers of a stream get."""
    rows = await _rows(session, workspace, after, limit, wanted)
    return [Frame(r.seq, r.type, r.job, r.run, _encoded(r)) for r in rows]


async def extents(session: AsyncSession, workspaces: Collection[str]) -> dict[str, Extent]:
    """Where each workspace stands; one that never had an event is not among them."""
    rows = await _all(session, _COUNTERS, those=list(workspaces))
    return {row.workspace: Extent(row.seq, row.trimmed) for row in rows}


async def extent_of(session: AsyncSession, workspace: str) -> Extent:
    return (await extents(session, [workspace])).get(workspace, Extent())


async def last_of(session: AsyncSession, workspace: str, wanted: Filter) -> int | None:
    """The number of the newest event that is wanted."""
    rows = await _all(session, _narrowed(_LAST, wanted), of=workspace)
    return rows[0][0] if rows else None


async def _rows(session: AsyncSession, workspace: str, after: int, limit: int, wanted: Filter) -> Rows:
    return await _all(session, _narrowed(_PAGE, wanted), of=workspace, after=after, most=limit)


async def _all(session: AsyncSession, query: Select[Any], **parameters: Any) -> Rows:
    """Plain rows need none of the session's own machinery, only its transaction."""
    connection = await session.connection()
    rows: Rows = (await connection.execute(query, parameters)).all()
    return rows


def _narrowed(query: Select[Any], wanted: Filter) -> Select[Any]:
    if wanted.job is not None:
        query = query.where(_events.job == wanted.job)
    if wanted.run is not None:
        query = query.where(_events.run == wanted.run)
    if wanted.types:
        query = query.where(_events.type.in_(sorted(wanted.types)))
    return query


def _encoded(row: Row[Any]) -> bytes:
    time = _utc(row.time).isoformat().replace("+00:00", "Z")
    head = (
        f'"seq":{row.seq},"type":"{row.type}","time":"{time}","job":{json.dumps(row.job)},"run":{json.dumps(row.run)}'
    )
    return f'id: {row.seq}\nevent: {row.type}\ndata: {{{head},"data":{row.data}}}\n\n'.encode()


def _utc(time: datetime) -> datetime:
    """SQLite keeps no zone: what it gives back is UTC, as it was written."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
