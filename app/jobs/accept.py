"""Stage 1 of the line: a request becomes a job, its credits are held, and its dispatch is on the list, in one write.

`prepare` looks at everything that can be wrong before anything is stored; `enqueue` is the part of a write that stores
it, for a single job here and for the jobs of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import insert
from sqlmodel import col, select
from structlog.contextvars import bind_contextvars

from app.assets.model import AssetRow
from app.assets.shelf import attach
from app.catalog.reading import read_input
from app.catalog.spec import USUAL_PIXELS
from app.core.errors import FieldError, InvalidRequest
from app.core.events import Topic
from app.core.idempotency import IdempotencyKey
from app.core.ids import is_id
from app.core.moments import Moment
from app.credits.ledger import Hold, hold
from app.jobs.events import JobQueued
from app.jobs.lifecycle import JobStatus
from app.jobs.model import Job, JobRow, Priority, ReferenceRow
from app.jobs.view import JobView, job_view
from app.ports import FetchRefused
from app.services import Services
from app.store.columns import table
from app.store.idempotency import Replayed, once, recalled
from app.store.prepared import Prepared
from app.store.tasks import Lane, NewTask
from app.store.write import Tx

ACCEPT = "jobs.accept"
DISPATCH = "jobs.dispatch"
_LATEST_BEGINNING = timedelta(days=30)
LANES = {Priority.HIGH: Lane.HIGH, Priority.NORMAL: Lane.NORMAL, Priority.LOW: Lane.LOW}

Metadata = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64)], Annotated[str, StringConstraints(max_length=500)]
]

MaxAttempts = Annotated[int, Field(ge=1, le=10)]
LONGEST_DEADLINE = 7 * 86400
DeadlineSeconds = Annotated[int, Field(ge=1, le=LONGEST_DEADLINE)]

_EXAMPLE: Any = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a lighthouse at dusk, oil on canvas"}}


class JobRequest(BaseModel):
    """`model` is a model's id or a role (`text_to_image`, …). `input` is what that model takes, without its pictures:
    those are `reference_images`, ids of assets or https addresses, in the order the model takes them. Where the price
    goes by the size of the first of them, a picture at an address, which nobody has measured, counts as 1024 x 1024."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: dict[str, Any]
    reference_images: Annotated[list[str], Field(max_length=20)] = []
    priority: Priority = Priority.NORMAL
    not_before: Moment | None = Field(default=None, description="Do not send it to fal before this time.")
    max_attempts: MaxAttempts | None = None
    deadline_seconds: DeadlineSeconds | None = Field(
        default=None, description="Cancel the job when it has not ended after so many seconds."
    )
    metadata: Annotated[Metadata, Field(max_length=50)] = {}


@dataclass(frozen=True)
class Place:
    """Where a new job belongs: a slot of a run, or none; `retry_of` names the job it repeats. `pays` is false when an
    owner above holds the credits."""

    run: str | None = None
    slot: int | None = None
    workflow: str | None = None
    retry_of: str | None = None
    pays: bool = True


@dataclass(frozen=True)
class Order:
    """A request in which nothing is wrong, as the row it will be."""

    job: Job
    hold: Hold | None
    assets: tuple[str, ...]

    @property
    def topic(self) -> Topic:
        return topic_of(self.job)


_INSERT = Prepared(insert(table(JobRow)))
_REFER = insert(table(ReferenceRow))


async def accept(
    services: Services,
    workspace: str,
    request: JobRequest,
    idempotency: IdempotencyKey | None,
    *,
    retry_of: str | None = None,
) -> tuple[JobView, bool]:
    """The accepted job, and whether it had been accepted before under the same Idempotency-Key.

    Raises:
        InvalidRequest: something in the request is wrong; each fault is named.
        NotEnoughCredits: see there.
        KeyReused: the Idempotency-Key was used with another request.
    """
    if (known := await recalled(services.db, workspace, idempotency)) is not None:
        return JobView.model_validate_json(known.answer), True
    with services.metrics.timed("stage_seconds", stage=ACCEPT):
        return await _accept(services, workspace, request, idempotency, Place(retry_of=retry_of))


async def _accept(
    services: Services, workspace: str, request: JobRequest, idempotency: IdempotencyKey | None, place: Place
) -> tuple[JobView, bool]:
    order = await prepare(services, workspace, request, place)
    view = job_view(services.base_url, order.job)

    def accepted(tx: Tx) -> Replayed | None:
        before = once(tx, workspace, idempotency, view.model_dump_json() if idempotency else "")
        if before is None:
            enqueue(tx, order)
        return before

    before = await services.db.write(accepted)
    if before is not None:
        return JobView.model_validate_json(before.answer), True
    count_accepted(services, [order])
    bind_contextvars(job=view.id)
    return view, False


