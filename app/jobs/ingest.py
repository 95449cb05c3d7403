"""Stage 4 of the line: what a delivery means for its job. Read, ask fal if the delivery holds no result, decide, and
one write: on to storing, back to the queue, or failed.

Duplicates, late ones and those of an attempt that was given up come through here too: their effect is noted, their cost
is booked once, and nothing else moves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import bindparam
from sqlmodel import col, select

from app.catalog import outcomes
from app.catalog.failures import Code
from app.catalog.outcomes import Made, Outcome, Unfetched, is_missing
from app.catalog.spec import Model
from app.core.errors import Unavailable
from app.core.retries import RetryPolicy
from app.credits.ledger import book_cost
from app.jobs import attempts
from app.jobs.accept import dispatch_task, topic_of
from app.jobs.attempts import Adoption
from app.jobs.decide import Again, Decision, Fail, Store, decide
from app.jobs.deliveries import outcome_of
from app.jobs.endings import count_ended, fail
from app.jobs.events import JobGenerated, JobRetrying
from app.jobs.lifecycle import JOB, JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow
from app.jobs.recall import recall_task
from app.jobs.reconcile import RECONCILE, hear_webhook
from app.services import Services
from app.store import inbox
from app.store.advance import Moved, advance
from app.store.inbox import DeliveryRow, Source
from app.store.tasks import NewTask, Task
from app.store.write import Tx

MIRROR = "jobs.mirror"

_READING = (
    select(DeliveryRow, JobRow, AttemptRow)
    .where(col(DeliveryRow.id) == bindparam("the_id"), JobRow.id == DeliveryRow.job, AttemptRow.job == DeliveryRow.job)
    .order_by(col(AttemptRow.number))
)


@dataclass(frozen=True)
class Reading:
    """A delivery with all that is needed to judge it."""

    delivery: DeliveryRow
    job: JobRow
    attempt: AttemptRow
    newest: AttemptRow
    bought: int


async def ingest(services: Services, task: Task) -> None:
    """Take one delivery to its effect."""
    reading = await read(services, task.payload["delivery"])
    model = services.catalog.get(reading.job.model)
    outcome, units = await _outcome(services, model, reading)
    if isinstance(outcome, Unfetched):
        raise Unavailable(f"fal does not give the result yet: {outcome.detail}")
    if is_missing(outcome) and not _believed(services, task, reading):
        await _ask_again(services, task)
        return
    policy = RetryPolicy(max_attempts=reading.job.max_attempts)
    decision = decide(outcome, reading.bought, policy, services.random.random())
    cost = model.price.billed(units)

    def ingested(tx: Tx) -> str:
        micro_usd = cost if cost is not None else reading.job.price["micro_usd"] if isinstance(outcome, Made) else 0
        execution = attempts.execution_of(reading.attempt.id, reading.delivery.request_id)
        book_cost(tx, execution, reading.job.workspace, reading.job.id, micro_usd)
        effect = _apply(tx, services, reading, decision, units, micro_usd)
        inbox.set_effect(tx, reading.delivery.id, effect)
        tx.finish(task)
        return effect

    effect = await services.db.write(ingested)
    services.metrics.count("deliveries_total", source=reading.delivery.source, effect=effect)
    if reading.delivery.source is Source.WEBHOOK:
        hear_webhook(services)
    if effect == "ingested" and isinstance(decision, Fail):
        count_ended(services, reading.job, JobStatus.FAILED, decision.code)
    attempts.count_extra(services, Adoption.EXTRA if effect == "extra" else None)


async def read(services: Services, delivery: str) -> Reading:
    """Everything that bears on a delivery, from one snapshot."""
    async with services.db.read() as session:
        rows = (await session.exec(_READING, params={"the_id": delivery})).all()
    found, job, _ = rows[0]
    all_of_them = [attempt for _, _, attempt in rows]
    attempt = next(a for a in all_of_them if a.id == found.attempt)
    bought = sum(a.status in attempts.BOUGHT or a.id == attempt.id for a in all_of_them)
    return Reading(found, job, attempt, all_of_them[-1], bought)


async def _outcome(services: Services, model: Model, reading: Reading) -> tuple[Outcome, float | None]:
    """What the delivery says; what fal's queue says, when the delivery says nothing, or that there is nothing."""
    outcome, units = outcome_of(model, reading.delivery)
    if isinstance(outcome, Unfetched) or is_missing(outcome):
        ticket = attempts.ticket_of(services, reading.attempt, reading.delivery.request_id)
        answer = await services.provider.result(ticket)
        outcome = outcomes.from_answer(model, answer.status, answer.body, answer.retryable, answer.error_type)
        units = answer.billable_units
    if isinstance(outcome, Unfetched) and _long_over(services, reading):
        outcome = outcomes.Failed(Code.GONE, "Nobody waits for it any more.")
    return outcome, units


