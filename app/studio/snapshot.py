"""What the page starts from: jobs, events and credits of one moment, and the number of the newest event in it. The
page follows the stream from there, so that nothing is missed and nothing counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.assets.addresses import asset_view
from app.assets.model import AssetRow
from app.core.events import Recorded
from app.credits.api import CreditsView
from app.credits.model import BalanceRow
from app.jobs.model import JobRow
from app.jobs.stream import EventView
from app.jobs.view import JobView, job_view
from app.services import Services
from app.store.history import extent_of, read_page

FINISHED = 20
UNFINISHED = 200
"""All of them, as far as a page can show them: the rest is in the list of jobs."""
EVENTS = 100


class Look(BaseModel):
    """What stands in a picture's place until it has come."""

    colour: str
    placeholder: str


class Snapshot(BaseModel):
    """`jobs` are newest first: what is unfinished and the last that ended. `older` says that there are more. `events`
    are oldest first, `looks` by asset. `now` is our clock, for elapsed times."""

    seq: int
    now: datetime
    credits: CreditsView
    jobs: list[JobView]
    older: bool
    looks: dict[str, Look]
    events: list[EventView]


async def take_snapshot(services: Services, workspace: str) -> Snapshot:
    async with services.db.read() as session:
        seq = (await extent_of(session, workspace)).newest
        balance = await session.get(BalanceRow, workspace)
        jobs, older = await _jobs(session, workspace)
        pictures = await _pictures(session, [job.id for job in jobs])
        events = await read_page(session, workspace, max(0, seq - EVENTS), EVENTS)
    return Snapshot(
        seq=seq,
        now=services.clock.now(),
        credits=_credits(balance),
        jobs=[await _job(services, job, pictures, seq) for job in jobs],
        older=older,
        looks={row.id: Look(colour=row.colour, placeholder=row.placeholder) for row in pictures},
        events=[_event(event) for event in events],
    )


async def _jobs(session: AsyncSession, workspace: str) -> tuple[Sequence[JobRow], bool]:
    """Newest first, and whether there are older ones."""
    order = col(JobRow.created_at).desc(), col(JobRow.id).desc()
    own = select(JobRow).where(JobRow.workspace == workspace).order_by(*order)
    ended = col(JobRow.finished_at).is_not(None)
    finished = (await session.exec(own.where(ended).limit(FINISHED + 1))).all()
    unfinished = (await session.exec(own.where(~ended).limit(UNFINISHED + 1))).all()
    shown = [*unfinished[:UNFINISHED], *finished[:FINISHED]]
    newest = sorted(shown, key=lambda job: (job.created_at, job.id), reverse=True)
    return newest, len(shown) < len(unfinished) + len(finished)


async def _pictures(session: AsyncSession, jobs: Sequence[str]) -> Sequence[AssetRow]:
    wanted = select(AssetRow).where(col(AssetRow.job).in_(jobs)).order_by(col(AssetRow.output))
    return (await session.exec(wanted)).all()


async def _job(services: Services, job: JobRow, pictures: Sequence[AssetRow], seq: int) -> JobView:
    own = [await asset_view(services, row) for row in pictures if row.job == job.id]
    return job_view(services.base_url, job, own, seq)


def _event(event: Recorded) -> EventView:
    return EventView(
        seq=event.seq, type=event.type, time=event.time, job=event.job, run=event.run, data=dict(event.data)
    )


def _credits(row: BalanceRow | None) -> CreditsView:
    if row is None:
        return CreditsView(available=0, held=0, spent=0)
    return CreditsView(available=row.available, held=row.held, spent=row.spent)
