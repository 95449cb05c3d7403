"""The tenants. Everything else in the database carries the id of one of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlmodel import select as select_rows
from sqlmodel.ext.asyncio.session import AsyncSession

from app.accounts.model import SYSTEM, WorkspaceKind, WorkspaceRow
from app.store.columns import insert_if_new, table
from app.store.write import Tx

_T = table(WorkspaceRow)
_INSERT_IF_NEW = insert_if_new(WorkspaceRow)
_WORLD = select(_T.c.name).where(_T.c.id == bindparam("i"))


class OtherWorld(Exception):
    """This database belongs to the sandbox, and we work with the real fal, or the other way round."""


def create_workspace(tx: Tx, workspace: str, name: str, kind: WorkspaceKind) -> None:
    """Raises nothing when it is there already: then it stays as it is."""
    row = {"id": workspace, "name": name, "kind": kind, "created_at": tx.now}
    tx.execute(_INSERT_IF_NEW[tx.dialect], row)


def claim_world(tx: Tx, world: str) -> None:
    """Make the system workspace, named after the world whose pictures this database holds.

    Raises:
        OtherWorld: it was made in another one.
    """
    create_workspace(tx, SYSTEM, world, WorkspaceKind.SYSTEM)
    found = tx.execute(_WORLD, {"i": SYSTEM}).scalar_one()
    if found != world:
        raise OtherWorld(
            f"This database holds what came from the {found} fal; it cannot be used with the {world} one. "
            "Use another database, or another data folder (DARKROOM_DATABASE_URL, DARKROOM_DATA)."
        )


async def list_workspaces(session: AsyncSession) -> Sequence[WorkspaceRow]:
    return (await session.exec(select_rows(WorkspaceRow).order_by(_T.c.created_at, _T.c.id))).all()


async def find_workspace(session: AsyncSession, workspace: str) -> WorkspaceRow | None:
    return await session.get(WorkspaceRow, workspace)
