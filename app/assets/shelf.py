"""The statements over the table of pictures: find, list, put to use, delete, sweep."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, tuple_, update
from sqlmodel import select as select_rows
from sqlmodel.ext.asyncio.session import AsyncSession

from app.assets.model import AssetKind, AssetRow
from app.core.errors import InUse, InvalidRequest, NotFound
from app.store.columns import table
from app.store.tasks import NewTask
from app.store.write import Tx

ERASE = "assets.erase"

Holder = Callable[[Tx, str], str | None]
"""Says in a few words what holds an asset ("job_01… still draws from it"), or None. Runs inside the deleting write."""

_T = table(AssetRow)
_ATTACH = (
    update(_T)
    .where(_T.c.workspace == bindparam("w"), _T.c.id == bindparam("i"), _T.c.deleted_at.is_(None))
    .values(attached=True)
)
_BURY = (
    update(_T)
    .where(_T.c.workspace == bindparam("w"), _T.c.id == bindparam("i"), _T.c.deleted_at.is_(None))
    .values(deleted_at=bindparam("at"))
    .returning(_T.c.key, _T.c.thumbnail_key)
)
_LOOSE = (
    select(_T.c.workspace, _T.c.id)
    .where(_T.c.attached.is_(False), _T.c.deleted_at.is_(None), _T.c.created_at < bindparam("before"))
    .order_by(_T.c.created_at)
    .limit(bindparam("most"))
)
_BURY_LOOSE = _BURY.where(_T.c.attached.is_(False))


async def found(session: AsyncSession, workspace: str, asset: str) -> AssetRow:
    """The picture, if it is this workspace's and not deleted.

    Raises:
        NotFound: otherwise, and always in the same words.
    """
    row = await session.get(AssetRow, asset)
    if row is None or row.workspace != workspace or row.deleted_at is not None:
        raise gone(asset)
    return row


def gone(asset: str) -> NotFound:
    return NotFound(f"There is no asset {asset[:40]!r} here.")


async def listed(
    session: AsyncSession,
    workspace: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    kind: AssetKind | None = None,
    job: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[AssetRow]:
    """Newest first, from `before` on."""
    wanted = select_rows(AssetRow).where(_T.c.workspace == workspace, _T.c.deleted_at.is_(None))
    for column, value in ((_T.c.kind, kind), (_T.c.job, job)):
        if value is not None:
            wanted = wanted.where(column == value)
    if since is not None:
        wanted = wanted.where(_T.c.created_at >= since)
    if until is not None:
        wanted = wanted.where(_T.c.created_at < until)
    if before is not None:
        wanted = wanted.where(tuple_(_T.c.created_at, _T.c.id) < before)
    wanted = wanted.order_by(_T.c.created_at.desc(), _T.c.id.desc()).limit(limit)
    return (await session.exec(wanted)).all()


def attach(tx: Tx, workspace: str, assets: Collection[str]) -> None:
    """Say that something uses these pictures now: the sweep leaves them alone, and a delete waits for this write.

    Raises:
        InvalidRequest: one of them is not here.
    """
    missing = [a for a in sorted(set(assets)) if tx.execute(_ATTACH, {"w": workspace, "i": a}).rowcount != 1]
    if missing:
        raise InvalidRequest("; ".join(gone(asset).detail for asset in missing), missing=missing)


def bury(tx: Tx, workspace: str, asset: str, holders: Sequence[Holder]) -> None:
    """Make the row a tombstone and have the files erased after this write.

    Raises:
        NotFound: there is no such picture.
        InUse: something holds it; says what.
    """
    if not _buried(tx, _BURY, workspace, asset):
        raise gone(asset)
    held = [words for holder in holders if (words := holder(tx, asset)) is not None]
    if held:
        raise InUse(f"This asset cannot be deleted: {'; '.join(held)}.", holders=held)


def bury_loose(tx: Tx, before: datetime, most: int) -> int:
    """Tombstones for pictures that came before then and were never used; how many."""
    loose = tx.execute(_LOOSE, {"before": before, "most": most}).all()
    return sum(_buried(tx, _BURY_LOOSE, row.workspace, row.id) for row in loose)


def _buried(tx: Tx, statement: Any, workspace: str, asset: str) -> bool:
    keys = tx.execute(statement, {"w": workspace, "i": asset, "at": tx.now}).one_or_none()
    if keys is None:
        return False
    tx.spawn(NewTask(ERASE, f"{ERASE}:{asset}", workspace, {"keys": list(keys)}))
    return True
