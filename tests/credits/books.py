"""Looking into the ledger."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import func, select

from app.credits.checks import CHECKS
from app.credits.model import BalanceRow, EntryRow
from app.services import Services
from app.store.columns import table
from app.store.database import Database
from tests.databases import Shelf

B, E = table(BalanceRow), table(EntryRow)


async def balance(shelf: Shelf, workspace: str = "ws") -> tuple[int, int, int]:
    """Available, held, spent."""
    found = await shelf.rows(select(B.c.available, B.c.held, B.c.spent).where(B.c.workspace == workspace))
    return tuple(found[0]) if found else (0, 0, 0)


async def sums(shelf: Shelf) -> dict[str, int]:
    """What all entries of a ledger add up to."""
    found = await shelf.rows(select(E.c.ledger, func.sum(E.c.amount)).group_by(E.c.ledger))
    return {str(ledger): int(total) for ledger, total in found}


async def violations(db: Database) -> list[str]:
    """What the slice's own checks find wrong."""
    services = cast("Services", SimpleNamespace(db=db))
    found: list[Any] = [(check.name, await check.find(services)) for check in CHECKS]
    return [f"{name}: {violation}" for name, each in found for violation in each.violations]