def count_accepted(services: Services, orders: Sequence[Order]) -> None:
    """For the metrics, after the commit."""
    for order in orders:
        services.metrics.count("jobs_accepted_total", model=order.job.model)


async def prepare(
    services: Services, workspace: str, request: JobRequest, place: Place = Place(), *, at: str = "/body"
) -> Order:
    """Check a request against the catalogue and the workspace's pictures. `at` is where it stands in what was sent.

    Raises:
        InvalidRequest: with one entry per fault.
    """
    model = services.catalog.resolve(request.model, at=f"{at}/model")
    asked = read_input(
        model,
        request.input,
        len(request.reference_images),
        input_at=f"{at}/input",
        references_at=f"{at}/reference_images",
    )
    assets = await _known_assets(services, workspace, request.reference_images, f"{at}/reference_images")
    source = next(iter(request.reference_images), "")
    price = model.price(asked, assets.get(source, USUAL_PIXELS))
    now = services.clock.now()
    if request.not_before and request.not_before > now + _LATEST_BEGINNING:
        wrong = FieldError(f"{at}/not_before", "At most 30 days from now.", "too-late")
        raise InvalidRequest("The job is to begin too late.", errors=[wrong])
    id_ = services.ids.new("job")
    held = Hold(services.ids.new("hold"), workspace, price.credits, id_) if place.pays else None
    job = Job(
        id=id_,
        workspace=workspace,
        status=JobStatus.QUEUED,
        model=model.id,
        input=request.input,
        reference_images=request.reference_images,
        meta=request.metadata,
        priority=request.priority,
        not_before=request.not_before,
        max_attempts=request.max_attempts or services.rules.max_attempts,
        deadline_at=_deadline(services, request),
        run=place.run,
        slot=place.slot,
        workflow=place.workflow,
        retry_of=place.retry_of,
        price={"credits": price.credits, "micro_usd": price.micro_usd, "outputs": price.outputs},
        hold=held.id if held else None,
        credits_held=price.credits if held else 0,
        created_at=now,
        updated_at=now,
    )
    return Order(job, held, tuple(sorted(assets)))


def enqueue(tx: Tx, order: Order) -> None:
    """Store an order."""
    job = order.job
    if order.hold is not None:
        hold(tx, order.hold, order.topic)
    if order.assets:
        attach(tx, job.workspace, order.assets)
        tx.execute(_REFER, [{"asset": asset, "job": job.id} for asset in order.assets])
    tx.execute(_INSERT, job.model_dump())
    tx.record(JobQueued(model=job.model, retry_of=job.retry_of), order.topic)
    tx.spawn(dispatch_task(job))


def dispatch_task(job: Job, due_at: datetime | None = None) -> NewTask:
    """The task that makes the next attempt. Its key names the one before: a quick webhook may ask for another attempt
    while the task that sent this one still waits for fal's answer."""
    due_at = due_at or job.not_before
    return NewTask(DISPATCH, dispatch_key(job), job.workspace, {"job": job.id}, due_at, LANES[job.priority])


def dispatch_key(job: Job) -> str:
    return f"{DISPATCH}:{job.id}:{job.attempt}"


def topic_of(job: Job) -> Topic:
    return Topic(job.workspace, job=job.id, run=job.run, workflow=job.workflow)


def _deadline(services: Services, request: JobRequest) -> datetime:
    """What the caller asks for is in real seconds; our own limit keeps the service's pace."""
    now = services.clock.now()
    if request.deadline_seconds:
        allowed = timedelta(seconds=request.deadline_seconds)
    else:
        allowed = services.clock.after(services.rules.deadline) - now
    return max(request.not_before or now, now) + allowed


async def _known_assets(services: Services, workspace: str, references: Sequence[str], at: str) -> dict[str, int]:
    """The assets among the references, each of them ours and there, with the number of their pixels; addresses are
    judged, not fetched."""
    faults: list[FieldError] = []
    wanted = {ref for ref in references if is_id("asset", ref)}
    known: dict[str, int] = {}
    if wanted:
        async with services.db.read() as session:
            here = select(AssetRow.id, AssetRow.width, AssetRow.height).where(
                AssetRow.workspace == workspace, col(AssetRow.id).in_(wanted), col(AssetRow.deleted_at).is_(None)
            )
            known = {asset: width * height for asset, width, height in (await session.exec(here)).all()}
    for i, ref in enumerate(references):
        if ref.startswith("asset_"):
            if ref not in known:
                faults.append(
                    FieldError(f"{at}/{i}", "There is no such asset. Upload the picture first.", "no-such-asset")
                )
            continue
        try:
            services.fetcher.judge(ref, purpose="user")
        except FetchRefused as refused:
            detail = f"Not an asset's id, nor an address that can be used: {refused}"
            faults.append(FieldError(f"{at}/{i}", detail, "bad-reference"))
    if faults:
        raise InvalidRequest("Some reference images cannot be used.", errors=faults)
    return known
