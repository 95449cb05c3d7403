"""How a check of the line asks: one question for how much there is to look at, one for what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.feature import Found
from app.services import Services
from app.store.columns import table
from app.store.tasks import TaskRow


async def found(services: Services, count: Select[Any], wrong: Select[Any], words: str) -> Found:
    """`words` are filled with the columns of each row that is wrong."""
    async with services.db.read() as session:
        looked = (await session.exec(count)).scalar_one()  # type: ignore[call-overload]
        rows = await rows_of(session, wrong.limit(100))
    return Found(looked, [words.format(*row) for row in rows])


async def rows_of(session: AsyncSession, query: Select[Any]) -> Sequence[Any]:
    rows: Sequence[Any] = (await session.exec(query)).all()  # type: ignore[call-overload]
    return rows


def payload(name: str) -> ColumnElement[str]:
    """A member of a task's payload, as text."""
    member: ColumnElement[str] = table(TaskRow).c.payload[name].as_string()
    return member
