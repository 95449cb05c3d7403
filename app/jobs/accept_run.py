"""Stage 1 of the line for many: a run is accepted with all of its jobs in one write, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import insert
from structlog.contextvars import bind_contextvars

from app.core.errors import FieldError, InvalidRequest
from app.core.idempotency import IdempotencyKey
from app.credits.ledger import hold, require
from app.jobs.accept import (
    DeadlineSeconds,
    JobRequest,
    MaxAttempts,
    Metadata,
    Order,
    Place,
    count_accepted,
    enqueue,
    prepare,
)
from app.jobs.events import RunCreated
from app.jobs.lifecycle import RunStatus
from app.jobs.model import Policy, RunRow, SlotRow
from app.jobs.runs import hold_of, topic_of_run
from app.jobs.view import JobCredits, RunView, run_view
from app.services import Services
from app.store.columns import table
from app.store.idempotency import Replayed, once, recalled
from app.store.write import Tx

_INSERT = insert(table(RunRow))
_FILL = insert(table(SlotRow))


class RunRequest(BaseModel):
    """`ceiling` is the most that the jobs may hold together, in credits. Under `all_or_nothing` the run holds for all
    its jobs and is paid only when every one of them completed. `max_attempts` and `deadline_seconds` are for those jobs
    that name none of their own."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=200)] = ""
    policy: Policy = Policy.PER_ITEM
    ceiling: Annotated[int, Field(ge=0, le=10**12)] | None = None
    max_attempts: MaxAttempts | None = None
    deadline_seconds: DeadlineSeconds | None = None
    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=1000)]
    metadata: Annotated[Metadata, Field(max_length=50)] = {}

    def wanted(self) -> list[JobRequest]:
        """The jobs, each with what the run says for those that do not say it themselves."""
        ours = {"max_attempts": self.max_attempts, "deadline_seconds": self.deadline_seconds}
        return [job.model_copy(update={n: getattr(job, n) or v for n, v in ours.items()}) for job in self.jobs]


async def accept_run(
    services: Services,
    workspace: str,
    request: RunRequest,
    idempotency: IdempotencyKey | None,
    workflow: str | None = None,
) -> tuple[RunView, bool]:
    """The run with all its jobs, in one write; and whether it had been created before under the same key.

    Raises:
        InvalidRequest: something is wrong in one of the jobs; the pointer says in which.
        NotEnoughCredits, KeyReused: see there.
    """
    if (known := await recalled(services.db, workspace, idempotency)) is not None:
        return RunView.model_validate_json(known.answer), True
    id_ = services.ids.new("run")
    pays = request.policy is Policy.PER_ITEM
    orders = await _orders(services, workspace, request.wanted(), Place(run=id_, workflow=workflow, pays=pays))
    total = sum(order.job.price["credits"] for order in orders)
    if request.ceiling is not None and total > request.ceiling:
        wrong = FieldError(
            "/body/ceiling", f"The jobs need {total} credits. Raise the ceiling or send fewer.", "ceiling"
        )
        raise InvalidRequest(f"The jobs need {total} credits, the ceiling is {request.ceiling}.", errors=[wrong])
    run = _row(services, workspace, id_, request, workflow, total)
    view = run_view(services.base_url, run, [o.job.id for o in orders], JobCredits(held=total, posted=0))

    def created(tx: Tx) -> Replayed | None:
        before = once(tx, workspace, idempotency, view.model_dump_json() if idempotency else "")
        if before is None:
            _store(tx, run, orders)
        return before

    before = await services.db.write(created)
    if before is not None:
        return RunView.model_validate_json(before.answer), True
    count_accepted(services, orders)
    bind_contextvars(run=id_)
    return view, False


async def _orders(services: Services, workspace: str, requests: Sequence[JobRequest], place: Place) -> list[Order]:
    """All jobs prepared; every fault of every job is named at once."""
    orders: list[Order] = []
    faults: list[FieldError] = []
    for number, request in enumerate(requests):
        try:
            here = replace(place, slot=number)
            orders.append(await prepare(services, workspace, request, here, at=f"/body/jobs/{number}"))
        except InvalidRequest as problem:
            faults += problem.errors
    if faults:
        raise InvalidRequest(
            f"{len(requests) - len(orders)} of {len(requests)} jobs cannot be taken.", errors=faults[:100]
        )
    return orders


def _row(services: Services, workspace: str, id_: str, request: RunRequest, workflow: str | None, total: int) -> RunRow:
    now = services.clock.now()
    whole = request.policy is Policy.ALL_OR_NOTHING
    return RunRow(
        id=id_,
        workspace=workspace,
        name=request.name,
        workflow=workflow,
        policy=request.policy,
        ceiling=request.ceiling,
        status=RunStatus.RUNNING,
        total=len(request.jobs),
        hold=services.ids.new("hold") if whole else None,
        credits_held=total if whole else 0,
        meta=request.metadata,
        created_at=now,
        updated_at=now,
    )


def _store(tx: Tx, run: RunRow, orders: Sequence[Order]) -> None:
    topic = topic_of_run(run)
    if run.hold is not None:
        hold(tx, hold_of(run), topic)
    else:
        require(tx, run.workspace, sum(order.job.price["credits"] for order in orders))
    tx.execute(_INSERT, run.model_dump())
    tx.record(RunCreated(name=run.name, total=run.total), topic)
    tx.execute(_FILL, [{"run": run.id, "number": o.job.slot, "job": o.job.id} for o in orders])
    for order in orders:
        enqueue(tx, order)
