"""What is done again and again so that nothing piles up: files of deleted pictures, uploads nobody used, and objects
that no row knows of, left by a crash between the object and its row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import select

from app.assets.model import AssetRow
from app.assets.shelf import bury_loose
from app.ports import BlobStat
from app.services import Services
from app.store.columns import table
from app.store.tasks import Task
from app.store.write import Tx

_PAGE = 500
_T = table(AssetRow)


async def erase(services: Services, task: Task) -> None:
    """The files of one deleted picture."""
    for key in task.payload["keys"]:
        await services.blobs.delete(key)


async def sweep_unattached(services: Services, _task: Task) -> None:
    """Uploads that nothing has used for a day."""
    before = services.clock.now() - _span(services, services.rules.unattached_for)

    def bury_unattached(tx: Tx) -> int:
        return bury_loose(tx, before, _PAGE)

    while await services.db.write(bury_unattached) == _PAGE:
        pass


async def sweep_orphans(services: Services, _task: Task) -> None:
    """Objects without a living row. Only old ones: a row comes after its object."""
    before = services.clock.now() - timedelta(seconds=services.rules.orphan_age)
    page: list[BlobStat] = []
    async for blob in services.blobs.keys("w/"):
        if blob.modified < before:
            page.append(blob)
        if len(page) == _PAGE:
            await _delete_unknown(services, page)
            page = []
    await _delete_unknown(services, page)


async def _delete_unknown(services: Services, page: Sequence[BlobStat]) -> None:
    keys = {blob.key for blob in page}
    mentioned = {_asset_of(key) for key in keys}
    rows = select(AssetRow).where(_T.c.id.in_(mentioned), _T.c.deleted_at.is_(None))
    async with services.db.read() as session:
        living = {key for row in await session.exec(rows) for key in (row.key, row.thumbnail_key)}
    for key in keys - living:
        await services.blobs.delete(key)


def _asset_of(key: str) -> str:
    return key.split("/")[2] if key.count("/") == 3 else ""


def _span(services: Services, seconds: float) -> timedelta:
    """A duration of the service's own pace in real time."""
    return services.clock.after(seconds) - services.clock.now()
