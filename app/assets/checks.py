"""What must be true of the pictures: each row's object is there, and is what the row says (promise I6)."""

from __future__ import annotations

import hashlib

from sqlmodel import col, select

from app.assets.model import AssetRow
from app.core.errors import NotFound
from app.feature import Check, Found
from app.services import Services


async def objects_match_rows(services: Services) -> Found:
    """Every picture's object exists, with the size and the hash its row names, and so does its thumbnail."""
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
    return Found(len(rows), wrong)


CHECKS = (Check("objects", "Every picture's object is what its row says", objects_match_rows),)
