"""What an installation has settled on: the first process that says it decides it for all, until one settles it anew."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, update
from sqlmodel import Field
from sqlmodel.ext.asyncio.session import AsyncSession

from app.store.columns import Row, insert_if_new, table
from app.store.write import Tx


class SettledRow(Row, table=True):
    __tablename__ = "settled"

    name: str = Field(primary_key=True)
    value: str
    at: datetime


_S = table(SettledRow)
_SETTLE = insert_if_new(SettledRow)
_CHANGE = (
    update(_S)
    .where(_S.c.name == bindparam("the_name"), _S.c.value != bindparam("v"))
    .values(value=bindparam("v"), at=bindparam("now"))
)


def settle(tx: Tx, name: str, value: str) -> None:
    """Settle on `value`, unless somebody settled on another one before."""
    tx.execute(_SETTLE[tx.dialect], {"name": name, "value": value, "at": tx.now})


def settle_anew(tx: Tx, name: str, value: str) -> None:
    """Settle on `value` whatever it was before. Said twice, the time of the first stays."""
    tx.execute(_CHANGE, {"the_name": name, "v": value, "now": tx.now})
    settle(tx, name, value)


async def settled(session: AsyncSession, name: str) -> str | None:
    row = await session.get(SettledRow, name)
    return row.value if row else None


async def settled_at(session: AsyncSession, name: str) -> datetime | None:
    row = await session.get(SettledRow, name)
    return row.at if row else None
