"""The inbox for people: looking at deliveries, and having one worked on again. A dry run says what that would
change."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import update
from sqlmodel import select

from app.catalog.outcomes import Unfetched, is_missing
from app.core.errors import NotFound
from app.core.paging import Page, page_of
from app.core.principal import Principal, Scope
from app.core.retries import RetryPolicy
from app.jobs.decide import decide
from app.jobs.deliveries import ingest_task, outcome_of
from app.jobs.ingest import Reading, read
from app.services import Services
from app.store.columns import table
from app.store.inbox import DeliveryRow, Source
from app.store.pages import newest_first, position
from app.store.write import Tx
from app.web.operation import Operation

_D = table(DeliveryRow)


class DeliveriesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    job: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None


class DeliveryView(BaseModel):
    """One received completion: whether fal called or we looked, the verdicts on it, and what came of it. `effect` is
    `ingested`, `repeated`, `late`, `extra`, or null while it waits."""

    id: str
    object: str = "delivery"
    job: str
    attempt: str
    source: Source
    request_id: str
    verdicts: dict[str, Any]
    effect: str | None
    size: int
    body_sha256: str
    received_at: datetime
    redriven_at: datetime | None


class RedriveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class Redriven(BaseModel):
    """What working on it again means now: `decision` in words, and whether it `changes` anything."""

    delivery: str
    decision: str
    changes: bool
    dry_run: bool


async def list_deliveries(services: Services, principal: Principal, query: DeliveriesQuery) -> Page[DeliveryView]:
    """What was received from fal, newest first"""
    place = f"deliveries:{principal.workspace}"
    wanted: Any = select(DeliveryRow).where(DeliveryRow.workspace == principal.workspace)
    if query.job:
        wanted = wanted.where(DeliveryRow.job == query.job)
    after = services.cursors.read(place, query.cursor) if query.cursor else None
    wanted = newest_first(wanted, _D, query.limit, after, moment="received_at")
    async with services.db.read() as session:
        rows = (await session.exec(wanted)).all()
    views = [_view(row) for row in rows]
    return page_of(views, query.limit, lambda v: services.cursors.write(place, position(v.received_at, v.id)))


async def redrive_delivery(services: Services, principal: Principal, delivery: str, query: RedriveQuery) -> Redriven:
    """Have a delivery worked on again

    For the operator. `dry_run` only says what it would do.
    """
    principal.require(Scope.OPERATOR)
    return await redrive(services, delivery, dry_run=query.dry_run)


async def redrive(services: Services, delivery: str, *, dry_run: bool) -> Redriven:
    """The same for the command line. Raises `NotFound`."""
    async with services.db.read() as session:
        row = await session.get(DeliveryRow, delivery)
    if row is None:
        raise NotFound(f"There is no delivery {delivery[:40]!r}.")
    reading = await read(services, delivery)
    changes = reading.job.finished_at is None and reading.attempt.ended_at is None
    if not dry_run:

        def redriven(tx: Tx) -> None:
            tx.execute(update(_D).where(_D.c.id == delivery).values(redriven_at=tx.now))
            tx.spawn(ingest_task(delivery, row.workspace, row.job))

        await services.db.write(redriven)
    words = _decision(services, reading) if changes else f"nothing: the job is {reading.job.status}"
    return Redriven(delivery=delivery, decision=words, changes=changes, dry_run=dry_run)


def _decision(services: Services, reading: Reading) -> str:
    """What ingest would decide, without asking fal anything."""
    model = services.catalog.get(reading.job.model)
    outcome, _ = outcome_of(model, reading.delivery)
    if isinstance(outcome, Unfetched) or is_missing(outcome):
        return "ask fal's queue for the result"
    decision = decide(outcome, reading.bought, RetryPolicy(max_attempts=reading.job.max_attempts), 0.0)
    return f"{type(decision).__name__.lower()}: {getattr(decision, 'code', '') or 'pictures'}"


def _view(row: DeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        job=row.job,
        attempt=row.attempt,
        source=row.source,
        request_id=row.request_id,
        verdicts=row.verdicts,
        effect=row.effect,
        size=len(row.body),
        body_sha256=row.body_sha256,
        received_at=row.received_at,
        redriven_at=row.redriven_at,
    )


OPERATIONS = (
    Operation("GET", "/deliveries", list_deliveries, scope=Scope.EVENTS_READ),
    Operation(
        "POST",
        "/deliveries/{delivery}/redrive",
        redrive_delivery,
        202,
        scope=Scope.OPERATOR,
        resource="delivery",
        raises=(NotFound,),
    ),
)
