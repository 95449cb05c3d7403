"""One database, one storage. A process that keeps its files in another place than the others would store pictures that
nobody else finds, so each looks for a mark there before it begins.
"""

from __future__ import annotations

import asyncio

import structlog

from app.core.errors import Problem
from app.services import Services
from app.store.settled import settle, settled

_NAME = "storage"

log = structlog.get_logger("storage")


class OtherStorage(Exception):
    """The files of this database are kept elsewhere."""


async def claim_storage(services: Services) -> None:
    """Find the mark in the storage; the first process of all puts it there. When the storage is away nothing can be
    said, and `/readyz` says that.

    Raises:
        OtherStorage: it is not there, so this is not where the other processes keep their files.
    """
    try:
        if not await check_storage(services):
            await _mark(services)
            await check_storage(services)
    except Problem as problem:
        log.warning("whether this is the storage of this database is not known", error=problem.detail)


async def check_storage(services: Services) -> bool:
    """Whether there is a mark; False before the first start of all. Raises what `claim_storage` raises."""
    async with services.db.read() as session:
        mark = await settled(session, _NAME)
    if mark is not None and await services.blobs.stat(_key(mark)) is None:
        raise OtherStorage(
            "The files of this database are kept in another storage than the one given here. Use that one: the same "
            "folder where all processes are on one machine, else the same bucket (DARKROOM_STORAGE_URL=s3://BUCKET). "
            f"If this is it after all, moved or restored in part, put an empty object named {_key(mark)} there."
        )
    return mark is not None


async def _mark(services: Services) -> None:
    """The object first, then the word in the database: whoever reads that finds the object."""
    mark = services.ids.new("storage")
    file = services.scratch / mark
    await asyncio.to_thread(file.touch)
    try:
        await services.blobs.put(_key(mark), file, content_type="text/plain")
    finally:
        await asyncio.to_thread(file.unlink)
    await services.db.write(lambda tx: settle(tx, _NAME, mark))


def _key(mark: str) -> str:
    return f"installation/{mark}"
