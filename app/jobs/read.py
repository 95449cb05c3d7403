"""Looking at jobs and runs: snapshots that name the event they are current to, and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import case, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.assets.addresses import asset_view
from app.assets.model import AssetRow
from app.catalog import Catalog
from app.core.errors import NotFound
from app.core.moments import Moment
from app.core.paging import Page, page_of
from app.jobs.lifecycle import JobStatus, RunStatus
from app.jobs.model import JobRow, RunRow, SlotRow
from app.jobs.view import JobCredits, JobView, RunView, job_view, run_view
from app.services import Services
from app.store.columns import table
from app.store.log import CounterRow
from app.store.pages import newest_first, position


def _with_a_key(pair: str) -> str:
    if pair.find(":") < 1:
        raise PydanticCustomError("key_and_value", "Must be a key and its value with a colon between them, as order:17")
    return pair


Pair = Annotated[str, Field(max_length=600, json_schema_extra={"pattern": "^[^:]+:"}), AfterValidator(_with_a_key)]


class JobsQuery(BaseModel):
    """Filters are joined by "and"."""

    model_config = ConfigDict(extra="forbid")

    status: list[JobStatus] = []
    run: str | None = None
    model: str | None = Field(
        default=None,
        description="A model's id, whole or without `fal-ai/`, or a role: the model that plays it now.",
        json_schema_extra={"enum": [*Catalog().names]},
    )
    text: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="Words in the prompt.")
    metadata: list[Pair] = Field(default=[], description="Written key:value; may come several times.")
    created_after: Moment | None = None
    created_before: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None


class RunsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: list[RunStatus] = []
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None


async def job_snapshot(services: Services, workspace: str, job: str) -> JobView:
    """The job as it is now, with the number of the newest event it contains. Raises `NotFound`."""
    async with services.db.read() as session:
        row = await session.get(JobRow, job)
        if row is None or row.workspace != workspace:
            raise NotFound(f"There is no job {job[:40]!r} here.")
        seq = await _seq(session, workspace)
        assets = await _assets(session, [job])
    return await _job(services, row, assets, seq)


async def jobs_page(services: Services, workspace: str, query: JobsQuery) -> Page[JobView]:
    """Newest first. Raises `UnknownModel`."""
    place = f"jobs:{workspace}"
    after = services.cursors.read(place, query.cursor) if query.cursor else None
    model = services.catalog.resolve(query.model, at="/query/model").id if query.model is not None else None
    wanted = newest_first(_filtered(workspace, query, model), table(JobRow), query.limit, after)
    async with services.db.read() as session:
        rows: Sequence[JobRow] = (await session.exec(wanted)).all()  # type: ignore[call-overload]
        assets = await _assets(session, [row.id for row in rows])
    views = [await _job(services, row, assets) for row in rows]
    return page_of(views, query.limit, lambda v: services.cursors.write(place, position(v.created_at, v.id)))


async def run_snapshot(services: Services, workspace: str, run: str) -> RunView:
    """The run as it is now. Raises `NotFound`."""
    async with services.db.read() as session:
        row = await session.get(RunRow, run)
        if row is None or row.workspace != workspace:
            raise NotFound(f"There is no run {run[:40]!r} here.")
        return await _run(services, session, row, await _seq(session, workspace))


async def runs_page(services: Services, workspace: str, query: RunsQuery) -> Page[RunView]:
    """Newest first."""
    place = f"runs:{workspace}"
    after = services.cursors.read(place, query.cursor) if query.cursor else None
    wanted: Any = select(RunRow).where(RunRow.workspace == workspace)
    if query.status:
        wanted = wanted.where(col(RunRow.status).in_(query.status))
    async with services.db.read() as session:
        rows = (await session.exec(newest_first(wanted, table(RunRow), query.limit, after))).all()  # type: ignore[call-overload]
        views = [await _run(services, session, row, None) for row in rows]
    return page_of(views, query.limit, lambda v: services.cursors.write(place, position(v.created_at, v.id)))


def _filtered(workspace: str, query: JobsQuery, model: str | None) -> Any:
    wanted: Any = select(JobRow).where(JobRow.workspace == workspace)
    if query.status:
        wanted = wanted.where(col(JobRow.status).in_(query.status))
    if query.run:
        wanted = wanted.where(JobRow.run == query.run)
    if model:
        wanted = wanted.where(JobRow.model == model)
    if query.text:
        wanted = wanted.where(col(JobRow.input)["prompt"].as_string().icontains(query.text, autoescape=True))
    for pair in query.metadata:
        key, _, value = pair.partition(":")
        wanted = wanted.where(col(JobRow.meta)[key].as_string() == value)
    if query.created_after:
        wanted = wanted.where(JobRow.created_at >= query.created_after)
    if query.created_before:
        wanted = wanted.where(JobRow.created_at < query.created_before)
    return wanted


async def _seq(session: AsyncSession, workspace: str) -> int:
    counter = await session.get(CounterRow, workspace)
    return counter.seq if counter else 0


async def _assets(session: AsyncSession, jobs: Sequence[str]) -> dict[str, list[AssetRow]]:
    """The pictures of each job, in the order of its outputs."""
    wanted = select(AssetRow).where(col(AssetRow.job).in_(jobs)).order_by(col(AssetRow.output))
    found: dict[str, list[AssetRow]] = {job: [] for job in jobs}
    for row in (await session.exec(wanted)).all():
        found[str(row.job)].append(row)
    return found


async def _job(services: Services, row: JobRow, assets: dict[str, list[AssetRow]], seq: int | None = None) -> JobView:
    shown = [await asset_view(services, asset) for asset in assets[row.id]]
    return job_view(services.base_url, row, shown, seq)


async def _run(services: Services, session: AsyncSession, row: RunRow, seq: int | None) -> RunView:
    slots = await session.exec(select(SlotRow.job).where(SlotRow.run == row.id).order_by(col(SlotRow.number)))
    open_ = case((col(JobRow.finished_at).is_(None), col(JobRow.credits_held)), else_=0)
    sums = select(func.coalesce(func.sum(open_), 0), func.coalesce(func.sum(JobRow.credits_posted), 0))
    held, posted = (await session.exec(sums.where(JobRow.run == row.id))).one()
    whole = row.credits_held if row.status is RunStatus.COMPLETED else 0
    sums_up = JobCredits(held=held + (0 if row.finished_at else row.credits_held), posted=posted + whole)
    return run_view(services.base_url, row, slots.all(), sums_up, seq)
