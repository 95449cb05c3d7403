"""From a finished local file to a kept picture: developed, stored with its thumbnail, and told as a row. Objects
first; the row is inserted by the caller's own write, beside whatever else that write says.

    row = await keep(services, file, NewAsset(id, workspace, AssetKind.UPLOAD, filename="cat.png"))
    await services.db.write(lambda tx: insert_asset(tx, row))
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import insert

from app.assets.model import AssetKind, AssetRow, Provenance
from app.assets.names import safe_filename
from app.assets.pieces import is_full
from app.core.errors import StorageFull
from app.core.ids import derived
from app.ports import Developed
from app.services import Services
from app.store.columns import table
from app.store.write import Tx

THUMBNAIL_TYPE = "image/webp"

_INSERT = insert(table(AssetRow))


@dataclass(frozen=True)
class NewAsset:
    """What is known of a picture before it is opened. What a job made is attached to it from the start."""

    id: str
    workspace: str
    kind: AssetKind
    job: str | None = None
    output: int | None = None
    filename: str | None = None
    source_url: str | None = None
    provenance: Provenance = field(default_factory=Provenance)


def output_id(job: str, output: int) -> str:
    """The one id that output number `output` of a job can have."""
    return derived("asset", job, output)


async def keep(services: Services, file: Path, new: NewAsset) -> AssetRow:
    """Store `file` and tell it as a row. A generated picture gets the "made by AI" mark on the way. Doing it twice is
    harmless.

    Raises:
        NotAPicture: it is none, or none that can be taken.
        StorageFull, Unavailable: there is no room, or no store, for it now.
    """
    _count(services, "in", file)
    async with scratch_folder(services) as folder:
        made_by_ai = new.kind is AssetKind.GENERATED
        developed = await services.darkroom.develop(file, folder, made_by_ai=made_by_ai)
        row = _row(new, developed, services.clock.now())
        await services.blobs.put(row.thumbnail_key, developed.thumbnail, content_type=THUMBNAIL_TYPE)
        await services.blobs.put(row.key, developed.picture, content_type=row.content_type)
        _count(services, "stored", developed.picture, developed.thumbnail)
        return row


def _count(services: Services, direction: str, *files: Path) -> None:
    moved = sum(file.stat().st_size for file in files)
    services.metrics.count("transfer_bytes_total", moved, direction=direction)


def insert_asset(tx: Tx, row: AssetRow) -> None:
    tx.execute(_INSERT, row.model_dump())


@asynccontextmanager
async def scratch_folder(services: Services) -> AsyncIterator[Path]:
    """A folder of one's own for files on their way through, gone afterwards."""
    try:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=services.scratch))
    except OSError as error:
        if is_full(error):
            raise StorageFull("There is no room for files on their way through.") from error
        raise
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _row(new: NewAsset, developed: Developed, now: datetime) -> AssetRow:
    digest = developed.digest
    stem = f"w/{new.workspace}/{new.id}/{digest.sha256}"
    made_by_ai = new.kind is AssetKind.GENERATED
    return AssetRow(
        id=new.id,
        workspace=new.workspace,
        job=new.job,
        output=new.output,
        kind=new.kind,
        key=f"{stem}.{developed.extension}",
        thumbnail_key=f"{stem}.thumb.webp",
        content_type=developed.content_type,
        width=developed.width,
        height=developed.height,
        size=digest.size,
        sha256=digest.sha256,
        crc32=digest.crc32,
        colour=developed.colour,
        placeholder=developed.placeholder,
        filename=safe_filename(new.filename or new.id, developed.extension),
        source_url=new.source_url,
        provenance=new.provenance.model_copy(update={"made_by_ai": made_by_ai}).model_dump(mode="json"),
        attached=made_by_ai,
        created_at=now,
    )
