"""A run's pictures as one ZIP, for whoever wants to take them along: each file as it is stored, and a manifest that
says what each came from. It is written while it is read, so a run of any size takes no more room than a chunk of one
picture.

The pictures are stored, not deflated: they are compressed already. Names are made of numbers and ids of ours; what
somebody wrote stands in the manifest only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from itertools import groupby
from typing import Any
from zipfile import ZipFile, ZipInfo

from pydantic import BaseModel
from sqlmodel import col, select

from app.assets.model import AssetRow
from app.assets.serving import given_out
from app.jobs.lifecycle import JobStatus, RunStatus
from app.jobs.model import JobRow, RunRow, SlotRow
from app.services import Services
from app.web.operation import Download

ZIP = "application/zip"
MANIFEST = "manifest.json"


class PackedFile(BaseModel):
    """`name` is null when the picture was deleted: what it was is still known."""

    name: str | None
    asset: str
    content_type: str
    width: int
    height: int
    size: int
    sha256: str


class PackedJob(BaseModel):
    """What fills a slot now, whatever became of it."""

    slot: int
    job: str
    status: JobStatus
    model: str
    prompt: str | None
    input: dict[str, Any]
    seed: str | None
    files: list[PackedFile]


class Manifest(BaseModel):
    run: str
    name: str
    status: RunStatus
    created_at: datetime
    jobs: list[PackedJob]


async def archive(services: Services, run: RunRow) -> Download:
    """The pictures there are by now; those of a run that goes on are fewer than they will be."""
    slots = select(SlotRow.number, JobRow).join(JobRow, col(JobRow.id) == SlotRow.job).where(SlotRow.run == run.id)
    pictures = select(AssetRow).join(SlotRow, col(SlotRow.job) == AssetRow.job).where(SlotRow.run == run.id)
    async with services.db.read() as session:
        jobs = (await session.exec(slots.order_by(col(SlotRow.number)))).all()
        rows = (await session.exec(pictures.order_by(col(SlotRow.number), col(AssetRow.output)))).all()
    of_job = {job: list(group) for job, group in groupby(rows, lambda row: row.job)}
    packed = [_packed_job(number, job, of_job.get(job.id, [])) for number, job in jobs]
    manifest = Manifest(run=run.id, name=run.name, status=run.status, created_at=run.created_at, jobs=packed)
    names = {file.asset: file.name for job in packed for file in job.files if file.name}
    kept = [(names[row.id], row) for row in rows if row.id in names]
    headers = {"Cache-Control": "private, no-store"}
    return Download(_packed(services, manifest, kept), ZIP, filename=f"{run.id}.zip", headers=headers)


def _packed_job(slot: int, job: JobRow, pictures: Sequence[AssetRow]) -> PackedJob:
    return PackedJob(
        slot=slot,
        job=job.id,
        status=job.status,
        model=job.model,
        prompt=job.input.get("prompt"),
        input=job.input,
        seed=job.seed,
        files=[
            PackedFile(
                name=None if row.deleted_at else f"{slot + 1:04}-{job.id}-{number}.{row.key.rpartition('.')[2]}",
                asset=row.id,
                **row.model_dump(include={"content_type", "width", "height", "size", "sha256"}),
            )
            for number, row in enumerate(pictures, 1)
        ],
    )


async def _packed(
    services: Services, manifest: Manifest, pictures: Sequence[tuple[str, AssetRow]]
) -> AsyncIterator[bytes]:
    """The manifest comes last, so that the first bytes are a picture's: a storage that is away is still a problem, and
    no broken download."""
    outlet = _Outlet()
    with ZipFile(outlet, "w") as whole:  # type: ignore[call-overload]  # what it calls is there
        for name, row in pictures:
            with whole.open(_entry(name, row.created_at, row.size), "w") as into:
                async with aclosing(given_out(services, row.key)) as chunks:
                    async for chunk in chunks:
                        into.write(chunk)
                        yield outlet.taken()
        told = manifest.model_dump_json(indent=1).encode()
        whole.writestr(_entry(MANIFEST, manifest.created_at, len(told)), told)
    yield outlet.taken()


def _entry(name: str, at: datetime, size: int) -> ZipInfo:
    entry = ZipInfo(name, at.timetuple()[:6])
    entry.file_size = size
    return entry


class _Outlet:
    """Where a ZIP is written to that nobody can go back in: what was written is taken away at once."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing below."""

    def taken(self) -> bytes:
        written, self._written = b"".join(self._written), []
        return written