def _believed(services: Services, task: Task, reading: Reading) -> bool:
    """That fal does not know the result: not when it is said for the first time, since the picture is paid for."""
    return task.tries + 1 >= services.rules.missing_believed_after or _long_over(services, reading)


async def _ask_again(services: Services, task: Task) -> None:
    due_at = services.clock.after(services.rules.look_soonest * services.random.uniform(0.9, 1.1))
    detail = "fal does not know the result; it is asked again."
    await services.db.write(lambda tx: tx.again(task, due_at, tries=task.tries + 1, error=detail))


def _long_over(services: Services, reading: Reading) -> bool:
    """Whether even what a late result has cost need not be asked for again: it was, since we heard of it."""
    now, over = services.clock.now(), reading.job.finished_at
    patience = services.clock.after(services.rules.grace_least) - now
    return over is not None and now - max(over, reading.delivery.received_at) > patience


def _apply(
    tx: Tx, services: Services, reading: Reading, decision: Decision, units: float | None, micro_usd: int
) -> str:
    """Move the job; the word for what came of the delivery."""
    attempt, request_id = reading.attempt, reading.delivery.request_id
    if request_id != attempt.id:
        adoption = attempts.adopt(tx, attempt.id, services.provider.ticket(attempt.endpoint, request_id))
        if adoption is not Adoption.OURS:
            return "extra" if adoption is Adoption.EXTRA else "repeated"
    outcome, detail = ("completed", "") if isinstance(decision, Store) else (str(decision.code), decision.detail)
    if not attempts.end(tx, attempt.id, outcome, detail, units=units, micro_usd=micro_usd):
        return "repeated"
    tx.drop(f"{RECONCILE}:{attempt.id}")
    try:
        _move(tx, services, reading, decision)
    except Moved:
        return "late"
    return "ingested"


def _move(tx: Tx, services: Services, reading: Reading, decision: Decision) -> None:
    job, attempt = reading.job, reading.attempt
    this_attempt = {"attempt": attempt.number}
    match decision:
        case Store(outputs):
            files = [asdict(file) for file in outputs.files]
            values = {"outputs": files, "note": outputs.note, "seed": outputs.seed or attempt.seed, "progress": None}
            event = JobGenerated(attempt=attempt.number, files=len(files))
            mirror = NewTask(MIRROR, f"{MIRROR}:{job.id}", job.workspace, {"job": job.id, "attempt": attempt.id})
            advance(tx, JOB, JobRow, job.id, JobStatus.STORING, event, topic_of(job), values=values, then=(mirror,))
            if reading.newest.id != attempt.id and reading.newest.status is AttemptStatus.ACCEPTED:
                tx.spawn(recall_task(reading.newest))
        case Again(wait, code, detail):
            next_at = services.clock.after(wait)
            event_again = JobRetrying(attempt=attempt.number, code=code, detail=detail, next_at=next_at)
            dispatch = dispatch_task(job, next_at)
            advance(
                tx,
                JOB,
                JobRow,
                job.id,
                JobStatus.QUEUED,
                event_again,
                topic_of(job),
                only=this_attempt,
                then=(dispatch,),
            )
        case Fail(code, detail):
            fail(tx, job, code, detail, only=this_attempt)
