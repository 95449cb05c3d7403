"""What must be true of the pictures: each row's object is there and is what the row says, and no object is left that no
row knows of (promise I6)."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from sqlmodel import col, select

from app.assets.model import AssetRow
from app.core.errors import NotFound
from app.feature import Check, Found
from app.services import Services
from app.store.swept import swept_until

_AFTER_SWEEP = timedelta(days=1)
"""The sweep comes every hour; a storage that was away must not look like one that is littered."""


async def objects_match_rows(services: Services) -> Found:
    """Every picture's object exists, with the size and the hash its row names, and so does its thumbnail. What else
    lies there was swept when it was old enough."""
    # Listed first: the row of an object that comes meanwhile is then among the rows.
    old = await _old_objects(services)
    async with services.db.read() as session:
        rows = (await session.exec(select(AssetRow).where(col(AssetRow.deleted_at).is_(None)))).all()
    wrong: list[str] = []
    for row in rows:
        digest, size = hashlib.sha256(), 0
        try:
            async for chunk in services.blobs.read(row.key):
                digest.update(chunk)
                size += len(chunk)
        except NotFound:
            wrong.append(f"asset {row.id}: its object is missing")
            continue
        if (size, digest.hexdigest()) != (row.size, row.sha256):
            wrong.append(f"asset {row.id}: its object is not what the row says")
        if await services.blobs.stat(row.thumbnail_key) is None:
            wrong.append(f"asset {row.id}: its thumbnail is missing")
    known = {key for row in rows for key in (row.key, row.thumbnail_key)}
    wrong += [f"object {key}: no row knows of it, and no sweep took it" for key in sorted(old - known)]
    return Found(len(rows), wrong)


async def _old_objects(services: Services) -> set[str]:
    async with services.db.read() as session:
        swept = await swept_until(session, "assets.orphans", services.clock.now())
    before = swept - timedelta(seconds=services.rules.orphan_age) - _AFTER_SWEEP
    return {blob.key async for blob in services.blobs.keys("w/") if blob.modified < before}


CHECKS = (Check("objects", "Every picture's object is what its row says, and no other lies about", objects_match_rows),)
