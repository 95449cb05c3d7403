"""How far what is done again and again has come: what it has had no chance to see yet is nobody's fault."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.store.columns import table
from app.store.tasks import TaskRow

_T = table(TaskRow)


async def swept_until(session: AsyncSession, schedule: str, now: datetime) -> datetime:
    """Until when a schedule was kept: now; or, where nothing has run for a while or a backup was restored, the moment
    at which it fell due and nobody came."""
    query = select(_T.c.due_at).where(_T.c.key == f"schedule:{schedule}", _T.c.state.in_(("ready", "leased")))
    due_at: datetime | None = (await session.exec(query)).scalar()  # type: ignore[call-overload]
    return min(due_at, now) if due_at else now
